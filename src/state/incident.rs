//! Incidents as plain data: what is wrong now, from when it was first seen until a run no
//! longer finds it.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::RunKind;
use super::words::words;
use crate::evidence::ledger::ClosedIncident;
use crate::finding::Severity;

words! {
    /// What noticed an incident, and so what may close it.
    IncidentKind {
        /// A verification.
        Verify = "verify",
        /// A drill.
        Drill = "drill",
        /// A restore for use.
        Restore = "restore",
        /// A base backup.
        Backup = "backup",
        /// A replication.
        Replicate = "replicate",
        /// A comparison.
        Compare = "compare",
        /// A removal by policy.
        Expire = "expire",
        /// A capture of a cluster's definition.
        Capture = "capture",
        /// A person's request.
        Request = "request",
        /// The daemon itself: overdue proofs, a refused configuration.
        Schedule = "schedule",
    }
}

impl From<RunKind> for IncidentKind {
    fn from(kind: RunKind) -> Self {
        match kind {
            RunKind::Verify => Self::Verify,
            RunKind::Drill => Self::Drill,
            RunKind::Restore => Self::Restore,
            RunKind::Backup => Self::Backup,
            RunKind::Replicate => Self::Replicate,
            RunKind::Compare => Self::Compare,
            RunKind::Expire => Self::Expire,
            RunKind::Capture => Self::Capture,
            RunKind::Request => Self::Request,
        }
    }
}

words! {
    /// What happened to an incident.
    IncidentChange {
        /// It was noticed.
        Opened = "opened",
        /// It became worse.
        Worsened = "worsened",
        /// It is no longer so.
        Closed = "closed",
    }
}

/// How deep a run looked, for what it may close: see [`Incident::depth`].
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct DepthRank(pub u8);

impl DepthRank {
    /// Names and sizes; and the only rank of runs that have no depth.
    pub const LISTED: Self = Self(0);
    /// A subset was read.
    pub const SAMPLED: Self = Self(1);
    /// Everything was read.
    pub const READ: Self = Self(2);
}

/// Something that is wrong. At most one is open per cluster, copy, scope and code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Incident {
    /// Its identity, a UUID version 7.
    #[schemars(with = "String")]
    pub id: Uuid,
    /// The cluster; may be empty.
    pub cluster: String,
    /// Which copy; may be empty.
    pub copy: String,
    /// What noticed it.
    pub kind: IncidentKind,
    /// Which of several that look at the same copy, such as a drill's definition; else empty.
    pub scope: String,
    /// The finding's code.
    pub code: String,
    /// How much it matters.
    pub severity: Severity,
    /// The first object that it concerns.
    pub object: String,
    /// What was seen, in one sentence.
    pub message: String,
    /// How many findings of the code the newest run had that saw it.
    pub count: u64,
    /// The least depth at which it was seen: a run of this depth or deeper that does not
    /// find it closes it.
    pub depth: DepthRank,
    /// Since when.
    pub opened_at: DateTime<Utc>,
    /// When it was seen last.
    pub last_seen_at: DateTime<Utc>,
    /// Since when it is no longer so.
    pub closed_at: Option<DateTime<Utc>>,
    /// The ledger's entry that opened it.
    pub opened_by: Option<u64>,
    /// The ledger's entry that closed it.
    pub closed_by: Option<u64>,
}

/// An incident that the daemon itself opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewIncident {
    /// The cluster; may be empty.
    pub cluster: String,
    /// Which copy; may be empty.
    pub copy: String,
    /// What noticed it.
    pub kind: IncidentKind,
    /// Which of several; may be empty.
    pub scope: String,
    /// Its code.
    pub code: String,
    /// How much it matters.
    pub severity: Severity,
    /// What it concerns.
    pub object: String,
    /// What was seen, in one sentence.
    pub message: String,
    /// The ledger's entry that says so.
    pub by: Option<u64>,
}

/// Which incident: at most one of them is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncidentKey {
    /// The cluster; may be empty.
    pub cluster: String,
    /// Which copy; may be empty.
    pub copy: String,
    /// Which of several; may be empty.
    pub scope: String,
    /// Its code.
    pub code: String,
}

impl From<&Incident> for IncidentKey {
    fn from(incident: &Incident) -> Self {
        Self {
            cluster: incident.cluster.clone(),
            copy: incident.copy.clone(),
            scope: incident.scope.clone(),
            code: incident.code.clone(),
        }
    }
}

impl From<&Incident> for ClosedIncident {
    fn from(incident: &Incident) -> Self {
        Self {
            id: incident.id,
            code: incident.code.clone(),
            severity: incident.severity,
            opened_at: incident.opened_at,
            opened_by: incident.opened_by,
        }
    }
}

/// The incidents that an entry of the daemon's own opens and closes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IncidentChanges {
    /// Those that are so from now on. Which entry says so is filled in.
    pub opens: Vec<NewIncident>,
    /// Those that are no longer so. Each is closed if it is open.
    pub closes: Vec<IncidentKey>,
}

/// Something that happened to an incident. Numbered from 1 without gaps, in the order in
/// which it became visible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncidentEvent {
    /// Its number.
    pub number: u64,
    /// What happened.
    pub change: IncidentChange,
    /// When.
    pub at: DateTime<Utc>,
    /// The incident as it stands now.
    pub incident: Incident,
}

/// What to show of incidents. Everything that is left out does not narrow it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IncidentFilter {
    /// This cluster.
    pub cluster: Option<String>,
    /// This copy.
    pub copy: Option<String>,
    /// This code.
    pub code: Option<String>,
    /// Only those that were opened or closed at or after this moment, or are open.
    pub since: Option<DateTime<Utc>>,
    /// At most this many, newest first; 10,000 when 0.
    pub limit: u32,
}
