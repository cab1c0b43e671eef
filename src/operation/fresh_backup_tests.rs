#![allow(
    clippy::needless_pass_by_value,
    reason = "values are written where they are used"
)]

use std::sync::Arc;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;

use super::*;
use crate::config;
use crate::evidence::Trigger;
use crate::operation::source::Reach;
use crate::operation::{Limits, Unobserved};
use crate::state::{NewRun, Outcome, Report};

fn source(lines: &str, copy: &str) -> Source {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("walproof.yaml");
    let text = format!(
        "version: 1\ntiers: {{gold: {{due: {{verify: 20m}}}}}}\nclusters:\n- name: orders\n  \
         primary: {{url: 'file:///orders'}}\n  \
         replicas: [{{name: far, url: 'file:///far'}}]\n{lines}"
    );
    std::fs::write(&file, text).unwrap();
    let config = config::load(&file).unwrap();
    Source::of_cluster(&config, "orders", Some(copy), &Reach::default()).unwrap()
}

const WISHED: &str = "  kubernetes: {namespace: shop, name: db, fresh_backup: when-none-usable}\n";

#[test]
fn only_the_primary_of_a_cluster_that_wishes_it_has_a_policy() {
    let policy = Policy::of(&source(WISHED, "primary")).unwrap();
    assert_eq!(policy.cluster.name, "db");
    assert_eq!(policy.every, TimeDelta::hours(6));
    assert_eq!(policy.followed, FOLLOWED);
    for (lines, copy) in [
        (WISHED, "far"),
        ("", "primary"),
        ("  kubernetes: {namespace: shop, name: db}\n", "primary"),
        (
            "  kubernetes: {namespace: shop, name: db, fresh_backup: never}\n",
            "primary",
        ),
    ] {
        assert_eq!(Policy::of(&source(lines, copy)), None, "{lines} {copy}");
    }
}

#[test]
fn it_keeps_to_its_own_time_and_to_when_the_next_verification_is_due() {
    let lines = format!(
        "  tier: gold\n{}",
        WISHED.replace("usable}", "usable, fresh_backup_every: 2h}")
    );
    let policy = Policy::of(&source(&lines, "primary")).unwrap();
    assert_eq!(policy.every, TimeDelta::hours(2));
    assert_eq!(policy.followed, Duration::from_mins(10));
}

