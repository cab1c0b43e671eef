//! Jobs performed by this process.

use std::sync::{Mutex, PoisonError};

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::executor::{Assignment, Executor, Finished};
use crate::config::{Bandwidth, Config};
use crate::evidence::Trigger;
use crate::operation::{self, FailureClass, Limits, Surroundings};
use crate::replicate::SharedBandwidth;
use crate::state::{Job, State};

/// Performs jobs in this process.
pub struct InProcess {
    state: State,
    /// The budget that all share, at the rate that was configured last.
    bandwidth: Mutex<Option<(Bandwidth, SharedBandwidth)>>,
}

impl InProcess {
    /// Records in this state.
    pub fn new(state: State) -> Self {
        Self {
            state,
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
            // What was planned under a greater budget keeps to the one that holds by now.
            scratch_bytes: Some(job.scratch_bytes)
                .filter(|bytes| *bytes > 0)
                .map(|bytes| {
                    config
                        .daemon
                        .scratch
                        .map_or(bytes, |all| bytes.min(all.bytes()))
                }),
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
        // On a thread of its own: much of it is work with bytes, and a defect of one job
        // stays its own.
        let working = tokio::task::spawn_blocking(move || {
            tokio::runtime::Handle::current().block_on(async move {
                let copy = Some(job.copy.as_str()).filter(|copy| !copy.is_empty());
                let performed = operation::perform(&spec, &job.cluster, copy, &around).await;
                (performed.trouble(), performed.summary())
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
                cancelled: false,
                awake,
            }
        }
        .boxed()
    }
}
