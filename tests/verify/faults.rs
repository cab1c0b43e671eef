//! Faults of names and sizes, one each, on real repositories.

use walproof::finding::Severity;
use walproof::verify::TimeSource;

use super::*;
use crate::common::require;

#[test]
fn a_missing_middle_segment_is_named_with_the_moments_lost() {
    require!(Postgres, S3, Barman);
    let fixture = fixture(TimelineSwitch::None);
    let tree = fixture.tree();
    // Between the first backup and the second: the newest backup does not need it.
    let gone = later(&fixture.facts.backups[0].end_wal, 1);
    tree.delete_wal(&gone);
    let report = verify(&tree);
    let gap = only(&report);
    assert_eq!(
        (gap.code, gap.object.as_str()),
        (Code::WalGap, gone.as_str())
    );
    assert_eq!(gap.severity, Severity::Critical);
    let hole = &report.holes[0];
    assert_eq!(hole.time_source, Some(TimeSource::Commit));
    let (before, after) = (hole.last_before.unwrap(), hole.first_after.unwrap());
    assert!(before < after, "{before} {after}");
    assert_eq!(
        hole.next_backup.as_ref(),
        Some(&fixture.facts.backups[1].id)
    );
    assert!(
        gap.consequence.contains(&fixture.facts.backups[1].id),
        "{}",
        gap.consequence
    );
    assert_eq!(report.windows.len(), 2);
    assert_eq!(report.windows[0].end_time, Some(before));
    assert!(report.windows[0].end_lsn <= hole.begin_lsn);
    assert_eq!(
        report.tip.unwrap().commit.unwrap().time,
        fixture.facts.tip().time
    );
}

#[test]
fn a_hole_after_the_newest_backup_moves_the_tip_before_it() {
    require!(Postgres, S3, Barman);
    let fixture = fixture(TimelineSwitch::None);
    let tree = fixture.tree();
    let gone = later(tree.segments().last().unwrap(), -1);
    tree.delete_wal(&gone);
    let report = verify(&tree);
    let gap = only(&report);
    assert_eq!(
        (gap.code, gap.object.as_str()),
        (Code::WalGap, gone.as_str())
    );
    assert!(
        gap.consequence.starts_with("Nothing after"),
        "{}",
        gap.consequence
    );
    let tip = report.tip.clone().unwrap();
    assert!(tip.commit.unwrap().time < fixture.facts.tip().time);
    assert!(tip.lsn < report.archive_end.clone().unwrap().lsn);
    assert!(report.exposure.unwrap().seconds >= 0);
}

#[test]
fn wal_of_a_backup_missing_or_partial() {
    require!(Postgres, S3, Barman);
    let fixture = fixture(TimelineSwitch::None);
    let newest = &fixture.facts.backups[1];
    let tree = fixture.tree();
    tree.delete_wal(&newest.begin_wal);
    let report = verify(&tree);
    assert_eq!(codes(&report), [Code::BackupWalMissing, Code::WalGap]);
    assert_eq!(report.findings[0].object, newest.id);
    assert!(!report.backups[1].usable && report.backups[0].usable);

    let tree = fixture.tree();
    let key = tree.wal_key(&newest.begin_wal);
    tree.rename(&key, &key.replace(".gz", ".partial.gz"));
    let report = verify(&tree);
    assert_eq!(codes(&report), [Code::BackupWalPartial, Code::WalGap]);
}

#[test]
fn parts_tablespaces_descriptions() {
    require!(Postgres, S3, Barman);
    let fixture = fixture(TimelineSwitch::None);
    let id = fixture.facts.backups[1].id.as_str();
    let archives = fixture.tree().archives(id);
    assert_eq!(archives.len(), 2, "{archives:?}");
    for (key, code) in [
        (&archives[0], Code::BackupTablespaceMissing),
        (&archives[1], Code::BackupPartMissing),
    ] {
        let tree = fixture.tree();
        tree.delete(key);
        let report = verify(&tree);
        let finding = only(&report);
        assert_eq!(finding.code, code);
        // Which codec a missing object had, nobody knows.
        assert_eq!(finding.object, key.strip_suffix(".lz4").unwrap());
        assert!(!report.backups[1].usable);

        let tree = fixture.tree();
        tree.write(key, b"");
        let report = verify(&tree);
        assert_eq!(
            (only(&report).code, &only(&report).object),
            (Code::ObjectEmpty, key)
        );
    }
    let renumbered = fixture.tree();
    let key = archives[1].replace("data", "data_0001");
    renumbered.rename(&archives[1], &key);
    assert_eq!(only(&verify(&renumbered)).code, Code::BackupPartMissing);

    let failed = fixture.tree();
    failed.set_info(id, "status", "FAILED");
    assert_eq!(only(&verify(&failed)).code, Code::BackupFailed);
    let unreadable = fixture.tree();
    unreadable.write(&format!("base/{id}/backup.info"), b"<html>");
    assert_eq!(only(&verify(&unreadable)).code, Code::BackupInfoUnreadable);
    let lost = fixture.tree();
    lost.delete(&format!("base/{id}/backup.info"));
    assert_eq!(only(&verify(&lost)).code, Code::BackupInfoMissing);
    let foreign = fixture.tree();
    foreign.set_info(&fixture.facts.backups[0].id, "systemid", "42");
    assert_eq!(only(&verify(&foreign)).code, Code::SystemIdMixed);
}

