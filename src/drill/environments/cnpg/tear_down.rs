//! The end of a drill in Kubernetes, wherever it stopped.

use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::course::{Made, Place};
use super::options::CnpgOptions;
use super::server;
use crate::drill::neutral::SafetyReport;
use crate::drill::options::DrillOptions;
use crate::drill::run::{Workshop, blocking};
use crate::drill::torn::{LOG_TAIL, Torn, keep_texts};
use crate::finding::{Code, Finding};
use crate::kubernetes::scratch;
use crate::restore::WalServerLog;

/// How long the API may take to remove the namespace with everything in it.
const PATIENCE: Duration = Duration::from_mins(5);

/// What is done with what the drill made.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    /// Nobody asked for anything else.
    Remove,
    /// Somebody asked for it, and it must not be.
    Refused(&'static str),
    /// The server was asked, and tried, and is as confined as it was to be.
    KeepServer,
    /// It is not known of any server. What is there of the recovery may stay if there is none.
    KeepRecovery,
}

/// Whether the restored server is confined, by its own answers and by trying from its pod.
/// `None` when it could not be asked or tried.
fn confined(safety: &SafetyReport) -> Option<bool> {
    match (safety.holds, safety.network_isolated) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    }
}

/// What is done with what the drill made. `confined`: whether the server was found confined.
fn fate(wanted: bool, interrupted: bool, confined: Option<bool>) -> Fate {
    match (wanted, interrupted, confined) {
        (false, ..) => Fate::Remove,
        (_, true, _) => Fate::Refused("the drill was interrupted, and cleans up"),
        (.., Some(false)) => Fate::Refused(
            "the restored server is not confined as it should be, and must not run on",
        ),
        (.., Some(true)) => Fate::KeepServer,
        (.., None) => Fate::KeepRecovery,
    }
}

