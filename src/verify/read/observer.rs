//! Who watches a reading.

use crate::codec::Sha256;
use crate::storage::ObjectEntry;

/// How far a reading is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadProgress {
    /// Stored bytes read.
    pub bytes: u64,
    /// Stored bytes that there are to read, as far as the listing tells.
    pub of_bytes: u64,
    /// WAL objects read.
    pub segments: u64,
    /// Base backups read.
    pub bases: u64,
    /// What is being read.
    pub what: Reading,
}

/// What a reading is at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reading {
    /// The WAL on the way to the current timeline.
    #[default]
    Wal,
    /// A base backup.
    Base,
    /// WAL that lies beside that way.
    Beside,
}

/// One object that was read to its last byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectFact {
    /// Key, size, entity tag and version, as the store gave them with the bytes.
    pub entry: ObjectEntry,
    /// The digest of the stored bytes, where the observer asked for digests.
    pub sha256: Option<Sha256>,
    /// Whether all of it was as it must be: its codec, for WAL its size, and its records as
    /// far as they could be judged when it was told. What is wrong is in the findings.
    pub whole: bool,
}

/// Is told how far a reading is and what was read. Called from the task that reads: must
/// not block.
pub trait ReadObserver: Send + Sync {
    /// After each object.
    fn progress(&self, _progress: ReadProgress) {}

    /// After each object of which every byte was read and judged, in the order of reading.
    fn object(&self, _fact: &ObjectFact) {}

    /// Whether stored bytes shall be digested.
    fn wants_digests(&self) -> bool {
        false
    }
}

/// Nobody watches.
impl ReadObserver for () {}
