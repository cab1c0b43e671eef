//! Where a copy stands by its newest drill.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::verify::{FindingTally, tally};
use crate::drill::verdict::{Objective, ObjectiveState};
use crate::drill::{DrillReport, Ending};
use crate::evidence::Verdict;

/// How many reasons are kept.
const REASONS: usize = 3;
/// How much of each, in characters.
const REASON: usize = 250;

/// A phase of a drill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PhaseStanding {
    /// Its name, such as `fetch-base`.
    pub phase: String,
    /// How long it took.
    pub ms: u64,
    /// Whether it came to its end.
    pub completed: bool,
}

/// An objective and what was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ObjectiveStanding {
    /// The limit in milliseconds.
    #[serde(default)]
    pub limit_ms: Option<u64>,
    /// What was measured, in milliseconds.
    #[serde(default)]
    pub actual_ms: Option<u64>,
    /// What came of it.
    #[serde(default)]
    pub state: ObjectiveState,
}

impl From<&Objective> for ObjectiveStanding {
    fn from(objective: &Objective) -> Self {
        Self {
            limit_ms: objective.limit_milliseconds,
            actual_ms: objective.actual_milliseconds,
            state: objective.state,
        }
    }
}

/// The newest drill that proved a copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProofStanding {
    /// The URL of what was restored. A proof of another place is none of this one.
    #[serde(default)]
    pub location: String,
    /// When it began: what was archived later is not part of it.
    pub at: DateTime<Utc>,
    /// Its run.
    #[schemars(with = "String")]
    pub run_id: Uuid,
}

/// Where a copy stands by its newest drill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DrillStanding {
    /// The verdict.
    pub verdict: Verdict,
    /// Whether it came to its own end.
    pub ending: Ending,
    /// Why it is not `proven`, the weightiest first; the first few, cut short.
    #[serde(default)]
    pub reasons: Vec<String>,
    /// The definition's name.
    #[serde(default)]
    pub definition: Option<String>,
    /// The target as it was asked for.
    #[serde(default)]
    pub target: String,
    /// The base backup that was restored.
    #[serde(default)]
    pub backup_id: Option<String>,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: DateTime<Utc>,
    /// Its phases, in order; their times add up to `total_ms`.
    #[serde(default)]
    pub phases: Vec<PhaseStanding>,
    /// The whole drill.
    #[serde(default)]
    pub total_ms: u64,
    /// Until the first answer of the promoted server.
    #[serde(default)]
    pub time_to_service_ms: Option<u64>,
    /// Until all checks had passed.
    #[serde(default)]
    pub time_to_verified_ms: Option<u64>,
    /// The newest transaction that was recovered.
    #[serde(default)]
    pub recovered_to: Option<DateTime<Utc>>,
    /// From there to the declared loss.
    #[serde(default)]
    pub recovery_point_ms: Option<u64>,
    /// The recovery point objective.
    #[serde(default)]
    pub rpo: ObjectiveStanding,
    /// The recovery time objective.
    #[serde(default)]
    pub rto: ObjectiveStanding,
    /// Stored bytes of the base backup that were fetched.
    #[serde(default)]
    pub base_bytes: u64,
    /// WAL replayed, in bytes.
    #[serde(default)]
    pub wal_bytes: u64,
    /// The room on disk that it was planned to need, in bytes: what a budget counts.
    #[serde(default)]
    pub scratch_bytes: Option<u64>,
    /// Whether it was proven without any other copy; `None` when nobody asked.
    #[serde(default)]
    pub alone: Option<bool>,
    /// What was found, by code.
    #[serde(default)]
    pub findings: BTreeMap<String, FindingTally>,
    /// The newest drill that proved this copy: this one, or one before.
    #[serde(default)]
    pub last_proven: Option<ProofStanding>,
}

impl DrillStanding {
    /// As it is kept; `None` when this version cannot read it.
    pub fn read(body: serde_json::Value) -> Option<Self> {
        serde_json::from_value(body).ok()
    }

    /// As it is kept, for a copy that lies at `location`: without what was proven of another
    /// place. `None` when this version cannot read it.
    pub fn read_at(body: serde_json::Value, location: &str) -> Option<Self> {
        Self::read(body).map(|standing| standing.of_place(location))
    }

    /// Without what was proven of another place than `location`.
    #[must_use]
    pub fn of_place(mut self, location: &str) -> Self {
        self.last_proven = self.last_proven.filter(|proof| proof.location == location);
        self
    }

    /// Where a copy at `location` stands by this report; `before` is what the drills before
    /// it proved of the same place.
    pub fn of(report: &DrillReport, location: &str, before: Option<ProofStanding>) -> Self {
        let own = (report.verdict == Verdict::Proven).then(|| ProofStanding {
            location: location.to_owned(),
            at: report.started_at,
            run_id: report.id,
        });
        let plan = report.plan.as_ref();
        let measured = &report.measurements;
        Self {
            verdict: report.verdict,
            ending: report.ending,
            reasons: report
                .reasons
                .iter()
                .take(REASONS)
                .map(|reason| {
                    let words = crate::drill::record::without_values(&reason.text);
                    words.chars().take(REASON).collect()
                })
                .collect(),
            definition: report.name.clone(),
            target: plan.map_or_else(|| report.target.clone(), |plan| plan.target.clone()),
            backup_id: plan.map(|plan| plan.backup.id.clone()),
            started_at: report.started_at,
            finished_at: report.finished_at,
            phases: report
                .phases
                .iter()
                .map(|timing| PhaseStanding {
                    phase: timing.phase.as_str().to_owned(),
                    ms: timing.milliseconds,
                    completed: timing.completed,
                })
                .collect(),
            total_ms: measured.total,
            time_to_service_ms: measured.time_to_service,
            time_to_verified_ms: measured.time_to_verified,
            recovered_to: measured.recovery_point.map(|point| point.time),
            recovery_point_ms: measured.recovery_point_achieved,
            rpo: (&report.rpo).into(),
            rto: (&report.rto).into(),
            base_bytes: measured.base_bytes_fetched,
            wal_bytes: measured.wal_bytes_replayed,
            scratch_bytes: plan.map(|plan| plan.environment.room_needed()),
            alone: report.alone.holds,
            findings: tally(&report.findings),
            last_proven: own.or(before),
        }
    }
}
