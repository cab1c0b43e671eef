//! The grammar of Barman Cloud's keys, relative to a server's folder
//! (`barman/cloud.py`: `CloudBackupCatalog`, `CloudUploadController`; `barman/xlog.py`).

use crate::codec::Codec;
use crate::postgres::WalFileName;
use crate::repository::{ArchiveContents, is_own};

/// The folder of base backups.
pub const BASE: &str = "base";

/// The folder of WAL.
pub const WALS: &str = "wals";

/// What a key says its object is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key<'a> {
    /// `base/<id>/backup.info`.
    Info {
        /// The backup.
        id: &'a str,
    },
    /// `base/<id>/data.tar.gz`, `base/<id>/16384_0001.tar`.
    Archive {
        /// The backup.
        id: &'a str,
        /// What it holds.
        contents: ArchiveContents,
        /// Its part, 0 for the unnumbered first one.
        part: u32,
        /// The codec that the extension tells.
        codec: Codec,
    },
    /// `base/<id>/backup_label`, of snapshot backups.
    Label {
        /// The backup.
        id: &'a str,
    },
    /// `base/<id>/annotations/keep`.
    Keep {
        /// The backup.
        id: &'a str,
    },
    /// A file of the WAL archive, in its right folder.
    Wal {
        /// Its name without the codec's extension.
        name: WalFileName,
        /// The codec that the extension tells.
        codec: Codec,
    },
    /// An empty object that some browsers of buckets make for a folder.
    Folder,
    /// Something that walproof put here ([`is_own`]): no part of any backup, and no tool looks
    /// there.
    Own,
    /// None of these.
    Unknown,
}

impl<'a> Key<'a> {
    /// Reads a key.
    pub fn parse(key: &'a str) -> Self {
        if is_own(key) {
            return Self::Own;
        }
        let mut parts = key.split('/');
        let place = (parts.next(), parts.next(), parts.next(), parts.next());
        if parts.next().is_some() {
            return Self::Unknown;
        }
        match place {
            (Some(BASE), Some(id), Some(rest), last) if !id.is_empty() => match (rest, last) {
                ("backup.info", None) => Self::Info { id },
                ("backup_label", None) => Self::Label { id },
                ("annotations", Some("keep")) => Self::Keep { id },
                ("", None) | ("annotations", None | Some("")) => Self::Folder,
                (file, None) => Self::archive(id, file),
                _ => Self::Unknown,
            },
            (Some(WALS), Some(folder), Some(file), None) => match (folder, file) {
                (_, "") => Self::Folder,
                _ => Self::wal(Some(folder), file),
            },
            (Some(WALS), Some(file), None, None) if !file.is_empty() => {
                match Self::wal(None, file) {
                    Self::Unknown if is_hash_folder(file) => Self::Folder,
                    found => found,
                }
            }
            (Some("" | BASE | WALS), None | Some(""), None, None)
            | (Some(BASE), Some(_), None, None) => Self::Folder,
            _ => Self::Unknown,
        }
    }

    fn archive(id: &'a str, file: &str) -> Self {
        Self::parse_archive(file).map_or(Self::Unknown, |(contents, part, codec)| Self::Archive {
            id,
            contents,
            part,
            codec,
        })
    }

    fn parse_archive(file: &str) -> Option<(ArchiveContents, u32, Codec)> {
        let (file, codec) = Codec::split_extension(file);
        let stem = file.strip_suffix(".tar")?;
        let (name, part) = match stem.split_once('_') {
            None => (stem, 0),
            Some((name, digits)) => {
                let part: u32 = digits.parse().ok()?;
                // Written with `"_%04d"`; part 0 never carries a number.
                if part == 0 || format!("{part:04}") != digits {
                    return None;
                }
                (name, part)
            }
        };
        let contents = if name == "data" {
            ArchiveContents::Data
        } else {
            let oid: u32 = name.parse().ok()?;
            if oid == 0 || oid.to_string() != name {
                return None;
            }
            ArchiveContents::Tablespace(oid)
        };
        Some((contents, part, codec))
    }

    fn wal(folder: Option<&str>, file: &str) -> Self {
        let (name, codec) = Codec::split_extension(file);
        let Ok(parsed) = name.parse::<WalFileName>() else {
            return Self::Unknown;
        };
        let wanted = match parsed {
            WalFileName::History(_) => None,
            _ => name.get(..16),
        };
        if folder == wanted {
            Self::Wal {
                name: parsed,
                codec,
            }
        } else {
            // In a folder where no tool looks for it.
            Self::Unknown
        }
    }
}

