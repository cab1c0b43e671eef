//! Jobs performed by this process.

use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::clock::Clock;
use super::executor::{Assignment, Executor, Finished};
use crate::config::{Bandwidth, Config};
use crate::evidence::Trigger;
use crate::operation::{self, FailureClass, Limits, Performed, Surroundings};
use crate::replicate::SharedBandwidth;
use crate::state::{Job, State, StateErrorKind};

/// Performs jobs in this process.
pub struct InProcess {
    state: State,
    clock: Arc<dyn Clock>,
    /// The budget that all share, at the rate that was configured last.
    bandwidth: Mutex<Option<(Bandwidth, SharedBandwidth)>>,
}

impl InProcess {
    /// Records in this state.
    pub fn new(state: State, clock: Arc<dyn Clock>) -> Self {
        Self {
            state,
            clock,
            bandwidth: Mutex::new(None),
        }
    }

    fn limits(&self, config: &Config, job: &Job) -> Limits {
        let mut shared = self
            .bandwidth
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match config.daemon.bandwidth {
            None => *shared = None,
            Some(rate) if shared.as_ref().is_none_or(|(known, _)| *known != rate) => {
                *shared = Some((rate, SharedBandwidth::new(rate)));
            }
            Some(_) => {}
        }
        Limits {
            bandwidth: shared.as_ref().map(|(_, shared)| shared.clone()),
            scratch_bytes: Some(job.scratch_bytes).filter(|bytes| *bytes > 0),
        }
    }
}

impl Executor for InProcess {
    fn perform(&self, assignment: Assignment) -> BoxFuture<'static, Finished> {
        let Assignment {
            job,
            spec,
            config,
            cancellation,
            observer,
            awake,
        } = assignment;
        let around = Surroundings {
            limits: self.limits(&config, &job),
            config,
            state: self.state.clone(),
            trigger: Trigger::Schedule,
            initiator: "walproof daemon".to_owned(),
            due_at: Some(job.due_at),
            schedule: job.schedule.clone(),
            fence: Some(job.fence()),
            late: job.late,
            cancellation,
            observer,
        };
        let clock = Arc::clone(&self.clock);
        // On a thread of its own: much of it is work with bytes, and a defect of one job
        // stays its own.
        let working = tokio::task::spawn_blocking(move || {
            tokio::runtime::Handle::current().block_on(async move {
                let copy = Some(job.copy.as_str()).filter(|copy| !copy.is_empty());
                let performed = operation::perform(&spec, &job.cluster, copy, &around).await;
                let trouble = match performed.trouble() {
                    None => without_run(&around.state, &job, &performed, clock.as_ref()).await,
                    trouble => trouble,
                };
                (trouble, performed.summary())
            })
        });
        async move {
            let (trouble, summary) = working.await.unwrap_or_else(|error| {
                let words = format!("walproof has a defect: the job broke off ({error})");
                (Some(FailureClass::Defect), words)
            });
            Finished {
                trouble,
                summary,
                awake,
            }
        }
        .boxed()
    }
}

/// Marks a job as done that left no run, which would have done so.
async fn without_run(
    state: &State,
    job: &Job,
    performed: &Performed,
    clock: &dyn Clock,
) -> Option<FailureClass> {
    let ran = performed
        .parts
        .iter()
        .any(|part| matches!(&part.outcome, Ok(ended) if ended.run_id.is_some()));
    if ran {
        return None;
    }
    match state.finish_job(&job.fence(), clock.now(), &[]).await {
        Ok(_) => None,
        Err(error) if error.kind == StateErrorKind::Fenced => Some(FailureClass::Fenced),
        Err(error) => {
            tracing::warn!(%error, "the job's end could not be written down");
            Some(FailureClass::State)
        }
    }
}
