//! From a drill's report to the record that outlives it.
//!
//! A report may show values that a check saw; a record holds no row and no output of a
//! query, so what a server said in its own words is reduced to its SQLSTATE.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::checks::CheckResult;
use super::plan::DrillPlan;
use super::proof::EndProof;
use super::report::DrillReport;
use super::verdict::{Objective, ObjectiveState};
use crate::evidence::{
    BackupRecord, CheckRecord, Cleanup, CommitRecord, DRILL_RECORD_SCHEMA, Digest, DrillRecord,
    Due, EndOfRecovery, EnvironmentRecord, Measurements, ObjectiveOutcome, ObjectiveRecord,
    PhaseOutcome, PhaseRecord, ResolvedTargetRecord, SourceRecord, TargetRecord, Tool, Trigger,
    WalRangeRecord, standing_limits,
};
use crate::finding::{Code, Finding};
use crate::storage::Location;
use crate::verify::CommitPoint;

/// Above this many files of WAL one digest of their list stands for all.
const DIGESTS: usize = 64;

/// What a record says that a report does not know.
#[derive(Clone, Debug)]
pub struct RecordContext {
    /// The run in the state database.
    pub run_id: Uuid,
    /// SHA-256 of the definition as it was run.
    pub definition_sha256: Option<String>,
    /// Why the drill was run.
    pub trigger: Trigger,
    /// Who asked.
    pub initiator: String,
    /// When it was due.
    pub due_at: DateTime<Utc>,
    /// The cluster's owner.
    pub owner: Option<String>,
    /// The cluster's tier.
    pub tier: Option<String>,
    /// Where the repository lies.
    pub location: Location,
    /// The version of the source, such as 150018.
    pub server_version: Option<u32>,
    /// The machine's name.
    pub host: String,
    /// Where each limit comes from, by `rpo` and `rto`.
    pub set_by: BTreeMap<String, String>,
    /// Digests of the logs that were kept.
    pub logs: Vec<Digest>,
}

/// A text without what a server said in its own words.
pub(crate) fn without_values(text: &str) -> String {
    let Some((said, code)) = text.rsplit_once(" (SQLSTATE ") else {
        return text.to_owned();
    };
    // "check `name`: …" keeps its beginning.
    let head = said
        .split_once("`: ")
        .map_or(String::new(), |(head, _)| format!("{head}`: "));
    let code = code.get(..5).unwrap_or("unknown");
    format!("{head}the query failed with SQLSTATE {code}")
}

fn commit(point: CommitPoint) -> CommitRecord {
    CommitRecord {
        lsn: point.lsn,
        xid: point.xid,
        time: point.time,
    }
}

fn check_record(check: &CheckResult) -> CheckRecord {
    CheckRecord {
        name: check.name.clone(),
        kind: check.kind.clone(),
        expected: check.expected.clone(),
        verdict: check.outcome.into(),
        message: check
            .message
            .as_deref()
            .map_or_else(|| check.outcome.as_str().to_owned(), without_values),
        duration_ms: check.milliseconds,
    }
}

/// Findings of checks repeat what was seen; the record does without.
fn finding_record(finding: &Finding, checks: &[CheckResult]) -> Finding {
    let mut finding = finding.clone();
    if finding.code == Code::CheckFailed {
        finding.message = checks
            .iter()
            .find(|check| check.name == finding.object)
            .map_or_else(|| "failed".to_owned(), |check| check_record(check).message);
    }
    finding
}

fn objective(name: &str, from: &Objective, context: &RecordContext) -> Option<ObjectiveRecord> {
    let outcome = match from.state {
        ObjectiveState::NotSet | ObjectiveState::NotApplicable => return None,
        ObjectiveState::Met => ObjectiveOutcome::Met,
        ObjectiveState::Missed => ObjectiveOutcome::Missed,
        ObjectiveState::NotMeasured => ObjectiveOutcome::NotMeasured,
    };
    Some(ObjectiveRecord {
        name: name.to_owned(),
        limit_ms: from.limit_milliseconds?,
        set_by: context
            .set_by
            .get(name)
            .cloned()
            .unwrap_or_else(|| "command line".to_owned()),
        actual_ms: from.actual_milliseconds,
        method: from.method.clone(),
        outcome,
    })
}

