//! When a resource goes: what was begun for it ends, and nothing of it is left.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};
use uuid::Uuid;

use super::drill_jobs::{goes_with, is_outdated};
use super::kind::Around;
use super::resources::RecoveryDrill;
use crate::kubernetes::{names, scratch};
use crate::operation::Failure;
use crate::state::{Job, JobFilter, JobStatus, State, StateError};

/// A scratch namespace whose job is over for this long is removed from here: whoever made it
/// has died, or could not remove it.
const GRACE: TimeDelta = TimeDelta::seconds(20);
/// Its end is not waited for, which would take longer than the lease: it is begun, and the next
/// round looks again.
const PATIENCE: Duration = Duration::ZERO;

/// Cancels what waits or runs of a RecoveryDrill's schedule. Gives whether everything is over and the scratch
/// namespaces of all its runs, earlier attempts too, are gone; those that are kept for a person
/// stay.
pub(super) async fn is_over(
    around: &Around,
    schedule: &str,
    resource: &RecoveryDrill,
) -> Result<bool, Failure> {
    if !cancel(&around.state, schedule, resource, around.now).await? {
        return Ok(false);
    }
    let mut gone = true;
    for left in scratch_namespaces(around).await? {
        let job = around.state.job_of_run(left.run).await?;
        let own = |job: &Job| job.schedule.as_deref() == Some(schedule) && goes_with(resource, job);
        let Some(job) = job.filter(own) else {
            continue;
        };
        gone = false;
        if is_fresh(&job, around) || !around.is_held() {
            continue;
        }
        if !left.ending {
            tracing::warn!(namespace = %left.name, job = %job.key, "removing what a drill left");
        }
        Box::pin(scratch::remove(
            &around.kube,
            &left.name,
            left.run,
            PATIENCE,
        ))
        .await?;
    }
    Ok(gone)
}

/// Cancels whatever of a schedule is open, and gives whether nothing is any more.
async fn cancel(
    state: &State,
    schedule: &str,
    resource: &RecoveryDrill,
    now: DateTime<Utc>,
) -> Result<bool, StateError> {
    let open = JobFilter {
        schedule: Some(schedule.to_owned()),
        open: true,
        limit: u32::MAX,
        ..JobFilter::default()
    };
    let mut over = true;
    let mut jobs = state.jobs(&open).await?;
    jobs.retain(|job| goes_with(resource, job));
    for job in jobs {
        let status = state.cancel(job.id, now).await?;
        over &= status.is_none_or(JobStatus::is_over);
    }
    Ok(over)
}

/// Cancels what waits for a one-off drill as it was before an edit. What runs goes on.
pub(super) async fn cancel_outdated(
    state: &State,
    schedule: &str,
    resource: &RecoveryDrill,
    now: DateTime<Utc>,
) -> Result<(), StateError> {
    let waiting = JobFilter {
        schedule: Some(schedule.to_owned()),
        status: Some(JobStatus::Waiting),
        limit: u32::MAX,
        ..JobFilter::default()
    };
    for job in state.jobs(&waiting).await? {
        if is_outdated(resource, &job) {
            state.cancel(job.id, now).await?;
            tracing::info!(drill = schedule, job = %job.key, "cancelled: the drill was edited before it began");
        }
    }
    Ok(())
}

/// Whether whoever made it may be about to remove it.
fn is_fresh(job: &Job, around: &Around) -> bool {
    let finished = job.finished_at.unwrap_or(job.created_at);
    around.now - finished < GRACE
}

/// A scratch namespace, and whose it is.
struct Left {
    name: String,
    run: Uuid,
    /// Whether it is on its way already.
    ending: bool,
}

/// All scratch namespaces, but for those that are kept.
async fn scratch_namespaces(around: &Around) -> Result<Vec<Left>, Failure> {
    let namespaces: Api<Namespace> = Api::all(around.kube.client());
    let selector = format!("{}={},{}", names::MANAGED_BY, names::WALPROOF, names::DRILL);
    let parameters = ListParams::default().labels(&selector);
    let action = "list the scratch namespaces";
    let listed = around
        .kube
        .call(action, namespaces.list(&parameters))
        .await?;
    Ok(listed.items.iter().filter_map(left).collect())
}

