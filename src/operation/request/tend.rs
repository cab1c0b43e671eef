//! Looking after requests: ends what is due, concludes what nobody works at any more.

use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt as _;
use uuid::Uuid;

use super::end::{Ending, conclude, is_worked_at, word_of_job};
use crate::config::Config;
use crate::operation::Failure;
use crate::state::{JobStatus, Request, RequestChange, RequestStatus, State};

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
    let due = state.requests_to_tend(now).await?;
    let work = due.into_iter().map(|request| async move {
        let outcome = tend_one(state, config, &request, now, by).await.transpose();
        outcome.map(|outcome| Tended {
            request: request.id,
            outcome,
        })
    });
    let done: Vec<Option<Tended>> = futures::stream::iter(work)
        .buffer_unordered(AT_A_TIME)
        .collect()
        .await;
    Ok(done.into_iter().flatten().collect())
}

/// What is done with one; `None` when there is nothing to do but to wait.
async fn tend_one(
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
