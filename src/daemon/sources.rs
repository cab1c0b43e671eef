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

    fn of(main: &Path, drills: &BTreeSet<PathBuf>) -> Self {
        let mut paths = vec![main.to_owned()];
        paths.extend(drills.iter().cloned());
        let files = paths
            .iter()
            .map(|path| {
                let bytes = std::fs::read(path).unwrap_or_default();
                Digest::of(path.display().to_string(), &bytes)
            })
            .collect();
        // Folders too, for definitions that come and go.
        let base = main.parent().unwrap_or(Path::new(""));
        let mut watched: BTreeSet<PathBuf> = [base.join("drills")].into();
        watched.extend(
            drills
                .iter()
                .filter_map(|drill| drill.parent().map(Path::to_owned)),
        );
        watched.extend(paths);
        Self {
            files,
            looks: watched.into_iter().map(Look::at).collect(),
        }
    }
}

/// Reads the configuration in `file`; `state` wins over what it says.
///
/// The digests are taken first: what changes in between is seen by the next look.
pub(super) fn read(
    file: &Path,
    known: &Config,
    state: Option<&StateUrl>,
) -> Result<Loaded, Refused> {
    let drills = |config: &Config| {
        config
            .drills
            .iter()
            .map(|drill| drill.file.clone())
            .collect()
    };
    let before = Stamp::of(file, &drills(known));
    match config::load(file) {
        Ok(mut config) => {
            if let Some(state) = state {
                config.state = state.clone();
            }
            let stamp = Stamp::of(file, &drills(&config));
            // A main file that changed while it was read is read again at the next look.
            let stamp = if stamp.sha256() == before.sha256() {
                stamp
            } else {
                before
            };
            Ok(Loaded { config, stamp })
        }
        Err(errors) => Err(Refused {
            stamp: before,
            errors,
        }),
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
        let loaded = read(&file, &Config::default(), None).unwrap();
        assert!(!loaded.stamp.may_have_changed());
        assert_eq!(loaded.stamp.sha256(), sha256_hex(b"version: 1\n"));
        // Replaced by another file, as a deployment does.
        let other = directory.path().join("other");
        std::fs::write(&other, "version: 2\n").unwrap();
        std::fs::rename(&other, &file).unwrap();
        assert!(loaded.stamp.may_have_changed());
        let refused = read(&file, &loaded.config, None).unwrap_err();
        assert!(!refused.stamp.may_have_changed());
        assert_ne!(refused.stamp.sha256(), loaded.stamp.sha256());
        assert!(refused.errors.to_string().contains("`version`"));
        // A folder of drills that was not there.
        std::fs::write(&file, "version: 1\n").unwrap();
        let loaded = read(&file, &loaded.config, None).unwrap();
        std::fs::create_dir(directory.path().join("drills")).unwrap();
        assert!(loaded.stamp.may_have_changed());
        let loaded = read(&file, &loaded.config, None).unwrap();
        std::fs::write(
            directory.path().join("drills/a.yaml"),
            "version: 1\nname: a\n",
        )
        .unwrap();
        assert!(loaded.stamp.may_have_changed());
        let loaded = read(&file, &loaded.config, None).unwrap();
        assert_eq!(loaded.stamp.files.len(), 2);
    }
}
