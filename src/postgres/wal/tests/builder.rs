//! Writes WAL as a server does.

use super::{MIB, SYSTEM};
use crate::postgres::Lsn;
use crate::postgres::wal::PAGE_SIZE;

/// Bytes of WAL from the begin of segment 1 of 1 MiB on.
#[derive(Clone)]
pub(super) struct Builder {
    bytes: Vec<u8>,
    magic: u16,
    timeline: u32,
    prev: u64,
    /// Bytes of the record being written that are still to come, for page headers.
    remaining: usize,
    overwrite: bool,
}

/// The first segment's first byte.
pub(super) const BEGIN: u64 = MIB;

impl std::fmt::Debug for Builder {
    /// Short: property tests print it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "WAL up to {}, last record at {}",
            self.end(),
            self.last()
        )
    }
}

impl Builder {
    pub(super) fn new() -> Self {
        Self::with_magic(0xD110)
    }

    pub(super) fn with_magic(magic: u16) -> Self {
        Self {
            bytes: Vec::new(),
            magic,
            timeline: 1,
            prev: 0,
            remaining: 0,
            overwrite: false,
        }
    }

    /// Where the next byte goes.
    pub(super) fn end(&self) -> Lsn {
        Lsn::new(BEGIN + self.bytes.len() as u64)
    }

    /// Pages begun from here on carry this timeline.
    pub(super) fn timeline(&mut self, timeline: u32) -> &mut Self {
        self.timeline = timeline;
        self
    }

    /// What the next record names as its predecessor.
    pub(super) fn prev(&mut self, prev: Lsn) -> &mut Self {
        self.prev = prev.bytes();
        self
    }

    pub(super) fn last(&self) -> Lsn {
        Lsn::new(self.prev)
    }

    fn page_header(&mut self) {
        let at = BEGIN + self.bytes.len() as u64;
        let long = at.is_multiple_of(MIB);
        let (usual, overwrite) = if self.magic == 0xD122 {
            (0, 0x0004)
        } else {
            (0x0004, 0x0008)
        };
        let mut flags = usual;
        if self.remaining > 0 {
            flags |= 0x0001;
        }
        if long {
            flags |= 0x0002;
        }
        if std::mem::take(&mut self.overwrite) {
            flags |= overwrite;
        }
        self.bytes.extend(self.magic.to_le_bytes());
        self.bytes.extend(u16::to_le_bytes(flags));
        self.bytes.extend(self.timeline.to_le_bytes());
        self.bytes.extend(at.to_le_bytes());
        let remaining = u32::try_from(self.remaining).unwrap();
        self.bytes.extend(remaining.to_le_bytes());
        self.bytes.extend([0; 4]);
        if long {
            self.bytes.extend(SYSTEM.0.to_le_bytes());
            self.bytes.extend(u32::try_from(MIB).unwrap().to_le_bytes());
            self.bytes
                .extend(u32::try_from(PAGE_SIZE).unwrap().to_le_bytes());
        }
    }

    fn put(&mut self, mut bytes: &[u8]) {
        self.remaining = bytes.len();
        while !bytes.is_empty() {
            let mut room = PAGE_SIZE - self.bytes.len() % PAGE_SIZE;
            if room == PAGE_SIZE {
                self.page_header();
                room = PAGE_SIZE - self.bytes.len() % PAGE_SIZE;
            }
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.bytes.extend_from_slice(now);
            self.remaining = later.len();
            bytes = later;
        }
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
    }

    fn start_of_next(&mut self) -> u64 {
        if self.bytes.len().is_multiple_of(PAGE_SIZE) {
            self.page_header();
        }
        BEGIN + self.bytes.len() as u64
    }

    /// A record with any body.
    pub(super) fn raw(&mut self, manager: u8, info: u8, xid: u32, body: &[u8]) -> Lsn {
        let start = self.start_of_next();
        let bytes = record(manager, info, xid, self.prev, body);
        self.put(&bytes);
        self.prev = start;
        Lsn::new(start)
    }

    /// A record with main data only.
    pub(super) fn record(&mut self, manager: u8, info: u8, xid: u32, data: &[u8]) -> Lsn {
        self.raw(manager, info, xid, &main_data(data))
    }

    /// A commit without anything but its time, in microseconds since 2000.
    pub(super) fn commit(&mut self, xid: u32, time: i64) -> Lsn {
        self.record(1, 0, xid, &time.to_le_bytes())
    }

    /// A logical message of so many bytes.
    pub(super) fn message(&mut self, length: usize) -> Lsn {
        self.record(21, 0, 0, &vec![b'm'; length])
    }

    /// A record that ends exactly at the end of the page being filled.
    pub(super) fn fill_page(&mut self) -> Lsn {
        self.start_of_next();
        let room = PAGE_SIZE - self.bytes.len() % PAGE_SIZE;
        // 24 bytes of header, 5 of the long form of the main data's header.
        let mut body = vec![254];
        let length = u32::try_from(room - 29).unwrap();
        body.extend(length.to_le_bytes());
        body.resize(room - 24, b'f');
        self.raw(21, 0, 0, &body)
    }

