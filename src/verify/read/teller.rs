//! Who is told of a reading: a person how far it is, the ledger what was read.

use crate::verify::base::BaseProgress;
use crate::verify::ledger::ReadLog;

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

/// Is told after each object, and about ten times a second within a base backup. Must not
/// block.
pub type OnReadProgress<'p> = &'p (dyn Fn(ReadProgress) + Send + Sync);

/// Counts what was read and tells it.
pub(super) struct Teller<'o> {
    pub(super) on_progress: OnReadProgress<'o>,
    pub(super) log: &'o ReadLog,
    /// Whether the stored bytes of base backups are digested.
    pub(super) digest: bool,
    pub(super) progress: ReadProgress,
}

impl Teller<'_> {
    /// After a WAL object of that many stored bytes.
    pub(super) fn segment(&mut self, bytes: u64, what: Reading) {
        self.progress.what = what;
        self.progress.segments += 1;
        self.progress.bytes += bytes;
        (self.on_progress)(self.progress);
    }

    /// Tells how far the reading of a base backup is.
    pub(super) fn for_base(&self) -> impl Fn(BaseProgress) + Send + Sync + '_ {
        move |base| {
            (self.on_progress)(ReadProgress {
                bytes: self.progress.bytes.saturating_add(base.stored_bytes),
                what: Reading::Base,
                ..self.progress
            });
        }
    }

    /// After a base backup of that many stored bytes.
    pub(super) fn base_done(&mut self, bytes: u64) {
        self.progress.bases += 1;
        self.progress.bytes += bytes;
        (self.on_progress)(self.progress);
    }
}
