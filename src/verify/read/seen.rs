//! What passes by while the records of one segment are checked.

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::postgres::wal::{WalEvent, WalFault, WalPosition, WalRecord, WalStream};
use crate::postgres::{Lsn, SegmentNumber};
use crate::verify::VerifyError;

/// A record that means something for recovery.
#[derive(Debug)]
pub(super) struct Noted {
    pub(super) start: Lsn,
    pub(super) end: Lsn,
    /// How many records of the segment came before it.
    pub(super) before: u64,
    pub(super) event: WalEvent,
}

/// The records of one segment, in short. Memory: the records that mean something, of
/// which a segment has at most one per 34 bytes; seldom more than a few thousand.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// How many there were.
    pub(super) records: u64,
    /// Those that decide where recovery can end and what it needs.
    pub(super) noted: Vec<Noted>,
    /// The first one that begins in the segment itself.
    pub(super) first_own: Option<Lsn>,
    /// Redo points of base backups at which a record does begin.
    pub(super) begins: Vec<Lsn>,
}

/// Notes what passes by.
struct Notes {
    seen: Seen,
    segment_begin: Lsn,
    /// The redo points of base backups in the segment, in order.
    begins: Vec<Lsn>,
    next_begin: usize,
}

impl Notes {
    fn take(&mut self, record: &WalRecord<'_>) {
        if record.start >= self.segment_begin {
            self.seen.first_own.get_or_insert(record.start);
            while let Some(begin) = self.begins.get(self.next_begin)
                && *begin <= record.start
            {
                if begins_at(record.start, *begin) {
                    self.seen.begins.push(*begin);
                }
                self.next_begin += 1;
            }
        }
        if let Some(event) = record.event() {
            self.seen.noted.push(Noted {
                start: record.start,
                end: record.end,
                before: self.seen.records,
                event,
            });
        }
        self.seen.records += 1;
    }
}

/// Whether a redo point names the record that begins at `start`. The begin of a page
/// stands for the record behind its header.
fn begins_at(start: Lsn, redo: Lsn) -> bool {
    let within = start.saturating_since(redo);
    within == 0 || (redo.bytes().is_multiple_of(8192) && matches!(within, 24 | 40))
}

/// One segment with the stream that checks it, to be moved to a blocking thread and back.
pub(super) struct Step {
    pub(super) stream: WalStream,
    pub(super) number: SegmentNumber,
    pub(super) segment_begin: Lsn,
    pub(super) bytes: Arc<Vec<u8>>,
    /// The redo points of base backups in the segment, in order.
    pub(super) begins: Vec<Lsn>,
}

/// What came of it.
pub(super) struct Stepped {
    pub(super) stream: WalStream,
    pub(super) seen: Seen,
    pub(super) position: WalPosition,
    pub(super) result: Result<(), WalFault>,
}

impl Step {
    /// Checks the segment's records on a blocking thread.
    pub(super) async fn run(self) -> Result<Stepped, VerifyError> {
        let stepped = tokio::task::spawn_blocking(move || {
            let mut stream = self.stream;
            let mut notes = Notes {
                seen: Seen::default(),
                segment_begin: self.segment_begin,
                begins: self.begins,
                next_begin: 0,
            };
            let result = stream.push_segment(self.number, &self.bytes, &mut |record| {
                notes.take(record);
                ControlFlow::Continue(())
            });
            Stepped {
                position: stream.position(),
                stream,
                seen: notes.seen,
                result,
            }
        });
        Ok(stepped.await?)
    }
}
