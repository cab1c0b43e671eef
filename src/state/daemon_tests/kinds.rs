//! A database of the version before learns new kinds of jobs, schedules and runs, and keeps
//! its rows, indexes and triggers.

use serde_json::json;

use super::super::schedule::ScheduleRow;
use super::super::testing::{Place, on_both};
use super::*;

on_both!(a_database_of_the_version_before_learns_new_kinds);

const RUN: &str = "00000000-0000-0000-0000-000000000001";
const JOB: &str = "00000000-0000-0000-0000-000000000002";

/// What stands in the three tables whose rules change, as one text.
async fn rows(place: &Place) -> Vec<String> {
    place
        .texts(
            "SELECT id || kind || cluster || status || location FROM runs \
             UNION ALL SELECT id || kind || key || status || token || attempts || spec FROM jobs \
             UNION ALL SELECT run_id || ' ' || job_id || ' ' || token FROM job_runs \
             UNION ALL SELECT schedule || cluster || kind || definition || next_due FROM schedules",
        )
        .await
}

/// Indexes and, where they can be asked for alike, triggers.
async fn rules(place: &Place) -> Vec<String> {
    let mut rules = place
        .texts(if place.is_sqlite() {
            "SELECT type || ' ' || name || ' ' || sql FROM sqlite_schema \
             WHERE type IN ('index', 'trigger') AND sql IS NOT NULL"
        } else {
            "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' \
             UNION ALL SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal"
        })
        .await;
    rules.sort();
    rules
}

async fn a_database_of_the_version_before_learns_new_kinds(place: &Place) {
    place.migrate_to(5).await;
    let spec = json!({"job": "verify"}).to_string();
    place
        .sql(&format!(
            "INSERT INTO runs (id, kind, cluster, copy, location, started_at, finished_at, status, version) \
             VALUES ('{RUN}', 'expire', 'orders', '', 's3://a', '2026-01-01T00:00:00Z', \
                     '2026-01-01T00:00:00Z', 'finished', '0'); \
             INSERT INTO jobs (id, key, kind, schedule, cluster, copy, bucket, due_at, run_after, \
                 priority, late, scratch_bytes, max_attempts, spec, status, attempts, token, \
                 created_at, finished_at) \
             VALUES ('{JOB}', 'often/orders/primary@1', 'sweep', 'often', 'orders', 'primary', '', \
                 1, 1, 5, 0, 0, 3, '{spec}', 'done', 1, 7, 1, 2); \
             INSERT INTO job_runs (run_id, job_id, token) VALUES ('{RUN}', '{JOB}', 7); \
             INSERT INTO schedules (schedule, cluster, kind, definition, next_due) \
             VALUES ('often', 'orders', 'report', 'report @daily UTC', 5)",
        ))
        .await
        .unwrap();
    for table in ["jobs", "schedules", "runs"] {
        let statement = format!("UPDATE {table} SET kind = 'capture'");
        let refused = place.sql(&statement).await;
        assert!(refused.is_err(), "{table} knew it already");
    }
    let (before, held) = (rows(place).await, rules(place).await);
    assert_eq!(before.len(), 4);

    let state = place.open().await;
    assert_eq!(rows(place).await, before);
    // Later migrations add some; none is gone or another.
    let now = rules(place).await;
    let gone: Vec<&String> = held.iter().filter(|rule| !now.contains(rule)).collect();
    assert!(gone.is_empty(), "{gone:?}");
    let lease = state
        .try_lease("tick", Uuid::now_v7(), moment(0), LEASE)
        .await
        .unwrap()
        .unwrap();
    for kind in [JobKind::Capture, JobKind::Request] {
        let job = NewJob {
            kind,
            ..new_job(kind.as_str(), "orders")
        };
        assert_eq!(state.enqueue(&[job]).await.unwrap(), [true]);
        let claimed = claim(&state, 10).await.unwrap();
        assert_eq!(claimed.kind, kind);
        let row = ScheduleRow {
            schedule: format!("each-{}", kind.as_str()),
            cluster: "orders".to_owned(),
            kind,
            definition: String::new(),
            next_due: moment(5),
            last_due: None,
        };
        state
            .schedules_sync(&lease, &[row], moment(0))
            .await
            .unwrap();
    }
    for kind in [RunKind::Capture, RunKind::Request] {
        let run = begin(&state, kind, "orders").await;
        let entry = state
            .finish_run(run, &outcome(), &Completion::default())
            .await
            .unwrap();
        assert!(
            entry
                .text
                .contains(&format!("\"kind\":\"{}\"", kind.as_str())),
            "{}",
            entry.text
        );
    }
    state.close().await;

    if place.is_sqlite() {
        assert_eq!(place.texts("PRAGMA integrity_check").await, ["ok"]);
    }
    for table in ["jobs", "schedules", "runs"] {
        let statement = format!("UPDATE {table} SET kind = 'other'");
        let refused = place
            .sql(&statement)
            .await
            .unwrap_err()
            .to_string()
            .to_lowercase();
        assert!(refused.contains("check constraint"), "{table}: {refused}");
    }
    let statement = format!("UPDATE jobs SET token = 6 WHERE id = '{JOB}'");
    let back = place.sql(&statement).await.unwrap_err().to_string();
    assert!(back.contains("never goes back"), "{back}");
}
