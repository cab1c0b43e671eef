//! Which jobs of the queue are a RecoveryDrill's, and which of their runs say where it stands:
//! pure.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use uuid::Uuid;

use super::resources::{RecoveryDrill, RecoveryDrillStatus};
use crate::daemon::NAME_TAKEN;
use crate::kubernetes::time::{self, whole};
use crate::state::{Job, JobStatus};

/// So many runs are shown.
pub(super) const RUNS: usize = 5;

/// What the keys of a one-off drill's jobs begin with, whatever its generation.
fn own(uid: &str) -> String {
    format!("recoverydrill/{uid}/")
}

/// The key of a one-off drill's job: the queue has each once.
pub(super) fn key(uid: &str, generation: i64, cluster: &str) -> String {
    format!("{}{generation}/{cluster}", own(uid))
}

/// Whether a job of the schedule's name is this very resource's, and not that of one that had
/// its name before.
pub(super) fn is_of(resource: &RecoveryDrill, job: &Job) -> bool {
    let uid = resource.metadata.uid.as_deref().unwrap_or_default();
    if job.key.starts_with(&own(uid)) {
        return true;
    }
    let made = resource.metadata.creation_timestamp.as_ref();
    let made = made.and_then(time::from_api);
    // The API tells whole seconds; a schedule begins nothing before there was the resource.
    resource.spec.schedule.is_some() && made.is_none_or(|made| whole(job.created_at) >= made)
}

/// Whether a job of the schedule's name ends when the resource goes. Where the name is another's,
/// a drill's of the file, only those that were asked for by this very resource do.
pub(super) fn goes_with(resource: &RecoveryDrill, job: &Job) -> bool {
    let uid = resource.metadata.uid.as_deref().unwrap_or_default();
    let status = resource.status.as_ref();
    let taken = status.is_some_and(|status| {
        let mut conditions = status.conditions.iter();
        conditions.any(|condition| condition.reason == NAME_TAKEN)
    });
    !taken || job.key.starts_with(&own(uid))
}

/// Whether a job is a one-off drill's for a spec that has been edited since. One for a spec
/// that is not seen here yet is none.
pub(super) fn is_outdated(resource: &RecoveryDrill, job: &Job) -> bool {
    let metadata = &resource.metadata;
    let uid = metadata.uid.as_deref().unwrap_or_default();
    let rest = job.key.strip_prefix(&own(uid));
    let generation = rest.and_then(|rest| rest.split_once('/')?.0.parse::<i64>().ok());
    generation.is_some_and(|one| metadata.generation.is_some_and(|now| one < now))
}

/// The newest job of each cluster, of jobs that have the newest first.
pub(super) fn newest<'a>(jobs: impl IntoIterator<Item = &'a Job>) -> impl Iterator<Item = &'a Job> {
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    jobs.into_iter()
        .filter(|job| job.status != JobStatus::Skipped)
        .filter(move |job| seen.insert(&job.cluster))
}

/// The runs that say together what a drill came to: those of the newest job of each cluster
/// that is over.
pub(super) fn judging(jobs: &[Job]) -> Vec<Uuid> {
    let over = jobs.iter().filter(|job| job.status.is_over());
    newest(over).filter_map(|job| job.run_id).collect()
}

