//! Records that decide where recovery can end and what it needs.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::block::RelationLocator;
use super::fault::BodyFault;
use super::files::{self, DatabaseDirectory};
use super::record::WalRecord;
use super::resource_manager::{
    DATABASE, HEAP, INFO_MASK, RELATION_MAP, STORAGE, TABLESPACE, TRANSACTION, XLOG, heap, xlog,
};
use super::transaction::{self, text};
use crate::postgres::little_endian::{i32_at, i64_at, u32_at, u64_at};
use crate::postgres::timestamp::from_timestamptz;
use crate::postgres::{Checkpoint, Lsn, TimelineId, WalLevel};

/// What a record means for recovery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum WalEvent {
    /// A transaction committed.
    Commit {
        /// The transaction; for COMMIT PREPARED the one that had been prepared.
        xid: u32,
        /// When, by the server's clock.
        time: DateTime<Utc>,
        /// Whether it had been prepared.
        prepared: bool,
        /// The files it removes.
        dropped_relations: Vec<RelationLocator>,
    },
    /// A transaction was rolled back.
    Abort {
        /// The transaction; for ROLLBACK PREPARED the one that had been prepared.
        xid: u32,
        /// When, by the server's clock.
        time: DateTime<Utc>,
        /// Whether it had been prepared.
        prepared: bool,
        /// The files it had made and removes again.
        dropped_relations: Vec<RelationLocator>,
    },
    /// A transaction was prepared for two-phase commit: it survives a restore, with its
    /// locks, until somebody ends it.
    Prepare {
        /// The transaction.
        xid: u32,
        /// Its name.
        gid: String,
        /// When, by the server's clock.
        time: DateTime<Utc>,
    },
    /// A checkpoint was completed.
    Checkpoint {
        /// Whether the server was shut down with it (or began a timeline with it).
        shutdown: bool,
        /// Where replay from this checkpoint begins.
        redo: Lsn,
        /// The timeline it is on.
        timeline: TimelineId,
        /// The timeline before, different only right after a switch.
        previous_timeline: TimelineId,
        /// When it was begun, to the second.
        time: DateTime<Utc>,
        /// The next transaction id, with its epoch in the upper half.
        next_xid: u64,
    },
    /// The rest of the segment is unused.
    Switch,
    /// `pg_create_restore_point` was called.
    RestorePoint {
        /// The name given.
        name: String,
        /// When.
        time: DateTime<Utc>,
    },
    /// A base backup of this primary ended: from here on it is consistent.
    BackupEnd {
        /// Where the backup began: its redo point.
        start: Lsn,
    },
    /// A server was promoted without a checkpoint: a timeline begins.
    EndOfRecovery {
        /// When.
        time: DateTime<Utc>,
        /// The timeline that begins.
        timeline: TimelineId,
        /// The timeline that was left.
        previous_timeline: TimelineId,
    },
    /// Settings that a restored server must match were changed.
    ParameterChange(ParameterChange),
    /// A relation's file was made. A rolled back transaction removes it again.
    RelationCreate {
        /// The relation.
        relation: RelationLocator,
        /// 0 main, 1 free space map, 2 visibility map, 3 init.
        fork: u8,
    },
    /// A relation was cut to a length, usually by VACUUM.
    RelationTruncate {
        /// The relation.
        relation: RelationLocator,
        /// Blocks of the main fork that remain.
        blocks: u32,
        /// Whether the main fork is cut.
        main: bool,
        /// Whether the visibility map is cut to what belongs to those blocks.
        visibility_map: bool,
        /// Whether the free space map is cut to what belongs to those blocks.
        free_space_map: bool,
    },
    /// A directory was made for a database.
    DatabaseCreate {
        /// The directory.
        directory: DatabaseDirectory,
        /// Of which replay makes a copy, file by file: nothing of the copied content is in
        /// the WAL. `None` when all of it follows as records (15 and later, unless
        /// `STRATEGY = FILE_COPY`).
        copied_from: Option<DatabaseDirectory>,
    },
    /// A database was dropped, or moved away from tablespaces.
    DatabaseDrop {
        /// Its OID.
        database: u32,
        /// The tablespaces in which its directory is removed.
        tablespaces: Vec<u32>,
    },
    /// TRUNCATE was run on tables that are replicated logically: only `wal_level=logical`
    /// writes this. The files go with the commit.
    TableTruncate {
        /// OID of the database.
        database: u32,
        /// OIDs of the tables (`pg_class.oid`, not file numbers).
        tables: Vec<u32>,
        /// Whether CASCADE was said.
        cascade: bool,
        /// Whether RESTART IDENTITY was said.
        restart_sequences: bool,
    },
    /// The map from system catalogs to their files (`pg_filenode.map`) was replaced.
    RelationMapUpdate {
        /// OID of the tablespace; 1664 for the shared map.
        tablespace: u32,
        /// OID of the database; 0 for the shared map.
        database: u32,
    },
    /// A tablespace was created.
    TablespaceCreate {
        /// Its OID.
        oid: u32,
        /// The absolute directory that replay will link to.
        location: String,
    },
    /// A tablespace was dropped.
    TablespaceDrop {
        /// Its OID.
        oid: u32,
    },
    /// A record that a crash had cut off was given up.
    OverwriteContrecord {
        /// The record that was given up.
        overwritten: Lsn,
        /// When.
        time: DateTime<Utc>,
    },
    /// `full_page_writes` was switched.
    FullPageWritesChange {
        /// Whether full pages are written from here on.
        on: bool,
    },
}

