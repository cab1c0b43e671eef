//! What auditors get from the ledger: the entries of a period, and the numbers over them.
//!
//! [`Summary`] is fed entry by entry and holds numbers by cluster, copy and kind, not
//! entries; beside them eight bytes per measured value for exact percentiles. [`Exporter`]
//! writes the files, whole or not at all.

mod check;
mod csv;
mod days;
mod incidents;
mod manifest;
mod measured;
mod page;
mod population;
mod summary;
mod tables;
#[cfg(test)]
mod tests;
mod write;

pub use check::{FileCheck, FileCheckError, check_file};
pub use incidents::{FindingRow, FindingTotals};
pub use manifest::{EXPORT_SCHEMA, EntriesManifest, LedgerManifest, MANIFEST_FILE, Manifest};
pub use measured::{MeasuredBy, MeasuredKey, MeasuredRow, Rank};
pub use population::{Miss, MissKey, Outcome, Population, PopulationKey, Ran};
pub use summary::{ConfigurationChange, Scope, Summary, Totals};
pub use write::{ENTRIES_FILE, ExportError, Exported, Exporter, directory_name};
