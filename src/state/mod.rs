//! State: what was run, what it came to, and the evidence, in one database.
//!
//! A SQLite file for now; the SQL stands in `sqlite/` alone, so that a database shared by a
//! team can take its place behind [`State`]. Evidence records are append-only by triggers
//! of the schema itself.

mod error;
mod lock;
mod run;
mod sqlite;
mod store;
#[cfg(test)]
mod tests;
mod time;

pub use error::{StateError, StateErrorKind};
pub use run::{
    HistoryFilter, NewRun, Outcome, Report, Run, RunKind, RunStatus, RunningRun, StoredDrill,
};
pub use store::State;
