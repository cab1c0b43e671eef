//! Evidence: what a drill proved, as data that outlives it.
//!
//! [`DrillRecord`] is the entry that an auditor reads; its JSON Schema lies in `evidence/`.
//! A record holds no rows, no query output and no secrets.

mod digest;
pub mod export;
mod file;
pub mod ledger;
mod record;
mod schema;
#[cfg(test)]
mod tests;
mod verdict;

pub use digest::{Digest, sha256_hex, sha256_of_file};
pub use file::{RecordFile, RecordFileError};
pub use ledger::{
    EntryKind, FIRST_PREVIOUS, LEDGER_ENTRY_SCHEMA, LedgerEntry, NewEntry, canonical_json, seal,
};
pub use record::{
    BackupRecord, CheckRecord, Cleanup, CommitRecord, DRILL_RECORD_SCHEMA, DrillRecord, Due,
    EndOfRecovery, EnvironmentRecord, Measurements, ObjectiveOutcome, ObjectiveRecord,
    PhaseOutcome, PhaseRecord, ResolvedTargetRecord, SourceRecord, TargetRecord, Tool, Trigger,
    WalRangeRecord, standing_limits,
};
pub use schema::{drill_record_schema, schema_text};
#[cfg(test)]
pub(crate) use tests::sample;
pub use verdict::{ParseVerdictError, Verdict};
