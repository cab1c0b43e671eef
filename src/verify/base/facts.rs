//! What the small files of a base backup say, held against each other and against the
//! description.

use super::identity::contradiction;
use super::small_files::SmallFiles;
use super::status_files::{self, ReadStatusFile};
use super::suspects::{OtherSuspect, Subject};
use crate::finding::{Code, Finding};
use crate::postgres::page::BLOCK_SIZE;
use crate::postgres::relation_file::{DEFAULT_TABLESPACE, GLOBAL_TABLESPACE};
use crate::postgres::relation_map::RelationMap;
use crate::postgres::tablespace_map::TablespaceMap;
use crate::postgres::wal::RelationLocator;
use crate::postgres::{BackupLabel, ControlFile, DatabaseState, Lsn, SystemId};
use crate::repository::{ArchiveContents, BaseBackup};

/// What the small files say.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) control: Option<ControlFile>,
    pub(super) label: Option<BackupLabel>,
    pub(super) findings: Vec<Finding>,
    pub(super) suspects: Vec<OtherSuspect>,
    /// Relations that the maps point to, and the archive of the map.
    pub(super) mapped: Vec<(RelationLocator, u16)>,
    pub(super) not_compared: Vec<String>,
}

/// What a reading has besides the small files.
#[derive(Debug)]
pub(super) struct Surroundings<'a> {
    pub(super) backup: &'a BaseBackup,
    /// The database system of the repository.
    pub(super) system_id: Option<SystemId>,
    /// Whether everything was read, so that what was not seen is not there.
    pub(super) complete: bool,
    /// Databases that have relations.
    pub(super) databases: &'a std::collections::BTreeSet<u32>,
    /// Tablespaces that the data directory links to.
    pub(super) links: &'a [u32],
    pub(super) status: &'a [ReadStatusFile],
}

impl Surroundings<'_> {
    /// The key of an archive.
    fn key(&self, archive: u16) -> String {
        let archive = self.backup.archives.get(usize::from(archive));
        archive.map_or_else(|| self.backup.id.clone(), |archive| archive.key.clone())
    }

    /// The first archive of the data directory.
    fn data(&self) -> u16 {
        let archives = &self.backup.archives;
        let at = archives
            .iter()
            .position(|of| of.contents == ArchiveContents::Data);
        at.and_then(|at| u16::try_from(at).ok()).unwrap_or(u16::MAX)
    }
}

impl Facts {
    /// Reads the small files.
    pub(super) fn of(small: &SmallFiles, around: &Surroundings<'_>) -> Self {
        let mut facts = Self::default();
        facts.identity(small, around);
        facts.maps(small, around);
        facts.databases(small, around);
        facts.tablespaces(small, around);
        if let Some(control) = &facts.control
            && around.complete
        {
            let lacking = status_files::lacking(
                &control.checkpoint,
                around.status,
                &|archive| around.key(archive),
                around.data(),
            );
            facts.suspects.extend(lacking);
        }
        facts
    }

    fn find(&mut self, code: Code, object: &str, message: String) {
        self.findings.push(Finding::new(code, object, message));
    }

    fn identity(&mut self, small: &SmallFiles, around: &Surroundings<'_>) {
        let backup = around.backup;
        let id = backup.id.as_str();
        let mut required = |name: &str| match small.get(name) {
            Some((_, Some(bytes))) => Some(bytes),
            Some((_, None)) => {
                self.find(
                    Code::BackupDamaged,
                    id,
                    format!("{name} cannot be read: it is far larger than any server writes"),
                );
                None
            }
            None => {
                if around.complete && name == "backup_label" {
                    let message = "none of the archives holds a backup_label".to_owned();
                    self.find(Code::BackupLabelMissing, id, message);
                } else if around.complete {
                    let message =
                        format!("none of its archives holds {name}; its last part may be missing");
                    self.find(Code::BackupDamaged, id, message);
                }
                None
            }
        };
        let version = required("PG_VERSION");
        let control = required("global/pg_control");
        let label = required("backup_label");
        let unreadable = |name: &str, why: &str| format!("{name} cannot be read: {why}");
        let major = version.and_then(|bytes| {
            let major = major_of(bytes);
            if major.is_none() {
                let message = unreadable("PG_VERSION", "it holds no version");
                self.find(Code::BackupDamaged, id, message);
            }
            major
        });
        self.control = control.and_then(|bytes| match ControlFile::parse(bytes) {
            Ok(control) => Some(control),
            Err(error) => {
                let message = unreadable("global/pg_control", &error.to_string());
                self.find(Code::BackupDamaged, id, message);
                None
            }
        });
        self.label = label.and_then(|bytes| match BackupLabel::parse(bytes) {
            Ok(label) => Some(label),
            Err(error) => {
                let message = unreadable("backup_label", &error.to_string());
                self.find(Code::BackupDamaged, id, message);
                None
            }
        });
        let (Some(major), Some(control), Some(label)) = (major, &self.control, &self.label) else {
            return;
        };
        let what = contradiction(major, control, label, backup)
            .or_else(|| further(major, control, label, around));
        if let Some(what) = what {
            self.find(Code::BackupInfoContradictory, id, what);
        }
    }

