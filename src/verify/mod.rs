//! From a catalog and the bytes at its ends to findings, windows and the archive tip.
//!
//! Most of this room is pure and works on names and sizes ([`listed::Survey`]); only the
//! segments at the ends of contiguous WAL, around holes and at timeline switches are
//! read, because names cannot tell where a recovery ends. [`wal_range::scan`] reads
//! everything that one restore will replay, and [`read`] every object that there is.

pub mod backups;
pub mod bad_segments;
pub mod base;
pub mod chain;
mod duplicates;
mod ends;
mod error;
mod holes;
pub mod ledger;
pub mod listed;
#[cfg(test)]
mod listed_tests;
pub mod objects;
mod options;
pub mod parts;
pub mod path;
mod range_facts;
mod range_report;
pub mod read;
pub mod report;
pub mod rotation;
mod segment_reader;
mod stretch;
mod switches;
#[cfg(test)]
pub(crate) mod testing;
pub mod timelines;
mod verification;
pub mod wal;
pub mod wal_range;
pub mod wal_story;
pub mod words;

pub use chain::{Chain, ChainStop};
pub use error::VerifyError;
pub use options::{RequestedDepth, VerifyOptions};
pub use read::{OnReadProgress, ReadProgress, WalReading};
pub use report::{
    ArchiveEnd, ArchiveTip, BackupReport, CommitPoint, Counts, Depth, Exposure, Hole, TimeSource,
    VerifyReport, Window,
};
pub use timelines::{TimelineReport, TimelineRole, Timelines};
pub use verification::{read_part, verify, verify_catalog};
