//! Base backups as a repository describes them.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use crate::codec::Codec;
use crate::postgres::{Lsn, SegmentSize, SystemId, TimelineId};

/// What the tool that made a backup says of its state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BackupStatus {
    /// Finished. The only status of a usable backup.
    Done,
    /// Begun, not finished; perhaps running, perhaps killed.
    Started,
    /// Ended with an error.
    Failed,
    /// Any other word, such as `EMPTY` or `WAITING_FOR_WALS`.
    Other(String),
    /// The description is missing or cannot be read.
    Unknown,
}

/// How the files of a backup are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BackupMethod {
    /// As archives in the repository.
    Archives,
    /// As volume snapshots outside it.
    Snapshot,
    /// As volume snapshots of a Kubernetes cluster, from which its operator makes volumes.
    /// No repository describes these: a drill adds them to what it found there.
    VolumeSnapshot,
}

/// Protection from expiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Keep {
    /// With all WAL up to now.
    Full,
    /// With only the WAL that makes it consistent.
    Standalone,
}

/// A tablespace of the cluster when the backup was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Tablespace {
    /// Its oid, which names archives and links.
    pub oid: u32,
    /// Its name in SQL.
    pub name: String,
    /// Where it lay on the source. Never used as a path.
    pub location: String,
}

/// What an archive object holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ArchiveContents {
    /// The data directory.
    Data,
    /// The tablespace with this oid.
    Tablespace(u32),
}

/// One archive object of a base backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Archive {
    /// What it holds.
    pub contents: ArchiveContents,
    /// Its part number: 0 for the unnumbered first part.
    pub part: u32,
    /// Its key, relative to the repository.
    pub key: String,
    /// The codec that its extension tells.
    pub codec: Codec,
    /// Its size in bytes as stored.
    pub size: u64,
    /// When it was stored.
    pub last_modified: DateTime<Utc>,
}

/// One base backup as the repository describes it. Fields are `None` where the
/// description leaves them out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct BaseBackup {
    /// The identity within the repository.
    pub id: String,
    /// A name given by a person or operator.
    pub name: Option<String>,
    /// What the tool says.
    pub status: BackupStatus,
    /// The tool's error text.
    pub error: Option<String>,
    /// How its files are kept.
    pub method: BackupMethod,
    /// When it began.
    pub begin_time: Option<DateTime<Utc>>,
    /// When it ended.
    pub end_time: Option<DateTime<Utc>>,
    /// The redo point from which recovery replays.
    pub begin_lsn: Option<Lsn>,
    /// The end of the WAL that it needs to be consistent.
    pub end_lsn: Option<Lsn>,
    /// The timeline on which it was taken.
    pub timeline: Option<TimelineId>,
    /// The database system it belongs to.
    pub system_id: Option<SystemId>,
    /// `server_version_num`, such as 150018.
    pub server_version: Option<u32>,
    /// The cluster's WAL segment size.
    pub segment_size: SegmentSize,
    /// Whether the cluster had data checksums.
    pub data_checksums: Option<bool>,
    /// The sum of the databases' sizes at begin, in bytes.
    pub cluster_size: Option<u64>,
    /// The cluster's tablespaces (not the two built-in ones).
    pub tablespaces: Vec<Tablespace>,
    /// The text of `backup_label`.
    pub backup_label: Option<String>,
    /// Protection from expiry.
    pub keep: Option<Keep>,
    /// Its archive objects, in order of contents and part.
    pub archives: Vec<Archive>,
    /// The key of its description, relative to the repository.
    pub info_key: String,
    /// SHA-256 of the description as read, lower-case hexadecimal.
    pub info_sha256: Option<String>,
    /// Its size in bytes as read.
    pub info_bytes: Option<u64>,
    /// Fields of the description that this version does not know, as written.
    pub unknown_fields: BTreeMap<String, String>,
    /// Remarks on how the description was read, such as on times without a zone.
    pub notes: Vec<String>,
}

impl BaseBackup {
    /// The sum of its archives' stored sizes in bytes.
    pub fn stored_bytes(&self) -> u64 {
        self.archives.iter().map(|archive| archive.size).sum()
    }

    /// The PostgreSQL major version, such as 15.
    pub fn major(&self) -> Option<u32> {
        self.server_version.map(|version| version / 10_000)
    }
}
