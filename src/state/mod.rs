//! State: what was run, what it came to, the evidence, and what is remembered of the objects
//! in repositories, in one database.
//!
//! A SQLite file for now; the SQL stands in `sqlite/` alone, so that a database shared by a
//! team can take its place behind [`State`]. Evidence records are append-only by triggers
//! of the schema itself.

mod claim;
mod complete;
mod completion;
mod copies;
mod copy;
#[cfg(test)]
mod copy_tests;
mod database;
mod deliveries;
mod delivery;
#[cfg(test)]
mod delivery_tests;
mod entries;
mod error;
mod incident;
mod incidents;
mod job;
mod jobs;
mod lock;
mod object;
#[cfg(test)]
mod object_tests;
mod objects;
mod run;
mod schedule;
mod schedules;
mod sqlite;
mod standing;
mod standings;
mod store;
#[cfg(test)]
mod tests;
mod time;
mod words;

pub use completion::{Completion, JobEnd};
pub use copies::HeldPair;
pub use copy::{
    CopyAlarm, CopyMark, CopyPair, CopySide, CopySummary, RememberedCopy, source_mark, target_mark,
};
pub use delivery::{Delivery, DeliveryCount, DeliveryEvent, DeliveryOutcome, Recipient};
pub use error::{StateError, StateErrorKind};
pub use incident::{
    DepthRank, Incident, IncidentChange, IncidentEvent, IncidentFilter, IncidentKey, IncidentKind,
    NewIncident,
};
pub use job::{
    Budgets, ClaimRequest, Fence, Heartbeat, JOB_SPEC_LIMIT, Job, JobCount, JobFilter, JobKind,
    JobProgress, JobStatus, NewJob, Release,
};
pub use object::{ChangeKind, ObjectChange, ObjectSummary, ReadRate, RememberedObject};
pub use run::{
    HistoryFilter, NewRun, Outcome, Report, Run, RunKind, RunStatus, RunningRun, StoredDrill,
};
pub use schedule::{Advance, Advanced, Lease, ScheduleRow, ScheduleSync};
pub use standing::{EntryCount, STANDING_LIMIT, Standing, StandingFilter};
pub use store::State;