    /// Every map must be whole, and what it points to must be there.
    fn maps(&mut self, small: &SmallFiles, around: &Surroundings<'_>) {
        let keys = |archive| around.key(archive);
        let mut mapped = std::collections::BTreeSet::new();
        for (directory, archive, bytes) in small.named(RelationMap::FILE_NAME) {
            let Some((tablespace, database)) = place_of(directory) else {
                continue;
            };
            mapped.insert(database);
            let fault = match bytes.map(RelationMap::parse) {
                Some(Ok(map)) => {
                    self.mapped.extend(map.mappings.iter().map(|mapping| {
                        let locator = RelationLocator {
                            tablespace,
                            database,
                            relation: mapping.relation,
                        };
                        (locator, archive)
                    }));
                    continue;
                }
                Some(Err(error)) => error.to_string(),
                None => "it is far larger than any server writes".to_owned(),
            };
            self.suspects.push(OtherSuspect {
                subject: Subject::RelationMap { database },
                finding: Finding::new(
                    Code::RelationMapCorrupt,
                    keys(archive),
                    format!("{directory}/{}: {fault}", RelationMap::FILE_NAME),
                ),
            });
        }
        if !around.complete {
            return;
        }
        let lacking = around
            .databases
            .iter()
            .chain(&[0])
            .filter(|database| !mapped.contains(database))
            .collect::<std::collections::BTreeSet<_>>();
        for database in lacking {
            let message = if *database == 0 {
                "global/pg_filenode.map is in none of its archives".to_owned()
            } else {
                format!(
                    "pg_filenode.map of database {database} is in none of its archives, though its relations are"
                )
            };
            self.suspects.push(OtherSuspect {
                subject: Subject::RelationMap {
                    database: *database,
                },
                finding: Finding::new(Code::RelationMapCorrupt, keys(around.data()), message),
            });
        }
    }

    /// A database whose directory has a map must have a version, the cluster's.
    fn databases(&mut self, small: &SmallFiles, around: &Surroundings<'_>) {
        let of_control = self.control.as_ref().and_then(ControlFile::major);
        let cluster = of_control.or_else(|| {
            let (_, bytes) = small.get("PG_VERSION")?;
            major_of(bytes?)
        });
        let directories: Vec<_> = small
            .named(RelationMap::FILE_NAME)
            .filter_map(|(directory, _, _)| Some((directory, place_of(directory)?.1)))
            .filter(|(_, database)| *database != 0)
            .collect();
        for (directory, database) in directories {
            let message = match small.get(&format!("{directory}/PG_VERSION")) {
                None if around.complete => {
                    format!("{directory}/PG_VERSION is in none of its archives")
                }
                Some((_, bytes)) if cluster.is_some() && bytes.and_then(major_of) != cluster => {
                    format!("{directory}/PG_VERSION is not that of the cluster")
                }
                _ => continue,
            };
            self.suspects.push(OtherSuspect {
                subject: Subject::Database(database),
                finding: Finding::new(Code::BackupDamaged, &around.backup.id, message),
            });
        }
    }

    fn tablespaces(&mut self, small: &SmallFiles, around: &Surroundings<'_>) {
        let backup = around.backup;
        let described = |oid| backup.tablespaces.iter().any(|known| known.oid == oid);
        for oid in around.links.iter().filter(|oid| !described(**oid)) {
            self.suspects.push(OtherSuspect {
                subject: Subject::Tablespace(*oid),
                finding: Finding::new(
                    Code::BackupInfoContradictory,
                    &backup.id,
                    format!(
                        "pg_tblspc/{oid} links to a tablespace that the description does not know, and of which there is no archive"
                    ),
                ),
            });
        }
        let Some((_, bytes)) = small.get("tablespace_map") else {
            return;
        };
        let what = match bytes.map(TablespaceMap::parse) {
            None => Some("tablespace_map is far larger than any server writes".to_owned()),
            Some(Err(error)) => Some(error.to_string()),
            Some(Ok(map)) => map
                .tablespaces
                .iter()
                .find(|mapped| !described(mapped.oid))
                .map(|mapped| {
                    format!(
                        "tablespace_map has tablespace {}, which the description does not know",
                        mapped.oid
                    )
                }),
        };
        if let Some(what) = what {
            self.find(Code::BackupInfoContradictory, &backup.id, what);
        }
    }
}

