//! What is cleared away on start and every hour: what dead drills left on this machine and in
//! Kubernetes, runs whose process is gone, jobs that were over long ago.

use std::collections::BTreeSet;
use std::path::PathBuf;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::Mutex;

use crate::config::Config;
use crate::drill;
use crate::operation::sweep::{there, uses_kubernetes};
use crate::state::State;

/// Jobs are kept for this long after they were over. The ledger keeps what came of them.
const KEEP_JOBS: TimeDelta = TimeDelta::days(45);
/// So many at once.
const PRUNE: u32 = 1_000;

/// Held while namespaces are swept. They may take minutes to be gone.
static NAMESPACES: Mutex<()> = Mutex::const_new(());

/// Sweeps. What fails is logged, and tried again an hour later. Namespaces are swept beside
/// it: nobody waits for Kubernetes.
pub(super) async fn sweep(state: &State, config: &Config, now: DateTime<Utc>) {
    if uses_kubernetes(config) {
        tokio::spawn(sweep_namespaces(config.clone()));
    }
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

async fn sweep_namespaces(config: Config) {
    let Ok(_held) = NAMESPACES.try_lock() else {
        tracing::debug!("the sweep of Kubernetes before is still under way");
        return;
    };
    match there(&config, Utc::now(), false).await {
        Ok(swept) => {
            for one in &swept.removed {
                tracing::info!(
                    namespace = %one.name, reason = %one.reason,
                    "swept what a dead drill left"
                );
            }
            for one in &swept.failed {
                tracing::warn!(
                    namespace = %one.name, reason = %one.reason,
                    "could not be swept"
                );
            }
        }
        Err(error) => tracing::warn!(%error, hint = error.hint(), "Kubernetes was not swept"),
    }
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