fn wal_range(report: &DrillReport) -> Option<WalRangeRecord> {
    let plan = report.plan.as_ref()?;
    let files = &plan.wal.files;
    // Recovery asks for its last segment again when it is promoted.
    let mut served: BTreeMap<&str, Digest> = BTreeMap::new();
    for file in &report.wal.served {
        served.entry(&file.name).or_insert_with(|| Digest {
            name: file.name.clone(),
            bytes: file.bytes,
            sha256: file.sha256.clone(),
        });
    }
    // Recovery in Kubernetes fetches by itself: nothing was served that could be digested,
    // but where it ended is proven.
    let by_itself = report.environment.kubernetes.is_some() && report.proof.observed_end.is_some();
    if served.is_empty() && !by_itself {
        return None;
    }
    let mut digests: Vec<Digest> = served.into_values().collect();
    if digests.len() > DIGESTS {
        let list = digests.iter().fold(String::new(), |mut list, digest| {
            let _ = writeln!(list, "{} {} {}", digest.sha256, digest.bytes, digest.name);
            list
        });
        let name = format!(
            "list of {} files of WAL: SHA-256, bytes, name",
            digests.len()
        );
        digests = vec![Digest::of(name, list.as_bytes())];
    }
    Some(WalRangeRecord {
        first_segment: files.first_segment()?,
        last_segment: files.last_segment()?,
        timeline: plan.expected_end.timeline,
        begin_lsn: plan.backup.begin_lsn,
        end_lsn: plan.expected_end.end,
        segments: plan.wal.segments,
        digests,
    })
}

fn end_of_recovery(report: &DrillReport) -> Option<EndOfRecovery> {
    let expected = report.plan.as_ref()?.expected_end;
    let proof: &EndProof = &report.proof;
    proof.observed_end?;
    let point = expected.recovery_point.map(|commit| commit.time);
    // The server is asked whether that very transaction is committed, not for a time.
    let committed = proof
        .items
        .iter()
        .any(|item| item.name == "last-commit" && item.holds == Some(true));
    Some(EndOfRecovery {
        expected_lsn: expected.end,
        reached_lsn: proof.observed_end,
        expected_commit_time: point,
        reached_commit_time: point.filter(|_| committed),
        agrees: proof.state == super::proof::ProofState::Held,
    })
}

fn confinement(report: &DrillReport) -> Vec<String> {
    let mut facts: Vec<String> = report
        .safety
        .items
        .iter()
        .map(|item| {
            let seen = item.observed.as_deref().unwrap_or("no answer");
            format!("{} = {seen:?}", item.name)
        })
        .collect();
    match &report.environment.kubernetes {
        Some(kubernetes) => facts.extend(kubernetes.probes.iter().map(|item| {
            let seen = item.observed.as_deref().unwrap_or("not tried");
            format!("{}: {seen}", item.name)
        })),
        None => facts.push(match report.environment.network_isolated {
            Some(true) => "a network of its own, by the kernel".to_owned(),
            Some(false) => "in the machine's network, by the kernel".to_owned(),
            None => "network not known".to_owned(),
        }),
    }
    if let Some(writable) = report.environment.repository_writable {
        facts.push(format!("repository writable, by trying = {writable}"));
    }
    facts
}

/// The backup's description as it was read.
fn description(plan: &DrillPlan) -> Option<Digest> {
    Some(Digest {
        name: plan.backup.info_key.clone(),
        bytes: plan.backup.info_bytes?,
        sha256: plan.backup.info_sha256.clone()?,
    })
}

