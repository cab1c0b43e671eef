//! What there is to read, and when each of it was read last.

use chrono::{DateTime, Utc};

use crate::codec::Codec;
use crate::postgres::{SegmentNumber, TimelineId};

/// One segment object. 32 bytes, for there may be a million.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HeldSegment {
    /// Its timeline.
    pub timeline: TimelineId,
    /// Its number.
    pub number: SegmentNumber,
    /// How it is stored. A segment that is stored twice is held twice.
    pub codec: Codec,
    /// Whether it must be read before all others: it changed, or something was wrong with it.
    pub urgent: bool,
    /// The stored size in bytes, at most 4 GiB.
    pub bytes: u32,
    /// When it was last judged, in seconds since 1970; 0 for never.
    last_read: u32,
}

impl HeldSegment {
    /// One segment object.
    pub fn new(
        (timeline, number, codec): (TimelineId, SegmentNumber, Codec),
        bytes: u64,
        last_read: Option<DateTime<Utc>>,
        urgent: bool,
    ) -> Self {
        Self {
            timeline,
            number,
            codec,
            urgent,
            bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
            last_read: last_read.map_or(0, |time| {
                u32::try_from(time.timestamp().max(1)).unwrap_or(u32::MAX)
            }),
        }
    }

    /// When it was last judged.
    pub fn last_read(&self) -> Option<DateTime<Utc>> {
        (self.last_read > 0)
            .then(|| DateTime::from_timestamp(i64::from(self.last_read), 0))
            .flatten()
    }
}

/// One base backup, read as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldBackup {
    /// Its id.
    pub id: String,
    /// The stored size of its archives in bytes.
    pub bytes: u64,
    /// When the archive that was judged longest ago was; `None` when one never was.
    pub last_read: Option<DateTime<Utc>>,
    /// Whether it must be read before all others.
    pub urgent: bool,
    /// The timeline on which it was taken, and the segments from its begin to its end.
    pub wal: Option<(TimelineId, SegmentNumber, SegmentNumber)>,
    /// When it began.
    pub begin_time: Option<DateTime<Utc>>,
}

/// What there is to read in a repository. Memory: 32 bytes per segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    segments: Vec<HeldSegment>,
    backups: Vec<HeldBackup>,
}

impl Holdings {
    /// From segments and backups in any order.
    pub fn new(mut segments: Vec<HeldSegment>, mut backups: Vec<HeldBackup>) -> Self {
        segments.sort_unstable();
        backups.sort_by(|a, b| a.id.cmp(&b.id));
        Self { segments, backups }
    }

    /// The segments, by timeline and number.
    pub fn segments(&self) -> &[HeldSegment] {
        &self.segments
    }

    /// The base backups, by id.
    pub fn backups(&self) -> &[HeldBackup] {
        &self.backups
    }

    /// The stored size of everything in bytes.
    pub fn bytes(&self) -> u64 {
        let wal: u64 = self.segments.iter().map(|held| u64::from(held.bytes)).sum();
        wal + self.backups.iter().map(|held| held.bytes).sum::<u64>()
    }

    /// When anything was last judged.
    pub fn newest_read(&self) -> Option<DateTime<Utc>> {
        let wal = self.segments.iter().map(|held| held.last_read).max();
        let wal = wal.and_then(|seconds| {
            (seconds > 0)
                .then(|| DateTime::from_timestamp(i64::from(seconds), 0))
                .flatten()
        });
        wal.max(self.backups.iter().filter_map(|held| held.last_read).max())
    }

    /// When what was judged longest ago was; `None` when something never was.
    pub fn oldest_read(&self) -> Option<DateTime<Utc>> {
        let mut oldest = None;
        let all = self.segments.iter().map(HeldSegment::last_read);
        for read in all.chain(self.backups.iter().map(|held| held.last_read)) {
            let read = read?;
            oldest = Some(oldest.map_or(read, |oldest: DateTime<Utc>| oldest.min(read)));
        }
        oldest
    }

    /// Since when the archive goes on: the begin of the oldest base backup.
    pub fn began(&self) -> Option<DateTime<Utc>> {
        self.backups.iter().filter_map(|held| held.begin_time).min()
    }

    /// The places in [`Self::segments`] of a stretch of WAL.
    pub(super) fn stretch(
        &self,
        timeline: TimelineId,
        first: SegmentNumber,
        last: SegmentNumber,
    ) -> std::ops::Range<usize> {
        let begin = self
            .segments
            .partition_point(|held| (held.timeline, held.number) < (timeline, first));
        let end = self
            .segments
            .partition_point(|held| (held.timeline, held.number) <= (timeline, last));
        begin..end.max(begin)
    }
}
