//! `backup_manifest`: the files of a base backup with their sizes and checksums.
//!
//! [`ManifestReader`] takes a manifest piece by piece and gives out each file as it passes,
//! so that one with millions of files needs no more memory than one with ten: at most 16 KiB
//! of text are kept. [`BackupManifest::parse`] is for those who want all files at once.

mod checksum;
mod entry;
mod scan;
#[cfg(test)]
mod tests;

pub use checksum::{ChecksumAlgorithm, FileChecksum, FileHasher};
pub use entry::{ManifestFile, ManifestWalRange};
use entry::{Member, array_name};
use scan::{Piece, Scanner};
use serde::Serialize;

use super::SystemId;

/// The most ranges of WAL that are kept: one per timeline that the backup touched.
const WAL_RANGES_MAX: usize = 1024;

/// A manifest's own facts, without its files. Given by [`ManifestReader::finish`] when its
/// checksum holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ManifestSummary {
    /// 1 until PostgreSQL 16, 2 since 17.
    pub version: u32,
    /// The cluster, since version 2.
    pub system_id: Option<SystemId>,
    /// How many files it lists.
    pub files: u64,
    /// Their sizes together.
    pub bytes: u64,
    /// The WAL that the backup needs to be consistent, newest timeline first; empty when the
    /// manifest was made by a tool that does not tell.
    pub wal_ranges: Vec<ManifestWalRange>,
}

/// A whole manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BackupManifest {
    /// All but the files.
    #[serde(flatten)]
    pub summary: ManifestSummary,
    /// The files, in the manifest's order.
    pub list: Vec<ManifestFile>,
}

/// Why bytes are no manifest that `pg_verifybackup` would accept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum ManifestError {
    /// The JSON around the entries is broken.
    #[error("backup_manifest is no manifest: unexpected character at byte {at}")]
    BadStructure {
        /// The byte, from 1.
        at: u64,
    },
    /// An entry, key or number that is longer than any can be.
    #[error("backup_manifest has an entry longer than 16 KiB at byte {at}")]
    TooLong {
        /// Where the bound was passed.
        at: u64,
    },
    /// A version that is not known.
    #[error("backup_manifest has version {found}, known are 1 and 2")]
    UnknownVersion {
        /// The version found.
        found: u64,
    },
    /// A field that must be there is not.
    #[error("backup_manifest has no {field:?} in {place}")]
    Missing {
        /// The field.
        field: &'static str,
        /// Where it should be, as a clause: "the entry of \"PG_VERSION\"".
        place: String,
    },
    /// A field that PostgreSQL does not know, or one in a wrong place.
    #[error("backup_manifest has something unexpected in {place}: {what}")]
    Unexpected {
        /// Where.
        place: String,
        /// What.
        what: String,
    },
    /// A field whose value is none that it can have.
    #[error("backup_manifest has a bad {field:?} in {place}: {found:?}")]
    BadValue {
        /// The field.
        field: &'static str,
        /// Where.
        place: String,
        /// The value, cut to 80 characters.
        found: String,
    },
    /// It does not end as a manifest does: cut.
    #[error("backup_manifest does not end as a manifest does: it is cut")]
    Cut,
    /// The bytes do not match the manifest's own checksum.
    #[error("backup_manifest is damaged: its SHA-256 is {computed}, recorded is {found}")]
    BadChecksum {
        /// The checksum at its end.
        found: String,
        /// The checksum of the bytes before.
        computed: String,
    },
}

/// Reads a manifest as its bytes come (`src/common/parse_manifest.c`, with the rules of
/// `pg_verifybackup`). What is given out before [`Self::finish`] has not been vouched for by
/// the manifest's checksum.
#[derive(Clone, Debug)]
pub struct ManifestReader {
    scanner: Scanner,
    array: Option<Array>,
    seen_files: bool,
    version: Option<u32>,
    system_id: Option<SystemId>,
    files: u64,
    bytes: u64,
    wal_ranges: Vec<ManifestWalRange>,
    checksum: Option<FileChecksum>,
    lines: Lines,
}

#[derive(Clone, Copy, Debug)]
enum Array {
    Files,
    WalRanges,
}

/// The manifest's checksum is that of all lines but the last.
#[derive(Clone, Debug)]
struct Lines {
    running: FileHasher,
    /// Up to the last line break.
    to_last: FileHasher,
    /// Up to the one before.
    to_penultimate: FileHasher,
    breaks: u64,
    ends_in_break: bool,
}

impl Lines {
    fn new() -> Self {
        let empty = FileHasher::new(ChecksumAlgorithm::Sha256);
        Self {
            running: empty.clone(),
            to_last: empty.clone(),
            to_penultimate: empty,
            breaks: 0,
            ends_in_break: false,
        }
    }

    fn digest(&self) -> FileChecksum {
        self.to_penultimate.clone().finish()
    }

