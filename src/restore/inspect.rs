//! What an extracted data directory says of itself, held against its description.

use std::fs;
use std::io;
use std::path::Path;

use serde::Serialize;

use super::error::RestoreError;
use crate::postgres::{BackupLabel, ControlFile};
use crate::repository::BaseBackup;
use crate::verify::base::identity::contradiction;

/// The most bytes that a small file of the data directory may have.
const SMALL: u64 = 1 << 20;

/// The facts that recovery will start from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RestoredFacts {
    /// The PostgreSQL major version, from `PG_VERSION`.
    pub major: u32,
    /// `global/pg_control`.
    pub control_file: ControlFile,
    /// `backup_label`.
    pub backup_label: BackupLabel,
}

/// Reads the members that every base backup must have, and refuses what does not belong
/// to `backup`.
pub(crate) fn inspect(root: &Path, backup: &BaseBackup) -> Result<RestoredFacts, RestoreError> {
    let missing = |name: &str| RestoreError::Damaged {
        object: backup.id.clone(),
        what: format!("none of its archives holds {name}; its last part may be missing"),
    };
    let unreadable = |name: &str, why: String| RestoreError::Damaged {
        object: backup.id.clone(),
        what: format!("{name} cannot be read: {why}"),
    };
    let version = read(root, "PG_VERSION")?.ok_or_else(|| missing("PG_VERSION"))?;
    let major: u32 = std::str::from_utf8(&version)
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .ok_or_else(|| unreadable("PG_VERSION", "it holds no version".to_owned()))?;
    let control = read(root, "global/pg_control")?.ok_or_else(|| missing("global/pg_control"))?;
    let control_file = ControlFile::parse(&control)
        .map_err(|error| unreadable("global/pg_control", error.to_string()))?;
    let label = read(root, "backup_label")?.ok_or_else(|| RestoreError::LabelMissing {
        backup: backup.id.clone(),
    })?;
    let backup_label = BackupLabel::parse(&label)
        .map_err(|error| unreadable("backup_label", error.to_string()))?;
    let facts = RestoredFacts {
        major,
        control_file,
        backup_label,
    };
    match contradiction(
        facts.major,
        &facts.control_file,
        &facts.backup_label,
        backup,
    ) {
        None => Ok(facts),
        Some(what) => Err(RestoreError::Contradictory {
            backup: backup.id.clone(),
            what,
        }),
    }
}

fn read(root: &Path, name: &str) -> Result<Option<Vec<u8>>, RestoreError> {
    let path = root.join(name);
    let failed = |error| RestoreError::local("read", &path, error);
    match fs::metadata(&path) {
        Ok(meta) if meta.is_file() && meta.len() <= SMALL => {
            fs::read(&path).map(Some).map_err(failed)
        }
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error)),
    }
}
