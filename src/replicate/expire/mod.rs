//! Removing from a copy what its policy no longer keeps: whole base backups, and the WAL that
//! only they need.
//!
//! What goes is decided by pure code from a catalog ([`decide`]), looked at again as it would
//! remain ([`plan()`]), shown as a plan with a digest, and removed only when that digest is
//! confirmed ([`execute()`]). Nothing else in walproof removes objects of a repository: the one
//! type that can is private to this folder.
//!
//! Removal goes marker first, then annotations, then data, backup by backup, and WAL last,
//! oldest first. Wherever it is cut, every base backup that still has its marker has its data
//! and its WAL.
//!
//! Memory: a plan holds at most [`ExpirePlan::LIMIT`] objects, some 60 MB.

mod collect;
mod decide;
mod deleting;
mod digest;
mod error;
mod execute;
mod judge;
mod plan;
mod policy;
mod remaining;
mod remember;
mod report;
#[cfg(test)]
mod tests;
mod wal_cut;

pub use decide::{PlannedBackup, Reason};
pub use error::ExpireError;
pub use execute::{ExpireOutcome, LeftObject, execute};
pub use plan::{ExpirePlan, PlannedObject, PlannedWal, plan};
pub use policy::{ExpireOptions, ExpirePolicy};
pub use remember::ExpireLedger;
pub use report::{ExpireReport, SCHEMA};

pub(in crate::replicate) use deleting::{DeletingStore, Removal};
