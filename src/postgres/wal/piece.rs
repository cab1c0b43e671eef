//! Segments read each alone, in parallel, and joined in order.

use std::ops::ControlFlow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::fault::WalFault;
use super::page::{PAGE_SIZE, PageExpectation, search_first_record};
use super::path::may_precede_announcement;
use super::record::WalRecord;
use super::stream::{Next, StreamData, WalStream};
use crate::postgres::{Lsn, SegmentNumber, SegmentSize, SystemId, TimelineHistory};

/// What a piece is read with: the same as the stream that it will be joined to, see
/// [`WalStream::piece_options`].
#[derive(Clone, Debug)]
pub struct PieceOptions {
    /// The cluster's segment size.
    pub segment_size: SegmentSize,
    /// The database system that must have written the WAL; without it, each segment's
    /// first page decides, and joining compares them.
    pub system_id: Option<SystemId>,
    /// The timeline to end on, and the way there.
    pub history: Arc<TimelineHistory>,
    /// Where reading begins, when that is within a segment: the piece of that segment
    /// begins there, all others where their first record does.
    pub start: Option<Lsn>,
}

/// One segment, read without the one before it.
///
/// All that the segment alone can show has been checked; what only its predecessor can
/// judge is kept and judged by [`WalStream::join`].
///
/// Memory: the pages up to the end of the first record that begins here, and the begin of
/// a record that goes on in the next segment. That is a few pages unless records are as
/// long as segments, and never more than two segments.
#[derive(Debug)]
pub struct WalPiece {
    number: SegmentNumber,
    length: usize,
    /// Where the first record begins that the piece is sure of.
    first: Option<Lsn>,
    /// The segment's first pages, which joining reads once more.
    kept: Vec<u8>,
    /// The last record that joining reads once more. Behind it nothing depends on what
    /// came before the segment. `None`: joining reads all that is kept.
    settled: Option<Lsn>,
    /// A stream that began at `first` and read the segment.
    after: WalStream,
}

/// A piece without a fault, as plain data. Its bytes travel beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PieceData {
    number: SegmentNumber,
    length: usize,
    first: Option<Lsn>,
    settled: Option<Lsn>,
    /// How many of the bytes are the kept ones; the rest are of the open record.
    kept: usize,
    after: StreamData,
}

impl WalPiece {
    /// The piece as plain data, to be joined by another process, with its bytes. `None` for
    /// one in which something is wrong: that is better read once more.
    pub fn to_data(&self) -> Option<(PieceData, Vec<u8>)> {
        let (after, buffer) = self.after.to_data()?;
        let data = PieceData {
            number: self.number,
            length: self.length,
            first: self.first,
            settled: self.settled,
            kept: self.kept.len(),
            after,
        };
        Some((data, [self.kept.as_slice(), buffer].concat()))
    }

    /// The piece that was written down. It must be joined to a stream of the options with
    /// which it was read. `None` when the bytes are not its own.
    pub fn of_data(data: &PieceData, mut bytes: Vec<u8>, options: &PieceOptions) -> Option<Self> {
        if data.kept > bytes.len() {
            return None;
        }
        let buffer = bytes.split_off(data.kept);
        Some(Self {
            number: data.number,
            length: data.length,
            first: data.first,
            kept: bytes,
            settled: data.settled,
            after: WalStream::of_data(&data.after, buffer, options),
        })
    }

