//! Damaged repositories are failed, with the damage named; never proven.

use crate::common::repository::{Fixture, RepositoryOptions};
use crate::common::require;
use crate::kit::{Place, reason_codes};

/// A segment in the middle between a backup's end and the last one.
fn middle(segments: &[String], after: &str) -> String {
    let later: Vec<&String> = segments
        .iter()
        .filter(|name| name.as_str() > after)
        .collect();
    later[later.len() / 2].clone()
}

#[test]
fn a_hole_behind_the_newest_backup_fails_the_drill_though_the_rest_restores() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions::default());
    let tree = fixture.tree();
    let gone = middle(&tree.segments(), &fixture.facts.backups[1].end_wal);
    tree.delete_wal(&gone);
    let place = Place::new();
    let report = place.drill(&tree.url(), &[]).expect_code(1).json();
    assert_eq!(report["verdict"], "failed");
    assert!(
        reason_codes(&report).contains(&"wal-gap".to_owned()),
        "{:#}",
        report["reasons"]
    );
    assert!(
        report["reasons"].to_string().contains(&gone),
        "{:#}",
        report["reasons"]
    );
    // What lies before the hole was restored and proven to end there.
    assert_eq!(report["proof"]["state"], "held");
    place.assert_clean();
}

#[test]
fn a_hole_before_the_newest_backup_is_a_finding_and_fails_only_from_the_older_one() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions::default());
    let (facts, tree) = (&fixture.facts, fixture.tree());
    let between: Vec<String> = tree
        .segments()
        .into_iter()
        .filter(|name| *name < facts.backups[1].begin_wal)
        .collect();
    let gone = middle(&between, &facts.backups[0].end_wal);
    tree.delete_wal(&gone);
    let place = Place::new();
    let newest = place.drill(&tree.url(), &[]).expect_code(0);
    assert!(newest.finding_codes().contains(&"wal-gap".to_owned()));
    let older = place
        .drill(&tree.url(), &["--backup", &facts.backups[0].id])
        .expect_code(1)
        .json();
    assert!(
        reason_codes(&older).contains(&"wal-gap".to_owned()),
        "{:#}",
        older["reasons"]
    );
    place.assert_clean();
}

#[test]
fn a_changed_record_fails_the_drill() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions::default());
    let tree = fixture.tree();
    let bad = middle(&tree.segments(), &fixture.facts.backups[1].end_wal);
    tree.change_inside(&tree.wal_key(&bad), |bytes| {
        let middle = bytes.len() / 2;
        for byte in &mut bytes[middle..middle + 64] {
            *byte ^= 0x5A;
        }
    });
    let place = Place::new();
    let run = place.drill(&tree.url(), &[]).expect_code(1);
    assert!(
        run.finding_codes().contains(&"wal-corrupt".to_owned()),
        "{:?}",
        run.finding_codes()
    );
    assert_eq!(run.json()["verdict"], "failed");
    place.assert_clean();
}

#[test]
fn a_cut_base_archive_fails_before_any_server_starts() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions::default());
    let tree = fixture.tree();
    let archive = tree
        .archives(&fixture.facts.backups[1].id)
        .into_iter()
        .find(|key| key.contains("data.tar"))
        .unwrap();
    tree.halve(&archive);
    let place = Place::new();
    let run = place.drill(&tree.url(), &[]).expect_code(1);
    assert!(
        run.finding_codes().contains(&"backup-damaged".to_owned()),
        "{:?}",
        run.finding_codes()
    );
    assert_eq!(run.json()["log_tail"], "");
    place.assert_clean();
}

/// Gives members of a tar other names of the same length.
fn rename_members(tar: &mut [u8], from: &[u8], to: &[u8]) -> usize {
    let mut renamed = 0;
    for header in tar.chunks_exact_mut(512) {
        let end = header[..100].iter().position(|b| *b == 0).unwrap_or(100);
        if &header[257..262] != b"ustar" || !header[..end].ends_with(from) {
            continue;
        }
        header[end - from.len()..end].copy_from_slice(to);
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        renamed += 1;
    }
    renamed
}

