//! The end: by the lease, by a wish, or because nothing came of it.

use chrono::Utc;

use super::{body, entry, remove};
use crate::config::Config;
use crate::evidence::ledger::RequestEvent;
use crate::operation::{Failure, FailureClass};
use crate::state::{JobStatus, Request, RequestChange, RequestStatus, State};

/// Every status but those of what is over.
const OPEN: [RequestStatus; 4] = [
    RequestStatus::Queued,
    RequestStatus::Restoring,
    RequestStatus::Ready,
    RequestStatus::Ending,
];

/// How far an end has come.
#[derive(Clone, Debug, PartialEq)]
pub enum Ending {
    /// Nothing is left.
    Gone(Box<Request>),
    /// Whoever restores it was asked to stop, and cleans up.
    Stopping(Box<Request>),
    /// This is left, and is tried again.
    Left(Box<Request>, Vec<String>),
}

/// Ends a request before its lease does: notes the wish, stops whoever restores it, and removes
/// what is there. Asked again it goes on with that.
///
/// # Errors
///
/// Kubernetes or the state. The wish was noted, and a daemon goes on with it.
pub async fn end(
    state: &State,
    config: &Config,
    request: &Request,
    why: &str,
    by: &str,
) -> Result<Ending, Failure> {
    let change = RequestChange {
        end: Some((Utc::now(), why.to_owned())),
        ..RequestChange::default()
    };
    let asked = state
        .change_request(request.id, &OPEN, &change, None)
        .await?;
    let Some(request) = asked else {
        return over(state, config, request, by).await;
    };
    if matches!(
        request.status,
        RequestStatus::Queued | RequestStatus::Restoring
    ) && is_worked_at(state, &request, true).await?
    {
        return Ok(Ending::Stopping(Box::new(request)));
    }
    conclude(state, config, &request, RequestStatus::Ended, why, by).await
}

/// Notes that a request is to end, and stops whoever restores it. What is there is removed by
/// the next look ([`super::tend()`]). `None` when it is over already.
///
/// # Errors
///
/// The state.
pub async fn wish_end(
    state: &State,
    request: &Request,
    why: &str,
) -> Result<Option<Request>, Failure> {
    let change = RequestChange {
        end: Some((Utc::now(), why.to_owned())),
        ..RequestChange::default()
    };
    let asked = state
        .change_request(request.id, &OPEN, &change, None)
        .await?;
    if let Some(request) = &asked {
        is_worked_at(state, request, true).await?;
    }
    Ok(asked)
}

/// One of which nothing comes any more; something may be left of it.
async fn over(
    state: &State,
    config: &Config,
    request: &Request,
    by: &str,
) -> Result<Ending, Failure> {
    let found = state.request(request.id).await?;
    let request = found.unwrap_or_else(|| request.clone());
    if request.gone_at.is_some() {
        return Ok(Ending::Gone(Box::new(request)));
    }
    let (status, message) = (request.status, request.message.clone());
    conclude(state, config, &request, status, &message, by).await
}

/// Whether somebody restores it, or waits to; asked to stop if `stop`.
pub(super) async fn is_worked_at(
    state: &State,
    request: &Request,
    stop: bool,
) -> Result<bool, Failure> {
    if let Some(job) = request.job_id {
        let status = if stop {
            state.cancel(job, Utc::now()).await?
        } else {
            state.job(job).await?.map(|job| job.status)
        };
        return Ok(status.is_some_and(|status| !status.is_over()));
    }
    match request.run_id {
        // Restored by a command, whose process holds the run.
        Some(run) => Ok(state.is_running(run).await?),
        None => Ok(false),
    }
}

/// What became of the job that was to restore it, where that is over without a word of its own.
pub(super) async fn word_of_job(
    state: &State,
    request: &Request,
) -> Result<Option<(JobStatus, String)>, Failure> {
    let Some(id) = request.job_id else {
        return Ok(None);
    };
    Ok(state
        .job(id)
        .await?
        .map(|job| (job.status, job.error.unwrap_or_default())))
}

/// Removes what is there of a request that nobody works at, and says so. `status` is what it
/// is then.
pub(super) async fn conclude(
    state: &State,
    config: &Config,
    request: &Request,
    status: RequestStatus,
    why: &str,
    by: &str,
) -> Result<Ending, Failure> {
    let begun = RequestChange {
        status: Some(if status == RequestStatus::Ended {
            RequestStatus::Ending
        } else {
            status
        }),
        message: Some(why.to_owned()),
        ..RequestChange::default()
    };
    let from = [&OPEN[..], &[status]].concat();
    let Some(request) = state
        .change_request(request.id, &from, &begun, None)
        .await?
    else {
        // Somebody else was faster.
        let found = state.request(request.id).await?;
        return Ok(Ending::Gone(Box::new(
            found.unwrap_or_else(|| request.clone()),
        )));
    };
    let left = match Box::pin(remove(config, &request)).await {
        Ok(left) => left,
        Err(failure) => {
            let change = RequestChange {
                message: Some(format!("{why}; not removed yet: {failure}")),
                ..RequestChange::default()
            };
            state
                .change_request(request.id, &from, &change, None)
                .await?;
            return Err(failure);
        }
    };
    if !left.is_empty() {
        let change = RequestChange {
            message: Some(format!("{why}; not removed yet: {}", left.join("; "))),
            ..RequestChange::default()
        };
        let request = state
            .change_request(request.id, &from, &change, None)
            .await?
            .unwrap_or(request);
        return Ok(Ending::Left(Box::new(request), left));
    }
    let now = Utc::now();
    let gone = RequestChange {
        status: Some(status),
        message: Some(why.to_owned()),
        gone_at: Some(now),
        ..RequestChange::default()
    };
    let event = match status {
        RequestStatus::Failed => RequestEvent::Failed,
        RequestStatus::Unproven => RequestEvent::Unproven,
        RequestStatus::Refused => RequestEvent::Refused,
        _ => RequestEvent::Ended,
    };
    let mut said = body(&request, event, by);
    why.clone_into(&mut said.reason);
    let entry = entry(&request, said)?;
    let changed = state
        .change_request(request.id, &from, &gone, Some(&entry))
        .await?;
    let request = match changed {
        Some(request) => request,
        // Of two that removed it, the other said so.
        None => state.request(request.id).await?.ok_or_else(|| {
            Failure::new(
                FailureClass::State,
                format!("request {} is gone", request.id),
            )
        })?,
    };
    Ok(Ending::Gone(Box::new(request)))
}
