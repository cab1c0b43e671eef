//! One repository read by several processes: what one process finds, and nothing twice.

use std::process::Stdio;
use std::time::Instant;

use super::*;
use crate::common::damage::Tree;
use crate::common::repository::TimelineSwitch;
use crate::common::require;
use crate::common::s3::S3Server;

/// Leaves out what differs between two runs of one process: moments of the run and how long
/// it took.
fn lasting(value: &Value) -> Value {
    const OF_THE_RUN: [&str; 7] = [
        // Who read how much: the one that concludes reads little.
        "alone",
        "checked_at",
        "milliseconds",
        "seconds",
        "bytes_per_second",
        "oldest_read",
        "everything_read_by",
    ];
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter(|(key, _)| !OF_THE_RUN.contains(&key.as_str()) && !key.ends_with("_seconds"))
            .map(|(key, value)| (key.clone(), lasting(value)))
            .collect(),
        Value::Array(items) => items.iter().map(lasting).collect(),
        other => other.clone(),
    }
}

fn codes(report: &Value) -> Vec<&str> {
    let findings = report["findings"].as_array().unwrap().iter();
    findings
        .map(|finding| finding["code"].as_str().unwrap())
        .collect()
}

/// One process and three give the same report; gives it.
#[track_caller]
fn same(tree: &Tree, what: &str) -> Value {
    let read = ["--depth", "read", "--segments"];
    let one = Ground::new(tree.url(), Vec::new());
    let one = one.verify(&read);
    let ground = Ground::new(tree.url(), Vec::new());
    let many = ground.verify(&[&read[..], &["--shards", "3"]].concat());
    assert_eq!(one.code, many.code, "{what}\n{}", many.stderr);
    let (one, many) = (one.json(), many.json());
    assert_eq!(one["depth"], "read");
    assert_eq!(codes(&one), codes(&many), "{what}");
    let (lasting_one, lasting_many) = (lasting(&one), lasting(&many));
    for (key, value) in lasting_one.as_object().unwrap() {
        assert_eq!(*value, lasting_many[key], "{what}: {key}");
    }
    assert_eq!(lasting_one, lasting_many, "{what}");
    assert_eq!(kept(&ground), 0, "{what}: what shards kept is forgotten");
    one
}

/// How much shards have kept.
fn kept(ground: &Ground) -> u64 {
    query(
        ground,
        "SELECT count(*) FROM shard_readings WHERE name LIKE 'wal/%'",
    )
}

fn query(ground: &Ground, sql: &'static str) -> u64 {
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
        let count: Result<(i64,), _> = sqlx::query_as(sql).fetch_one(&pool).await;
        pool.close().await;
        count.map_or(0, |(count,)| count.try_into().unwrap())
    })
}

#[test]
fn sound_repositories_read_the_same_by_one_process_and_by_three() {
    require!(Postgres, S3, Barman);
    let sound = same(&fixture().tree(), "as it was written");
    assert_eq!(codes(&sound), [""; 0]);
    let switched = Fixture::get(&RepositoryOptions {
        switch: TimelineSwitch::AbandonedBranch,
        ..RepositoryOptions::default()
    });
    same(&switched.tree(), "with a second timeline");
}

type Damage = fn(&Tree);

#[test]
fn damaged_repositories_read_the_same_by_one_process_and_by_three() {
    require!(Postgres, S3, Barman);
    let kinds: [(&str, &str, Damage); 7] = [
        ("a missing segment", "wal-gap", |tree| {
            let segments = tree.segments();
            tree.delete_wal(&segments[segments.len() / 2]);
        }),
        ("a flipped byte of WAL", "wal-corrupt", |tree| {
            let segments = tree.segments();
            let key = tree.wal_key(&segments[segments.len() / 2]);
            // What follows the long header is a record in every segment; its middle may be the
            // zeros after a switch, in which nothing can be told from anything else.
            tree.change_inside(&key, |bytes| bytes[40] ^= 0x40);
        }),
        (
            "an object of WAL that is cut off",
            "wal-unreadable",
            |tree| {
                let segments = tree.segments();
                tree.halve(&tree.wal_key(&segments[segments.len() / 3]));
            },
        ),
        ("a segment of another system", "wal-foreign", |tree| {
            let segments = tree.segments();
            let key = tree.wal_key(&segments[segments.len() / 2]);
            // The system's identifier in the long header (`xlp_sysid`).
            tree.change_inside(&key, |bytes| bytes[24] ^= 1);
        }),
        ("a damaged page", "page-corrupt", |tree| {
            // No image in the WAL heals it: nobody writes to template1.
            change_page(tree, "base/1/", |page| page[5_000] ^= 1);
        }),
        ("pages of which half is older", "", |tree| {
            change_page(tree, "base/", |page| page[4_096..].fill(0));
        }),
        ("an archive that is cut off", "backup-damaged", |tree| {
            let backups = tree.backups();
            let archives = tree.archives(&backups[0]);
            tree.halve(&archives[0]);
        }),
    ];
    for (what, code, damage) in kinds {
        let tree = fixture().tree();
        damage(&tree);
        let report = same(&tree, what);
        if !code.is_empty() {
            assert!(
                codes(&report).contains(&code),
                "{what}: {:?}",
                codes(&report)
            );
        }
    }
}