/// Keeps the log, removes the namespace and proves that it is gone. Never interrupted.
/// `interrupted`: whether somebody asked the drill to stop.
pub(in crate::drill) async fn tear_down(
    cnpg: &CnpgOptions,
    options: &DrillOptions,
    place: &mut Place,
    work: &mut Workshop,
    interrupted: bool,
) -> Torn {
    // Its socket goes with it.
    let fenced = place.server.take().is_some_and(|server| server.is_fenced());
    let text = place.log.text();
    let kept = keep(options.keep.clone(), options, text, work).await;
    let log_tail = place
        .log
        .brief(usize::try_from(LOG_TAIL).unwrap_or(usize::MAX));
    let removed = match place.made.take() {
        None => true,
        Some(made) => {
            let removed = give_back(cnpg, options, &made, place, work, interrupted).await;
            if !removed && fenced && place.is_kept() {
                unfence(&made).await;
            }
            place.report.get_or_insert_default().cost.held_milliseconds =
                u64::try_from(made.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            removed
        }
    };
    Torn {
        removed,
        log_tail,
        kept,
        wal: WalServerLog::default(),
        kubernetes: place.report.take(),
    }
}

async fn keep(
    directory: Option<PathBuf>,
    options: &DrillOptions,
    text: String,
    work: &Workshop,
) -> Vec<PathBuf> {
    let Some(directory) = directory else {
        return Vec::new();
    };
    let (id, plan) = (options.id.to_string(), work.plan.clone());
    let write = move || keep_texts(Path::new(&directory), &id, text, plan.as_ref());
    blocking(write).await.unwrap_or_default()
}

/// Removes the namespace, or leaves it where that was asked for. Returns whether nothing is
/// left that should not be.
async fn give_back(
    cnpg: &CnpgOptions,
    options: &DrillOptions,
    made: &Made,
    place: &mut Place,
    work: &mut Workshop,
    interrupted: bool,
) -> bool {
    let (kube, namespace) = (&made.kube, made.namespace.as_str());
    let lease = cnpg.keep.and_then(|keep| TimeDelta::from_std(keep).ok());
    let kept = match fate(lease.is_some(), interrupted, confined(&work.facts.safety)) {
        Fate::Remove => None,
        Fate::Refused(why) => Some(Err(why.to_owned())),
        Fate::KeepServer => Some(leave(made, options, lease).await),
        Fate::KeepRecovery => Some(leave_recovery(made, options, lease).await),
    };
    match kept {
        None => {}
        Some(Ok(until)) => {
            place.report.get_or_insert_default().kept_until = Some(until);
            return false;
        }
        Some(Err(why)) => {
            tracing::warn!(%why, "not kept for inspection");
            place.report.get_or_insert_default().not_kept = Some(why);
        }
    }
    let (object, reason) = match scratch::remove(kube, namespace, options.id, PATIENCE).await {
        Ok(removal) if removal.is_whole() => return true,
        Ok(removal) => (
            format!("namespace {namespace}"),
            format!(
                "not gone after {} s; it is held by: {}",
                PATIENCE.as_secs(),
                removal.left.join("; ")
            ),
        ),
        Err(error) => (format!("namespace {namespace}"), error.to_string()),
    };
    work.findings
        .push(Finding::new(Code::CleanupFailed, object, reason));
    false
}

/// Leaves the namespace to a person, until the end of the lease by the clock that a sweep
/// goes by.
async fn leave(
    made: &Made,
    options: &DrillOptions,
    lease: Option<TimeDelta>,
) -> Result<DateTime<Utc>, String> {
    let now = made.kube.time().await.unwrap_or_else(|_| Utc::now());
    let until = now + lease.unwrap_or_default();
    scratch::keep(&made.kube, &made.namespace, options.id, until)
        .await
        .map_err(|error| error.to_string())?;
    Ok(until)
}

/// The same for a recovery that came to no server: it is stopped where it is, so that none
/// comes up while nobody looks.
async fn leave_recovery(
    made: &Made,
    options: &DrillOptions,
    lease: Option<TimeDelta>,
) -> Result<DateTime<Utc>, String> {
    match scratch::close(&made.kube, &made.namespace).await {
        Ok(false) => leave(made, options, lease).await,
        Ok(true) => Err(
            "a server may be running of which it is not known whether it is confined".to_owned(),
        ),
        Err(error) => Err(error.to_string()),
    }
}

/// A server that was stopped for a check is of use to nobody who wants to look.
async fn unfence(made: &Made) {
    if let Err(error) = server::unfence(&made.kube, &made.namespace).await {
        tracing::warn!(%error, "the server that is kept stays stopped");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_confined_when_it_says_so_and_when_it_was_tried() {
        for (holds, network_isolated, expected) in [
            (Some(true), Some(true), Some(true)),
            (Some(true), None, None),
            (Some(true), Some(false), Some(false)),
            (Some(false), Some(true), Some(false)),
            (Some(false), None, Some(false)),
            (None, Some(true), None),
            (None, None, None),
        ] {
            let safety = SafetyReport {
                holds,
                network_isolated,
                ..SafetyReport::default()
            };
            assert_eq!(confined(&safety), expected, "{safety:?}");
        }
    }

    #[test]
    fn only_what_is_confined_is_kept_and_only_when_it_was_asked_for() {
        for (wanted, interrupted, confined, expected) in [
            (true, false, Some(true), "server"),
            (true, false, None, "recovery"),
            (true, false, Some(false), "refused"),
            (true, true, Some(true), "refused"),
            (true, true, None, "refused"),
            (true, true, Some(false), "refused"),
            (false, false, Some(true), "removed"),
            (false, false, None, "removed"),
            (false, true, Some(false), "removed"),
        ] {
            let found = match fate(wanted, interrupted, confined) {
                Fate::Remove => "removed",
                Fate::Refused(_) => "refused",
                Fate::KeepServer => "server",
                Fate::KeepRecovery => "recovery",
            };
            assert_eq!(found, expected, "{wanted} {interrupted} {confined:?}");
        }
    }
}
