//! What the daemon works with: the same bodies on each database.

mod attempts;
mod crash;
mod declared;
mod handover;
mod incidents;
mod kinds;
mod ledger;
mod queue;
mod sequences;
mod turns;
mod undone;

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use uuid::Uuid;

use super::testing::{Place, on_both};
use super::{
    Budgets, ClaimRequest, Completion, Fence, Job, JobKind, NewJob, NewRun, Outcome, RunKind,
    RunningRun, State,
};

const LEASE: Duration = Duration::from_mins(1);

/// The beginning of time, and some seconds.
fn moment(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_790_000_000, 0).unwrap() + TimeDelta::seconds(seconds)
}

fn new_job(key: &str, cluster: &str) -> NewJob {
    NewJob {
        key: key.to_owned(),
        kind: JobKind::Verify,
        schedule: Some("often".to_owned()),
        cluster: cluster.to_owned(),
        copy: "primary".to_owned(),
        bucket: String::new(),
        tier: Some("gold".to_owned()),
        due_at: moment(0),
        run_after: moment(0),
        deadline: None,
        priority: 5,
        late: false,
        scratch_bytes: 0,
        max_attempts: 3,
        spec: json!({"job": "verify"}),
    }
}

fn request(now: i64) -> ClaimRequest {
    ClaimRequest {
        holder: Uuid::now_v7(),
        now: moment(now),
        lease: LEASE,
        budgets: Budgets::NONE,
        allow: JobKind::ALL.to_vec(),
    }
}

async fn claim(state: &State, now: i64) -> Option<Job> {
    state.claim(&request(now)).await.unwrap()
}

async fn begin(state: &State, kind: RunKind, cluster: &str) -> RunningRun {
    state
        .begin_run(&NewRun {
            kind,
            cluster: cluster.to_owned(),
            copy: "primary".to_owned(),
            location: format!("s3://backups/{cluster}"),
        })
        .await
        .unwrap()
}

fn outcome() -> Outcome {
    Outcome {
        verdict: None,
        exit_code: 0,
        summary: "as it should be".to_owned(),
        findings: Vec::new(),
        report: None,
    }
}

fn fenced_by(fence: Fence) -> Completion {
    Completion {
        fence: Some(fence),
        ..Completion::default()
    }
}