fn now() -> DateTime<Utc> {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

/// A Backup of `db`, created so many minutes ago, with this status.
fn backup(name: &str, minutes: i64, ours: bool, status: Value) -> Backup {
    let created = now() - TimeDelta::minutes(minutes);
    let labels = if ours {
        json!({MANAGED_BY: WALPROOF})
    } else {
        json!({})
    };
    Backup::parse(json!({
        "metadata": {"namespace": "shop", "name": name, "labels": labels,
            "creationTimestamp": created.to_rfc3339()},
        "spec": {"cluster": {"name": "db"}},
        "status": status,
    }))
    .unwrap()
}

fn objection(backups: &[Backup]) -> Option<String> {
    Policy::of(&source(WISHED, "primary"))
        .unwrap()
        .objection(true, backups, now())
}

#[test]
fn one_is_asked_for_where_nothing_speaks_against_it() {
    let ended = |minutes: i64| {
        json!({"phase": "completed",
            "stoppedAt": (now() - TimeDelta::minutes(minutes)).to_rfc3339()})
    };
    let mut other = backup("other", 1, true, json!({"phase": "running"}));
    other.cluster = "another".to_owned();
    for backups in [
        vec![],
        // Another Cluster's.
        vec![other],
        // Somebody else's that came to nothing, or is of no use.
        vec![backup("b", 1, false, json!({"phase": "failed"}))],
        vec![backup("b", 60, false, ended(50))],
        // Ours, long ago; and one that has hung for longer than the time of the policy.
        vec![backup("b", 361, true, json!({"phase": "failed"}))],
        vec![backup("b", 361, false, json!({"phase": "running"}))],
    ] {
        assert_eq!(objection(&backups), None, "{backups:#?}");
    }
}

#[test]
fn none_is_asked_for_beside_another_or_too_soon_after_it() {
    let stopped = (now() - TimeDelta::minutes(9)).to_rfc3339();
    for (one, words) in [
        (
            backup("b", 1, false, json!({"phase": "running"})),
            "b is under way (running)",
        ),
        (
            backup("b", 1, false, json!({})),
            "b is under way (without a phase yet)",
        ),
        (
            backup(
                "b",
                30,
                false,
                json!({"phase": "completed", "stoppedAt": stopped}),
            ),
            "b is completed, and what it needs may still be on its way",
        ),
        (
            backup("b", 359, true, json!({"phase": "failed"})),
            "b was asked for at 2026-11-22 06:01:00 UTC, and at most one is in 6h",
        ),
    ] {
        let old = backup("old", 4000, true, json!({"phase": "failed"}));
        assert_eq!(objection(&[old, one]).as_deref(), Some(words));
    }
}

/// It may have overlooked one.
#[test]
fn none_is_asked_for_after_a_verification_that_was_not_complete() {
    let policy = Policy::of(&source(WISHED, "primary")).unwrap();
    let words = policy.objection(false, &[], now()).unwrap();
    assert!(words.contains("volume snapshots"), "{words}");
}

async fn ran(kind: RunKind, report: bool) -> (TempDir, State) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("state.sqlite");
    let state = State::open(&config::StateUrl::sqlite(&file)).await.unwrap();
    let run = NewRun {
        kind,
        cluster: "orders".into(),
        copy: "primary".into(),
        location: "file:///orders".into(),
    };
    let run = state.begin_run(&run).await.unwrap();
    let outcome = Outcome {
        verdict: None,
        exit_code: 3,
        summary: String::new(),
        findings: Vec::new(),
        report: report.then(|| Report {
            schema: "walproof.backup-request/v1".into(),
            body: json!({}),
        }),
    };
    let completion = crate::state::Completion::default();
    state.finish_run(run, &outcome, &completion).await.unwrap();
    (directory, state)
}

/// Also when nobody finds the Backup in Kubernetes any more.
#[tokio::test]
async fn the_history_remembers_what_was_asked_for() {
    let source = source(WISHED, "primary");
    let policy = Policy::of(&source).unwrap();
    for (kind, report, counts) in [
        (RunKind::Backup, true, true),
        // Nothing was asked for: there was no answer, or it was refused.
        (RunKind::Backup, false, false),
        (RunKind::Verify, true, false),
    ] {
        let (_keep, state) = ran(kind, report).await;
        let found = policy.run(&state, &source, Utc::now()).await.unwrap();
        assert_eq!(found.is_some(), counts, "{kind:?} {report}");
        let later = Utc::now() + TimeDelta::hours(7);
        assert_eq!(policy.run(&state, &source, later).await.unwrap(), None);
    }
}

/// A daemon that stops asks for nothing any more: said, recorded, and no failure of the job.
#[tokio::test]
async fn who_is_told_to_stop_asks_for_nothing() {
    let source = source(WISHED, "primary");
    let policy = Policy::of(&source).unwrap();
    let (keep, state) = ran(RunKind::Verify, true).await;
    let file = keep.path().join("walproof.yaml");
    std::fs::write(&file, "version: 1\n").unwrap();
    let around = Surroundings {
        config: Arc::new(config::load(&file).unwrap()),
        state: state.clone(),
        trigger: Trigger::Schedule,
        initiator: "walproof daemon".into(),
        due_at: None,
        schedule: None,
        fence: None,
        late: false,
        cancellation: watch::channel(true).1,
        observer: Arc::new(Unobserved),
        limits: Limits::default(),
    };
    let words = ask(&policy, &source, true, false, &around).await.unwrap();
    assert_eq!(
        words,
        "no usable backup, and asking for one failed: interrupted"
    );
    let filter = HistoryFilter {
        kind: Some(RunKind::Backup),
        ..HistoryFilter::default()
    };
    let runs = state.history(&filter).await.unwrap();
    assert_eq!(runs.len(), 1);
    assert_eq!(runs[0].exit_code, Some(130));
    assert_eq!(runs[0].verdict, None);
}