/// Changes the first page of the largest relation file below `folder` of the newest backup.
fn change_page(tree: &Tree, folder: &str, change: fn(&mut [u8])) {
    let backups = tree.backups();
    let archives = tree.archives(backups.last().unwrap());
    let key = archives
        .iter()
        .find(|key| key.contains("/data.tar"))
        .unwrap();
    tree.change_inside(key, |bytes| {
        let (at, _) = tar::Archive::new(&bytes[..])
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| {
                let path = entry.path().unwrap().to_str().unwrap().to_owned();
                path.contains(folder)
                    && path
                        .rsplit('/')
                        .next()
                        .unwrap()
                        .bytes()
                        .all(|b| b.is_ascii_digit())
            })
            .map(|entry| (entry.raw_file_position(), entry.size()))
            .max_by_key(|(_, size)| *size)
            .unwrap();
        let at = usize::try_from(at).unwrap();
        change(&mut bytes[at..at + 8_192]);
    });
}

#[test]
fn shards_by_hand_are_put_together_and_a_killed_one_is_gone_on_with() {
    require!(Postgres, S3, Barman);
    let tree = fixture().tree();
    let s3 = S3Server::start();
    s3.fill("pg/orders", tree.root());
    let url = format!("s3://{}/pg/orders", S3Server::BUCKET);
    let all = tree.segments().len() as u64;
    let mut environment = s3.environment();
    let line = slow::line(&s3.endpoint(), Duration::from_millis(20));
    for (_, value) in &mut environment {
        if *value == s3.endpoint() {
            value.clone_from(&line);
        }
    }
    let slowly = Ground::new(url.clone(), environment);
    let mut first = slowly
        .command(&["--depth", "read", "--shard", "1/1"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let begin = Instant::now();
    while kept(&slowly) < all / 4 {
        assert!(begin.elapsed() < Duration::from_mins(2), "it keeps nothing");
        assert!(
            first.try_wait().unwrap().is_none(),
            "it ended before it could be killed"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    first.kill().unwrap();
    first.wait().unwrap();
    let before = kept(&slowly);
    assert!(before < all, "everything was read before the kill");

    // The same line: a bucket behind another address is another repository.
    let ground = slowly;
    let again = ground.sound(&["--depth", "read", "--shard", "1/1"]);
    let read = &again["reads"][0];
    assert_eq!(number(&read["segments_before"]), before, "{again:#}");
    assert_eq!(number(&read["segments"]), all - before);
    assert_eq!(number(&read["bases"]), tree.backups().len() as u64);
    let third = ground.sound(&["--depth", "read", "--shard", "1/1"]);
    let read = &third["reads"][0];
    assert_eq!(number(&read["segments_before"]), all);
    assert_eq!((number(&read["segments"]), number(&read["bases"])), (0, 0));
    assert_eq!(number(&read["stored_bytes"]), 0);

    // Two that read different parts are put together by who concludes, which they name.
    let whole = Ground::new(url, s3.environment());
    for part in ["1/2", "2/2"] {
        let told = whole.sound(&["--depth", "read", "--shard", part]);
        assert!(number(&told["reads"][0]["segments"]) > 0, "{told:#}");
    }
    let one = whole.sound(&["--depth", "read", "--shards", "2"]);
    let other = ground.sound(&["--depth", "read", "--no-state"]);
    assert_eq!(one["windows"], other["windows"]);
    assert_eq!(one["wal"]["records"], other["wal"]["records"]);
}

/// Shards read a repository in one state, and it is concluded in another; gives the report.
#[track_caller]
fn changed_between(before: Option<Damage>, between: impl FnOnce(&Tree), code: i32) -> Value {
    let tree = fixture().tree();
    if let Some(before) = before {
        before(&tree);
    }
    let ground = Ground::new(tree.url(), Vec::new());
    for part in ["1/2", "2/2"] {
        ground.sound(&["--depth", "read", "--shard", part]);
    }
    between(&tree);
    let one = Ground::new(tree.url(), Vec::new());
    let one = one.verify(&["--depth", "read"]).expect_code(code).json();
    let many = ground.verify(&["--depth", "read", "--shards", "2"]);
    let many = many.expect_code(code).json();
    assert_eq!(codes(&one), codes(&many));
    many
}

const WAL: Damage = |tree| {
    let segments = tree.segments();
    let key = tree.wal_key(&segments[segments.len() / 2]);
    tree.change_inside(&key, |bytes| bytes[40] ^= 0x40);
};

const PAGE: Damage = |tree| change_page(tree, "base/1/", |page| page[5_000] ^= 1);

#[test]
fn what_is_overwritten_behind_the_shards_is_read_again() {
    require!(Postgres, S3, Barman);
    for (code, damage) in [("wal-corrupt", WAL), ("page-corrupt", PAGE)] {
        let report = changed_between(None, damage, 1);
        assert!(codes(&report).contains(&code), "{:?}", codes(&report));
    }
    let cut_off: Damage = |tree| {
        let segments = tree.segments();
        tree.halve(&tree.wal_key(&segments[segments.len() / 2]));
    };
    let report = changed_between(None, cut_off, 1);
    assert!(codes(&report).contains(&"wal-unreadable"));
}

#[test]
fn damage_that_is_mended_behind_the_shards_is_not_told() {
    require!(Postgres, S3, Barman);
    // What is changed twice like this is as it was.
    for damage in [WAL, PAGE] {
        let report = changed_between(Some(damage), damage, 0);
        assert_eq!(codes(&report), [""; 0]);
    }
}
