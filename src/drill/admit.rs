//! Before anything is written: which backup, which WAL, which end, which server, how much
//! room.

use chrono::{DateTime, Utc};

use super::course::Stop;
use super::environments::local::disk::RoomNeeded;
use super::environments::local::{self, Binaries, RunAs, binaries, identity, require_room};
use super::options::DrillOptions;
use super::plan::{DrillPlan, PlannedBackup, PlannedEnvironment, PlannedWal, shown};
use super::proof::ExpectedEnd;
use super::settings::check_tuning;
use crate::codec::Codec;
use crate::finding::{Code, Finding, Severity};
use crate::repository::{BaseBackup, Catalog, Repository};
use crate::restore::{
    BackupChoice, ResolveError, ResolvedTarget, RestoreError, Target, Watch, Wish, choose,
    enclosing_data_directory,
};
use crate::verify::listed::Survey;
use crate::verify::wal::hole_findings;
use crate::verify::wal_range::StopReason;
use crate::verify::{VerifyError, VerifyOptions};

/// A drill that may begin.
#[derive(Clone, Debug)]
pub(super) struct Admitted {
    /// What it will do.
    pub plan: DrillPlan,
    /// The base backup.
    pub backup: BaseBackup,
    /// The programs.
    pub binaries: Binaries,
    /// The operating system user of the server.
    pub run_as: RunAs,
}

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

/// Finds PostgreSQL of the version that a backup needs.
async fn find_binaries(backup: &BaseBackup, options: &DrillOptions) -> Result<Binaries, Stop> {
    let major = backup.major().ok_or_else(|| {
        Stop::Unproven(format!(
            "backup {} does not say which PostgreSQL version made it",
            backup.id
        ))
    })?;
    let explicit = options.local.binaries.clone();
    tokio::task::spawn_blocking(move || binaries::find(major, explicit.as_deref()))
        .await
        .map_err(Stop::unproven)?
        .map_err(Stop::unproven)
}

/// Looks at everything that decides whether and how the drill can run. Reads the WAL that
/// will be replayed; writes nothing.
pub(super) async fn admit(
    options: &DrillOptions,
    repository: &Repository,
    catalog: &Catalog,
    now: DateTime<Utc>,
    watch: &Watch,
) -> Result<Admitted, Stop> {
    check_tuning(&options.local.settings).map_err(Stop::unproven)?;
    let verify = VerifyOptions {
        now,
        ..VerifyOptions::default()
    };
    let survey = Survey::of(catalog, &verify);
    let root = &options.local.scratch_root;
    if let Some(other) = enclosing_data_directory(root) {
        return Err(Stop::Refused {
            reason: format!(
                "the scratch directory {} lies in the PostgreSQL directory {}, whose server and backups would take it for their own; name a place outside of it with --scratch",
                root.display(),
                other.display()
            ),
            findings: Vec::new(),
        });
    }
    let run_as = identity::choose(options.local.run_as.as_deref(), root).map_err(Stop::unproven)?;
    // What this machine lacks is said before gigabytes of WAL are read.
    let newest = survey.usable(catalog).last();
    let mut found = match newest {
        Some(newest) => Some(find_binaries(newest, options).await?),
        None => None,
    };

    let wish = Wish {
        target: options.target.clone(),
        backup: options.backup.clone(),
        timeline: options.timeline,
    };
    let chosen = choose(repository, catalog, &wish, watch)
        .await
        .map_err(|error| unresolved(&error, catalog, &survey, options))?;
    let (backup, resolved) = (&chosen.backup, &chosen.resolved);
    if found.as_ref().map(|found| Some(found.major)) != Some(backup.major()) {
        found = Some(find_binaries(backup, options).await?);
    }
    let found = found.ok_or_else(|| Stop::unproven("no PostgreSQL programs"))?;
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
        findings.extend(findings_on(&survey, &passed.id).cloned());
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
    let wal_bytes = resolved.end.saturating_since(resolved.begin);
    let room = RoomNeeded {
        cluster_size: backup.cluster_size,
        stored: backup.stored_bytes(),
        compressed: backup
            .archives
            .iter()
            .any(|archive| archive.codec != Codec::None),
        wal: wal_bytes,
    };
    let place = root
        .ancestors()
        .find(|place| place.is_dir())
        .unwrap_or(std::path::Path::new("/"));
    let available = require_room(place, room.bytes()).map_err(Stop::unproven)?;
    if let Some(limit) = options.local.scratch_limit
        && limit < room.bytes()
    {
        return Err(Stop::Unproven(format!(
            "the drill needs about {} bytes of scratch disk, its budget is {limit}; raise `daemon.scratch`",
            room.bytes()
        )));
    }

    let plan = DrillPlan {
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
        environment: PlannedEnvironment {
            kind: "local".to_owned(),
            scratch: root.join(format!("{}{}", local::scratch::PREFIX, options.id)),
            binaries: found.directory.clone(),
            version: found.version.clone(),
            run_as: shown(&run_as),
            network: options.local.network,
            room_needed: room.bytes(),
            room_available: available,
        },
        checks: options
            .checks
            .iter()
            .map(|check| check.name.clone())
            .collect(),
        passed_over: chosen.passed_over.clone(),
        holes,
        findings,
    };
    Ok(Admitted {
        plan,
        backup: backup.clone(),
        binaries: found,
        run_as,
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