    /// Reads one whole segment and hands its records to `visit`, except those that joining
    /// hands out: the one that comes from the segment before and, as a rule, the first
    /// one that begins here. Which of the two visitors gets a record depends on the bytes
    /// alone. Faults are kept and reported by joining, when their turn comes.
    pub fn read(
        options: &PieceOptions,
        number: SegmentNumber,
        bytes: &[u8],
        visit: &mut dyn FnMut(&WalRecord<'_>),
    ) -> Self {
        let size = options.segment_size;
        let begin = number.begin_lsn(size);
        let pages = PageExpectation {
            version: None,
            system_id: options.system_id,
            segment_size: size,
        };
        let mut keep = bytes.len();
        let first = match options.start {
            Some(start) if start > begin && size.segment_of(start) == number => Some(start),
            _ => search_first_record(pages, begin, bytes).unwrap_or_else(|(page, _)| {
                // Joining comes to the same fault, or to an earlier one.
                keep = end_of_page(page, begin);
                None
            }),
        };
        let mut piece = Self {
            number,
            length: bytes.len(),
            first,
            kept: Vec::new(),
            settled: None,
            after: WalStream::begin(options, first.unwrap_or(begin)),
        };
        if bytes.len() as u64 != size.bytes() {
            return piece;
        }
        if first.is_some() {
            let settled = &mut piece.settled;
            let result = piece.after.push_segment(number, bytes, &mut |record| {
                if settled.is_some() {
                    visit(record);
                } else if settles(record) {
                    *settled = Some(record.start);
                    keep = kept_for(record, begin);
                }
                ControlFlow::Continue(())
            });
            if piece.settled.is_none() && result.is_err() {
                keep = end_of_page(piece.after.page, begin);
            }
        }
        piece.kept = bytes.get(..keep).unwrap_or(bytes).to_vec();
        piece
    }

    /// The segment's number.
    pub const fn number(&self) -> SegmentNumber {
        self.number
    }

    /// Where the first record begins that does not come from the segment before. A stream
    /// that starts here can be joined with the piece when what lies before is lost. `None`
    /// when the segment has no such record, or its first pages cannot be read.
    pub const fn first_record(&self) -> Option<Lsn> {
        self.first
    }

    /// Bytes kept for joining.
    #[cfg(test)]
    pub(super) fn kept_bytes(&self) -> usize {
        self.kept.len()
    }

    /// What is wrong within the piece, as far as it can be told from the piece alone;
    /// joining may find an earlier fault.
    pub const fn fault(&self) -> Option<&WalFault> {
        self.after.fault.as_ref()
    }
}

impl WalStream {
    /// Takes in the piece of the segment that [`Self::next_segment`] names: the same
    /// verdict, position and records as [`Self::push_segment`] gives for the same bytes.
    /// `visit` gets the record that comes from the segment before and those of the piece
    /// that only the segment before can judge; [`Self::adopted`] tells whether the records
    /// that the piece's own visitor got count, too. They come behind those of `visit`.
    ///
    /// The piece must have been read with [`Self::piece_options`]; a stream that starts
    /// within a segment answers [`WalFault::BadStart`] to a piece that begins elsewhere.
    pub fn join(
        &mut self,
        piece: WalPiece,
        visit: &mut dyn FnMut(&WalRecord<'_>),
    ) -> Result<(), WalFault> {
        self.adopted = false;
        self.guarded(|stream| stream.join_piece(piece, visit))
    }

    /// Whether the records that the last joined piece handed out while it was read count:
    /// all of them or none. They do not when a fault, or a SWITCH record, lies before.
    pub const fn adopted(&self) -> bool {
        self.adopted
    }

    fn join_piece(
        &mut self,
        piece: WalPiece,
        visit: &mut dyn FnMut(&WalRecord<'_>),
    ) -> Result<(), WalFault> {
        let WalPiece {
            number,
            length,
            first,
            kept,
            settled,
            after,
        } = piece;
        self.expect_segment(number, length)?;
        let misplaced = WalFault::BadStart { lsn: self.cursor };
        let at_begin = self.cursor == number.begin_lsn(after.piece_options().segment_size);
        if !at_begin && first != Some(self.cursor) {
            return Err(misplaced);
        }
        let next = self.read_pages(number, &kept, &mut |record| {
            visit(record);
            if settled == Some(record.start) {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })?;
        match next {
            Next::Stop => {
                *self = after;
                self.adopted = true;
                self.fault.take().map_or(Ok(()), Err)
            }
            Next::Onward if settled.is_some() => Err(misplaced),
            Next::Onward | Next::Segment => {
                self.segment = number.next();
                Ok(())
            }
        }
    }
}

/// Whether nothing behind this record, the first of its segment or close to it, depends
/// on what came before the segment: its place in the chain is known, no record is left to
/// be given up, and its timeline has been announced.
fn settles(record: &WalRecord<'_>) -> bool {
    !may_precede_announcement(record)
}

/// Bytes from the segment's begin to the end of the page on which a record ends.
fn kept_for(record: &WalRecord<'_>, begin: Lsn) -> usize {
    let last = if record.is_switch() {
        // It ends with its segment, but its own bytes at the latest on the next page.
        record.start.bytes().saturating_add(PAGE_SIZE as u64)
    } else {
        record.end.bytes().saturating_sub(1)
    };
    end_of_page(Lsn::new(last), begin)
}

/// Bytes from the segment's begin to the end of the page that holds `lsn`.
fn end_of_page(lsn: Lsn, begin: Lsn) -> usize {
    usize::try_from(lsn.saturating_since(begin))
        .unwrap_or(usize::MAX)
        .saturating_add(1)
        .checked_next_multiple_of(PAGE_SIZE)
        .unwrap_or(usize::MAX)
}
