//! The fleet as programs and people read it: `walproof.status/v1`.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use crate::evidence::Verdict;
use crate::finding::Severity;
use crate::operation::standing::{DrillStanding, ReplicateStanding, VerifyStanding};
use crate::state::{IncidentKind, JobKind, JobProgress, JobStatus, RunKind};
use crate::verify::TimeSource;

/// The contract of [`Fleet`] as JSON. Fields are only added within a version.
pub const SCHEMA: &str = "walproof.status/v1";

/// Every guarded cluster that was asked for, the worst first.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Fleet {
    /// The contract, `walproof.status/v1`.
    pub schema: String,
    /// The version of walproof that wrote it.
    pub version: String,
    /// The moment to which all ages are counted.
    pub at: DateTime<Utc>,
    /// Clusters by verdict.
    pub counts: FleetCounts,
    /// The newest entry of the ledger; kept elsewhere, it shows later whether entries were
    /// taken away.
    pub ledger: Option<LedgerHead>,
    /// The clusters: failed before unproven before proven.
    pub clusters: Vec<ClusterStatus>,
}

/// Clusters by verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FleetCounts {
    /// All.
    pub clusters: u64,
    /// Proven.
    pub proven: u64,
    /// Failed.
    pub failed: u64,
    /// Unproven.
    pub unproven: u64,
}

/// The newest entry of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LedgerHead {
    /// Its number.
    pub sequence: u64,
    /// Its SHA-256.
    pub sha256: String,
}

/// One guarded cluster.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ClusterStatus {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// Its tier.
    pub tier: Option<String>,
    /// Who owns it.
    pub owner: Option<String>,
    /// `proven` only if a drill proved a copy within its due, the newest look at every copy
    /// found nothing of at least a warning, and nothing is overdue.
    pub verdict: Verdict,
    /// Why it is not `proven`, the weightiest first.
    pub reasons: Vec<ReasonWhy>,
    /// Its copies, the primary first.
    pub copies: Vec<CopyStatus>,
    /// The newest drill that proved a copy.
    pub last_proof: Option<LastProof>,
    /// Proofs that are older than their due.
    pub overdue: Vec<Overdue>,
    /// What is wrong now, the gravest first.
    pub incidents: Vec<IncidentStatus>,
    /// What runs next, the soonest first.
    pub next_runs: Vec<NextRun>,
    /// Jobs that wait or run.
    pub jobs: Vec<JobUnderWay>,
}

impl ClusterStatus {
    /// The copy that the backup tool writes.
    pub fn primary(&self) -> Option<&CopyStatus> {
        self.copies.first()
    }
}

/// One reason for a verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ReasonWhy {
    /// The verdict that it leads to.
    pub verdict: Verdict,
    /// The copy; `null` when it is about the cluster.
    pub copy: Option<String>,
    /// In words.
    pub text: String,
}

/// Whether a copy is what the backup tool writes or what walproof keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CopyRole {
    /// The backup tool writes it.
    Primary,
    /// walproof copies to it.
    Replica,
}

/// One copy of a cluster.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct CopyStatus {
    /// Its label.
    pub copy: String,
    /// What it is.
    pub role: CopyRole,
    /// The repository's URL.
    pub location: String,
    /// What would be lost if production vanished now; `null` when no look at it told.
    pub exposure: Option<ExposureStatus>,
    /// Seconds of commits that it lacks and the primary had at the newest looks at both;
    /// `null` where that is not known, and for the primary.
    pub lag_seconds: Option<i64>,
    /// The newest verification.
    pub verification: Option<VerificationStatus>,
    /// The newest replication to it.
    pub replication: Option<ReplicationStatus>,
    /// The newest drill from it.
    pub drill: Option<DrillStatus>,
}

