//! A `backup_manifest` among the files.

use std::path::Path;

use super::context::BaseContext;
use crate::finding::{Code, Finding};
use crate::postgres::manifest::{
    FileHasher, ManifestError, ManifestFile, ManifestReader, ManifestSummary, ManifestWalRange,
};
use crate::postgres::{BackupLabel, Lsn};

/// The most entries that are compared, some 60 bytes each.
const MAX_FILES: usize = 1_000_000;

/// Reads a manifest.
#[derive(Debug)]
pub(super) struct ManifestFiles {
    reader: ManifestReader,
    /// Paths, and sizes in bytes.
    files: Vec<(Box<[u8]>, u64)>,
    /// What it says of the backup's label.
    label: Option<ManifestFile>,
    archive: u16,
    failed: Option<ManifestError>,
}

impl ManifestFiles {
    pub(super) fn new(archive: u16) -> Self {
        Self {
            reader: ManifestReader::new(),
            files: Vec::new(),
            label: None,
            archive,
            failed: None,
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        if self.failed.is_some() {
            return;
        }
        let (files, label) = (&mut self.files, &mut self.label);
        let result = self.reader.push(bytes, &mut |file| {
            if file.path == b"backup_label" {
                *label = Some(file.clone());
            }
            if files.len() < MAX_FILES {
                files.push((file.path.into_boxed_slice(), file.size));
            }
        });
        self.failed = result.err();
    }

    /// Holds the manifest against the files, if it is of this backup. A server that was
    /// made from a base backup keeps that one's manifest in its data directory, and
    /// PostgreSQL never looks at it (`excludeFiles` in `src/backend/backup/basebackup.c`):
    /// such a one says nothing of this backup.
    pub(super) fn compare(
        self,
        context: &BaseContext,
        label: Option<(&BackupLabel, &[u8])>,
        complete: bool,
    ) -> Result<Vec<Finding>, String> {
        let summary = match (self.failed, label) {
            (None, Some(label)) => match self.reader.finish() {
                Ok(summary) if is_of(&summary, self.label.as_ref(), label, context.end) => summary,
                Ok(_) => {
                    return Err("backup_manifest in the data directory is of another backup; PostgreSQL does not look at it".to_owned());
                }
                Err(error) => return Err(unread(&error)),
            },
            (Some(error), _) => return Err(unread(&error)),
            (None, None) => return Ok(Vec::new()),
        };
        let key = context.key(self.archive);
        let mut findings = Vec::new();
        if summary.files > self.files.len() as u64 {
            return Err(format!(
                "backup_manifest lists {} files, more than are compared",
                summary.files
            ));
        }
        for (path, size) in self.files {
            let path = String::from_utf8_lossy(&path).into_owned();
            let found = match context.size_of(Path::new(&path)) {
                Some(found) if found == size => continue,
                Some(found) => format!("has {found} bytes in the archives"),
                None if complete => "is in none of the archives".to_owned(),
                None => continue,
            };
            findings.push(Finding::new(
                Code::ManifestMismatch,
                key,
                format!("{path} {found}; backup_manifest says {size} bytes"),
            ));
        }
        Ok(findings)
    }
}

/// Whether a manifest is of the backup with this label and end. Two backups can begin at
/// the same checkpoint: the copy of a standby, and the copy that the standby was made from.
fn is_of(
    summary: &ManifestSummary,
    listed: Option<&ManifestFile>,
    (label, bytes): (&BackupLabel, &[u8]),
    end: Option<Lsn>,
) -> bool {
    let begins = |range: &&ManifestWalRange| range.start == label.start_lsn;
    if !summary.wal_ranges.iter().any(|range| begins(&range)) {
        return false;
    }
    let Some(file) = listed else {
        let mut ranges = summary.wal_ranges.iter();
        return end.is_none_or(|end| ranges.any(|range| range.end == end));
    };
    file.size == bytes.len() as u64
        && file.checksum.is_none_or(|listed| {
            let mut hasher = FileHasher::new(listed.algorithm());
            hasher.update(bytes);
            hasher.finish() == listed
        })
}

fn unread(error: &ManifestError) -> String {
    format!("{error}; it was not compared, for it may be left over from another backup")
}
