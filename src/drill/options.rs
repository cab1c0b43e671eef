//! What a drill is asked to do.

use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::checks::CheckDefinition;
use super::environments::cnpg::CnpgOptions;
use super::environments::local::LocalOptions;
use crate::postgres::TimelineId;
use crate::repository::AloneOptions;
use crate::restore::{BackupChoice, Target};

/// The time limit of a drill unless its definition says otherwise.
pub const DEFAULT_LIMIT: Duration = Duration::from_hours(6);

/// Limits that a drill is judged by. `None`: not judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Objectives {
    /// At most this much may be lost.
    pub rpo: Option<Duration>,
    /// It must be back within this time.
    pub rto: Option<Duration>,
}

/// Where a drill restores, and how.
#[derive(Clone, Debug)]
pub enum EnvironmentOptions {
    /// PostgreSQL's programs on this machine.
    Local(LocalOptions),
    /// A recovery Cluster of CloudNativePG in Kubernetes.
    Cnpg(Box<CnpgOptions>),
}

impl EnvironmentOptions {
    /// The word for it.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Local(_) => "local",
            Self::Cnpg(_) => "cnpg",
        }
    }
}

/// What a drill is asked to do.
#[derive(Clone, Debug)]
pub struct DrillOptions {
    /// The drill's identity.
    pub id: Uuid,
    /// The definition's name.
    pub name: Option<String>,
    /// The cluster's name.
    pub cluster: Option<String>,
    /// Which of the cluster's copies this repository is.
    pub copy: Option<String>,
    /// The cluster's other copies, and whether they must be out of reach.
    pub alone: AloneOptions,
    /// Who asked for it.
    pub initiator: Option<String>,
    /// The base backup.
    pub backup: BackupChoice,
    /// How far.
    pub target: Target,
    /// The timeline to follow; the current one if not given.
    pub timeline: Option<TimelineId>,
    /// Where it restores.
    pub environment: EnvironmentOptions,
    /// The questions, beside the built-in one whether every database opens.
    pub checks: Vec<CheckDefinition>,
    /// What it is judged by.
    pub objectives: Objectives,
    /// The moment of the assumed loss; the drill's begin if not given.
    pub lost_at: Option<DateTime<Utc>>,
    /// The drill is given up after this time.
    pub limit: Duration,
    /// Where the server log and the plan are kept; nowhere if not given.
    pub keep: Option<PathBuf>,
    /// Stops before anything is made where something is gravely wrong on the way to the target:
    /// it could not be proven, and nobody waits for it then. A drill restores all the same.
    pub only_whole: bool,
}

impl Default for DrillOptions {
    /// A drill to the archive tip with the built-in check alone.
    fn default() -> Self {
        Self {
            id: Uuid::now_v7(),
            name: None,
            cluster: None,
            copy: None,
            alone: AloneOptions::default(),
            initiator: None,
            backup: BackupChoice::default(),
            target: Target::default(),
            timeline: None,
            environment: EnvironmentOptions::Local(LocalOptions::default()),
            checks: Vec::new(),
            objectives: Objectives::default(),
            lost_at: None,
            limit: DEFAULT_LIMIT,
            keep: None,
            only_whole: false,
        }
    }
}
