//! The WAL of a base backup: on which timeline it lies, and whether it is all there.

use super::{BackupAssessment, Way};
use crate::finding::{Code, Finding};
use crate::postgres::{Lsn, SegmentNumber, TimelineId};
use crate::repository::BaseBackup;
use crate::verify::words::count;

/// The backup must lie on the way to the timeline asked about, with the WAL that makes
/// it consistent.
pub(super) fn check_timeline(way: Way<'_>, backup: &BaseBackup, found: &mut BackupAssessment) {
    let (Some(timeline), Some(begin), Some(end)) =
        (backup.timeline, backup.begin_lsn, backup.end_lsn)
    else {
        return;
    };
    let current = way.history.timeline;
    if !way.history.contains(timeline) {
        let known = way.catalog.wal.history(timeline).is_some();
        if known {
            found.refuse_with(abandoned(backup, format!(
                "it was taken on timeline {timeline}, which does not lead to the current timeline {current}"
            )));
        } else {
            found.refuse(format!(
                "it was taken on timeline {timeline}, whose history file is missing or unreadable; by hand, recovery_target_timeline = 'current' may still restore it"
            ));
        }
        return;
    }
    if let Some(switch) = way.history.switch_from(timeline)
        && end > switch
    {
        found.refuse_with(abandoned(backup, format!(
            "it ends at {end} on timeline {timeline}, past the point where the current timeline {current} branched off ({switch})"
        )));
        return;
    }
    if end > begin && backup.segment_size == way.catalog.wal.segment_size {
        check_wal(way, backup, (timeline, begin, end), found);
    }
}

fn abandoned(backup: &BaseBackup, message: String) -> Finding {
    Finding::new(Code::BackupAbandoned, &backup.id, message)
}

/// The first and last segment that a backup needs to be consistent.
pub fn needed_wal(backup: &BaseBackup) -> Option<(SegmentNumber, SegmentNumber)> {
    let first = backup.segment_size.segment_of(backup.begin_lsn?);
    let last = backup.segment_size.segment_before(backup.end_lsn?);
    (first <= last).then_some((first, last))
}

fn check_wal(
    way: Way<'_>,
    backup: &BaseBackup,
    (timeline, begin, end): (TimelineId, Lsn, Lsn),
    found: &mut BackupAssessment,
) {
    let Some((first, last)) = needed_wal(backup) else {
        return;
    };
    let wal = &way.catalog.wal;
    let mut expected = first;
    let mut absent: Vec<(SegmentNumber, SegmentNumber)> = Vec::new();
    for (run_first, run_last) in way.path.present(wal, way.bad, first) {
        if run_first > last {
            break;
        }
        if let Some(before) = run_first.previous().filter(|before| *before >= expected) {
            absent.push((expected, before));
        }
        expected = run_last.next();
    }
    if expected <= last {
        absent.push((expected, last));
    }
    let Some(((first_absent, _), (_, last_absent))) = absent.first().zip(absent.last()) else {
        return;
    };
    let missing: u64 = absent.iter().map(|(from, to)| to.0 - from.0 + 1).sum();
    let partial = |number: SegmentNumber| {
        wal.timelines.iter().any(|(owner, own)| {
            way.history.contains(*owner)
                && own.partials.iter().any(|(partial, _)| *partial == number)
        })
    };
    let name = |number: SegmentNumber| wal.name(way.path.timeline_of(number), number);
    let range = if missing == 1 {
        name(*first_absent).to_string()
    } else {
        format!(
            "{} between {} and {}",
            count(missing, "segment"),
            name(*first_absent),
            name(*last_absent)
        )
    };
    let only_partial = missing == 1 && partial(*first_absent);
    let finding = if only_partial {
        let own = wal.name(timeline, *first_absent);
        Finding::new(
            Code::BackupWalPartial,
            &backup.id,
            format!("it needs {range}, which exists only as {own}.partial"),
        )
    } else {
        Finding::new(
            Code::BackupWalMissing,
            &backup.id,
            format!("it needs WAL from {begin} to {end}, and of that is missing: {range}"),
        )
    };
    let size = wal.segment_size;
    found.refuse_with(finding.with_wal(
        way.path.timeline_of(*first_absent),
        first_absent.begin_lsn(size).max(begin),
        last_absent.end_lsn(size).min(end),
    ));
}
