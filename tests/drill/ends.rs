//! A recovery that would end early, elsewhere, or not at all: said before, or proven.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::Value;

use crate::common::damage::Tree;
use crate::common::repository::{Fixture, RepositoryOptions, TimelineSwitch};
use crate::common::{require, tape, waldump};
use crate::kit::{Place, check, reason_codes};

fn time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// A drill whose rows and beats are checked.
fn proven(place: &Place, tree: &Tree, more: &[&str], rows: i64, beats: i64) -> Value {
    let definition = place.definition(&format!(
        "settings: {{fsync: 'off'}}\nchecks:\n\
         - {{name: rows, database: postgres, sql: 'select count(*) from ledger', expect: '= {rows}'}}\n\
         - {{name: beats, database: postgres, sql: 'select count(*) from heartbeat', expect: '= {beats}'}}\n"
    ));
    let mut arguments = vec!["--definition", &definition];
    arguments.extend(more);
    let report = place.drill(&tree.url(), &arguments).expect_code(0).json();
    assert_eq!(report["verdict"], "proven", "{more:?}");
    assert_eq!(report["proof"]["state"], "held", "{more:?}");
    for name in ["rows", "beats"] {
        assert_eq!(check(&report, name)["outcome"], "passed", "{more:?} {name}");
    }
    place.assert_clean();
    report
}

/// A drill that fails before any server starts, with this code; gives the reasons.
fn failed(place: &Place, tree: &Tree, more: &[&str], code: &str) -> String {
    let report = place.drill(&tree.url(), more).expect_code(1).json();
    assert_eq!(report["verdict"], "failed", "{more:?}");
    let codes = reason_codes(&report);
    assert!(codes.contains(&code.to_owned()), "{more:?}: {codes:?}");
    assert_eq!(report["log_tail"], "", "{more:?}: a server was started");
    place.assert_clean();
    report["reasons"].to_string()
}

#[test]
fn targets_at_before_and_past_the_last_commit() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions::default());
    let (tree, tip) = (fixture.tree(), fixture.facts.tip());
    let place = Place::new();
    let plan = place
        .drill(&tree.url(), &["--dry-run"])
        .expect_code(0)
        .json();
    let last = &plan["expected_end"]["recovery_point"];
    let (begin, end) = (last["lsn"].as_str().unwrap(), last["end"].as_str().unwrap());
    let past = plan["expected_end"]["end"].as_str().unwrap();
    assert_eq!(end, tip.lsn);

    // By LSN: the last commit's record itself, everything before it, past everything.
    let at = proven(&place, &tree, &["--target-lsn", begin], tip.rows, tip.beats);
    assert_eq!(at["plan"]["expected_end"]["stop_record"], begin);
    assert_eq!(at["measurements"]["recovery_point"]["xid"], tip.xid);
    let before = ["--target-lsn", begin, "--exclusive"];
    let before = proven(&place, &tree, &before, tip.rows, tip.beats - 1);
    assert_eq!(
        before["plan"]["expected_end"]["next_commit"]["xid"],
        tip.xid
    );
    let items = before["proof"]["items"].as_array().unwrap();
    let next = items.iter().find(|item| item["name"] == "next-commit");
    assert_eq!(next.unwrap()["holds"], true);
    let words = failed(&place, &tree, &["--target-lsn", past], "target-unreachable");
    assert!(words.contains("tip"), "{words}");

    // By time: PostgreSQL stops only at a later commit, so at the last one's time there is
    // nothing to stop at.
    let earlier = time(tip.time - TimeDelta::microseconds(1));
    let more = ["--target-time", earlier.as_str()];
    let before = proven(&place, &tree, &more, tip.rows, tip.beats - 1);
    assert_eq!(
        before["plan"]["expected_end"]["next_commit"]["xid"],
        tip.xid
    );
    for late in [tip.time, tip.time + TimeDelta::hours(1)] {
        let more = ["--target-time", &time(late)];
        let words = failed(&place, &tree, &more, "target-unreachable");
        assert!(words.contains("tip"), "{words}");
    }

    // By transaction.
    let xid = tip.xid.to_string();
    proven(&place, &tree, &["--target-xid", &xid], tip.rows, tip.beats);
    let more = ["--target-xid", &xid, "--exclusive"];
    proven(&place, &tree, &more, tip.rows, tip.beats - 1);
    let next = (tip.xid + 1).to_string();
    failed(
        &place,
        &tree,
        &["--target-xid", &next],
        "target-unreachable",
    );
}

