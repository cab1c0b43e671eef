//! The WAL of a repository: runs of segments per timeline, and history files.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::codec::Codec;
use crate::postgres::{SegmentName, SegmentNumber, SegmentSize, TimelineHistory, TimelineId};

/// Consecutive segments of one timeline that were stored with one codec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SegmentRun {
    /// The first segment.
    pub first: SegmentNumber,
    /// The last segment, inclusive.
    pub last: SegmentNumber,
    /// The codec that the extensions tell.
    pub codec: Codec,
}

impl SegmentRun {
    /// How many segments it holds.
    pub const fn len(&self) -> u64 {
        self.last.0 - self.first.0 + 1
    }

    /// A run holds at least one segment.
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// Whether it holds `number`.
    pub fn contains(&self, number: SegmentNumber) -> bool {
        (self.first..=self.last).contains(&number)
    }
}

/// One segment that is stored as several objects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DuplicateSegment {
    /// The segment.
    pub timeline: TimelineId,
    /// Its number.
    pub number: SegmentNumber,
    /// Keys (relative to the repository) and stored sizes.
    pub objects: Vec<(String, u64)>,
}

/// One segment object whose stored size cannot be right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OddSegment {
    /// Its timeline.
    pub timeline: TimelineId,
    /// Its number; `None` when the name is illegal for the segment size.
    pub number: Option<SegmentNumber>,
    /// Its key, relative to the repository.
    pub key: String,
    /// Its stored size in bytes.
    pub size: u64,
}

/// The segments of one timeline.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TimelineWal {
    /// Full segments, in order, not overlapping. Adjacent runs differ in codec or leave
    /// a gap between them. Objects whose size cannot be that of a segment are not in them
    /// (see [`WalInventory::empty`] and its neighbours): recovery cannot use them.
    pub runs: Vec<SegmentRun>,
    /// Further copies of segments that [`Self::runs`] holds with another codec, folded into
    /// runs; those of different codecs may overlap.
    pub alternates: Vec<SegmentRun>,
    /// Unfinished segments (`.partial`) with their codecs, in order.
    pub partials: Vec<(SegmentNumber, Codec)>,
    /// When the newest full segment was stored.
    pub newest_stored: Option<DateTime<Utc>>,
}

impl TimelineWal {
    /// The run that holds `number`.
    pub fn run_of(&self, number: SegmentNumber) -> Option<&SegmentRun> {
        let index = self.runs.partition_point(|run| run.last < number);
        self.runs.get(index).filter(|run| run.contains(number))
    }

    /// The last segment reachable from `from` without a hole, or `None` when `from`
    /// itself is missing.
    pub fn contiguous_end(&self, from: SegmentNumber) -> Option<SegmentNumber> {
        let start = self.runs.partition_point(|run| run.last < from);
        let mut runs = self.runs.get(start..)?.iter();
        let first = runs.next().filter(|run| run.contains(from))?;
        let mut end = first.last;
        for run in runs {
            if run.first != end.next() {
                break;
            }
            end = run.last;
        }
        Some(end)
    }

    /// The newest segment.
    pub fn newest(&self) -> Option<SegmentNumber> {
        self.runs.last().map(|run| run.last)
    }

    /// The oldest segment.
    pub fn oldest(&self) -> Option<SegmentNumber> {
        self.runs.first().map(|run| run.first)
    }

    /// How many full segments there are.
    pub fn count(&self) -> u64 {
        self.runs.iter().map(SegmentRun::len).sum()
    }
}

/// One history file as found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HistoryObject {
    /// Its key, relative to the repository.
    pub key: String,
    /// The codec that its extension tells.
    pub codec: Codec,
    /// What it says, or why it cannot be read.
    pub history: Result<TimelineHistory, String>,
}

/// The WAL of a repository. Memory grows with gaps and codec changes, not with objects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct WalInventory {
    /// The segment size by which names were read: that of the newest finished base backup,
    /// else of the newest that tells one, else the default.
    pub segment_size: SegmentSize,
    /// Segments per timeline.
    pub timelines: BTreeMap<TimelineId, TimelineWal>,
    /// History files per timeline.
    pub histories: BTreeMap<TimelineId, HistoryObject>,
    /// How many backup history files (`.backup`) there are.
    pub backup_histories: u64,
    /// Segments stored several times; at most [`Self::LIMIT`] are kept.
    pub duplicates: Vec<DuplicateSegment>,
    /// Empty segment objects; at most [`Self::LIMIT`] are kept.
    pub empty: Vec<OddSegment>,
    /// Objects too small for their codec to hold a segment; at most [`Self::LIMIT`].
    pub too_small: Vec<OddSegment>,
    /// Objects larger than a segment can be; at most [`Self::LIMIT`].
    pub too_large: Vec<OddSegment>,
    /// Names that the segment size does not allow; at most [`Self::LIMIT`].
    pub illegal: Vec<OddSegment>,
    /// How many more objects belonged into the five lists above.
    pub omitted: u64,
    /// Whether the segment size is PostgreSQL's default because neither a base backup nor
    /// the WAL itself tells it.
    pub segment_size_guessed: bool,
}

impl WalInventory {
    /// How many odd objects of a kind are kept one by one.
    pub const LIMIT: usize = 1_000;

    /// The codecs with which segment `number` is stored, the one of its run first.
    pub fn codecs_of(&self, timeline: TimelineId, number: SegmentNumber) -> Vec<Codec> {
        let Some(wal) = self.timelines.get(&timeline) else {
            return Vec::new();
        };
        let others = wal.alternates.iter().filter(|run| run.contains(number));
        wal.run_of(number)
            .into_iter()
            .chain(others)
            .map(|run| run.codec)
            .collect()
    }

    /// The objects of the segment that cannot hold it by their size.
    pub fn odd_objects(
        &self,
        timeline: TimelineId,
        number: SegmentNumber,
    ) -> impl Iterator<Item = &OddSegment> {
        self.empty
            .iter()
            .chain(&self.too_small)
            .chain(&self.too_large)
            .filter(move |odd| odd.timeline == timeline && odd.number == Some(number))
    }

    /// The name of segment `number` on `timeline`.
    pub fn name(&self, timeline: TimelineId, number: SegmentNumber) -> SegmentName {
        SegmentName::new(timeline, number, self.segment_size)
    }

    /// The history of `timeline`: read, or that of timeline 1, which has no file.
    pub fn history(&self, timeline: TimelineId) -> Option<TimelineHistory> {
        if timeline == TimelineId::FIRST {
            return Some(TimelineHistory::first());
        }
        self.histories
            .get(&timeline)?
            .history
            .as_ref()
            .ok()
            .cloned()
    }

    /// How many full segments there are on all timelines.
    pub fn count(&self) -> u64 {
        self.timelines.values().map(TimelineWal::count).sum()
    }
}
