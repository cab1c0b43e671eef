//! Depth `read`: what only records show.

use walproof::finding::Severity;
use walproof::postgres::Lsn;
use walproof::verify::read::WalStop;

use super::*;
use crate::common::source::Source;
use crate::common::{require, tape, waldump, workload};

/// Where records begin whose kind and words are these, as `pg_waldump` tells.
fn places(source: &Source, since: Lsn, manager: &str, words: &str) -> Vec<Lsn> {
    waldump::records(&source.archiver.plain_wal, 1, since.bytes())
        .into_iter()
        .filter(|record| record.manager == manager && record.description.starts_with(words))
        .map(|record| Lsn::new(record.start))
        .collect()
}

fn begin_of(tree: &Tree, backup: &str) -> Lsn {
    let info = tree.info(backup);
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix("begin_xlog="));
    line.unwrap().parse().unwrap()
}

fn of(report: &VerifyReport, code: Code) -> &Finding {
    let mut found = report.findings.iter();
    found.find(|finding| finding.code == code).unwrap()
}

fn remove_backup(tree: &Tree, backup: &str) {
    let folder = format!("base/{backup}/");
    for key in tree.keys() {
        if key.starts_with(&folder) {
            tree.delete(&key);
        }
    }
}

#[test]
fn what_records_ask_of_a_restore_is_told_for_restores_that_meet_it() {
    require!(Postgres, S3, Barman);
    let mut source = Source::new(&[("max_connections", "100")]);
    // Before the first base backup, within the archive.
    source.server.create_tablespace("early");
    source.server.append_settings(&[
        ("max_connections", "120"),
        ("allow_in_place_tablespaces", "on"),
    ]);
    source.server.restart();
    workload::write(&source.server, "before", 100, 2);
    let first = source.back_up();
    workload::write(&source.server, "between", 100, 2);
    let tree = source.tree();
    assert_eq!(verify_read(&tree).findings, []);
    let begin = begin_of(&tree, &first);
    let oldest = tree.segments().remove(0);
    let archived = Lsn::new(u64::from_str_radix(&oldest[16..24], 16).unwrap() << 20);
    let created = places(&source, archived, "Tablespace", "CREATE");
    assert!(created.len() == 1 && created[0] < begin, "{created:?}");

    // Behind it.
    let location = source.server.create_tablespace("later");
    source.server.psql("create tablespace inside location ''");
    source.server.append_settings(&[
        ("max_connections", "150"),
        ("max_locks_per_transaction", "80"),
    ]);
    source.server.restart();
    workload::write(&source.server, "after", 100, 2);
    let tree = source.tree();
    let report = verify_read(&tree);
    assert_eq!(
        codes(&report),
        [Code::WalTablespaceCreated, Code::WalSettingsRaised],
        "{:#?}",
        report.findings
    );
    let created = places(&source, begin, "Tablespace", "CREATE");
    let [later, _] = created[..] else {
        panic!("{created:?}");
    };
    let found = of(&report, Code::WalTablespaceCreated);
    assert_eq!(found.wal.unwrap().begin, later);
    assert_eq!(found.severity, Severity::Warning);
    assert!(
        found.message.contains(location.to_str().unwrap()),
        "{}",
        found.message
    );
    let changed = places(&source, begin, "XLOG", "PARAMETER_CHANGE");
    let found = of(&report, Code::WalSettingsRaised);
    assert_eq!(found.object, first);
    assert_eq!(found.severity, Severity::Info);
    assert_eq!(found.wal.unwrap().begin, *changed.last().unwrap());
    for words in [
        "max_connections from 120 to 150",
        "max_locks_per_transaction from 64 to 80",
    ] {
        assert!(found.message.contains(words), "{}", found.message);
    }
    assert_eq!(report.windows.len(), 1);
    assert!(report.windows[0].end_lsn > later);

    // With a base backup behind it a restore to the tip does not meet it any more.
    source.server.psql("drop tablespace inside");
    let second = source.back_up();
    workload::write(&source.server, "late", 100, 2);
    let tree = source.tree();
    let report = verify_read(&tree);
    assert_eq!(
        codes(&report),
        [Code::WalTablespaceCreated, Code::WalTablespaceDropped],
        "{:#?}",
        report.findings
    );
    let severities = report.findings.iter().map(|finding| finding.severity);
    assert!(severities.eq([Severity::Info, Severity::Info]));
    assert!(report.backups.iter().all(|backup| backup.usable));
    assert!(begin_of(&tree, &second) > later);

    // And without the first one no restore does.
    remove_backup(&tree, &first);
    let report = verify_read(&tree);
    assert_eq!(report.findings, []);
    assert_eq!(report.windows.len(), 1);
}

