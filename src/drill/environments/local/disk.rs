//! Room on the disk, asked before anything is written.

use std::path::{Path, PathBuf};

use crate::restore::free_bytes;

/// Too little room, or none could be told.
#[derive(Debug, thiserror::Error)]
pub enum RoomError {
    /// The file system holding the scratch directory is too full.
    #[error(
        "{path} has {available} bytes free, the drill needs about {needed}; free some room or \
         name another scratch directory with --scratch"
    )]
    TooLittle {
        /// The directory.
        path: PathBuf,
        /// Bytes that an unprivileged user may still write.
        available: u64,
        /// Bytes that the drill needs.
        needed: u64,
    },
    /// The system does not say.
    #[error("cannot ask how much room {path} has: {source}; check the scratch directory")]
    Unknown {
        /// The directory.
        path: PathBuf,
        /// The system's own words.
        source: std::io::Error,
    },
}

/// What a restore will need on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoomNeeded {
    /// The sum of the databases' sizes as the backup tool recorded it, in bytes.
    pub cluster_size: Option<u64>,
    /// The sum of the archives' stored sizes, in bytes.
    pub stored: u64,
    /// Whether the archives are compressed.
    pub compressed: bool,
    /// WAL that will be replayed, in bytes. It is replayed segment by segment, yet the
    /// pages it makes stay.
    pub wal: u64,
}

impl RoomNeeded {
    /// Compressed archives without a recorded size are taken to unfold to this many times
    /// their size: a cautious figure for tables, whose usual factor is three to five.
    const UNFOLDS: u64 = 5;
    /// Room for temporary files, the log and WAL that the promoted server writes.
    const RESERVE: u64 = 256 << 20;

    /// Bytes that must be free. An estimate on the cautious side.
    pub fn bytes(self) -> u64 {
        let unfolded = if self.compressed {
            self.stored.saturating_mul(Self::UNFOLDS)
        } else {
            self.stored
        };
        // Templates, WAL directory and transaction status are not part of the recorded
        // size, hence a tenth more.
        let base = self
            .cluster_size
            .map_or(unfolded, |size| size.saturating_add(size / 10))
            .max(self.stored);
        base.saturating_add(self.wal).saturating_add(Self::RESERVE)
    }
}

/// Bytes that an unprivileged user may still write below `path`.
pub fn available(path: &Path) -> Result<u64, RoomError> {
    free_bytes(path).map_err(|source| RoomError::Unknown {
        path: path.to_owned(),
        source,
    })
}

/// Checks that `needed` bytes are free below `path`; returns what is available.
pub fn require_room(path: &Path, needed: u64) -> Result<u64, RoomError> {
    let available = available(path)?;
    if available < needed {
        return Err(RoomError::TooLittle {
            path: path.to_owned(),
            available,
            needed,
        });
    }
    Ok(available)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recorded_size_counts_before_the_guess() {
        let known = RoomNeeded {
            cluster_size: Some(1000 << 20),
            stored: 100 << 20,
            compressed: true,
            wal: 32 << 20,
        };
        assert_eq!(known.bytes(), (1100 + 32 + 256) << 20);
        let guessed = RoomNeeded {
            cluster_size: None,
            ..known
        };
        assert_eq!(guessed.bytes(), (500 + 32 + 256) << 20);
        let plain = RoomNeeded {
            compressed: false,
            ..guessed
        };
        assert_eq!(plain.bytes(), (100 + 32 + 256) << 20);
    }

    #[test]
    fn too_little_room_is_said_with_both_figures() {
        let place = tempfile::tempdir().unwrap();
        assert!(require_room(place.path(), 1).is_ok());
        let words = require_room(place.path(), u64::MAX)
            .unwrap_err()
            .to_string();
        assert!(words.contains(&u64::MAX.to_string()), "{words}");
        assert!(words.contains("--scratch"), "{words}");
    }
}
