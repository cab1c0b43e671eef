//! Backups and their schedules, as the operator keeps them.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::fields::{ViewError, boolean, identity, moment, number, text};

/// How a backup is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackupMethod {
    /// By the operator, into an object store.
    InTree,
    /// By a plugin.
    Plugin,
    /// As snapshots of the volumes.
    VolumeSnapshot,
}

impl BackupMethod {
    fn of(spec: &Value) -> Self {
        match spec.get("method").and_then(Value::as_str) {
            Some("plugin") => Self::Plugin,
            Some("volumeSnapshot") => Self::VolumeSnapshot,
            // What is left out means the first form that there was.
            _ => Self::InTree,
        }
    }

    /// As the resource spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InTree => "barmanObjectStore",
            Self::Plugin => "plugin",
            Self::VolumeSnapshot => "volumeSnapshot",
        }
    }
}

/// A `Backup` of `postgresql.cnpg.io/v1`.
#[derive(Clone, Debug, PartialEq)]
pub struct Backup {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The Cluster that it is of.
    pub cluster: String,
    /// How it is taken.
    pub method: BackupMethod,
    /// `pending`, `started`, `running`, `finalizing`, `completed`, `failed`,
    /// `walArchivingFailing` or `invalid backup definition`; empty before the first.
    pub phase: String,
    /// The id in the repository (`20261121T133159`), or the name of the set of snapshots.
    pub backup_id: Option<String>,
    /// When it was asked for.
    pub created_at: Option<DateTime<Utc>>,
    /// When it began.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub stopped_at: Option<DateTime<Utc>>,
    /// The first WAL segment that it needs.
    pub begin_wal: Option<String>,
    /// The last one.
    pub end_wal: Option<String>,
    /// Where it begins.
    pub begin_lsn: Option<String>,
    /// Where it is consistent.
    pub end_lsn: Option<String>,
    /// What went wrong.
    pub error: Option<String>,
    /// Names of the volume snapshots with their roles as the operator spells them
    /// (`PG_DATA`, `PG_WAL`, `PG_TABLESPACE` and the tablespace).
    pub snapshots: Vec<BackupSnapshot>,
    /// The tablespace map, of a backup by snapshots.
    pub tablespace_map: Option<String>,
    /// PostgreSQL's major version.
    pub major: Option<u16>,
    /// The whole object.
    pub manifest: Value,
}

/// One volume snapshot of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupSnapshot {
    /// The VolumeSnapshot's name.
    pub name: String,
    /// `PG_DATA`, `PG_WAL` or `PG_TABLESPACE`.
    pub role: String,
    /// The tablespace, where it is of one.
    pub tablespace: Option<String>,
}

impl Backup {
    /// Reads a `Backup`.
    ///
    /// # Errors
    ///
    /// Name or namespace are missing.
    pub fn parse(manifest: Value) -> Result<Self, ViewError> {
        let who = identity("Backup", &manifest)?;
        let null = Value::Null;
        let spec = manifest.get("spec").unwrap_or(&null);
        let status = manifest.get("status").unwrap_or(&null);
        let snapshots = super::fields::list(status, "/snapshotBackupStatus/elements")
            .iter()
            .filter_map(|element| {
                Some(BackupSnapshot {
                    name: text(element, "/name")?,
                    role: text(element, "/type")?,
                    tablespace: text(element, "/tablespaceName"),
                })
            })
            .collect();
        Ok(Self {
            cluster: text(spec, "/cluster/name").unwrap_or_default(),
            method: BackupMethod::of(spec),
            phase: text(status, "/phase").unwrap_or_default(),
            backup_id: text(status, "/backupId"),
            created_at: moment(&manifest, "/metadata/creationTimestamp"),
            started_at: moment(status, "/startedAt"),
            stopped_at: moment(status, "/stoppedAt"),
            begin_wal: text(status, "/beginWal"),
            end_wal: text(status, "/endWal"),
            begin_lsn: text(status, "/beginLSN"),
            end_lsn: text(status, "/endLSN"),
            error: text(status, "/error"),
            snapshots,
            tablespace_map: text(status, "/tablespaceMapFile"),
            major: number(status, "/majorVersion"),
            namespace: who.namespace,
            name: who.name,
            manifest,
        })
    }

    /// Whether it came to its end, by the operator's word.
    pub fn is_completed(&self) -> bool {
        self.phase == "completed"
    }

    /// Whether nothing will come of it any more.
    pub fn is_failed(&self) -> bool {
        matches!(self.phase.as_str(), "failed" | "invalid backup definition")
    }
}

/// A `ScheduledBackup` of `postgresql.cnpg.io/v1`.
#[derive(Clone, Debug, PartialEq)]
pub struct ScheduledBackup {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The Cluster that it is of.
    pub cluster: String,
    /// How its backups are taken.
    pub method: BackupMethod,
    /// Six fields, seconds first.
    pub schedule: String,
    /// Whether it rests.
    pub suspended: bool,
    /// When it last made a Backup.
    pub last_schedule: Option<DateTime<Utc>>,
    /// When it makes the next one.
    pub next_schedule: Option<DateTime<Utc>>,
    /// The whole object.
    pub manifest: Value,
}

impl ScheduledBackup {
    /// Reads a `ScheduledBackup`.
    ///
    /// # Errors
    ///
    /// Name or namespace are missing.
    pub fn parse(manifest: Value) -> Result<Self, ViewError> {
        let who = identity("ScheduledBackup", &manifest)?;
        let null = Value::Null;
        let spec = manifest.get("spec").unwrap_or(&null);
        Ok(Self {
            cluster: text(spec, "/cluster/name").unwrap_or_default(),
            method: BackupMethod::of(spec),
            schedule: text(spec, "/schedule").unwrap_or_default(),
            suspended: boolean(spec, "/suspend").unwrap_or(false),
            last_schedule: moment(&manifest, "/status/lastScheduleTime"),
            next_schedule: moment(&manifest, "/status/nextScheduleTime"),
            namespace: who.namespace,
            name: who.name,
            manifest,
        })
    }
}
