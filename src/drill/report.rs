//! The report of a drill: `walproof.drill/v1`.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::checks::CheckResult;
use super::course::Trouble;
use super::environments::cnpg::KubernetesReport;
use super::environments::local::SweepReport;
use super::facts::LogFacts;
use super::neutral::SafetyReport;
use super::phases::PhaseTiming;
use super::plan::DrillPlan;
use super::proof::EndProof;
use super::verdict::{Objective, Reason};
use crate::evidence::Verdict;
use crate::finding::Finding;
use crate::repository::Alone;
use crate::restore::{FetchedArchive, WalServerLog};
use crate::verify::CommitPoint;

/// The name and version of the report's format.
pub const SCHEMA: &str = "walproof.drill/v1";

/// Why a drill did not come to its own end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// It did: every phase was passed.
    Complete,
    /// Something was wrong with the backup.
    Failed,
    /// Something could not be done here.
    Unproven,
    /// It would not have been safe.
    Refused,
    /// Somebody asked to stop.
    Interrupted,
}

/// What was measured. Times are in milliseconds; detection, decision and name service
/// changes are not part of any.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Measurements {
    /// The newest transaction that was recovered, by the WAL.
    pub recovery_point: Option<CommitPoint>,
    /// The moment of the assumed loss (a drill to the tip) or the target (a moment).
    pub declared_loss: Option<DateTime<Utc>>,
    /// From the recovery point to the declared loss.
    pub recovery_point_achieved: Option<u64>,
    /// The newest row of the heartbeat table, where one was read.
    pub newest_heartbeat: Option<DateTime<Utc>>,
    /// From the drill's begin to the first answer of the promoted server.
    pub time_to_service: Option<u64>,
    /// From the drill's begin until all checks had passed.
    pub time_to_verified: Option<u64>,
    /// The whole drill.
    pub total: u64,
    /// Stored bytes of the base backup that were fetched.
    pub base_bytes_fetched: u64,
    /// Bytes of files that were written from it.
    pub base_bytes_written: u64,
    /// Segments and history files that recovery was given.
    pub wal_files_served: u64,
    /// Decoded bytes of them.
    pub wal_bytes_served: u64,
    /// Bytes of WAL between begin and end of replay.
    pub wal_bytes_replayed: u64,
    /// Commits replayed.
    pub commits_replayed: Option<u64>,
}

/// Where the drill ran and what is left of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct EnvironmentReport {
    /// Where it ran: `local` or `cnpg`.
    pub kind: String,
    /// What the restored server called itself.
    pub server_version: Option<String>,
    /// Whether the kernel confirmed that the server had no network, or, in Kubernetes, every
    /// connection that was tried from its pod was refused; `None` when it is not known.
    pub network_isolated: Option<bool>,
    /// Whether the credentials that the drill was given can write to the repository; `None`
    /// when nobody tried (`--probe-write`).
    pub repository_writable: Option<bool>,
    /// Whether the server flushed to disk (`fsync`); without, times are too good.
    pub fsync: bool,
    /// Whether everything that the drill made is gone.
    pub removed: bool,
    /// What earlier, dead drills had left and was removed at the begin.
    pub swept: SweepReport,
    /// Files kept: the server log and the plan.
    pub kept: Vec<PathBuf>,
    /// What there is to say of a drill in Kubernetes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<KubernetesReport>,
}

impl EnvironmentReport {
    /// Whether nothing is left of the drill that was not asked for.
    pub fn is_cleaned_up(&self) -> bool {
        let kept = self
            .kubernetes
            .as_ref()
            .and_then(|report| report.kept_until);
        self.removed || kept.is_some()
    }
}