/// What would be lost if production vanished now, as far as the newest look tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ExposureStatus {
    /// Seconds from `since` to now. What was archived after the look is not counted, so the
    /// true exposure may be smaller.
    pub seconds: i64,
    /// The last moment that could be recovered at the look.
    pub since: DateTime<Utc>,
    /// Where that comes from. With `object` the true exposure at the look was greater.
    pub source: Option<TimeSource>,
    /// When the archive was looked at.
    pub looked_at: DateTime<Utc>,
    /// Seconds from then to now.
    pub look_age_seconds: i64,
    /// Whether the look is too old to be believed: older than its due, and without a due
    /// older than a day.
    pub stale: bool,
    /// The recovery point objective in seconds.
    pub rpo_seconds: Option<u64>,
}

/// The newest verification of a copy.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct VerificationStatus {
    /// When the copy was looked at.
    pub at: DateTime<Utc>,
    /// Seconds from then to now.
    pub age_seconds: i64,
    /// How old it may get, in seconds, by the tier's `due`.
    pub due_seconds: Option<u64>,
    /// Its run.
    pub run_id: String,
    /// Its exit code.
    pub exit_code: u8,
    /// What it saw.
    #[serde(flatten)]
    pub standing: VerifyStanding,
}

/// The newest replication to a copy.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ReplicationStatus {
    /// When it ended.
    pub at: DateTime<Utc>,
    /// Seconds from then to now.
    pub age_seconds: i64,
    /// How old it may get, in seconds, by the tier's `due`.
    pub due_seconds: Option<u64>,
    /// Its run.
    pub run_id: String,
    /// Its exit code.
    pub exit_code: u8,
    /// What it did.
    #[serde(flatten)]
    pub standing: ReplicateStanding,
}

/// The newest drill from a copy.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct DrillStatus {
    /// When it began.
    pub at: DateTime<Utc>,
    /// Seconds from then to now.
    pub age_seconds: i64,
    /// Its run.
    pub run_id: String,
    /// Its exit code.
    pub exit_code: u8,
    /// What it came to.
    #[serde(flatten)]
    pub standing: DrillStanding,
}

/// The newest drill that proved a copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LastProof {
    /// When it began.
    pub at: DateTime<Utc>,
    /// Seconds from then to now.
    pub age_seconds: i64,
    /// How old it may get, in seconds, by the tier's `due`.
    pub due_seconds: Option<u64>,
    /// Its run.
    pub run_id: String,
    /// The copy that it restored.
    pub copy: String,
}

/// A proof that is older than its due, or was never made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Overdue {
    /// What kind: `verify`, `replicate` or `drill`.
    pub kind: RunKind,
    /// The copy; `null` for drills, of which one of any copy counts.
    pub copy: Option<String>,
    /// When the newest was made.
    pub newest_at: Option<DateTime<Utc>>,
    /// How old it may get, in seconds.
    pub due_seconds: u64,
}

/// Something that is wrong now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct IncidentStatus {
    /// Its identity.
    pub id: String,
    /// The finding's code.
    pub code: String,
    /// How much it matters.
    pub severity: Severity,
    /// What noticed it.
    pub kind: IncidentKind,
    /// The copy; may be empty.
    pub copy: String,
    /// The first object that it concerns.
    pub object: String,
    /// What was seen.
    pub message: String,
    /// How many findings of the code.
    pub count: u64,
    /// Since when.
    pub opened_at: DateTime<Utc>,
    /// When it was seen last.
    pub last_seen_at: DateTime<Utc>,
    /// The page that says what to do.
    pub runbook: String,
}

/// What runs next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct NextRun {
    /// The schedule.
    pub schedule: String,
    /// What kind of work.
    pub kind: JobKind,
    /// When it is due.
    pub at: DateTime<Utc>,
    /// When it was due before.
    pub last_due: Option<DateTime<Utc>>,
}

/// A job that waits or runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct JobUnderWay {
    /// Its identity.
    pub id: String,
    /// What kind of work.
    pub kind: JobKind,
    /// The copy; may be empty.
    pub copy: String,
    /// Whether it waits or runs.
    pub status: JobStatus,
    /// When it was due.
    pub due_at: DateTime<Utc>,
    /// When its newest attempt began.
    pub started_at: Option<DateTime<Utc>>,
    /// How often it was begun.
    pub attempts: u32,
    /// How far it is.
    pub progress: Option<JobProgress>,
    /// Why its last attempt came to nothing.
    pub error: Option<String>,
}
