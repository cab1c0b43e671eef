//! Who watches a drill while it runs.

use super::phases::{Phase, PhaseTiming};

/// What a progress figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// WAL segments.
    Segments,
    /// Checks.
    Checks,
}

/// How far a phase has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is counted.
    pub unit: Unit,
    /// So many are done.
    pub done: u64,
    /// Of so many, where that is known.
    pub total: Option<u64>,
}

/// Hears of a drill's course. Calls come from the drill's own task and must return
/// quickly. Everything is optional.
pub trait DrillObserver: Send + Sync {
    /// A phase begins.
    fn phase_started(&self, _phase: Phase) {}
    /// A phase has ended.
    fn phase_finished(&self, _timing: &PhaseTiming) {}
    /// The phase under way has come so far.
    fn progress(&self, _phase: Phase, _progress: Progress) {}
    /// Something worth a line.
    fn note(&self, _text: &str) {}
}

/// Nobody watches.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unobserved;

impl DrillObserver for Unobserved {}
