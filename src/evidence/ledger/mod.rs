//! The ledger: every verification, replication, drill, miss, skip and change of
//! configuration is one entry, numbered without gaps and linked to the one before it by
//! SHA-256 over canonical JSON.
//!
//! Data only: the state database keeps the entries, and [`seal`] says what bytes they are.

mod canonical;
mod entry;
mod kind;

pub use canonical::canonical_json;
pub use entry::{FIRST_PREVIOUS, LEDGER_ENTRY_SCHEMA, LedgerEntry, NewEntry, seal};
pub use kind::EntryKind;
