//! Who watches an operation: progress of jobs, spans, bars.

use std::time::Duration;

use crate::drill::{self, DrillObserver, Phase, PhaseTiming};
use crate::replicate::CopyProgress;
use crate::verify::ReadProgress;
use crate::verify::read::Reading;

/// What a progress figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Objects.
    Objects,
    /// WAL segments.
    Segments,
    /// Checks.
    Checks,
}

impl Unit {
    /// The word used in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Objects => "objects",
            Self::Segments => "segments",
            Self::Checks => "checks",
        }
    }
}

/// How far an operation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The phase under way.
    pub phase: &'static str,
    /// So many are done.
    pub done: u64,
    /// Of so many, where that is known. It may grow.
    pub total: Option<u64>,
    /// What is counted.
    pub unit: Unit,
}

/// Hears of an operation's course. Calls come from the operation's own tasks, often (per
/// object), and must return at once. Everything is optional.
pub trait Observer: Send + Sync {
    /// A phase begins; the one before has ended.
    fn phase_started(&self, _phase: &'static str) {}
    /// A phase of a drill has ended.
    fn phase_finished(&self, _phase: &'static str, _took: Duration, _completed: bool) {}
    /// It has come so far.
    fn progress(&self, _progress: Progress) {}
    /// Something worth a line. Never a secret, never a row.
    fn note(&self, _text: &str) {}
}

/// Nobody watches.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unobserved;

impl Observer for Unobserved {}

/// The phases of a verification.
pub const VERIFY_PHASES: [&str; 2] = ["list", "read"];
/// The phases of a replication.
pub const REPLICATE_PHASES: [&str; 2] = ["compare", "copy"];

/// A verification's progress in the words of all operations.
pub(super) const fn of_reading(progress: &ReadProgress) -> Progress {
    Progress {
        phase: match progress.what {
            Reading::Wal => "read WAL",
            Reading::Base => "read base backup",
            Reading::Beside => "read WAL beside the way",
        },
        done: progress.bytes,
        total: Some(if progress.of_bytes > progress.bytes {
            progress.of_bytes
        } else {
            progress.bytes
        }),
        unit: Unit::Bytes,
    }
}

/// A replication's progress in the words of all operations.
pub(super) const fn of_copying(progress: &CopyProgress) -> Progress {
    if progress.copying {
        Progress {
            phase: "copy",
            done: progress.bytes,
            total: Some(progress.of_bytes),
            unit: Unit::Bytes,
        }
    } else {
        Progress {
            phase: "compare",
            done: progress.compared,
            total: None,
            unit: Unit::Objects,
        }
    }
}

/// Lets an [`Observer`] watch a drill.
pub(super) struct DrillWatcher(pub(super) std::sync::Arc<dyn Observer>);

impl DrillObserver for DrillWatcher {
    fn phase_started(&self, phase: Phase) {
        self.0.phase_started(phase.as_str());
    }

    fn phase_finished(&self, timing: &PhaseTiming) {
        self.0.phase_finished(
            timing.phase.as_str(),
            Duration::from_millis(timing.milliseconds),
            timing.completed,
        );
    }

    fn progress(&self, phase: Phase, progress: drill::Progress) {
        self.0.progress(Progress {
            phase: phase.as_str(),
            done: progress.done,
            total: progress.total,
            unit: match progress.unit {
                drill::Unit::Bytes => Unit::Bytes,
                drill::Unit::Segments => Unit::Segments,
                drill::Unit::Checks => Unit::Checks,
            },
        });
    }

    fn note(&self, text: &str) {
        self.0.note(text);
    }
}
