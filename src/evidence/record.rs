//! The record of one drill, version 1.
//!
//! A field is never taken away or given another meaning within version 1; readers ignore
//! fields that they do not know. Times are UTC with zone; lengths of time are whole
//! milliseconds.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Digest, Verdict};
use crate::finding::Finding;
use crate::postgres::{Lsn, SystemId, TimelineId};
use crate::repository::Alone;
use crate::storage::Location;

/// The schema's name, first in every record.
pub const DRILL_RECORD_SCHEMA: &str = "walproof.dev/drill-record/v1";

/// What was restored from where, how far, and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DrillRecord {
    /// `walproof.dev/drill-record/v1`.
    #[schemars(extend("const" = DRILL_RECORD_SCHEMA))]
    pub schema: String,
    /// The record's identity, a UUID version 7.
    #[schemars(schema_with = "uuid")]
    pub id: Uuid,
    /// The run in the state database that it belongs to.
    #[schemars(schema_with = "uuid")]
    pub run_id: Uuid,
    /// What made it.
    pub tool: Tool,
    /// What was due, and who asked.
    pub due: Due,
    /// What was restored.
    pub source: SourceRecord,
    /// What was read from where, and whether any other copy of the cluster could be reached
    /// meanwhile. Records from before walproof knew of this lack it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alone: Option<Alone>,
    /// Where it was restored.
    pub environment: EnvironmentRecord,
    /// How far.
    pub target: TargetRecord,
    /// Where recovery ended, against where the archive's bytes said it must; `null` when it
    /// did not come that far.
    pub end_of_recovery: Option<EndOfRecovery>,
    /// The phases in order. Together they are the whole time.
    pub phases: Vec<PhaseRecord>,
    /// The checks in order.
    pub checks: Vec<CheckRecord>,
    /// What was measured.
    pub measurements: Measurements,
    /// The objectives and whether they were met.
    pub objectives: Vec<ObjectiveRecord>,
    /// The verdict.
    pub verdict: Verdict,
    /// Why it is not `proven`; empty when it is.
    pub reasons: Vec<String>,
    /// What was found wrong.
    pub findings: Vec<Finding>,
    /// Digests of the logs that were kept beside this record.
    pub logs: Vec<Digest>,
    /// What this record does not prove.
    pub limits: Vec<String>,
    /// What became of the scratch place.
    pub cleanup: Cleanup,
    /// When the drill began.
    pub started_at: DateTime<Utc>,
    /// When it ended, clean-up included.
    pub finished_at: DateTime<Utc>,
}

fn uuid(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "string", "format": "uuid" })
}

/// The program that made a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tool {
    /// `walproof`.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of the program's file, lower-case hexadecimal, where it could be read.
    pub build_sha256: Option<String>,
}

impl Tool {
    /// This program. Reads the program's own file once to take its digest.
    pub fn this() -> Self {
        Self {
            name: "walproof".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            build_sha256: super::file::own_digest(),
        }
    }
}

/// Why a drill was run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Trigger {
    /// A person ran a command.
    Manual,
    /// A schedule.
    Schedule,
}

/// What was due, and who asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Due {
    /// The drill definition's name; `plain` without one.
    pub definition: String,
    /// SHA-256 of the definition as it was run, as JSON, with what the command line put over
    /// it.
    pub definition_sha256: Option<String>,
    /// Why it was run.
    pub trigger: Trigger,
    /// Who asked: a person, a role or a service.
    pub initiator: String,
    /// When it was due, for a schedule; else when it was asked for.
    pub due_at: DateTime<Utc>,
}

/// What was restored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SourceRecord {
    /// The cluster's name.
    pub cluster: String,
    /// Its owner.
    pub owner: Option<String>,
    /// Its tier.
    pub tier: Option<String>,
    /// Which copy: `primary`, a replica's name, or empty for a bare URL.
    pub copy: String,
    /// Where it lies. Never with credentials.
    pub location: Location,
    /// The database system that was restored, as its control file says.
    pub system_id: Option<SystemId>,
    /// `server_version_num` of the source, such as 150018.
    pub postgresql_version: Option<u32>,
    /// The base backup; `null` when none could be chosen.
    pub backup: Option<BackupRecord>,
    /// The metadata objects that were read, with their digests.
    pub metadata: Vec<Digest>,
    /// The WAL that was replayed; `null` when it did not come that far.
    pub wal: Option<WalRangeRecord>,
}

/// A base backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BackupRecord {
    /// Its identity within the repository.
    pub id: String,
    /// When it began.
    pub begin_time: Option<DateTime<Utc>>,
    /// When it ended.
    pub end_time: Option<DateTime<Utc>>,
    /// The redo point.
    pub begin_lsn: Option<Lsn>,
    /// The end of the WAL that it needs.
    pub end_lsn: Option<Lsn>,
    /// Its timeline.
    pub timeline: Option<TimelineId>,
    /// The bytes of its archives as stored.
    pub stored_bytes: u64,
}

/// A stretch of WAL that recovery replayed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WalRangeRecord {
    /// The first segment's file name.
    pub first_segment: String,
    /// The last segment's file name.
    pub last_segment: String,
    /// The timeline at its end.
    pub timeline: TimelineId,
    /// Where replay began.
    pub begin_lsn: Lsn,
    /// Where the last record ends.
    pub end_lsn: Lsn,
    /// How many segments.
    pub segments: u64,
    /// Digests of the segments served, or of a list of them, where they were taken: a
    /// recovery in Kubernetes fetches its WAL by itself.
    pub digests: Vec<Digest>,
}

