//! Holes as a report tells them: the moments that are lost, and when recovery becomes
//! possible again.

use chrono::{DateTime, Utc};

use crate::finding::{Code, Finding};
use crate::postgres::{Lsn, SegmentNumber};
use crate::repository::BaseBackup;

use super::backups::Way;
use super::words::utc;
use super::{Hole, TimeSource};

/// A moment and where it comes from.
pub(super) type Moment = (DateTime<Utc>, TimeSource);

/// WAL that recovery cannot have: absent, or not to be read.
#[derive(Clone, Debug)]
pub(super) struct Gap {
    /// The first segment that is hit.
    pub(super) first: SegmentNumber,
    /// The last one.
    pub(super) last: SegmentNumber,
    /// The first position that cannot be reached.
    pub(super) begin: Lsn,
    /// Where WAL can be read again.
    pub(super) end: Lsn,
    /// The last moment before it.
    pub(super) last_before: Option<Moment>,
    /// The first moment after it.
    pub(super) first_after: Option<Moment>,
    /// What makes it.
    pub(super) findings: Vec<Finding>,
}

impl Gap {
    /// The hole and its findings, which tell what is lost. `usable` are the base backups
    /// that can be used.
    pub(super) fn tell<'b>(
        self,
        way: Way<'_>,
        usable: impl Iterator<Item = &'b BaseBackup>,
    ) -> (Hole, Vec<Finding>) {
        let wal = &way.catalog.wal;
        let name = |number| wal.name(way.path.timeline_of(number), number).to_string();
        let next = usable
            .filter(|backup| backup.begin_lsn.is_some_and(|begin| begin >= self.end))
            .min_by_key(|backup| backup.begin_lsn);
        let sources = [self.last_before, self.first_after].into_iter().flatten();
        let hole = Hole {
            timeline: way.path.timeline_of(self.first),
            first_segment: name(self.first),
            last_segment: name(self.last),
            segments: self.last.0 - self.first.0 + 1,
            begin_lsn: self.begin,
            end_lsn: self.end,
            last_before: self.last_before.map(|(time, _)| time),
            first_after: self.first_after.map(|(time, _)| time),
            time_source: sources.map(|(_, source)| source).reduce(weaker),
            recoverable_again: next.and_then(|backup| backup.end_time),
            next_backup: next.map(|backup| backup.id.clone()),
        };
        let (consequence, action) = lost_moments(&hole);
        let findings = self
            .findings
            .into_iter()
            .map(|finding| {
                let finding = finding.with_time(hole.last_before, hole.first_after);
                match finding.code {
                    // What to do about these is not to find a segment again.
                    Code::HistoryContradictory => finding,
                    Code::WalForeign | Code::WalLevelMinimal | Code::WalCorrupt => {
                        finding.with_consequence(&consequence)
                    }
                    _ => finding.with_consequence(&consequence).with_action(action),
                }
            })
            .collect();
        (hole, findings)
    }
}

fn weaker(one: TimeSource, other: TimeSource) -> TimeSource {
    if one == TimeSource::Object {
        one
    } else {
        other
    }
}

/// What a hole means, with its moments.
fn lost_moments(hole: &Hole) -> (String, &'static str) {
    let bound = if hole.time_source == Some(TimeSource::Object) {
        " (by the time objects were stored, the nearest thing known)"
    } else {
        ""
    };
    let from = hole.last_before.map_or_else(
        || format!("after {}", hole.begin_lsn),
        |time| format!("after {}{bound}", utc(time)),
    );
    match (hole.recoverable_again, &hole.next_backup) {
        (Some(again), Some(backup)) => (
            format!(
                "No moment {from} and before {}, when base backup {backup} is consistent, can be recovered; a plain restore from an older backup promotes quietly at the hole, with rows missing.",
                utc(again)
            ),
            "Find the segments in pg_wal of the primary or a standby and archive them. The newest base backup does not need them.",
        ),
        _ => (
            format!(
                "Nothing {from} can be recovered: no usable base backup begins after the hole; a plain restore promotes quietly there, with rows missing.",
            ),
            "Take a base backup now. Then look for the segments in pg_wal of the primary or a standby and archive them.",
        ),
    }
}