/// Makes the record of a drill.
pub fn record(report: &DrillReport, context: RecordContext) -> DrillRecord {
    let plan = report.plan.as_ref();
    let end = plan.map(|plan| plan.expected_end);
    let left: Vec<String> = report
        .findings
        .iter()
        .filter(|finding| finding.code == Code::CleanupFailed)
        .map(|finding| finding.object.clone())
        .collect();
    let mut limits = standing_limits();
    limits.extend(report.limits.iter().skip(1).cloned());
    let objectives = [
        objective("rpo", &report.rpo, &context),
        objective("rto", &report.rto, &context),
    ];
    let measured = &report.measurements;
    DrillRecord {
        schema: DRILL_RECORD_SCHEMA.to_owned(),
        id: Uuid::now_v7(),
        run_id: context.run_id,
        tool: Tool::this(),
        due: Due {
            definition: report.name.clone().unwrap_or_else(|| "plain".to_owned()),
            definition_sha256: context.definition_sha256,
            trigger: context.trigger,
            initiator: context.initiator,
            due_at: context.due_at,
        },
        source: SourceRecord {
            cluster: report.cluster.clone().unwrap_or_default(),
            owner: context.owner,
            tier: context.tier,
            copy: report.copy.clone().unwrap_or_default(),
            location: context.location,
            system_id: end.and_then(|end| end.system_id),
            postgresql_version: context.server_version,
            backup: plan.map(|plan| BackupRecord {
                id: plan.backup.id.clone(),
                begin_time: plan.backup.begin_time,
                end_time: plan.backup.end_time,
                begin_lsn: Some(plan.backup.begin_lsn),
                end_lsn: plan.backup.end_lsn,
                timeline: plan.wal.files.segments.first().map(|first| first.timeline),
                stored_bytes: plan.backup.stored_bytes,
            }),
            metadata: plan
                .and_then(description)
                .into_iter()
                .chain(report.archives.iter().map(|archive| Digest {
                    name: archive.key.clone(),
                    bytes: archive.bytes,
                    sha256: archive.sha256.clone(),
                }))
                .collect(),
            wal: wal_range(report),
        },
        alone: Some(report.alone.clone()),
        environment: EnvironmentRecord {
            kind: report.environment.kind.clone(),
            host: context.host,
            postgresql: plan.map(|plan| plan.environment.version().to_owned()),
            confinement: confinement(report),
        },
        target: TargetRecord {
            asked: plan.map_or_else(|| report.target.clone(), |plan| plan.target.clone()),
            resolved: end.map(|end| ResolvedTargetRecord {
                timeline: end.timeline,
                stop_lsn: end.stop_record,
                end_lsn: end.end,
                last_commit: end.recovery_point.map(commit),
                next_commit: end.next_commit.map(commit),
            }),
        },
        end_of_recovery: end_of_recovery(report),
        phases: report
            .phases
            .iter()
            .map(|timing| PhaseRecord {
                name: timing.phase.as_str().to_owned(),
                started_at: timing.started_at,
                duration_ms: timing.milliseconds,
                outcome: if timing.completed {
                    PhaseOutcome::Done
                } else {
                    PhaseOutcome::Failed
                },
            })
            .collect(),
        checks: report.checks.iter().map(check_record).collect(),
        measurements: Measurements {
            time_to_service_ms: measured.time_to_service,
            time_to_verified_ms: measured.time_to_verified,
            total_ms: measured.total,
            lost_at: measured.declared_loss,
            recovered_to: measured.recovery_point.map(|point| point.time),
            recovery_point_ms: measured.recovery_point_achieved,
            base_bytes_fetched: measured.base_bytes_fetched,
            base_bytes_restored: measured.base_bytes_written,
            wal_bytes_replayed: measured.wal_bytes_replayed,
        },
        objectives: objectives.into_iter().flatten().collect(),
        verdict: report.verdict,
        reasons: report
            .reasons
            .iter()
            .map(|reason| without_values(&reason.text))
            .collect(),
        findings: report
            .findings
            .iter()
            .map(|finding| finding_record(finding, &report.checks))
            .collect(),
        logs: context.logs,
        limits,
        cleanup: Cleanup {
            complete: report.environment.removed,
            left,
            verified_at: report.finished_at,
        },
        started_at: report.started_at,
        finished_at: report.finished_at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_said_does_not_get_into_a_record() {
        assert_eq!(
            without_values("invalid input syntax for type integer: \"4111 1111\" (SQLSTATE 22P02)"),
            "the query failed with SQLSTATE 22P02"
        );
        assert_eq!(
            without_values("check `cards`: value \"4111\" (x) (SQLSTATE 22P02)"),
            "check `cards`: the query failed with SQLSTATE 22P02"
        );
        assert_eq!(without_values("the value differs"), "the value differs");
    }

    #[test]
    fn a_failed_checks_finding_is_told_without_what_was_seen() {
        let check = CheckResult {
            name: "cards".into(),
            kind: "sql".into(),
            required: true,
            outcome: super::super::checks::CheckOutcome::Failed,
            expected: Some("= 1".into()),
            observed: Some("4111".into()),
            message: Some("the value differs".into()),
            milliseconds: 1,
        };
        let finding = Finding::new(Code::CheckFailed, "cards", "the value differs (seen: 4111)");
        let recorded = finding_record(&finding, std::slice::from_ref(&check));
        assert_eq!(recorded.message, "the value differs");
        assert!(!format!("{:?}", check_record(&check)).contains("4111"));
    }
}