#[test]
fn a_window_ends_where_wal_level_is_lowered_to_minimal() {
    require!(Postgres, S3, Barman);
    let mut source = Source::new(&[]);
    let first = source.back_up();
    let before = workload::write_moment(&source.server, "before", 100, 2);
    let tree = source.tree();
    let begin = begin_of(&tree, &first);
    assert_eq!(verify_read(&tree).findings, []);

    // All that follows fits into one segment, so that the archive has no gap by name.
    source.server.append_settings(&[
        ("wal_level", "minimal"),
        ("max_wal_senders", "0"),
        ("archive_mode", "off"),
    ]);
    source.server.restart();
    workload::write(&source.server, "in part", 100, 2);
    source.server.append_settings(&[
        ("wal_level", "replica"),
        ("max_wal_senders", "10"),
        ("archive_mode", "on"),
    ]);
    source.server.restart();
    workload::write(&source.server, "after", 100, 2);
    let tree = source.tree();
    let report = verify_read(&tree);
    let lowered = places(&source, begin, "XLOG", "PARAMETER_CHANGE")[0];
    let found = only(&report);
    assert_eq!(found.code, Code::WalLevelMinimal);
    assert_eq!(found.severity, Severity::Critical);
    assert_eq!(found.wal.unwrap().begin, lowered);
    assert_eq!(report.windows.len(), 1);
    let window = &report.windows[0];
    assert_eq!(window.end_lsn, lowered);
    assert!(
        window.ends_because.contains("minimal"),
        "{}",
        window.ends_because
    );
    let tip = report.tip.as_ref().unwrap();
    assert_eq!((tip.lsn, tip.commit.unwrap().xid), (lowered, before.xid));
    let stretches = &report.wal.as_ref().unwrap().stretches;
    assert_eq!(
        stretches[0].stopped_by,
        WalStop::WalLevelMinimal { lsn: lowered }
    );

    // A base backup behind it opens a window of its own.
    let second = source.back_up();
    workload::write(&source.server, "late", 100, 2);
    let report = verify_read(&source.tree());
    assert_eq!(only(&report).code, Code::WalLevelMinimal);
    assert_eq!(report.windows.len(), 2);
    assert_eq!(report.windows[0].end_lsn, lowered);
    assert_eq!(report.windows[1].backups, [second]);
}

/// The field of a backup's description, as a position, and another in its place.
fn set_end(tree: &Tree, backup: &str, end: Lsn) {
    tree.set_info(backup, "end_xlog", &end.to_string());
}

#[test]
fn a_backups_end_is_held_against_its_record() {
    require!(Postgres, S3, Barman);
    let fixture = fixture(TimelineSwitch::None);
    let newest = &fixture.facts.backups[1];
    let (begin, end): (Lsn, Lsn) = (
        newest.begin_xlog.parse().unwrap(),
        newest.end_xlog.parse().unwrap(),
    );
    // What the server itself wrote.
    let record = waldump::records(&fixture.plain_wal(), 1, begin.bytes())
        .into_iter()
        .find(|record| record.description.starts_with("BACKUP_END"))
        .unwrap();
    assert!(record.description.contains(&begin.to_string()));
    assert!(record.start < end.bytes() && end.bytes() <= record.start + 64);
    let healthy = verify_read(&fixture.tree());
    assert_eq!(healthy.findings, []);

    for other in [
        end.bytes() - 8,
        end.bytes() + 8,
        end.bytes() + 100,
        record.start,
    ] {
        let tree = fixture.tree();
        set_end(&tree, &newest.id, Lsn::new(other));
        let report = verify_read(&tree);
        let found = only(&report);
        assert_eq!(found.code, Code::BackupInfoContradictory);
        assert_eq!(
            (found.severity, &found.object),
            (Severity::Warning, &newest.id)
        );
        for words in [end, Lsn::new(other)] {
            assert!(
                found.message.contains(&words.to_string()),
                "{}",
                found.message
            );
        }
        assert_eq!(report.counts.usable_backups, 2);
        assert_eq!(report.windows[0].end_lsn, healthy.windows[0].end_lsn);
    }

    // WAL ends before the record: no recovery of this backup comes up.
    let tree = fixture.tree();
    let segment = format!("0000000100000000{:08X}", record.start >> 20);
    tree.change_inside(&tree.wal_key(&segment), |bytes| {
        bytes[usize::try_from(record.start % (1 << 20)).unwrap() + 20] ^= 1;
    });
    set_end(&tree, &newest.id, Lsn::new(record.start));
    let report = verify_read(&tree);
    let found = of(&report, Code::BackupWalMissing);
    assert_eq!(
        (found.severity, &found.object),
        (Severity::Critical, &newest.id)
    );
    assert!(found.message.contains("no record of its end"));
    assert!(report.backups[0].usable && !report.backups[1].usable);
}

