//! Another lease: longer, up to the most that was said when it was asked for, or shorter.

use chrono::{TimeDelta, Utc};

use super::spec::too_long;
use super::{access, body, entry};
use crate::config::{Config, Period};
use crate::evidence::ledger::RequestEvent;
use crate::kubernetes::{Kube, scratch};
use crate::operation::{Failure, FailureClass};
use crate::state::{Request, RequestChange, RequestStatus, State};

/// Where a lease may still become another.
const LIVES: [RequestStatus; 3] = [
    RequestStatus::Queued,
    RequestStatus::Restoring,
    RequestStatus::Ready,
];

/// Gives a request another lease, counted from when it is ready. The namespace is told first:
/// whatever happens in between, nothing goes before its time.
///
/// # Errors
///
/// It is longer than it may be; the request is over; Kubernetes or the state.
pub async fn extend(
    state: &State,
    config: &Config,
    request: &Request,
    lease: Period,
    by: &str,
) -> Result<Request, Failure> {
    let seconds = lease.as_secs();
    if seconds > request.most_seconds {
        return Err(too_long("lease", seconds, request.most_seconds));
    }
    let over = || {
        Failure::configuration(format_args!(
            "request {} is {}: there is no lease any more",
            request.id,
            request.status.as_str()
        ))
        .with_hint("ask anew with `walproof request create`")
    };
    if !LIVES.contains(&request.status) || request.end_asked_at.is_some() {
        return Err(over());
    }
    if seconds == request.lease_seconds {
        return Ok(request.clone());
    }
    let until = request
        .ready_at
        .map(|ready| ready + TimeDelta::from_std(lease.as_std()).unwrap_or(TimeDelta::MAX));
    if let (Some(until), Some(namespace), Some(run)) = (until, &request.namespace, request.run_id)
        && until > Utc::now()
    {
        let kube = Kube::connect(&access(config)).await?;
        scratch::keep(&kube, namespace, run, until).await?;
    }
    let mut said = body(request, RequestEvent::Extended, by);
    said.lease_ms = Some(seconds.saturating_mul(1000));
    said.expires_at = until;
    let change = RequestChange {
        lease_seconds: Some(seconds),
        ..RequestChange::default()
    };
    let entry = entry(request, said)?;
    match state
        .change_request(request.id, &LIVES, &change, Some(&entry))
        .await?
    {
        Some(changed) => Ok(changed),
        None => Err(Failure::new(FailureClass::Configuration, over())),
    }
}
