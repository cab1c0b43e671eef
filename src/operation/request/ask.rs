//! Asking: a request becomes a row, with a job where a daemon is to restore it.

use chrono::Utc;
use uuid::Uuid;

use super::spec::Wanted;
use super::{body, entry};
use crate::config::Config;
use crate::evidence::ledger::RequestEvent;
use crate::operation::source::{Reach, Source};
use crate::operation::{Failure, FailureClass, JobSpec};
use crate::state::{JobKind, NewJob, NewRequest, Request, RequestStatus, State};

/// Before everything else: somebody waits for it.
const PRIORITY: u8 = 9;
/// How often it is tried.
const ATTEMPTS: u32 = 3;

/// A request that is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// The request.
    pub request: Request,
    /// Whether it is new; the same key again changes nothing.
    pub new: bool,
}

/// Keeps what somebody wants; with `queue` a daemon restores it, else the caller does
/// ([`super::restore()`]). Nothing is made in Kubernetes yet.
///
/// # Errors
///
/// The cluster is not known, or what is asked for cannot be; or the state.
pub async fn ask(
    state: &State,
    config: &Config,
    wanted: Wanted,
    queue: bool,
) -> Result<Asked, Failure> {
    let (lease_seconds, most_seconds) = wanted.leases(&config.requests)?;
    let spec = wanted.spec.clone().checked()?;
    let reach = Reach::default();
    let source = Source::of_cluster(config, &wanted.cluster, wanted.copy.as_deref(), &reach);
    let (copy, bucket, tier) = match source {
        Ok(source) => (
            source.copy.clone(),
            source.location.bucket().to_owned(),
            source.cluster.and_then(|cluster| cluster.tier),
        ),
        // A secret that is not there now may be there when it is restored.
        Err(failure) if failure.class != FailureClass::Configuration => {
            (wanted.copy.clone().unwrap_or_default(), String::new(), None)
        }
        Err(failure) => return Err(failure),
    };
    let id = Uuid::now_v7();
    let now = Utc::now();
    let new = NewRequest {
        id,
        key: wanted.key.clone().unwrap_or_else(|| id.to_string()),
        cluster: wanted.cluster.clone(),
        copy: copy.clone(),
        asked_by: wanted.by.clone(),
        asked_at: now,
        spec: spec.to_value()?,
        lease_seconds,
        most_seconds,
    };
    let job = NewJob {
        key: format!("request/{id}"),
        kind: JobKind::Request,
        schedule: None,
        cluster: wanted.cluster.clone(),
        copy,
        bucket,
        tier,
        due_at: now,
        run_after: now,
        deadline: None,
        priority: PRIORITY,
        late: false,
        scratch_bytes: 0,
        max_attempts: ATTEMPTS,
        spec: serde_json::to_value(JobSpec::Request { request: id })
            .map_err(|error| Failure::new(FailureClass::Defect, error))?,
    };
    let shown = preview(&new);
    let entry = entry(&shown, body(&shown, RequestEvent::Asked, &wanted.by))?;
    let (request, new) = state
        .add_request(&new, queue.then_some(&job), &entry)
        .await?;
    Ok(Asked { request, new })
}

/// The request as it will be kept, for what the ledger says of it.
fn preview(new: &NewRequest) -> Request {
    Request {
        id: new.id,
        key: new.key.clone(),
        cluster: new.cluster.clone(),
        copy: new.copy.clone(),
        asked_by: new.asked_by.clone(),
        asked_at: new.asked_at,
        spec: new.spec.clone(),
        status: RequestStatus::Queued,
        lease_seconds: new.lease_seconds,
        most_seconds: new.most_seconds,
        job_id: None,
        run_id: None,
        namespace: None,
        verdict: None,
        message: String::new(),
        result: None,
        traces: None,
        ready_at: None,
        expires_at: None,
        end_asked_at: None,
        end_reason: None,
        gone_at: None,
        changed_at: new.asked_at,
    }
}
