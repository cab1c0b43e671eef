//! Looking after requests: ends what is due, concludes what nobody works at any more, or what
//! somebody removed.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt as _;
use uuid::Uuid;

use super::access;
use super::end::{Ending, conclude, is_worked_at, word_of_job};
use crate::config::Config;
use crate::kubernetes::{Kube, scratch};
use crate::operation::Failure;
use crate::state::{JobStatus, Request, RequestChange, RequestFilter, RequestStatus, State};

/// So many are looked after at a time.
const AT_A_TIME: usize = 4;
/// So long a command may take from asking to its run.
const BEGINS_WITHIN: TimeDelta = TimeDelta::minutes(2);

/// What came of looking after a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Tended {
    /// Which one.
    pub request: Uuid,
    /// Its end, as far as it came, or why not.
    pub outcome: Result<Ending, Failure>,
}

/// Looks after all requests at a moment: those whose lease is over or whose end was asked for
/// are removed, and those that somebody restored who is gone are concluded. Safe beside others
/// who do the same. `by` is who does it, for the ledger.
///
/// # Errors
///
/// The state. What goes wrong with one of them is in the result.
pub async fn tend(
    state: &State,
    config: &Config,
    now: DateTime<Utc>,
    by: &str,
) -> Result<Vec<Tended>, Failure> {
    let due = due(state, now).await?;
    let work = due
        .iter()
        .map(|request| tend_one(state, config, request, now, by));
    let done: Vec<Option<Tended>> = futures::stream::iter(work)
        .buffer_unordered(AT_A_TIME)
        .collect()
        .await;
    Ok(done.into_iter().flatten().collect())
}

/// The requests that are to be looked after at a moment.
///
/// # Errors
///
/// The state.
pub async fn due(state: &State, now: DateTime<Utc>) -> Result<Vec<Request>, Failure> {
    Ok(state.requests_to_tend(now).await?)
}

/// Looks after one of them, for minutes where its namespace does not go; `None` when there was
/// nothing to do but to wait.
pub async fn tend_one(
    state: &State,
    config: &Config,
    request: &Request,
    now: DateTime<Utc>,
    by: &str,
) -> Option<Tended> {
    let outcome = look_after(state, config, request, now, by).await;
    outcome.transpose().map(|outcome| Tended {
        request: request.id,
        outcome,
    })
}

/// Ends the requests of which is said that they are ready although their namespace is gone:
/// somebody removed it. One list of namespaces, and none where nothing is ready.
///
/// # Errors
///
/// The state, or the namespaces cannot be listed. What goes wrong with one request is in the
/// result.
pub async fn tend_removed(
    state: &State,
    config: &Config,
    by: &str,
) -> Result<Vec<Tended>, Failure> {
    let open = RequestFilter {
        open: true,
        ..RequestFilter::default()
    };
    // Before the list: what is ready by then has its namespace for longer.
    let mut ready = state.requests(&open).await?;
    ready.retain(|request| request.status == RequestStatus::Ready);
    if ready.is_empty() {
        return Ok(Vec::new());
    }
    let kube = Kube::connect(&access(config)).await?;
    let there = scratch::all(&kube).await?;
    let mut done = Vec::new();
    for request in without_namespace(&ready, &there) {
        let status = RequestStatus::Ended;
        let why = "its namespace is gone: somebody removed it";
        done.push(Tended {
            request: request.id,
            outcome: conclude(state, config, request, status, why, by).await,
        });
    }
    Ok(done)
}

/// Those whose namespace is not among those that are there.
pub(super) fn without_namespace<'a>(
    ready: &'a [Request],
    there: &'a BTreeSet<String>,
) -> impl Iterator<Item = &'a Request> {
    ready.iter().filter(|request| {
        let namespace = request.namespace.as_ref();
        namespace.is_some_and(|namespace| !there.contains(namespace))
    })
}

/// What is done with one; `None` when there is nothing to do but to wait.
async fn look_after(
    state: &State,
    config: &Config,
    request: &Request,
    now: DateTime<Utc>,
    by: &str,
) -> Result<Option<Ending>, Failure> {
    let ended = request.end_reason.as_deref();
    let (status, why) = match request.status {
        RequestStatus::Ready | RequestStatus::Ending => (
            RequestStatus::Ended,
            ended.unwrap_or("its lease is over").to_owned(),
        ),
        RequestStatus::Queued | RequestStatus::Restoring => {
            if is_worked_at(state, request, ended.is_some()).await? {
                return waits(state, request).await;
            }
            // Asked for by a command that is about to begin.
            let young = request.job_id.is_none()
                && request.run_id.is_none()
                && now < request.asked_at + BEGINS_WITHIN;
            if young && ended.is_none() {
                return Ok(None);
            }
            match (ended, word_of_job(state, request).await?) {
                (Some(why), _) => (RequestStatus::Ended, why.to_owned()),
                (None, Some((JobStatus::Cancelled, _))) => {
                    (RequestStatus::Ended, "its job was cancelled".to_owned())
                }
                (None, Some((_, error))) if !error.is_empty() => (RequestStatus::Unproven, error),
                _ => (
                    RequestStatus::Unproven,
                    "whoever restored it was killed, or the machine went down".to_owned(),
                ),
            }
        }
        // Something is left of it.
        status => (status, request.message.clone()),
    };
    let why = why.split("; not removed yet: ").next().unwrap_or(&why);
    conclude(state, config, request, status, why, by)
        .await
        .map(Some)
}

/// Of one whose attempt came to nothing and is tried again nothing is being restored.
async fn waits(state: &State, request: &Request) -> Result<Option<Ending>, Failure> {
    if request.status == RequestStatus::Restoring
        && let Some((JobStatus::Waiting, error)) = word_of_job(state, request).await?
    {
        let change = RequestChange {
            status: Some(RequestStatus::Queued),
            message: Some(error).filter(|error| !error.is_empty()),
            ..RequestChange::default()
        };
        state
            .change_request(request.id, &[RequestStatus::Restoring], &change, None)
            .await?;
    }
    Ok(None)
}
