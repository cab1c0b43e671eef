//! Why reading WAL must end.

use serde::Serialize;

use super::version::{KNOWN_MAJORS, WalVersion};
use crate::postgres::{Lsn, SegmentNumber, SystemId, TimelineId};

/// Something in the WAL that recovery would not read past, or should not.
///
/// Every variant carries the position of the page or record that is wrong;
/// [`WalStream::position`](super::WalStream::position) still says where the last good
/// record ended, which is where recovery would end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum WalFault {
    /// A segment of another length than the cluster's segment size.
    #[error(
        "the segment at {lsn} has {found} bytes instead of {expected}: cut, padded or not a segment"
    )]
    WrongSize {
        /// The segment's first byte.
        lsn: Lsn,
        /// Bytes handed in.
        found: u64,
        /// The segment size.
        expected: u64,
    },
    /// A segment was handed in that is not the next one.
    #[error("segment number {} was handed in where number {} is due", found.0, expected.0)]
    OutOfOrder {
        /// Where reading stands.
        lsn: Lsn,
        /// The number handed in.
        found: SegmentNumber,
        /// The number that is next.
        expected: SegmentNumber,
    },
    /// A page that begins with an unknown magic number, or with another version's.
    #[error("page at {lsn}: {}", describe_magic(*found, *expected_major))]
    BadMagic {
        /// The page.
        lsn: Lsn,
        /// The magic number on the page.
        found: u16,
        /// The PostgreSQL major version of the pages before; `None` on the first page.
        expected_major: Option<u32>,
    },
    /// A page with unknown flag bits, or without the long header that begins a segment.
    #[error("page at {lsn}: its flags {found:#06x} cannot stand there")]
    BadPageFlags {
        /// The page.
        lsn: Lsn,
        /// The flags.
        found: u16,
    },
    /// A page that says it belongs elsewhere: typically the old content of a recycled
    /// segment file, or a segment under another one's name.
    #[error(
        "page at {lsn} says it is the page at {found}: recycled content, or another segment's bytes"
    )]
    WrongPageAddress {
        /// Where the page stands.
        lsn: Lsn,
        /// Where it says it belongs.
        found: Lsn,
    },
    /// WAL of another database system.
    #[error("the segment at {lsn} belongs to system {found}, not to {expected}")]
    ForeignSystem {
        /// The page that says so.
        lsn: Lsn,
        /// The system identifier on the page.
        found: SystemId,
        /// The identifier expected.
        expected: SystemId,
    },
    /// A segment that was written with another segment size.
    #[error("the segment at {lsn} was written with {found}-byte segments, expected {expected}")]
    WrongSegmentSize {
        /// The page that says so.
        lsn: Lsn,
        /// Bytes, as the page says.
        found: u32,
        /// Bytes expected.
        expected: u64,
    },
    /// WAL pages of another size than 8 KiB, which only special builds write.
    #[error("the segment at {lsn} has {found}-byte pages; only the default of 8192 is supported")]
    WrongBlockSize {
        /// The page that says so.
        lsn: Lsn,
        /// Bytes, as the page says.
        found: u32,
    },
    /// A page or checkpoint of a timeline that the followed path does not have there.
    #[error(
        "{lsn} is on timeline {found}, but the history that is followed has timeline {expected} there"
    )]
    WrongTimeline {
        /// The page, or the record that names the timeline.
        lsn: Lsn,
        /// Its timeline.
        found: TimelineId,
        /// The timeline of the path at this position.
        expected: TimelineId,
    },
    /// A timeline whose first record does not announce it: the parent's own WAL stands
    /// where the child's should.
    #[error(
        "the record at {lsn} does not begin timeline {timeline}: it looks like the parent's own WAL after the switch"
    )]
    TimelineNotBegun {
        /// The record.
        lsn: Lsn,
        /// The timeline that should begin here.
        timeline: TimelineId,
    },
    /// The history file's switch point lies within a record.
    #[error(
        "the history file leaves the timeline at {lsn}, in the middle of the record from {record} to {end}"
    )]
    BadSwitchPoint {
        /// The switch point.
        lsn: Lsn,
        /// The record's first byte.
        record: Lsn,
        /// The record's end.
        end: Lsn,
    },
    /// Reading was asked to begin where no record can begin.
    #[error("no record begins at {lsn}")]
    BadStart {
        /// The position asked for.
        lsn: Lsn,
    },
    /// A record of an impossible length.
    #[error("record at {lsn} claims {found} bytes")]
    BadLength {
        /// The record.
        lsn: Lsn,
        /// The length it claims, in bytes.
        found: u32,
    },
    /// A record of a resource manager that this version does not have.
    #[error("record at {lsn} names resource manager {found}, which this version does not have")]
    BadResourceManager {
        /// The record.
        lsn: Lsn,
        /// The number it names.
        found: u8,
    },
    /// A record that does not follow the one before it: WAL between them is missing, or
    /// one of them is from another branch.
    #[error("record at {lsn} follows a record at {found}{}", describe_prev(*expected))]
    BadPrev {
        /// The record.
        lsn: Lsn,
        /// The predecessor it names.
        found: Lsn,
        /// The record that was read before; `None` for the first one read, whose
        /// predecessor must only lie before itself.
        expected: Option<Lsn>,
    },
    /// A record whose bytes do not match its checksum.
    #[error("record at {lsn} is damaged: CRC-32C is {computed:#010x}, recorded is {found:#010x}")]
    BadCrc {
        /// The record.
        lsn: Lsn,
        /// The checksum in the record.
        found: u32,
        /// The checksum of the bytes.
        computed: u32,
    },
    /// A record whose parts do not add up although its checksum holds.
    #[error("record at {lsn} cannot be decoded: {reason}")]
    BadBody {
        /// The record.
        lsn: Lsn,
        /// What does not fit.
        reason: BodyFault,
    },
    /// A page that does not carry on with the record before it.
    #[error("page at {lsn}: {reason}")]
    BadContinuation {
        /// The page.
        lsn: Lsn,
        /// What does not fit.
        reason: ContinuationFault,
    },
    /// Zeros where a page or record should be: WAL was never written there. The natural
    /// end of an unfinished segment, and damage in the middle of a finished one.
    #[error("zeros at {lsn}, where WAL should go on")]
    UnexpectedZeros {
        /// The first zero byte.
        lsn: Lsn,
    },
}

