//! State: what was run, what it came to, the evidence, and what is remembered of the objects
//! in repositories, in one database.
//!
//! A SQLite file for one machine, or a database in PostgreSQL that several share. Each has
//! its own SQL, in `sqlite/` and `postgres/` with the same files, behind [`State`]; the
//! same tests hold for both. Evidence records are append-only by triggers of the schema
//! itself.

mod claim;
mod columns;
mod complete;
mod completion;
mod copies;
mod copy;
mod copy_row;
#[cfg(test)]
mod copy_tests;
#[cfg(test)]
mod daemon_tests;
mod database;
mod declared;
mod deliveries;
mod delivery;
#[cfg(test)]
mod delivery_tests;
mod entries;
mod error;
mod hold;
mod incident;
mod incidents;
mod info;
mod job;
mod jobs;
mod lock;
mod notes;
mod number;
mod object;
mod object_row;
#[cfg(test)]
mod object_tests;
mod objects;
#[cfg(test)]
mod parity_tests;
mod postgres;
mod proofs;
mod readings;
mod records;
mod request;
#[cfg(test)]
mod request_tests;
mod requests;
mod run;
mod schedule;
mod schedules;
mod sqlite;
mod standing;
mod standings;
mod store;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod time;
#[cfg(test)]
mod trouble_tests;
mod undone;
mod words;

pub use completion::{Completion, JobEnd};
pub use copies::HeldPair;
pub use copy::{
    CopyAlarm, CopyMark, CopyPair, CopySide, CopySummary, RememberedCopy, source_mark, target_mark,
};
pub use declared::declared;
pub use delivery::{Delivery, DeliveryCount, DeliveryEvent, DeliveryOutcome, Recipient};
pub use error::{StateError, StateErrorKind};
pub use incident::{
    DepthRank, Incident, IncidentChange, IncidentChanges, IncidentEvent, IncidentFilter,
    IncidentKey, IncidentKind, NewIncident,
};
pub use info::StateInfo;
pub use job::{
    Budgets, ClaimRequest, Fence, Heartbeat, JOB_SPEC_LIMIT, Job, JobCount, JobFilter, JobKind,
    JobProgress, JobStatus, NewJob, Release,
};
pub use object::{ChangeKind, ObjectChange, ObjectSummary, ReadRate, RememberedObject};
pub use proofs::Proof;
pub use readings::ShardReading;
pub use records::RecordRow;
pub use request::{
    NewRequest, REQUEST_LIMIT, Request, RequestChange, RequestFilter, RequestStatus,
};
pub use run::{
    HistoryFilter, NewRun, Outcome, Report, Run, RunKind, RunStatus, RunningRun, StoredDrill,
};
pub use schedule::{Advance, Advanced, Lease, ScheduleRow, ScheduleSync};
pub use standing::{EntryCount, STANDING_LIMIT, Standing, StandingFilter};
pub use store::State;