fn left(namespace: &Namespace) -> Option<Left> {
    let kept = namespace.annotations().get(names::KEPT);
    if kept.is_some_and(|kept| kept == "true") {
        return None;
    }
    Some(Left {
        name: namespace.name_any(),
        run: namespace.labels().get(names::DRILL)?.parse().ok()?,
        ending: namespace.metadata.deletion_timestamp.is_some(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::StateUrl;
    use crate::state::{Budgets, ClaimRequest, JobKind, NewJob, Release};

    fn moment() -> DateTime<Utc> {
        DateTime::from_timestamp(1_790_000_000, 0).unwrap()
    }

    fn new_job(key: String, schedule: &str, cluster: String) -> NewJob {
        NewJob {
            key,
            kind: JobKind::Drill,
            schedule: Some(schedule.to_owned()),
            cluster,
            copy: "primary".to_owned(),
            bucket: String::new(),
            tier: None,
            due_at: moment(),
            run_after: moment(),
            deadline: None,
            priority: 4,
            late: false,
            scratch_bytes: 0,
            max_attempts: 4,
            spec: json!({"job": "drill", "definition": schedule}),
        }
    }

    async fn claim(state: &State) -> Job {
        let request = ClaimRequest {
            holder: Uuid::from_u128(1),
            now: moment(),
            lease: Duration::from_mins(1),
            budgets: Budgets::NONE,
            allow: JobKind::ALL.to_vec(),
        };
        state.claim(&request).await.unwrap().unwrap()
    }

    async fn of_status(state: &State, status: JobStatus) -> Vec<String> {
        let filter = JobFilter {
            status: Some(status),
            ..JobFilter::default()
        };
        let jobs = state.jobs(&filter).await.unwrap();
        let mut keys: Vec<String> = jobs.into_iter().map(|job| job.key).collect();
        keys.sort();
        keys
    }

    fn resource() -> RecoveryDrill {
        serde_json::from_value(json!({
            "apiVersion": "walproof.dev/v1alpha1", "kind": "RecoveryDrill",
            "metadata": {"namespace": "shop", "name": "d", "uid": "u", "generation": 2},
            "spec": {"clusterRef": {"name": "a"}},
        }))
        .unwrap()
    }

    async fn open(directory: &tempfile::TempDir) -> State {
        let url = StateUrl::sqlite(directory.path().join("state.sqlite"));
        State::open(&url).await.unwrap()
    }

    #[tokio::test]
    async fn every_job_of_a_drill_is_cancelled_and_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let state = open(&directory).await;
        let mut jobs: Vec<NewJob> = (0..30)
            .map(|number| new_job(format!("d/{number}"), "shop.d", format!("c{number}")))
            .collect();
        state.enqueue(&jobs.split_off(29)).await.unwrap();
        let running = claim(&state).await;
        jobs.push(new_job("e".to_owned(), "shop.e", "c0".to_owned()));
        state.enqueue(&jobs).await.unwrap();
        assert!(
            !cancel(&state, "shop.d", &resource(), moment())
                .await
                .unwrap()
        );
        assert_eq!(of_status(&state, JobStatus::Cancelled).await.len(), 29);
        assert_eq!(of_status(&state, JobStatus::Waiting).await, ["e"]);
        let asked = state.job(running.id).await.unwrap().unwrap();
        assert!(asked.cancel_asked_at.is_some());
        let end = Release::Cancelled;
        state
            .release(&running.fence(), moment(), &end)
            .await
            .unwrap();
        assert!(
            cancel(&state, "shop.d", &resource(), moment())
                .await
                .unwrap()
        );
    }

    #[tokio::test]
    async fn only_what_waits_for_a_spec_before_an_edit_is_cancelled() {
        let directory = tempfile::tempdir().unwrap();
        let state = open(&directory).await;
        let job = |key: &str| new_job(key.to_owned(), "shop.d", "a".to_owned());
        let early = [job("recoverydrill/u/1/running")];
        state.enqueue(&early).await.unwrap();
        claim(&state).await;
        let others = [
            "recoverydrill/u/1/waiting",
            "recoverydrill/u/2/waiting",
            "recoverydrill/v/1/waiting",
        ];
        state.enqueue(&others.map(job)).await.unwrap();
        cancel_outdated(&state, "shop.d", &resource(), moment())
            .await
            .unwrap();
        assert_eq!(
            of_status(&state, JobStatus::Cancelled).await,
            ["recoverydrill/u/1/waiting"]
        );
        assert_eq!(
            of_status(&state, JobStatus::Running).await,
            ["recoverydrill/u/1/running"]
        );
    }

    #[test]
    fn what_is_kept_or_is_no_drills_is_left_alone() {
        let id = Uuid::from_u128(7);
        let of = |label: &str, kept: &str| {
            let namespace = json!({"metadata": {"name": "n", "labels": {(names::DRILL): label},
                "annotations": {(names::KEPT): kept}}});
            left(&serde_json::from_value(namespace).unwrap())
        };
        let found = of(&id.to_string(), "false").unwrap();
        assert_eq!((found.name.as_str(), found.run), ("n", id));
        assert!(!found.ending);
        assert!(of(&id.to_string(), "true").is_none());
        assert!(of("whose", "false").is_none());
    }
}
