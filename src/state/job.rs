//! Jobs as plain data.

use std::time::Duration;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::words::words;
use crate::evidence::EntryKind;

/// How long a job's spec may be as JSON text, in bytes.
pub const JOB_SPEC_LIMIT: usize = 64 * 1024;

words! {
    /// What kind of work a job is.
    JobKind {
        /// A verification of one copy.
        Verify = "verify",
        /// A replication to one copy.
        Replicate = "replicate",
        /// A drill.
        Drill = "drill",
        /// A report over a stretch of time.
        Report = "report",
        /// Clearing away what was left behind.
        Sweep = "sweep",
        /// What a rebuild needs besides data, captured and stored beside a replica.
        Capture = "capture",
        /// A person's restore to a moment.
        Request = "request",
    }
}

words! {
    /// Where a job stands.
    JobStatus {
        /// It is to be done, now or later.
        Waiting = "waiting",
        /// Somebody holds it.
        Running = "running",
        /// It came to its end, whatever it found.
        Done = "done",
        /// It could not be done, and is not tried again.
        Failed = "failed",
        /// Somebody wanted it no longer.
        Cancelled = "cancelled",
        /// It was not begun before its deadline.
        Missed = "missed",
        /// It was left out, because an earlier one was still under way.
        Skipped = "skipped",
    }
}

impl From<JobKind> for EntryKind {
    /// What the ledger calls it. Sweeping is not in the ledger; it counts as a report does.
    fn from(kind: JobKind) -> Self {
        match kind {
            JobKind::Verify => Self::Verify,
            JobKind::Replicate => Self::Replicate,
            JobKind::Drill => Self::Drill,
            JobKind::Report | JobKind::Sweep => Self::Report,
            JobKind::Capture => Self::Capture,
            JobKind::Request => Self::Request,
        }
    }
}

impl JobStatus {
    /// Whether nothing happens to it any more.
    pub const fn is_over(self) -> bool {
        !matches!(self, Self::Waiting | Self::Running)
    }
}

/// A job that is to be done.
#[derive(Clone, Debug, PartialEq)]
pub struct NewJob {
    /// What makes it one of its kind, such as `schedule/cluster/copy@due`. The same key
    /// again does nothing, as long as the job is kept ([`super::State::prune_jobs`]).
    pub key: String,
    /// What kind of work.
    pub kind: JobKind,
    /// The schedule that it comes from.
    pub schedule: Option<String>,
    /// The cluster; empty for work on no cluster, to which no budget per cluster applies.
    pub cluster: String,
    /// Which copy; empty where the spec says it.
    pub copy: String,
    /// What it reads, for the budget per bucket; empty for none.
    pub bucket: String,
    /// The cluster's tier.
    pub tier: Option<String>,
    /// When it is due.
    pub due_at: DateTime<Utc>,
    /// Not before this moment, which is at or after `due_at`: jitter, blackouts, back-off.
    pub run_after: DateTime<Utc>,
    /// Not begun after this moment; it is missed then.
    pub deadline: Option<DateTime<Utc>>,
    /// From 0 to 9; 9 goes first.
    pub priority: u8,
    /// Whether it comes later than it should.
    pub late: bool,
    /// How much scratch disk it takes, in bytes.
    pub scratch_bytes: u64,
    /// How often it is tried, at least once.
    pub max_attempts: u32,
    /// What is to be done; at most [`JOB_SPEC_LIMIT`].
    pub spec: Value,
}

