//! What looks wrong in a base backup and may be right.

use super::PageCounts;
use crate::finding::Finding;
use crate::postgres::Lsn;
use crate::postgres::wal::WalRecord;

/// What only the WAL from a backup's begin to its end can decide. Show it every record of
/// that stretch in order ([`take`](Self::take)), then [`settle`](Self::settle) it.
#[derive(Debug)]
pub struct Suspects {
    begin: Lsn,
    end: Lsn,
    counts: PageCounts,
}

impl Suspects {
    /// No suspects.
    pub(super) const fn none() -> Self {
        Self {
            begin: Lsn::INVALID,
            end: Lsn::MAX,
            counts: PageCounts {
                read: 0,
                new: 0,
                sound: 0,
                without_checksum: 0,
                suspect: 0,
                healed: 0,
                reset: 0,
                corrupt: 0,
                stale: 0,
                beyond_end: 0,
            },
        }
    }

    /// Whether nothing is left for WAL to decide. Then no record needs to be shown.
    pub const fn is_empty(&self) -> bool {
        true
    }

    /// The stretch of WAL that decides: from the backup's begin to its end.
    pub const fn range(&self) -> (Lsn, Lsn) {
        (self.begin, self.end)
    }

    /// Shows a record. Those that lie outside of [`range`](Self::range) do nothing.
    pub fn take(&mut self, record: &WalRecord<'_>) {
        let _ = record;
    }

    /// The verdict, once all records of the range were shown: all pages counted, and what
    /// is wrong.
    pub fn settle(self) -> (PageCounts, Vec<Finding>) {
        (self.counts, Vec::new())
    }

    /// No verdict, because WAL of the range cannot be read: suspects stay suspects.
    pub fn give_up(self) -> PageCounts {
        self.counts
    }
}