/// What is wrong with the parts of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BodyFault {
    /// The lengths of the parts do not add up to the length of the record.
    #[error("its parts do not add up to its length")]
    Length,
    /// A part has an unknown number.
    #[error("it has a part of unknown kind")]
    UnknownPart,
    /// Block references must rise.
    #[error("its block references are out of order")]
    BlockOrder,
    /// A block's flags and lengths contradict each other.
    #[error("a block reference contradicts itself")]
    BlockFlags,
    /// A block wants the relation of the block before it, and there is none.
    #[error("a block reference names no relation")]
    NoRelation,
    /// The record is too short for what it is.
    #[error("its content is too short for its kind")]
    Content,
}

/// What is wrong between a record that crosses a page border and the next page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum ContinuationFault {
    /// The page does not continue the record.
    #[error("it does not continue the record at {record}")]
    Missing {
        /// The record that is unfinished.
        record: Lsn,
    },
    /// The page continues a record, but the record before was complete.
    #[error("it continues a record although the one before is complete")]
    Unexpected,
    /// The page continues a record of another length.
    #[error("it continues with {found} bytes where the record at {record} lacks {expected}")]
    Length {
        /// The record that is unfinished.
        record: Lsn,
        /// Bytes still to come, as the page says.
        found: u32,
        /// Bytes still to come, as the record says.
        expected: u32,
    },
    /// A record was given up after a crash, and what stands in its place does not say so.
    #[error("the record at {record} was given up here, but no record says so")]
    NotOverwritten {
        /// The record that was given up.
        record: Lsn,
    },
    /// A record says that another one was given up, and that is not so.
    #[error("the record here gives up the one at {found}, which was not left unfinished")]
    WrongOverwrite {
        /// The record it names.
        found: Lsn,
    },
}

impl WalFault {
    /// The position of the page or record that is wrong.
    pub const fn lsn(&self) -> Lsn {
        match self {
            Self::WrongSize { lsn, .. }
            | Self::OutOfOrder { lsn, .. }
            | Self::BadMagic { lsn, .. }
            | Self::BadPageFlags { lsn, .. }
            | Self::WrongPageAddress { lsn, .. }
            | Self::ForeignSystem { lsn, .. }
            | Self::WrongSegmentSize { lsn, .. }
            | Self::WrongBlockSize { lsn, .. }
            | Self::WrongTimeline { lsn, .. }
            | Self::TimelineNotBegun { lsn, .. }
            | Self::BadSwitchPoint { lsn, .. }
            | Self::BadStart { lsn }
            | Self::BadLength { lsn, .. }
            | Self::BadResourceManager { lsn, .. }
            | Self::BadPrev { lsn, .. }
            | Self::BadCrc { lsn, .. }
            | Self::BadBody { lsn, .. }
            | Self::BadContinuation { lsn, .. }
            | Self::UnexpectedZeros { lsn } => *lsn,
        }
    }

    /// Whether an unfinished segment, as a running server or a `.partial` file has it,
    /// would end like this: in zeros, or in the older content of a recycled file. In a
    /// segment that was archived in full it is damage all the same.
    pub fn looks_like_end_of_wal(&self) -> bool {
        match self {
            Self::UnexpectedZeros { .. } => true,
            Self::WrongPageAddress { lsn, found } => found < lsn,
            _ => false,
        }
    }
}

fn describe_magic(found: u16, expected_major: Option<u32>) -> String {
    let (oldest, newest) = KNOWN_MAJORS;
    match (WalVersion::from_magic(found), expected_major) {
        (Some(version), Some(major)) => format!(
            "written by PostgreSQL {}, the pages before by PostgreSQL {major}",
            version.major()
        ),
        _ => format!(
            "magic number {found:#06x} is unknown (not WAL, or not of PostgreSQL {oldest} to {newest})"
        ),
    }
}

fn describe_prev(expected: Option<Lsn>) -> String {
    expected.map_or_else(
        || ", which does not lie before it".to_owned(),
        |expected| format!(", but the record before it is at {expected}"),
    )
}
