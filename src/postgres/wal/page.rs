//! Page headers: what stands at the begin of every 8 KiB of WAL.

use serde::Serialize;

use super::fault::WalFault;
use super::record::align8;
use super::version::WalVersion;
use crate::postgres::little_endian::{u16_at, u32_at, u64_at};
use crate::postgres::segment::SegmentSizeError;
use crate::postgres::{Lsn, SegmentSize, SystemId, TimelineId};

/// Bytes of a WAL page (`XLOG_BLCKSZ` of every packaged build).
pub const PAGE_SIZE: usize = 8192;

/// Bytes of a page header, and of the one that begins a segment
/// (`SizeOfXLogShortPHD` and `SizeOfXLogLongPHD` in `src/include/access/xlog_internal.h`).
const SHORT_HEADER: usize = 24;
const LONG_HEADER: usize = 40;

const FIRST_IS_CONTRECORD: u16 = 0x0001;
const HAS_LONG_HEADER: u16 = 0x0002;

/// The header of one page, decoded but not judged.
#[derive(Clone, Copy, Debug)]
pub(super) struct PageHeader {
    pub(super) magic: u16,
    flags: u16,
    version: Option<WalVersion>,
    pub(super) timeline: TimelineId,
    pub(super) address: Lsn,
    /// Bytes of the record begun on an earlier page that are still to come.
    pub(super) remaining: u32,
    long: Option<LongHeader>,
}

#[derive(Clone, Copy, Debug)]
struct LongHeader {
    system_id: SystemId,
    segment_size: u32,
    page_size: u32,
}

/// What a page has to agree with.
#[derive(Clone, Debug)]
pub(super) struct PageExpectation {
    pub(super) version: Option<WalVersion>,
    pub(super) system_id: Option<SystemId>,
    pub(super) segment_size: SegmentSize,
}

impl PageHeader {
    fn parse(page: &[u8]) -> Option<Self> {
        let flags = u16_at(page, 2)?;
        let long = if flags & HAS_LONG_HEADER == 0 {
            None
        } else {
            Some(LongHeader {
                system_id: SystemId(u64_at(page, 24)?),
                segment_size: u32_at(page, 32)?,
                page_size: u32_at(page, 36)?,
            })
        };
        let magic = u16_at(page, 0)?;
        Some(Self {
            magic,
            flags,
            version: WalVersion::from_magic(magic),
            timeline: TimelineId(u32_at(page, 4)?),
            address: Lsn::new(u64_at(page, 8)?),
            remaining: u32_at(page, 16)?,
            long,
        })
    }

    /// Bytes before the page's content.
    pub(super) const fn len(&self) -> usize {
        if self.long.is_some() {
            LONG_HEADER
        } else {
            SHORT_HEADER
        }
    }

    /// Whether the page begins with the rest of a record.
    pub(super) const fn continues(&self) -> bool {
        self.flags & FIRST_IS_CONTRECORD != 0
    }

    /// Whether the record that should go on here was given up after a crash.
    pub(super) const fn overwrites(&self) -> bool {
        match self.version {
            Some(version) => self.flags & version.overwrite_flag().0 != 0,
            None => false,
        }
    }
}

impl PageExpectation {
    /// Reads and judges the header of the page at `lsn`, in the order of PostgreSQL's
    /// `XLogReaderValidatePageHeader`; the timeline is left to the caller. What the first
    /// page says of version and system becomes the expectation for all others.
    pub(super) fn check(&mut self, lsn: Lsn, page: &[u8]) -> Result<PageHeader, WalFault> {
        let Some(header) = PageHeader::parse(page) else {
            return Err(WalFault::UnexpectedZeros { lsn });
        };
        let version = match header.version {
            Some(version) if self.version.is_none_or(|known| known == version) => version,
            _ if page.iter().take(LONG_HEADER).all(|byte| *byte == 0) => {
                return Err(WalFault::UnexpectedZeros { lsn });
            }
            _ => {
                return Err(WalFault::BadMagic {
                    lsn,
                    found: header.magic,
                    expected_major: self.version.map(WalVersion::major),
                });
            }
        };
        let begins_segment = self.segment_size.offset_of(lsn) == 0;
        if header.flags & !version.overwrite_flag().1 != 0
            || (begins_segment && header.long.is_none())
        {
            return Err(WalFault::BadPageFlags {
                lsn,
                found: header.flags,
            });
        }
        if let Some(long) = header.long {
            self.check_long(lsn, long)?;
        }
        if header.address != lsn {
            return Err(WalFault::WrongPageAddress {
                lsn,
                found: header.address,
            });
        }
        self.version = Some(version);
        if let Some(long) = header.long {
            self.system_id = Some(long.system_id);
        }
        Ok(header)
    }

