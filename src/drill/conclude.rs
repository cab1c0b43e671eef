//! From everything that a drill learned to its report.

use chrono::{DateTime, TimeDelta, Utc};

use super::course::{Course, Stop};
use super::options::DrillOptions;
use super::report::{DrillReport, Ending, EnvironmentReport, Measurements, SCHEMA};
use super::run::Workshop;
use super::torn::Torn;
use super::verdict::{Facts, Objective, ObjectiveState, judge};
use crate::finding::{Code, Finding};
use crate::repository::{Alone, Repository};
use crate::restore::{ExtractReport, Target};

/// A commit may bear a time this far ahead of this machine's clock.
const CLOCK_TOLERANCE: TimeDelta = TimeDelta::minutes(5);

fn in_future(moment: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    moment.signed_duration_since(now) > CLOCK_TOLERANCE
}

/// What is lost between `newest`, the newest recovered moment, and `declared`, in
/// milliseconds. `None` when `newest` lies in the future: a clock is wrong somewhere, and
/// by it nothing would ever be lost.
fn lost(newest: DateTime<Utc>, declared: DateTime<Utc>, now: DateTime<Utc>) -> Option<u64> {
    let lost = declared.signed_duration_since(newest).num_milliseconds();
    (!in_future(newest, now)).then(|| u64::try_from(lost).unwrap_or(0))
}

/// Recovery point: how much would be lost, and what it is compared with.
fn measure_point(
    options: &DrillOptions,
    work: &Workshop,
    begun: DateTime<Utc>,
) -> (Option<DateTime<Utc>>, Option<u64>, Objective) {
    let limit = options
        .objectives
        .rpo
        .map(|limit| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX));
    let declared = match &options.target {
        Target::Tip => Some(options.lost_at.unwrap_or(begun)),
        Target::Time(time) => Some(*time),
        _ => None,
    };
    let plan = work.plan.as_ref();
    let now = Utc::now();
    let since = |moment| declared.and_then(|declared| lost(moment, declared, now));
    let point = plan.and_then(|plan| plan.expected_end.recovery_point);
    let proven = work.facts.proof.state == super::proof::ProofState::Held;
    let (actual, method) = match (point, plan.and_then(|plan| plan.backup.end_time)) {
        _ if !proven => (None, "the end of recovery is not proven"),
        (Some(commit), _) if in_future(commit.time, now) => (
            None,
            "the newest recovered commit bears a time in the future: look at the clocks of the \
             source and of this machine",
        ),
        (Some(commit), _) => (
            since(commit.time),
            "declared loss minus commit time of the newest recovered transaction",
        ),
        (None, Some(end)) => (
            since(end),
            "declared loss minus the backup's end, an upper bound: the replayed WAL holds no commit",
        ),
        (None, None) => (None, "the replayed WAL holds no commit; write a heartbeat"),
    };
    let objective = Objective::judge(limit, actual, options.target == Target::Tip, method);
    (declared, actual, objective)
}

/// What was left to see when the work was done.
pub(super) struct Aftermath {
    /// What was read, and whether another copy could be reached.
    pub(super) alone: Alone,
    /// The tear-down.
    pub(super) torn: Torn,
}

