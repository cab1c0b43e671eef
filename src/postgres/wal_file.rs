//! The names of the files that `archive_command` and `restore_command` speak of.

use std::fmt;
use std::str::FromStr;

use super::segment::{SegmentName, SegmentNameError, TimelineId, parse_hex8};

/// A file of a WAL archive, by the name PostgreSQL gives it (no codec extension).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WalFileName {
    /// A full segment, `000000010000000000000002`.
    Segment(SegmentName),
    /// The last, unfinished segment of an old timeline, `….partial`. Recovery never asks
    /// for it by itself.
    Partial(SegmentName),
    /// A timeline history file, `00000002.history`.
    History(TimelineId),
    /// A backup history file, `….00000028.backup`: the segment and the byte offset at
    /// which a base backup began.
    BackupHistory {
        /// The segment that holds the backup's begin.
        segment: SegmentName,
        /// The begin's byte offset within that segment.
        offset: u32,
    },
}

impl fmt::Display for WalFileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Segment(segment) => fmt::Display::fmt(segment, f),
            Self::Partial(segment) => write!(f, "{segment}.partial"),
            Self::History(timeline) => f.write_str(&timeline.history_file_name()),
            Self::BackupHistory { segment, offset } => write!(f, "{segment}.{offset:08X}.backup"),
        }
    }
}

impl FromStr for WalFileName {
    type Err = SegmentNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || SegmentNameError::NotAName(text.to_owned());
        if let Some(timeline) = text.strip_suffix(".history") {
            return parse_hex8(timeline)
                .map(|timeline| Self::History(TimelineId(timeline)))
                .ok_or_else(error);
        }
        if let Some(segment) = text.strip_suffix(".partial") {
            return segment.parse().map(Self::Partial);
        }
        if let Some(rest) = text.strip_suffix(".backup") {
            let (segment, offset) = rest.split_once('.').ok_or_else(error)?;
            return Ok(Self::BackupHistory {
                segment: segment.parse()?,
                offset: parse_hex8(offset).ok_or_else(error)?,
            });
        }
        text.parse().map(Self::Segment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_read_and_written_alike() {
        for text in [
            "000000010000000000000002",
            "00000002000000000000000A.partial",
            "00000002.history",
            "000000010000000000000002.00000028.backup",
        ] {
            let name: WalFileName = text.parse().unwrap();
            assert_eq!(name.to_string(), text);
        }
    }

    #[test]
    fn near_misses_are_refused() {
        for text in [
            "2.history",
            "000000010000000000000002.backup",
            ".history",
            "000000010000000000000002.gz",
            "archive_status",
        ] {
            assert!(text.parse::<WalFileName>().is_err(), "{text}");
        }
    }
}