/// The settings that replay depends on (`xl_parameter_change` in
/// `src/include/access/xlog_internal.h`, the same in 13 to 18). A restored server must
/// have at least these numbers, else recovery pauses or stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParameterChange {
    /// `max_connections`.
    pub max_connections: i32,
    /// `max_worker_processes`.
    pub max_worker_processes: i32,
    /// `max_wal_senders`.
    pub max_wal_senders: i32,
    /// `max_prepared_transactions`.
    pub max_prepared_transactions: i32,
    /// `max_locks_per_transaction`.
    pub max_locks_per_transaction: i32,
    /// `wal_level`. Recovery refuses to pass a change to minimal.
    pub wal_level: WalLevel,
    /// `wal_log_hints`.
    pub wal_log_hints: bool,
    /// `track_commit_timestamp`.
    pub track_commit_timestamp: bool,
}

/// Decodes for the public; the stream has refused what does not decode.
pub(super) fn decode(record: &WalRecord<'_>) -> Option<WalEvent> {
    try_decode(record).ok().flatten()
}

/// Decodes a record, `Ok(None)` for a kind that is not of interest.
pub(super) fn try_decode(record: &WalRecord<'_>) -> Result<Option<WalEvent>, BodyFault> {
    match record.resource_manager {
        XLOG => xlog_event(record),
        TRANSACTION => transaction::decode(record),
        STORAGE => files::storage_event(record),
        DATABASE => files::database_event(record),
        TABLESPACE => files::tablespace_event(record),
        RELATION_MAP => files::relation_map_event(record),
        HEAP => files::heap_event(record),
        _ => Some(None),
    }
    .ok_or(BodyFault::Content)
}

/// Whether such a record may be an event. False for nearly all, at the cost of a look at
/// two bytes.
pub(super) const fn may_be_event(resource_manager: u8, info: u8) -> bool {
    match resource_manager {
        XLOG | TRANSACTION | STORAGE | DATABASE | TABLESPACE | RELATION_MAP => true,
        HEAP => info & heap::KIND_MASK == heap::TRUNCATE,
        _ => false,
    }
}

#[expect(
    clippy::option_option,
    reason = "too short and uninteresting are different answers"
)]
fn xlog_event(record: &WalRecord<'_>) -> Option<Option<WalEvent>> {
    let data = record.main_data();
    Some(Some(match record.info & INFO_MASK {
        kind @ (xlog::CHECKPOINT_SHUTDOWN | xlog::CHECKPOINT_ONLINE) => {
            let checkpoint = if record.major() >= 19 {
                Checkpoint::parse_19(data)?
            } else {
                Checkpoint::parse(data)?
            };
            WalEvent::Checkpoint {
                shutdown: kind == xlog::CHECKPOINT_SHUTDOWN,
                redo: checkpoint.redo,
                timeline: checkpoint.timeline,
                previous_timeline: checkpoint.previous_timeline,
                time: checkpoint.time,
                next_xid: checkpoint.next_xid,
            }
        }
        xlog::SWITCH => WalEvent::Switch,
        xlog::BACKUP_END => WalEvent::BackupEnd {
            start: Lsn::new(u64_at(data, 0)?),
        },
        xlog::PARAMETER_CHANGE => WalEvent::ParameterChange(ParameterChange {
            max_connections: i32_at(data, 0)?,
            max_worker_processes: i32_at(data, 4)?,
            max_wal_senders: i32_at(data, 8)?,
            max_prepared_transactions: i32_at(data, 12)?,
            max_locks_per_transaction: i32_at(data, 16)?,
            wal_level: WalLevel::from_number(i32_at(data, 20)?)?,
            wal_log_hints: *data.get(24)? != 0,
            track_commit_timestamp: *data.get(25)? != 0,
        }),
        xlog::RESTORE_POINT => WalEvent::RestorePoint {
            time: from_timestamptz(i64_at(data, 0)?),
            name: text(data.get(8..)?),
        },
        xlog::FPW_CHANGE => WalEvent::FullPageWritesChange {
            on: *data.first()? != 0,
        },
        xlog::END_OF_RECOVERY => WalEvent::EndOfRecovery {
            time: from_timestamptz(i64_at(data, 0)?),
            timeline: TimelineId(u32_at(data, 8)?),
            previous_timeline: TimelineId(u32_at(data, 12)?),
        },
        xlog::OVERWRITE_CONTRECORD => WalEvent::OverwriteContrecord {
            overwritten: Lsn::new(u64_at(data, 0)?),
            time: from_timestamptz(i64_at(data, 8)?),
        },
        _ => return Some(None),
    }))
}
