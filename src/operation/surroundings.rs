//! What an operation is given by whoever starts it, and what it gives back.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio::sync::watch;
use uuid::Uuid;

use super::recording::Origin;
use super::{Failure, FailureClass, Observer};
use crate::config::Config;
use crate::evidence::ledger::Asked;
use crate::evidence::{Trigger, Verdict};
use crate::finding::Severity;
use crate::replicate::SharedBandwidth;
use crate::state::{Fence, State};

/// What an operation shares with others of this process.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    /// One budget of bytes per second for all that read a source to copy it.
    pub bandwidth: Option<SharedBandwidth>,
    /// At most this many bytes of scratch disk for this drill; a drill that needs more is
    /// `unproven` before it writes anything.
    pub scratch_bytes: Option<u64>,
}

/// What an operation is given by whoever starts it.
#[derive(Clone)]
pub struct Surroundings {
    /// The configuration that holds for it; a later one does not change what is under way.
    pub config: Arc<Config>,
    /// Where it is recorded.
    pub state: State,
    /// Why it runs.
    pub trigger: Trigger,
    /// Who asked: a person, a role or a service.
    pub initiator: String,
    /// When it was due, for a schedule.
    pub due_at: Option<DateTime<Utc>>,
    /// The schedule that it comes from.
    pub schedule: Option<String>,
    /// The attempt at a job that it is. The job is marked as done with the last run, unless
    /// something kept it from coming to its end ([`Ended::trouble`], or a [`Failure`]): then
    /// the caller lets it go ([`State::release`]).
    pub fence: Option<Fence>,
    /// Whether it runs later than it should, because walproof was down.
    pub late: bool,
    /// Becomes true when it is to stop and clean up.
    pub cancellation: watch::Receiver<bool>,
    /// Who watches.
    pub observer: Arc<dyn Observer>,
    /// What it shares with others.
    pub limits: Limits,
}

impl Surroundings {
    /// Where a run of it comes from; `goes_on` when others of the same job follow.
    pub(super) fn origin(&self, goes_on: bool) -> Origin {
        Origin {
            asked: Asked {
                trigger: self.trigger,
                initiator: self.initiator.clone(),
                schedule: self.schedule.clone(),
                job: self.fence.map(|fence| fence.job),
                due_at: self.due_at,
                late: self.late,
            },
            fence: self.fence,
            goes_on,
        }
    }
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings")
            .field("trigger", &self.trigger)
            .field("initiator", &self.initiator)
            .field("due_at", &self.due_at)
            .field("schedule", &self.schedule)
            .field("fence", &self.fence)
            .field("late", &self.late)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// How an operation on one copy ended, with a record of it in the state database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its run; `None` for what leaves none (a sweep).
    pub run_id: Option<Uuid>,
    /// The exit code of the same work by hand.
    pub exit_code: u8,
    /// The verdict, for a drill; `failed` for what found a problem.
    pub verdict: Option<Verdict>,
    /// One line.
    pub summary: String,
    /// How many findings there were.
    pub findings: u64,
    /// The gravest of them.
    pub worst: Option<Severity>,
    /// What kept it from coming to its own end, where something did: then trying again may
    /// make sense, and the job was not marked as done.
    pub trouble: Option<FailureClass>,
}

/// What came of one copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The copy; empty for what is about no copy.
    pub copy: String,
    /// How it ended, or why it could not be done. A failure is recorded as a run, too,
    /// wherever the work came so far as to know the copy.
    pub outcome: Result<Ended, Failure>,
}

/// What came of a job: one part for each copy that was worked on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Performed {
    /// The parts, in the order of the work. Never empty.
    pub parts: Vec<Part>,
}

impl Performed {
    /// A job that could not even begin.
    pub fn failed(copy: Option<&str>, failure: Failure) -> Self {
        Self {
            parts: vec![Part {
                copy: copy.unwrap_or_default().to_owned(),
                outcome: Err(failure),
            }],
        }
    }

    /// The class of the trouble that kept the job from being done, if any did: that of the
    /// first part that has one.
    pub fn trouble(&self) -> Option<FailureClass> {
        self.parts.iter().find_map(|part| match &part.outcome {
            Ok(ended) => ended.trouble,
            Err(failure) => Some(failure.class),
        })
    }

    /// What happened, in a line.
    pub fn summary(&self) -> String {
        let words: Vec<String> = self
            .parts
            .iter()
            .map(|part| {
                let words = match &part.outcome {
                    Ok(ended) => ended.summary.clone(),
                    Err(failure) => failure.to_string(),
                };
                if self.parts.len() > 1 {
                    format!("{}: {words}", part.copy)
                } else {
                    words
                }
            })
            .collect();
        words.join("; ")
    }
}