/// Judges, measures and reports.
pub(super) fn conclude(
    options: &DrillOptions,
    repository: &Repository,
    course: &Course<'_>,
    work: Workshop,
    stop: Option<&Stop>,
    Aftermath { alone, torn }: Aftermath,
) -> DrillReport {
    let begun = course.clock().started_at();
    let (declared_loss, recovery_point_achieved, rpo) = measure_point(options, &work, begun);
    let rto_limit = options
        .objectives
        .rto
        .map(|limit| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX));
    let rto = Objective::judge(
        rto_limit,
        work.time_to_verified,
        true,
        "from the drill's begin until all checks had been made",
    );
    let plan = work.plan;
    let holes = plan.as_ref().map_or(&[][..], |plan| &plan.holes);
    let judgement = judge(&Facts {
        stop,
        holes,
        proof: &work.facts.proof,
        safety: &work.facts.safety,
        checks: &work.checks.results,
        rpo: &rpo,
        rto: &rto,
        alone: &alone,
    });
    let mut findings = holes.to_vec();
    findings.extend(work.findings);
    if let Some(
        Stop::Failed(found)
        | Stop::Refused {
            findings: found, ..
        },
    ) = stop
    {
        findings.extend(found.iter().cloned());
    }
    findings.extend(work.facts.safety.findings());
    if work.facts.proof.state == super::proof::ProofState::Differs {
        let words = work.facts.proof.differences().join("; ");
        let code = if work.facts.proof.is_another_system() {
            Code::SystemIdDiffers
        } else {
            Code::RecoveryEndedEarly
        };
        findings.push(Finding::new(code, "restored server", words));
    }
    findings.extend(work.checks.findings);
    for (name, objective, code) in [
        ("RPO", &rpo, Code::ObjectiveMissedRpo),
        ("RTO", &rto, Code::ObjectiveMissedRto),
    ] {
        if objective.state == ObjectiveState::Missed {
            findings.push(Finding::new(code, name, objective.method.clone()));
        }
    }
    let ending = match stop {
        None => Ending::Complete,
        Some(Stop::Failed(_)) => Ending::Failed,
        Some(Stop::Unproven(_) | Stop::Store(_)) => Ending::Unproven,
        Some(Stop::Refused { .. }) => Ending::Refused,
        Some(Stop::Interrupted) => Ending::Interrupted,
    };
    let expected = plan.as_ref().map(|plan| plan.expected_end);
    let extracted = work.extracted;
    let total = course
        .clock()
        .timings()
        .iter()
        .map(|t| t.milliseconds)
        .sum();
    DrillReport {
        schema: SCHEMA.to_owned(),
        id: options.id,
        name: options.name.clone(),
        cluster: options.cluster.clone(),
        copy: options.copy.clone(),
        repository: repository.store().location().to_string(),
        target: options.target.to_string(),
        initiator: options.initiator.clone(),
        walproof: env!("CARGO_PKG_VERSION").to_owned(),
        started_at: begun,
        finished_at: Utc::now(),
        verdict: judgement.verdict,
        reasons: judgement.reasons,
        ending,
        trouble: stop.and_then(Stop::trouble),
        measurements: Measurements {
            recovery_point: expected.and_then(|end| end.recovery_point),
            declared_loss,
            recovery_point_achieved,
            newest_heartbeat: work.checks.heartbeat,
            time_to_service: work.time_to_service,
            time_to_verified: work.time_to_verified,
            total,
            base_bytes_fetched: work
                .base_bytes_fetched
                .unwrap_or_else(|| extracted.as_ref().map_or(0, ExtractReport::stored_bytes)),
            base_bytes_written: extracted
                .as_ref()
                .map_or(0, |report| report.extracted.bytes),
            wal_files_served: u64::try_from(torn.wal.served.len()).unwrap_or(u64::MAX),
            wal_bytes_served: torn.wal.bytes(),
            wal_bytes_replayed: work
                .facts
                .proof
                .observed_end
                .zip(plan.as_ref())
                .map_or(0, |(end, plan)| end.saturating_since(plan.backup.begin_lsn)),
            commits_replayed: plan.as_ref().map(|plan| plan.wal.commits),
        },
        plan,
        phases: course.clock().timings().to_vec(),
        environment: EnvironmentReport {
            kind: options.environment.kind().to_owned(),
            repository_writable: None,
            server_version: work.facts.server_version,
            network_isolated: work.facts.safety.network_isolated,
            fsync: work.fsync,
            removed: torn.removed,
            swept: work.swept,
            kept: torn.kept,
            kubernetes: torn.kubernetes,
        },
        proof: work.facts.proof,
        safety: work.facts.safety,
        checks: work.checks.results,
        findings,
        rpo,
        rto,
        log: work.facts.log,
        log_tail: torn.log_tail,
        archives: extracted.map(|report| report.archives).unwrap_or_default(),
        wal: torn.wal,
        alone,
        limits: LIMITS.iter().map(|words| (*words).to_owned()).collect(),
    }
}

/// What a drill's report never proves.
const LIMITS: [&str; 3] = [
    "detection, decision and the switch of clients are not part of any time",
    "A drill that replayed little WAL gives the least time a recovery takes, not an estimate.",
    "What no check asked about is proven only as far as PostgreSQL replayed it without an error.",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_of_the_future_measures_no_loss() {
        let at = |second: i64| DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap();
        assert_eq!(lost(at(-60), at(0), at(10)), Some(60_000));
        // Recovered past the declared loss: nothing is lost.
        assert_eq!(lost(at(5), at(0), at(10)), Some(0));
        assert_eq!(lost(at(300), at(0), at(10)), Some(0));
        assert_eq!(lost(at(3600), at(0), at(10)), None);
    }
}
