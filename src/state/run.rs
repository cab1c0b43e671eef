//! Runs as plain data.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::hold::Hold;
use super::words::words;
use crate::evidence::Verdict;
use crate::finding::Finding;

words! {
    /// What kind of work a run was.
    RunKind {
        /// A verification.
        Verify = "verify",
        /// A drill.
        Drill = "drill",
        /// A restore for use.
        Restore = "restore",
        /// A base backup.
        Backup = "backup",
        /// A repository copied to a second place.
        Replicate = "replicate",
        /// A copy compared with its source.
        Compare = "compare",
        /// Objects removed from a copy by its policy.
        Expire = "expire",
        /// A cluster's definition captured.
        Capture = "capture",
        /// A person's restore to a moment, until it was gone.
        Request = "request",
    }
}

words! {
    /// Where a run stands.
    RunStatus {
        /// It is under way.
        Running = "running",
        /// It ended by itself, well or badly.
        Finished = "finished",
        /// It was killed, or the machine went down.
        Interrupted = "interrupted",
    }
}

/// A run that begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRun {
    /// What kind of work.
    pub kind: RunKind,
    /// The cluster's name, or the last part of the URL.
    pub cluster: String,
    /// Which copy; empty for a bare URL.
    pub copy: String,
    /// The repository's URL. Never with credentials.
    pub location: String,
}

/// A run that is under way. When it is dropped without [`super::State::finish_run`], the
/// next start shows it as interrupted.
#[derive(Debug)]
pub struct RunningRun {
    /// Its identity, a UUID version 7.
    pub id: Uuid,
    /// What kind of work.
    pub kind: RunKind,
    /// The cluster's name, or the last part of the URL.
    pub cluster: String,
    /// Which copy; empty for a bare URL.
    pub copy: String,
    /// When it began.
    pub started_at: DateTime<Utc>,
    pub(super) hold: Hold,
}

/// The whole report of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The report's schema, such as `walproof.verify/v1`.
    pub schema: String,
    /// The report.
    pub body: Value,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The verdict, for drills; and for verifications `failed` when there was a finding at
    /// or above the threshold, else none, because only a restore proves.
    pub verdict: Option<Verdict>,
    /// The exit code.
    pub exit_code: u8,
    /// One line for the history.
    pub summary: String,
    /// What was found wrong.
    pub findings: Vec<Finding>,
    /// The whole report, if there is one.
    pub report: Option<Report>,
}

/// A run as the history shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Run {
    /// Its identity.
    #[schemars(with = "String")]
    pub id: Uuid,
    /// What kind of work.
    pub kind: RunKind,
    /// The cluster's name, or the last part of the URL.
    pub cluster: String,
    /// Which copy; empty for a bare URL.
    pub copy: String,
    /// The repository's URL.
    pub location: String,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended; of an interrupted run when that was noticed.
    pub finished_at: Option<DateTime<Utc>>,
    /// Where it stands.
    pub status: RunStatus,
    /// The verdict.
    pub verdict: Option<Verdict>,
    /// The exit code.
    pub exit_code: Option<u8>,
    /// One line.
    pub summary: String,
    /// How many findings it had.
    pub findings: u64,
    /// The version of walproof that ran it.
    pub version: String,
}

/// What to show of the history. Everything that is left out does not narrow it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryFilter {
    /// This cluster's name or this repository's URL.
    pub source: Option<String>,
    /// This kind.
    pub kind: Option<RunKind>,
    /// This verdict.
    pub verdict: Option<Verdict>,
    /// What began at or after this moment.
    pub since: Option<DateTime<Utc>>,
    /// At most this many, newest first; everything when 0.
    pub limit: u32,
}

/// A drill with all that is kept of it.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredDrill {
    /// The run.
    pub run: Run,
    /// What was found wrong.
    pub findings: Vec<Finding>,
    /// The report as `drill run --output json` gave it.
    pub report: Option<Report>,
    /// The evidence record, if it came so far.
    pub record: Option<crate::evidence::DrillRecord>,
    /// SHA-256 of the record's text as it was written.
    pub record_sha256: Option<String>,
}
