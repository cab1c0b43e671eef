//! What is cleared away on start and every hour: what dead drills left on this machine, runs
//! whose process is gone, jobs that were over long ago.

use std::collections::BTreeSet;
use std::path::PathBuf;

use chrono::{DateTime, TimeDelta, Utc};

use crate::config::Config;
use crate::drill;
use crate::state::State;

/// Jobs are kept for this long after they were over. The ledger keeps what came of them.
const KEEP_JOBS: TimeDelta = TimeDelta::days(45);
/// So many at once.
const PRUNE: u32 = 1_000;

/// Sweeps. What fails is logged, and tried again an hour later.
pub(super) async fn sweep(state: &State, config: &Config, now: DateTime<Utc>) {
    for root in roots(config) {
        sweep_root(root).await;
    }
    match state.mark_interrupted().await {
        Ok(runs) if runs.is_empty() => {}
        Ok(runs) => tracing::warn!(runs = runs.len(), "runs were interrupted"),
        Err(error) => tracing::warn!(%error, "interrupted runs could not be looked for"),
    }
    let before = now.checked_sub_signed(KEEP_JOBS).unwrap_or(now);
    loop {
        match state.prune_jobs(before, PRUNE).await {
            Ok(pruned) if pruned == u64::from(PRUNE) => {}
            Ok(_) => return,
            Err(error) => {
                tracing::warn!(%error, "old jobs could not be forgotten");
                return;
            }
        }
    }
}

/// Every directory in which drills of this configuration make scratch directories.
fn roots(config: &Config) -> BTreeSet<PathBuf> {
    let mut roots: BTreeSet<PathBuf> = config
        .drills
        .iter()
        .filter_map(|drill| drill.definition.scratch.clone())
        .collect();
    roots.insert(drill::environments::local::scratch::default_root());
    roots
}

async fn sweep_root(root: PathBuf) {
    let shown = root.display().to_string();
    let swept = tokio::task::spawn_blocking(move || drill::sweep(&root, Utc::now())).await;
    match swept {
        Ok(report) => {
            if !report.removed.is_empty() || !report.ended.is_empty() {
                tracing::info!(
                    root = %shown,
                    removed = report.removed.len(),
                    ended = report.ended.len(),
                    "swept what dead drills left"
                );
            }
            for kept in &report.failed {
                tracing::warn!(?kept, "could not be swept");
            }
        }
        Err(error) => tracing::warn!(root = %shown, %error, "the sweep was cut short"),
    }
}
