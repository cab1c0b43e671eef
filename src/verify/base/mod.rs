//! One base backup, read to its last byte without a server: stored bytes, codec, tar
//! structure, names, the small files that recovery starts from, and every page of every
//! relation.
//!
//! A copy of a running server is legally inconsistent: torn pages, files that grew, shrank
//! or vanished meanwhile. WAL from the backup's begin to its end makes that good. So what
//! looks wrong in the bytes and may be right becomes one of the [`Suspects`], which are
//! shown that WAL afterwards and only then settled. The other way round, WAL from before
//! the backup tells what its pages must at least have seen: [`TouchedBlocks`].
//!
//! Memory: see [`read()`], [`Suspects`] and [`TouchedBlocks`].

mod check;
mod context;
mod doubt;
mod effects;
mod facts;
mod finish;
pub(crate) mod gate;
pub(crate) mod identity;
mod limited;
mod manifest;
mod options;
mod pipeline;
pub(crate) mod placement;
mod quick_hash;
mod read;
mod relation_reader;
mod relations;
mod report;
mod small_files;
mod status_files;
mod stored;
mod suspects;
mod touched;
mod verdicts;
mod visibility;

pub use options::{BaseProgress, BaseReadOptions, OnBaseProgress};
pub use read::read;
pub use report::{ArchiveReading, BaseReading, BaseReport, PageCounts};
pub use suspects::Suspects;
pub use touched::{TouchedBlocks, TouchedData, TouchedPiece};
