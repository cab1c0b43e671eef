//! Room on the disk for a restore, asked before anything is fetched.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;

use super::error::RestoreError;
use super::tablespaces::PlacedTablespace;
use crate::codec::Codec;
use crate::repository::{Archive, ArchiveContents, BaseBackup};

/// The bytes that this process may still write to the file system of `path`, which must
/// exist.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let stat = statvfs(path).map_err(io::Error::from)?;
    Ok(stat.blocks_available().saturating_mul(stat.fragment_size()))
}

/// Bytes that these archives hold at least once they are extracted: their share of the
/// cluster's recorded size by stored bytes, or what is stored plain, less a fifth for what a
/// restore leaves out. Nothing is added for growth: a restore that would have fitted must
/// not be refused.
fn at_least(backup: &BaseBackup, stored: u64) -> u64 {
    let whole = u128::from(backup.stored_bytes().max(1));
    let share = backup.cluster_size.map_or(0, |size| {
        u64::try_from(u128::from(size) * u128::from(stored) / whole).unwrap_or(u64::MAX)
    });
    let plain = backup
        .archives
        .iter()
        .all(|archive| archive.codec == Codec::None);
    share.max(if plain { stored / 10 * 8 } else { 0 })
}

/// Whether every file system that is to be filled has room for what goes there.
pub(crate) fn check_room(
    backup: &BaseBackup,
    into: &Path,
    tablespaces: &[PlacedTablespace],
) -> Result<(), RestoreError> {
    let mut wanted: BTreeMap<u64, (PathBuf, u64)> = BTreeMap::new();
    let stored = |contents: ArchiveContents| -> u64 {
        let of = |archive: &&Archive| archive.contents == contents;
        backup
            .archives
            .iter()
            .filter(of)
            .map(|archive| archive.size)
            .sum()
    };
    let places =
        std::iter::once((into, ArchiveContents::Data)).chain(tablespaces.iter().map(|placed| {
            (
                placed.path.as_path(),
                ArchiveContents::Tablespace(placed.oid),
            )
        }));
    for (place, contents) in places {
        let existing = existing_above(place);
        let device = std::fs::metadata(existing)
            .map_err(|error| RestoreError::local("look at", existing, error))?
            .dev();
        let (_, bytes) = wanted.entry(device).or_insert((existing.to_owned(), 0));
        *bytes = bytes.saturating_add(stored(contents));
    }
    for (path, stored) in wanted.into_values() {
        let needed = at_least(backup, stored);
        let available = free_bytes(&path)
            .map_err(|error| RestoreError::local("ask for the free space of", &path, error))?;
        if available < needed {
            return Err(RestoreError::NoRoom {
                path,
                available,
                needed,
            });
        }
    }
    Ok(())
}

/// The nearest directory at or above `path` that exists.
pub(crate) fn existing_above(path: &Path) -> &Path {
    path.ancestors()
        .find(|place| place.is_dir())
        .unwrap_or_else(|| Path::new("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_bytes_are_those_of_the_file_system() {
        let place = tempfile::tempdir().unwrap();
        assert!(free_bytes(place.path()).unwrap() > 0);
        assert!(free_bytes(&place.path().join("absent")).is_err());
        let absent = place.path().join("a/b/c");
        assert_eq!(existing_above(&absent), place.path());
    }
}
