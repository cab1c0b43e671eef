//! `walproof status` and `walproof job` over a state that real commands have made.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this is test code; clippy knows only functions marked #[test] as such"
)]

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use ::walproof::state::State;
use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

use common::damage::Tree;
use common::repository::{Fixture, RepositoryOptions};
use common::walproof::{self, Run};
use common::{json_schema, require, scratch};

/// A configuration with these lines, and a state.
struct Ground {
    keep: TempDir,
}

impl Ground {
    fn new(lines: &str) -> Self {
        let keep = scratch::directory();
        let home = keep.path().display().to_string();
        std::fs::write(
            keep.path().join("walproof.yaml"),
            format!(
                "version: 1\nstate: sqlite://{home}/state.sqlite\n{}",
                lines.replace("HOME", &home)
            ),
        )
        .unwrap();
        Self { keep }
    }

    fn path(&self) -> &Path {
        self.keep.path()
    }

    fn run(&self, arguments: &[&str]) -> Run {
        let config = self.path().join("walproof.yaml");
        let mut all = vec!["--config", config.to_str().unwrap()];
        all.extend(arguments);
        let width = ("COLUMNS".to_owned(), "100".to_owned());
        walproof::run(&all, &[width])
    }

    fn status(&self) -> Value {
        let report = self
            .run(&["status", "--output", "json"])
            .expect_code(0)
            .json();
        let schema = include_str!("../docs/schema/status.v1.schema.json");
        json_schema::assert_valid(&serde_json::from_str(schema).unwrap(), &report);
        report
    }
}

fn tree() -> Tree {
    Fixture::get(&RepositoryOptions {
        tablespace: false,
        ..RepositoryOptions::default()
    })
    .tree()
}

/// Verdicts by cluster, in the order of the report.
fn verdicts(report: &Value) -> Vec<(&str, &str)> {
    let clusters = report["clusters"].as_array().unwrap();
    clusters
        .iter()
        .map(|cluster| {
            (
                cluster["name"].as_str().unwrap(),
                cluster["verdict"].as_str().unwrap(),
            )
        })
        .collect()
}

#[test]
fn a_fleet_of_real_runs_the_worst_first() {
    require!(Postgres, S3, Barman);
    let (good, looked, holed) = (tree(), tree(), tree());
    let segments = holed.segments();
    holed.delete_wal(&segments[segments.len() - 2]);
    let ground = Ground::new(&format!(
        "tiers: {{gold: {{due: {{verify: 1d, drill: 7d}}}}}}\nclusters:\n\
         - {{name: good, tier: gold, owner: team-shop, primary: {{url: '{}'}}, replicas: [{{name: far, url: 'file://HOME/far'}}]}}\n\
         - {{name: looked, tier: gold, primary: {{url: '{}'}}}}\n\
         - {{name: holed, primary: {{url: '{}'}}}}\n\
         - {{name: never, primary: {{url: 'file://HOME/never'}}}}\n",
        good.url(),
        looked.url(),
        holed.url()
    ));
    // Nothing was run yet, so nothing is green.
    let report = ground.status();
    assert!(
        verdicts(&report)
            .iter()
            .all(|(_, verdict)| *verdict == "unproven")
    );
    assert_eq!(report["ledger"], Value::Null);

    ground.run(&["replicate", "run", "good"]).expect_code(0);
    ground.run(&["verify", "good"]).expect_code(0);
    ground.run(&["verify", "looked"]).expect_code(0);
    ground.run(&["verify", "holed"]).expect_code(1);
    let before = ground.status();
    assert_eq!(before["counts"]["proven"], 0, "a look proves nothing");
    let place = ground.path().join("scratch");
    let drill = ["drill", "run", "good", "--scratch", place.to_str().unwrap()];
    ground.run(&drill).expect_code(0);

    let report = ground.status();
    assert_eq!(
        verdicts(&report),
        [
            ("holed", "failed"),
            ("looked", "unproven"),
            ("never", "unproven"),
            ("good", "proven")
        ]
    );
    let clusters = report["clusters"].as_array().unwrap();
    let (holed, looked, proven) = (&clusters[0], &clusters[1], &clusters[3]);
    assert_eq!(holed["incidents"][0]["code"], "wal-gap");
    assert_eq!(holed["incidents"][0]["runbook"], "runbooks/wal-gap.md");
    assert!(holed["copies"][0]["verification"]["gaps"].as_u64() > Some(0));
    assert_eq!(looked["overdue"][0]["kind"], "drill");
    assert_eq!(looked["last_proof"], Value::Null);
    assert_eq!(proven["reasons"].as_array().unwrap().len(), 0);
    assert_eq!(proven["last_proof"]["copy"], "primary");
    assert_eq!(proven["last_proof"]["due_seconds"], 7 * 86_400);
    let [primary, far] = proven["copies"].as_array().unwrap().as_slice() else {
        panic!("{proven:#}");
    };
    assert_eq!(
        (&far["role"], &far["lag_seconds"]),
        (&"replica".into(), &0.into())
    );
    assert_eq!(far["replication"]["complete"], true);
    // Now minus the newest commit, and how old the look at it is.
    let exposure = &primary["exposure"];
    assert_eq!(exposure["source"], "commit");
    assert_eq!(exposure["stale"], false);
    let since: chrono::DateTime<Utc> = exposure["since"].as_str().unwrap().parse().unwrap();
    let at: chrono::DateTime<Utc> = report["at"].as_str().unwrap().parse().unwrap();
    assert_eq!(exposure["seconds"], (at - since).num_seconds());
    assert!(exposure["look_age_seconds"].as_i64() < exposure["seconds"].as_i64());
    assert!(report["ledger"]["sequence"].as_u64() >= Some(6));

    ground.run(&["status", "--check"]).expect_code(1);
    ground.run(&["status", "good", "--check"]).expect_code(0);
    ground.run(&["status", "looked", "--check"]).expect_code(3);
    let text = ground.run(&["status"]).expect_code(0).stdout;
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "4 clusters: 1 failed, 2 unproven, 1 proven");
    for (line, (name, verdict)) in lines[3..].iter().zip(verdicts(&report)) {
        assert!(line.contains(name) && line.contains(verdict), "{text}");
    }
    assert!(
        lines.iter().all(|line| line.chars().count() <= 100),
        "{text}"
    );
    let one = ground.run(&["status", "holed"]).expect_code(0).stdout;
    assert!(one.contains("runbooks/wal-gap.md"), "{one}");
    let unknown = ground.run(&["status", "godo"]).expect_code(2);
    assert!(unknown.stderr.contains("did you mean `good`?"));
}

