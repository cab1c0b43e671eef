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

/// The folder of what walproof keeps beside a copy for the day of a rebuild: definitions. It
/// is for people too, so its name is not hidden. No part of any backup either.
pub const REBUILD_FOLDER: &str = "walproof";

/// Whether a key lies in one of walproof's own folders, which are no part of any backup: no
/// reader of a layout looks there, nothing copies, compares or expires it.
pub fn is_own(key: &str) -> bool {
    key.split_once('/')
        .is_some_and(|(folder, _)| folder == OWN_FOLDER || folder == REBUILD_FOLDER)
}

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
