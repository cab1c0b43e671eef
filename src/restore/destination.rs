//! The directories that a restore fills: claimed empty, and given back when it fails.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::error::RestoreError;
use super::room::existing_above;
use crate::verify::base::placement::UNFINISHED;

/// Directories that this restore may fill and, when it fails, empty again. Only what was
/// absent or empty is ever claimed, so giving back removes only what the restore made.
#[derive(Debug, Default)]
pub(crate) struct Claim {
    /// Claimed directories, and whether they were created (else they were empty).
    roots: Vec<(PathBuf, bool)>,
    /// Parents created on the way, deepest last.
    parents: Vec<PathBuf>,
}

impl Claim {
    /// Claims a directory: it must be absent or empty, and no link. It is created with
    /// mode 0700. `with_parent` also creates a missing directory right above it.
    pub(crate) fn take(&mut self, path: &Path, with_parent: bool) -> Result<(), RestoreError> {
        let refuse = |reason: &str| RestoreError::Destination {
            path: path.to_owned(),
            reason: reason.to_owned(),
        };
        match fs::symlink_metadata(path) {
            Ok(meta) if meta.is_symlink() => {
                return Err(refuse("it is a symbolic link; name the directory itself"));
            }
            Ok(meta) if !meta.is_dir() => return Err(refuse("it is a file")),
            Ok(_) => {
                check_empty(path)?;
                fs::set_permissions(path, fs::Permissions::from_mode(0o700))
                    .map_err(|error| RestoreError::local("set the mode of", path, error))?;
                self.roots.push((path.to_owned(), false));
                return Ok(());
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(RestoreError::local("look at", path, error)),
        }
        if let Some(parent) = path
            .parent()
            .filter(|parent| with_parent && !parent.exists())
        {
            create_private(parent)?;
            self.parents.push(parent.to_owned());
        }
        create_private(path)?;
        self.roots.push((path.to_owned(), true));
        Ok(())
    }

    /// Removes everything that was created; what was an empty directory is empty again.
    /// Never follows links.
    pub(crate) fn give_back(&self) -> Result<(), RestoreError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |error| RestoreError::local("remove", &path, error)
        };
        for (root, created) in self.roots.iter().rev() {
            if *created {
                fs::remove_dir_all(root).map_err(failed(root))?;
                continue;
            }
            for entry in fs::read_dir(root).map_err(failed(root))? {
                let entry = entry.map_err(failed(root))?;
                let path = entry.path();
                let kind = entry.file_type().map_err(failed(&path))?;
                if kind.is_dir() {
                    fs::remove_dir_all(&path).map_err(failed(&path))?;
                } else {
                    fs::remove_file(&path).map_err(failed(&path))?;
                }
            }
        }
        for parent in self.parents.iter().rev() {
            match fs::remove_dir(parent) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
                Err(error) => return Err(failed(parent)(error)),
            }
        }
        Ok(())
    }

    /// [`Self::give_back`] where another error is already on its way.
    pub(crate) fn give_back_or_warn(&self) {
        if let Err(left) = self.give_back() {
            tracing::warn!(%left, "remove an unfinished restore");
        }
    }

    /// Parents that were created on the way.
    pub(crate) fn parents(&self) -> impl Iterator<Item = &Path> {
        self.parents.iter().map(PathBuf::as_path)
    }

    /// The claimed directories.
    pub(crate) fn roots(&self) -> impl Iterator<Item = &Path> {
        self.roots.iter().map(|(path, _)| path.as_path())
    }
}

/// The PostgreSQL data directory or tablespace that `path` lies in or is, if any: what a
/// server believes to be its own nobody else writes into. Links are resolved as far as the
/// path exists.
pub fn enclosing_data_directory(path: &Path) -> Option<PathBuf> {
    let existing = existing_above(path).canonicalize().ok()?;
    existing
        .ancestors()
        .find(|place| {
            let name = place.file_name().and_then(|name| name.to_str());
            place.join("PG_VERSION").is_file() || name.is_some_and(is_tablespace_version)
        })
        .map(Path::to_owned)
}

/// `PG_15_202209061`, the directory of one version's files in a tablespace
/// (`TABLESPACE_VERSION_DIRECTORY`, `src/include/common/relpath.h`).
fn is_tablespace_version(name: &str) -> bool {
    name.strip_prefix("PG_")
        .and_then(|rest| rest.split_once('_'))
        .is_some_and(|(major, catalog)| {
            [major, catalog]
                .iter()
                .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
        })
}

/// Whether a directory may be filled: absent, or there and empty, and not within the data
/// directory of another server.
pub fn check_free(path: &Path) -> Result<(), RestoreError> {
    check_unused(path)?;
    match enclosing_data_directory(path) {
        Some(other) => Err(RestoreError::Destination {
            path: path.to_owned(),
            reason: format!(
                "it lies in the PostgreSQL directory {}; name a place outside of it",
                other.display()
            ),
        }),
        None => Ok(()),
    }
}

