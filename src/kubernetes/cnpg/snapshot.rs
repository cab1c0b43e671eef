//! Volume snapshots that the operator made for a backup.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::Backup;
use super::fields::{ViewError, boolean, identity, moment, text};

/// What a volume snapshot holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotRole {
    /// The data directory.
    Data,
    /// The WAL's volume.
    Wal,
    /// A tablespace's volume.
    Tablespace(String),
    /// Something else, by the label's word.
    Other(String),
}

/// A `VolumeSnapshot` of `snapshot.storage.k8s.io/v1` with CloudNativePG's labels.
#[derive(Clone, Debug, PartialEq)]
pub struct VolumeSnapshot {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The Cluster that it is of (`cnpg.io/cluster`).
    pub cluster: Option<String>,
    /// The Backup that made it (`cnpg.io/backupName`).
    pub backup: Option<String>,
    /// What it holds (the annotation `cnpg.io/pvcRole`).
    pub role: SnapshotRole,
    /// When it was asked for.
    pub created_at: Option<DateTime<Utc>>,
    /// When the store cut it (`status.creationTime`).
    pub taken_at: Option<DateTime<Utc>>,
    /// Whether a volume can be made from it.
    pub ready: bool,
    /// The smallest volume that can be made from it, as a quantity.
    pub restore_size: Option<String>,
    /// Its class.
    pub class: Option<String>,
    /// The VolumeSnapshotContent that stands for it.
    pub content: Option<String>,
    /// What went wrong.
    pub error: Option<String>,
    /// The whole object.
    pub manifest: Value,
}

impl VolumeSnapshot {
    /// Reads a `VolumeSnapshot`.
    ///
    /// # Errors
    ///
    /// Name or namespace are missing.
    pub fn parse(manifest: Value) -> Result<Self, ViewError> {
        let who = identity("VolumeSnapshot", &manifest)?;
        // The operator writes some of these as labels and some as annotations
        // (pkg/reconciler/backup/volumesnapshot).
        let label = |name: &str| {
            text(&manifest, &format!("/metadata/labels/cnpg.io~1{name}"))
                .or_else(|| text(&manifest, &format!("/metadata/annotations/cnpg.io~1{name}")))
        };
        let role = match label("pvcRole").as_deref() {
            Some("PG_DATA") => SnapshotRole::Data,
            Some("PG_WAL") => SnapshotRole::Wal,
            Some("PG_TABLESPACE") => {
                SnapshotRole::Tablespace(label("tablespaceName").unwrap_or_default())
            }
            other => SnapshotRole::Other(other.unwrap_or_default().to_owned()),
        };
        Ok(Self {
            cluster: label("cluster"),
            backup: label("backupName"),
            role,
            created_at: moment(&manifest, "/metadata/creationTimestamp"),
            taken_at: moment(&manifest, "/status/creationTime"),
            ready: boolean(&manifest, "/status/readyToUse").unwrap_or(false),
            restore_size: text(&manifest, "/status/restoreSize"),
            class: text(&manifest, "/spec/volumeSnapshotClassName"),
            content: text(&manifest, "/status/boundVolumeSnapshotContentName"),
            error: text(&manifest, "/status/error/message"),
            namespace: who.namespace,
            name: who.name,
            manifest,
        })
    }
}
/// Why a completed backup by volume snapshots cannot be used, by the snapshots that are
/// there; empty when it can. A `Backup` outlives its snapshots.
pub fn snapshot_faults(backup: &Backup, there: &[VolumeSnapshot]) -> Vec<String> {
    if !backup.snapshots.iter().any(|one| one.role == "PG_DATA") {
        return vec!["it has no snapshot of the data directory".to_owned()];
    }
    let mut faults = Vec::new();
    for one in &backup.snapshots {
        let found = there
            .iter()
            .find(|snapshot| snapshot.namespace == backup.namespace && snapshot.name == one.name);
        match found {
            None => faults.push(format!("volume snapshot {} is gone", one.name)),
            Some(snapshot) if !snapshot.ready => faults.push(format!(
                "volume snapshot {} is not ready to use: {}",
                one.name,
                snapshot.error.as_deref().unwrap_or("no reason is given")
            )),
            Some(_) => {}
        }
    }
    faults
}