#[test]
fn a_look_that_is_too_old_is_not_green_any_more() {
    require!(Postgres, S3, Barman);
    let tree = tree();
    let lines = |due: &str| {
        format!(
            "tiers: {{gold: {{due: {{verify: {due}, drill: 7d}}}}}}\nclusters:\n\
             - {{name: orders, tier: gold, primary: {{url: '{}'}}}}\n",
            tree.url()
        )
    };
    let ground = Ground::new(&lines("1h"));
    ground.run(&["verify", "orders"]).expect_code(0);
    let place = ground.path().join("scratch");
    let drill = [
        "drill",
        "run",
        "orders",
        "--scratch",
        place.to_str().unwrap(),
    ];
    ground.run(&drill).expect_code(0);
    assert_eq!(verdicts(&ground.status()), [("orders", "proven")]);

    // The same state under a tier that wants a look each second.
    let config = ground.path().join("walproof.yaml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("verify: 1h", "verify: 1s")).unwrap();
    let begin = Instant::now();
    let report = loop {
        let report = ground.status();
        if verdicts(&report) == [("orders", "unproven")] {
            break report;
        }
        assert!(begin.elapsed() < Duration::from_mins(1), "{report:#}");
        std::thread::sleep(Duration::from_millis(100));
    };
    let orders = &report["clusters"][0];
    assert_eq!(orders["overdue"][0]["kind"], "verify");
    assert_eq!(orders["copies"][0]["exposure"]["stale"], true);
    assert!(orders["last_proof"].is_object(), "the drill still counts");

    // What was said of another place does not count for this one.
    let elsewhere = std::fs::read_to_string(&config)
        .unwrap()
        .replace("verify: 1s", "verify: 1h")
        .replace(&tree.url(), "file:///srv/elsewhere");
    std::fs::write(&config, elsewhere).unwrap();
    let report = ground.status();
    assert_eq!(verdicts(&report), [("orders", "unproven")]);
    assert_eq!(report["clusters"][0]["last_proof"], Value::Null);
}

#[test]
fn jobs_are_listed_shown_and_cancelled() {
    let ground = Ground::new("clusters:\n- {name: orders, primary: {url: 'file://HOME/orders'}}\n");
    let none = ground.run(&["job", "list"]).expect_code(0);
    assert!(none.stdout.contains("no job waits or runs"));
    let url = format!("sqlite://{}/state.sqlite", ground.path().display());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let state = ::walproof::state::State::open(&url.parse().unwrap())
            .await
            .unwrap();
        let now = Utc::now();
        let job = |copy: &str| ::walproof::state::NewJob {
            key: format!("nightly/orders/{copy}"),
            kind: ::walproof::state::JobKind::Verify,
            schedule: Some("nightly".into()),
            cluster: "orders".into(),
            copy: copy.into(),
            bucket: String::new(),
            tier: None,
            due_at: now - TimeDelta::minutes(3),
            run_after: now,
            deadline: None,
            priority: 5,
            late: true,
            scratch_bytes: 0,
            max_attempts: 3,
            spec: serde_json::json!({"job": "verify"}),
        };
        state.enqueue(&[job("primary"), job("far")]).await.unwrap();
        state.close().await;
    });
    let list = ground.run(&["job", "list", "--output", "json"]).json();
    assert_eq!(list["schema"], "walproof.jobs/v1");
    let jobs = list["jobs"].as_array().unwrap();
    assert_eq!(jobs.len(), 2);
    let id = jobs[0]["id"].as_str().unwrap();
    let table = ground.run(&["job", "list"]).expect_code(0).stdout;
    assert!(
        table.contains("orders/primary") && table.contains("waiting"),
        "{table}"
    );
    assert!(table.contains("3m ago"), "{table}");

    let shown = ground.run(&["job", "show", id]).expect_code(0).stdout;
    assert!(
        shown.contains("walproof was down when it was due"),
        "{shown}"
    );
    let waiting = ground.status();
    assert_eq!(waiting["clusters"][0]["jobs"].as_array().unwrap().len(), 2);

    let gone = ground
        .run(&["job", "cancel", id, "--output", "json"])
        .expect_code(0);
    assert_eq!(gone.json()["job"]["status"], "cancelled");
    ground.run(&["job", "cancel", id]).expect_code(2);
    ground.run(&["job", "show", "zzz"]).expect_code(2);
    let open = ground.run(&["job", "list", "--output", "json"]).json();
    assert_eq!(open["jobs"].as_array().unwrap().len(), 1);
    let over = ["job", "list", "--status", "cancelled", "--output", "json"];
    let over = ground.run(&over).json();
    assert_eq!(over["jobs"][0]["id"], id);
    let several = ground.run(&["job", "show", &id[..4]]).expect_code(2);
    assert!(
        several.stderr.contains("several jobs"),
        "{}",
        several.stderr
    );
}