/// A job as the queue holds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Job {
    /// Its identity, a UUID version 7.
    #[schemars(with = "String")]
    pub id: Uuid,
    /// What makes it one of its kind.
    pub key: String,
    /// What kind of work.
    pub kind: JobKind,
    /// The schedule that it comes from.
    pub schedule: Option<String>,
    /// The cluster; may be empty.
    pub cluster: String,
    /// Which copy; may be empty.
    pub copy: String,
    /// What it reads; may be empty.
    pub bucket: String,
    /// The cluster's tier.
    pub tier: Option<String>,
    /// When it is due.
    pub due_at: DateTime<Utc>,
    /// Not before this moment.
    pub run_after: DateTime<Utc>,
    /// Not begun after this moment.
    pub deadline: Option<DateTime<Utc>>,
    /// From 0 to 9; 9 goes first.
    pub priority: u8,
    /// Whether it comes later than it should.
    pub late: bool,
    /// How much scratch disk it takes, in bytes.
    pub scratch_bytes: u64,
    /// How often it is tried.
    pub max_attempts: u32,
    /// What is to be done.
    pub spec: Value,
    /// Where it stands.
    pub status: JobStatus,
    /// How often it was begun; those that were given back are not counted.
    pub attempts: u32,
    /// The fencing token: grows with every claim.
    pub token: i64,
    /// Who holds it.
    #[schemars(with = "Option<String>")]
    pub holder: Option<Uuid>,
    /// Until when its holder holds it without another sign of life.
    pub lease_until: Option<DateTime<Utc>>,
    /// How far it is.
    pub progress: Option<JobProgress>,
    /// Since when it is to be cancelled.
    pub cancel_asked_at: Option<DateTime<Utc>>,
    /// Why its last attempt came to nothing.
    pub error: Option<String>,
    /// The run that did it.
    #[schemars(with = "Option<String>")]
    pub run_id: Option<Uuid>,
    /// When it came into the queue.
    pub created_at: DateTime<Utc>,
    /// When its newest attempt began.
    pub started_at: Option<DateTime<Utc>>,
    /// When it was over.
    pub finished_at: Option<DateTime<Utc>>,
}

impl Job {
    /// What its holder shows to be allowed to write.
    pub const fn fence(&self) -> Fence {
        Fence {
            job: self.id,
            token: self.token,
        }
    }
}

/// How far a job is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobProgress {
    /// What it is doing, one or a few words.
    pub phase: String,
    /// How much of it is done, in `unit`.
    pub done: u64,
    /// How much there is, if that is known.
    pub total: Option<u64>,
    /// Of what: `bytes`, `objects`, `segments`.
    pub unit: String,
    /// When this was so.
    pub at: DateTime<Utc>,
}

/// How much may be under way at once, over all daemons: counted in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budgets {
    /// Drills.
    pub drills: u32,
    /// Jobs of one cluster.
    pub per_cluster: u32,
    /// Jobs that read one bucket.
    pub per_bucket: u32,
    /// Scratch disk, in bytes.
    pub scratch_bytes: u64,
}

impl Budgets {
    /// No limits.
    pub const NONE: Self = Self {
        drills: u32::MAX,
        per_cluster: u32::MAX,
        per_bucket: u32::MAX,
        scratch_bytes: u64::MAX,
    };
}

/// Somebody asks for a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimRequest {
    /// Who asks.
    pub holder: Uuid,
    /// The moment, by the database's clock.
    pub now: DateTime<Utc>,
    /// For how long without a sign of life.
    pub lease: Duration,
    /// How much may be under way at once.
    pub budgets: Budgets,
    /// The kinds that may be given.
    pub allow: Vec<JobKind>,
}

/// Which attempt at which job. Whoever writes shows it, and is refused when a newer attempt
/// has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fence {
    /// The job.
    pub job: Uuid,
    /// The token of the attempt.
    pub token: i64,
}

/// What a sign of life was answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heartbeat {
    /// The job is still held.
    Held,
    /// The job is still held, and somebody wants it no longer.
    CancelAsked,
    /// The job belongs to somebody else or to nobody: stop at once, nothing will be kept.
    Lost,
}

/// Why a holder lets a job go that it did not finish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Release {
    /// It is to be tried again; when its attempts are used up it has failed.
    Retry {
        /// Not before this moment.
        run_after: DateTime<Utc>,
        /// Why this attempt came to nothing.
        error: String,
    },
    /// It could not be done, and trying again is no use.
    Failed {
        /// Why.
        error: String,
    },
    /// It was cancelled.
    Cancelled,
    /// Its holder stops; another may do it at once. The attempt is not counted.
    GivenBack,
    /// Its holder does not know yet what it is about. The attempt is not counted.
    NotYet {
        /// Not before this moment.
        run_after: DateTime<Utc>,
    },
}

/// What to show of the jobs. Everything that is left out does not narrow it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// This cluster.
    pub cluster: Option<String>,
    /// This kind.
    pub kind: Option<JobKind>,
    /// This status.
    pub status: Option<JobStatus>,
    /// This schedule.
    pub schedule: Option<String>,
    /// Only those that wait or run.
    pub open: bool,
    /// Those whose id begins so.
    pub id: Option<String>,
    /// At most this many, newest due first; 1,000 when 0.
    pub limit: u32,
}

/// How many jobs of a kind stand where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobCount {
    /// The kind.
    pub kind: JobKind,
    /// The status.
    pub status: JobStatus,
    /// How many.
    pub jobs: u64,
}
