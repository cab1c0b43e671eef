//! What a run did, and what it would do, for machines and for people.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use super::queue::Tallies;
use super::tally::Tally;
use crate::finding::{Finding, Severity};
use crate::storage::StorageError;

/// How two repositories compare by their listings and by what is remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Compared {
    /// What the source holds.
    pub source: Tally,
    /// What the target holds.
    pub target: Tally,
    /// What lies on both sides as it was when it was copied.
    pub same: Tally,
    /// What lies on both sides with the same sizes, and was not copied as far as walproof
    /// remembers: its bytes were never compared.
    pub not_compared: Tally,
    /// What lies at the source alone.
    pub missing: Tally,
    /// What lies at the target alone; never removed but by `replicate expire`.
    pub only_at_target: Tally,
    /// The first keys of it.
    pub only_at_target_sample: Vec<String>,
    /// What lies at the source and was removed from the target by its policy.
    pub expired: Tally,
    /// Objects that looked different and were read to see whether they are.
    pub looked_at: u64,
}

/// A backup that waits to be copied whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Waiting {
    /// The key of its description.
    pub object: String,
    /// Why.
    pub reason: String,
}

/// Something that could not be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Failure {
    /// The key.
    pub object: String,
    /// Why not.
    pub error: String,
}

impl Failure {
    pub(super) fn new(key: &str, error: &StorageError) -> Self {
        Self {
            object: key.to_owned(),
            error: error.to_string(),
        }
    }
}

/// Why a run ended before everything was copied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "reason")]
pub enum Ended {
    /// Everything was copied that can be.
    Complete,
    /// The time of day is over.
    WindowClosed,
    /// It was asked to stop.
    Interrupted,
    /// It followed the source until it was asked to stop.
    Stopped,
    /// As many objects were copied as were asked for.
    Limited,
    /// A store failed.
    Failed {
        /// How.
        error: String,
    },
}

/// What a run looked at that did not compare both sides as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Incremental {
    /// When both sides were last compared as a whole.
    pub compared_at: DateTime<Utc>,
    /// What was listed at the source.
    pub looked_at: Tally,
}

/// What was copied, and how surely.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CopiedReport {
    /// By kind.
    #[serde(flatten)]
    pub by_kind: Tallies,
    /// Objects of which the target confirmed a checksum that is ours. Of the others it
    /// confirmed that it took them.
    pub acknowledged: u64,
    /// What was read back and had the digest of what was sent.
    pub read_back: Tally,
    /// Objects that another writer had brought meanwhile, with the same bytes.
    pub there_already: u64,
    /// Objects that the source lost between listing and reading.
    pub gone: u64,
}

/// What a run did.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ReplicateReport {
    /// `walproof.replicate-run/v1`
    pub schema: &'static str,
    /// The cluster's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// The copy's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copy: Option<String>,
    /// What was copied, as a URL.
    pub source: String,
    /// Where to, as a URL.
    pub target: String,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: DateTime<Utc>,
    /// Why it ended.
    pub ended: Ended,
    /// Set when only what is new was looked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incremental: Option<Incremental>,
    /// How the two compared at its beginning.
    pub compared: Compared,
    /// What was copied.
    pub copied: CopiedReport,
    /// What is left to be copied.
    pub left: Tallies,
    /// Backups that wait: unfinished ones, and those whose WAL is not there yet.
    pub waiting: Vec<Waiting>,
    /// What could not be copied.
    pub failures: Vec<Failure>,
    /// What is wrong with the copy.
    pub findings: Vec<Finding>,
    /// Why not everything could be remembered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

impl ReplicateReport {
    /// The schema of this version.
    pub const SCHEMA: &'static str = "walproof.replicate-run/v1";

    /// The gravest finding.
    pub fn worst_severity(&self) -> Option<Severity> {
        self.findings.iter().map(|finding| finding.severity).max()
    }

    /// Whether everything was done that was to be done.
    pub fn is_complete(&self) -> bool {
        self.failures.is_empty()
            && matches!(
                self.ended,
                Ended::Complete | Ended::Stopped | Ended::Limited | Ended::WindowClosed
            )
    }

    /// Bytes per second, from the beginning of the run to its end.
    pub fn rate(&self) -> u64 {
        let took = (self.finished_at - self.started_at).num_milliseconds();
        let took = u64::try_from(took).unwrap_or_default().max(1);
        self.copied.by_kind.total().bytes.saturating_mul(1_000) / took
    }
}

/// A backup of which something is to be copied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PlannedBackup {
    /// Its id.
    pub id: String,
    /// Data, labels and annotations to copy.
    pub data: Tally,
    /// Whether its commit marker is to be copied.
    pub marker: bool,
}

/// What a run would do.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ReplicatePlan {
    /// `walproof.replicate-plan/v1`
    pub schema: &'static str,
    /// The cluster's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// The copy's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copy: Option<String>,
    /// What would be copied, as a URL.
    pub source: String,
    /// Where to, as a URL.
    pub target: String,
    /// When the two were listed.
    pub listed_at: DateTime<Utc>,
    /// How they compare.
    pub compared: Compared,
    /// What would be copied.
    pub to_copy: Tallies,
    /// The oldest and the newest WAL file that would be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wal: Option<(String, String)>,
    /// The backups that would be, oldest first.
    pub backups: Vec<PlannedBackup>,
    /// Backups that would wait.
    pub waiting: Vec<Waiting>,
    /// Objects that look different and would be read to see whether they are.
    pub to_look_at: Vec<String>,
}

impl ReplicatePlan {
    /// The schema of this version.
    pub const SCHEMA: &'static str = "walproof.replicate-plan/v1";
}
