//! Progress of the restore room, told to a drill's watcher.

use std::sync::Arc;

use super::observer::{DrillObserver, Progress, Unit};
use super::phases::Phase;
use crate::restore::{ProgressSink, Step};

/// Hands the restore room's progress on to the drill's watcher.
pub(super) struct Forward(pub(super) Arc<dyn DrillObserver>);

impl ProgressSink for Forward {
    fn progress(&self, progress: &crate::restore::Progress) {
        let (phase, unit) = match progress.step {
            Step::ReadWal => (Phase::Admit, Unit::Segments),
            Step::FetchBase => (Phase::FetchBase, Unit::Bytes),
            Step::Sync => return,
        };
        self.0.progress(
            phase,
            Progress {
                unit,
                done: progress.done,
                total: progress.total,
            },
        );
    }
}
