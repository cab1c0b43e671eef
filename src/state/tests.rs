//! The state as a whole: what survives a kill, what is refused, what is told.

use std::process::{Command, Stdio};
use std::time::Duration;

use super::sqlite::MIGRATIONS;
use super::testing::{Place, on_both, sqlite_pool, wait_until};
use super::{
    Completion, HistoryFilter, NewRun, Outcome, Report, RunKind, RunStatus, State, StateErrorKind,
};
use crate::config::StateUrl;
use crate::evidence::Verdict;
use crate::finding::{Code, Finding};

on_both!(
    a_run_is_kept_with_its_findings_and_report,
    the_history_is_narrowed_by_each_filter,
    a_drill_is_kept_with_its_record_as_rows_and_as_file,
    records_cannot_be_changed_removed_or_replaced_by_any_program,
    writers_in_several_processes_wait_for_each_other,
    a_killed_run_is_shown_as_interrupted_and_a_living_one_is_not,
    a_run_that_is_given_up_is_interrupted_at_the_next_start,
    many_processes_may_begin_at_once,
    what_cannot_be_text_is_kept_all_the_same,
    the_clock_of_the_database_is_told,
);

pub(super) fn new_run(kind: RunKind, cluster: &str) -> NewRun {
    NewRun {
        kind,
        cluster: cluster.to_owned(),
        copy: "primary".to_owned(),
        location: format!("s3://backups/{cluster}"),
    }
}

pub(super) fn outcome(verdict: Option<Verdict>) -> Outcome {
    Outcome {
        verdict,
        exit_code: 0,
        summary: "as it should be".to_owned(),
        findings: Vec::new(),
        report: None,
    }
}

pub(super) async fn a_run_is_kept_with_its_findings_and_report(place: &Place) {
    let state = place.open().await;
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

    let again = place.open().await;
    let shown = again.history(&HistoryFilter::default()).await.unwrap();
    assert_eq!(shown.len(), 1);
    assert_eq!(shown[0].id, id);
    assert_eq!(shown[0].status, RunStatus::Finished);
    assert_eq!(shown[0].verdict, Some(Verdict::Failed));
    assert_eq!(shown[0].exit_code, Some(1));
    assert_eq!(shown[0].findings, 1);
    assert!(shown[0].finished_at.unwrap() >= shown[0].started_at);
    let locks = super::lock::folder(place.directory());
    assert!(!locks.join(id.to_string()).exists());
}

