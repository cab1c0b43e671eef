//! State: what was run, what it came to, the evidence, and what is remembered of the objects
//! in repositories, in one database.
//!
//! A SQLite file for one machine, or a database in PostgreSQL that several share. Each has
//! its own SQL, in `sqlite/` and `postgres/` with the same files, behind [`State`]; the
//! same tests hold for both. Evidence records are append-only by triggers of the schema
//! itself.

mod copies;
mod copy;
mod copy_row;
#[cfg(test)]
mod copy_tests;
mod error;
mod hold;
mod info;
mod lock;
mod number;
mod object;
mod object_row;
#[cfg(test)]
mod object_tests;
mod objects;
#[cfg(test)]
mod parity_tests;
mod postgres;
mod run;
mod sqlite;
mod store;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod time;
#[cfg(test)]
mod trouble_tests;

pub use copies::HeldPair;
pub use copy::{
    CopyAlarm, CopyMark, CopyPair, CopySide, CopySummary, RememberedCopy, source_mark, target_mark,
};
pub use error::{StateError, StateErrorKind};
pub use info::StateInfo;
pub use object::{ChangeKind, ObjectChange, ObjectSummary, ReadRate, RememberedObject};
pub use run::{
    HistoryFilter, NewRun, Outcome, Report, Run, RunKind, RunStatus, RunningRun, StoredDrill,
};
pub use store::State;