/// Everything a drill did, saw and concluded.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct DrillReport {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// The drill.
    #[schemars(with = "String")]
    pub id: Uuid,
    /// The definition's name.
    pub name: Option<String>,
    /// The cluster.
    pub cluster: Option<String>,
    /// Which of its copies was restored.
    pub copy: Option<String>,
    /// The repository's URL.
    pub repository: String,
    /// The target as it was asked for.
    pub target: String,
    /// Who asked.
    pub initiator: Option<String>,
    /// The version of walproof.
    pub walproof: String,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it was over.
    pub finished_at: DateTime<Utc>,
    /// The verdict.
    pub verdict: Verdict,
    /// Why it is not `proven`, the weightiest first.
    pub reasons: Vec<Reason>,
    /// Whether it came to its own end.
    pub ending: Ending,
    /// What kept it from its own end, where that was nothing about the backup.
    #[serde(skip)]
    pub trouble: Option<Trouble>,
    /// What it was to do; absent when it stopped before that was known.
    pub plan: Option<DrillPlan>,
    /// The phases; their times add up to the total.
    pub phases: Vec<PhaseTiming>,
    /// The proof of the end of recovery.
    pub proof: EndProof,
    /// The confinement of the server, as asked back from it.
    pub safety: SafetyReport,
    /// The checks.
    pub checks: Vec<CheckResult>,
    /// Everything that was found.
    pub findings: Vec<Finding>,
    /// What was measured.
    pub measurements: Measurements,
    /// The recovery point objective.
    pub rpo: Objective,
    /// The recovery time objective.
    pub rto: Objective,
    /// What the server's log said of the recovery; never a proof.
    pub log: LogFacts,
    /// The last lines of that log; at most 16 KiB.
    pub log_tail: String,
    /// The archives of the base backup, with the digests of what was read.
    pub archives: Vec<FetchedArchive>,
    /// The WAL that recovery was given, with digests, and what it was refused.
    pub wal: WalServerLog,
    /// What was read from where, and whether any other copy of the cluster could be reached
    /// meanwhile.
    pub alone: Alone,
    /// Where it ran.
    pub environment: EnvironmentReport,
    /// What this report does not prove.
    pub limits: Vec<String>,
}

impl DrillReport {
    /// The exit code of the command line: 0 proven, 1 failed, 3 unproven, or proven and
    /// something of the drill is left that should be gone, 4 refused, 130 interrupted.
    pub fn exit_code(&self) -> u8 {
        exit_code(self.ending, self.verdict, self.environment.is_cleaned_up())
    }
}

const fn exit_code(ending: Ending, verdict: Verdict, is_cleaned_up: bool) -> u8 {
    match (ending, verdict) {
        (Ending::Interrupted, _) => 130,
        (Ending::Refused, _) => 4,
        (_, Verdict::Proven) if is_cleaned_up => 0,
        (_, Verdict::Failed) => 1,
        (_, Verdict::Proven | Verdict::Unproven) => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drill_that_left_something_behind_does_not_end_well() {
        let (kept, left) = (KubernetesReport::default(), KubernetesReport::default());
        let kept = KubernetesReport {
            kept_until: Some(Utc::now()),
            ..kept
        };
        for (removed, kubernetes, expected) in [
            (true, None, true),
            (true, Some(left.clone()), true),
            (false, None, false),
            (false, Some(left), false),
            // Somebody asked for it.
            (false, Some(kept), true),
        ] {
            let environment = EnvironmentReport {
                removed,
                kubernetes,
                ..EnvironmentReport::default()
            };
            assert_eq!(environment.is_cleaned_up(), expected, "{environment:?}");
        }
        let complete = |verdict, clean| exit_code(Ending::Complete, verdict, clean);
        assert_eq!(complete(Verdict::Proven, true), 0);
        assert_eq!(complete(Verdict::Proven, false), 3);
        // What is wrong with the backup goes before.
        assert_eq!(complete(Verdict::Failed, false), 1);
        assert_eq!(complete(Verdict::Unproven, true), 3);
        assert_eq!(
            exit_code(Ending::Interrupted, Verdict::Unproven, false),
            130
        );
        assert_eq!(exit_code(Ending::Refused, Verdict::Unproven, false), 4);
    }
}
