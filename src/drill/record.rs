//! From a drill's report to the record that outlives it.

use std::fmt::Write as _;

use uuid::Uuid;

use super::phases::PhaseTiming;
use super::plan::DrillPlan;
use super::proof::ProofState;
use super::report::{DrillReport, Ending};
use super::verdict::{Objective, ObjectiveState};
use crate::evidence::{
    BackupRecord, CheckRecord, Cleanup, CommitRecord, DRILL_RECORD_SCHEMA, Digest, DrillRecord,
    Due, EndOfRecovery, EnvironmentRecord, Measurements, ObjectiveOutcome, ObjectiveRecord,
    PhaseOutcome, PhaseRecord, ResolvedTargetRecord, SourceRecord, TargetRecord, Tool,
    WalRangeRecord, standing_limits,
};
use crate::finding::{Code, Finding};
use crate::postgres::SegmentName;
use crate::storage::Location;
use crate::verify::CommitPoint;

/// Up to so many segments are listed one by one; of more, one digest over the list.
const LISTED_SEGMENTS: usize = 256;

/// What a report does not know: who asked for what, and why.
#[derive(Clone, Debug)]
pub struct RecordContext {
    /// The run in the state database.
    pub run_id: Uuid,
    /// What was due, and who asked.
    pub due: Due,
    /// The cluster's name.
    pub cluster: String,
    /// Its owner.
    pub owner: Option<String>,
    /// Its tier.
    pub tier: Option<String>,
    /// Which copy; empty for a bare URL.
    pub copy: String,
    /// Where it lies.
    pub location: Location,
    /// The target as it was asked for.
    pub asked: String,
    /// Where the limits come from: `tier gold`, `command line`.
    pub objectives_set_by: String,
    /// The machine's name.
    pub host: String,
    /// Digests of the logs that were kept.
    pub logs: Vec<Digest>,
}

/// The record of a drill. It holds no row, no query's output and no secret.
pub fn record(report: &DrillReport, context: RecordContext) -> DrillRecord {
    let plan = report.plan.as_ref();
    let mut limits = standing_limits();
    limits.extend(
        report
            .limits
            .iter()
            .filter(|limit| !standing_limits().contains(limit))
            .cloned(),
    );
    DrillRecord {
        schema: DRILL_RECORD_SCHEMA.to_owned(),
        id: report.id,
        run_id: context.run_id,
        tool: Tool::this(),
        due: context.due,
        source: SourceRecord {
            cluster: context.cluster,
            owner: context.owner,
            tier: context.tier,
            copy: context.copy,
            location: context.location,
            system_id: plan.and_then(|plan| plan.expected_end.system_id),
            postgresql_version: plan.and_then(|plan| plan.backup.server_version),
            backup: plan.map(backup),
            metadata: metadata(report),
            wal: plan.and_then(|plan| wal(report, plan)),
        },
        environment: environment(report, context.host),
        target: TargetRecord {
            asked: context.asked,
            resolved: plan.map(resolved),
        },
        end_of_recovery: plan.and_then(|plan| end(report, plan)),
        phases: report
            .phases
            .iter()
            .map(|timing| phase(timing, report))
            .collect(),
        checks: checks(report),
        measurements: measurements(report),
        objectives: [("rpo", &report.rpo), ("rto", &report.rto)]
            .into_iter()
            .filter_map(|(name, measured)| objective(name, measured, &context.objectives_set_by))
            .collect(),
        verdict: report.verdict,
        reasons: report
            .reasons
            .iter()
            .map(|reason| without_values(&reason.text))
            .collect(),
        findings: report.findings.iter().map(without_answer).collect(),
        logs: context.logs,
        limits,
        cleanup: Cleanup {
            complete: report.environment.removed,
            left: if report.environment.removed {
                Vec::new()
            } else {
                plan.map(|plan| plan.environment.scratch.display().to_string())
                    .into_iter()
                    .collect()
            },
            verified_at: report.finished_at,
        },
        started_at: report.started_at,
        finished_at: report.finished_at,
    }
}

/// A reason without what a server said in its own words, which may repeat a value: only
/// the SQLSTATE stays.
fn without_values(text: &str) -> String {
    let Some((said, code)) = text.rsplit_once(" (SQLSTATE ") else {
        return text.to_owned();
    };
    // "check `name`: …" keeps its beginning.
    let head = said
        .split_once("`: ")
        .map_or_else(String::new, |(head, _)| format!("{head}`: "));
    let code = code.get(..5).unwrap_or("unknown");
    format!("{head}the query failed with SQLSTATE {code}")
}

