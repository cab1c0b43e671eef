//! What all archives of one base backup share while they are read.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;
use std::sync::{Mutex, PoisonError};

use super::suspects::MAX_SUSPECTS;
use super::touched::FrozenBlocks;
use crate::postgres::Lsn;
use crate::repository::BaseBackup;

/// What all archives of one base backup share while they are read.
#[derive(Debug)]
pub(super) struct BaseContext {
    /// Whether the description says that the cluster has page checksums.
    pub(super) checksums: Option<bool>,
    /// The backup's end.
    pub(super) end: Option<Lsn>,
    /// What WAL before the backup says.
    pub(super) touched: Option<FrozenBlocks>,
    /// Room for suspects.
    pub(super) room: AtomicUsize,
    /// Tablespaces that have archives of their own.
    pub(super) separate: Vec<u32>,
    /// The archives' keys.
    keys: Vec<String>,
    names: Mutex<Names>,
}

/// The names of all archives, to find one that comes twice. Kept as two hashes, 40 bytes
/// per file and directory: names themselves would take several times as much.
#[derive(Debug, Default)]
struct Names {
    seen: HashMap<(u64, u64), Entered>,
    hashers: (RandomState, RandomState),
}

/// One name that was entered.
#[derive(Clone, Copy, Debug)]
struct Entered {
    /// The size in bytes of a file, `None` for a directory.
    file: Option<u64>,
    archive: u16,
}

/// A name that cannot be there, and the archive to blame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NameClash {
    pub(super) archive: u16,
    pub(super) reason: &'static str,
}

impl BaseContext {
    pub(super) fn new(backup: &BaseBackup, touched: Option<FrozenBlocks>) -> Self {
        Self {
            checksums: backup.data_checksums,
            end: backup.end_lsn,
            touched,
            room: AtomicUsize::new(MAX_SUSPECTS),
            separate: backup
                .tablespaces
                .iter()
                .map(|tablespace| tablespace.oid)
                .collect(),
            keys: backup
                .archives
                .iter()
                .map(|archive| archive.key.clone())
                .collect(),
            names: Mutex::default(),
        }
    }

    /// The key of an archive.
    pub(super) fn key(&self, archive: u16) -> &str {
        self.keys
            .get(usize::from(archive))
            .map_or("", String::as_str)
    }

    /// Enters a file's name. `known_parent` remembers the folder that was entered last.
    pub(super) fn enter_file(
        &self,
        path: &Path,
        size: u64,
        archive: u16,
        known_parent: &mut PathBuf,
    ) -> Result<(), NameClash> {
        if let Some(parent) = path.parent()
            && parent != known_parent
        {
            self.enter_directory(parent, archive)?;
            parent.clone_into(known_parent);
        }
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let key = names.key(path);
        let entered = Entered {
            file: Some(size),
            archive,
        };
        match names.seen.insert(key, entered) {
            None => Ok(()),
            Some(other) => Err(NameClash {
                archive: other.archive.max(archive),
                reason: "the name occurs twice in this backup",
            }),
        }
    }

    /// The size of the file of that name, if there is one.
    pub(super) fn size_of(&self, path: &Path) -> Option<u64> {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.seen.get(&names.key(path))?.file
    }

    /// Enters a directory's name and those of all above it.
    pub(super) fn enter_directory(&self, path: &Path, archive: u16) -> Result<(), NameClash> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        for directory in path.ancestors().filter(|path| *path != Path::new("")) {
            let key = names.key(directory);
            let new = Entered {
                file: None,
                archive,
            };
            let entered = *names.seen.entry(key).or_insert(new);
            if entered.file.is_some() {
                return Err(NameClash {
                    archive: entered.archive.max(archive),
                    reason: "a folder of its path is a file of this backup",
                });
            }
        }
        Ok(())
    }
}

impl Names {
    fn key(&self, path: &Path) -> (u64, u64) {
        (self.hashers.0.hash_one(path), self.hashers.1.hash_one(path))
    }
}
