//! What a watched recovery tells: the words of this room.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::trouble::Trouble;

/// Something that was seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// When walproof saw it, by its own clock: what phases are timed with.
    pub at: DateTime<Utc>,
    /// When it happened by the cluster's clocks, where they say so: for the record, never
    /// mixed with [`Observation::at`] in one duration.
    pub told: Option<DateTime<Utc>>,
    /// What.
    pub what: What,
}

/// What was seen. Milestones come once, in no promised order between different pods; lines
/// come in the order of their container's log, without gaps or doubles.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// The Cluster's phase, each time that it or its reason changes.
    Phase {
        /// `Setting up primary`, `Cluster in healthy state`, …
        phase: String,
        /// The operator's reason; may be empty.
        reason: String,
    },
    /// The recovery Job exists.
    JobCreated {
        /// Its name, `drill-1-full-recovery` or `drill-1-snapshot-recovery`.
        name: String,
    },
    /// A pod has its node.
    PodScheduled {
        /// The pod.
        pod: String,
        /// The node.
        node: String,
    },
    /// The image of a pod's main container is on its node.
    ImagePulled {
        /// The pod.
        pod: String,
    },
    /// The Job's main container runs.
    JobRunning {
        /// The pod.
        pod: String,
    },
    /// A pod of the Job failed and Kubernetes starts another. What the first one failed of
    /// came as a [`What::Trouble`] before.
    Retried {
        /// The pod that failed.
        pod: String,
        /// Its place in the row, from 1.
        attempt: u32,
    },
    /// A line of a container, as it was written (cut at 64 KiB).
    Log(PodLine),
    /// The instance manager, or the plugin, found the base backup.
    BackupFound {
        /// Its id.
        id: Option<String>,
    },
    /// The files of the base backup are on their way.
    RestoreStarted,
    /// They are there.
    BaseRestored,
    /// A line that PostgreSQL wrote to its own log, in the Job or in the instance.
    Postgres(PostgresLine),
    /// The Job is done: restored, replayed, promoted.
    JobSucceeded,
    /// The instance's PostgreSQL container runs.
    InstanceStarted {
        /// The pod, `drill-1`.
        pod: String,
    },
    /// Healthy by every sign: phase, condition `Ready`, instances, a primary.
    Ready {
        /// `status.timelineID`.
        timeline: Option<u32>,
        /// `status.systemID`, a decimal number.
        system_id: Option<String>,
        /// The pod that is the primary.
        primary: String,
    },
    /// A Kubernetes event of the namespace that is about this recovery.
    Event(ClusterEvent),
    /// Something is wrong. The recovery is over if [`Trouble::fatal`].
    Trouble(Trouble),
}

/// A line of a container's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodLine {
    /// The pod.
    pub pod: String,
    /// Its container.
    pub container: String,
    /// When the container wrote it, by the node's clock.
    pub time: Option<DateTime<Utc>>,
    /// The line without its end.
    pub text: String,
}

/// A line of PostgreSQL's own log, which comes as JSON through the instance manager.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostgresLine {
    /// `LOG`, `WARNING`, `FATAL`, `PANIC`, …
    pub severity: String,
    /// The message, without severity.
    pub message: String,
    /// The detail, if there is one.
    pub detail: Option<String>,
    /// The hint, if there is one.
    pub hint: Option<String>,
    /// The SQLSTATE, `00000` for plain messages.
    pub sql_state: Option<String>,
    /// When PostgreSQL wrote it (in its `log_timezone`, which CloudNativePG sets to UTC).
    pub time: Option<DateTime<Utc>>,
    /// Whether the Job wrote it, not the instance that came after.
    pub in_job: bool,
}

/// A Kubernetes event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterEvent {
    /// `Pod/drill-1-full-recovery-abcde`.
    pub object: String,
    /// `FailedScheduling`, …
    pub reason: String,
    /// The words.
    pub message: String,
    /// Whether its type is `Warning`.
    pub warning: bool,
    /// How often it was seen.
    pub count: u32,
}
