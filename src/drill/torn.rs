//! What is left when a drill is over.

use std::path::{Path, PathBuf};

use super::environments::cnpg::KubernetesReport;
use super::log::tail;
use super::plan::DrillPlan;
use crate::restore::WalServerLog;

/// At most this much of the server's log is kept in a file.
pub(super) const LOG_KEPT: u64 = 4 << 20;
/// At most this much of it is kept in the report.
pub(super) const LOG_TAIL: u64 = 16 << 10;

/// What the tear-down saw.
pub(super) struct Torn {
    pub(super) removed: bool,
    pub(super) log_tail: String,
    pub(super) kept: Vec<PathBuf>,
    pub(super) wal: WalServerLog,
    pub(super) kubernetes: Option<KubernetesReport>,
}

impl Torn {
    /// Whether the tear-down did what it should: nothing is left, or what is left was asked
    /// for.
    pub(super) fn complete(&self) -> bool {
        let kept = self
            .kubernetes
            .as_ref()
            .and_then(|report| report.kept_until);
        self.removed || kept.is_some()
    }
}

/// Keeps the end of the server's log and the plan. What cannot be kept is only logged: a
/// drill's verdict does not depend on it.
pub(super) fn keep_files(
    keep: &Path,
    id: &str,
    log: &Path,
    plan: Option<&DrillPlan>,
) -> Vec<PathBuf> {
    keep_texts(keep, id, tail(log, LOG_KEPT).unwrap_or_default(), plan)
}

/// The same for a log that is at hand.
pub(super) fn keep_texts(
    keep: &Path,
    id: &str,
    log: String,
    plan: Option<&DrillPlan>,
) -> Vec<PathBuf> {
    let mut files: Vec<(PathBuf, Vec<u8>)> = Vec::new();
    if !log.is_empty() {
        files.push((keep.join(format!("{id}.server.log")), log.into_bytes()));
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
