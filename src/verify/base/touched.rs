//! What WAL tells of the pages that a later base backup must hold.

use crate::postgres::wal::WalRecord;

/// The last change of blocks, collected from WAL in order. When a base backup begins, each
/// of these blocks must be in it with this change or a later one.
#[derive(Debug)]
pub struct TouchedBlocks {
    max_entries: usize,
}

impl TouchedBlocks {
    /// Keeps at most `max_entries` blocks; when there are more, a sample of them.
    pub fn new(max_entries: usize) -> Self {
        Self { max_entries }
    }

    /// Takes the next record.
    pub fn take(&mut self, record: &WalRecord<'_>) {
        let _ = (record, self.max_entries);
    }

    /// Forgets everything: WAL has a gap here.
    pub fn clear(&mut self) {}

    /// How many blocks are kept.
    pub const fn len(&self) -> usize {
        0
    }

    /// Whether no block is kept.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Which part of the touched blocks is kept, from 0 to 1: 1, 1/2, 1/4 and so on.
    pub const fn fraction(&self) -> f64 {
        1.0
    }
}
