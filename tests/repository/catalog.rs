//! Catalogs of small trees.

use walproof::codec::{Codec, encode_all};
use walproof::finding::Code;
use walproof::postgres::{SegmentNumber, TimelineId};
use walproof::repository::{
    ArchiveContents, BackupMethod, BackupStatus, Keep, ReadWalError, discover,
};

use crate::tree::{DONE, Tree};

const ID: &str = "20261121T133159";

#[tokio::test]
async fn a_whole_repository_is_read() {
    let tree = Tree::new();
    let base = format!("base/{ID}");
    tree.put(&format!("{base}/backup.info"), DONE.as_bytes())
        .put(&format!("{base}/data_0001.tar.gz"), b"x")
        .put(&format!("{base}/data.tar.gz"), b"xx")
        .put(&format!("{base}/16384.tar.gz"), b"x")
        .put(&format!("{base}/annotations/keep"), b"standalone\n")
        .put("base/20250101T000000/annotations/keep", b"full")
        .put(
            "wals/00000002.history.gz",
            &encode_all(Codec::Gzip, b"1\t0/5000148\tno recovery target specified\n").unwrap(),
        )
        .put(
            "wals/0000000100000000/000000010000000000000002.00000028.backup",
            b"START WAL LOCATION",
        )
        .put_segment("", "000000010000000000000002")
        .put_segment("", "000000010000000000000003.gz")
        .put_segment("", "000000010000000000000003.zst")
        .put_segment("", "000000010000000000000005.partial.gz")
        .put_segment("", "000000020000000000000005.xz")
        .put("notes.txt", b"hello");
    for extra in 0..20 {
        tree.put(&format!("strange/{extra:02}"), b"?");
    }
    let repository = tree.repository();
    let catalog = repository.catalog().await.unwrap();

    assert_eq!(catalog.findings, []);
    assert_eq!(catalog.objects, 34);
    assert_eq!(catalog.unknown.count, 21);
    assert_eq!(catalog.unknown.sample.len(), 10);
    assert_eq!(catalog.backups.len(), 1, "a left-over keep is no backup");
    let backup = catalog.backup(ID).unwrap();
    assert_eq!(backup.status, BackupStatus::Done);
    assert_eq!(backup.method, BackupMethod::Archives);
    assert_eq!(backup.keep, Some(Keep::Standalone));
    assert_eq!(backup.stored_bytes(), 4);
    let archives: Vec<(ArchiveContents, u32)> = backup
        .archives
        .iter()
        .map(|archive| (archive.contents, archive.part))
        .collect();
    assert_eq!(
        archives,
        [
            (ArchiveContents::Data, 0),
            (ArchiveContents::Data, 1),
            (ArchiveContents::Tablespace(16384), 0)
        ]
    );
    assert_eq!(backup.info_sha256.as_ref().unwrap().len(), 64);

    let one = &catalog.wal.timelines[&TimelineId(1)];
    assert_eq!(
        (one.oldest(), one.newest()),
        (Some(SegmentNumber(2)), Some(SegmentNumber(3)))
    );
    assert_eq!(one.partials, [(SegmentNumber(5), Codec::Gzip)]);
    assert!(one.newest_stored.is_some());
    assert_eq!(
        catalog.wal.history(TimelineId(2)).unwrap().ancestors.len(),
        1
    );
    assert_eq!(catalog.wal.backup_histories, 1);
    assert_eq!(catalog.wal.duplicates.len(), 1);
    assert!(!catalog.wal.segment_size_guessed);

    // What a restore asks for.
    let objects = |name: &str| repository.wal_objects(&catalog, name.parse().unwrap());
    let twice = objects("000000010000000000000003");
    assert_eq!(twice.len(), 2);
    for object in &twice {
        let bytes = repository.read_wal(object, 16 << 20).await.unwrap();
        assert_eq!(bytes.len(), 16 << 20);
    }
    assert_eq!(
        objects("000000010000000000000005"),
        [],
        "partial is no segment"
    );
    assert_eq!(objects("000000010000000000000005.partial").len(), 1);
    assert_eq!(objects("00000002.history").len(), 1);
    assert_eq!(objects("00000003.history"), []);
    assert!(matches!(
        repository.read_wal(&twice[0], 1 << 20).await,
        Err(ReadWalError::TooLarge { .. })
    ));
}

