//! What the entry of a drill says, and which record it vouches for.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{ClosedIncident, OpenedIncident, RunBody, cut};
use crate::evidence::{DrillRecord, ObjectiveRecord, RecordFile};

/// The drill record that an entry vouches for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecordReference {
    /// The record's identity.
    #[schemars(with = "String")]
    pub id: Uuid,
    /// The name of its file.
    pub file: String,
    /// SHA-256 of its text, lower-case hexadecimal.
    #[schemars(regex(pattern = "^[0-9a-f]{64}$"))]
    pub sha256: String,
}

/// How long a phase took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PhaseTime {
    /// Its name: admit, provision, fetch-base, …
    pub name: String,
    /// How long it took.
    pub duration_ms: u64,
}

/// A drill that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DrillBody {
    /// The run.
    pub run: RunBody,
    /// The drill record; `null` when the drill did not come as far as one.
    pub record: Option<RecordReference>,
    /// Where the repository lies. Never with credentials.
    #[serde(default)]
    pub location: String,
    /// The drill definition's name; `plain` without one.
    #[serde(default)]
    pub definition: String,
    /// The target that was asked for.
    #[serde(default)]
    pub target: String,
    /// The base backup that was restored.
    #[serde(default)]
    pub backup_id: Option<String>,
    /// The phases in order.
    #[serde(default)]
    pub phases: Vec<PhaseTime>,
    /// Start of recovery to the first successful query on the promoted server.
    #[serde(default)]
    pub time_to_service_ms: Option<u64>,
    /// Start of recovery to the end of all required checks.
    #[serde(default)]
    pub time_to_verified_ms: Option<u64>,
    /// From the newest recovered commit to the moment of loss, or to the target in time.
    #[serde(default)]
    pub recovery_point_ms: Option<u64>,
    /// Bytes fetched for the base backup, as stored.
    #[serde(default)]
    pub base_bytes_fetched: u64,
    /// Bytes of WAL replayed.
    #[serde(default)]
    pub wal_bytes_replayed: u64,
    /// The objectives and whether they were met.
    #[serde(default)]
    pub objectives: Vec<ObjectiveRecord>,
    /// Incidents that it opened.
    #[serde(default)]
    pub opened: Vec<OpenedIncident>,
    /// Incidents that it closed.
    #[serde(default)]
    pub closed: Vec<ClosedIncident>,
}

impl DrillBody {
    /// A drill that did not come as far as a record.
    pub fn without_record(run: RunBody, location: String, definition: String) -> Self {
        Self {
            run,
            record: None,
            location,
            definition,
            target: String::new(),
            backup_id: None,
            phases: Vec::new(),
            time_to_service_ms: None,
            time_to_verified_ms: None,
            recovery_point_ms: None,
            base_bytes_fetched: 0,
            wal_bytes_replayed: 0,
            objectives: Vec::new(),
            opened: Vec::new(),
            closed: Vec::new(),
        }
    }

    /// The drill that a record tells of; `file` is the record as it is kept.
    pub fn of_record(run: RunBody, record: &DrillRecord, file: &RecordFile) -> Self {
        let measured = &record.measurements;
        Self {
            record: Some(RecordReference {
                id: record.id,
                file: file.name.clone(),
                sha256: file.sha256.clone(),
            }),
            target: cut(&record.target.asked),
            backup_id: record
                .source
                .backup
                .as_ref()
                .map(|backup| backup.id.clone()),
            phases: record
                .phases
                .iter()
                .map(|phase| PhaseTime {
                    name: phase.name.clone(),
                    duration_ms: phase.duration_ms,
                })
                .collect(),
            time_to_service_ms: measured.time_to_service_ms,
            time_to_verified_ms: measured.time_to_verified_ms,
            recovery_point_ms: measured.recovery_point_ms,
            base_bytes_fetched: measured.base_bytes_fetched,
            wal_bytes_replayed: measured.wal_bytes_replayed,
            objectives: record.objectives.clone(),
            ..Self::without_record(
                run,
                record.source.location.to_string(),
                record.due.definition.clone(),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::ledger::Asked;
    use crate::evidence::sample;

    #[test]
    fn a_drill_vouches_for_the_bytes_of_its_record() {
        let record = sample();
        let file = RecordFile::new(&record).unwrap();
        let run = RunBody::new(
            Asked::default(),
            (record.started_at, record.finished_at),
            Some(record.verdict),
            0,
            "tip",
            &record.findings,
        );
        let body = DrillBody::of_record(run, &record, &file);
        let reference = body.record.unwrap();
        assert_eq!(
            reference.sha256,
            crate::evidence::sha256_hex(file.text.as_bytes())
        );
        assert_eq!(reference.file, file.name);
        assert_eq!(body.objectives, record.objectives);
        assert_eq!(body.phases.len(), record.phases.len());
    }
}
