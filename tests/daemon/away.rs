//! A state that goes away while the daemon works: a PostgreSQL that is stopped and started
//! again, a SQLite file that somebody else locks. The daemon waits, says so, and loses nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde_json::Value;
use sqlx::Connection as _;

use crate::common::require;
use crate::kit::Ground;
use crate::two::{Shared, until};

/// Stands for a password that must not be shown. The server trusts everybody.
const PASSWORD: &str = "hush-4711-hush";

fn entries(shared: &Shared) -> Vec<Value> {
    shared
        .ask("SELECT text FROM entries ORDER BY sequence")
        .iter()
        .map(|text| serde_json::from_str(text).unwrap())
        .collect()
}

/// Moments of due work that an entry stands for, beside a run's own.
fn passed(entry: &Value) -> u64 {
    match entry["kind"].as_str() {
        Some("late") => entry["body"]["passed_over"].as_u64().unwrap(),
        Some("missed" | "skipped") => entry["body"]["moments"].as_u64().unwrap_or(1),
        _ => 0,
    }
}

/// The moments for which each cluster was verified: each once.
fn verified(entries: &[Value]) -> BTreeMap<String, BTreeSet<i64>> {
    let mut moments: BTreeMap<String, BTreeSet<i64>> = BTreeMap::new();
    for entry in entries.iter().filter(|entry| entry["kind"] == "verify") {
        let code = &entry["body"]["run"]["exit_code"];
        if code.as_u64().is_none_or(|code| code > 1) {
            continue;
        }
        let due = entry["body"]["run"]["asked"]["due_at"].as_str().unwrap();
        let due: chrono::DateTime<chrono::Utc> = due.parse().unwrap();
        let cluster = entry["cluster"].as_str().unwrap().to_owned();
        let new = moments.entry(cluster).or_default().insert(due.timestamp());
        assert!(new, "done twice: {entry:#}");
    }
    moments
}

/// Every moment of a schedule that comes each `every` seconds, up to the last that the
/// schedule dealt with, was run or has its entry.
fn all_accounted_for(entries: &[Value], last: &BTreeMap<String, i64>, every: i64) {
    for (cluster, moments) in verified(entries) {
        let first = moments.first().unwrap();
        let due = u64::try_from((last[&cluster] - first) / every + 1).unwrap();
        let passed: u64 = entries
            .iter()
            .filter(|entry| entry["cluster"] == cluster.as_str())
            .map(passed)
            .sum();
        let run = moments.len() as u64;
        assert_eq!(run + passed, due, "{cluster}: {run} run, {passed} told of");
    }
}

#[test]
fn a_postgresql_that_is_stopped_and_started_again_loses_nothing() {
    require!(Postgres);
    let mut shared = Shared::with(
        3,
        "{job: verify, cron: '*/3 * * * * *', depth: read}",
        "state_password: {file: password}\n",
    );
    std::fs::write(shared.ground.path().join("password"), PASSWORD).unwrap();
    let mut daemon = shared.ground.daemon();
    until(&[&daemon], "the first jobs", || shared.done() >= 4);
    daemon.until_log("the daemon began");
    let ready = daemon.get("/readyz");
    assert_eq!(ready.0, 200, "{}", ready.1);
    let metrics = daemon.get("/metrics").1;
    assert!(metrics.contains("\nwalproof_state_up 1"), "{metrics}");
    // While jobs run.
    until(&[&daemon], "a job", || {
        shared.number("SELECT count(*) FROM jobs WHERE status = 'running'") >= 1
    });
    let before = shared.done();
    shared.server.stop();
    let gone = Instant::now();
    until(&[&daemon], "readiness to end", || {
        daemon.get("/readyz").0 == 503
    });
    let mut metrics = (0, String::new());
    until(&[&daemon], "the metrics to say so", || {
        metrics = daemon.get("/metrics");
        metrics.1.contains("\nwalproof_state_up 0")
    });
    assert_eq!(metrics.0, 200);
    assert!(
        metrics.1.contains("cluster=\"c0\""),
        "what was known is kept\n{}",
        metrics.1
    );
    daemon.until_log("the state does not answer");
    assert_eq!(daemon.get("/healthz").0, 200, "the process itself is well");
    // Several moments go by.
    std::thread::sleep(Duration::from_secs(12).saturating_sub(gone.elapsed()));
    assert!(daemon.is_running());
    shared.server.start();
    until(&[&daemon], "readiness", || daemon.get("/readyz").0 == 200);
    daemon.until_log("the state answers again");
    until(&[&daemon], "it to go on", || shared.done() >= before + 6);
    until(&[&daemon], "the metrics to follow", || {
        daemon.get("/metrics").1.contains("\nwalproof_state_up 1")
    });
    let last: BTreeMap<String, i64> = shared
        .ask("DELETE FROM schedules RETURNING cluster || ' ' || last_due / 1000000")
        .iter()
        .map(|row| {
            let (cluster, last) = row.split_once(' ').unwrap();
            (cluster.to_owned(), last.parse().unwrap())
        })
        .collect();
    assert_eq!(last.len(), 3);
    until(&[&daemon], "the queue to be empty", || {
        // What is to be tried again need not be waited for.
        shared.ask("UPDATE jobs SET run_after = due_at WHERE status = 'waiting'");
        shared.number("SELECT count(*) FROM jobs WHERE status IN ('running', 'waiting')") == 0
    });
    let log = daemon.log();
    assert_eq!(daemon.stop(), 0);
    assert!(!log.contains(PASSWORD));
    shared.check();
    // Whoever opens the state marks what was cut off.
    shared.ground.walproof(&["history"]).expect_code(0);
    let running = shared.ask("SELECT kind || ' ' || id FROM runs WHERE status = 'running'");
    assert!(running.is_empty(), "{running:?}");
    all_accounted_for(&entries(&shared), &last, 3);
}