    fn push(&mut self, bytes: &[u8]) {
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.running.update(line);
            self.ends_in_break = line.ends_with(b"\n");
            if self.ends_in_break {
                let last = std::mem::replace(&mut self.to_last, self.running.clone());
                self.to_penultimate = last;
                self.breaks += 1;
            }
        }
    }
}

impl Default for ManifestReader {
    fn default() -> Self {
        Self::new()
    }
}

impl ManifestReader {
    /// A reader before the first byte.
    pub fn new() -> Self {
        Self {
            scanner: Scanner::new(),
            array: None,
            seen_files: false,
            version: None,
            system_id: None,
            files: 0,
            bytes: 0,
            wal_ranges: Vec::new(),
            checksum: None,
            lines: Lines::new(),
        }
    }

    /// Takes the next bytes and gives out each file whose entry they complete.
    pub fn push(
        &mut self,
        bytes: &[u8],
        visit: &mut dyn FnMut(ManifestFile),
    ) -> Result<(), ManifestError> {
        self.lines.push(bytes);
        // The scanner is set aside for the while, because it calls back.
        let mut scanner = std::mem::replace(&mut self.scanner, Scanner::new());
        let result = scanner.push(bytes, &mut |piece| self.take(piece, visit));
        self.scanner = scanner;
        result
    }

    /// Ends the manifest: everything must be there, and the checksum must hold.
    pub fn finish(self) -> Result<ManifestSummary, ManifestError> {
        if !self.scanner.ended() || self.lines.breaks < 2 || !self.lines.ends_in_break {
            return Err(ManifestError::Cut);
        }
        let missing = |field| ManifestError::Missing {
            field,
            place: "the manifest".to_owned(),
        };
        let version = self.version.ok_or_else(|| missing(entry::VERSION))?;
        if !self.seen_files {
            return Err(missing(entry::FILES));
        }
        if version >= 2 && self.system_id.is_none() {
            return Err(missing(entry::SYSTEM_ID));
        }
        let found = self.checksum.ok_or_else(|| missing(entry::CHECKSUM))?;
        let computed = self.lines.digest();
        if found != computed {
            return Err(ManifestError::BadChecksum {
                found: found.to_string(),
                computed: computed.to_string(),
            });
        }
        Ok(ManifestSummary {
            version,
            system_id: self.system_id,
            files: self.files,
            bytes: self.bytes,
            wal_ranges: self.wal_ranges,
        })
    }

    fn take(
        &mut self,
        piece: Piece<'_>,
        visit: &mut dyn FnMut(ManifestFile),
    ) -> Result<(), ManifestError> {
        // Nothing may stand before the version: it says how to read the rest.
        if self.version.is_none() && !matches!(piece, Piece::Member(_)) {
            return Err(ManifestError::Missing {
                field: entry::VERSION,
                place: "the manifest's beginning".to_owned(),
            });
        }
        match piece {
            Piece::Member(text) => self.take_member(text)?,
            Piece::ArrayBegin(text) => {
                self.array = Some(match array_name(text)?.as_str() {
                    entry::FILES if !self.seen_files => {
                        self.seen_files = true;
                        Array::Files
                    }
                    entry::WAL_RANGES => Array::WalRanges,
                    other => return Err(entry::unexpected("the manifest", other)),
                });
            }
            Piece::Element(text) if matches!(self.array, Some(Array::Files)) => {
                let file = ManifestFile::parse(text, self.files)?;
                self.files += 1;
                self.bytes = self.bytes.saturating_add(file.size);
                visit(file);
            }
            Piece::Element(text) => {
                let range = ManifestWalRange::parse(text)?;
                if self.wal_ranges.len() >= WAL_RANGES_MAX {
                    return Err(entry::unexpected("WAL-Ranges", "more than 1024 ranges"));
                }
                self.wal_ranges.push(range);
            }
        }
        Ok(())
    }

    fn take_member(&mut self, text: &[u8]) -> Result<(), ManifestError> {
        match Member::parse(text)? {
            Member::Version(version) if self.version.is_none() => self.version = Some(version),
            _ if self.version.is_none() => {
                return Err(ManifestError::Missing {
                    field: entry::VERSION,
                    place: "the manifest's beginning".to_owned(),
                });
            }
            Member::SystemId(id) if self.system_id.is_none() => self.system_id = Some(id),
            Member::Checksum(checksum) if self.checksum.is_none() => {
                self.checksum = Some(checksum);
            }
            _ => {
                return Err(entry::unexpected(
                    "the manifest",
                    "a field stands there twice",
                ));
            }
        }
        Ok(())
    }
}

impl BackupManifest {
    /// Reads a whole manifest into memory, about 150 bytes for each file.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let mut list = Vec::new();
        let mut reader = ManifestReader::new();
        reader.push(bytes, &mut |file| list.push(file))?;
        Ok(Self {
            summary: reader.finish()?,
            list,
        })
    }
}
