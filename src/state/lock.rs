//! Locks that the kernel releases when their holder dies: how a killed run is told from one
//! that still works, also across containers that share a volume.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// A lock that is held. Dropping it releases it.
#[derive(Debug)]
pub(super) struct Held {
    _file: File,
    path: PathBuf,
}

impl Held {
    /// Removes the lock's file and releases it.
    pub(super) fn remove(self) {
        // A file that stays is found unlocked later and removed then.
        let _ = fs::remove_file(&self.path);
    }
}

/// The folder of locks beside the database.
pub(super) fn folder(directory: &Path) -> PathBuf {
    directory.join("locks")
}

fn open(directory: &Path, name: &str) -> io::Result<(File, PathBuf)> {
    let folder = folder(directory);
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)?;
    let path = folder.join(name);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)?;
    Ok((file, path))
}

/// Takes a lock if nobody holds it.
pub(super) fn try_take(directory: &Path, name: &str) -> io::Result<Option<Held>> {
    let (file, path) = open(directory, name)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(Held { _file: file, path })),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_until_it_is_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let held = try_take(directory.path(), "run").unwrap().unwrap();
        assert!(try_take(directory.path(), "run").unwrap().is_none());
        drop(held);
        let again = try_take(directory.path(), "run").unwrap().unwrap();
        again.remove();
        assert!(!folder(directory.path()).join("run").exists());
    }
}
