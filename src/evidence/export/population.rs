//! What was due and what came of it, counted.

use chrono::{DateTime, Utc};

use crate::evidence::Verdict;
use crate::evidence::ledger::{EntryKind, RunBody};

/// What a run came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// A drill proved it.
    Proven,
    /// Anything but a drill that found nothing wrong. Less than a proof.
    Passed,
    /// A problem was found.
    Failed,
    /// It could not be checked.
    Unproven,
}

impl Outcome {
    /// Of a run of this kind. Nothing is green that was not proven: a drill without a verdict
    /// is unproven, and only a drill is proven.
    pub fn of(kind: EntryKind, run: &RunBody) -> Self {
        match (run.verdict, run.exit_code) {
            (Some(Verdict::Failed), _) | (None, 1) => Self::Failed,
            (Some(Verdict::Proven), _) if kind == EntryKind::Drill => Self::Proven,
            (Some(Verdict::Proven), _) => Self::Passed,
            (None, 0) if kind != EntryKind::Drill => Self::Passed,
            (Some(Verdict::Unproven) | None, _) => Self::Unproven,
        }
    }
}

/// Runs by what they came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ran {
    /// All of them.
    pub run: u64,
    /// Drills that proved it.
    pub proven: u64,
    /// Others that found nothing wrong.
    pub passed: u64,
    /// A problem was found.
    pub failed: u64,
    /// It could not be checked.
    pub unproven: u64,
}

impl Ran {
    pub(super) fn add(&mut self, outcome: Outcome) {
        self.run = self.run.saturating_add(1);
        let count = self.of(outcome);
        *count = count.saturating_add(1);
    }

    /// An attempt that a later one takes the place of.
    pub(super) fn take_back(&mut self, outcome: Outcome) {
        self.run = self.run.saturating_sub(1);
        let count = self.of(outcome);
        *count = count.saturating_sub(1);
    }

    fn of(&mut self, outcome: Outcome) -> &mut u64 {
        match outcome {
            Outcome::Proven => &mut self.proven,
            Outcome::Passed => &mut self.passed,
            Outcome::Failed => &mut self.failed,
            Outcome::Unproven => &mut self.unproven,
        }
    }

    fn plus(&mut self, other: &Self) {
        self.run = self.run.saturating_add(other.run);
        self.proven = self.proven.saturating_add(other.proven);
        self.passed = self.passed.saturating_add(other.passed);
        self.failed = self.failed.saturating_add(other.failed);
        self.unproven = self.unproven.saturating_add(other.unproven);
    }
}

/// Whose population.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PopulationKey {
    /// The cluster; empty for what is about all of them.
    pub cluster: String,
    /// What was done.
    pub kind: EntryKind,
    /// The copy; empty where there is none.
    pub copy: String,
}

/// What was due and what came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Population {
    /// Due moments that brought a run, by what its last attempt came to.
    pub scheduled: Ran,
    /// Due moments that brought none: no daemon ran, or the deadline passed.
    pub missed: u64,
    /// Due moments that were left out knowingly: an earlier run was still under way.
    pub skipped: u64,
    /// Of the runs, those that were made up for later than they should have been.
    pub late: u64,
    /// Further attempts at the same due moment.
    pub retries: u64,
    /// How often the newest proof was older than the tier allows. Not moments of a schedule,
    /// so not part of `due`.
    pub overdue: u64,
    /// Runs by hand. Not part of `due`.
    pub by_hand: Ran,
}

impl Population {
    /// Due moments: what was run, missed and skipped.
    pub const fn due(&self) -> u64 {
        self.scheduled
            .run
            .saturating_add(self.missed)
            .saturating_add(self.skipped)
    }

    /// Adds another one.
    pub fn plus(&mut self, other: &Self) {
        self.scheduled.plus(&other.scheduled);
        self.by_hand.plus(&other.by_hand);
        self.missed = self.missed.saturating_add(other.missed);
        self.skipped = self.skipped.saturating_add(other.skipped);
        self.late = self.late.saturating_add(other.late);
        self.retries = self.retries.saturating_add(other.retries);
        self.overdue = self.overdue.saturating_add(other.overdue);
    }
}

/// What did not happen, and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MissKey {
    /// The cluster.
    pub cluster: String,
    /// What should have been done.
    pub kind: EntryKind,
    /// The copy.
    pub copy: String,
    /// The schedule; empty for a proof that the tier wants.
    pub schedule: String,
    /// `missed`, `skipped` or `overdue`, and the reason.
    pub why: (&'static str, &'static str),
}

/// How often it did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Miss {
    /// Due moments.
    pub moments: u64,
    /// The first of them.
    pub first: DateTime<Utc>,
    /// The last of them.
    pub last: DateTime<Utc>,
}
