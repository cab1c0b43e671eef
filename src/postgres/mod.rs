//! What PostgreSQL itself writes: positions, file names, timeline history, WAL, control
//! file, backup label, data pages and the names of their files, and what is known of the
//! libraries it loads. No I/O and no async: bytes
//! in, typed facts or a typed error out.
//! Every decoder is total: no input makes it panic, loop or allocate without bound.

pub mod backup_label;
mod checkpoint;
pub mod control_file;
pub mod history;
pub mod libraries;
mod little_endian;
pub mod lsn;
pub mod manifest;
pub mod page;
pub mod relation_file;
pub mod relation_map;
mod required_settings;
pub mod segment;
pub mod tablespace_map;
mod timestamp;
pub mod transaction_status;
pub mod wal;
pub mod wal_file;
pub mod wal_level;

pub use backup_label::{BackupHistory, BackupLabel, BackupLabelError};
pub use checkpoint::Checkpoint;
pub use control_file::{ControlFile, ControlFileError, DatabaseState};
pub use history::{HistoryEntry, HistoryError, TimelineHistory};
pub use lsn::{Lsn, ParseLsnError};
pub use manifest::{BackupManifest, ManifestError};
pub use page::PageVerdict;
pub use relation_file::{Fork, RelationFile};
pub use relation_map::{RelationMap, RelationMapError};
pub use required_settings::RequiredSettings;
pub use segment::{SegmentName, SegmentNumber, SegmentSize, SystemId, TimelineId};
pub use tablespace_map::{TablespaceMap, TablespaceMapError};
pub use wal_file::WalFileName;
pub use wal_level::WalLevel;
