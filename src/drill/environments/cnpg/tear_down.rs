//! The end of a drill in Kubernetes, wherever it stopped.

use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{TimeDelta, Utc};

use super::course::{Made, Place};
use super::options::CnpgOptions;
use crate::drill::options::DrillOptions;
use crate::drill::run::{Workshop, blocking};
use crate::drill::torn::{LOG_TAIL, Torn, keep_texts};
use crate::finding::{Code, Finding};
use crate::kubernetes::scratch;
use crate::restore::WalServerLog;

/// How long the API may take to remove the namespace with everything in it.
const PATIENCE: Duration = Duration::from_mins(5);

/// Keeps the log, removes the namespace and proves that it is gone. Never interrupted.
pub(in crate::drill) async fn tear_down(
    cnpg: &CnpgOptions,
    options: &DrillOptions,
    place: &mut Place,
    work: &mut Workshop,
) -> Torn {
    // Its socket goes with it.
    drop(place.server.take());
    let text = place.log.text();
    let kept = keep(options.keep.clone(), options, text, work).await;
    let log_tail = place
        .log
        .brief(usize::try_from(LOG_TAIL).unwrap_or(usize::MAX));
    let removed = match place.made.take() {
        None => true,
        Some(made) => {
            let removed = give_back(cnpg, options, &made, place, work).await;
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
) -> bool {
    let (kube, namespace) = (&made.kube, made.namespace.as_str());
    let wanted = cnpg.keep.and_then(|keep| TimeDelta::from_std(keep).ok());
    if let Some(lease) = wanted.filter(|_| work.time_to_service.is_some()) {
        let until = Utc::now() + lease;
        match scratch::keep(kube, namespace, options.id, until).await {
            Ok(()) => {
                place.report.get_or_insert_default().kept_until = Some(until);
                return false;
            }
            Err(error) => tracing::warn!(%error, "keep a restored cluster"),
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
