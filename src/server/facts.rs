//! What the metrics tell of the fleet, as plain data. [`super::collect()`] fills it from the
//! state, [`super::render`] writes it; neither knows of the other.
//!
//! Bounded by the configuration: a cluster or copy that it does not name is not here, and a
//! copy has at most one finding per code.

use chrono::{DateTime, Utc};

use crate::drill::Phase;
use crate::evidence::Verdict;
use crate::finding::Severity;

/// The fleet as the state knew it at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FleetFacts {
    /// When the state was asked.
    pub at: DateTime<Utc>,
    /// The guarded clusters, in the order of the configuration.
    pub clusters: Vec<ClusterFacts>,
    /// Open findings of no cluster, such as a refused configuration.
    pub findings: Vec<FindingFacts>,
    /// Jobs by kind and status.
    pub jobs: Vec<JobFacts>,
    /// Runs by kind and outcome, ever.
    pub runs: Vec<RunFacts>,
    /// The ledger of records.
    pub records: RecordFacts,
    /// Notifications on their way.
    pub notifications: NotificationFacts,
}

/// One guarded cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClusterFacts {
    /// Its name.
    pub name: String,
    /// Its tier; empty without one.
    pub tier: String,
    /// Its owner; empty without one.
    pub owner: String,
    /// What its tier promises.
    pub objectives: ObjectiveFacts,
    /// Its copies, the primary first.
    pub copies: Vec<CopyFacts>,
    /// Open findings of no copy, such as an overdue drill.
    pub findings: Vec<FindingFacts>,
    /// Due runs that did not happen, ever, and those that a late one stands for. A proof
    /// that is overdue is none.
    pub missed: u64,
    /// Due runs that were caught up late, ever.
    pub late: u64,
    /// Due runs that were skipped, ever.
    pub skipped: u64,
}

/// The limits of a tier, in seconds; `None` where it has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectiveFacts {
    /// At most this much may be lost.
    pub rpo: Option<u64>,
    /// At most this long may recovery take, until all checks passed.
    pub rto: Option<u64>,
    /// How far back any moment must be recoverable.
    pub retention: Option<u64>,
    /// How old the newest usable base backup may be.
    pub backup_age: Option<u64>,
    /// How old the newest verification of each copy may be.
    pub verify_due: Option<u64>,
    /// How old the newest replication of each replica may be.
    pub replicate_due: Option<u64>,
    /// How old the newest drill may be.
    pub drill_due: Option<u64>,
}

/// Whether a copy is what the backup tool writes or what walproof keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CopyRole {
    /// The backup tool writes it.
    #[default]
    Primary,
    /// walproof copies to it.
    Replica,
}

impl CopyRole {
    /// The word used in labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Replica => "replica",
        }
    }
}

/// One copy of a cluster's repository.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CopyFacts {
    /// Its label.
    pub name: String,
    /// What it is.
    pub role: CopyRole,
    /// How far it may be behind, in seconds, if that was promised.
    pub lag_limit: Option<u64>,
    /// What the last verification said.
    pub verification: Option<VerificationFacts>,
    /// What the last replication or comparison said.
    pub replica: Option<ReplicaFacts>,
    /// What the last drill measured.
    pub drill: Option<DrillFacts>,
    /// The newest proof of each kind.
    pub proofs: Vec<ProofFacts>,
    /// Open findings, one per code.
    pub findings: Vec<FindingFacts>,
    /// Runs that could not check, ever, by kind.
    pub unanswered: Vec<(&'static str, u64)>,
}

