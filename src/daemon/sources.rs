//! The files of a configuration: whether they changed, and what they say.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::config::{self, Config, ConfigErrors, StateUrl};
use crate::evidence::{Digest, sha256_hex};

/// How a file looked: enough to see that it may have changed without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Look {
    path: PathBuf,
    /// Device, inode, size, and when it was changed in nanoseconds.
    seen: Option<(u64, u64, u64, i128)>,
}

impl Look {
    fn at(path: PathBuf) -> Self {
        let seen = std::fs::metadata(&path).ok().map(|file| {
            let changed = i128::from(file.mtime()) * 1_000_000_000 + i128::from(file.mtime_nsec());
            (file.dev(), file.ino(), file.size(), changed)
        });
        Self { path, seen }
    }
}

/// A configuration and the bytes it was read from.
#[derive(Clone, Debug)]
pub(super) struct Loaded {
    pub(super) config: Config,
    pub(super) stamp: Stamp,
}

/// Which bytes a configuration was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Every file with its digest, the main file first.
    pub(super) files: Vec<Digest>,
    looks: Vec<Look>,
}

impl Stamp {
    /// The digest of the main file; of nothing when there is none.
    pub(super) fn sha256(&self) -> String {
        self.files
            .first()
            .map_or_else(|| sha256_hex(b""), |file| file.sha256.clone())
    }

    /// Whether a look tells that something may have changed.
    pub(super) fn may_have_changed(&self) -> bool {
        self.looks
            .iter()
            .any(|look| Look::at(look.path.clone()) != *look)
    }

    /// As they are now. What changes from now on is seen by a look.
    fn of(main: &Path) -> Self {
        let paths = config::files(main);
        // Folders too, for definitions that come and go.
        let base = main.parent().unwrap_or(Path::new(""));
        let mut watched: BTreeSet<PathBuf> = [base.join("drills")].into();
        watched.extend(
            paths
                .iter()
                .skip(1)
                .filter_map(|drill| drill.parent().map(Path::to_owned)),
        );
        watched.extend(paths.iter().cloned());
        let looks = watched.into_iter().map(Look::at).collect();
        let files = paths
            .iter()
            .map(|path| {
                let bytes = std::fs::read(path).unwrap_or_default();
                Digest::of(path.display().to_string(), &bytes)
            })
            .collect();
        Self { files, looks }
    }
}

/// So often files are read that change while they are read.
const READS: u32 = 3;

/// Reads the configuration in `file`; `state` wins over what it says.
///
/// The digests are those of the bytes that were read: they are taken before and after, and
/// must agree. Of files that never rest the older ones are given, so that the next look reads
/// them again.
pub(super) fn read(file: &Path, state: Option<&StateUrl>) -> Result<Loaded, Refused> {
    let mut stamp = Stamp::of(file);
    let mut reads = 1;
    loop {
        let loaded = config::load(file);
        let after = Stamp::of(file);
        if after.files != stamp.files && reads < READS {
            stamp = after;
            reads += 1;
            continue;
        }
        return match loaded {
            Ok(mut config) => {
                if let Some(state) = state {
                    config.state = state.clone();
                }
                Ok(Loaded { config, stamp })
            }
            Err(errors) => Err(Refused { stamp, errors }),
        };
    }
}

/// A configuration with mistakes.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) stamp: Stamp,
    pub(super) errors: ConfigErrors,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_seen_without_reading() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("walproof.yaml");
        std::fs::write(&file, "version: 1\n").unwrap();
        let loaded = read(&file, None).unwrap();
        assert!(!loaded.stamp.may_have_changed());
        assert_eq!(loaded.stamp.sha256(), sha256_hex(b"version: 1\n"));
        // Replaced by another file, as a deployment does.
        let other = directory.path().join("other");
        std::fs::write(&other, "version: 2\n").unwrap();
        std::fs::rename(&other, &file).unwrap();
        assert!(loaded.stamp.may_have_changed());
        let refused = read(&file, None).unwrap_err();
        assert!(!refused.stamp.may_have_changed());
        assert_ne!(refused.stamp.sha256(), loaded.stamp.sha256());
        assert!(refused.errors.to_string().contains("`version`"));
        // A folder of drills that was not there.
        std::fs::write(&file, "version: 1\n").unwrap();
        let loaded = read(&file, None).unwrap();
        std::fs::create_dir(directory.path().join("drills")).unwrap();
        assert!(loaded.stamp.may_have_changed());
        let loaded = read(&file, None).unwrap();
        std::fs::write(
            directory.path().join("drills/a.yaml"),
            "version: 1\nname: a\n",
        )
        .unwrap();
        assert!(loaded.stamp.may_have_changed());
        let loaded = read(&file, None).unwrap();
        assert_eq!(loaded.stamp.files.len(), 2);
    }

    #[test]
    fn a_new_drill_with_a_mistake_is_part_of_what_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("walproof.yaml");
        let drill = directory.path().join("drills/a.yaml");
        std::fs::create_dir(directory.path().join("drills")).unwrap();
        std::fs::write(&file, "version: 1\n").unwrap();
        let good = read(&file, None).unwrap();
        std::fs::write(&drill, "version: 1\nnaem: a\n").unwrap();
        let refused = read(&file, None).unwrap_err();
        assert_ne!(refused.stamp.files, good.stamp.files);
        assert_eq!(refused.stamp.files.len(), 2);
        assert!(!refused.stamp.may_have_changed());
        // Mended in its place: the folder looks as it did.
        std::fs::write(&drill, "version: 1\nname: a\n").unwrap();
        assert!(refused.stamp.may_have_changed());
        assert_eq!(read(&file, None).unwrap().config.drills.len(), 1);
        // With the main file broken as well it is watched all the same.
        std::fs::write(&file, "version: 1\nclusters: 7\n").unwrap();
        let refused = read(&file, None).unwrap_err();
        assert_eq!(refused.stamp.files.len(), 2);
        std::fs::write(&file, ": : :").unwrap();
        assert_eq!(read(&file, None).unwrap_err().stamp.files.len(), 2);
    }
}
