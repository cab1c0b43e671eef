//! The state as a whole: what survives a kill, what is refused, what is told.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

use super::{
    Completion, HistoryFilter, NewRun, Outcome, Report, RunKind, RunStatus, State, StateErrorKind,
};
use crate::config::StateUrl;
use crate::evidence::Verdict;
use crate::finding::{Code, Finding};

fn url(directory: &Path) -> StateUrl {
    StateUrl::sqlite(directory.join("state.sqlite"))
}

fn new_run(kind: RunKind, cluster: &str) -> NewRun {
    NewRun {
        kind,
        cluster: cluster.to_owned(),
        copy: "primary".to_owned(),
        location: format!("s3://backups/{cluster}"),
    }
}

fn outcome(verdict: Option<Verdict>) -> Outcome {
    Outcome {
        verdict,
        exit_code: 0,
        summary: "as it should be".to_owned(),
        findings: Vec::new(),
        report: None,
    }
}

/// A connection of its own, as any other program would open it.
pub(super) async fn other_program(directory: &Path) -> sqlx::SqlitePool {
    SqlitePoolOptions::new()
        .max_connections(1)
        .connect_with(
            SqliteConnectOptions::new()
                .filename(directory.join("state.sqlite"))
                .busy_timeout(Duration::from_millis(50)),
        )
        .await
        .unwrap()
}

#[tokio::test]
async fn a_run_is_kept_with_its_findings_and_report() {
    let directory = tempfile::tempdir().unwrap();
    let state = State::open(&url(directory.path())).await.unwrap();
    let run = state
        .begin_run(&new_run(RunKind::Verify, "orders"))
        .await
        .unwrap();
    let id = run.id;
    let shown = state.history(&HistoryFilter::default()).await.unwrap();
    assert_eq!(shown[0].status, RunStatus::Running);
    let mut ended = outcome(Some(Verdict::Failed));
    ended.exit_code = 1;
    ended.findings = vec![Finding::new(Code::WalGap, "wals/0001", "three segments")];
    ended.report = Some(Report {
        schema: "walproof.verify/v1".to_owned(),
        body: serde_json::json!({"depth": "listed"}),
    });
    state
        .finish_run(run, &ended, &Completion::default())
        .await
        .unwrap();
    state.close().await;

    let again = State::open(&url(directory.path())).await.unwrap();
    let shown = again.history(&HistoryFilter::default()).await.unwrap();
    assert_eq!(shown.len(), 1);
    assert_eq!(shown[0].id, id);
    assert_eq!(shown[0].status, RunStatus::Finished);
    assert_eq!(shown[0].verdict, Some(Verdict::Failed));
    assert_eq!(shown[0].exit_code, Some(1));
    assert_eq!(shown[0].findings, 1);
    assert!(shown[0].finished_at.unwrap() >= shown[0].started_at);
    let locks = super::lock::folder(directory.path());
    assert!(!locks.join(id.to_string()).exists());
}