#[test]
fn a_target_before_consistency_is_explained() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions::default());
    let tree = fixture.tree();
    let first = fixture.facts.moment("first");
    let place = Place::new();
    let more = [
        "--backup",
        &fixture.facts.backups[1].id,
        "--target-time",
        &time(first.time),
    ];
    let words = failed(&place, &tree, &more, "target-unreachable");
    assert!(words.contains("older backup"), "{words}");
    // Left to itself, walproof takes the older backup.
    let report = proven(&place, &tree, &more[2..], first.rows, first.beats);
    assert_eq!(
        report["plan"]["backup"]["id"],
        fixture.facts.backups[0].id.as_str()
    );
}

#[test]
fn a_lost_or_garbled_history_never_leads_onto_the_abandoned_branch() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions {
        switch: TimelineSwitch::AbandonedBranch,
        ..RepositoryOptions::default()
    });
    let place = Place::new();
    let lost = fixture.tree();
    lost.delete_wal("00000002.history");
    failed(&place, &lost, &[], "history-missing");
    let garbled = fixture.tree();
    let key = garbled.wal_key("00000002.history");
    garbled.change_inside(&key, |bytes| *bytes = b"1\tno LSN here\twhy\n".to_vec());
    failed(&place, &garbled, &[], "history-unreadable");

    // The branch is reached by who names it, and only so.
    let tree = fixture.tree();
    let definition = place.definition(&format!(
        "settings: {{fsync: 'off'}}\nchecks:\n- {{name: abandoned, database: postgres, sql: \"select count(*) from ledger where label = 'abandoned'\", expect: '= {}'}}\n",
        fixture.facts.abandoned_rows
    ));
    let more = ["--target-timeline", "1", "--definition", &definition];
    let report = place.drill(&tree.url(), &more).expect_code(0).json();
    assert_eq!(report["plan"]["expected_end"]["timeline"], 1);
    assert_eq!(check(&report, "abandoned")["outcome"], "passed");
    place.assert_clean();
}

#[test]
fn a_base_without_its_label_is_refused_and_one_without_configuration_is_not() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions::default());
    let (backup, tip) = (&fixture.facts.backups[1].id, fixture.facts.tip());
    let place = Place::new();
    let tree = fixture.tree();
    tree.change_members(backup, &[("backup_label", None)]);
    failed(&place, &tree, &[], "backup-label-missing");

    let tree = fixture.tree();
    tree.change_members(
        backup,
        &[
            ("postgresql.conf", None),
            ("postgresql.auto.conf", None),
            ("pg_hba.conf", None),
            ("pg_ident.conf", None),
        ],
    );
    proven(&place, &tree, &[], tip.rows, tip.beats);
}

