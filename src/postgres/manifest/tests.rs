use proptest::prelude::*;

use super::*;
use crate::postgres::{Lsn, TimelineId};

/// Seals a manifest whose text ends before the checksum's line.
fn sealed(head: &str) -> String {
    let mut hasher = FileHasher::new(ChecksumAlgorithm::Sha256);
    hasher.update(head.as_bytes());
    let digits = hasher.finish();
    format!("{head}\"Manifest-Checksum\": \"{digits}\"}}\n")
}

const HEAD_1: &str = "{ \"PostgreSQL-Backup-Manifest-Version\": 1,\n";
const HEAD_2: &str =
    "{ \"PostgreSQL-Backup-Manifest-Version\": 2,\n\"System-Identifier\": 7300000000000000001,\n";
const FILE: &str = "{ \"Path\": \"PG_VERSION\", \"Size\": 3, \"Last-Modified\": \"2026-11-21 20:00:00 GMT\", \"Checksum-Algorithm\": \"CRC32C\", \"Checksum\": \"8a744722\" }";
const RANGES: &str = "\"WAL-Ranges\": [\n{ \"Timeline\": 2, \"Start-LSN\": \"0/2000028\", \"End-LSN\": \"0/2000100\" }\n],\n";

fn usual(head: &str, file: &str) -> String {
    sealed(&format!("{head}\"Files\": [\n{file}\n],\n{RANGES}"))
}

fn parse(text: &str) -> Result<BackupManifest, ManifestError> {
    BackupManifest::parse(text.as_bytes())
}

#[test]
fn both_versions_are_read() {
    let manifest = parse(&usual(HEAD_1, FILE)).unwrap();
    assert_eq!(manifest.summary.version, 1);
    assert_eq!(manifest.summary.system_id, None);
    assert_eq!((manifest.summary.files, manifest.summary.bytes), (1, 3));
    assert_eq!(manifest.list[0].path, b"PG_VERSION");
    assert_eq!(
        manifest.list[0].checksum.unwrap().as_bytes(),
        [0x8a, 0x74, 0x47, 0x22]
    );
    assert_eq!(
        manifest.summary.wal_ranges,
        [ManifestWalRange {
            timeline: TimelineId(2),
            start: Lsn::new(0x200_0028),
            end: Lsn::new(0x200_0100),
        }]
    );
    let manifest = parse(&usual(HEAD_2, FILE)).unwrap();
    assert_eq!(manifest.summary.version, 2);
    assert_eq!(
        manifest.summary.system_id,
        Some(SystemId(7_300_000_000_000_000_001))
    );
}

#[test]
fn other_writers_break_lines_elsewhere() {
    // As Barman makes them for its own rsync backups.
    let text = sealed(
        "{\"PostgreSQL-Backup-Manifest-Version\": 1,\n\"Files\": [\n{\"Checksum\": \"8a744722\", \"Checksum-Algorithm\": \"CRC32C\", \"Last-Modified\": \"x\", \"Path\": \"data/PG_VERSION\", \"Size\": 3},\n{\"Path\": \"b\", \"Size\": 4}],\n",
    );
    let manifest = parse(&text).unwrap();
    assert_eq!(manifest.list.len(), 2);
    assert_eq!(manifest.list[1].checksum, None);
    assert_eq!(manifest.summary.wal_ranges, []);
}

#[test]
fn names_that_are_no_text_are_encoded() {
    let text = usual(HEAD_1, "{ \"Encoded-Path\": \"62ff\", \"Size\": 0 }");
    assert_eq!(parse(&text).unwrap().list[0].path, b"b\xff");
    let text = usual(HEAD_1, "{ \"Path\": \"\\\"\\u00e9\\\\\", \"Size\": 0 }");
    assert_eq!(parse(&text).unwrap().list[0].path, "\"é\\".as_bytes());
}

#[test]
fn every_damage_of_the_text_is_noticed() {
    let text = usual(HEAD_2, FILE);
    let good = text.as_bytes();
    for cut in 0..good.len() {
        assert!(BackupManifest::parse(&good[..cut]).is_err(), "cut at {cut}");
    }
    for at in 0..good.len() {
        let mut bytes = good.to_vec();
        bytes[at] ^= 1;
        assert!(BackupManifest::parse(&bytes).is_err(), "flip at {at}");
    }
    let wrong = text.replace("\"Size\": 3", "\"Size\": 4");
    assert!(matches!(
        parse(&wrong),
        Err(ManifestError::BadChecksum { .. })
    ));
    assert_eq!(parse(text.trim_end()), Err(ManifestError::Cut));
    assert_eq!(parse(""), Err(ManifestError::Cut));
}

