//! Flushing a restored tree to disk. Blocking.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::thread;

use super::error::RestoreError;
use super::progress::{Cancel, Meter};

/// How many files are flushed at once.
const WORKERS: usize = 8;

/// Flushes every file and directory below `root`, and `root`'s own entry in its parent.
/// Links are not followed: what they lead to is flushed as a root of its own.
pub(crate) fn sync_tree(root: &Path, meter: &Meter, cancel: &Cancel) -> Result<(), RestoreError> {
    let mut directories = vec![root.to_owned()];
    let mut next = 0;
    while let Some(directory) = directories.get(next).cloned() {
        next += 1;
        let mut files = Vec::new();
        let failed = |error| RestoreError::local("look into", &directory, error);
        for entry in fs::read_dir(&directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let kind = entry.file_type().map_err(failed)?;
            if kind.is_dir() {
                directories.push(entry.path());
            } else if kind.is_file() {
                files.push(entry.path());
            }
        }
        sync_all(files, meter, cancel)?;
    }
    // Entries of a directory are durable once the directory is; deepest first.
    for directory in directories.iter().rev() {
        sync_one(directory)?;
    }
    root.parent().map_or(Ok(()), sync_one)
}

fn sync_all(files: Vec<PathBuf>, meter: &Meter, cancel: &Cancel) -> Result<(), RestoreError> {
    let workers = WORKERS.min(files.len());
    let queue = Mutex::new(files);
    let first_error = Mutex::new(None);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop();
                    let Some(path) = next else { return };
                    let result = if cancel.is_cancelled() {
                        Err(RestoreError::Cancelled)
                    } else {
                        sync_one(&path)
                    };
                    if let Err(error) = result {
                        first_error
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .get_or_insert(error);
                        return;
                    }
                    meter.add(1);
                }
            });
        }
    });
    match first_error
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
    {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// Flushes one file or directory.
pub(crate) fn sync_one(path: &Path) -> Result<(), RestoreError> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(|error| RestoreError::local("flush", path, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::restore::progress::{Step, Watch};

    #[test]
    fn every_file_is_visited_and_links_are_not_followed() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("data");
        fs::create_dir_all(root.join("base/1")).unwrap();
        for name in ["PG_VERSION", "base/1/1", "base/1/2"] {
            fs::write(root.join(name), "x").unwrap();
        }
        // A dangling link would fail if it were opened.
        std::os::unix::fs::symlink("/nowhere/at/all", root.join("link")).unwrap();
        let meter = Meter::new(&Watch::default(), Step::Sync, None);
        sync_tree(&root, &meter, &Cancel::new()).unwrap();
        assert_eq!(meter.done(), 3);
    }

    #[test]
    fn what_cannot_be_flushed_is_an_error() {
        let temp = tempfile::tempdir().unwrap();
        let meter = Meter::new(&Watch::default(), Step::Sync, None);
        let error = sync_tree(&temp.path().join("gone"), &meter, &Cancel::new()).unwrap_err();
        assert!(error.is_unreachable(), "{error}");
        let missing = vec![temp.path().join("gone")];
        assert!(sync_all(missing, &meter, &Cancel::new()).is_err());
    }
}