/// Where it was restored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EnvironmentRecord {
    /// `local` for PostgreSQL binaries on a machine.
    pub kind: String,
    /// The machine's name.
    pub host: String,
    /// What `postgres --version` said.
    pub postgresql: Option<String>,
    /// How the restored server was kept apart, each as a fact that was asked back from it.
    pub confinement: Vec<String>,
}

/// A commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CommitRecord {
    /// Where the record begins.
    pub lsn: Lsn,
    /// The transaction.
    pub xid: u32,
    /// The time in the record.
    pub time: DateTime<Utc>,
}

/// How far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TargetRecord {
    /// What was asked for: `tip`, `time:2026-11-21T02:40:00Z`, `lsn:…`, `xid:…`, `name:…`,
    /// `immediate`.
    pub asked: String,
    /// What it came to in the archive's bytes; `null` when it could not be resolved.
    pub resolved: Option<ResolvedTargetRecord>,
}

/// A target as a position in the WAL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ResolvedTargetRecord {
    /// The timeline to follow.
    pub timeline: TimelineId,
    /// Where the last record that is applied begins.
    pub stop_lsn: Lsn,
    /// Where it ends: the predicted end of replay.
    pub end_lsn: Lsn,
    /// The last commit that is applied.
    pub last_commit: Option<CommitRecord>,
    /// The first commit that is not applied.
    pub next_commit: Option<CommitRecord>,
}

/// Where recovery ended, against the prediction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EndOfRecovery {
    /// The end of replay that the archive's bytes predict.
    pub expected_lsn: Lsn,
    /// The end of replay that the server reported.
    pub reached_lsn: Option<Lsn>,
    /// The last commit time that the archive's bytes predict.
    pub expected_commit_time: Option<DateTime<Utc>>,
    /// The last commit time that the server reported.
    pub reached_commit_time: Option<DateTime<Utc>>,
    /// Whether all of them agree.
    pub agrees: bool,
}

/// How a phase ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PhaseOutcome {
    /// Done.
    Done,
    /// It failed, and with it the drill.
    Failed,
    /// It was not reached.
    NotReached,
}

impl PhaseOutcome {
    /// The word used in output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::NotReached => "not-reached",
        }
    }
}

/// One phase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PhaseRecord {
    /// Its name: admit, provision, fetch-base, …
    pub name: String,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// How long it took.
    pub duration_ms: u64,
    /// How it ended.
    pub outcome: PhaseOutcome,
}

/// One check. Holds no row and no output of a query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CheckRecord {
    /// Its name.
    pub name: String,
    /// What kind: `sql`, `amcheck`, `heartbeat`, `built-in`.
    pub kind: String,
    /// What was expected, as the definition writes it.
    pub expected: Option<String>,
    /// What it came to.
    pub verdict: Verdict,
    /// In one sentence.
    pub message: String,
    /// How long it took.
    pub duration_ms: u64,
}

/// What was measured. `null` means not measured, never zero.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Measurements {
    /// Start of recovery to the first successful query on the promoted server.
    pub time_to_service_ms: Option<u64>,
    /// Start of recovery to the end of all required checks.
    pub time_to_verified_ms: Option<u64>,
    /// The whole drill, clean-up included. The phases add up to it.
    pub total_ms: u64,
    /// The moment of loss that was assumed.
    pub lost_at: Option<DateTime<Utc>>,
    /// The newest commit that was recovered.
    pub recovered_to: Option<DateTime<Utc>>,
    /// From the newest recovered commit to the moment of loss, or to the target in time.
    pub recovery_point_ms: Option<u64>,
    /// Bytes fetched for the base backup, as stored.
    pub base_bytes_fetched: u64,
    /// Bytes of the restored data directory.
    pub base_bytes_restored: u64,
    /// Bytes of WAL replayed.
    pub wal_bytes_replayed: u64,
}

/// Whether an objective was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ObjectiveOutcome {
    /// Within the limit.
    Met,
    /// Beyond the limit.
    Missed,
    /// It could not be measured.
    NotMeasured,
}

/// One objective.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ObjectiveRecord {
    /// `rpo` or `rto`.
    pub name: String,
    /// The limit.
    pub limit_ms: u64,
    /// Where the limit comes from: `tier gold`, `command line`.
    pub set_by: String,
    /// What was measured.
    pub actual_ms: Option<u64>,
    /// How it was measured, in one sentence.
    pub method: String,
    /// Whether it was met.
    pub outcome: ObjectiveOutcome,
}

/// What became of the scratch place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cleanup {
    /// Whether everything that the drill made is gone.
    pub complete: bool,
    /// What was left, if anything.
    pub left: Vec<String>,
    /// When that was seen.
    pub verified_at: DateTime<Utc>,
}

/// What no drill of this kind proves. Every record says so; a drill adds its own.
pub fn standing_limits() -> Vec<String> {
    [
        "Times exclude detecting the loss, deciding, and pointing clients to the restored database.",
        "The machine that ran the drill may be faster or slower than the one of a real recovery.",
        "Only what the checks ask was compared with expectations; a check that was not written was not made.",
        "The drill speaks of the copy named under `source` at the time of the drill, not of other copies or later objects.",
    ]
    .map(str::to_owned)
    .to_vec()
}
