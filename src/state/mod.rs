//! State: what was run, what it came to, the evidence, and what is remembered of the objects
//! in repositories, in one database.
//!
//! A SQLite file for now; the SQL stands in `sqlite/` alone, so that a database shared by a
//! team can take its place behind [`State`]. Evidence records are append-only by triggers
//! of the schema itself.

mod copies;
mod copy;
#[cfg(test)]
mod copy_tests;
mod error;
mod lock;
mod object;
#[cfg(test)]
mod object_tests;
mod objects;
mod run;
mod sqlite;
mod store;
#[cfg(test)]
mod tests;
mod time;

pub use copies::HeldPair;
pub use copy::{
    CopyAlarm, CopyMark, CopyPair, CopySide, CopySummary, RememberedCopy, source_mark, target_mark,
};
pub use error::{StateError, StateErrorKind};
pub use object::{ChangeKind, ObjectChange, ObjectSummary, ReadRate, RememberedObject};
pub use run::{
    HistoryFilter, NewRun, Outcome, Report, Run, RunKind, RunStatus, RunningRun, StoredDrill,
};
pub use store::State;
