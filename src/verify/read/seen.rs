//! What passes by while the records of one segment are checked.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::postgres::wal::{
    PAGE_SIZE, WalEvent, WalFault, WalPiece, WalPosition, WalRecord, WalStream,
};
use crate::postgres::{Lsn, SegmentNumber, SegmentSize};
use crate::verify::VerifyError;
use crate::verify::base::{Suspects, TouchedBlocks, TouchedPiece};

/// A record that means something for recovery.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Noted {
    pub(super) start: Lsn,
    pub(super) end: Lsn,
    /// How many records were seen before it.
    pub(super) before: u64,
    pub(super) event: WalEvent,
}

/// The records of one segment, in short. Memory: the records that mean something, of
/// which a segment has at most one per 34 bytes; seldom more than a few thousand.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(in crate::verify) struct Seen {
    /// How many there were.
    pub(super) records: u64,
    /// Those that decide where recovery can end and what it needs.
    pub(super) noted: Vec<Noted>,
    /// The first one that begins in the segment itself.
    pub(super) first_own: Option<Lsn>,
    /// Redo points of base backups at which a record does begin.
    pub(super) begins: Vec<Lsn>,
}

impl Seen {
    /// Adds what was seen behind it.
    fn append(&mut self, later: Self) {
        let before = self.records;
        self.records += later.records;
        self.noted
            .extend(later.noted.into_iter().map(|noted| Noted {
                before: noted.before + before,
                ..noted
            }));
        self.first_own = self.first_own.or(later.first_own);
        self.begins.extend(later.begins);
    }
}

/// Notes what passes by.
#[derive(Debug)]
pub(super) struct Notes {
    seen: Seen,
    segment_begin: Lsn,
    /// The redo points of base backups in the segment, in order.
    begins: Vec<Lsn>,
    next_begin: usize,
}

impl Notes {
    /// For a segment; `begins` are the redo points of all base backups.
    pub(super) fn of(number: SegmentNumber, size: SegmentSize, begins: &BTreeSet<Lsn>) -> Self {
        let segment_begin = number.begin_lsn(size);
        let own = begins.range(segment_begin..number.end_lsn(size));
        Self {
            seen: Seen::default(),
            segment_begin,
            begins: own.copied().collect(),
            next_begin: 0,
        }
    }

    pub(super) fn take(&mut self, record: &WalRecord<'_>) {
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

    pub(super) fn seen(self) -> Seen {
        self.seen
    }
}

/// Whether a redo point names the record that begins at `start`. The begin of a page
/// stands for the record behind its header.
pub(super) fn begins_at(start: Lsn, redo: Lsn) -> bool {
    let within = start.saturating_since(redo);
    start == redo
        || (start > redo
            && redo.bytes().is_multiple_of(PAGE_SIZE as u64)
            && matches!(within, SHORT_HEADER | LONG_HEADER))
}

/// Bytes of a page header, and of the one that begins a segment.
const SHORT_HEADER: u64 = 24;
const LONG_HEADER: u64 = 40;

/// Where the record behind one that ends at `end` begins.
pub(super) fn next_start(end: Lsn, size: SegmentSize) -> Lsn {
    let header = if size.offset_of(end) == 0 {
        LONG_HEADER
    } else if end.bytes().is_multiple_of(PAGE_SIZE as u64) {
        SHORT_HEADER
    } else {
        0
    };
    end.checked_add(header).unwrap_or(end)
}

/// What has to be shown every record, in order.
#[derive(Debug, Default)]
pub(super) struct Companions {
    /// What base backups to come must hold.
    pub(super) touched: Option<TouchedBlocks>,
    /// What WAL decides of base backups that have begun.
    pub(super) suspects: Vec<Suspects>,
}

impl Companions {
    fn take(&mut self, record: &WalRecord<'_>) {
        if let Some(touched) = &mut self.touched {
            touched.take(record);
        }
        for suspects in &mut self.suspects {
            suspects.take(record);
        }
    }
}

/// One segment with the stream that it comes to, to be moved to a blocking thread and
/// back.
pub(super) struct Step {
    pub(super) stream: WalStream,
    pub(super) notes: Notes,
    pub(super) companions: Companions,
    pub(super) how: How,
}

/// How the segment comes to the stream.
pub(super) enum How {
    /// Record by record, up to the one that begins at `until` or behind.
    Push {
        number: SegmentNumber,
        bytes: Arc<Vec<u8>>,
        until: Option<Lsn>,
        size: SegmentSize,
    },
    /// As a piece that was read by itself.
    Join(Box<ReadPiece>),
}

/// A segment that was read without the one before it, and what passed by.
#[derive(Debug)]
pub(super) struct ReadPiece {
    pub(super) wal: WalPiece,
    pub(super) seen: Seen,
    /// What base backups behind it must hold, if there are any.
    pub(super) touched: Option<TouchedPiece>,
}

/// What came of it.
pub(super) struct Stepped {
    pub(super) stream: WalStream,
    pub(super) seen: Seen,
    pub(super) companions: Companions,
    pub(super) position: WalPosition,
    pub(super) result: Result<(), WalFault>,
    /// Whether it stopped before the position asked for.
    pub(super) stopped: bool,
}

impl Step {
    /// Checks the segment's records on a blocking thread.
    pub(super) async fn run(self) -> Result<Stepped, VerifyError> {
        Ok(tokio::task::spawn_blocking(move || self.run_here()).await?)
    }

    fn run_here(self) -> Stepped {
        let Self {
            mut stream,
            mut notes,
            mut companions,
            how,
        } = self;
        let mut stopped = false;
        let mut joined = None;
        let result = match how {
            How::Push {
                number,
                bytes,
                until,
                size,
            } => stream.push_segment(number, &bytes, &mut |record| {
                notes.take(record);
                companions.take(record);
                if until.is_some_and(|until| next_start(record.end, size) >= until) {
                    stopped = true;
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            }),
            How::Join(piece) => {
                let ReadPiece { wal, seen, touched } = *piece;
                let result = stream.join(wal, &mut |record| {
                    notes.take(record);
                    companions.take(record);
                });
                if stream.adopted() {
                    joined = Some(seen);
                    if let (Some(all), Some(own)) = (&mut companions.touched, touched) {
                        all.append(own);
                    }
                }
                result
            }
        };
        let mut seen = notes.seen();
        if let Some(own) = joined {
            seen.append(own);
        }
        Stepped {
            position: stream.position(),
            stream,
            seen,
            companions,
            result,
            stopped,
        }
    }
}
