//! Repositories: what a backup tool's objects claim, as a [`Catalog`].
//!
//! A catalog is pure data made from one listing and the small metadata objects; nothing
//! in it has been proven. Each layout has a reader; everything above works on catalogs.

pub mod backup;
pub mod barman_cloud;
pub mod catalog;
pub mod copy;
pub mod wal_inventory;

mod alone;
mod discover;
mod error;
mod object_kind;
mod open;

/// The folder of what walproof puts into a copy for its own use: no part of any backup, in
/// whatever layout, and no tool looks there.
pub const OWN_FOLDER: &str = ".walproof";

pub use alone::{Alone, AloneAsked, AloneOptions, Elsewhere, OtherCopy, ReadFrom};
pub use backup::{
    Archive, ArchiveContents, BackupMethod, BackupStatus, BaseBackup, Keep, Tablespace,
};
pub use catalog::{Catalog, Layout, UnknownObjects};
pub use copy::{CopyClass, Follow, LiveFolders, Marker, NeededWal};
pub use discover::{Discovered, discover};
pub use error::{ReadWalError, RepositoryError};
pub use object_kind::ObjectKind;
pub use open::{Repository, WalObject, WalRead, open};
pub use wal_inventory::{
    DuplicateSegment, HistoryObject, OddSegment, SegmentRun, TimelineWal, WalInventory,
};