/// What the controller of custom resources kept is known to commands, where a controller is
/// configured.
#[test]
fn commands_know_what_custom_resources_declare() {
    require!(Postgres, S3, Barman);
    let tree = tree();
    let ground = Ground::new("kubernetes: {controller: {}}\n");
    let by = |kind: &str| json!({"kind": kind, "namespace": "shop", "name": "orders"});
    let declared = json!({
        "clusters": [{"by": by("ProtectedCluster"), "what": {
            "name": "shop.orders", "tier": "shop.orders", "primary": {"url": tree.url()}}}],
        "tiers": [{"by": by("ProtectedCluster"), "what": ["shop.orders", {"rto": "30m"}]}],
        "schedules": [{"by": by("ProtectedCluster"), "what": {
            "name": "shop.orders.verify", "job": "verify", "cron": "@hourly", "clusters": ["shop.orders"]}}],
        // Of a version to come.
        "windows": [],
    });
    let unknown = ground.run(&["status", "shop.orders"]).expect_code(2);
    assert!(unknown.stderr.contains("shop.orders"), "{}", unknown.stderr);
    keep(&ground, &declared);
    let report = ground.run(&["verify", "shop.orders", "--output", "json"]);
    assert_eq!(report.expect_code(0).json()["cluster"], "shop.orders");
    let status = ground.status();
    assert_eq!(status["clusters"][0]["name"], "shop.orders");
    assert_eq!(status["clusters"][0]["tier"], "shop.orders");
    let schedules = ground.run(&["schedule", "list", "--output", "json"]);
    let schedules = schedules.expect_code(0).json();
    assert_eq!(schedules["runs"][0]["schedule"], "shop.orders.verify");

    // What cannot be read makes no answer about everything, and is no harm to the file's own.
    keep(&ground, &json!({"clusters": "none"}));
    let run = ground.run(&["status", "--output", "json"]).expect_code(3);
    assert!(run.stderr.contains("of another version"), "{}", run.stderr);
    ground.run(&["verify", &tree.url()]).expect_code(0);
    let run = ground.run(&["verify", "shop.orders"]).expect_code(2);
    let said = "without what custom resources declare";
    assert!(run.stderr.contains(said), "{}", run.stderr);
    // Without a controller nobody asks for it.
    keep(&ground, &declared);
    let config = ground.path().join("walproof.yaml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("kubernetes: {controller: {}}\n", "")).unwrap();
    assert_eq!(ground.status()["clusters"], json!([]));
}

/// As the controller keeps it.
fn keep(ground: &Ground, declared: &Value) {
    let url = format!("sqlite://{}/state.sqlite", ground.path().display());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let state = State::open(&url.parse().unwrap()).await.unwrap();
        let now = Utc::now();
        let ttl = Duration::from_secs(1);
        let lease = state.try_lease("controller", Uuid::now_v7(), now, ttl);
        let lease = lease.await.unwrap().unwrap();
        state.keep_declared(&lease, declared, now).await.unwrap();
        state.release_lease(&lease).await.unwrap();
        state.close().await;
    });
}
