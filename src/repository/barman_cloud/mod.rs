//! The layout of Barman Cloud, which CloudNativePG's in-tree backups and its Barman Cloud
//! plugin also write: `base/<id>/…` and `wals/…` below a server's folder.

pub mod info;
pub mod inventory;
pub mod keys;
pub mod literal;
pub mod sizes;

pub(super) mod copying;
mod description;
mod history;
mod listing;
mod reader;
mod segment_size;

pub use info::{BackupInfo, InfoError};

pub(super) use reader::read;