/// What a verification of a copy said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VerificationFacts {
    /// As of this moment.
    pub at: DateTime<Utc>,
    /// How deep it looked: 0 listed, 1 sampled, 2 read.
    pub depth: u8,
    /// The commit time at the archive's tip, or a bound for it.
    pub tip_at: Option<DateTime<Utc>>,
    /// Whether `tip_at` was read from WAL, and is no mere bound.
    pub tip_known: bool,
    /// The archive's tip, in bytes of WAL.
    pub tip_lsn: Option<u64>,
    /// When the newest WAL of the archive arrived there, beyond gaps too.
    pub archive_end_at: Option<DateTime<Utc>>,
    /// The newest WAL of the archive, in bytes of WAL.
    pub archive_end_lsn: Option<u64>,
    /// The begin of the oldest window.
    pub oldest_begin: Option<DateTime<Utc>>,
    /// The begin of the newest window.
    pub window_begin: Option<DateTime<Utc>>,
    /// The end of the newest window.
    pub window_end: Option<DateTime<Utc>>,
    /// Gaps in the WAL.
    pub gaps: u64,
    /// Segments that are missing in them.
    pub missing_segments: u64,
    /// Base backups that can be restored.
    pub usable_backups: u64,
    /// When the newest of them ended.
    pub backup_at: Option<DateTime<Utc>>,
    /// When the newest failed one began, if none that can be used ended after it.
    pub failed_backup_at: Option<DateTime<Utc>>,
    /// Full WAL segments.
    pub segments: u64,
    /// Bytes of WAL, as stored.
    pub wal_bytes: u64,
    /// Bytes of base backups, as stored.
    pub base_bytes: u64,
    /// Decoded bytes that were read.
    pub read_bytes: u64,
}

/// How a replica stands to its source.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReplicaFacts {
    /// At most so far behind it is, in milliseconds of commits.
    pub lag_ms: Option<u64>,
    /// Objects that the last replication left to be copied.
    pub missing: Option<u64>,
    /// Objects that it could not copy.
    pub failures: Option<u64>,
    /// When it compared both sides.
    pub compared_at: Option<DateTime<Utc>>,
    /// As of when nothing was left to be copied, by the newest that was complete.
    pub complete_at: Option<DateTime<Utc>>,
    /// Bytes that it copied.
    pub copied_bytes: Option<u64>,
}

/// What a drill measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DrillFacts {
    /// How long each phase took, in milliseconds.
    pub phases: Vec<(Phase, u64)>,
    /// Start of recovery to the first answered query, in milliseconds.
    pub time_to_service_ms: Option<u64>,
    /// Start of recovery until all checks passed, in milliseconds.
    pub time_to_verified_ms: Option<u64>,
    /// What would have been lost, in milliseconds.
    pub recovery_point_ms: Option<u64>,
    /// Whether the RPO held, if it was asked; not while it is open that a drill missed it.
    pub rpo_met: Option<bool>,
    /// Whether the RTO held, if it was asked; not while it is open that a drill missed it.
    pub rto_met: Option<bool>,
}

/// The newest proof of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProofFacts {
    /// `verify`, `replicate`, `compare` or `drill`.
    pub kind: &'static str,
    /// When the newest ended that gave an answer, good or bad; `None` if none did.
    pub answered_at: Option<DateTime<Utc>>,
    /// What the newest that gave an answer came to, where its kind gives a verdict; else the
    /// newest of all.
    pub verdict: Option<Verdict>,
    /// The exit code of the newest.
    pub exit_code: u8,
}

/// A finding that is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FindingFacts {
    /// Its code.
    pub code: String,
    /// How bad it is.
    pub severity: Severity,
    /// How many objects it names.
    pub count: u64,
    /// Since when it is open.
    pub opened_at: DateTime<Utc>,
}

/// Jobs of one kind in one status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobFacts {
    /// `verify`, `replicate`, `drill`, `report` or `sweep`.
    pub kind: &'static str,
    /// `waiting`, `running`, `done`, `failed`, `cancelled`, `missed` or `skipped`.
    pub status: &'static str,
    /// How many the state keeps.
    pub count: u64,
}

/// Runs of one kind that came to one outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunFacts {
    /// `verify`, `replicate`, `compare`, `drill`, `restore`, `backup`, `expire` or `report`.
    pub kind: &'static str,
    /// `proven`, `failed` or `unproven`; without a verdict `done`, `found`, `unchecked` or
    /// `refused`.
    pub outcome: String,
    /// How many, since the ledger began.
    pub count: u64,
}

/// The ledger of records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordFacts {
    /// The newest sequence number; 0 while there is none.
    pub head: u64,
    /// Whether the chain was found broken; `None` while nobody has looked.
    pub broken: Option<bool>,
    /// When it was last followed from its first entry to its last.
    pub followed_at: Option<DateTime<Utc>>,
}

/// Notifications on their way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NotificationFacts {
    /// Not delivered yet.
    pub waiting: u64,
    /// Given up, ever: nobody was told.
    pub given_up: u64,
}
