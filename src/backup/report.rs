//! What a backup that was taken looks like.

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::postgres::{Lsn, SystemId, TimelineId};

/// One archive that was stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StoredArchive {
    /// Its key, relative to the server's folder.
    pub key: String,
    /// Its stored size in bytes.
    pub bytes: u64,
}

/// A backup that was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TakeReport {
    /// Its id.
    pub id: String,
    /// The repository's URL.
    pub location: String,
    /// The database system.
    pub system_id: SystemId,
    /// `server_version_num`.
    pub server_version: u32,
    /// The timeline on which it began.
    pub timeline: TimelineId,
    /// Where it began.
    pub begin_lsn: Lsn,
    /// Where it is consistent.
    pub end_lsn: Lsn,
    /// When it began, by the server's clock.
    pub begin_time: DateTime<Utc>,
    /// When it ended, by the server's clock.
    pub end_time: DateTime<Utc>,
    /// The first segment that a restore needs.
    pub begin_wal: String,
    /// The last segment that a restore to consistency needs.
    pub end_wal: String,
    /// How many files it holds.
    pub files: u64,
    /// How many bytes were read.
    pub read_bytes: u64,
    /// Its archives.
    pub archives: Vec<StoredArchive>,
    /// Whether the last segment was seen in the archive; `None` if nobody looked.
    pub archived: Option<bool>,
    /// What a person should know, such as files that could not be copied.
    pub notes: Vec<String>,
}
