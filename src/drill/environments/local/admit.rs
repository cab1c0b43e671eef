//! What this machine must have before anything is written: programs, a user, room.

use chrono::{DateTime, Utc};

use super::disk::RoomNeeded;
use super::{Binaries, LocalOptions, RunAs, binaries, identity, require_room};
use crate::codec::Codec;
use crate::drill::admit::decide;
use crate::drill::course::Stop;
use crate::drill::options::DrillOptions;
use crate::drill::plan::{DrillPlan, PlannedEnvironment, PlannedLocal};
use crate::drill::settings::check_tuning;
use crate::repository::{BaseBackup, Catalog, Repository};
use crate::restore::{Watch, enclosing_data_directory};
use crate::verify::VerifyOptions;
use crate::verify::listed::Survey;

/// A drill that may begin.
#[derive(Clone, Debug)]
pub(in crate::drill) struct Admitted {
    /// What it will do.
    pub plan: DrillPlan,
    /// The base backup.
    pub backup: BaseBackup,
    /// The programs.
    pub binaries: Binaries,
    /// The operating system user of the server.
    pub run_as: RunAs,
}

/// Finds PostgreSQL of the version that a backup needs.
async fn find_binaries(backup: &BaseBackup, options: &LocalOptions) -> Result<Binaries, Stop> {
    let major = backup.major().ok_or_else(|| {
        Stop::Unproven(format!(
            "backup {} does not say which PostgreSQL version made it",
            backup.id
        ))
    })?;
    let explicit = options.binaries.clone();
    tokio::task::spawn_blocking(move || binaries::find(major, explicit.as_deref()))
        .await
        .map_err(Stop::unproven)?
        .map_err(Stop::unproven)
}

/// The user, as the plan shows it.
fn shown(run_as: &RunAs) -> String {
    format!("{} ({}:{})", run_as.name, run_as.uid, run_as.gid)
}

/// Looks at everything that decides whether and how the drill can run here. Reads the WAL
/// that will be replayed; writes nothing.
pub(in crate::drill) async fn admit(
    local: &LocalOptions,
    options: &DrillOptions,
    repository: &Repository,
    catalog: &Catalog,
    now: DateTime<Utc>,
    watch: &Watch,
) -> Result<Admitted, Stop> {
    check_tuning(&local.settings).map_err(Stop::unproven)?;
    let verify = VerifyOptions {
        now,
        ..VerifyOptions::default()
    };
    let survey = Survey::of(catalog, &verify);
    let root = &local.scratch_root;
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
    let run_as = identity::choose(local.run_as.as_deref(), root).map_err(Stop::unproven)?;
    // What this machine lacks is said before gigabytes of WAL are read.
    let newest = survey.usable(catalog).last();
    let mut found = match newest {
        Some(newest) => Some(find_binaries(newest, local).await?),
        None => None,
    };

    let decision = decide(options, repository, catalog, &survey, watch).await?;
    let backup = decision.backup().clone();
    if found.as_ref().map(|found| Some(found.major)) != Some(backup.major()) {
        found = Some(find_binaries(&backup, local).await?);
    }
    let found = found.ok_or_else(|| Stop::unproven("no PostgreSQL programs"))?;
    let wal_bytes = decision.wal_bytes();
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
    if let Some(limit) = local.scratch_limit
        && limit < room.bytes()
    {
        return Err(Stop::Unproven(format!(
            "the drill needs about {} bytes of scratch disk, its budget is {limit}; raise `daemon.scratch`",
            room.bytes()
        )));
    }

    let environment = PlannedEnvironment::Local(PlannedLocal {
        scratch: root.join(format!("{}{}", super::scratch::PREFIX, options.id)),
        binaries: found.directory.clone(),
        version: found.version.clone(),
        run_as: shown(&run_as),
        network: local.network,
        room_needed: room.bytes(),
        room_available: available,
    });
    Ok(Admitted {
        plan: decision.plan(options, catalog, environment),
        backup,
        binaries: found,
        run_as,
    })
}
