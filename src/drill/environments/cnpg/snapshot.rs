//! Base backups that are volume snapshots.
//!
//! No repository describes them: the operator's `Backup` objects do. Put beside the
//! repository's WAL they are base backups like others, and the end of recovery follows from
//! the same bytes.

use std::collections::BTreeMap;

use super::trouble::stopped_by;
use crate::drill::course::Stop;
use crate::drill::options::DrillOptions;
use crate::kubernetes::cnpg::{self, Backup, BackupMethod, SourceCluster, snapshot_faults};
use crate::kubernetes::scratch::{SnapshotSet, snapshots};
use crate::kubernetes::{Kube, KubeError};
use crate::postgres::TimelineId;
use crate::repository::{self, BackupStatus, BaseBackup, Catalog, Tablespace};
use crate::restore::BackupChoice;

/// The repository's WAL with the source's volume snapshots as its base backups.
pub(super) async fn catalog_of(
    kube: &Kube,
    source: &SourceCluster,
    catalog: &Catalog,
) -> Result<Catalog, Stop> {
    let found = snapshot_backups(kube, source, catalog)
        .await
        .map_err(|error| stopped_by(&error))?;
    if found.is_empty() {
        return Err(Stop::Unproven(format!(
            "cluster {}/{} has no completed Backup by volume snapshots; take one, or drill with \
             `form: plugin`",
            source.namespace, source.name
        )));
    }
    Ok(Catalog {
        backups: found,
        ..catalog.clone()
    })
}

/// The completed backups of a Cluster by volume snapshots as base backups for the WAL of a
/// repository, the oldest first.
///
/// # Errors
///
/// The API could not be asked.
pub async fn snapshot_backups(
    kube: &Kube,
    source: &SourceCluster,
    catalog: &Catalog,
) -> Result<Vec<BaseBackup>, KubeError> {
    let namespace = Some(source.namespace.as_str());
    let backups = cnpg::backups(kube, namespace).await?;
    let there = cnpg::volume_snapshots(kube, namespace).await?;
    let mut found: Vec<BaseBackup> = backups
        .items
        .iter()
        .filter(|backup| backup.cluster == source.name)
        .filter(|backup| backup.method == BackupMethod::VolumeSnapshot && backup.is_completed())
        .filter(|backup| snapshot_faults(backup, &there.items).is_empty())
        // Those of an earlier Cluster of this name are another database's.
        .filter(|backup| source.created_at.is_none() || backup.started_at >= source.created_at)
        .filter_map(|backup| snapshot_base(backup, source, catalog))
        .collect();
    found.sort_by_key(|backup| backup.end_time);
    Ok(found)
}

/// What the drill is asked for, in the words of the snapshots: the name of a `Backup`.
pub(super) fn wish(options: &DrillOptions, asked: Option<&str>) -> DrillOptions {
    let mut options = options.clone();
    if let Some(name) = asked {
        options.backup = BackupChoice::Id(name.to_owned());
    }
    options
}

/// The snapshots of the chosen backup.
pub(super) async fn set(
    kube: &Kube,
    source: &SourceCluster,
    backup: &BaseBackup,
) -> Result<SnapshotSet, Stop> {
    let (namespace, name) = (&source.namespace, &backup.id);
    let found = cnpg::resources::read(kube, &cnpg::resources::backup(), namespace, name)
        .await
        .map_err(|error| stopped_by(&error))?;
    let found =
        found.ok_or_else(|| Stop::Unproven(format!("Backup {namespace}/{name} is gone")))?;
    let found = Backup::parse(found).map_err(Stop::unproven)?;
    snapshots::of_backup(kube, &found)
        .await
        .map_err(|error| stopped_by(&error))
}

/// A `Backup` object as a base backup. `None` where it does not say what recovery needs.
pub fn snapshot_base(
    backup: &Backup,
    source: &SourceCluster,
    catalog: &Catalog,
) -> Option<BaseBackup> {
    let begin_wal = backup.begin_wal.as_deref()?;
    let timeline = u32::from_str_radix(begin_wal.get(..8)?, 16).ok()?;
    let other = catalog.backups.last();
    let major = backup.major.map(u32::from).or(source.major.map(u32::from));
    let tablespaces = source.tablespaces.iter().map(|tablespace| Tablespace {
        oid: 0,
        name: tablespace.name.clone(),
        location: String::new(),
    });
    Some(BaseBackup {
        id: backup.name.clone(),
        name: Some(backup.name.clone()),
        status: BackupStatus::Done,
        error: None,
        method: repository::BackupMethod::VolumeSnapshot,
        begin_time: backup.started_at,
        end_time: backup.stopped_at,
        begin_lsn: Some(backup.begin_lsn.as_deref()?.parse().ok()?),
        end_lsn: Some(backup.end_lsn.as_deref()?.parse().ok()?),
        timeline: Some(TimelineId(timeline)),
        system_id: source.system_id.or(other.and_then(|other| other.system_id)),
        server_version: major
            .map(|major| major.saturating_mul(10_000))
            .or(other.and_then(|other| other.server_version)),
        segment_size: catalog.wal.segment_size,
        data_checksums: None,
        cluster_size: None,
        tablespaces: tablespaces.collect(),
        backup_label: None,
        keep: None,
        archives: Vec::new(),
        info_key: format!("Backup {}/{}", backup.namespace, backup.name),
        info_sha256: None,
        info_bytes: None,
        unknown_fields: BTreeMap::new(),
        notes: Vec::new(),
    })
}