fn is_hash_folder(name: &str) -> bool {
    name.len() == 16 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The key of a backup's description.
pub fn info_key(id: &str) -> String {
    format!("{BASE}/{id}/backup.info")
}

/// The key of a backup's keep annotation.
pub fn keep_key(id: &str) -> String {
    format!("{BASE}/{id}/annotations/keep")
}

/// The key of an archive.
pub fn archive_key(id: &str, contents: ArchiveContents, part: u32, codec: Codec) -> String {
    let name = match contents {
        ArchiveContents::Data => "data".to_owned(),
        ArchiveContents::Tablespace(oid) => oid.to_string(),
    };
    let number = if part == 0 {
        String::new()
    } else {
        format!("_{part:04}")
    };
    format!("{BASE}/{id}/{name}{number}.tar{}", codec.extension())
}

/// The key of a file of the WAL archive.
pub fn wal_key(name: WalFileName, codec: Codec) -> String {
    let file = name.to_string();
    let extension = codec.extension();
    match (name, file.get(..16)) {
        (WalFileName::History(_), _) | (_, None) => format!("{WALS}/{file}{extension}"),
        (_, Some(folder)) => format!("{WALS}/{folder}/{file}{extension}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::postgres::{SegmentName, TimelineId};

    #[test]
    fn base_keys() {
        let id = "20261121T133159";
        assert_eq!(
            Key::parse("base/20261121T133159/backup.info"),
            Key::Info { id }
        );
        assert_eq!(
            Key::parse("base/20261121T133159/annotations/keep"),
            Key::Keep { id }
        );
        assert_eq!(
            Key::parse("base/20261121T133159/backup_label"),
            Key::Label { id }
        );
        assert_eq!(
            Key::parse("base/20261121T133159/data_0012.tar.snappy"),
            Key::Archive {
                id,
                contents: ArchiveContents::Data,
                part: 12,
                codec: Codec::Snappy
            }
        );
        assert_eq!(
            Key::parse("base/20261121T133159/16384.tar"),
            Key::Archive {
                id,
                contents: ArchiveContents::Tablespace(16384),
                part: 0,
                codec: Codec::None
            }
        );
        assert_eq!(Key::parse("base/20261121T133159"), Key::Folder);
        assert_eq!(Key::parse(".walproof/lock-trial-1"), Key::Own);
        assert_eq!(Key::parse(".walproof-else/x"), Key::Unknown);
        let captured = "walproof/definitions/orders/20261121T133159Z-0123456789ab/manifest.json";
        assert_eq!(Key::parse(captured), Key::Own);
        assert_eq!(Key::parse("walproof-else/x"), Key::Unknown);
        assert_eq!(
            Key::parse("base/walproof/backup.info"),
            Key::Info { id: "walproof" }
        );
    }

    #[test]
    fn wal_keys() {
        for (key, name, codec) in [
            (
                "wals/0000000100000000/000000010000000000000002.gz",
                "000000010000000000000002",
                Codec::Gzip,
            ),
            (
                "wals/00000002.history.bz2",
                "00000002.history",
                Codec::Bzip2,
            ),
            (
                "wals/0000000100000000/000000010000000000000002.00000028.backup.zst",
                "000000010000000000000002.00000028.backup",
                Codec::Zstd,
            ),
            (
                "wals/0000000100000000/000000010000000000000005.partial",
                "000000010000000000000005.partial",
                Codec::None,
            ),
        ] {
            let name: WalFileName = name.parse().unwrap();
            assert_eq!(Key::parse(key), Key::Wal { name, codec }, "{key}");
            assert_eq!(wal_key(name, codec), key);
        }
    }

    #[test]
    fn misplaced_and_strange_keys_are_unknown() {
        for key in [
            "wals/0000000100000001/000000010000000000000002",
            "wals/000000010000000000000002",
            "wals/0000000100000000/00000002.history",
            "wals/0000000100000000/00000001000000000000000a",
            "wals/0000000100000000/000000010000000000000002.gz.gz",
            "base/20261121T133159/data_1.tar",
            "base/20261121T133159/data_0000.tar",
            "base/20261121T133159/data.tar.gz.tmp",
            "base/20261121T133159/016384.tar",
            "base/20261121T133159/0.tar",
            "base/20261121T133159/annotations/other",
            "base/20261121T133159/a/b/c",
            "base//backup.info",
            "readme.txt",
            "wals/x/y/z/u",
        ] {
            assert_eq!(Key::parse(key), Key::Unknown, "{key}");
        }
    }

    proptest! {
        #[test]
        fn any_key_is_answered(key in "(base|wals|[a-z]{1,3})?(/[0-9A-Za-z._]{0,30}){0,5}") {
            let _ = Key::parse(&key);
        }

        #[test]
        fn archive_keys_are_inverse(oid in 1u32.., part in 0u32..20_000, codec in 0usize..7) {
            let codec = Codec::ALL[codec];
            let contents = ArchiveContents::Tablespace(oid);
            let key = archive_key("x", contents, part, codec);
            prop_assert_eq!(Key::parse(&key), Key::Archive { id: "x", contents, part, codec });
        }

        #[test]
        fn segment_keys_are_inverse(timeline: u32, log: u32, segment: u32, codec in 0usize..7) {
            let name = WalFileName::Segment(SegmentName { timeline: TimelineId(timeline), log, segment });
            let codec = Codec::ALL[codec];
            let key = wal_key(name, codec);
            prop_assert_eq!(Key::parse(&key), Key::Wal { name, codec });
        }
    }
}
