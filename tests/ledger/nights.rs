//! What is read in one night, and by when everything.

use std::process::Stdio;
use std::sync::OnceLock;
use std::time::Instant;

use super::*;
use crate::common::damage::Tree;
use crate::common::postgres::TestServer;
use crate::common::require;
use crate::common::s3::S3Server;
use crate::common::walproof::run;

/// How many segments the long archive has at least.
const SEGMENTS: u64 = 80;

/// An archive of many segments of 1 MiB, with one base backup at its begin.
fn archive() -> &'static Tree {
    static ARCHIVE: OnceLock<Tree> = OnceLock::new();
    ARCHIVE.get_or_init(|| {
        let server = TestServer::options().segment_size_mb(1).create();
        let tree = Tree::empty("orders");
        tree.archive(&server, false);
        let url = tree.url();
        let take = [
            "backup", "take", &url, "--output", "json", "--user", "postgres",
        ];
        run(&take, &server.environment()).expect_code(0);
        for _ in 0..SEGMENTS {
            server.psql(
                "SELECT pg_logical_emit_message(true, 'night', repeat('x', 300000)); \
                 SELECT pg_switch_wal()",
            );
        }
        server.archive_all();
        tree
    })
}

/// A tree of its own.
fn long_archive() -> Tree {
    Tree::copy_of(archive().root(), "orders")
}

fn chosen(report: &Value) -> u64 {
    number(&report["rotation"]["segments"])
}

#[test]
fn a_run_that_is_killed_is_gone_on_with_by_the_next() {
    require!(Postgres, S3);
    let tree = long_archive();
    let s3 = S3Server::start();
    s3.fill("pg/orders", tree.root());
    let url = format!("s3://{}/pg/orders", S3Server::BUCKET);
    let all = tree.segments().len() as u64;
    let mut environment = s3.environment();
    let line = slow::line(&s3.endpoint(), Duration::from_millis(30));
    let mut endpoints = 0;
    for (_, value) in &mut environment {
        if *value == s3.endpoint() {
            value.clone_from(&line);
            endpoints += 1;
        }
    }
    assert_eq!(endpoints, 1);
    let ground = Ground::new(url, environment);
    let mut first = ground
        .command(&["--depth", "read"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let begin = Instant::now();
    while wal_read(&ground).1 < all / 4 {
        assert!(begin.elapsed() < Duration::from_mins(2), "it reads nothing");
        assert!(
            first.try_wait().unwrap().is_none(),
            "it ended before it could be killed"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    first.kill().unwrap();
    first.wait().unwrap();
    let (unread, done) = wal_read(&ground);
    assert_eq!(unread + done, all);
    assert!(unread > 1, "everything was read before the kill");

    let rest = ground.sound(&["--depth", "read", "--reread-within", "1d"]);
    assert_eq!(rest["depth"], "sampled");
    let again = chosen(&rest);
    println!("{done} of {all} segments were read before the kill, {again} after it");
    // What was left, and the one segment at its border; the base backup's, if it was left.
    assert!((unread + 1..=unread + 5).contains(&again), "{again}");
    assert_eq!(wal_read(&ground), (0, all));
    let nothing = ground.sound(&["--depth", "read", "--reread-within", "1d"]);
    assert_eq!(chosen(&nothing), 0);
}

#[test]
fn a_night_reads_what_is_new_and_a_share_of_the_rest() {
    require!(Postgres);
    let tree = long_archive();
    let ground = Ground::new(tree.url(), Vec::new());
    // What is written tonight is all that is new tomorrow.
    let newest = tree.wal_key(tree.segments().last().unwrap());
    let bytes = tree.read(&newest);
    tree.delete(&newest);
    let first = ground.sound(&["--depth", "sampled"]);
    assert_eq!(first["depth"], "read", "the first night everything is new");
    tree.write(&newest, &bytes);
    let second = ground.sound(&["--depth", "sampled"]);
    assert_eq!(second["depth"], "sampled");
    let read = chosen(&second);
    assert!((2..=35).contains(&read), "{read}");
    assert_eq!(wal_read(&ground).0, 0);
    assert!(second["rotation"]["everything_read_by"].is_string());
}

#[test]
fn a_limit_holds_every_night_and_the_date_too() {
    require!(Postgres);
    let tree = long_archive();
    let ground = Ground::new(tree.url(), Vec::new());
    let stored: u64 = tree
        .keys()
        .iter()
        .map(|key| tree.read(key).len() as u64)
        .sum();
    // In MiB; the base backup, which is not cut, fits into it.
    let limit = (stored >> 20) / 3;
    let mut nights = 0;
    while wal_read(&ground).0 > 0 || nights == 0 {
        nights += 1;
        assert!(nights < 6, "{:?}", wal_read(&ground));
        let report = ground.sound(&["--max-bytes", &format!("{limit}MiB")]);
        assert!(number(&report["rotation"]["bytes"]) <= limit << 20);
        assert_eq!(report["depth"], "sampled");
    }
    assert!(nights >= 3, "{nights} nights");
}

#[test]
fn the_parts_are_the_whole() {
    require!(Postgres);
    let tree = long_archive();
    let ground = Ground::new(tree.url(), Vec::new());
    let mut segments = 0;
    for part in 1..=3 {
        let report = ground.sound(&["--subset", &format!("{part}/3")]);
        assert_eq!(report["rotation"]["subset"], format!("{part}/3"));
        segments += chosen(&report);
    }
    let all = tree.segments().len() as u64;
    assert!(
        (all..all + all / 8).contains(&segments),
        "{segments} of {all}"
    );
    assert_eq!(wal_read(&ground), (0, all));
    ground.verify(&["--subset", "4/3"]).expect_code(2);
    ground
        .verify(&["--depth", "read", "--subset", "1/3"])
        .expect_code(2);
}

#[test]
fn two_verifications_at_once_remember_what_both_read() {
    require!(Postgres);
    let tree = long_archive();
    let ground = Ground::new(tree.url(), Vec::new());
    std::thread::scope(|scope| {
        for depth in ["read", "read", "sampled"] {
            let ground = &ground;
            scope.spawn(move || ground.sound(&["--depth", depth]));
        }
    });
    let after = ground.sound(&["--depth", "read", "--reread-within", "1d"]);
    assert_eq!(chosen(&after), 0);
    assert_eq!(after["ledger"]["changed"], 0);
    assert_eq!(wal_read(&ground).0, 0);
}

#[test]
fn base_backups_are_read_whole_and_remembered() {
    require!(Postgres, S3, Barman);
    let tree = fixture().tree();
    let ground = Ground::new(tree.url(), Vec::new());
    let first = ground.sound(&["--depth", "sampled"]);
    assert_eq!(first["depth"], "read");
    assert_eq!(first["ledger"]["unread"], 0, "{:#}", first["ledger"]);
    let again = ground.sound(&["--depth", "read", "--reread-within", "1d"]);
    assert_eq!(again["rotation"]["backups"], 0);
    assert_eq!(chosen(&again), 0);
}
