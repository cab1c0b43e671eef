//! Who performs a job: this process, or a Job of Kubernetes beside it.

use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::sync::watch;

use super::clock::Awake;
use crate::config::Config;
use crate::operation::{FailureClass, JobSpec, Observer};
use crate::state::Job;

/// One attempt at a job.
pub struct Assignment {
    /// The job as it was claimed; its fence is what may write.
    pub job: Job,
    /// What is to be done.
    pub spec: JobSpec,
    /// The configuration that holds for it to its end.
    pub config: Arc<Config>,
    /// Becomes true when it is to stop and clean up.
    pub cancellation: watch::Receiver<bool>,
    /// Hears of its course.
    pub observer: Arc<dyn Observer>,
    /// Simulated time stands still as long as it is held.
    pub awake: Awake,
}

impl fmt::Debug for Assignment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Assignment")
            .field("job", &self.job.key)
            .field("token", &self.job.token)
            .finish_non_exhaustive()
    }
}

/// How an attempt ended.
#[derive(Debug)]
pub struct Finished {
    /// What kept it from its end. `None`: the job was done and, fenced, marked so.
    pub trouble: Option<FailureClass>,
    /// One line.
    pub summary: String,
    /// Whether it ended because somebody cancelled the job, where nobody else heard of that.
    pub cancelled: bool,
    /// Hands the assignment's own back.
    pub awake: Awake,
}

/// Performs jobs.
pub trait Executor: Send + Sync {
    /// One attempt, to its end. Nothing is tried again here, and nothing is released: where
    /// there was trouble the caller lets the job go.
    fn perform(&self, assignment: Assignment) -> BoxFuture<'static, Finished>;

    /// Whether an attempt at this job goes on without this process, and gives its own signs
    /// of life. Then the caller gives none, hears of no cancellation, and when it stops it
    /// leaves the attempt alone.
    fn lives_on(&self, _job: &Job, _config: &Config) -> bool {
        false
    }
}
