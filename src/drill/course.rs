//! The course of one drill: its phases, its watcher, and the ways in which it may have to
//! stop.

use std::future::Future;
use std::time::{Duration, Instant};

use tracing::Span;

use super::cancel::Cancellation;
use super::observer::DrillObserver;
use super::phases::{Phase, PhaseClock, PhaseTiming};
use crate::finding::Finding;
use crate::storage::{ErrorKind, StorageError};
use crate::telemetry;

/// Why a drill cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It would not be safe (exit 4).
    Refused {
        /// What would have happened, and what to do.
        reason: String,
        /// What was found, if the reason lies in the backup.
        findings: Vec<Finding>,
    },
    /// Something cannot be checked or done here; the backup is not to blame (exit 3).
    Unproven(String),
    /// The same, because the store did not give what it should.
    Store(StorageError),
    /// Something is wrong with the backup (exit 1).
    Failed(Vec<Finding>),
    /// A person or the system asked to stop (exit 130).
    Interrupted,
}

impl Stop {
    /// Something cannot be checked or done here.
    pub fn unproven(error: impl std::fmt::Display) -> Self {
        Self::Unproven(error.to_string())
    }

    /// What kept the drill from its end, where that was nothing about the backup.
    pub const fn trouble(&self) -> Option<Trouble> {
        match self {
            Self::Refused { .. } => Some(Trouble::Refused),
            Self::Unproven(_) => Some(Trouble::Here),
            Self::Store(error) => Some(Trouble::Store(error.kind)),
            Self::Failed(_) => None,
            Self::Interrupted => Some(Trouble::Interrupted),
        }
    }

    /// One thing is wrong with the backup.
    pub fn failed(finding: Finding) -> Self {
        Self::Failed(vec![finding])
    }
}

/// What kept a drill from its end, by whether trying again may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It would not have been safe.
    Refused,
    /// The store did not give what it should.
    Store(ErrorKind),
    /// Something could not be done here: too little room or time, missing programs, a server
    /// that did not answer.
    Here,
    /// Somebody asked to stop.
    Interrupted,
}

/// Times the phases, tells the watcher, and watches the drill's own time limit.
pub struct Course<'a> {
    clock: PhaseClock,
    observer: &'a dyn DrillObserver,
    cancellation: Cancellation,
    deadline: Instant,
    limit: Duration,
    /// The span of the phase under way, below that of the job.
    span: Span,
}

impl<'a> Course<'a> {
    /// Begins in the first phase. `limit` is the drill's own time limit.
    pub fn begin(
        observer: &'a dyn DrillObserver,
        cancellation: Cancellation,
        limit: Duration,
    ) -> Self {
        observer.phase_started(Phase::Admit);
        Self {
            clock: PhaseClock::start(Phase::Admit),
            observer,
            cancellation,
            deadline: Instant::now() + limit,
            limit,
            span: telemetry::phase(Phase::Admit.as_str()),
        }
    }

    /// The watcher.
    pub fn observer(&self) -> &'a dyn DrillObserver {
        self.observer
    }

    /// The clock.
    pub const fn clock(&self) -> &PhaseClock {
        &self.clock
    }

    /// The wish to stop.
    pub const fn cancellation(&self) -> &Cancellation {
        &self.cancellation
    }

    fn told(&self, timing: Option<PhaseTiming>) {
        if let Some(timing) = timing {
            self.observer.phase_finished(&timing);
        }
    }

    /// The phase under way has come to its end; `next` begins.
    pub fn enter(&mut self, next: Phase) {
        let closed = self.clock.enter(next, true);
        self.told(closed);
        self.span = telemetry::phase(next.as_str());
        self.observer.phase_started(next);
    }

    /// The drill goes to its tear-down, from the end of the checks or from wherever it had
    /// to stop.
    pub fn tear_down(&mut self, completed: bool) {
        let closed = self.clock.enter(Phase::TearDown, completed);
        self.told(closed);
        self.span = telemetry::phase(Phase::TearDown.as_str());
        self.observer.phase_started(Phase::TearDown);
    }

    /// The drill is over.
    pub fn finish(&mut self, completed: bool) {
        let closed = self.clock.finish(completed);
        self.told(closed);
        self.span = Span::none();
    }

    /// Whether the drill may go on.
    pub fn check(&self) -> Result<(), Stop> {
        if self.cancellation.is_cancelled() {
            return Err(Stop::Interrupted);
        }
        if Instant::now() >= self.deadline {
            return Err(self.too_late());
        }
        Ok(())
    }

    fn too_late(&self) -> Stop {
        let phase = self.clock.current().map_or("the end", Phase::words);
        Stop::Unproven(format!(
            "the drill's own time limit of {} s has passed in phase `{phase}`; raise `timeout` in the \
             drill definition or look for what is slow",
            self.limit.as_secs()
        ))
    }

    /// Waits for work, unless the drill is stopped or its time is up before.
    pub async fn wait<T>(&self, work: impl Future<Output = T>) -> Result<T, Stop> {
        self.check()?;
        tokio::select! {
            biased;
            () = self.cancellation.cancelled() => Err(Stop::Interrupted),
            () = tokio::time::sleep_until(self.deadline.into()) => Err(self.too_late()),
            result = work => Ok(result),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::observer::Unobserved;
    use super::*;

    #[tokio::test]
    async fn work_ends_by_itself_by_wish_or_by_time() {
        let (canceller, cancellation) = Cancellation::new();
        let course = Course::begin(&Unobserved, cancellation.clone(), Duration::from_mins(1));
        assert_eq!(course.wait(async { 7 }).await, Ok(7));
        let late = Course::begin(&Unobserved, cancellation, Duration::ZERO);
        let Err(Stop::Unproven(words)) = late.wait(std::future::pending::<()>()).await else {
            panic!("it waited on");
        };
        assert!(words.contains("phase `admit`"), "{words}");
        canceller.cancel();
        assert_eq!(
            course.wait(std::future::pending::<()>()).await,
            Err(Stop::Interrupted)
        );
    }
}
