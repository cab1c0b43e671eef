//! Schedules as the state keeps them: when each is due next, cluster by cluster.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{JobKind, NewJob};
use crate::evidence::{LedgerEntry, NewEntry};

/// One schedule for one cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleRow {
    /// The schedule's name.
    pub schedule: String,
    /// The cluster; empty for work on no cluster.
    pub cluster: String,
    /// What kind of work.
    pub kind: JobKind,
    /// What decides about its moments, as a text that is another when they are others: cron,
    /// zone, jitter. A row whose definition changes takes the new `next_due`.
    pub definition: String,
    /// When it is due next.
    pub next_due: DateTime<Utc>,
    /// When it was due last.
    pub last_due: Option<DateTime<Utc>>,
}

/// What a sync changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScheduleSync {
    /// Rows that are new.
    pub added: u64,
    /// Rows whose definition is another.
    pub changed: u64,
    /// Rows that are gone.
    pub removed: u64,
}

/// One schedule's step from a due moment to the next.
#[derive(Clone, Debug, PartialEq)]
pub struct Advance {
    /// The schedule's name.
    pub schedule: String,
    /// The cluster.
    pub cluster: String,
    /// When it is due next.
    pub next_due: DateTime<Utc>,
    /// The due moment that is dealt with.
    pub last_due: DateTime<Utc>,
    /// What is to be done for it.
    pub jobs: Vec<NewJob>,
    /// What is to be said of it: late, missed, skipped.
    pub entries: Vec<NewEntry>,
}

/// What an advance came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Advanced {
    /// Jobs that came into the queue. Those whose key was known are not among them.
    pub jobs: u64,
    /// The entries as they were appended.
    pub entries: Vec<LedgerEntry>,
}

/// A lease that is held: the right to do something that only one may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Its name.
    pub name: String,
    /// Who holds it.
    pub holder: Uuid,
    /// Its fencing token: grows whenever it changes hands.
    pub token: i64,
    /// Until when, unless it is taken again.
    pub until: DateTime<Utc>,
}