fn check_unused(path: &Path) -> Result<(), RestoreError> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_symlink() => Err(RestoreError::Destination {
            path: path.to_owned(),
            reason: "it is a symbolic link; name the directory itself".to_owned(),
        }),
        Ok(meta) if !meta.is_dir() => Err(RestoreError::Destination {
            path: path.to_owned(),
            reason: "it is a file".to_owned(),
        }),
        Ok(_) => check_empty(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(RestoreError::local("look at", path, error)),
    }
}

fn check_empty(path: &Path) -> Result<(), RestoreError> {
    let mut entries =
        fs::read_dir(path).map_err(|error| RestoreError::local("look into", path, error))?;
    if entries.next().is_none() {
        return Ok(());
    }
    let reason = if path.join(UNFINISHED).exists() {
        "an earlier restore into it did not finish; remove the directory first"
    } else if path.join("PG_VERSION").exists() {
        "it holds a PostgreSQL data directory; name an empty or new directory"
    } else {
        "it is not empty; name an empty or new directory"
    };
    Err(RestoreError::Destination {
        path: path.to_owned(),
        reason: reason.to_owned(),
    })
}

/// Creates one directory that only its owner may enter.
pub(crate) fn create_private(path: &Path) -> Result<(), RestoreError> {
    fs::DirBuilder::new()
        .mode(0o700)
        .create(path)
        .map_err(|error| RestoreError::local("create", path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_absent_or_empty_directories_are_claimed() {
        let temp = tempfile::tempdir().unwrap();
        let mut claim = Claim::default();
        claim.take(&temp.path().join("new"), false).unwrap();
        let empty = temp.path().join("empty");
        fs::create_dir(&empty).unwrap();
        claim.take(&empty, false).unwrap();
        assert_eq!(
            fs::metadata(&empty).unwrap().permissions().mode() & 0o777,
            0o700
        );

        let full = temp.path().join("full");
        fs::create_dir(&full).unwrap();
        fs::write(full.join("mine"), "x").unwrap();
        let link = temp.path().join("link");
        std::os::unix::fs::symlink(&empty, &link).unwrap();
        for (path, word) in [
            (full.clone(), "not empty"),
            (link, "symbolic link"),
            (full.join("mine"), "a file"),
        ] {
            for error in [
                Claim::default().take(&path, false).unwrap_err(),
                check_free(&path).unwrap_err(),
            ] {
                assert!(error.is_refusal());
                assert!(error.to_string().contains(word), "{error}");
            }
        }
        fs::write(full.join(UNFINISHED), "").unwrap();
        let error = check_free(&full).unwrap_err();
        assert!(error.to_string().contains("did not finish"), "{error}");
    }

    #[test]
    fn other_servers_directories_are_seen_from_within_and_through_links() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().canonicalize().unwrap();
        let data = root.join("main");
        fs::create_dir_all(data.join("base")).unwrap();
        fs::create_dir_all(root.join("space/PG_15_202209061/5")).unwrap();
        fs::write(data.join("PG_VERSION"), "15\n").unwrap();
        let link = root.join("link");
        std::os::unix::fs::symlink(data.join("base"), &link).unwrap();
        for inside in [data.clone(), data.join("base/new/er"), link.join("new")] {
            assert_eq!(enclosing_data_directory(&inside), Some(data.clone()));
        }
        let version = root.join("space/PG_15_202209061");
        assert_eq!(
            enclosing_data_directory(&version.join("5")),
            Some(version.clone())
        );
        let error = check_free(&link.join("new")).unwrap_err();
        assert!(error.is_refusal(), "{error}");
        for outside in [root.join("other"), root.join("space"), root.join("PG_x_1")] {
            assert_eq!(enclosing_data_directory(&outside), None);
            check_free(&root.join("other")).unwrap();
        }
    }

    #[test]
    fn giving_back_leaves_what_was_there_before() {
        let temp = tempfile::tempdir().unwrap();
        let outside = temp.path().join("outside");
        fs::write(&outside, "precious").unwrap();
        let empty = temp.path().join("empty");
        fs::create_dir(&empty).unwrap();
        let new = temp.path().join("parent/new");

        let mut claim = Claim::default();
        claim.take(&empty, false).unwrap();
        claim.take(&new, true).unwrap();
        for root in [&empty, &new] {
            fs::create_dir(root.join("d")).unwrap();
            fs::write(root.join("d/f"), "x").unwrap();
            std::os::unix::fs::symlink(&outside, root.join("link")).unwrap();
        }
        claim.give_back().unwrap();
        assert_eq!(fs::read_dir(&empty).unwrap().count(), 0);
        assert!(!temp.path().join("parent").exists());
        assert_eq!(fs::read_to_string(&outside).unwrap(), "precious");
    }
}
