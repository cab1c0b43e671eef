//! What the fuzz targets run, and `tests/mutation.rs` likewise: every decoder of foreign
//! bytes. Each function takes any bytes and says whether they were accepted; what it must not
//! do is panic, loop, or use memory without bound. Where bytes are under a checksum it is set
//! right first, so that what lies behind the check is reached too.

use std::io::Read as _;
use std::ops::ControlFlow;

use walproof::codec::{Codec, Sha256, decode_all, decoder};
use walproof::postgres::manifest::{BackupManifest, ManifestReader};
use walproof::postgres::page::{BLOCK_SIZE, checksum, judge};
use walproof::postgres::transaction_status::{StatusFile, StatusRange, truncated_to};
use walproof::postgres::wal::{WalStream, WalStreamOptions, first_record, read_first_page};
use walproof::postgres::{
    BackupHistory, BackupLabel, ControlFile, Lsn, PageVerdict, RelationFile, RelationMap,
    SegmentName, SegmentSize, TablespaceMap, TimelineHistory, TimelineId, WalFileName,
};

/// A function with its name, which is also its corpus'.
pub(crate) type Target = (&'static str, fn(&[u8]) -> bool);

/// All of them.
pub(crate) const ALL: [Target; 17] = [
    ("wal", wal),
    ("page", page),
    ("relation_file", relation_file),
    ("manifest", manifest),
    ("tablespace_map", tablespace_map),
    ("relation_map", relation_map),
    ("control_file", control_file),
    ("history", history),
    ("backup_label", backup_label),
    ("status_file", status_file),
    ("names", names),
    ("gzip", gzip),
    ("bzip2", bzip2),
    ("xz", xz),
    ("zstd", zstd),
    ("lz4", lz4),
    ("snappy", snappy),
];

/// A segment of 1 MiB that begins with the bytes and goes on with zeros. Accepted are bytes
/// of which at least one record is read. Checksums of records are not mended: a change in a
/// record's body is found there and then.
pub(crate) fn wal(data: &[u8]) -> bool {
    const SIZE: usize = 1 << 20;
    let mut segment = data.to_vec();
    segment.resize(SIZE, 0);
    let (Ok(page), Ok(Some(start)), Ok(size)) = (
        read_first_page(&segment),
        first_record(&segment),
        SegmentSize::new(SIZE as u64),
    ) else {
        return false;
    };
    let mut stream = WalStream::new(WalStreamOptions {
        segment_size: size,
        system_id: Some(page.system_id),
        history: TimelineHistory::first(),
        start,
    });
    let mut records = 0;
    let _ = stream.push_segment(stream.next_segment(), &segment, &mut |record| {
        records += 1;
        assert!(record.main_data().len() <= record.body.len());
        assert!(record.blocks().count() <= 33);
        let _ = (record.event(), truncated_to(record), record.len());
        ControlFlow::Continue(())
    });
    records > 0
}

/// A page as it is and, in a cluster with checksums, with its checksum set right.
pub(crate) fn page(data: &[u8]) -> bool {
    let _ = judge(data, 0, true);
    let mut page = [0; BLOCK_SIZE];
    for (to, from) in page.iter_mut().zip(data) {
        *to = *from;
    }
    let plain = judge(&page, 7, false);
    let sum = checksum(&page, 7);
    assert_ne!(sum, 0);
    page[8..10].copy_from_slice(&sum.to_le_bytes());
    let sealed = judge(&page, 7, true);
    assert!(!matches!(sealed, PageVerdict::BadChecksum { .. }));
    if sum != checksum(&page, 8) && matches!(sealed, PageVerdict::Sound { .. }) {
        let elsewhere = judge(&page, 8, true);
        assert!(matches!(elsewhere, PageVerdict::BadChecksum { .. }));
    }
    matches!(plain, PageVerdict::Sound { .. })
}

/// A path; one that is read is written alike.
pub(crate) fn relation_file(data: &[u8]) -> bool {
    let Ok(path) = std::str::from_utf8(data) else {
        return false;
    };
    let Some(file) = RelationFile::parse(path) else {
        return false;
    };
    let version = path.split('/').nth(2).unwrap_or_default();
    assert_eq!(
        path.starts_with("pg_tblspc/"),
        !matches!(file.locator.tablespace, 1663 | 1664)
    );
    assert_eq!(file.path(version), path);
    let _ = file.first_block(131_072);
    true
}

/// A manifest as it is, and with its own checksum set right.
pub(crate) fn manifest(data: &[u8]) -> bool {
    const LAST: &[u8] = b"\"Manifest-Checksum\"";
    let at = data.windows(LAST.len()).rposition(|part| part == LAST);
    if let Some(head) = at.and_then(|at| data.get(..at)) {
        let line = format!("\"Manifest-Checksum\": \"{}\"}}\n", Sha256::of(head));
        manifest_in_pieces(&[head, line.as_bytes()].concat());
    }
    manifest_in_pieces(data)
}

/// Whole and in pieces the outcome is the same.
fn manifest_in_pieces(data: &[u8]) -> bool {
    let whole = BackupManifest::parse(data);
    let size = data.first().map_or(1, |first| usize::from(*first) + 1);
    let mut reader = ManifestReader::new();
    let mut files = 0;
    let pushed = data
        .chunks(size)
        .try_for_each(|piece| reader.push(piece, &mut |_| files += 1));
    let pieces = pushed.and_then(|()| reader.finish());
    assert_eq!(whole.as_ref().map(|whole| &whole.summary), pieces.as_ref());
    if let Ok(whole) = &whole {
        assert_eq!(whole.list.len(), files);
    }
    whole.is_ok()
}

pub(crate) fn tablespace_map(data: &[u8]) -> bool {
    TablespaceMap::parse(data).is_ok()
}

/// A map of either size, with its checksum set right.
pub(crate) fn relation_map(data: &[u8]) -> bool {
    let _ = RelationMap::parse(data);
    let mut accepted = false;
    for (size, crc_at) in [(512, 504), (524, 520)] {
        let mut bytes = data.to_vec();
        bytes.resize(size, 0);
        let crc = crc32c::crc32c(&bytes[..crc_at]);
        bytes[crc_at..crc_at + 4].copy_from_slice(&crc.to_le_bytes());
        if let Ok(map) = RelationMap::parse(&bytes) {
            assert!(map.mappings.len() <= 64);
            let _ = map.relation(1259);
            accepted = true;
        }
    }
    accepted
}

/// A control file of every format, with its checksum set right; and the files that its
/// checkpoint asks for.
pub(crate) fn control_file(data: &[u8]) -> bool {
    let _ = ControlFile::parse(data);
    let mut accepted = false;
    for crc_at in [288, 292, 308] {
        let mut bytes = data.to_vec();
        bytes.resize(8192, 0);
        let crc = crc32c::crc32c(&bytes[..crc_at]);
        bytes[crc_at..crc_at + 4].copy_from_slice(&crc.to_le_bytes());
        let Ok(file) = ControlFile::parse(&bytes) else {
            continue;
        };
        let _ = (file.major(), file.pages_must_match_checksums());
        assert!(StatusRange::transactions(&file.checkpoint).files().count() <= 4096);
        if let Some(offsets) = StatusRange::multixact_offsets(&file.checkpoint) {
            assert!(offsets.files().count() <= 65_536);
        }
        if let Some(members) = StatusRange::multixact_members(&file.checkpoint, 1) {
            assert!(members.files().count() <= 82_041);
        }
        accepted = true;
    }
    accepted
}

pub(crate) fn history(data: &[u8]) -> bool {
    TimelineHistory::parse(TimelineId(9), data).is_ok()
}

/// `backup_label`, and the backup history file, which has more lines.
pub(crate) fn backup_label(data: &[u8]) -> bool {
    let _ = BackupHistory::parse(data);
    BackupLabel::parse(data).is_ok()
}

/// Paths of transaction status files; one that is read is written alike.
pub(crate) fn status_file(data: &[u8]) -> bool {
    let Some(file) = std::str::from_utf8(data).ok().and_then(StatusFile::parse) else {
        return false;
    };
    assert_eq!(file.to_string().as_bytes(), data);
    true
}

/// Names of WAL files, LSNs.
pub(crate) fn names(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else {
        return false;
    };
    let lsn = text.parse::<Lsn>().is_ok();
    let segment = text.parse::<SegmentName>().is_ok();
    lsn || segment || text.parse::<WalFileName>().is_ok()
}

pub(crate) fn gzip(data: &[u8]) -> bool {
    codec(Codec::Gzip, data)
}

pub(crate) fn bzip2(data: &[u8]) -> bool {
    codec(Codec::Bzip2, data)
}

pub(crate) fn xz(data: &[u8]) -> bool {
    codec(Codec::Xz, data)
}

pub(crate) fn zstd(data: &[u8]) -> bool {
    codec(Codec::Zstd, data)
}

pub(crate) fn lz4(data: &[u8]) -> bool {
    codec(Codec::Lz4, data)
}

pub(crate) fn snappy(data: &[u8]) -> bool {
    codec(Codec::Snappy, data)
}

/// Decodes at once and as a stream, at most 1 MiB: the outcome is the same.
fn codec(codec: Codec, data: &[u8]) -> bool {
    const LIMIT: u64 = 1 << 20;
    let _ = Codec::sniff(data);
    let at_once = decode_all(codec, data, LIMIT);
    let mut streamed = Vec::new();
    let result = decoder(codec, Box::new(data))
        .take(LIMIT + 1)
        .read_to_end(&mut streamed);
    let small = streamed.len() as u64 <= LIMIT;
    assert_eq!(at_once.is_ok(), result.is_ok() && small);
    if let Ok(all) = &at_once {
        assert_eq!(*all, streamed);
    }
    at_once.is_ok()
}
