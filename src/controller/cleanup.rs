//! When a resource goes: what was begun for it ends, and nothing of it is left.

use std::time::Duration;

use chrono::TimeDelta;
use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};
use uuid::Uuid;

use super::kind::Around;
use crate::kubernetes::{names, scratch};
use crate::operation::Failure;
use crate::state::{Job, JobStatus};

/// A scratch namespace whose job is over for this long is removed from here: whoever made it
/// has died.
const GRACE: TimeDelta = TimeDelta::seconds(20);
/// So long is waited for its end at a time.
const PATIENCE: Duration = Duration::from_secs(10);

/// Cancels what waits or runs. Gives whether everything is over and its scratch namespaces are
/// gone; those that are kept for a person stay.
pub async fn is_over(around: &Around, jobs: &[Job]) -> Result<bool, Failure> {
    let mut over = true;
    for job in jobs.iter().filter(|job| !job.status.is_over()) {
        let status = around.state.cancel(job.id, around.now).await?;
        over &= status.is_none_or(JobStatus::is_over);
    }
    if !over {
        return Ok(false);
    }
    for job in jobs {
        // What came to its own end has cleaned up, or has said that it could not.
        let Some(id) = job.run_id.filter(|_| job.status != JobStatus::Done) else {
            continue;
        };
        let finished = job.finished_at.unwrap_or(job.created_at);
        for namespace in scratch_of(around, id).await? {
            if around.now - finished < GRACE {
                return Ok(false);
            }
            tracing::warn!(%namespace, job = %job.key, "removing what a dead drill left");
            let removed = Box::pin(scratch::remove(&around.kube, &namespace, id, PATIENCE)).await?;
            if !removed.gone {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// The scratch namespaces of a drill, but for those that are kept.
async fn scratch_of(around: &Around, id: Uuid) -> Result<Vec<String>, Failure> {
    let namespaces: Api<Namespace> = Api::all(around.kube.client());
    let parameters = ListParams::default().labels(&format!("{}={id}", names::DRILL));
    let action = format!("list the scratch namespaces of drill {id}");
    let listed = around
        .kube
        .call(action, namespaces.list(&parameters))
        .await?;
    let kept = |one: &Namespace| {
        one.annotations()
            .get(names::KEPT)
            .is_some_and(|kept| kept == "true")
    };
    let left = listed.items.iter().filter(|one| !kept(one));
    Ok(left.map(kube::ResourceExt::name_any).collect())
}
