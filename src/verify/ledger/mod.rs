//! The object ledger: what was read of a repository, when, and whether it is still what it
//! was.
//!
//! A reader tells a [`ReadLog`] of every object that it read to the end.

mod memory;
mod reading;

pub use reading::{ObjectReading, ReadLog};
