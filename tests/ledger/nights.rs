//! What is read in one night, and by when everything.

use std::process::Stdio;
use std::time::{Duration, Instant};

use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

use super::*;
use crate::common::require;

/// How many segments the ledger of a running process holds as read.
fn segments_read(ground: &Ground) -> i64 {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let options = SqliteConnectOptions::new()
            .filename(ground.database())
            .busy_timeout(Duration::from_secs(5));
        let Ok(pool) = SqlitePoolOptions::new().connect_with(options).await else {
            return 0;
        };
        let count = sqlx::query_scalar(
            "SELECT count(*) FROM objects WHERE last_read IS NOT NULL AND key LIKE 'wals/%/%'",
        )
        .fetch_one(&pool)
        .await;
        pool.close().await;
        count.unwrap_or(0)
    })
}

fn chosen(report: &Value) -> u64 {
    number(&report["rotation"]["segments"])
}

#[test]
fn a_run_that_is_killed_is_gone_on_with_by_the_next() {
    require!(Postgres, S3, Barman);
    let fixture = fixture();
    let (s3, url) = fixture.s3();
    let all = fixture.tree().segments().len() as u64;
    let mut environment = s3.environment();
    let line = slow::line(&s3.endpoint(), Duration::from_millis(60));
    for (_, value) in environment
        .iter_mut()
        .filter(|(name, _)| name.contains("ENDPOINT"))
    {
        value.clone_from(&line);
    }
    let ground = Ground::new(url, environment);
    let mut first = ground
        .command(&["--depth", "read"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let begin = Instant::now();
    let enough = i64::try_from(all / 4).unwrap();
    while segments_read(&ground) < enough {
        assert!(begin.elapsed() < Duration::from_mins(2), "it reads nothing");
        assert!(
            first.try_wait().unwrap().is_none(),
            "it ended before it could be killed"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    first.kill().unwrap();
    first.wait().unwrap();
    let done = u64::try_from(segments_read(&ground)).unwrap();
    assert!(done < all, "all {all} segments were read before the kill");

    let rest = ground.sound(&["--depth", "read", "--reread-within", "1d"]);
    assert_eq!(rest["depth"], "sampled");
    // What was left, and the one segment at the border.
    let again = chosen(&rest);
    println!("{done} of {all} segments were read before the kill, {again} after it");
    assert!((all - done..=all - done + 3).contains(&again), "{again}");
    assert_eq!(rest["ledger"]["unread"], 0, "{:#}", rest["ledger"]);
    let nothing = ground.sound(&["--depth", "read", "--reread-within", "1d"]);
    assert_eq!(chosen(&nothing), 0);
}

#[test]
fn a_night_reads_what_is_new_and_no_more_than_it_may() {
    require!(Postgres, S3, Barman);
    let tree = fixture().tree();
    let ground = Ground::new(tree.url(), Vec::new());
    // The first night everything is new.
    let first = ground.sound(&["--depth", "sampled"]);
    assert_eq!(first["depth"], "read");
    let second = ground.sound(&["--depth", "sampled", "--reread-within", "20d"]);
    assert_eq!(second["depth"], "sampled");
    assert!(chosen(&second) < tree.segments().len() as u64 / 2);
    assert!(second["rotation"]["everything_read_by"].is_string());

    // A limit holds, and the newest backup comes before all else that is new.
    let ground = Ground::new(tree.url(), Vec::new());
    let total: u64 = tree
        .keys()
        .iter()
        .map(|key| tree.read(key).len() as u64)
        .sum();
    let limit = total * 2 / 3;
    let mut nights = 0;
    loop {
        nights += 1;
        let night = ground.sound(&["--max-bytes", &format!("{limit}B")]);
        assert!(number(&night["rotation"]["bytes"]) <= limit);
        if night["rotation"]["oldest_read"].is_string() || nights == 5 {
            break;
        }
    }
    assert!((2..5).contains(&nights), "{nights} nights");
}

#[test]
fn the_parts_are_the_whole() {
    require!(Postgres, S3, Barman);
    let tree = fixture().tree();
    let ground = Ground::new(tree.url(), Vec::new());
    let mut segments = 0;
    let mut last = Value::Null;
    for part in 1..=3 {
        last = ground.sound(&["--subset", &format!("{part}/3")]);
        assert_eq!(last["rotation"]["subset"], format!("{part}/3"));
        segments += chosen(&last);
    }
    assert!(segments >= tree.segments().len() as u64);
    assert_eq!(last["ledger"]["unread"], 0, "{:#}", last["ledger"]);
    ground.verify(&["--subset", "4/3"]).expect_code(2);
    ground
        .verify(&["--depth", "read", "--subset", "1/3"])
        .expect_code(2);
}

#[test]
fn two_verifications_at_once_remember_what_both_read() {
    require!(Postgres, S3, Barman);
    let tree = fixture().tree();
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
}
