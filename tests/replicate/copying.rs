//! A copy is the same, byte for byte, and as good as its source.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::barman::BarmanCloud;
use crate::common::repository::{Fixture, RepositoryOptions, TimelineSwitch};
use crate::common::require;
use crate::common::s3::S3Server;
use crate::common::walproof::run;
use crate::{Ground, assert_same};

fn rich() -> Fixture {
    Fixture::get(&RepositoryOptions {
        switch: TimelineSwitch::AbandonedBranch,
        max_archive_size: Some("4MB".to_owned()),
        ..RepositoryOptions::default()
    })
}

/// What a verification says of a repository, but for where it lies and when it was looked at.
fn verified(url: &str, environment: &[(String, String)]) -> Value {
    let report = run(
        &[
            "verify",
            url,
            "--depth",
            "read",
            "--output",
            "json",
            "--state",
            "sqlite:///dev/null/x",
        ],
        environment,
    )
    .json();
    let mut kept = serde_json::Map::new();
    for key in ["windows", "findings", "backups", "wal"] {
        assert!(report.get(key).is_some(), "the report has no {key}");
        kept.insert(key.to_owned(), report[key].clone());
    }
    let mut kept = Value::Object(kept);
    without_times(&mut kept);
    kept
}

/// Without the moments at which the store stored something.
fn without_times(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|key, _| {
                !matches!(
                    key.as_str(),
                    "last_modified" | "newest_stored" | "milliseconds"
                )
            });
            map.values_mut().for_each(without_times);
        }
        Value::Array(list) => list.iter_mut().for_each(without_times),
        _ => {}
    }
}

#[test]
fn a_copy_is_equal_byte_by_byte_and_is_judged_and_restored_like_its_source() {
    require!(Postgres, S3, Barman);
    let fixture = rich();
    let (source, url) = fixture.s3();
    let target = S3Server::start();
    let (ground, copy) = Ground::s3(&source, &url, &target);

    let plan = ground.run(&["--dry-run"]).expect_code(0).json();
    assert_eq!(plan["schema"], "walproof.replicate-plan/v1");
    assert_eq!(plan["backups"].as_array().unwrap().len(), 2);
    assert!(!copy.exists(), "a plan copies nothing");

    let first = ground.run(&["--read-back", "100%"]).expect_code(0);
    let report = first.json();
    assert_same(&source.object("pg/orders"), &copy);
    let objects = crate::tree(&copy).len() as u64;
    assert_eq!(Ground::copied(&first), objects);
    assert_eq!(report["compared"]["missing"]["objects"], objects);
    assert_eq!(report["copied"]["acknowledged"], objects, "{report}");
    assert_eq!(report["copied"]["read_back"]["objects"], objects);
    assert_eq!(report["copied"]["histories"]["objects"], 1);
    assert_eq!(report["ended"]["reason"], "complete");
    assert_eq!(report["findings"], serde_json::json!([]));

    let again = ground.run(&[]).expect_code(0);
    assert_eq!(Ground::copied(&again), 0);
    assert_eq!(again.json()["compared"]["same"]["objects"], objects);
    assert_eq!(again.json()["compared"]["looked_at"], 0, "{}", again.stdout);
    let compared = ground.compare(&["--read"]).expect_code(0).json();
    assert_eq!(compared["read"]["equal"]["objects"], objects);

    assert_eq!(
        verified(&url, &source.environment()),
        verified(&ground.target, &target.environment())
    );
    let barman = BarmanCloud::new(&target, "far", "orders");
    let facts = &fixture.facts;
    let newest = facts.backups.last().unwrap();
    let mut wal: Vec<String> = std::fs::read_dir(fixture.plain_wal())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| *name >= newest.begin_wal && (name.len() == 24 || name.contains("history")))
        .collect();
    wal.sort();
    let restored = barman.restore_to_server(&newest.id, &wal, &["far"]);
    assert_eq!(
        restored.number("select count(*) from ledger"),
        facts.tip().rows
    );
    assert_eq!(
        restored.number("select sum(abalance) from pgbench_accounts"),
        facts.balance
    );
}

