//! The ledger: every verification, replication, drill, miss, skip and change of
//! configuration is one entry, numbered without gaps and linked to the one before it by
//! SHA-256 over canonical JSON.
//!
//! Data only: the state database keeps the entries, [`seal`] says what bytes they are,
//! [`Walk`] says whether they still are.

mod body;
mod canonical;
mod entry;
mod kind;
mod schema;
#[cfg(test)]
mod tests;
mod walk;

pub use body::{
    Asked, Body, ClosedIncident, ConfigurationBody, DaemonBody, DrillBody, FoundCount,
    InterruptedBody, LateBody, LateReason, MissedBody, MissedReason, NoticedBody, OpenedIncident,
    OtherBody, PhaseTime, RecordReference, ReplicateBody, ReportBody, RequestBody, RequestEvent,
    RunBody, SkippedBody, SkippedReason, VerifyBody, cut, note_incidents, tally,
};
pub use canonical::{CanonicalError, canonical_json};
pub use entry::{
    EntryContent, FIRST_PREVIOUS, LEDGER_ENTRY_SCHEMA, LedgerEntry, MAX_ENTRY_BYTES, NewEntry,
    SealCause, SealError, seal,
};
pub use kind::EntryKind;
pub use schema::ledger_entry_schema;
pub use walk::{Break, BreakKind, Head, Labels, ParseHeadError, Walk};