#[test]
fn the_copy_of_a_standby_has_no_record_of_its_own_end() {
    require!(Postgres, S3, Barman);
    let source = Source::new(&[]);
    workload::write(&source.server, "before", 100, 2);
    let standby = source.server.create_standby();
    source.server.wait_for_standby(&standby);
    let id = source.back_up_from(&standby);
    drop(standby);
    workload::write(&source.server, "after", 100, 2);
    let tree = source.tree();
    assert!(tree.info(&id).contains("BACKUP FROM: standby"));
    let begin = begin_of(&tree, &id);
    // The record that says so is of the copy that the standby was made from, which began at
    // the same checkpoint.
    let records = waldump::records(&source.archiver.plain_wal, 1, begin.bytes());
    assert!(records.iter().any(|record| {
        record.description.starts_with("BACKUP_END")
            && record.description.contains(&begin.to_string())
    }));
    let report = verify_read(&tree);
    assert_eq!(report.findings, []);
    assert_eq!(report.counts.usable_backups, 1);
}

/// Moves the time of the commit that begins at `lsn` by so many microseconds.
fn move_commit(tree: &Tree, lsn: Lsn, microseconds: i64) {
    let size = 1 << 20;
    let name = format!("0000000100000000{:08X}", lsn.bytes() / size);
    let at = usize::try_from(lsn.bytes() % size).unwrap();
    tree.change_inside(&tree.wal_key(&name), |bytes| {
        tape::change_commit_time(bytes, at, microseconds);
    });
}

#[test]
fn clocks_that_step_back_are_a_note_and_move_no_window() {
    require!(Postgres, S3, Barman);
    let fixture = fixture(TimelineSwitch::None);
    let begin: Lsn = fixture.facts.backups[0].begin_xlog.parse().unwrap();
    let records = waldump::records(&fixture.plain_wal(), 1, begin.bytes());
    let commits = |records: &[waldump::Record]| -> Vec<u64> {
        let whole = |start: u64| start % 8192 < 7000;
        records
            .iter()
            .filter(|record| record.commit_time().is_some() && whole(record.start))
            .map(|record| record.start)
            .collect()
    };
    let behind = commits(&records);
    let lsn = Lsn::new(behind[behind.len() / 2]);
    let healthy = verify_read(&fixture.tree());
    let windows = |report: &VerifyReport| {
        let windows = report.windows.iter();
        let shown = windows.map(|window| (window.begin_lsn, window.end_lsn));
        shown.collect::<Vec<_>>()
    };

    // Commit times are taken a moment before their records are written.
    let tree = fixture.tree();
    move_commit(&tree, lsn, 400_000);
    let report = verify_read(&tree);
    assert_eq!(report.findings, []);
    assert_eq!(windows(&report), windows(&healthy));

    move_commit(&tree, lsn, 3_600_000_000);
    let report = verify_read(&tree);
    let found = only(&report);
    assert_eq!(found.code, Code::WalClockStepped);
    assert_eq!(found.severity, Severity::Info);
    // Told at the commit behind it, which is the first with a right time again.
    assert!(found.wal.unwrap().begin > lsn);
    assert!(found.message.starts_with("1 commit "), "{}", found.message);
    assert_eq!(windows(&report), windows(&healthy));
    assert_eq!(report.wal.as_ref().unwrap().clock_steps, 1);
    let tip = |report: &VerifyReport| report.tip.clone().map(|tip| (tip.lsn, tip.commit));
    assert_eq!(tip(&report), tip(&healthy));

    // Where no restore replays it, nobody needs to know.
    let first = walproof::postgres::wal::first_record;
    let tree = fixture.tree();
    let segment = tree.segments()[0].clone();
    let start = first(&tree_segment(&tree, &segment)).unwrap().unwrap();
    let records = waldump::records(&fixture.plain_wal(), 1, start.bytes());
    let lsn = commits(&records)[0];
    assert!(lsn < begin.bytes(), "{lsn:X} {begin}");
    move_commit(&tree, Lsn::new(lsn), 3_600_000_000);
    let report = verify_read(&tree);
    assert_eq!(report.findings, []);
    assert_eq!(report.wal.as_ref().unwrap().clock_steps, 1);
}

fn tree_segment(tree: &Tree, name: &str) -> Vec<u8> {
    crate::common::codec::decode(".gz", &tree.read(&tree.wal_key(name)))
}