/// The runs that are to be shown and are not in the status yet: of those that ended last.
pub(super) fn showing(jobs: &[Job], status: &RecoveryDrillStatus) -> Vec<Uuid> {
    let mut over: Vec<&Job> = jobs.iter().filter(|job| job.status.is_over()).collect();
    over.retain(|job| job.status != JobStatus::Skipped);
    over.sort_by_key(|job| Reverse(job.finished_at));
    let runs = over.into_iter().take(RUNS).filter_map(|job| job.run_id);
    let known = |id: &Uuid| {
        let id = id.to_string();
        status.runs.iter().any(|run| run.id == id)
    };
    runs.filter(|id| !known(id)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn resource(schedule: Option<&Value>) -> RecoveryDrill {
        serde_json::from_value(json!({
            "apiVersion": "walproof.dev/v1alpha1", "kind": "RecoveryDrill",
            "metadata": {"namespace": "shop", "name": "d", "uid": "u", "generation": 3,
                "creationTimestamp": "2026-11-22T03:00:00Z"},
            "spec": {"clusterRef": {"name": "orders"}, "schedule": schedule},
        }))
        .unwrap()
    }

    fn job(number: u8, key: &str, status: &str, created: &str) -> Job {
        let id = Uuid::from_u128(u128::from(number));
        let over = !matches!(status, "waiting" | "running");
        serde_json::from_value(json!({
            "id": id, "key": key, "kind": "drill", "schedule": "shop.d",
            "cluster": key.rsplit('/').next(), "copy": "primary", "bucket": "", "tier": null,
            "due_at": created, "run_after": created, "deadline": null, "priority": 4,
            "late": false, "scratch_bytes": 0, "max_attempts": 4, "spec": {}, "status": status,
            "attempts": 1, "token": 1, "holder": null, "lease_until": null, "progress": null,
            "cancel_asked_at": null, "error": null, "run_id": over.then_some(id),
            "created_at": created, "started_at": null,
            "finished_at": over.then(|| format!("2026-11-22T04:00:{number:02}Z")),
        }))
        .unwrap()
    }

    #[test]
    fn what_was_anothers_of_its_name_is_not_its_own() {
        let once = resource(None);
        let often = resource(Some(&json!({"cron": "@daily"})));
        for (key, created, of_once, of_often) in [
            ("recoverydrill/u/3/a", "2026-11-22T02:00:00Z", true, true),
            ("recoverydrill/u/2/a", "2026-11-22T03:30:00Z", true, true),
            ("recoverydrill/v/1/a", "2026-11-22T02:00:00Z", false, false),
            ("shop.d/a", "2026-11-22T02:59:59.9Z", false, false),
            // Within the second in which it was made.
            ("shop.d/a", "2026-11-22T03:00:00.5Z", false, true),
            ("shop.d/a", "2026-11-22T03:30:00Z", false, true),
        ] {
            let job = job(1, key, "done", created);
            assert_eq!(is_of(&once, &job), of_once, "{key} {created}");
            assert_eq!(is_of(&often, &job), of_often, "{key} {created}");
        }
    }

    #[test]
    fn the_jobs_of_the_files_drill_of_that_name_stay() {
        let mut resource = resource(Some(&json!({"cron": "@daily"})));
        let own = job(1, "recoverydrill/u/1/a", "waiting", "2026-11-22T03:30:00Z");
        let other = job(2, "shop.d/a", "waiting", "2026-11-22T03:30:00Z");
        assert!(goes_with(&resource, &own) && goes_with(&resource, &other));
        let status = json!({"conditions": [{"type": "Scheduled", "status": "False",
            "reason": NAME_TAKEN, "message": "", "lastTransitionTime": "2026-11-22T03:00:00Z"}]});
        resource.status = Some(serde_json::from_value(status).unwrap());
        assert!(goes_with(&resource, &own) && !goes_with(&resource, &other));
    }

    #[test]
    fn what_waits_for_a_spec_before_an_edit_is_outdated() {
        for (key, expected) in [
            ("recoverydrill/u/2/a", true),
            ("recoverydrill/u/3/a", false),
            // Another controller has seen more than this one.
            ("recoverydrill/u/4/a", false),
            ("recoverydrill/u/30/a", false),
            ("recoverydrill/v/2/a", false),
            ("shop.d/a", false),
        ] {
            let job = job(1, key, "waiting", "2026-11-22T03:30:00Z");
            assert_eq!(is_outdated(&resource(None), &job), expected, "{key}");
        }
    }

    #[test]
    fn every_cluster_is_judged_and_what_ended_last_is_shown() {
        let mut jobs: Vec<Job> = (1..=9)
            .map(|number| {
                let key = format!("recoverydrill/u/3/c{number}");
                job(number, &key, "done", "2026-11-22T03:30:00Z")
            })
            .collect();
        jobs.push(job(
            10,
            "recoverydrill/u/2/c1",
            "done",
            "2026-11-22T03:10:00Z",
        ));
        jobs[8].status = JobStatus::Skipped;
        let ids = |numbers: &[u128]| numbers.iter().map(|one| Uuid::from_u128(*one)).collect();
        let all: Vec<Uuid> = ids(&[1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(judging(&jobs), all);
        let mut status = RecoveryDrillStatus::default();
        let shown: Vec<Uuid> = ids(&[10, 8, 7, 6, 5]);
        assert_eq!(showing(&jobs, &status), shown);
        status.runs = vec![crate::controller::resources::DrillRun {
            id: Uuid::from_u128(7).to_string(),
            ..Default::default()
        }];
        let missing: Vec<Uuid> = ids(&[10, 8, 6, 5]);
        assert_eq!(showing(&jobs, &status), missing);
    }
}
