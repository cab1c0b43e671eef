//! The end of a drill on this machine, wherever it stopped.

use super::course::Place;
use crate::drill::log::tail;
use crate::drill::options::DrillOptions;
use crate::drill::run::{Workshop, blocking};
use crate::drill::torn::{LOG_TAIL, Torn, keep_files};
use crate::finding::{Code, Finding};
use crate::restore::WalServer;

/// Ends the server, keeps log and plan, removes everything else. Never interrupted.
pub(in crate::drill) async fn tear_down(
    options: &DrillOptions,
    place: &mut Place,
    work: &mut Workshop,
) -> Torn {
    if let Some(server) = place.server.as_mut()
        && !server.discard().await
    {
        work.findings.push(Finding::new(
            Code::CleanupFailed,
            "restored server",
            "the server does not end",
        ));
    }
    let wal = place
        .wal_server
        .take()
        .map(WalServer::stop)
        .unwrap_or_default();
    let Some(scratch) = place.scratch.take() else {
        return Torn {
            removed: true,
            log_tail: String::new(),
            kept: Vec::new(),
            wal,
            kubernetes: None,
        };
    };
    let path = scratch.path().to_owned();
    let keep = options.keep.clone();
    let plan = work.plan.clone();
    let id = options.id;
    let done = blocking(move || {
        let log = scratch.log();
        let log_tail = tail(&log, LOG_TAIL).unwrap_or_default();
        let kept = keep.map_or_else(Vec::new, |keep| {
            keep_files(&keep, &id.to_string(), &log, plan.as_ref())
        });
        (log_tail, kept, scratch.remove())
    })
    .await;
    let (log_tail, kept, removed) = match done {
        Ok((log_tail, kept, removed)) => (log_tail, kept, removed.map_err(|e| e.to_string())),
        Err(_) => (
            String::new(),
            Vec::new(),
            Err("the tear-down broke off".to_owned()),
        ),
    };
    if let Err(reason) = &removed {
        work.findings.push(Finding::new(
            Code::CleanupFailed,
            path.display().to_string(),
            reason.clone(),
        ));
    }
    Torn {
        removed: removed.is_ok(),
        log_tail,
        kept,
        wal,
        kubernetes: None,
    }
}
