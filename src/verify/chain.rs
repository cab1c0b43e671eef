//! Chains: how far contiguous WAL carries a base backup.

use chrono::Duration;

use crate::postgres::{SegmentNumber, TimelineHistory, TimelineId};
use crate::repository::{BackupStatus, BaseBackup};

use super::backups::{Way, needed_wal};
use super::objects;

/// Why a chain goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainStop {
    /// It holds the newest segment of its way.
    ArchiveEnd,
    /// Segments are missing, and there is WAL after them, or it is known that there was.
    Hole {
        /// The first missing segment.
        first: SegmentNumber,
        /// The last missing segment.
        last: SegmentNumber,
    },
    /// It holds the newest segment of its way, but WAL goes on on a timeline to which no
    /// history file shows the way.
    MissingHistory(TimelineId),
}

/// The contiguous WAL of one base backup along a way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The backup that it carries.
    pub backup_id: String,
    /// The way through timelines.
    pub history: TimelineHistory,
    /// The segments by timeline, both ends inclusive.
    pub segments: Vec<(TimelineId, SegmentNumber, SegmentNumber)>,
    /// The last segment.
    pub end: SegmentNumber,
    /// Why it goes no further.
    pub stopped_by: ChainStop,
}

impl Chain {
    /// The timeline and number of the last segment.
    pub fn last(&self) -> Option<(TimelineId, SegmentNumber)> {
        self.segments
            .last()
            .map(|(timeline, _, last)| (*timeline, *last))
    }

    /// The first segment, which holds the backup's redo point.
    pub fn first(&self) -> Option<SegmentNumber> {
        self.segments.first().map(|(_, first, _)| *first)
    }
}

/// The newest segment that a way has, or is known to have had: a history file proves
/// that its ancestors' WAL existed up to the switch point, a finished base backup that
/// its own did up to its end.
pub fn known_end(way: Way<'_>) -> Option<SegmentNumber> {
    let proven = way.path.last_stretch_begin().previous();
    let present = archive_end(way).map(|(_, number)| number);
    present.max(proven).max(end_of_backups(way))
}

/// How long the last segment of a finished backup may be on its way: `pg_backup_stop` on
/// a standby does not wait until it is archived.
const ARCHIVING: Duration = Duration::minutes(15);

/// The last segment that any finished backup of this system on the way needs.
fn end_of_backups(way: Way<'_>) -> Option<SegmentNumber> {
    let catalog = way.catalog;
    let system_id = objects::system_id(catalog);
    let ended_before = catalog.listed_at - ARCHIVING;
    catalog
        .backups
        .iter()
        .filter(|backup| {
            backup.status == BackupStatus::Done
                && backup.segment_size == catalog.wal.segment_size
                && (backup.system_id.is_none() || backup.system_id == system_id)
                && backup.end_time.is_none_or(|end| end < ended_before)
        })
        .filter(|backup| {
            backup.timeline.is_some_and(|timeline| {
                let switch = way.history.switch_from(timeline);
                way.history.contains(timeline) && (switch.is_none() || backup.end_lsn <= switch)
            })
        })
        .filter_map(|backup| needed_wal(backup).map(|(_, last)| last))
        .max()
}

/// The newest segment that the archive holds on a way.
pub fn archive_end(way: Way<'_>) -> Option<(TimelineId, SegmentNumber)> {
    way.path.stretches().iter().rev().find_map(|stretch| {
        let runs = &way.catalog.wal.timelines.get(&stretch.timeline)?.runs;
        let inside = runs.partition_point(|run| run.first <= stretch.last);
        let newest = runs.get(inside.checked_sub(1)?)?.last.min(stretch.last);
        (newest >= stretch.first).then_some((stretch.timeline, newest))
    })
}

/// Follows contiguous segments from a backup's begin. `None` when the backup does not say
/// where it begins and ends, or its own WAL is not all there.
pub fn follow(way: Way<'_>, backup: &BaseBackup, unreachable: Option<TimelineId>) -> Option<Chain> {
    let (begin, needed) = needed_wal(backup)?;
    let present = way.path.present(&way.catalog.wal, way.bad, begin);
    let mut runs = present.iter();
    let (first, end) = *runs.next()?;
    if first != begin || end < needed {
        return None;
    }
    let known = known_end(way)?;
    let stopped_by = match runs.next() {
        Some((next, _)) => ChainStop::Hole {
            first: end.next(),
            last: next.previous()?,
        },
        None if known > end => ChainStop::Hole {
            first: end.next(),
            last: known,
        },
        None => unreachable.map_or(ChainStop::ArchiveEnd, ChainStop::MissingHistory),
    };
    Some(Chain {
        backup_id: backup.id.clone(),
        history: way.history.clone(),
        segments: way
            .path
            .split(begin, end)
            .iter()
            .map(|stretch| (stretch.timeline, stretch.first, stretch.last))
            .collect(),
        end,
        stopped_by,
    })
}