#[test]
fn objects_of_a_segment_that_are_empty_small_or_two() {
    require!(Postgres, S3, Barman);
    let fixture = fixture(TimelineSwitch::None);
    let segment = later(&fixture.facts.backups[0].end_wal, 1);
    let key = fixture.tree().wal_key(&segment);
    for (bytes, code) in [
        (&b""[..], Code::ObjectEmpty),
        (b"tiny", Code::ObjectTooSmall),
    ] {
        let tree = fixture.tree();
        tree.write(&key, bytes);
        let report = verify(&tree);
        assert_eq!((only(&report).code, &only(&report).object), (code, &key));
        assert_eq!(report.windows.len(), 2);
    }
    let equal = fixture.tree();
    equal.duplicate(&key, ".zst", |_| {});
    assert_eq!(verify(&equal).findings, []);
    let different = fixture.tree();
    different.duplicate(&key, ".zst", |bytes| bytes[5000] ^= 1);
    let report = verify(&different);
    let finding = only(&report);
    assert_eq!(finding.code, Code::WalDuplicateDiffers);
    assert!(finding.message.contains(&segment));
}

#[test]
fn damage_in_the_last_segment_ends_the_tip_before_it() {
    require!(Postgres, S3, Barman);
    let fixture = fixture(TimelineSwitch::None);
    let last = fixture.tree().segments().last().unwrap().clone();
    let key = fixture.tree().wal_key(&last);
    let tree = fixture.tree();
    tree.halve(&key);
    let report = verify(&tree);
    assert_eq!(
        (only(&report).code, &only(&report).object),
        (Code::WalUnreadable, &key)
    );
    let commit = report.tip.clone().unwrap().commit.unwrap();
    assert!(commit.time < fixture.facts.tip().time);

    let tree = fixture.tree();
    tree.change_inside(&key, |bytes| bytes[100] ^= 1);
    let report = verify(&tree);
    assert_eq!(
        (only(&report).code, &only(&report).object),
        (Code::WalCorrupt, &key)
    );

    let tree = fixture.tree();
    tree.change_inside(&key, |bytes| bytes[24] ^= 1);
    let report = verify(&tree);
    assert_eq!(
        (only(&report).code, &only(&report).object),
        (Code::WalForeign, &key)
    );
}

#[test]
fn history_files_missing_garbled_or_with_a_wrong_switch_point() {
    require!(Postgres, S3, Barman);
    let fixture = fixture(TimelineSwitch::Promotion);
    let key = fixture.tree().wal_key("00000002.history");

    let tree = fixture.tree();
    tree.delete(&key);
    let report = verify(&tree);
    let missing = only(&report);
    assert_eq!(
        (missing.code, missing.object.as_str()),
        (Code::HistoryMissing, "00000002.history")
    );
    assert_eq!(missing.severity, Severity::Critical);
    assert!(report.windows[0].ends_because.contains("history"));

    let tree = fixture.tree();
    tree.change_inside(&key, |bytes| *bytes = b"garbled".to_vec());
    let report = verify(&tree);
    assert_eq!(
        (only(&report).code, &only(&report).object),
        (Code::HistoryUnreadable, &key)
    );

    let size = fixture.facts.segment_size;
    let switch: walproof::postgres::Lsn =
        fixture.facts.switch_lsn.clone().unwrap().parse().unwrap();
    let wrong = |lsn: u64| {
        let tree = fixture.tree();
        let lsn = walproof::postgres::Lsn::new(lsn);
        tree.change_inside(&key, |bytes| {
            *bytes = format!("1\t{lsn}\tno recovery target specified\n").into_bytes();
        });
        verify(&tree)
    };
    // Two segments too early, one too late, a little too early, a little too late.
    for lsn in [
        switch.bytes() - 2 * size,
        switch.bytes() + size,
        switch.bytes() - 8,
        switch.bytes() + 8,
    ] {
        let report = wrong(lsn);
        assert!(
            report
                .findings
                .iter()
                .any(|found| found.code == Code::HistoryContradictory && found.object == key),
            "{lsn:X}: {:#?}",
            report.findings
        );
    }
}

