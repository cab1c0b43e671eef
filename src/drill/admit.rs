//! Before anything is written: which backup, which WAL, which end, which server, how much
//! room.

use chrono::{DateTime, Utc};

use super::course::Stop;
use super::environments::local::disk::RoomNeeded;
use super::environments::local::{self, Binaries, RunAs, binaries, identity, require_room};
use super::options::{BackupChoice, DrillOptions};
use super::plan::{DrillPlan, PlannedBackup, PlannedEnvironment, PlannedWal, shown};
use super::proof::ExpectedEnd;
use super::resolved::{Resolved, resolve};
use super::settings::check_tuning;
use crate::codec::Codec;
use crate::finding::{Code, Finding, Severity};
use crate::repository::{BaseBackup, Catalog, Repository};
use crate::restore::{RestoreError, Target, check_restorable};
use crate::verify::VerifyOptions;
use crate::verify::listed::Survey;

/// A drill that may begin.
#[derive(Clone, Debug)]
pub struct Admitted {
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

/// Whether a backup can serve the target, as far as its description tells.
fn reaches(backup: &BaseBackup, target: &Target) -> bool {
    match target {
        Target::Time(time) => backup.end_time.is_none_or(|end| end <= *time),
        Target::Lsn { lsn, .. } => backup.end_lsn.is_none_or(|end| end <= *lsn),
        Target::Tip | Target::Immediate | Target::Xid { .. } | Target::Name(_) => true,
    }
}

/// Chooses the base backup.
fn choose<'a>(
    catalog: &'a Catalog,
    survey: &Survey,
    options: &DrillOptions,
) -> Result<&'a BaseBackup, Stop> {
    let critical = || -> Vec<Finding> {
        survey
            .findings
            .iter()
            .filter(|finding| finding.severity == Severity::Critical)
            .cloned()
            .collect()
    };
    if let BackupChoice::Id(id) = &options.backup {
        let backup = catalog.backup(id).ok_or_else(|| {
            Stop::Unproven(format!(
                "there is no backup {id:?} in this repository; `walproof verify` lists them"
            ))
        })?;
        check_restorable(backup).map_err(|error| match error.finding() {
            Some(finding) => Stop::failed(finding),
            None => Stop::failed(Finding::new(Code::BackupFailed, id, error.to_string())),
        })?;
        return Ok(backup);
    }
    let usable: Vec<&BaseBackup> = catalog
        .backups
        .iter()
        .filter(|backup| survey.backups.iter().any(|found| found.id == backup.id && found.usable))
        .collect();
    if usable.is_empty() {
        let mut findings = critical();
        if findings.is_empty() {
            findings.push(Finding::new(
                Code::RepositoryWithoutBackup,
                &catalog.location,
                "no base backup here can be used",
            ));
        }
        return Err(Stop::Failed(findings));
    }
    let newest = usable.iter().rev().find(|backup| reaches(backup, &options.target));
    newest.copied().ok_or_else(|| {
        Stop::failed(Finding::new(
            Code::TargetUnreachable,
            options.target.to_string(),
            "every usable base backup was finished after this target",
        ))
    })
}

/// The WAL that would act outside the scratch directory: nothing is started then.
fn refuse_outside(resolved: &Resolved) -> Result<(), Stop> {
    let Some(first) = resolved.tablespaces_created.first() else {
        return Ok(());
    };
    let findings = resolved
        .tablespaces_created
        .iter()
        .map(|created| {
            Finding::new(
                Code::WalTablespaceCreated,
                created.location.clone(),
                format!("tablespace {} is created at {}", created.oid, created.lsn),
            )
            .with_wal(resolved.expected.timeline, created.lsn, created.lsn)
        })
        .collect();
    Err(Stop::Refused {
        reason: format!(
            "the WAL at {} creates a tablespace in {}: replaying it would reach outside the scratch \
             directory. Drill from a base backup that begins after it, or to a target before it",
            first.lsn, first.location
        ),
        findings,
    })
}

/// Looks at everything that decides whether and how the drill can run. Reads the WAL that
/// will be replayed; writes nothing.
pub async fn admit(
    options: &DrillOptions,
    repository: &Repository,
    catalog: &Catalog,
    now: DateTime<Utc>,
) -> Result<Admitted, Stop> {
    check_tuning(&options.local.settings).map_err(Stop::unproven)?;
    let verify = VerifyOptions {
        now,
        ..VerifyOptions::default()
    };
    let survey = Survey::of(catalog, &verify);
    let backup = choose(catalog, &survey, options)?;
    let major = backup.major().ok_or_else(|| {
        Stop::Unproven(format!("backup {} does not say which PostgreSQL version made it", backup.id))
    })?;
    // What this machine lacks is said before gigabytes of WAL are read.
    let explicit = options.local.binaries.clone();
    let found = tokio::task::spawn_blocking(move || binaries::find(major, explicit.as_deref()))
        .await
        .map_err(Stop::unproven)?
        .map_err(Stop::unproven)?;
    let root = &options.local.scratch_root;
    let run_as = identity::choose(options.local.run_as.as_deref(), root).map_err(Stop::unproven)?;

    let resolved = resolve(repository, catalog, &survey, backup, options).await?;
    refuse_outside(&resolved)?;
    let room = RoomNeeded {
        cluster_size: backup.cluster_size,
        stored: backup.stored_bytes(),
        compressed: backup.archives.iter().any(|archive| archive.codec != Codec::None),
        wal: resolved.wal_bytes,
    };
    let place = root
        .ancestors()
        .find(|place| place.is_dir())
        .unwrap_or(std::path::Path::new("/"));
    let available = require_room(place, room.bytes()).map_err(Stop::unproven)?;

    let plan = DrillPlan {
        id: options.id,
        repository: catalog.location.clone(),
        target: options.target.to_string(),
        backup: PlannedBackup {
            id: backup.id.clone(),
            info_key: backup.info_key.clone(),
            info_sha256: backup.info_sha256.clone(),
            begin_lsn: resolved.begin,
            end_lsn: backup.end_lsn,
            begin_time: backup.begin_time,
            end_time: backup.end_time,
            stored_bytes: backup.stored_bytes(),
        },
        wal: PlannedWal {
            segments: resolved.wal.count(),
            bytes: resolved.wal_bytes,
            commits: resolved.commits,
            required_settings: resolved.required,
            files: resolved.wal,
        },
        expected_end: ExpectedEnd {
            system_id: resolved.expected.system_id.or(backup.system_id),
            ..resolved.expected
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
        checks: options.checks.iter().map(|check| check.name.clone()).collect(),
        holes: resolved.holes,
        findings: resolved.findings,
    };
    Ok(Admitted {
        plan,
        backup: backup.clone(),
        binaries: found,
        run_as,
    })
}
