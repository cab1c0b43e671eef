//! What a running job says of its progress, kept for the next heartbeat.

use std::sync::{Arc, Mutex, PoisonError};

use super::clock::Clock;
use crate::operation::{Observer, Progress};
use crate::state::JobProgress;

/// Keeps the newest progress of a job. Calls return at once.
pub(super) struct Watcher {
    clock: Arc<dyn Clock>,
    job: String,
    newest: Mutex<Option<JobProgress>>,
}

impl Watcher {
    pub(super) fn new(clock: Arc<dyn Clock>, job: &str) -> Self {
        Self {
            clock,
            job: job.to_owned(),
            newest: Mutex::new(None),
        }
    }

    /// What was said last.
    pub(super) fn newest(&self) -> Option<JobProgress> {
        self.newest
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn note(&self, progress: JobProgress) {
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = Some(progress);
    }
}

impl Observer for Watcher {
    fn phase_started(&self, phase: &'static str) {
        tracing::debug!(job = %self.job, phase, "begins");
        self.note(JobProgress {
            phase: phase.to_owned(),
            done: 0,
            total: None,
            unit: String::new(),
            at: self.clock.now(),
        });
    }

    fn progress(&self, progress: Progress) {
        self.note(JobProgress {
            phase: progress.phase.to_owned(),
            done: progress.done,
            total: progress.total,
            unit: progress.unit.as_str().to_owned(),
            at: self.clock.now(),
        });
    }

    fn note(&self, text: &str) {
        tracing::info!(job = %self.job, "{text}");
    }
}
