//! Handing a restored tree over to the user of the server.

use std::os::unix::fs::{MetadataExt, lchown};
use std::path::{Path, PathBuf};

use super::RunAs;

/// A file that could not be handed over.
#[derive(Debug, thiserror::Error)]
#[error("cannot hand {path} over to the server's user: {source}")]
pub struct OwnershipError {
    /// The file.
    pub path: PathBuf,
    /// The system's own words.
    pub source: std::io::Error,
}

/// Gives everything below `root` to the server's user. Links are handed over themselves,
/// never followed. Does nothing when the server runs as walproof's own user. Blocking;
/// memory grows with the depth of the tree and one directory's sub-directories.
pub fn hand_over(root: &Path, run_as: &RunAs) -> Result<(), OwnershipError> {
    if !run_as.change {
        return Ok(());
    }
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| OwnershipError { path, source }
    };
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        lchown(&directory, Some(run_as.uid), Some(run_as.gid)).map_err(failed(&directory))?;
        for entry in std::fs::read_dir(&directory).map_err(failed(&directory))? {
            let entry = entry.map_err(failed(&directory))?;
            let path = entry.path();
            let metadata = entry.metadata().map_err(failed(&path))?; // of the link itself
            if metadata.is_dir() {
                directories.push(path);
            } else if (metadata.uid(), metadata.gid()) != (run_as.uid, run_as.gid) {
                lchown(&path, Some(run_as.uid), Some(run_as.gid)).map_err(failed(&path))?;
            }
        }
    }
    Ok(())
}

/// Whether the server's user may enter and read this file or directory: every directory
/// on the way must let it pass. Looks at the permission bits only.
pub fn may_read(path: &Path, run_as: &RunAs) -> bool {
    let Ok(path) = path.canonicalize() else {
        return false;
    };
    let allowed = |place: &Path, owner: u32, others: u32| {
        std::fs::metadata(place).is_ok_and(|metadata| {
            let bits = if metadata.uid() == run_as.uid {
                owner
            } else {
                others
            };
            metadata.mode() & bits == bits
        })
    };
    path.ancestors()
        .skip(1)
        .all(|directory| allowed(directory, 0o100, 0o001))
        && allowed(&path, 0o500, 0o005)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use nix::unistd::Uid;

    use super::*;

    fn nobody(change: bool) -> RunAs {
        RunAs {
            uid: 65_534,
            gid: 65_534,
            name: "nobody".into(),
            change,
        }
    }

    #[test]
    fn links_are_never_followed() {
        let place = tempfile::tempdir().unwrap();
        let outside = place.path().join("outside");
        std::fs::write(&outside, "production").unwrap();
        let tree = place.path().join("tree");
        std::fs::create_dir_all(tree.join("deep/er")).unwrap();
        symlink(&outside, tree.join("deep/link")).unwrap();
        let before = std::fs::metadata(&outside).unwrap().uid();
        hand_over(&tree, &nobody(false)).unwrap();
        assert_ne!(std::fs::metadata(&tree).unwrap().uid(), 65_534);
        if !Uid::effective().is_root() {
            return;
        }
        hand_over(&tree, &nobody(true)).unwrap();
        let link = std::fs::symlink_metadata(tree.join("deep/link")).unwrap();
        assert_eq!(link.uid(), 65_534);
        assert_eq!(
            std::fs::metadata(tree.join("deep/er")).unwrap().uid(),
            65_534
        );
        assert_eq!(std::fs::metadata(&outside).unwrap().uid(), before);
    }

    #[test]
    fn a_closed_directory_on_the_way_closes_everything_below() {
        let place = tempfile::tempdir_in("/tmp").unwrap();
        let open = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        let program = place.path().join("program");
        std::fs::write(&program, "").unwrap();
        open(&program, 0o755);
        open(place.path(), 0o755);
        assert!(may_read(&program, &nobody(true)));
        open(place.path(), 0o700);
        assert!(!may_read(&program, &nobody(true)));
    }
}
