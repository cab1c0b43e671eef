//! Schedules: what the daemon runs, when, for whom.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::name::Name;
use super::{CalendarSpan, CronExpression, Period, VerificationDepth, Zone};

/// Work that comes again and again: `walproof daemon` runs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// The schedule's name, unique among all schedules.
    #[schemars(with = "Name")]
    pub name: String,
    /// What is run.
    pub job: ScheduledJob,
    /// When: five fields as in crontab(5), six with seconds first, or `@daily`.
    pub cron: CronExpression,
    /// The zone in which `cron` and `blackout` are read. Default: the file's `time_zone`.
    #[serde(default)]
    pub time_zone: Option<Zone>,
    /// Only these clusters, by name. Default: every cluster.
    #[serde(default)]
    pub clusters: Option<Vec<String>>,
    /// Only clusters of these tiers. Default: every tier, and those without one.
    #[serde(default)]
    pub tiers: Option<Vec<String>>,
    /// Only these copies. Default: `verify` looks at all, `replicate` makes all replicas,
    /// `drill` restores from the primary or as its definition says, `capture` stores beside
    /// every replica.
    #[serde(default)]
    pub copies: Option<Vec<String>>,
    /// Each cluster starts at most this much after it is due, always by the same share of
    /// it, so that starts spread. Default: none.
    #[serde(default)]
    pub jitter: Option<Period>,
    /// Nothing is started within these; it is put off to their end.
    #[serde(default)]
    pub blackout: Vec<CalendarSpan>,
    /// Of `verify`: how deeply. Default: as the cluster's tier says.
    #[serde(default)]
    pub depth: Option<VerificationDepth>,
    /// Of `drill`: the definition's name. Default: every definition that names the cluster,
    /// else a plain drill to the tip.
    #[serde(default)]
    pub drill: Option<String>,
    /// Of `report`: the stretch that it covers. Default: 1d.
    #[serde(default)]
    pub period: Option<Period>,
    /// What happens to what was due while the daemon was down.
    #[serde(default)]
    pub catch_up: CatchUp,
    /// What was not started this long after it was due is missed. Default: until it is due
    /// again.
    #[serde(default)]
    pub deadline: Option<Period>,
    /// 9 goes first. Default: `capture` 7, `replicate` 6, `verify` 5, `drill` 4, `report` 2.
    #[serde(default)]
    #[schemars(range(min = 0, max = 9))]
    pub priority: Option<u8>,
}

impl Schedule {
    /// The priority that holds, 0 to 9.
    pub fn priority(&self) -> u8 {
        self.priority.unwrap_or(match self.job {
            ScheduledJob::Replicate => 6,
            ScheduledJob::Verify => 5,
            ScheduledJob::Drill => 4,
            ScheduledJob::Report => 2,
            // It takes seconds, and a rebuild needs the newest.
            ScheduledJob::Capture => 7,
        })
    }

    /// Whether it is for a cluster of this name and tier.
    pub fn selects(&self, cluster: &str, tier: Option<&str>) -> bool {
        let named = self
            .clusters
            .as_ref()
            .is_none_or(|names| names.iter().any(|name| name == cluster));
        let ranked = self
            .tiers
            .as_ref()
            .is_none_or(|names| names.iter().any(|name| Some(name.as_str()) == tier));
        named && ranked
    }
}

/// What a schedule runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ScheduledJob {
    /// Verifications, one of each copy.
    Verify,
    /// Replicas made and kept up to date.
    Replicate,
    /// Drills.
    Drill,
    /// An export of the records, for the fleet.
    Report,
    /// What a rebuild needs besides data, captured and stored beside each replica.
    Capture,
}

impl ScheduledJob {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verify => "verify",
            Self::Replicate => "replicate",
            Self::Drill => "drill",
            Self::Report => "report",
            Self::Capture => "capture",
        }
    }
}

/// What happens to what was due while the daemon was down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CatchUp {
    /// The newest is run once, late; the others are recorded as missed.
    #[default]
    Once,
    /// All are recorded as missed.
    None,
}

/// How old the newest proof of each kind may get. What is older is overdue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Due {
    /// The newest verification of each copy.
    #[serde(default)]
    pub verify: Option<Period>,
    /// The newest replication of each replica.
    #[serde(default)]
    pub replicate: Option<Period>,
    /// The newest drill.
    #[serde(default)]
    pub drill: Option<Period>,
    /// The newest capture of the definition beside each replica, for a cluster whose place in
    /// Kubernetes is known.
    #[serde(default)]
    pub capture: Option<Period>,
}
