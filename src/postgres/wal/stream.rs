//! From segments to records.

use std::ops::ControlFlow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::block::Layout;
use super::event::{self, WalEvent};
use super::fault::{BodyFault, ContinuationFault, WalFault};
use super::page::{PAGE_SIZE, PageExpectation, PageHeader};
use super::path::TimelinePath;
use super::piece::PieceOptions;
use super::record::{HEADER_UNDER_CRC, RECORD_HEADER, RECORD_MAX, RecordHeader, WalRecord, align8};
use super::version::WalVersion;
use crate::postgres::little_endian::u32_at;
use crate::postgres::{Lsn, SegmentNumber, SegmentSize, SystemId, TimelineHistory, TimelineId};

/// A buffer that grew beyond this for one long record is given back after it.
const BUFFER_KEPT: usize = 1 << 20;

/// What to read.
#[derive(Clone, Debug)]
pub struct WalStreamOptions {
    /// The cluster's segment size.
    pub segment_size: SegmentSize,
    /// The database system that must have written the WAL; without it, the first segment
    /// decides and the others must agree.
    pub system_id: Option<SystemId>,
    /// The timeline to end on, and the way there.
    pub history: TimelineHistory,
    /// Where a record begins, usually a redo point. The begin of a page stands for the
    /// record behind its header.
    pub start: Lsn,
}

/// How far reading came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct WalPosition {
    /// The first byte of the last complete record. As an inclusive `recovery_target_lsn`
    /// it replays everything that was read.
    pub last_record: Option<Lsn>,
    /// Where that record ends, as `pg_last_wal_replay_lsn()` shows it once the record is
    /// replayed; the start of reading when there was none.
    pub end: Lsn,
    /// Whether a record goes on into the next segment.
    pub incomplete: bool,
}

/// Reads WAL segment by segment and checks it on the way.
///
/// Memory: nothing per record while records lie within a page; one that crosses a page
/// border is collected, up to 1 GiB, as its bytes arrive.
#[derive(Debug)]
pub struct WalStream {
    pages: PageExpectation,
    path: TimelinePath,
    /// The segment that is due.
    pub(super) segment: SegmentNumber,
    /// Where the next record begins, or the page that goes on with the open one.
    pub(super) cursor: Lsn,
    /// The page that is being read, or was read last.
    pub(super) page: Lsn,
    /// The record before the next one.
    last_record: Option<Lsn>,
    end: Lsn,
    /// The record that goes on on the next page.
    open: Option<OpenRecord>,
    /// A record that a crash cut off: the next one must give it up.
    given_up: Option<Lsn>,
    buffer: Vec<u8>,
    pub(super) fault: Option<WalFault>,
    /// Whether what the last joined piece handed out counts.
    pub(super) adopted: bool,
}

#[derive(Clone, Copy, Debug)]
struct OpenRecord {
    start: Lsn,
    length: u32,
    /// Whether its header was complete on its first page and has been judged.
    judged: bool,
}

/// Where a stream without a fault stands, as plain data. Its bytes travel beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StreamData {
    major: Option<u32>,
    system_id: Option<SystemId>,
    path: (TimelineId, Lsn, bool),
    segment: SegmentNumber,
    cursor: Lsn,
    page: Lsn,
    last_record: Option<Lsn>,
    end: Lsn,
    open: Option<(Lsn, u32, bool)>,
    given_up: Option<Lsn>,
}

/// What comes after a record or page.
pub(super) enum Next {
    /// More on this page, or the next page.
    Onward,
    /// The rest of the segment is unused.
    Segment,
    /// The visitor has enough.
    Stop,
}