    /// The same, or a short record when not even a header has room.
    pub(super) fn fill_page_if_room(&mut self) -> Lsn {
        self.start_of_next();
        if PAGE_SIZE - self.bytes.len() % PAGE_SIZE >= 29 {
            self.fill_page()
        } else {
            self.message(1)
        }
    }

    /// Fills the segment up to its last `left` bytes with records that end their pages.
    pub(super) fn fill_segment_but(&mut self, left: usize) {
        let size = usize::try_from(MIB).unwrap();
        while size - self.bytes.len() % size > 3 * PAGE_SIZE {
            self.fill_page_if_room();
        }
        self.fill_page_if_room();
        self.start_of_next();
        let room = PAGE_SIZE - self.bytes.len() % PAGE_SIZE;
        if room > left + 24 + 5 + 8 {
            self.message(room - left - 24 - 5);
        }
    }

    /// A record that may stand before a timeline's announcement, of so many bytes.
    pub(super) fn fpw_change_of(&mut self, length: usize) -> Lsn {
        let short = length - 24 - 2;
        let header = if short > 255 { 5 } else { 2 };
        self.record(0, 0x80, 0, &vec![1; length - 24 - header])
    }

    /// A checkpoint of a timeline.
    pub(super) fn checkpoint(&mut self, info: u8, timeline: u32, previous: u32) -> Lsn {
        let redo = self.start_of_next();
        let mut data = vec![0; 88];
        data[0..8].copy_from_slice(&redo.to_le_bytes());
        data[8..12].copy_from_slice(&timeline.to_le_bytes());
        data[12..16].copy_from_slice(&previous.to_le_bytes());
        data[24..32].copy_from_slice(&0x1_0000_02DD_u64.to_le_bytes());
        data[64..72].copy_from_slice(&1_790_000_000_i64.to_le_bytes());
        self.record(0, info, 0, &data)
    }

    pub(super) fn end_of_recovery(&mut self, timeline: u32, previous: u32) -> Lsn {
        let mut data = 1_000_000_i64.to_le_bytes().to_vec();
        data.extend(timeline.to_le_bytes());
        data.extend(previous.to_le_bytes());
        self.record(0, 0x90, 0, &data)
    }

    /// A SWITCH record, and zeros up to the end of the segment.
    pub(super) fn switch(&mut self) -> Lsn {
        let start = self.raw(0, 0x40, 0, &[]);
        let size = usize::try_from(MIB).unwrap();
        self.bytes
            .resize(self.bytes.len().next_multiple_of(size), 0);
        start
    }

    /// Cuts everything behind a page and gives up the record that went on there, as a
    /// server does that crashed in between.
    pub(super) fn crash_at(&mut self, page: Lsn, last_complete: Lsn) -> &mut Self {
        let at = usize::try_from(page.bytes() - BEGIN).unwrap();
        assert!(at.is_multiple_of(PAGE_SIZE));
        self.bytes.truncate(at);
        self.prev = last_complete.bytes();
        self.overwrite = true;
        self
    }

    pub(super) fn give_up(&mut self, record: Lsn) -> Lsn {
        let mut data = record.bytes().to_le_bytes().to_vec();
        data.extend(1_000_000_i64.to_le_bytes());
        self.record(0, 0xD0, 0, &data)
    }

    /// A segment full of records that begin at an offset.
    pub(super) fn segment_of_records(number: u64, offset: usize) -> Vec<u8> {
        let size = usize::try_from(MIB).unwrap();
        let mut builder = Self::new();
        builder
            .bytes
            .resize(size * usize::try_from(number - 1).unwrap(), 0);
        builder.page_header();
        builder
            .bytes
            .resize(builder.bytes.len().next_multiple_of(offset), 0);
        while builder.bytes.len() < size * usize::try_from(number).unwrap() {
            builder.message(100);
        }
        builder
            .segments()
            .swap_remove(usize::try_from(number - 1).unwrap())
    }

    /// The segments so far, the last one filled with zeros.
    pub(super) fn segments(&self) -> Vec<Vec<u8>> {
        let size = usize::try_from(MIB).unwrap();
        self.bytes
            .chunks(size)
            .map(|chunk| {
                let mut segment = chunk.to_vec();
                segment.resize(size, 0);
                segment
            })
            .collect()
    }
}

/// A sealed record.
pub(super) fn record(manager: u8, info: u8, xid: u32, prev: u64, body: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(24 + body.len())
        .unwrap()
        .to_le_bytes()
        .to_vec();
    bytes.extend(xid.to_le_bytes());
    bytes.extend(prev.to_le_bytes());
    bytes.extend([info, manager, 0, 0]);
    let crc = crc32c::crc32c_append(crc32c::crc32c(body), &bytes);
    bytes.extend(crc.to_le_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// A body of main data only.
pub(super) fn main_data(data: &[u8]) -> Vec<u8> {
    let mut body = if let Ok(short) = u8::try_from(data.len()) {
        vec![255, short]
    } else {
        let mut long = vec![254];
        long.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
        long
    };
    body.extend_from_slice(data);
    body
}