/// A check's finding tells what was seen, which may be a row; the record does without.
fn without_answer(finding: &Finding) -> Finding {
    let mut finding = finding.clone();
    if finding.code == Code::CheckFailed {
        "the check failed; the report tells what was seen".clone_into(&mut finding.message);
    }
    finding
}

fn backup(plan: &DrillPlan) -> BackupRecord {
    let backup = &plan.backup;
    BackupRecord {
        id: backup.id.clone(),
        begin_time: backup.begin_time,
        end_time: backup.end_time,
        begin_lsn: Some(backup.begin_lsn),
        end_lsn: backup.end_lsn,
        timeline: plan
            .wal
            .files
            .segments
            .first()
            .map(|stretch| stretch.timeline),
        stored_bytes: backup.stored_bytes,
    }
}

/// The description of the backup, its archives, and the history files that were served.
fn metadata(report: &DrillReport) -> Vec<Digest> {
    let description = report.plan.as_ref().and_then(|plan| {
        Some(Digest {
            name: plan.backup.info_key.clone(),
            bytes: plan.backup.info_bytes?,
            sha256: plan.backup.info_sha256.clone()?,
        })
    });
    let archives = report.archives.iter().map(|archive| Digest {
        name: archive.key.clone(),
        bytes: archive.bytes,
        sha256: archive.sha256.clone(),
    });
    let histories = report
        .wal
        .served
        .iter()
        .filter(|file| file.name.parse::<SegmentName>().is_err())
        .map(|file| Digest {
            name: file.key.clone(),
            bytes: file.bytes,
            sha256: file.sha256.clone(),
        });
    description
        .into_iter()
        .chain(archives)
        .chain(histories)
        .collect()
}

/// The WAL as it was given to recovery: what was asked for and served, not what was meant.
fn wal(report: &DrillReport, plan: &DrillPlan) -> Option<WalRangeRecord> {
    let mut segments: Vec<_> = report
        .wal
        .served
        .iter()
        .filter(|file| file.name.parse::<SegmentName>().is_ok())
        .collect();
    segments.sort_by(|one, other| one.name.get(8..).cmp(&other.name.get(8..)));
    segments.dedup_by(|one, other| one.name == other.name);
    let (first, last) = (segments.first()?, segments.last()?);
    let digests = if segments.len() <= LISTED_SEGMENTS {
        segments
            .iter()
            .map(|file| Digest {
                name: file.name.clone(),
                bytes: file.bytes,
                sha256: file.sha256.clone(),
            })
            .collect()
    } else {
        let list = segments.iter().fold(String::new(), |mut list, file| {
            let _ = writeln!(list, "{}  {}", file.sha256, file.name);
            list
        });
        vec![Digest::of(
            "list of `<sha256>  <segment>` lines",
            list.as_bytes(),
        )]
    };
    Some(WalRangeRecord {
        first_segment: first.name.clone(),
        last_segment: last.name.clone(),
        timeline: plan.expected_end.timeline,
        begin_lsn: plan.backup.begin_lsn,
        end_lsn: report.proof.observed_end.unwrap_or(plan.expected_end.end),
        segments: segments.len() as u64,
        digests,
    })
}

fn environment(report: &DrillReport, host: String) -> EnvironmentRecord {
    let mut confinement: Vec<String> = report
        .safety
        .items
        .iter()
        .map(|item| {
            format!(
                "{}: {}",
                item.name,
                item.observed.as_deref().unwrap_or("no answer")
            )
        })
        .collect();
    confinement.push(match report.environment.network_isolated {
        Some(true) => "network: none".to_owned(),
        Some(false) => "network: the machine's".to_owned(),
        None => "network: unknown".to_owned(),
    });
    EnvironmentRecord {
        kind: report
            .plan
            .as_ref()
            .map_or_else(|| "local".to_owned(), |plan| plan.environment.kind.clone()),
        host,
        postgresql: report.environment.server_version.clone(),
        confinement,
    }
}

fn commit(point: CommitPoint) -> CommitRecord {
    CommitRecord {
        lsn: point.lsn,
        xid: point.xid,
        time: point.time,
    }
}

