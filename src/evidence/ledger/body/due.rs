//! What entries say of moments that were due and did not bring a run in time.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ClosedIncident, OpenedIncident};
use crate::evidence::ledger::EntryKind;

const fn one() -> u64 {
    1
}

/// Why something that was due did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MissedReason {
    /// No daemon ran when it was due.
    Down,
    /// It waited in the queue until its deadline had passed.
    Deadline,
    /// It was tried as often as was of use and never came to an end, and no attempt has an
    /// entry of its own.
    Exhausted,
    /// The tier wants a proof by now, and the newest one is older. Not a moment of a
    /// schedule: it is counted apart.
    Overdue,
}

impl MissedReason {
    /// The word used in output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Deadline => "deadline",
            Self::Exhausted => "exhausted",
            Self::Overdue => "overdue",
        }
    }
}

/// Something that was due did not happen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MissedBody {
    /// What should have been done: `verify`, `replicate`, `drill` or `report`.
    pub job: EntryKind,
    /// The schedule; `null` for a proof that the tier wants.
    pub schedule: Option<String>,
    /// The job's key in the queue, if it came so far.
    #[serde(default)]
    pub key: Option<String>,
    /// When it was due; the last moment when the entry stands for several.
    pub due_at: DateTime<Utc>,
    /// The first moment when the entry stands for several.
    #[serde(default)]
    pub first_due_at: Option<DateTime<Utc>>,
    /// How many due moments the entry stands for.
    #[serde(default = "one")]
    pub moments: u64,
    /// Why.
    pub reason: MissedReason,
    /// Of an overdue proof: when the newest one was made.
    #[serde(default)]
    pub newest_at: Option<DateTime<Utc>>,
    /// Incidents that it opened.
    #[serde(default)]
    pub opened: Vec<OpenedIncident>,
    /// Incidents that it closed.
    #[serde(default)]
    pub closed: Vec<ClosedIncident>,
}

/// Why something that was due was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SkippedReason {
    /// The one before it was still under way or waiting.
    Overlap,
    /// It was cancelled before it began.
    Cancelled,
    /// The configuration does not want it any more.
    Removed,
}

impl SkippedReason {
    /// The word used in output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Overlap => "overlap",
            Self::Cancelled => "cancelled",
            Self::Removed => "removed",
        }
    }
}

/// Something that was due was left out knowingly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SkippedBody {
    /// What should have been done.
    pub job: EntryKind,
    /// The schedule.
    pub schedule: Option<String>,
    /// The job's key in the queue, if it came so far.
    #[serde(default)]
    pub key: Option<String>,
    /// When it was due.
    pub due_at: DateTime<Utc>,
    /// How many due moments the entry stands for.
    #[serde(default = "one")]
    pub moments: u64,
    /// Why.
    pub reason: SkippedReason,
    /// The job that was in the way.
    #[serde(default)]
    pub earlier: Option<String>,
}

/// Why something happens later than it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LateReason {
    /// No daemon ran when it was due.
    Down,
    /// A blackout held it back.
    Blackout,
    /// It waited in the queue.
    Queue,
}

impl LateReason {
    /// The word used in output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Blackout => "blackout",
            Self::Queue => "queue",
        }
    }
}

/// Something that was due is made up for later. The run that does so has an entry of its own,
/// which says `late`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LateBody {
    /// What is done late.
    pub job: EntryKind,
    /// The schedule.
    pub schedule: Option<String>,
    /// The job's key in the queue.
    #[serde(default)]
    pub key: Option<String>,
    /// When it was due.
    pub due_at: DateTime<Utc>,
    /// When it may start.
    pub run_after: DateTime<Utc>,
    /// Why.
    pub reason: LateReason,
    /// How many earlier due moments this one run stands for as well. They count as missed.
    #[serde(default)]
    pub passed_over: u64,
}
