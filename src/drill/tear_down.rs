//! The end of every drill, wherever it stopped.

use std::path::{Path, PathBuf};

use super::log::tail;
use super::options::DrillOptions;
use super::plan::DrillPlan;
use super::run::{Workshop, blocking};
use crate::finding::{Code, Finding};
use crate::restore::{WalServer, WalServerLog};

/// At most this much of the server's log is kept in a file.
const LOG_KEPT: u64 = 4 << 20;
/// At most this much of it is kept in the report.
const LOG_TAIL: u64 = 16 << 10;

/// What the tear-down saw.
pub(super) struct Torn {
    pub(super) removed: bool,
    pub(super) log_tail: String,
    pub(super) kept: Vec<PathBuf>,
    pub(super) wal: WalServerLog,
}

/// Ends the server, keeps log and plan, removes everything else. Never interrupted.
pub(super) async fn tear_down(options: &DrillOptions, work: &mut Workshop) -> Torn {
    if let Some(server) = work.server.as_mut()
        && !server.discard().await
    {
        work.findings.push(Finding::new(
            Code::CleanupFailed,
            "restored server",
            "the server does not end",
        ));
    }
    let wal = work
        .wal_server
        .take()
        .map(WalServer::stop)
        .unwrap_or_default();
    let Some(scratch) = work.scratch.take() else {
        return Torn {
            removed: true,
            log_tail: String::new(),
            kept: Vec::new(),
            wal,
        };
    };
    let path = scratch.path().to_owned();
    let keep = options.keep.clone();
    let plan = work.admitted.as_ref().map(|admitted| admitted.plan.clone());
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
    }
}

/// Keeps the end of the server's log and the plan. What cannot be kept is only logged: a
/// drill's verdict does not depend on it.
fn keep_files(keep: &Path, id: &str, log: &Path, plan: Option<&DrillPlan>) -> Vec<PathBuf> {
    let mut files: Vec<(PathBuf, Vec<u8>)> = Vec::new();
    if let Ok(text) = tail(log, LOG_KEPT) {
        files.push((keep.join(format!("{id}.server.log")), text.into_bytes()));
    }
    if let Some(Ok(text)) = plan.map(serde_json::to_vec_pretty) {
        files.push((keep.join(format!("{id}.plan.json")), text));
    }
    let mut kept = Vec::new();
    for (path, bytes) in files {
        let written = std::fs::create_dir_all(keep).and_then(|()| std::fs::write(&path, bytes));
        match written {
            Ok(()) => kept.push(path),
            Err(error) => tracing::warn!(path = %path.display(), %error, "keep a drill's file"),
        }
    }
    kept
}