fn resolved(plan: &DrillPlan) -> ResolvedTargetRecord {
    let end = &plan.expected_end;
    ResolvedTargetRecord {
        timeline: end.timeline,
        stop_lsn: end.stop_record,
        end_lsn: end.end,
        last_commit: end.recovery_point.map(commit),
        next_commit: end.next_commit.map(commit),
    }
}

/// Nothing when no server was ever asked.
fn end(report: &DrillReport, plan: &DrillPlan) -> Option<EndOfRecovery> {
    if report.proof.items.is_empty() {
        return None;
    }
    let expected = &plan.expected_end;
    let expected_commit_time = expected.recovery_point.map(|point| point.time);
    let committed = report
        .proof
        .items
        .iter()
        .any(|item| item.name == "last-commit" && item.holds == Some(true));
    Some(EndOfRecovery {
        expected_lsn: expected.end,
        reached_lsn: report.proof.observed_end,
        expected_commit_time,
        reached_commit_time: expected_commit_time.filter(|_| committed),
        agrees: report.proof.state == ProofState::Held,
    })
}

fn phase(timing: &PhaseTiming, report: &DrillReport) -> PhaseRecord {
    PhaseRecord {
        name: serde_json::to_value(timing.phase)
            .ok()
            .and_then(|name| name.as_str().map(str::to_owned))
            .unwrap_or_else(|| timing.phase.words().to_owned()),
        started_at: timing.started_at,
        duration_ms: timing.milliseconds,
        outcome: match (timing.completed, report.ending) {
            (true, _) => PhaseOutcome::Done,
            (false, Ending::Complete | Ending::Failed | Ending::Unproven) => PhaseOutcome::Failed,
            (false, Ending::Refused | Ending::Interrupted) => PhaseOutcome::NotReached,
        },
    }
}

fn checks(report: &DrillReport) -> Vec<CheckRecord> {
    report
        .checks
        .iter()
        .map(|check| CheckRecord {
            name: check.name.clone(),
            kind: check.kind.clone(),
            expected: check.expected.clone(),
            verdict: check.outcome.into(),
            // What was observed may be a row, so only the outcome is told.
            message: check.outcome.as_str().to_owned(),
            duration_ms: check.milliseconds,
        })
        .collect()
}

fn measurements(report: &DrillReport) -> Measurements {
    let measured = &report.measurements;
    Measurements {
        time_to_service_ms: measured.time_to_service,
        time_to_verified_ms: measured.time_to_verified,
        total_ms: measured.total,
        lost_at: measured.declared_loss,
        recovered_to: measured.recovery_point.map(|point| point.time),
        recovery_point_ms: measured.recovery_point_achieved,
        base_bytes_fetched: measured.base_bytes_fetched,
        base_bytes_restored: measured.base_bytes_written,
        wal_bytes_replayed: measured.wal_bytes_replayed,
    }
}

fn objective(name: &str, measured: &Objective, set_by: &str) -> Option<ObjectiveRecord> {
    let outcome = match measured.state {
        ObjectiveState::Met => ObjectiveOutcome::Met,
        ObjectiveState::Missed => ObjectiveOutcome::Missed,
        ObjectiveState::NotMeasured | ObjectiveState::NotApplicable => {
            ObjectiveOutcome::NotMeasured
        }
        ObjectiveState::NotSet => return None,
    };
    Some(ObjectiveRecord {
        name: name.to_owned(),
        limit_ms: measured.limit_milliseconds?,
        set_by: set_by.to_owned(),
        actual_ms: measured.actual_milliseconds,
        method: measured.method.clone(),
        outcome,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_said_or_showed_does_not_get_into_a_record() {
        assert_eq!(
            without_values("check `cards`: bad integer \"4111\" (x) (SQLSTATE 22P02)"),
            "check `cards`: the query failed with SQLSTATE 22P02"
        );
        assert_eq!(
            without_values("bad integer \"4111\" (SQLSTATE 22P02)"),
            "the query failed with SQLSTATE 22P02"
        );
        assert_eq!(
            without_values("check `x`: the rows differ"),
            "check `x`: the rows differ"
        );
        let seen = Finding::new(Code::CheckFailed, "cards", "the value differs (seen: 4111)");
        assert!(!without_answer(&seen).message.contains("4111"));
        let gap = Finding::new(Code::WalGap, "000000010000000000000007", "one is missing");
        assert_eq!(without_answer(&gap), gap);
    }
}