#[test]
fn entries_that_postgres_refuses_are_refused() {
    let file = |file: &str| parse(&usual(HEAD_1, file)).unwrap_err();
    assert!(matches!(
        file("{ \"Path\": \"a\" }"),
        ManifestError::Missing { field: "Size", .. }
    ));
    assert!(matches!(
        file("{ \"Size\": 1 }"),
        ManifestError::Missing { field: "Path", .. }
    ));
    assert!(matches!(
        file("{ \"Path\": \"a\", \"Size\": -1 }"),
        ManifestError::BadValue { field: "Size", .. }
    ));
    assert!(matches!(
        file("{ \"Path\": \"a\", \"Encoded-Path\": \"61\", \"Size\": 1 }"),
        ManifestError::Unexpected { .. }
    ));
    assert!(matches!(
        file("{ \"Encoded-Path\": \"6\", \"Size\": 1 }"),
        ManifestError::BadValue { .. }
    ));
    assert!(matches!(
        file("{ \"Path\": \"a\", \"Size\": 1, \"Other\": 1 }"),
        ManifestError::Unexpected { .. }
    ));
    assert!(matches!(
        file("{ \"Path\": \"a\", \"Size\": 1, \"Checksum\": \"00\" }"),
        ManifestError::Missing { .. }
    ));
    assert!(matches!(
        file(
            "{ \"Path\": \"a\", \"Size\": 1, \"Checksum-Algorithm\": \"MD5\", \"Checksum\": \"00\" }"
        ),
        ManifestError::BadValue {
            field: "Checksum-Algorithm",
            ..
        }
    ));
    assert!(matches!(
        file(
            "{ \"Path\": \"a\", \"Size\": 1, \"Checksum-Algorithm\": \"CRC32C\", \"Checksum\": \"00\" }"
        ),
        ManifestError::BadValue {
            field: "Checksum",
            ..
        }
    ));
    assert!(matches!(file("[]"), ManifestError::Unexpected { .. }));
    for (head, field) in [
        (
            "{ \"PostgreSQL-Backup-Manifest-Version\": 2,\n",
            "System-Identifier",
        ),
        (
            "{ \"System-Identifier\": 1,\n",
            "PostgreSQL-Backup-Manifest-Version",
        ),
        ("{\n", "PostgreSQL-Backup-Manifest-Version"),
    ] {
        match parse(&usual(head, FILE)) {
            Err(ManifestError::Missing { field: named, .. }) => assert_eq!(named, field),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(
        parse(&usual(&HEAD_1.replace('1', "3"), FILE)),
        Err(ManifestError::UnknownVersion { found: 3 })
    );
    for ranges in [
        "\"WAL-Ranges\": [{ \"Timeline\": 1, \"Start-LSN\": \"0/3\", \"End-LSN\": \"0/2\" }],\n",
        "\"WAL-Ranges\": [{ \"Timeline\": 1, \"Start-LSN\": \"0/3\" }],\n",
        "\"WAL-Ranges\": [{ \"Timeline\": 1, \"Start-LSN\": \"x\", \"End-LSN\": \"0/2\" }],\n",
        "\"Others\": [],\n",
        "\"Files\": [],\n",
        "\"PostgreSQL-Backup-Manifest-Version\": 1,\n",
        ",\n",
    ] {
        let text = sealed(&format!("{HEAD_1}\"Files\": [\n],\n{ranges}"));
        assert!(parse(&text).is_err(), "{ranges}");
    }
}

#[test]
fn a_manifest_without_end_needs_no_memory() {
    let mut reader = ManifestReader::new();
    reader.push(HEAD_1.as_bytes(), &mut |_| ()).unwrap();
    reader.push(b"\"Files\": [\n", &mut |_| ()).unwrap();
    let mut count = 0_u32;
    for _ in 0..20_000 {
        reader
            .push(format!("{FILE},\n").as_bytes(), &mut |_| count += 1)
            .unwrap();
    }
    assert_eq!(count, 20_000);
    assert_eq!((reader.files, reader.bytes), (20_000, 60_000));
    let endless = vec![b'x'; 1 << 20];
    assert!(matches!(
        reader.push(&endless, &mut |_| ()),
        Err(ManifestError::TooLong { .. })
    ));
}

proptest! {
    #[test]
    fn cutting_makes_no_difference(cut in 1usize..40) {
        let text = usual(HEAD_2, &format!("{FILE},\n{FILE}"));
        let mut reader = ManifestReader::new();
        let mut list = Vec::new();
        for chunk in text.as_bytes().chunks(cut) {
            reader.push(chunk, &mut |file| list.push(file)).unwrap();
        }
        let whole = parse(&text).unwrap();
        prop_assert_eq!(reader.finish().unwrap(), whole.summary);
        prop_assert_eq!(list, whole.list);
    }

    #[test]
    fn any_bytes_are_answered(bytes: Vec<u8>, text in "[{}\\[\\]\":,a-zA-Z0-9 \n-]{0,80}") {
        let _ = BackupManifest::parse(&bytes);
        let _ = parse(&format!("{HEAD_1}{text}"));
        let _ = parse(&sealed(&format!("{HEAD_1}\"Files\": [{text}],\n")));
    }
}
