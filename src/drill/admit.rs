//! Before anything is written: which backup, which WAL, which end.

use super::course::Stop;
use super::options::DrillOptions;
use super::plan::{DrillPlan, PlannedBackup, PlannedEnvironment, PlannedWal};
use super::proof::ExpectedEnd;
use crate::finding::{Code, Finding, Severity};
use crate::postgres::{Lsn, TimelineId};
use crate::repository::{BaseBackup, Catalog, Repository};
use crate::restore::{
    BackupChoice, Choice, ResolveError, ResolvedTarget, RestoreError, Target, Watch, Wish, choose,
};
use crate::verify::VerifyError;
use crate::verify::listed::Survey;
use crate::verify::wal::hole_findings;
use crate::verify::wal_range::StopReason;

/// What an error of the restore room means for a drill.
pub(super) fn stopped_by(error: &RestoreError) -> Stop {
    if let RestoreError::Storage(error) = error {
        return Stop::Store(error.clone());
    }
    let findings: Vec<Finding> = error.finding().into_iter().collect();
    if error.is_cancelled() {
        Stop::Interrupted
    } else if error.is_refusal() {
        Stop::Refused {
            reason: error.to_string(),
            findings,
        }
    } else if findings.is_empty() {
        Stop::unproven(error)
    } else {
        Stop::Failed(findings)
    }
}

/// What names and sizes tell of one backup.
fn findings_on<'a>(survey: &'a Survey, id: &str) -> impl Iterator<Item = &'a Finding> {
    let folder = format!("base/{id}/");
    let id = id.to_owned();
    survey
        .findings
        .iter()
        .filter(move |finding| finding.object == id || finding.object.starts_with(&folder))
}

/// What a target that is not resolved means for a drill.
fn unresolved(
    error: &ResolveError,
    catalog: &Catalog,
    survey: &Survey,
    options: &DrillOptions,
) -> Stop {
    if error.is_cancelled() {
        return Stop::Interrupted;
    }
    if let ResolveError::Verify(VerifyError::Storage(error)) = error {
        return Stop::Store(error.clone());
    }
    if let BackupChoice::Id(id) = &options.backup
        && catalog.backup(id).is_none()
    {
        return Stop::unproven(error);
    }
    let mut findings = error.findings();
    if error.is_refusal() {
        return Stop::Refused {
            reason: error.to_string(),
            findings,
        };
    }
    if findings.is_empty() {
        return Stop::unproven(error);
    }
    if let (ResolveError::NoBackup(why), BackupChoice::Id(id)) = (error, &options.backup) {
        // There may be others, but this one was asked for.
        findings = findings_on(survey, id).cloned().collect();
        if findings.is_empty() {
            findings.push(Finding::new(Code::TargetUnreachable, id, why));
        }
    } else if matches!(error, ResolveError::NoBackup(_)) {
        // Why none can be used.
        let critical = survey
            .findings
            .iter()
            .filter(|finding| finding.severity == Severity::Critical);
        findings.extend(critical.cloned());
    }
    Stop::Failed(findings)
}

/// What keeps the tip from being the archive's end, and whatever else is gravely wrong
/// with the WAL up to the target. Such a drill cannot be proven, though the stretch
/// restores: a switch to bytes that are not the parent's replays without an error.
fn holes(resolved: &ResolvedTarget) -> (Vec<Finding>, Vec<Finding>) {
    let (mut holes, rest): (Vec<_>, Vec<_>) = resolved
        .findings
        .iter()
        .cloned()
        .partition(|finding| finding.severity == Severity::Critical);
    let whole = resolved.range.stopped_by == StopReason::ArchiveEnd;
    if resolved.target == Target::Tip && !whole && holes.is_empty() {
        holes.push(
            Finding::new(
                Code::WalGap,
                resolved.end.to_string(),
                "the WAL that can be replayed ends before the archive does",
            )
            .with_wal(resolved.timeline, resolved.end, resolved.end),
        );
    }
    (holes, rest)
}

/// What a drill will restore, decided from the bytes; where it restores is left open.
#[derive(Clone, Debug)]
pub(in crate::drill) struct Decision {
    chosen: Choice,
    holes: Vec<Finding>,
    findings: Vec<Finding>,
}

impl Decision {
    /// The base backup.
    pub(in crate::drill) const fn backup(&self) -> &BaseBackup {
        &self.chosen.backup
    }

    /// Bytes of WAL between begin and end of replay.
    pub(in crate::drill) fn wal_bytes(&self) -> u64 {
        let resolved = &self.chosen.resolved;
        resolved.end.saturating_since(resolved.begin)
    }

    /// The end of recovery: the timeline, and the begin of the last record that is replayed.
    pub(in crate::drill) const fn end(&self) -> (TimelineId, Lsn) {
        let resolved = &self.chosen.resolved;
        (resolved.timeline, resolved.stop_record)
    }

    /// What recovery has to fetch: the stored bytes of the base backup and about those of the
    /// WAL, by the segments that it needs.
    pub(in crate::drill) fn bytes_to_fetch(&self) -> u64 {
        let plan = &self.chosen.resolved.plan;
        let wal = plan.count().saturating_mul(plan.segment_size.bytes());
        self.chosen.backup.stored_bytes().saturating_add(wal)
    }

    /// Adds what was found elsewhere.
    pub(in crate::drill) fn find(&mut self, findings: Vec<Finding>) {
        self.findings.extend(findings);
    }