/// The visitor that records are handed to.
pub(super) type Visit<'v> = &'v mut dyn FnMut(&WalRecord<'_>) -> ControlFlow<()>;

impl WalStream {
    /// A stream that will begin at `options.start`.
    pub fn new(options: WalStreamOptions) -> Self {
        let WalStreamOptions {
            segment_size,
            system_id,
            history,
            start,
        } = options;
        let options = PieceOptions {
            segment_size,
            system_id,
            history: Arc::new(history),
            start: None,
        };
        Self::begin(&options, start)
    }

    pub(super) fn begin(options: &PieceOptions, start: Lsn) -> Self {
        let PieceOptions {
            segment_size,
            system_id,
            ..
        } = *options;
        Self {
            pages: PageExpectation {
                version: None,
                system_id,
                segment_size,
            },
            path: TimelinePath::new(Arc::clone(&options.history), start),
            segment: segment_size.segment_of(start),
            cursor: start,
            page: start,
            last_record: None,
            end: start,
            open: None,
            given_up: None,
            buffer: Vec::new(),
            fault: None,
            adopted: false,
        }
    }

    /// The stream as plain data, with the bytes of the record that is open; `None` for one
    /// with a fault.
    pub(super) fn to_data(&self) -> Option<(StreamData, &[u8])> {
        if self.fault.is_some() {
            return None;
        }
        let data = StreamData {
            major: self.pages.version.map(WalVersion::major),
            system_id: self.pages.system_id,
            path: self.path.stand(),
            segment: self.segment,
            cursor: self.cursor,
            page: self.page,
            last_record: self.last_record,
            end: self.end,
            open: self.open.map(|open| (open.start, open.length, open.judged)),
            given_up: self.given_up,
        };
        Some((data, &self.buffer))
    }

    /// The stream that was written down, read with the same options.
    pub(super) fn of_data(data: &StreamData, buffer: Vec<u8>, options: &PieceOptions) -> Self {
        Self {
            pages: PageExpectation {
                version: data.major.and_then(WalVersion::of_major),
                system_id: data.system_id,
                segment_size: options.segment_size,
            },
            path: TimelinePath::at(Arc::clone(&options.history), data.path),
            segment: data.segment,
            cursor: data.cursor,
            page: data.page,
            last_record: data.last_record,
            end: data.end,
            open: data.open.map(|(start, length, judged)| OpenRecord {
                start,
                length,
                judged,
            }),
            given_up: data.given_up,
            buffer,
            fault: None,
            adopted: false,
        }
    }

    /// Reads one whole segment, the one that [`Self::next_segment`] names, and hands its
    /// records to `visit`, including one that began in an earlier segment. When `visit`
    /// breaks, reading stops behind that record; pushing the same segment again goes on
    /// there. After a fault every further call answers with the same fault.
    pub fn push_segment(
        &mut self,
        number: SegmentNumber,
        bytes: &[u8],
        visit: Visit<'_>,
    ) -> Result<(), WalFault> {
        self.guarded(|stream| {
            stream.expect_segment(number, bytes.len())?;
            let next = stream.read_pages(number, bytes, visit)?;
            let end = number.end_lsn(stream.pages.segment_size);
            if !matches!(next, Next::Stop) || stream.cursor >= end {
                stream.segment = number.next();
            }
            Ok(())
        })
    }

    /// Takes a step unless an earlier one failed, and remembers when it does.
    pub(super) fn guarded(
        &mut self,
        step: impl FnOnce(&mut Self) -> Result<(), WalFault>,
    ) -> Result<(), WalFault> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        step(self).inspect_err(|fault| self.fault = Some(fault.clone()))
    }

    /// How far reading came. After a fault: where the last good record ended.
    pub const fn position(&self) -> WalPosition {
        WalPosition {
            last_record: self.last_record,
            end: self.end,
            incomplete: self.open.is_some(),
        }
    }

    /// The segment that is to be pushed next.
    pub const fn next_segment(&self) -> SegmentNumber {
        self.segment
    }

    /// The PostgreSQL major version that wrote the WAL; `None` before the first page.
    pub fn major(&self) -> Option<u32> {
        self.pages.version.map(WalVersion::major)
    }

    /// The system that wrote the WAL; `None` before the first page if not given.
    pub const fn system_id(&self) -> Option<SystemId> {
        self.pages.system_id
    }

    /// What pieces that are to be joined to this stream have to be read with.
    pub fn piece_options(&self) -> PieceOptions {
        let size = self.pages.segment_size;
        PieceOptions {
            segment_size: size,
            system_id: self.pages.system_id,
            history: Arc::clone(self.path.history()),
            start: (size.offset_of(self.cursor) != 0).then_some(self.cursor),
        }
    }

    /// Judges whether a segment may come now.
    pub(super) fn expect_segment(
        &self,
        number: SegmentNumber,
        length: usize,
    ) -> Result<(), WalFault> {
        let size = self.pages.segment_size;
        if number != self.segment {
            return Err(WalFault::OutOfOrder {
                lsn: self.cursor,
                found: number,
                expected: self.segment,
            });
        }
        if length as u64 != size.bytes() {
            return Err(WalFault::WrongSize {
                lsn: number.begin_lsn(size),
                found: length as u64,
                expected: size.bytes(),
            });
        }
        Ok(())
    }

    /// Reads the first pages of a segment, or all, from the cursor on.
    pub(super) fn read_pages(
        &mut self,
        number: SegmentNumber,
        bytes: &[u8],
        visit: Visit<'_>,
    ) -> Result<Next, WalFault> {
        let size = self.pages.segment_size;
        self.page = number.begin_lsn(size);
        // The long header is judged even if reading begins on a later page.
        if size.offset_of(self.cursor) >= PAGE_SIZE as u64 {
            let header = self.pages.check(self.page, bytes)?;
            self.path.check_page(self.page, header.timeline)?;
        }
        let mut lsn = self.page;
        for page in bytes.chunks_exact(PAGE_SIZE) {
            let next_page = advance(lsn, PAGE_SIZE);
            if next_page > self.cursor {
                self.page = lsn;
                match self.read_page(lsn, page, visit)? {
                    Next::Onward => {}
                    next => return Ok(next),
                }
            }
            lsn = next_page;
        }
        Ok(Next::Onward)
    }

    fn read_page(&mut self, lsn: Lsn, page: &[u8], visit: Visit<'_>) -> Result<Next, WalFault> {
        let header = self.pages.check(lsn, page)?;
        self.path.check_page(lsn, header.timeline)?;
        let mut offset = if let Some(open) = self.open {
            if header.overwrites() && !header.continues() {
                self.open = None;
                self.buffer.clear();
                self.given_up = Some(open.start);
                header.len()
            } else {
                match self.go_on(open, lsn, page, header, visit)? {
                    (Next::Onward, offset) => offset,
                    (next, _) => return Ok(next),
                }
            }
        } else {
            self.begin_on_page(lsn, header)?
        };
        while let Some(rest) = page.get(offset..)
            && !rest.is_empty()
        {
            let start = advance(lsn, offset);
            let length = self.check_start(start, rest)?;
            let Some(bytes) = rest.get(..length as usize) else {
                self.open = Some(OpenRecord {
                    start,
                    length,
                    judged: rest.len() >= RECORD_HEADER,
                });
                self.buffer.clear();
                self.buffer.extend_from_slice(rest);
                break;
            };
            let end = advance(start, align8(bytes.len()));
            match self.deliver(start, end, bytes, visit)? {
                Next::Onward => offset = offset.saturating_add(align8(bytes.len())),
                next => return Ok(next),
            }
        }
        self.cursor = advance(lsn, PAGE_SIZE);
        Ok(Next::Onward)
    }

    /// Where the first record begins on a page that does not go on with an open one.
    fn begin_on_page(&self, lsn: Lsn, header: PageHeader) -> Result<usize, WalFault> {
        let within = self.cursor.saturating_since(lsn);
        if within == 0 {
            if header.continues() {
                return Err(WalFault::BadContinuation {
                    lsn,
                    reason: ContinuationFault::Unexpected,
                });
            }
            return Ok(header.len());
        }
        // Only where reading starts. It must be behind what the page goes on with.
        let content = if header.continues() {
            header
                .len()
                .saturating_add(align8(header.remaining as usize))
        } else {
            header.len()
        };
        match usize::try_from(within) {
            Ok(within) if within >= content && within.is_multiple_of(8) => Ok(within),
            _ => Err(WalFault::BadStart { lsn: self.cursor }),
        }
    }

    /// Reads the length of the record that begins with `rest`, and judges its header as
    /// far as it is there.
    fn check_start(&self, start: Lsn, rest: &[u8]) -> Result<u32, WalFault> {
        let length = u32_at(rest, 0).unwrap_or_default();
        if length == 0 && rest.iter().take(RECORD_HEADER).all(|byte| *byte == 0) {
            return Err(WalFault::UnexpectedZeros { lsn: start });
        }
        if (length as usize) < RECORD_HEADER || length > RECORD_MAX {
            return Err(WalFault::BadLength {
                lsn: start,
                found: length,
            });
        }
        if let Some(header) = RecordHeader::parse(rest) {
            self.check_header(start, header)?;
        }
        Ok(length)
    }

    /// `ValidXLogRecordHeader` in `xlogreader.c`.
    fn check_header(&self, start: Lsn, header: RecordHeader) -> Result<(), WalFault> {
        let id = header.resource_manager;
        if self
            .pages
            .version
            .is_none_or(|version| !version.knows_resource_manager(id))
        {
            return Err(WalFault::BadResourceManager {
                lsn: start,
                found: id,
            });
        }
        let follows = match self.last_record {
            Some(last) => header.prev == last,
            None => header.prev < start,
        };
        if follows {
            Ok(())
        } else {
            Err(WalFault::BadPrev {
                lsn: start,
                found: header.prev,
                expected: self.last_record,
            })
        }
    }

    /// Takes in the part of an open record that stands at the begin of a page. Answers
    /// with the offset at which the next record begins.
    fn go_on(
        &mut self,
        open: OpenRecord,
        lsn: Lsn,
        page: &[u8],
        header: PageHeader,
        visit: Visit<'_>,
    ) -> Result<(Next, usize), WalFault> {
        let fault = |reason| WalFault::BadContinuation { lsn, reason };
        if !header.continues() {
            return Err(fault(ContinuationFault::Missing { record: open.start }));
        }
        let missing = (open.length as usize).saturating_sub(self.buffer.len());
        if header.remaining as usize != missing {
            return Err(fault(ContinuationFault::Length {
                record: open.start,
                found: header.remaining,
                expected: u32::try_from(missing).unwrap_or(u32::MAX),
            }));
        }
        let content = page.get(header.len()..).unwrap_or_default();
        let part = content.get(..missing).unwrap_or(content);
        self.buffer.extend_from_slice(part);
        if !open.judged
            && let Some(record) = RecordHeader::parse(&self.buffer)
        {
            self.check_header(open.start, record)?;
            self.open = Some(OpenRecord {
                judged: true,
                ..open
            });
        }
        let offset = header.len().saturating_add(align8(part.len()));
        if part.len() < missing {
            return Ok((Next::Onward, PAGE_SIZE));
        }
        self.open = None;
        let bytes = std::mem::take(&mut self.buffer);
        let next = self.deliver(open.start, advance(lsn, offset), &bytes, visit)?;
        self.buffer = bytes;
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_KEPT);
        Ok((next, offset))
    }

    /// Judges a complete record and hands it out.
    fn deliver(
        &mut self,
        start: Lsn,
        own_end: Lsn,
        bytes: &[u8],
        visit: Visit<'_>,
    ) -> Result<Next, WalFault> {
        let (Some(header), Some((fixed, body)), Some(version)) = (
            RecordHeader::parse(bytes),
            bytes.split_at_checked(RECORD_HEADER),
            self.pages.version,
        ) else {
            return Err(WalFault::UnexpectedZeros { lsn: start });
        };
        let computed = checksum(fixed, body);
        if computed != header.crc {
            return Err(WalFault::BadCrc {
                lsn: start,
                found: header.crc,
                computed,
            });
        }
        let bad_body = |reason| WalFault::BadBody { lsn: start, reason };
        let mut record = WalRecord {
            start,
            end: own_end,
            prev: header.prev,
            xid: header.xid,
            resource_manager: header.resource_manager,
            info: header.info,
            body,
            layout: Layout::check(body, version).map_err(bad_body)?,
            version,
        };
        let event = Self::decode_early(&record).map_err(bad_body)?;
        self.check_given_up(start, event.as_ref())?;
        self.path.check_record(&record, own_end, event.as_ref())?;
        let switched = header.is_switch();
        if switched {
            record.end = self.segment_end(own_end);
        }
        self.last_record = Some(start);
        self.end = record.end;
        self.cursor = record.end;
        Ok(match (visit(&record), switched) {
            (ControlFlow::Break(()), _) => Next::Stop,
            (ControlFlow::Continue(()), true) => Next::Segment,
            (ControlFlow::Continue(()), false) => Next::Onward,
        })
    }

    /// Decodes what the checks need or what must not be misread later.
    fn decode_early(record: &WalRecord<'_>) -> Result<Option<WalEvent>, BodyFault> {
        if event::may_be_event(record.resource_manager, record.info) {
            event::try_decode(record)
        } else {
            Ok(None)
        }
    }

    /// After a cut-off record, the next one must say that it is given up
    /// (`VerifyOverwriteContrecord` in `xlogrecovery.c`). Where reading begins, the cut
    /// itself may lie before.
    fn check_given_up(&mut self, start: Lsn, event: Option<&WalEvent>) -> Result<(), WalFault> {
        let named = match event {
            Some(WalEvent::OverwriteContrecord { overwritten, .. }) => Some(*overwritten),
            _ => None,
        };
        let reason = match (self.given_up.take(), named) {
            (None, None) => return Ok(()),
            (None, Some(_)) if self.last_record.is_none() => return Ok(()),
            (Some(record), Some(named)) if record == named => return Ok(()),
            (Some(record), None) => ContinuationFault::NotOverwritten { record },
            (_, Some(found)) => ContinuationFault::WrongOverwrite { found },
        };
        Err(WalFault::BadContinuation { lsn: start, reason })
    }

    /// The end of the segment in which WAL that ends at `lsn` lies.
    fn segment_end(&self, lsn: Lsn) -> Lsn {
        let size = self.pages.segment_size;
        size.segment_before(lsn).end_lsn(size)
    }
}

/// CRC-32C over the body, then over the header before the checksum.
fn checksum(fixed: &[u8], body: &[u8]) -> u32 {
    let covered = fixed.get(..HEADER_UNDER_CRC).unwrap_or(fixed);
    crc32c::crc32c_append(crc32c::crc32c(body), covered)
}

/// A position within WAL that is at hand; its end is representable.
fn advance(lsn: Lsn, bytes: usize) -> Lsn {
    Lsn::new(lsn.bytes().saturating_add(bytes as u64))
}