pub(super) async fn the_history_is_narrowed_by_each_filter(place: &Place) {
    let state = place.open().await;
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

    let all = state.history(&none()).await.unwrap();
    let ids: Vec<_> = all.iter().map(|run| run.id).collect();
    let with = all.iter().filter_map(|run| Some((run.id, run.verdict?)));
    assert_eq!(state.verdicts(&ids).await.unwrap(), with.collect());
    assert_eq!(state.verdicts(&ids[..1]).await.unwrap().len(), 1);
    assert_eq!(state.verdicts(&[]).await.unwrap().len(), 0);

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

pub(super) async fn a_drill_is_kept_with_its_record_as_rows_and_as_file(place: &Place) {
    let state = place.open().await;
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
    for (table, rows) in [
        ("phases", 1_i64),
        ("checks", 1),
        ("drills", 1),
        ("records", 1),
    ] {
        let count = place.number(&format!("SELECT count(*) FROM {table}")).await;
        assert_eq!(count, rows, "{table}");
    }
}

pub(super) async fn records_cannot_be_changed_removed_or_replaced_by_any_program(place: &Place) {
    let state = place.open().await;
    let run = state
        .begin_run(&new_run(RunKind::Drill, "orders"))
        .await
        .unwrap();
    let mut record = crate::evidence::sample();
    record.run_id = run.id;
    state.record_drill(&run, &record).await.unwrap();
    let row = "run_id, schema, cluster, created_at, verdict, sha256, body";
    let mut attacks = vec![
        "UPDATE records SET verdict = 'failed'".to_owned(),
        "UPDATE records SET schema = 'x'".to_owned(),
        "DELETE FROM records".to_owned(),
    ];
    attacks.extend(if place.is_sqlite() {
        vec![
            "UPDATE records SET sequence = 7".to_owned(),
            format!("INSERT OR REPLACE INTO records (id, {row}) SELECT id, {row} FROM records"),
            format!("INSERT OR REPLACE INTO records (sequence, id, {row}) SELECT sequence, 'x', {row} FROM records"),
            format!("INSERT INTO records (id, {row}) SELECT id, {row} FROM records WHERE true ON CONFLICT DO UPDATE SET verdict = 'failed'"),
        ]
    } else {
        vec![
            "TRUNCATE records".to_owned(),
            "TRUNCATE runs CASCADE".to_owned(),
            // Of the statement there, so that what meets no row is refused as well.
            "DELETE FROM records WHERE sequence = 999".to_owned(),
            "SET session_replication_role = replica; DELETE FROM records".to_owned(),
            format!("INSERT INTO records (id, {row}) SELECT id, {row} FROM records ON CONFLICT (id) DO UPDATE SET verdict = 'failed'"),
        ]
    });
    for sql in attacks {
        let error = place.sql(&sql).await.expect_err(&sql);
        assert!(error.to_string().contains("append-only"), "{sql}: {error}");
    }
    let bodies = place.texts("SELECT CAST(body AS TEXT) FROM records").await;
    assert_eq!(bodies.len(), 1);
    assert_eq!(
        serde_json::from_str::<crate::evidence::DrillRecord>(&bodies[0]).unwrap(),
        record
    );
}

pub(super) async fn writers_in_several_processes_wait_for_each_other(place: &Place) {
    // Each task opens the state for itself, as processes of their own would.
    let tasks: Vec<_> = (0..8)
        .map(|number| {
            let url = place.url().clone();
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
    let state = place.open().await;
    let runs = state.history(&HistoryFilter::default()).await.unwrap();
    assert_eq!(runs.len(), 80);
    assert!(runs.iter().all(|run| run.status == RunStatus::Finished));
}

#[tokio::test]
#[ignore = "the process that a_killed_run_is_shown_as_interrupted_and_a_living_one_is_not starts"]
async fn child_that_is_killed() {
    let directory = std::env::var("WALPROOF_TEST_DIRECTORY").expect("started by its test");
    let url: StateUrl = std::env::var("WALPROOF_TEST_STATE")
        .unwrap()
        .parse()
        .unwrap();
    let state = State::open(&url.with_directory(&directory)).await.unwrap();
    let _run = state
        .begin_run(&new_run(RunKind::Drill, "orders"))
        .await
        .unwrap();
    std::fs::write(std::path::Path::new(&directory).join("begun"), "").unwrap();
    tokio::time::sleep(Duration::from_mins(1)).await;
}

pub(super) async fn a_killed_run_is_shown_as_interrupted_and_a_living_one_is_not(place: &Place) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "state::tests::child_that_is_killed"])
        .env("WALPROOF_TEST_STATE", place.url().to_string())
        .env("WALPROOF_TEST_DIRECTORY", place.directory())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let begun = place.directory().join("begun");
    wait_until("the child to begin", async || begun.exists()).await;
    let state = place.open().await;
    let living = state
        .begin_run(&new_run(RunKind::Verify, "orders"))
        .await
        .unwrap();
    let status = async || {
        let state = place.open().await;
        let runs = state.history(&HistoryFilter::default()).await.unwrap();
        runs.iter()
            .map(|run| (run.kind, run.status))
            .collect::<Vec<_>>()
    };
    let both = [
        (RunKind::Verify, RunStatus::Running),
        (RunKind::Drill, RunStatus::Running),
    ];
    assert_eq!(status().await, both);
    child.kill().unwrap();
    child.wait().unwrap();
    if !place.is_sqlite() {
        // Nobody can know yet: the process may only be slow.
        assert_eq!(status().await, both);
        let dead = format!("WHERE pid = {}", child.id());
        place
            .sql(&format!(
                "UPDATE processes SET beat_at = beat_at - interval '61 seconds' {dead}"
            ))
            .await
            .unwrap();
    }
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

pub(super) async fn a_run_that_is_given_up_is_interrupted_at_the_next_start(place: &Place) {
    let state = place.open().await;
    drop(
        state
            .begin_run(&new_run(RunKind::Drill, "orders"))
            .await
            .unwrap(),
    );
    // That a run was given up is told behind the scenes to a server, at once to a file.
    let mut runs = Vec::new();
    wait_until("the run to be given up", async || {
        let state = place.open().await;
        runs = state.history(&HistoryFilter::default()).await.unwrap();
        runs[0].status != RunStatus::Running
    })
    .await;
    assert_eq!(runs[0].status, RunStatus::Interrupted);
    assert!(runs[0].finished_at.is_some());
    let locks = super::lock::folder(place.directory());
    assert!(!locks.join(runs[0].id.to_string()).exists());
}

pub(super) async fn many_processes_may_begin_at_once(place: &Place) {
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let url = place.url().clone();
            tokio::spawn(async move { State::open(&url).await.map(|_| ()) })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let applied = place.number("SELECT count(*) FROM _sqlx_migrations").await;
    assert_eq!(applied, i64::try_from(MIGRATIONS.iter().count()).unwrap());
}

pub(super) async fn what_cannot_be_text_is_kept_all_the_same(place: &Place) {
    let state = place.open().await;
    let run = state
        .begin_run(&new_run(RunKind::Verify, "or\u{0}ders"))
        .await
        .unwrap();
    let mut ended = outcome(None);
    ended.summary = "a \u{0} in the name, \u{1F418} and \u{fffd}".to_owned();
    ended.findings = vec![Finding::new(Code::WalGap, "wals/\u{0}1", "\u{0}\\u0000")];
    ended.report = Some(Report {
        schema: "walproof.verify/v1".to_owned(),
        body: serde_json::json!({"odd\u{0}": "\u{0}\u{1F418}"}),
    });
    state
        .finish_run(run, &ended, &Completion::default())
        .await
        .unwrap();
    let run = state.find_runs(RunKind::Verify, "last").await.unwrap();
    assert!(run[0].summary.ends_with("\u{1F418} and \u{fffd}"));
    let kept = state.drill(run[0].clone()).await.unwrap();
    assert_eq!(kept.findings, ended.findings);
    assert_eq!(kept.report, ended.report);
}

pub(super) async fn the_clock_of_the_database_is_told(place: &Place) {
    let offset = place.open().await.clock_offset().await.unwrap();
    if place.is_sqlite() {
        assert_eq!(offset, chrono::TimeDelta::zero());
    } else {
        // The same machine, and a zone that is not ours.
        assert!(offset.abs() < chrono::TimeDelta::seconds(5), "{offset}");
    }
}

fn url(directory: &std::path::Path) -> StateUrl {
    StateUrl::sqlite(directory.join("state.sqlite"))
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
    let other = sqlite_pool(&directory.path().join("state.sqlite")).await;
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
    let other = sqlite_pool(&directory.path().join("state.sqlite")).await;
    sqlx::raw_sql("PRAGMA max_page_count = 1; CREATE TABLE filler (text);")
        .execute(&other)
        .await
        .map(|_| ())
        .map_err(|error| super::StateError::sql("write to", directory.path(), &error))
        .map_err(|error| assert_eq!(error.kind, StateErrorKind::Full, "{error}"))
        .unwrap_err();

    let holder = sqlite_pool(&directory.path().join("state.sqlite")).await;
    let _held = holder.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let error = sqlx::query("DELETE FROM runs")
        .execute(&other)
        .await
        .map_err(|error| super::StateError::sql("write to", directory.path(), &error))
        .unwrap_err();
    assert_eq!(error.kind, StateErrorKind::Locked, "{error}");
}
