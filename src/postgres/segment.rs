//! Timelines, system identifiers, segment sizes, numbers and names.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Lsn;

/// A timeline: the branch number that PostgreSQL gives WAL after every promotion.
///
/// Decimal in `backup.info` and in history lines, eight hexadecimal digits in file names.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(transparent)]
pub struct TimelineId(pub u32);

impl TimelineId {
    /// The timeline of a cluster that was never promoted.
    pub const FIRST: Self = Self(1);

    /// The name of this timeline's history file, `0000000A.history`.
    pub fn history_file_name(self) -> String {
        format!("{:08X}.history", self.0)
    }
}

impl fmt::Display for TimelineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The number that `initdb` gives a database system and that every WAL segment, control
/// file and `backup.info` repeats. Two clusters never share one, their copies always do.
///
/// Serialised as a decimal string, because it exceeds what JSON readers keep exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SystemId(pub u64);

impl fmt::Display for SystemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl TryFrom<String> for SystemId {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self)
    }
}

impl From<SystemId> for String {
    fn from(id: SystemId) -> Self {
        id.to_string()
    }
}

impl schemars::JsonSchema for SystemId {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "SystemId".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^[0-9]+$",
            "description": "A PostgreSQL system identifier, decimal.",
        })
    }
}

/// The size of a cluster's WAL segments in bytes: a power of two from 1 MiB to 1 GiB
/// (`IsValidWalSegSize` in `src/include/access/xlog_internal.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct SegmentSize(u64);

/// A number of bytes that no WAL segment can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a WAL segment size: {0} (expected a power of two from 1 MiB to 1 GiB)")]
pub struct SegmentSizeError(pub u64);

impl SegmentSize {
    /// PostgreSQL's default, 16 MiB.
    pub const DEFAULT: Self = Self(16 << 20);

    /// A checked size.
    pub fn new(bytes: u64) -> Result<Self, SegmentSizeError> {
        if bytes.is_power_of_two() && (1 << 20..=1 << 30).contains(&bytes) {
            Ok(Self(bytes))
        } else {
            Err(SegmentSizeError(bytes))
        }
    }

    /// The size in bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// How many segments share one "log" number: those of 4 GiB of WAL.
    pub const fn segments_per_log(self) -> u64 {
        0x1_0000_0000 / self.0
    }

    /// The segment that holds the byte at `lsn`.
    pub const fn segment_of(self, lsn: Lsn) -> SegmentNumber {
        SegmentNumber(lsn.bytes() / self.0)
    }

    /// The segment that holds the byte *before* `lsn`: where WAL that ends there lies
    /// (PostgreSQL's `XLByteToPrevSeg`).
    pub const fn segment_before(self, lsn: Lsn) -> SegmentNumber {
        SegmentNumber(lsn.bytes().saturating_sub(1) / self.0)
    }

    /// Where `lsn` lies within its segment, in bytes.
    pub const fn offset_of(self, lsn: Lsn) -> u64 {
        lsn.bytes() % self.0
    }
}

impl Default for SegmentSize {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl TryFrom<u64> for SegmentSize {
    type Error = SegmentSizeError;

    fn try_from(bytes: u64) -> Result<Self, Self::Error> {
        Self::new(bytes)
    }
}

impl From<SegmentSize> for u64 {
    fn from(size: SegmentSize) -> Self {
        size.0
    }
}

impl schemars::JsonSchema for SegmentSize {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "SegmentSize".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "integer",
            "minimum": 1_048_576,
            "maximum": 1_073_741_824,
            "description": "Bytes of one WAL segment: a power of two from 1 MiB to 1 GiB.",
        })
    }
}

/// The ordinal of a segment: its first byte's LSN divided by the segment size.
/// The same number on two timelines names two files.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(transparent)]
pub struct SegmentNumber(pub u64);

impl SegmentNumber {
    /// The next segment.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The segment before, or `None` for the first.
    pub fn previous(self) -> Option<Self> {
        self.0.checked_sub(1).map(Self)
    }

    /// The position of the segment's first byte.
    pub const fn begin_lsn(self, size: SegmentSize) -> Lsn {
        Lsn::new(self.0.saturating_mul(size.bytes()))
    }

    /// The position just past the segment's last byte.
    pub const fn end_lsn(self, size: SegmentSize) -> Lsn {
        self.next().begin_lsn(size)
    }
}

/// The name of a WAL segment file, 24 hexadecimal digits: timeline, log, segment.
///
/// The digits alone do not say the segment's LSN: that needs the [`SegmentSize`]
/// (`XLogFileName` in `src/include/access/xlog_internal.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentName {
    /// The first eight digits.
    pub timeline: TimelineId,
    /// The middle eight digits.
    pub log: u32,
    /// The last eight digits; below [`SegmentSize::segments_per_log`] for a legal name.
    pub segment: u32,
}

