//! Counting what is read, and telling whoever watches.

use super::fetch::Fact;
use super::observer::{ObjectFact, ReadObserver, ReadProgress, Reading};
use crate::verify::base::BaseProgress;

/// Counts what was read and tells it.
pub(super) struct Teller<'o> {
    pub(super) observer: &'o dyn ReadObserver,
    pub(super) progress: ReadProgress,
}

impl Teller<'_> {
    /// After WAL objects were read and judged.
    pub(super) fn objects(&mut self, objects: Vec<Fact>, sound: bool, what: Reading) {
        self.progress.what = what;
        for Fact {
            entry,
            sha256,
            whole,
        } in objects
        {
            self.progress.segments += 1;
            self.progress.bytes += entry.size;
            self.observer.object(&ObjectFact {
                entry,
                sha256,
                whole: whole && sound,
            });
        }
        self.observer.progress(self.progress);
    }

    /// Tells how far the reading of a base backup is.
    pub(super) fn for_base(&self) -> impl Fn(BaseProgress) + Send + Sync + '_ {
        move |base| {
            self.observer.progress(ReadProgress {
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
        self.observer.progress(self.progress);
    }
}