    /// The plan of a drill in `environment`.
    pub(in crate::drill) fn plan(
        self,
        options: &DrillOptions,
        catalog: &Catalog,
        environment: PlannedEnvironment,
    ) -> DrillPlan {
        let wal_bytes = self.wal_bytes();
        let Self {
            chosen,
            holes,
            findings,
        } = self;
        let (backup, resolved) = (&chosen.backup, &chosen.resolved);
        DrillPlan {
            id: options.id,
            repository: catalog.location.clone(),
            target: options.target.to_string(),
            backup: PlannedBackup {
                id: backup.id.clone(),
                info_key: backup.info_key.clone(),
                info_sha256: backup.info_sha256.clone(),
                info_bytes: backup.info_bytes,
                begin_lsn: resolved.begin,
                end_lsn: backup.end_lsn,
                begin_time: backup.begin_time,
                end_time: backup.end_time,
                server_version: backup.server_version,
                stored_bytes: backup.stored_bytes(),
            },
            wal: PlannedWal {
                segments: resolved.plan.count(),
                bytes: wal_bytes,
                commits: resolved.range.commits,
                required_settings: resolved.required,
                files: resolved.plan.clone(),
            },
            expected_end: ExpectedEnd {
                timeline: resolved.timeline,
                stop_record: resolved.stop_record,
                end: resolved.end,
                recovery_point: resolved.recovery_point,
                next_commit: resolved.next_commit,
                system_id: backup.system_id,
            },
            environment,
            checks: options
                .checks
                .iter()
                .map(|check| check.name.clone())
                .collect(),
            passed_over: chosen.passed_over.clone(),
            holes,
            findings,
        }
    }
}

/// Chooses the base backup and the end of recovery. Reads the WAL that will be replayed;
/// writes nothing.
pub(in crate::drill) async fn decide(
    options: &DrillOptions,
    repository: &Repository,
    catalog: &Catalog,
    survey: &Survey,
    watch: &Watch,
) -> Result<Decision, Stop> {
    let wish = Wish {
        target: options.target.clone(),
        backup: options.backup.clone(),
        timeline: options.timeline,
    };
    let chosen = choose(repository, catalog, &wish, watch)
        .await
        .map_err(|error| unresolved(&error, catalog, survey, options))?;
    let resolved = &chosen.resolved;
    let (holes, mut findings) = holes(resolved);
    let way = survey.way(catalog);
    for hole in &survey.holes {
        // Those before the backup do not touch this drill; they narrow the window.
        let before = hole_findings(way, hole);
        findings.extend(before.into_iter().filter(|finding| {
            finding
                .wal
                .is_some_and(|stretch| stretch.end <= resolved.begin)
        }));
    }
    for passed in &chosen.passed_over {
        findings.extend(findings_on(survey, &passed.id).cloned());
    }
    let of_the_place = [Code::SystemIdMixed, Code::HistoryContradictory];
    findings.extend(
        survey
            .findings
            .iter()
            .filter(|finding| of_the_place.contains(&finding.code))
            .filter(|finding| !holes.contains(finding) && !findings.contains(finding))
            .cloned()
            .collect::<Vec<_>>(),
    );
    Ok(Decision {
        chosen,
        holes,
        findings,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::RequiredSettings;
    use crate::postgres::{Lsn, SegmentSize, TimelineId};
    use crate::restore::WalPlan;
    use crate::verify::wal_range::RangeReport;

    fn resolved(target: Target, stopped_by: StopReason, findings: Vec<Finding>) -> ResolvedTarget {
        let (begin, end) = (Lsn::new(0x200_0028), Lsn::new(0x300_0148));
        ResolvedTarget {
            target,
            backup_id: "20261120T120000".into(),
            timeline: TimelineId(2),
            begin,
            stop_record: begin,
            end,
            consistent_at: begin,
            recovery_point: None,
            next_commit: None,
            required: RequiredSettings::default(),
            plan: WalPlan {
                segment_size: SegmentSize::DEFAULT,
                system_id: None,
                timeline: TimelineId(2),
                segments: Vec::new(),
                histories: Vec::new(),
                codecs: Vec::new(),
            },
            range: RangeReport {
                begin,
                last_record: Some(begin),
                end,
                incomplete: false,
                segments: 2,
                bytes: 2,
                records: 1,
                commits: 0,
                major: Some(15),
                first_commit: None,
                last_commit: None,
                last_commits: Vec::new(),
                stopped_by,
                settings: None,
                tablespaces_created: Vec::new(),
                tablespaces_dropped: Vec::new(),
                wal_level_minimal: None,
                restore_points: Vec::new(),
                prepared: Vec::new(),
                clock_steps: Vec::new(),
                clock_steps_count: 0,
                findings: findings.clone(),
            },
            findings,
        }
    }

    #[test]
    fn what_is_gravely_wrong_up_to_the_target_keeps_a_drill_from_being_proven() {
        let grave = Finding::new(Code::HistoryContradictory, "wals/00000002.history", "x");
        let slight = Finding::new(Code::WalClockStepped, "0/2000100", "x");
        for (target, stopped_by) in [
            (Target::Tip, StopReason::ArchiveEnd),
            (Target::Immediate, StopReason::Visitor),
        ] {
            let both = vec![slight.clone(), grave.clone()];
            let (found, rest) = holes(&resolved(target.clone(), stopped_by.clone(), both));
            assert_eq!((found, rest), (vec![grave.clone()], vec![slight.clone()]));
            let (found, rest) = holes(&resolved(target, stopped_by, vec![slight.clone()]));
            assert_eq!((found, rest), (vec![], vec![slight.clone()]));
        }
        let (found, _) = holes(&resolved(Target::Tip, StopReason::Visitor, Vec::new()));
        assert_eq!(found.len(), 1, "the tip is before the archive's end");
    }
}