    fn check_long(&self, lsn: Lsn, long: LongHeader) -> Result<(), WalFault> {
        if let Some(expected) = self.system_id
            && long.system_id != expected
        {
            return Err(WalFault::ForeignSystem {
                lsn,
                found: long.system_id,
                expected,
            });
        }
        if u64::from(long.segment_size) != self.segment_size.bytes() {
            return Err(WalFault::WrongSegmentSize {
                lsn,
                found: long.segment_size,
                expected: self.segment_size.bytes(),
            });
        }
        if long.page_size as usize != PAGE_SIZE {
            return Err(WalFault::WrongBlockSize {
                lsn,
                found: long.page_size,
            });
        }
        Ok(())
    }
}

/// What the first page of a segment says about the segment and its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct FirstPage {
    /// The PostgreSQL major version that wrote it.
    pub major: u32,
    /// The page magic, `XLOG_PAGE_MAGIC` of that version.
    pub magic: u16,
    /// The timeline of the first page. On the segment in which a timeline begins it is an
    /// ancestor's, because the bytes before the switch are copies.
    pub timeline: TimelineId,
    /// The position of the segment's first byte.
    pub address: Lsn,
    /// The database system that wrote it.
    pub system_id: SystemId,
    /// The cluster's segment size.
    pub segment_size: SegmentSize,
    /// Bytes of a WAL page.
    pub block_size: u32,
}

/// Reads the header of a segment's first page without knowing anything about the cluster.
/// 40 bytes are enough. The address must be the begin of a segment of the size it states.
pub fn read_first_page(bytes: &[u8]) -> Result<FirstPage, WalFault> {
    let zero = Lsn::INVALID;
    let header = PageHeader::parse(bytes).ok_or(WalFault::WrongSize {
        lsn: zero,
        found: bytes.len() as u64,
        expected: LONG_HEADER as u64,
    })?;
    let lsn = header.address;
    let stated = header.long.map(|long| u64::from(long.segment_size));
    // An illegal size is reported as such; until then any legal one serves to check.
    let segment_size = stated.map_or(Ok(SegmentSize::DEFAULT), SegmentSize::new);
    let mut expectation = PageExpectation {
        version: None,
        system_id: None,
        segment_size: segment_size.unwrap_or_default(),
    };
    let header = expectation.check(lsn, bytes)?;
    let (Some(long), Some(version)) = (header.long, expectation.version) else {
        return Err(WalFault::BadPageFlags {
            lsn,
            found: header.flags,
        });
    };
    let segment_size = segment_size.map_err(|SegmentSizeError(_)| WalFault::WrongSegmentSize {
        lsn,
        found: long.segment_size,
        expected: SegmentSize::DEFAULT.bytes(),
    })?;
    if segment_size.offset_of(lsn) != 0 {
        return Err(WalFault::WrongPageAddress {
            lsn: segment_size.segment_of(lsn).begin_lsn(segment_size),
            found: lsn,
        });
    }
    Ok(FirstPage {
        major: version.major(),
        magic: header.magic,
        timeline: header.timeline,
        address: lsn,
        system_id: long.system_id,
        segment_size,
        block_size: long.page_size,
    })
}

/// Where the first record that *begins* in a segment begins; `None` when one record runs
/// through the whole segment. Lets reading start at a segment whose predecessor is gone
/// (PostgreSQL's `XLogFindNextRecord`).
pub fn first_record(bytes: &[u8]) -> Result<Option<Lsn>, WalFault> {
    let first = read_first_page(bytes)?;
    let expectation = PageExpectation {
        version: None,
        system_id: None,
        segment_size: first.segment_size,
    };
    search_first_record(expectation, first.address, bytes).map_err(|(_, fault)| fault)
}

/// The same for the segment that begins at `begin`; on a fault with the page that has it.
pub(super) fn search_first_record(
    mut expectation: PageExpectation,
    begin: Lsn,
    bytes: &[u8],
) -> Result<Option<Lsn>, (Lsn, WalFault)> {
    let mut lsn = begin;
    for page in bytes.chunks(PAGE_SIZE) {
        let header = expectation.check(lsn, page).map_err(|fault| (lsn, fault))?;
        let begin = if header.continues() {
            header
                .len()
                .saturating_add(align8(header.remaining as usize))
        } else {
            header.len()
        };
        if begin < PAGE_SIZE {
            return Ok(lsn.checked_add(begin as u64));
        }
        match lsn.checked_add(PAGE_SIZE as u64) {
            Some(next) if expectation.segment_size.offset_of(next) != 0 => lsn = next,
            _ => break,
        }
    }
    Ok(None)
}