#[test]
fn a_first_segment_that_does_not_repeat_its_parent() {
    require!(Postgres, S3, Barman);
    // The old primary lived on, so its own copy of that segment is there to compare with.
    let fixture = fixture(TimelineSwitch::AbandonedBranch);
    let tree = fixture.tree();
    assert!(!codes(&verify(&tree)).contains(&Code::HistoryContradictory));
    let switch: walproof::postgres::Lsn =
        fixture.facts.switch_lsn.clone().unwrap().parse().unwrap();
    let within = usize::try_from(switch.bytes() % fixture.facts.segment_size).unwrap();
    let first = tree.segments_of(2)[0].clone();
    tree.change_inside(&tree.wal_key(&first), |bytes| bytes[within / 2] ^= 0x5A);
    let report = verify(&tree);
    let found = report
        .findings
        .iter()
        .find(|found| found.code == Code::HistoryContradictory)
        .unwrap_or_else(|| panic!("{:#?}", report.findings));
    assert!(found.message.contains(&first), "{}", found.message);
}

#[test]
fn a_segment_missing_at_the_switch() {
    require!(Postgres, S3, Barman);
    let fixture = fixture(TimelineSwitch::Promotion);
    let tree = fixture.tree();
    let first = tree.segments_of(2)[0].clone();
    tree.delete_wal(&first);
    let report = verify(&tree);
    let gap = only(&report);
    assert_eq!(
        (gap.code, gap.object.as_str()),
        (Code::WalGap, first.as_str())
    );
    assert!(gap.message.contains("switch to timeline 2"));

    let tree = fixture.tree();
    let parent = format!("00000001{}", &later(&first, -1)[8..]);
    tree.delete_wal(&parent);
    let report = verify(&tree);
    assert_eq!(
        (only(&report).code, only(&report).object.as_str()),
        (Code::WalGap, parent.as_str())
    );
}

#[test]
fn nothing_only_wal_and_strangers() {
    require!(Postgres, S3, Barman);
    let empty = Tree::empty("orders");
    assert_eq!(codes(&verify(&empty)), [Code::RepositoryEmpty]);
    let fixture = fixture(TimelineSwitch::None);
    let tree = fixture.tree();
    for id in tree.backups() {
        std::fs::remove_dir_all(tree.file(&format!("base/{id}"))).unwrap();
    }
    assert_eq!(codes(&verify(&tree)), [Code::RepositoryWithoutBackup]);
    let tree = fixture.tree();
    tree.write("notes/README.txt", b"hello");
    let report = verify(&tree);
    assert_eq!(
        (only(&report).code, only(&report).severity),
        (Code::ObjectUnknown, Severity::Info)
    );
}

/// What is done to a tree.
type Damage<'a> = &'a dyn Fn(&Tree);

/// What names and sizes cannot show. These must turn when deeper reading exists.
#[test]
fn content_faults_in_the_middle_are_not_seen_at_this_depth() {
    require!(Postgres, S3, Barman);
    let fixture = fixture(TimelineSwitch::None);
    let segment = later(&fixture.facts.backups[0].end_wal, 1);
    let wal = fixture.tree().wal_key(&segment);
    let data = fixture.tree().archives(&fixture.facts.backups[1].id)[1].clone();
    let faults: [(&str, Damage<'_>); 5] = [
        ("a byte of a segment flipped", &|tree| {
            tree.flip_middle(&wal);
        }),
        ("a record damaged", &|tree| {
            tree.change_inside(&wal, |bytes| bytes[9000] ^= 1);
        }),
        ("a segment cut", &|tree| tree.halve(&wal)),
        ("an archive cut", &|tree| tree.halve(&data)),
        ("a byte of an archive flipped", &|tree| {
            tree.flip_middle(&data);
        }),
    ];
    for (name, damage) in faults {
        let tree = fixture.tree();
        damage(&tree);
        let report = verify(&tree);
        assert_eq!(report.findings, [], "{name} is seen now: turn this test");
        assert_eq!(serde_json::to_value(report.depth).unwrap(), "listed");
    }
}
