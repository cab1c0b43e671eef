//! The write-ahead log: pages, records, and what recovery would make of them.
//!
//! [`WalStream`] is fed whole segments in order and hands out records. It checks what
//! PostgreSQL's own reader checks (`src/backend/access/transam/xlogreader.c`), and beyond
//! it that the chain of records holds across segments and timeline switches. What it
//! accepts, recovery would replay; where it stops, recovery would stop, with the reason as
//! a [`WalFault`]. Known are PostgreSQL 13 to 18, little-endian, 8 KiB pages; 19 is read as
//! its beta writes it ([`PREVIEW_MAJOR`]).
//!
//! To use more than one core, segments are read into [`WalPiece`]s, each alone and in any
//! order, and joined to the stream in their own order: the same engine, the same verdicts.
//!
//! No input makes it panic or loop. Memory is bounded by the longest record that crosses a
//! page border: its bytes are collected as they arrive, never reserved ahead.

mod block;
mod event;
mod fault;
mod files;
mod page;
mod path;
mod piece;
mod record;
mod resource_manager;
mod stream;
#[cfg(test)]
mod tests;
mod transaction;
mod version;

pub use block::{BlockImage, BlockReference, BlockReferences, RelationLocator};
pub use event::{ParameterChange, WalEvent};
pub use fault::{BodyFault, ContinuationFault, WalFault};
pub use files::DatabaseDirectory;
pub use page::{FirstPage, PAGE_SIZE, first_record, read_first_page};
pub use piece::{PieceData, PieceOptions, WalPiece};
pub use record::WalRecord;
pub use resource_manager::resource_manager_name;
pub use stream::{WalPosition, WalStream, WalStreamOptions};
pub use version::PREVIEW_MAJOR;