/// A text that is not a segment name, or one that is illegal for its segment size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SegmentNameError {
    /// Not 24 upper-case hexadecimal digits.
    #[error("not a WAL segment name: {0:?} (expected 24 upper-case hexadecimal digits)")]
    NotAName(String),
    /// The last part is too large for the segment size.
    #[error("{name} cannot exist with {size}-byte segments: its last part is at least {limit:X}")]
    NotOfThisSize {
        /// The name as written.
        name: String,
        /// The segment size in bytes.
        size: u64,
        /// The first illegal value of the last part.
        limit: u64,
    },
}

impl SegmentName {
    /// The name of segment `number` on `timeline`. Log numbers beyond 32 bits (8 EiB and
    /// more of WAL) cannot be written and saturate, as no server can reach them.
    pub fn new(timeline: TimelineId, number: SegmentNumber, size: SegmentSize) -> Self {
        let per_log = size.segments_per_log();
        Self {
            timeline,
            log: u32::try_from(number.0 / per_log).unwrap_or(u32::MAX),
            segment: u32::try_from(number.0 % per_log).unwrap_or(u32::MAX),
        }
    }

    /// The segment's number, or an error when no cluster with this segment size writes
    /// such a name.
    pub fn number(self, size: SegmentSize) -> Result<SegmentNumber, SegmentNameError> {
        let per_log = size.segments_per_log();
        if u64::from(self.segment) >= per_log {
            return Err(SegmentNameError::NotOfThisSize {
                name: self.to_string(),
                size: size.bytes(),
                limit: per_log,
            });
        }
        Ok(SegmentNumber(
            u64::from(self.log) * per_log + u64::from(self.segment),
        ))
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:08X}{:08X}{:08X}",
            self.timeline.0, self.log, self.segment
        )
    }
}

/// Parses exactly eight upper-case hexadecimal digits, as PostgreSQL's `%08X` writes them.
pub(super) fn parse_hex8(digits: &str) -> Option<u32> {
    let upper = |byte: u8| byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte);
    (digits.len() == 8 && digits.bytes().all(upper))
        .then(|| u32::from_str_radix(digits, 16).ok())
        .flatten()
}

impl FromStr for SegmentName {
    type Err = SegmentNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let part = |from: usize, to: usize| text.get(from..to).and_then(parse_hex8);
        match (text.len(), part(0, 8), part(8, 16), part(16, 24)) {
            (24, Some(timeline), Some(log), Some(segment)) => Ok(Self {
                timeline: TimelineId(timeline),
                log,
                segment,
            }),
            _ => Err(SegmentNameError::NotAName(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_size() -> impl Strategy<Value = SegmentSize> {
        (20u32..=30).prop_map(|bits| SegmentSize::new(1 << bits).unwrap())
    }

    #[test]
    fn sizes_are_powers_of_two_in_range() {
        for bytes in [0, 1, 1 << 19, 1 << 31, (1 << 20) + 1, 3 << 20] {
            assert!(SegmentSize::new(bytes).is_err(), "{bytes}");
        }
        assert_eq!(SegmentSize::new(1 << 30).unwrap().segments_per_log(), 4);
    }

    #[test]
    fn last_segment_of_a_log_is_followed_by_the_next_log() {
        let size = SegmentSize::DEFAULT;
        let last: SegmentName = "0000000100000000000000FF".parse().unwrap();
        let next = SegmentName::new(TimelineId(1), last.number(size).unwrap().next(), size);
        assert_eq!(next.to_string(), "000000010000000100000000");
    }

    #[test]
    fn a_name_may_be_illegal_for_a_size() {
        let name: SegmentName = "000000010000000000000040".parse().unwrap();
        assert!(name.number(SegmentSize::DEFAULT).is_ok());
        assert!(name.number(SegmentSize::new(64 << 20).unwrap()).is_err());
    }

    #[test]
    fn lower_case_and_wrong_lengths_are_refused() {
        for text in [
            "00000001000000000000000a",
            "00000001000000000000000",
            "0000000100000000000000000",
            "00000001é000000000000000",
        ] {
            assert!(text.parse::<SegmentName>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn number_and_name_are_inverse(size in any_size(), timeline in 1u32.., number in 0u64..0xFFFF_FFFF) {
            let name = SegmentName::new(TimelineId(timeline), SegmentNumber(number), size);
            prop_assert_eq!(name.number(size).unwrap(), SegmentNumber(number));
            prop_assert_eq!(name.to_string().parse::<SegmentName>().unwrap(), name);
        }

        #[test]
        fn every_lsn_lies_in_its_segment(size in any_size(), bytes in 0u64..u64::MAX - (1 << 31)) {
            let lsn = Lsn::new(bytes);
            let number = size.segment_of(lsn);
            prop_assert!(number.begin_lsn(size) <= lsn && lsn < number.end_lsn(size));
            prop_assert_eq!(number.begin_lsn(size).bytes() + size.offset_of(lsn), bytes);
        }
    }
}