#[test]
fn files_go_to_buckets_and_back() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions::default());
    let tree = fixture.tree();
    let s3 = S3Server::start();
    let (mut ground, copy) = Ground::s3(&s3, &tree.url(), &s3);
    ground.run(&[]).expect_code(0);
    assert_same(tree.root(), &copy);

    let state = crate::scratch::directory();
    let back = state.path().join("back");
    ground.source = ground.target.clone();
    ground.target = format!("file://{}", back.display());
    ground.options = Vec::new();
    ground.run(&["--parallel", "2"]).expect_code(0);
    assert_same(tree.root(), &back);
}

#[test]
fn a_run_goes_on_where_another_ended() {
    require!(Postgres, S3, Barman);
    let tree = Fixture::get(&RepositoryOptions::default()).tree();
    let (ground, copy) = Ground::files(&tree);
    let first = ground.run(&["--max-objects", "10"]).expect_code(0);
    assert_eq!(Ground::copied(&first), 10);
    assert_eq!(first.json()["ended"]["reason"], "limited");
    let total = tree.keys().len() as u64;
    assert!(first.json()["left"]["wal"]["objects"].as_u64().unwrap() > 0);
    let second = ground.run(&[]).expect_code(0);
    assert_eq!(Ground::copied(&second), total - 10);
    assert_same(tree.root(), &copy);
}

#[test]
fn a_bandwidth_holds() {
    require!(Postgres, S3, Barman);
    let tree = Fixture::get(&RepositoryOptions::default()).tree();
    let (ground, copy) = Ground::files(&tree);
    let bytes: u64 = tree
        .keys()
        .iter()
        .map(|key| tree.read(key).len() as u64)
        .sum();
    let rate = bytes / 3;
    let begin = Instant::now();
    ground
        .run(&["--bandwidth", &format!("{rate}B/s")])
        .expect_code(0);
    let took = begin.elapsed();
    assert!(took > Duration::from_millis(2_500), "{took:?}");
    assert!(took < Duration::from_secs(15), "{took:?}");
    assert_same(tree.root(), &copy);
}

#[test]
fn outside_its_time_of_day_nothing_is_copied() {
    require!(Postgres, S3, Barman);
    let tree = Fixture::get(&RepositoryOptions::default()).tree();
    let (ground, copy) = Ground::files(&tree);
    let clock = |hours: i64| {
        (chrono::Utc::now() + chrono::TimeDelta::hours(hours))
            .format("%H:%M")
            .to_string()
    };
    let closed = format!("{}-{} UTC", clock(2), clock(4));
    let run = ground.run(&["--window", &closed]).expect_code(0);
    assert_eq!(run.json()["ended"]["reason"], "window-closed");
    assert_eq!(Ground::copied(&run), 0);
    assert!(crate::tree(&copy).is_empty());
    let open = format!("{}-{} UTC", clock(-2), clock(2));
    ground.run(&["--window", &open]).expect_code(0);
    assert_same(tree.root(), &copy);
}