#[test]
fn wal_within_the_base_does_not_hide_a_hole_in_the_archive() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions::default());
    let (backup, tip) = (&fixture.facts.backups[1], fixture.facts.tip());
    // All WAL since the backup's begin, as a snapshot or `-X stream` would bring it.
    let names: Vec<String> = fixture
        .tree()
        .segments()
        .into_iter()
        .filter(|name| *name >= backup.begin_wal)
        .collect();
    let carried: Vec<(String, Vec<u8>)> = names
        .iter()
        .map(|name| {
            let bytes = std::fs::read(fixture.plain_wal().join(name)).unwrap();
            (format!("pg_wal/{name}"), bytes)
        })
        .collect();
    let members: Vec<(&str, Option<&[u8]>)> = carried
        .iter()
        .map(|(name, bytes)| (name.as_str(), Some(bytes.as_slice())))
        .collect();
    let tree = fixture.tree();
    tree.change_members(&backup.id, &members);
    let place = Place::new();
    // Nothing is missing: every file comes from the archive, none from the base.
    let report = proven(&place, &tree, &[], tip.rows, tip.beats);
    let served = &report["measurements"]["wal_files_served"];
    assert!(served.as_u64() >= report["plan"]["wal"]["segments"].as_u64());

    // Nor does a restore keep them.
    let (data, far) = (place.path().join("into"), place.path().join("far"));
    let (data, far) = (data.to_str().unwrap(), format!("far={}", far.display()));
    let words = ["restore", &tree.url(), "--into", data, "--tablespace", &far];
    crate::common::walproof::run(&words, &[]).expect_code(0);
    let kept = std::fs::read_dir(format!("{data}/pg_wal")).unwrap();
    let kept: Vec<String> = kept
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| names.contains(name))
        .collect();
    assert_eq!(kept, Vec::<String>::new());

    let later: Vec<&String> = names
        .iter()
        .filter(|name| **name > backup.end_wal)
        .collect();
    let gone = later[later.len() / 2].clone();
    tree.delete_wal(&gone);
    let report = place.drill(&tree.url(), &[]).expect_code(1).json();
    assert_eq!(report["verdict"], "failed");
    assert!(
        reason_codes(&report).contains(&"wal-gap".to_owned()),
        "{:#}",
        report["reasons"]
    );
    assert!(report["reasons"].to_string().contains(&gone));
    assert_ne!(
        report["measurements"]["recovery_point"]["xid"], tip.xid,
        "what lies behind the hole is not claimed"
    );
    place.assert_clean();

    // The backup's own WAL missing: unusable, although the base carries it.
    tree.delete_wal(&backup.begin_wal);
    let more = ["--backup", backup.id.as_str()];
    let words = failed(&place, &tree, &more, "backup-wal-missing");
    assert!(words.contains(&backup.begin_wal), "{words}");
}

/// Gives the commit at `start` another time, in the archived segment that holds it, with a
/// right CRC: what a server whose clock was wrong for a moment would have written.
fn change_commit_time(tree: &Tree, plan: &Value, start: u64, seconds: i64) {
    let size: u64 = 1 << 20;
    assert_eq!(plan["wal"]["files"]["segment_size"], size);
    let name = format!(
        "00000001{:08X}{:08X}",
        start >> 32,
        (start & 0xFFFF_FFFF) / size
    );
    tree.change_inside(&tree.wal_key(&name), |bytes| {
        let at = usize::try_from(start % size).unwrap();
        tape::change_commit_time(bytes, at, seconds * 1_000_000);
    });
}

#[test]
fn a_clock_that_stepped_back_is_told_and_the_target_judged_by_order() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions::default());
    let (tree, facts) = (fixture.tree(), &fixture.facts);
    let (middle, tip) = (facts.moment("middle"), facts.tip());
    let place = Place::new();
    let backup = ["--backup", facts.backups[0].id.as_str()];
    let plan = place
        .drill(&tree.url(), &[backup[0], backup[1], "--dry-run"])
        .expect_code(0)
        .json();
    // The commit of `middle`'s last heartbeat comes from a clock an hour ahead; what
    // follows is right again.
    let records = waldump::records(
        &fixture.plain_wal(),
        1,
        waldump::lsn(&facts.backups[0].begin_xlog),
    );
    let commit = records
        .iter()
        .find(|record| record.commit_time().is_some() && record.xid == middle.xid)
        .unwrap();
    change_commit_time(&tree, &plan, commit.start, 3600);

    // To the tip nothing changes, and the step is told.
    let more = [backup[0], backup[1], "--target-xid", &tip.xid.to_string()];
    let report = proven(&place, &tree, &more, tip.rows, tip.beats);
    assert!(
        report["findings"].to_string().contains("wal-clock-stepped"),
        "{:#}",
        report["findings"]
    );
    // A time after it, by the right clock, stops before the first commit past it in the
    // order of the WAL: as PostgreSQL would, and the proof says so.
    let late = facts.moment("late");
    let more = [backup[0], backup[1], "--target-time", &time(late.time)];
    let report = proven(&place, &tree, &more, middle.rows, middle.beats - 1);
    assert_eq!(
        report["plan"]["expected_end"]["next_commit"]["xid"],
        middle.xid
    );
}
