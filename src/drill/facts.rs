//! What is learned of a recovery on the way, wherever it runs.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::neutral::SafetyReport;
use super::proof::EndProof;
use crate::postgres::{Lsn, TimelineId};

/// What recovery's log said; for the record, never as proof.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogFacts {
    /// Where the base backup became consistent.
    pub consistent_at: Option<Lsn>,
    /// When.
    pub consistent_time: Option<DateTime<Utc>>,
    /// Segments and history files taken from the archive.
    pub files_restored: u64,
    /// The last of them.
    pub last_restored: Option<String>,
    /// The begin of the last record that was replayed.
    pub redo_done: Option<Lsn>,
    /// The timeline that promotion chose.
    pub new_timeline: Option<TimelineId>,
    /// What the server or its recovery gave up with; at most 16 lines.
    pub fatal: Vec<String>,
}

/// Everything learned on the way, kept also when recovery stops half-way.
#[derive(Clone, Debug, Default)]
pub struct RecoveryFacts {
    /// The log.
    pub log: LogFacts,
    /// The proof of the end.
    pub proof: EndProof,
    /// The confinement as asked back.
    pub safety: SafetyReport,
    /// Whether the cluster has data checksums.
    pub data_checksums: bool,
    /// `server_version` of the restored server.
    pub server_version: Option<String>,
}