#[tokio::test]
async fn the_history_is_narrowed_by_each_filter() {
    let directory = tempfile::tempdir().unwrap();
    let state = State::open(&url(directory.path())).await.unwrap();
    for (kind, cluster, verdict) in [
        (RunKind::Verify, "orders", None),
        (RunKind::Drill, "orders", Some(Verdict::Proven)),
        (RunKind::Drill, "billing", Some(Verdict::Failed)),
    ] {
        let run = state.begin_run(&new_run(kind, cluster)).await.unwrap();
        state
            .finish_run(run, &outcome(verdict), &Completion::default())
            .await
            .unwrap();
    }
    let count = async |filter: HistoryFilter| state.history(&filter).await.unwrap().len();
    let none = HistoryFilter::default;
    assert_eq!(count(none()).await, 3);
    let source = |text: &str| HistoryFilter {
        source: Some(text.to_owned()),
        ..none()
    };
    assert_eq!(count(source("orders")).await, 2);
    assert_eq!(count(source("s3://backups/billing")).await, 1);
    assert_eq!(count(source("' OR 1 = 1 --")).await, 0);
    let kind = HistoryFilter {
        kind: Some(RunKind::Drill),
        ..none()
    };
    assert_eq!(count(kind).await, 2);
    let verdict = HistoryFilter {
        verdict: Some(Verdict::Proven),
        ..none()
    };
    assert_eq!(count(verdict).await, 1);
    let limit = HistoryFilter { limit: 2, ..none() };
    assert_eq!(count(limit).await, 2);
    let since = |ago: i64| HistoryFilter {
        since: Some(chrono::Utc::now() - chrono::TimeDelta::seconds(ago)),
        ..none()
    };
    assert_eq!(count(since(3600)).await, 3);
    assert_eq!(count(since(-3600)).await, 0);

    let last = state.find_runs(RunKind::Drill, "last").await.unwrap();
    assert_eq!(last.len(), 1);
    assert_eq!(last[0].cluster, "billing");
    let beginning = &last[0].id.to_string()[..8];
    assert!(
        !state
            .find_runs(RunKind::Drill, beginning)
            .await
            .unwrap()
            .is_empty()
    );
    assert!(
        state
            .find_runs(RunKind::Drill, "%")
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn a_drill_is_kept_with_its_record_as_rows_and_as_file() {
    let directory = tempfile::tempdir().unwrap();
    let state = State::open(&url(directory.path())).await.unwrap();
    let run = state
        .begin_run(&new_run(RunKind::Drill, "orders"))
        .await
        .unwrap();
    let mut record = crate::evidence::sample();
    assert_eq!(
        state.record_drill(&run, &record).await.unwrap_err().kind,
        StateErrorKind::Refused,
        "a record of another run"
    );
    record.run_id = run.id;
    let path = state.record_drill(&run, &record).await.unwrap();
    assert_eq!(path.parent().unwrap(), state.records_directory());
    let mut ended = outcome(Some(Verdict::Proven));
    ended.findings.clone_from(&record.findings);
    state
        .finish_run(run, &ended, &Completion::default())
        .await
        .unwrap();

    let run = state.find_runs(RunKind::Drill, "last").await.unwrap();
    let drill = state.drill(run[0].clone()).await.unwrap();
    assert_eq!(drill.record.as_ref(), Some(&record));
    assert_eq!(drill.findings, record.findings);
    let text = std::fs::read(path).unwrap();
    assert_eq!(
        drill.record_sha256,
        Some(crate::evidence::sha256_hex(&text))
    );
    let other = other_program(directory.path()).await;
    for (table, rows) in [
        ("phases", 1_i64),
        ("checks", 1),
        ("drills", 1),
        ("records", 1),
    ] {
        let sql = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
        let count: i64 = sqlx::query_scalar(sql).fetch_one(&other).await.unwrap();
        assert_eq!(count, rows, "{table}");
    }
}

#[tokio::test]
async fn records_cannot_be_changed_removed_or_replaced_by_any_program() {
    let directory = tempfile::tempdir().unwrap();
    let state = State::open(&url(directory.path())).await.unwrap();
    let run = state
        .begin_run(&new_run(RunKind::Drill, "orders"))
        .await
        .unwrap();
    let mut record = crate::evidence::sample();
    record.run_id = run.id;
    state.record_drill(&run, &record).await.unwrap();
    let other = other_program(directory.path()).await;
    let row = "run_id, schema, cluster, created_at, verdict, sha256, body";
    for sql in [
        "UPDATE records SET verdict = 'failed'".to_owned(),
        "UPDATE records SET sequence = 7".to_owned(),
        "DELETE FROM records".to_owned(),
        format!("INSERT OR REPLACE INTO records (id, {row}) SELECT id, {row} FROM records"),
        format!(
            "INSERT OR REPLACE INTO records (sequence, id, {row}) SELECT sequence, 'x', {row} FROM records"
        ),
        format!(
            "INSERT INTO records (id, {row}) SELECT id, {row} FROM records WHERE true ON CONFLICT DO UPDATE SET verdict = 'failed'"
        ),
    ] {
        let error = sqlx::query(sqlx::AssertSqlSafe(sql.clone()))
            .execute(&other)
            .await
            .expect_err(&sql);
        assert!(error.to_string().contains("append-only"), "{sql}: {error}");
    }
    let body: String = sqlx::query_scalar("SELECT body FROM records")
        .fetch_one(&other)
        .await
        .unwrap();
    assert_eq!(
        serde_json::from_str::<crate::evidence::DrillRecord>(&body).unwrap(),
        record
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_in_several_processes_wait_for_each_other() {
    let directory = tempfile::tempdir().unwrap();
    // Each task opens the state for itself, as processes of their own would.
    let tasks: Vec<_> = (0..8)
        .map(|number| {
            let url = url(directory.path());
            tokio::spawn(async move {
                let state = State::open(&url).await.unwrap();
                for _ in 0..10 {
                    let run = state
                        .begin_run(&new_run(RunKind::Verify, &format!("c{number}")))
                        .await
                        .unwrap();
                    state
                        .finish_run(run, &outcome(None), &Completion::default())
                        .await
                        .unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let state = State::open(&url(directory.path())).await.unwrap();
    let runs = state.history(&HistoryFilter::default()).await.unwrap();
    assert_eq!(runs.len(), 80);
    assert!(runs.iter().all(|run| run.status == RunStatus::Finished));
}

#[tokio::test]
#[ignore = "the process that a_killed_run_is_shown_as_interrupted_and_a_living_one_is_not starts"]
async fn child_that_is_killed() {
    let directory = std::env::var_os("WALPROOF_TEST_STATE").expect("started by its test");
    let directory = Path::new(&directory);
    let state = State::open(&url(directory)).await.unwrap();
    let _run = state
        .begin_run(&new_run(RunKind::Drill, "orders"))
        .await
        .unwrap();
    std::fs::write(directory.join("begun"), "").unwrap();
    tokio::time::sleep(Duration::from_mins(1)).await;
}

#[tokio::test]
async fn a_killed_run_is_shown_as_interrupted_and_a_living_one_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "state::tests::child_that_is_killed"])
        .env("WALPROOF_TEST_STATE", directory.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let begun = directory.path().join("begun");
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while !begun.exists() {
        assert!(
            std::time::Instant::now() < deadline,
            "the child never began"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let state = State::open(&url(directory.path())).await.unwrap();
    let living = state
        .begin_run(&new_run(RunKind::Verify, "orders"))
        .await
        .unwrap();
    let status = async || {
        let state = State::open(&url(directory.path())).await.unwrap();
        let runs = state.history(&HistoryFilter::default()).await.unwrap();
        runs.iter()
            .map(|run| (run.kind, run.status))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        status().await,
        [
            (RunKind::Verify, RunStatus::Running),
            (RunKind::Drill, RunStatus::Running)
        ]
    );
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(
        status().await,
        [
            (RunKind::Verify, RunStatus::Running),
            (RunKind::Drill, RunStatus::Interrupted)
        ]
    );
    state
        .finish_run(living, &outcome(None), &Completion::default())
        .await
        .unwrap();
    assert_eq!(status().await[0].1, RunStatus::Finished);
}

#[tokio::test]
async fn a_run_that_is_given_up_is_interrupted_at_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    let state = State::open(&url(directory.path())).await.unwrap();
    drop(
        state
            .begin_run(&new_run(RunKind::Drill, "orders"))
            .await
            .unwrap(),
    );
    let state = State::open(&url(directory.path())).await.unwrap();
    let runs = state.history(&HistoryFilter::default()).await.unwrap();
    assert_eq!(runs[0].status, RunStatus::Interrupted);
    assert!(runs[0].finished_at.is_some());
    let locks = super::lock::folder(directory.path());
    assert!(!locks.join(runs[0].id.to_string()).exists());
}

#[tokio::test]
async fn trouble_is_told_in_clear_words() {
    // Damaged.
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(
        directory.path().join("state.sqlite"),
        "not a database".repeat(500),
    )
    .unwrap();
    let error = State::open(&url(directory.path())).await.unwrap_err();
    assert_eq!(error.kind, StateErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains("move it away"), "{error}");

    // Written by a newer version.
    let directory = tempfile::tempdir().unwrap();
    State::open(&url(directory.path()))
        .await
        .unwrap()
        .close()
        .await;
    let other = other_program(directory.path()).await;
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (9999, 'later', true, x'00', 0)",
    )
    .execute(&other)
    .await
    .unwrap();
    let error = State::open(&url(directory.path())).await.unwrap_err();
    assert_eq!(error.kind, StateErrorKind::NewerSchema, "{error}");
    assert!(error.to_string().contains("version 9999"), "{error}");

    // No directory can be made there.
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = State::open(&StateUrl::sqlite(file.join("state.sqlite")))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("open the state database"),
        "{error}"
    );
}

#[tokio::test]
async fn a_full_database_and_a_locked_one_are_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    State::open(&url(directory.path()))
        .await
        .unwrap()
        .close()
        .await;
    let other = other_program(directory.path()).await;
    sqlx::raw_sql("PRAGMA max_page_count = 1; CREATE TABLE filler (text);")
        .execute(&other)
        .await
        .map(|_| ())
        .map_err(|error| super::StateError::sql("write to", directory.path(), &error))
        .map_err(|error| assert_eq!(error.kind, StateErrorKind::Full, "{error}"))
        .unwrap_err();

    let holder = other_program(directory.path()).await;
    let _held = holder.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let error = sqlx::query("DELETE FROM runs")
        .execute(&other)
        .await
        .map_err(|error| super::StateError::sql("write to", directory.path(), &error))
        .unwrap_err();
    assert_eq!(error.kind, StateErrorKind::Locked, "{error}");
}