#[tokio::test]
async fn trouble_with_metadata_is_a_finding() {
    let tree = Tree::new();
    tree.put("base/20260101T000000/data.tar", b"x")
        .put(
            "base/20260102T000000/backup.info",
            b"<html>gateway error</html>",
        )
        .put("base/20260102T000000/data.tar", b"x")
        .put(
            "base/20260103T000000/backup.info",
            b"status=FAILED\nerror=failure uploading data (x)\n",
        )
        .put(
            "base/20260104T000000/backup.info",
            b"status=STARTED\nbegin_time=2026-01-04 00:00:00\n",
        )
        .put("base/20260104T000000/annotations/keep", b"perhaps")
        .put(
            "base/20260105T000000/backup.info",
            &vec![b'#'; (4 << 20) + 1],
        )
        .put(
            "base/20260106T000000/backup.info",
            b"status=WAITING_FOR_WALS\nmode=snapshot-concurrent\n",
        )
        .put("base/20260106T000000/backup_label", b"x")
        .put("wals/00000002.history", b"<html>")
        .put("wals/00000003.history.gz", b"not gzip");
    let catalog = tree.repository().catalog().await.unwrap();
    let found: Vec<(Code, &str)> = catalog
        .findings
        .iter()
        .map(|finding| (finding.code, finding.object.as_str()))
        .collect();
    assert_eq!(
        found,
        [
            (Code::BackupInfoMissing, "base/20260101T000000/backup.info"),
            (
                Code::BackupInfoUnreadable,
                "base/20260102T000000/backup.info"
            ),
            (
                Code::BackupInfoUnreadable,
                "base/20260105T000000/backup.info"
            ),
        ]
    );
    let statuses: Vec<&BackupStatus> = catalog
        .backups
        .iter()
        .map(|backup| &backup.status)
        .collect();
    assert_eq!(
        statuses,
        [
            &BackupStatus::Unknown,
            &BackupStatus::Unknown,
            &BackupStatus::Failed,
            &BackupStatus::Started,
            &BackupStatus::Unknown,
            &BackupStatus::Other("WAITING_FOR_WALS".to_owned()),
        ]
    );
    assert_eq!(
        catalog.backups[2].error.as_deref(),
        Some("failure uploading data (x)")
    );
    assert_eq!(catalog.backups[3].keep, None);
    assert_eq!(
        catalog.backups[3].notes.len(),
        3,
        "{:?}",
        catalog.backups[3].notes
    );
    assert_eq!(catalog.backups[5].method, BackupMethod::Snapshot);
    assert!(catalog.wal.histories[&TimelineId(2)].history.is_err());
    let reason = catalog.wal.histories[&TimelineId(3)]
        .history
        .as_ref()
        .unwrap_err();
    assert!(reason.contains("gzip"), "{reason}");
}

#[tokio::test]
async fn nothing_there_is_an_empty_catalog() {
    let tree = Tree::new();
    let catalog = tree.repository().catalog().await.unwrap();
    assert!(catalog.is_empty());
    assert!(catalog.wal.segment_size_guessed);
    assert!(catalog.notes[0].contains("16 MiB"), "{:?}", catalog.notes);
}

#[tokio::test]
async fn the_newest_finished_backup_tells_the_segment_size() {
    let tree = Tree::new();
    let wide = DONE
        .replace("16777216", "67108864")
        .replace("000000010000000000000002", "000000010000000000000000");
    let old = DONE.replace("2026-11-21", "2026-11-20");
    tree.put("base/20261121T133159/backup.info", wide.as_bytes())
        .put("base/20261120T133159/backup.info", old.as_bytes())
        .put(
            "base/20261122T133159/backup.info",
            b"status=STARTED\nbegin_time=2026-11-22 00:00:00+00:00\nxlog_segment_size=1048576\n",
        )
        .put_segment("", "000000010000000000000040.gz");
    let catalog = tree.repository().catalog().await.unwrap();
    assert_eq!(catalog.wal.segment_size.bytes(), 64 << 20);
    assert_eq!(catalog.wal.illegal.len(), 1);
    assert!(
        catalog.notes[0].starts_with("2 base backups"),
        "{:?}",
        catalog.notes
    );
    assert_eq!(catalog.findings, []);
}

#[tokio::test]
async fn servers_are_discovered_at_and_below_a_place() {
    let tree = Tree::new();
    for server in ["orders", "deep/er/billing", "base", "wals"] {
        tree.put(&format!("{server}/base/{ID}/backup.info"), DONE.as_bytes())
            .put_segment(&format!("{server}/"), "000000010000000000000002");
    }
    tree.put_segment("archive-only/", "000000010000000000000002")
        .put("other/things/here", b"x");
    let found = discover(&tree.store()).await.unwrap();
    let servers: Vec<(&str, u64, u64)> = found
        .iter()
        .map(|server| {
            (
                server.server.as_str(),
                server.finished_backups,
                server.wal_segments,
            )
        })
        .collect();
    assert_eq!(
        servers,
        [
            ("archive-only", 0, 1),
            ("base", 1, 1),
            ("billing", 1, 1),
            ("orders", 1, 1),
            ("wals", 1, 1)
        ]
    );
    assert_eq!(found[3].majors, [15]);
    assert_eq!(found[3].system_ids.len(), 1);
    assert!(found[3].newest_wal.is_some());

    // The URL may already be a server's.
    let at = discover(&tree.store().at("orders")).await.unwrap();
    assert_eq!(at, found[3..4]);
    assert_eq!(discover(&tree.store().at("other")).await.unwrap(), []);
}
