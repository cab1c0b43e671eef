//! What a drill will do, known before anything is written.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use super::environments::cnpg::PlannedCnpg;
use super::environments::local::Network;
use super::proof::ExpectedEnd;
use crate::finding::Finding;
use crate::postgres::Lsn;
use crate::postgres::RequiredSettings;
use crate::restore::{PassedOver, WalPlan};

/// The base backup that is restored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PlannedBackup {
    /// Its id.
    pub id: String,
    /// The key of its description.
    pub info_key: String,
    /// SHA-256 of the description as read.
    pub info_sha256: Option<String>,
    /// Its size in bytes.
    pub info_bytes: Option<u64>,
    /// Where recovery begins to replay.
    pub begin_lsn: Lsn,
    /// From where on it is consistent.
    pub end_lsn: Option<Lsn>,
    /// When it was taken.
    pub begin_time: Option<DateTime<Utc>>,
    /// When it was finished.
    pub end_time: Option<DateTime<Utc>>,
    /// `server_version_num` of its server, such as 150018.
    pub server_version: Option<u32>,
    /// Stored bytes of its archives.
    pub stored_bytes: u64,
}

/// The WAL that will be replayed, as it was read beforehand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PlannedWal {
    /// The segments and history files that recovery must get.
    pub files: WalPlan,
    /// How many segments these are.
    pub segments: u64,
    /// Bytes between begin and end of replay.
    pub bytes: u64,
    /// Commits in the range.
    pub commits: u64,
    /// The lowest values of settings with which recovery does not pause.
    pub required_settings: RequiredSettings,
}

/// Where and how the server will run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum PlannedEnvironment {
    /// PostgreSQL's programs on this machine.
    Local(PlannedLocal),
    /// A recovery Cluster of CloudNativePG in Kubernetes.
    Cnpg(PlannedCnpg),
}

impl PlannedEnvironment {
    /// The word for it.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Local(_) => "local",
            Self::Cnpg(_) => "cnpg",
        }
    }

    /// PostgreSQL's version there, as far as it is known.
    pub fn version(&self) -> &str {
        match self {
            Self::Local(local) => &local.version,
            Self::Cnpg(cnpg) => &cnpg.version,
        }
    }

    /// Bytes that must be free.
    pub const fn room_needed(&self) -> u64 {
        match self {
            Self::Local(local) => local.room_needed,
            Self::Cnpg(cnpg) => cnpg.room_needed,
        }
    }
}

/// A scratch directory on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PlannedLocal {
    /// The scratch directory.
    pub scratch: PathBuf,
    /// The programs' directory.
    pub binaries: PathBuf,
    /// PostgreSQL's version there.
    pub version: String,
    /// The operating system user of the server.
    pub run_as: String,
    /// Whether a network of its own is asked for.
    pub network: Network,
    /// Bytes that must be free.
    pub room_needed: u64,
    /// Bytes that are.
    pub room_available: u64,
}

/// What a drill will do. Shown by `--dry-run`, kept with the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DrillPlan {
    /// The drill.
    #[schemars(with = "String")]
    pub id: Uuid,
    /// The repository's URL.
    pub repository: String,
    /// The target as it was asked for.
    pub target: String,
    /// The base backup.
    pub backup: PlannedBackup,
    /// The WAL.
    pub wal: PlannedWal,
    /// Where recovery must end.
    pub expected_end: ExpectedEnd,
    /// The environment.
    pub environment: PlannedEnvironment,
    /// The names of the checks, in order.
    pub checks: Vec<String>,
    /// Newer or unusable base backups that were not taken, and why.
    pub passed_over: Vec<PassedOver>,
    /// WAL that the target should reach and cannot: with these the drill cannot be proven.
    pub holes: Vec<Finding>,
    /// What else was found on the way.
    pub findings: Vec<Finding>,
}