/// Holds the only right to write for so long.
fn lock(ground: &Ground, seconds: u64) -> std::thread::JoinHandle<()> {
    let file = ground.state.strip_prefix("sqlite://").unwrap().to_owned();
    let (locked, wait) = std::sync::mpsc::channel();
    let holder = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let options = sqlx::sqlite::SqliteConnectOptions::new()
                .filename(file)
                .busy_timeout(Duration::from_secs(30));
            let mut connection = sqlx::SqliteConnection::connect_with(&options)
                .await
                .unwrap();
            let begin = sqlx::query("BEGIN EXCLUSIVE");
            begin.execute(&mut connection).await.unwrap();
            locked.send(()).unwrap();
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            let end = sqlx::query("ROLLBACK");
            end.execute(&mut connection).await.unwrap();
        });
    });
    wait.recv().unwrap();
    holder
}

#[test]
fn a_sqlite_that_somebody_locks_for_long_loses_nothing() {
    require!(Postgres);
    let ground = Ground::new();
    let mut more = String::new();
    writeln!(
        more,
        "schedules:\n- {{name: often, job: verify, cron: '*/2 * * * * *', deadline: 1h}}\ndaemon: {{listen: '127.0.0.1:0', lease: 3s}}"
    )
    .unwrap();
    ground.configure(&more);
    let mut daemon = ground.daemon();
    daemon.until("two verifications", || {
        ground.entries_of("verify").len() >= 2
    });
    // Longer than anybody waits for the lock.
    let holder = lock(&ground, 20);
    let before = ground.jobs("done");
    daemon.until_log("the state does not answer");
    holder.join().unwrap();
    assert!(daemon.is_running());
    daemon.until_log("the state answers again");
    let log = daemon.log();
    assert!(log.contains("locked"), "the cause is named\n{log}");
    // What is to be tried again need not be waited for.
    ground.query("UPDATE jobs SET run_after = due_at WHERE status = 'waiting' RETURNING id");
    daemon.until("it to go on", || ground.jobs("done") >= before + 3);
    let last = ground
        .query("DELETE FROM schedules RETURNING CAST(last_due / 1000000 AS TEXT)")
        .first()
        .unwrap()
        .parse()
        .unwrap();
    daemon.until("the queue to be empty", || {
        ground.query("UPDATE jobs SET run_after = due_at WHERE status = 'waiting' RETURNING id");
        ground.jobs("waiting") + ground.jobs("running") == 0
    });
    assert_eq!(daemon.stop(), 0);
    ground.walproof(&["evidence", "verify"]).expect_code(0);
    let running = ground.query("SELECT id FROM runs WHERE status = 'running'");
    assert!(running.is_empty(), "{running:?}");
    assert_eq!(
        ground.jobs("done"),
        ground.number("SELECT CAST(count(*) AS TEXT) FROM jobs")
    );
    let last = BTreeMap::from([("orders".to_owned(), last)]);
    all_accounted_for(&ground.entries(), &last, 2);
}