/// What else must fit. Where the label comes from another backup or the control file from
/// another server, the words above have said so.
fn further(
    major: u32,
    control: &ControlFile,
    label: &BackupLabel,
    around: &Surroundings<'_>,
) -> Option<String> {
    let backup = around.backup;
    if let Some(system_id) = around.system_id
        && system_id != control.system_id
    {
        return Some(format!(
            "pg_control belongs to database system {}, the repository to {system_id}",
            control.system_id
        ));
    }
    if let Some(of_control) = control.major()
        && of_control != major
    {
        return Some(format!(
            "PG_VERSION says {major}, pg_control is of PostgreSQL {of_control}"
        ));
    }
    if let Some(described) = backup.data_checksums
        && described != (control.data_checksum_version != 0)
    {
        let words = |on| if on { "on" } else { "off" };
        return Some(format!(
            "pg_control says that page checksums are {}, the description that they are {}",
            words(control.data_checksum_version != 0),
            words(described)
        ));
    }
    let named = label.start_segment.number(backup.segment_size).ok();
    if named != Some(backup.segment_size.segment_of(label.start_lsn)) {
        return Some(format!(
            "backup_label begins at {}, which does not lie in its segment {}",
            label.start_lsn, label.start_segment
        ));
    }
    if label.checkpoint < label.start_lsn
        || backup.end_lsn.is_some_and(|end| label.checkpoint >= end)
    {
        return Some(format!(
            "the checkpoint of backup_label at {} does not lie between the backup's begin and end",
            label.checkpoint
        ));
    }
    if label.from_standby {
        // Recovery takes its end from the control file and stops with an error otherwise
        // (`InitWalRecovery` in `src/backend/access/transam/xlogrecovery.c`).
        if !matches!(
            control.state,
            DatabaseState::InArchiveRecovery | DatabaseState::ShutDownInRecovery
        ) {
            return Some(format!(
                "backup_label says that a standby was copied, pg_control is that of a server {}",
                control.state
            ));
        }
        if control.min_recovery_point.is_invalid() {
            return Some(
                "a standby was copied, and pg_control does not say how far recovery must go"
                    .to_owned(),
            );
        }
    }
    described_label(label, backup)
}

/// The description repeats the label.
fn described_label(label: &BackupLabel, backup: &BaseBackup) -> Option<String> {
    let described = BackupLabel::parse(backup.backup_label.as_deref()?.as_bytes()).ok()?;
    (described.start_lsn != label.start_lsn
        || described.checkpoint != label.checkpoint
        || described.from_standby != label.from_standby)
        .then(|| {
            format!(
                "backup_label begins at {} with the checkpoint at {}, its copy in the description at {} with {}",
                label.start_lsn, label.checkpoint, described.start_lsn, described.checkpoint
            )
        })
}

fn major_of(version: &[u8]) -> Option<u32> {
    std::str::from_utf8(version).ok()?.trim().parse().ok()
}

/// The tablespace and database of a directory that holds a map.
fn place_of(directory: &str) -> Option<(u32, u32)> {
    if directory == "global" {
        return Some((GLOBAL_TABLESPACE, 0));
    }
    let (parent, database) = directory.rsplit_once('/')?;
    let database = database.parse().ok()?;
    if parent == "base" {
        return Some((DEFAULT_TABLESPACE, database));
    }
    let (tablespace, _) = parent.strip_prefix("pg_tblspc/")?.split_once('/')?;
    Some((tablespace.parse().ok()?, database))
}

/// Whether blocks have the size that everything here is made for.
pub(super) const fn usual_blocks(control: &ControlFile) -> bool {
    control.block_size as usize == BLOCK_SIZE
        && control.relation_segment_blocks == super::relation_reader::SEGMENT_BLOCKS
}

/// Up to where pages of a standby's copy may have been changed: recovery takes the copy
/// for consistent there.
pub(super) fn consistent_at(control: &ControlFile, label: &BackupLabel) -> Option<Lsn> {
    label.from_standby.then_some(control.min_recovery_point)
}
