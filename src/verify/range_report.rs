//! What a scan of WAL found.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use crate::finding::Finding;
use crate::postgres::Lsn;
use crate::postgres::wal::{ParameterChange, WalFault};

use super::CommitPoint;

/// Why a scan ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum StopReason {
    /// The archive has nothing more on the followed way.
    ArchiveEnd,
    /// The last segment asked for was read.
    Requested,
    /// The caller had enough.
    Visitor,
    /// A segment is missing (or holds nothing), and WAL follows or is known to have.
    MissingSegment {
        /// The segment's name.
        segment: String,
    },
    /// The bytes of a segment are wrong.
    Fault {
        /// The object.
        key: String,
        /// What is wrong, and where.
        fault: WalFault,
    },
    /// An object cannot be decoded.
    Unreadable {
        /// The object.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// A tablespace created or dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TablespaceEvent {
    /// Where the record begins.
    pub lsn: Lsn,
    /// The tablespace.
    pub oid: u32,
    /// The absolute directory; empty for a drop.
    pub location: String,
}

/// A named restore point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RestorePoint {
    /// Its name.
    pub name: String,
    /// Where the record begins.
    pub lsn: Lsn,
    /// When it was made.
    pub time: DateTime<Utc>,
}

/// A two-phase transaction that is still open at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PreparedTransaction {
    /// The transaction.
    pub xid: u32,
    /// Its name.
    pub gid: String,
}

/// A commit whose time lies before that of an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ClockStep {
    /// The later commit's record.
    pub lsn: Lsn,
    /// Its time.
    pub time: DateTime<Utc>,
    /// The latest time before it.
    pub after: DateTime<Utc>,
}

/// What a scan of WAL found. Lists are bounded as told; the numbers beside them are not.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RangeReport {
    /// Where reading began.
    pub begin: Lsn,
    /// The begin of the last complete record: the inclusive target that replays all.
    pub last_record: Option<Lsn>,
    /// Where replay of everything read ends.
    pub end: Lsn,
    /// Whether a record goes on behind the end.
    pub incomplete: bool,
    /// Segments read.
    pub segments: u64,
    /// Decoded bytes read.
    pub bytes: u64,
    /// Records read.
    pub records: u64,
    /// Commits among them.
    pub commits: u64,
    /// The PostgreSQL major version that wrote them.
    pub major: Option<u32>,
    /// The first commit.
    pub first_commit: Option<CommitPoint>,
    /// The last commit.
    pub last_commit: Option<CommitPoint>,
    /// The last commits, oldest first; at most 64.
    pub last_commits: Vec<CommitPoint>,
    /// Why reading ended.
    pub stopped_by: StopReason,
    /// The highest value of each setting that was changed within the range; `wal_level`
    /// is the last one.
    pub settings: Option<ParameterChange>,
    /// Tablespaces created; at most 256.
    pub tablespaces_created: Vec<TablespaceEvent>,
    /// Tablespaces dropped; at most 256.
    pub tablespaces_dropped: Vec<TablespaceEvent>,
    /// Where `wal_level` was lowered to minimal: recovery cannot pass it.
    pub wal_level_minimal: Option<Lsn>,
    /// Named restore points; at most 256.
    pub restore_points: Vec<RestorePoint>,
    /// Two-phase transactions open at the end; at most 4096.
    pub prepared: Vec<PreparedTransaction>,
    /// Commits out of order by more than a second; at most 64.
    pub clock_steps: Vec<ClockStep>,
    /// How many there were.
    pub clock_steps_count: u64,
    /// What is wrong, in the order of the WAL.
    pub findings: Vec<Finding>,
}
