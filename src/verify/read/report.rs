//! What reading the WAL of a repository found.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use crate::postgres::{Lsn, TimelineId};
use crate::verify::CommitPoint;
use crate::verify::range_report::RestorePoint;

/// All records that were read on the way to the current timeline.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct WalReading {
    /// Segments on the way to the current timeline whose records were checked.
    pub segments: u64,
    /// Segments and unfinished segments read beside that way.
    pub segments_beside: u64,
    /// Objects read, further copies of a segment too.
    pub objects: u64,
    /// Their stored bytes.
    pub stored_bytes: u64,
    /// Decoded bytes of the segments on the way.
    pub bytes: u64,
    /// Records that are whole and in their place.
    pub records: u64,
    /// Commits among them.
    pub commits: u64,
    /// The first commit.
    pub first_commit: Option<CommitPoint>,
    /// The last commit.
    pub last_commit: Option<CommitPoint>,
    /// The transactions that ended.
    pub xids: Option<XidRange>,
    /// The last checkpoint.
    pub last_checkpoint: Option<CheckpointPoint>,
    /// Named restore points; at most 256.
    pub restore_points: Vec<RestorePoint>,
    /// How many two-phase transactions are still open at the end; 4096 stands for more, too.
    pub prepared: u64,
    /// Commits whose time lies more than a second before that of an earlier one.
    pub clock_steps: u64,
    /// How long reading took, base backups included, in milliseconds.
    pub milliseconds: u64,
    /// Stretches that recovery can replay without a stop, in the order of the way.
    pub stretches: Vec<WalStretch>,
    /// Every segment on the way, in order; only on request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by_segment: Option<Vec<SegmentReading>>,
}

/// The lowest and the highest of some transactions, as PostgreSQL compares them: numbers
/// go round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct XidRange {
    /// The lowest.
    pub first: u32,
    /// The highest.
    pub last: u32,
}

impl XidRange {
    /// With one more (`TransactionIdPrecedes` in `src/backend/access/transam/transam.c`).
    pub(super) fn with(range: Option<Self>, xid: u32) -> Self {
        let precedes = |a: u32, b: u32| a.wrapping_sub(b) > u32::MAX / 2;
        let Some(Self { first, last }) = range else {
            return Self {
                first: xid,
                last: xid,
            };
        };
        Self {
            first: if precedes(xid, first) { xid } else { first },
            last: if precedes(last, xid) { xid } else { last },
        }
    }
}

/// A checkpoint in the WAL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CheckpointPoint {
    /// Where its record begins.
    pub lsn: Lsn,
    /// Where replay from it begins.
    pub redo: Lsn,
    /// When it was begun, to the second.
    pub time: DateTime<Utc>,
}

/// WAL that recovery can replay without a stop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct WalStretch {
    /// The first record that was read.
    pub begin: Lsn,
    /// Where replay of everything in it ends.
    pub end: Lsn,
    /// The begin of the last record.
    pub last_record: Option<Lsn>,
    /// The timeline at its end.
    pub timeline: TimelineId,
    /// The key of the segment that holds its end.
    pub key: Option<String>,
    /// Records.
    pub records: u64,
    /// Commits among them.
    pub commits: u64,
    /// The first commit.
    pub first_commit: Option<CommitPoint>,
    /// The last commit.
    pub last_commit: Option<CommitPoint>,
    /// The latest time in any record.
    pub last_time: Option<DateTime<Utc>>,
    /// Whether every segment in it was read.
    pub whole: bool,
    /// Why it goes no further.
    pub stopped_by: WalStop,
}

/// Why WAL goes no further.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum WalStop {
    /// The archive ends.
    #[default]
    ArchiveEnd,
    /// This segment is missing, or cannot be one by its size.
    Missing {
        /// Its name.
        segment: String,
    },
    /// A record or page is wrong.
    Damaged {
        /// The segment's name.
        segment: String,
        /// Where.
        lsn: Lsn,
        /// What is wrong, for people.
        reason: String,
    },
    /// An object cannot be decoded.
    Unreadable {
        /// The segment's name.
        segment: String,
        /// What is wrong, for people.
        reason: String,
    },
    /// `wal_level` is lowered to minimal: recovery refuses to pass.
    WalLevelMinimal {
        /// Where the record begins.
        lsn: Lsn,
    },
}

/// One segment on the way to the current timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SegmentReading {
    /// Its name.
    pub segment: String,
    /// The object that counts.
    pub key: Option<String>,
    /// Its stored size in bytes.
    pub stored_bytes: Option<u64>,
    /// Whether it could be read to its end. What is wrong is in the findings.
    pub sound: bool,
    /// Records that end in it.
    pub records: u64,
    /// Commits among them.
    pub commits: u64,
    /// The time of the first commit.
    pub first_commit: Option<DateTime<Utc>>,
    /// The time of the last commit.
    pub last_commit: Option<DateTime<Utc>>,
    /// The transactions that ended.
    pub xids: Option<XidRange>,
    /// Checkpoints.
    pub checkpoints: u64,
    /// Names of restore points.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub restore_points: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transaction_numbers_go_round() {
        let range = [u32::MAX - 1, 5, u32::MAX - 3, 9]
            .into_iter()
            .fold(None, |range, xid| Some(XidRange::with(range, xid)));
        assert_eq!(
            range,
            Some(XidRange {
                first: u32::MAX - 3,
                last: 9
            })
        );
    }
}