#[test]
fn a_relation_that_is_not_in_the_base_backup_fails_the_drill() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions::default());
    let tree = fixture.tree();
    let archive = tree
        .archives(&fixture.facts.backups[1].id)
        .into_iter()
        .find(|key| key.contains("data.tar"))
        .unwrap();
    // pg_description: no replay, no login and none of our own questions needs it.
    tree.change_inside(&archive, |tar| {
        assert!(rename_members(tar, b"/2609", b"/x609") > 0);
    });
    let place = Place::new();
    let run = place.drill(&tree.url(), &[]).expect_code(1);
    let codes = run.finding_codes();
    assert!(codes.contains(&"corruption-found".to_owned()), "{codes:?}");
    let report = run.json();
    let check = crate::kit::check(&report, "every database opens");
    let message = check["message"].as_str().unwrap();
    assert!(message.contains("pg_description"), "{message}");
    place.assert_clean();
}

#[test]
fn an_empty_place_fails_with_the_reason() {
    require!(Postgres);
    let tree = crate::common::damage::Tree::empty("orders");
    let place = Place::new();
    let run = place.drill(&tree.url(), &[]).expect_code(1);
    assert!(
        run.finding_codes().contains(&"repository-empty".to_owned()),
        "{:?}",
        run.finding_codes()
    );
    place.assert_clean();
}

#[test]
fn failed_checks_and_missed_objectives_fail_a_good_restore() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions::default());
    let place = Place::new();
    let definition = place.definition(
        "checks:\n\
         - {name: rows, database: postgres, sql: 'select count(*) from ledger', expect: '= -1'}\n\
         - {name: gone, database: postgres, sql: 'select * from no_such_table', expect: '> 0'}\n\
         - {name: writes, database: postgres, sql: 'delete from ledger', expect: '> 0'}\n\
         - {name: slow, database: postgres, sql: 'select pg_sleep(60)', expect: '> 0', timeout: 1s}\n",
    );
    let more = ["--definition", &definition, "--rto", "1s", "--rpo", "1s"];
    let report = place
        .drill(&fixture.tree().url(), &more)
        .expect_code(1)
        .json();
    let outcome = |name: &str| crate::kit::check(&report, name)["outcome"].clone();
    assert_eq!(outcome("rows"), "failed");
    assert_eq!(outcome("gone"), "failed");
    assert_eq!(outcome("writes"), "unproven");
    assert_eq!(outcome("slow"), "unproven");
    let codes = reason_codes(&report);
    for code in [
        "check-failed",
        "objective-missed-rpo",
        "objective-missed-rto",
    ] {
        assert!(codes.contains(&code.to_owned()), "{code}: {codes:?}");
    }
    assert_eq!(report["proof"]["state"], "held");
    place.assert_clean();
}

#[test]
fn a_newest_backup_that_cannot_be_used_is_told_beside_the_proof_from_the_older_one() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions::default());
    let (facts, tree) = (&fixture.facts, fixture.tree());
    let newest = &facts.backups[1].id;
    tree.set_info(newest, "status", "FAILED");
    let place = Place::new();
    let run = place.drill(&tree.url(), &[]).expect_code(0);
    let report = run.json();
    assert_eq!(report["plan"]["backup"]["id"], facts.backups[0].id.as_str());
    assert_eq!(report["plan"]["passed_over"][0]["id"], newest.as_str());
    assert!(run.finding_codes().contains(&"backup-failed".to_owned()));
    // Asked for by name, it is that one or none.
    let report = place
        .drill(&tree.url(), &["--backup", newest])
        .expect_code(1)
        .json();
    assert_eq!(reason_codes(&report), ["backup-failed"]);
    place.assert_clean();
}