#[test]
fn a_cluster_is_copied_to_its_replicas() {
    require!(Postgres, S3, Barman);
    let tree = Fixture::get(&RepositoryOptions::default()).tree();
    let directory = crate::scratch::directory();
    let config = directory.path().join("walproof.yaml");
    std::fs::write(
        &config,
        format!(
            "version: 1\nstate: sqlite://state.sqlite\nclusters:\n- name: orders\n  primary: {{url: '{}'}}\n  replicas:\n  - {{name: near, url: 'file://{dir}/near', replication: {{read_back: 100%}}}}\n  - {{name: far, url: 'file://{dir}/far'}}\n",
            tree.url(),
            dir = directory.path().display()
        ),
    )
    .unwrap();
    let config = config.to_str().unwrap();
    let one = run(
        &[
            "replicate",
            "run",
            "orders",
            "--copy",
            "near",
            "--config",
            config,
            "--output",
            "json",
        ],
        &[],
    )
    .expect_code(0)
    .json();
    assert_eq!(one["copy"], "near");
    assert_eq!(
        one["copied"]["read_back"]["objects"],
        tree.keys().len() as u64
    );
    let all = run(
        &[
            "replicate",
            "run",
            "orders",
            "--config",
            config,
            "--output",
            "json",
        ],
        &[],
    )
    .expect_code(0)
    .json();
    assert_eq!(all["schema"], "walproof.replicate-runs/v1");
    assert_eq!(all["reports"].as_array().unwrap().len(), 2);
    for name in ["near", "far"] {
        assert_same(tree.root(), &directory.path().join(name));
    }
    let text = run(&["replicate", "compare", "orders", "--config", config], &[]).expect_code(0);
    assert!(text.stdout.contains("orders/near"), "{}", text.stdout);
    let history = run(&["history", "--config", config], &[]).expect_code(0);
    assert!(history.stdout.contains("replicate"), "{}", history.stdout);
    for (arguments, words) in [
        (vec!["orders", "--copy", "none"], "has no replica `none`"),
        (vec!["file:///srv/x"], "does not say where to"),
        (vec!["orders", "file:///srv/x", "--copy", "near"], "--copy"),
    ] {
        let mut all = vec!["replicate", "run", "--config", config];
        all.extend(arguments);
        let refused = run(&all, &[]).expect_code(2);
        assert!(refused.stderr.contains(words), "{}", refused.stderr);
    }
}

#[test]
fn an_incremental_run_looks_only_where_new_objects_appear() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions::default());
    let source = fixture.tree();
    let (ground, copy) = Ground::files(&source);
    let newest = source.segments().pop().unwrap();
    let key = source.wal_key(&newest);
    let bytes = source.read(&key);
    let info = format!("base/{}/backup.info", source.backups()[1]);
    let description = source.read(&info);
    source.delete(&key);
    source.delete(&info);
    // The first one has nothing to go on with.
    let first = ground.run(&["--incremental"]).expect_code(0);
    assert!(first.json().get("incremental").is_none());

    source.write(&key, &bytes);
    source.write(&info, &description);
    let second = ground.run(&["--incremental"]).expect_code(0);
    assert_eq!(Ground::copied(&second), 2);
    assert!(second.json()["incremental"]["compared_at"].is_string());
    assert_same(source.root(), &copy);
    let third = ground.run(&["--incremental"]).expect_code(0);
    assert_eq!(Ground::copied(&third), 0);

    // What vanished is noticed when both sides are compared as a whole.
    let oldest = source.wal_key(&source.segments()[0]);
    std::fs::remove_file(copy.join(&oldest)).unwrap();
    let blind = ground.run(&["--incremental"]).expect_code(0);
    assert_eq!(Ground::copied(&blind), 0);
    std::thread::sleep(Duration::from_millis(1_100));
    let whole = ground
        .run(&["--incremental", "--compare-every", "1s"])
        .expect_code(1);
    assert_eq!(whole.finding_codes(), ["copy-missing"]);
    assert_same(source.root(), &copy);
    // After one that found something the next looks whether it is over.
    let over = ground.run(&["--incremental"]).expect_code(0);
    assert!(over.json().get("incremental").is_none());
    let again = ground.run(&["--incremental"]).expect_code(0);
    assert!(again.json().get("incremental").is_some());
    // What differs stays told until a comparison as a whole no longer finds it.
    let victim = copy.join(&oldest);
    let right = std::fs::read(&victim).unwrap();
    std::fs::write(&victim, &right[1..]).unwrap();
    let differs = ground.run(&[]).expect_code(1);
    for _ in 0..2 {
        let still = ground.run(&["--incremental"]).expect_code(1);
        assert_eq!(still.finding_codes(), differs.finding_codes());
    }
    std::fs::write(&victim, &right).unwrap();
    ground.run(&["--incremental"]).expect_code(0);
    // A run that leaves something undone makes the next one compare as a whole.
    std::fs::remove_file(copy.join(&oldest)).unwrap();
    ground.run(&["--max-objects", "0"]).expect_code(1);
    let next = ground.run(&["--incremental"]).expect_code(1);
    assert!(next.json().get("incremental").is_none());
    assert_same(source.root(), &copy);
}
