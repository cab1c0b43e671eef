//! The way recovery takes through timelines, counted in segments.

use crate::postgres::{SegmentNumber, SegmentSize, TimelineHistory, TimelineId};
use crate::repository::WalInventory;

use super::bad_segments::BadSegments;

/// A stretch of the way on one timeline; both ends inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Whose files are read.
    pub timeline: TimelineId,
    /// The first segment.
    pub first: SegmentNumber,
    /// The last segment; the greatest number on the last timeline, which is open.
    pub last: SegmentNumber,
}

/// The way to one timeline: which timeline's file recovery reads for each segment.
///
/// The segment that holds a switch point is read from the child: its file begins with
/// the parent's bytes. With a switch point exactly on a border, the parent's last
/// segment is the one before and the child begins with the one after, which is the same
/// rule (`XLogInitNewTimeline` in `src/backend/access/transam/xlog.c`). Several switches
/// within one segment leave only the newest timeline's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentPath {
    stretches: Vec<Stretch>,
}

impl SegmentPath {
    /// The way that a history describes.
    pub fn new(history: &TimelineHistory, size: SegmentSize) -> Self {
        let mut stretches = Vec::with_capacity(history.ancestors.len() + 1);
        let mut first = SegmentNumber(0);
        for entry in &history.ancestors {
            let switch = size.segment_of(entry.switch_lsn);
            if let Some(last) = switch.previous().filter(|last| *last >= first) {
                stretches.push(Stretch {
                    timeline: entry.timeline,
                    first,
                    last,
                });
                first = switch;
            }
        }
        stretches.push(Stretch {
            timeline: history.timeline,
            first,
            last: SegmentNumber(u64::MAX),
        });
        Self { stretches }
    }

    /// The stretches, in order, without a gap between them.
    pub fn stretches(&self) -> &[Stretch] {
        &self.stretches
    }

    /// Whose file recovery reads for segment `number`.
    pub fn timeline_of(&self, number: SegmentNumber) -> TimelineId {
        let index = self
            .stretches
            .partition_point(|stretch| stretch.last < number);
        self.stretches
            .get(index)
            .or_else(|| self.stretches.last())
            .map_or(TimelineId::FIRST, |stretch| stretch.timeline)
    }

    /// The first segment of the last timeline.
    pub fn last_stretch_begin(&self) -> SegmentNumber {
        self.stretches
            .last()
            .map_or(SegmentNumber(0), |stretch| stretch.first)
    }

    /// `first..=last` cut at timeline switches.
    pub fn split(&self, first: SegmentNumber, last: SegmentNumber) -> Vec<Stretch> {
        self.stretches
            .iter()
            .filter(|stretch| stretch.first <= last && stretch.last >= first)
            .map(|stretch| Stretch {
                timeline: stretch.timeline,
                first: stretch.first.max(first),
                last: stretch.last.min(last),
            })
            .collect()
    }

    /// The segments from `from` on that the archive holds for this way, as maximal
    /// stretches without a hole. Objects that cannot be a segment count as absent.
    /// Memory grows with holes and timelines.
    pub fn present(
        &self,
        wal: &WalInventory,
        bad: &BadSegments,
        from: SegmentNumber,
    ) -> Vec<(SegmentNumber, SegmentNumber)> {
        let mut present: Vec<(SegmentNumber, SegmentNumber)> = Vec::new();
        let mut add = |first: SegmentNumber, last: SegmentNumber| match present.last_mut() {
            Some(previous) if previous.1.next() == first => previous.1 = last,
            _ => present.push((first, last)),
        };
        for stretch in &self.stretches {
            let Some(timeline) = wal.timelines.get(&stretch.timeline) else {
                continue;
            };
            let begin = stretch.first.max(from);
            let skip = timeline.runs.partition_point(|run| run.last < begin);
            for run in timeline.runs.iter().skip(skip) {
                if run.first > stretch.last {
                    break;
                }
                let mut first = run.first.max(begin);
                let last = run.last.min(stretch.last);
                for absent in bad.within(stretch.timeline, first, last) {
                    if let Some(before) = absent.previous().filter(|before| *before >= first) {
                        add(first, before);
                    }
                    first = absent.next();
                }
                if first <= last {
                    add(first, last);
                }
            }
        }
        present
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::testing::{CatalogBuilder, MIB16, history};

    fn n(number: u64) -> SegmentNumber {
        SegmentNumber(number)
    }

    #[test]
    fn the_switch_segment_is_the_childs() {
        let path = SegmentPath::new(&history(2, &[(1, 5, 0x148)]), MIB16);
        assert_eq!(path.timeline_of(n(4)), TimelineId(1));
        assert_eq!(path.timeline_of(n(5)), TimelineId(2));
    }

    #[test]
    fn a_switch_on_the_border_leaves_the_parents_last_segment_whole() {
        let path = SegmentPath::new(&history(2, &[(1, 5, 0)]), MIB16);
        assert_eq!(path.timeline_of(n(4)), TimelineId(1));
        assert_eq!(path.timeline_of(n(5)), TimelineId(2));
    }

    #[test]
    fn two_switches_within_one_segment_leave_the_newest() {
        let path = SegmentPath::new(&history(3, &[(1, 5, 0x100), (2, 5, 0x900)]), MIB16);
        assert_eq!(path.stretches().len(), 2);
        assert_eq!(path.timeline_of(n(4)), TimelineId(1));
        assert_eq!(path.timeline_of(n(5)), TimelineId(3));
    }

    #[test]
    fn present_joins_timelines_and_leaves_out_what_is_past_the_switch() {
        let catalog = CatalogBuilder::new()
            .segments(1, 1..=6)
            .segments(2, 5..=5)
            .segments(2, 7..=8)
            .history(2, &[(1, 5, 0x148)])
            .build();
        let path = SegmentPath::new(&catalog.wal.history(TimelineId(2)).unwrap(), MIB16);
        let bad = BadSegments::of(&catalog.wal);
        assert_eq!(
            path.present(&catalog.wal, &bad, n(2)),
            [(n(2), n(5)), (n(7), n(8))]
        );
    }
}
