//! What is read this time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::postgres::{SegmentNumber, TimelineId};

/// What is read this time: WAL segments and base backups. A base backup is selected whole,
/// and with it the WAL from its begin to its end, which settles what its pages leave open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Everything is read, whatever the other fields hold.
    everything: bool,
    /// Runs of segments, first and last, per timeline: in order, apart from each other.
    segments: BTreeMap<TimelineId, Vec<(SegmentNumber, SegmentNumber)>>,
    /// The ids of base backups.
    backups: BTreeSet<String>,
    /// No object is begun after this moment.
    deadline: Option<Instant>,
}

impl Selection {
    /// Everything.
    pub const fn everything() -> Self {
        Self {
            everything: true,
            segments: BTreeMap::new(),
            backups: BTreeSet::new(),
            deadline: None,
        }
    }

    /// Nothing yet.
    pub fn nothing() -> Self {
        Self::default()
    }

    /// With an end to the time in which objects may be begun.
    #[must_use]
    pub const fn until(mut self, deadline: Option<Instant>) -> Self {
        self.deadline = deadline;
        self
    }

    /// Whether it is everything, so that the depth is `read` and not `sampled`.
    pub const fn is_everything(&self) -> bool {
        self.everything
    }

    /// Whether a segment is read.
    pub fn wants_segment(&self, timeline: TimelineId, number: SegmentNumber) -> bool {
        self.everything
            || self.runs(timeline).is_some_and(|runs| {
                let at = runs.partition_point(|(_, last)| *last < number);
                runs.get(at).is_some_and(|(first, _)| *first <= number)
            })
    }

    /// Whether a base backup is read.
    pub fn wants_backup(&self, id: &str) -> bool {
        self.everything || self.backups.contains(id)
    }

    /// Whether nothing more may be begun, because the time is over. What was selected and
    /// not read comes first the next time.
    pub fn is_over(&self) -> bool {
        self.deadline
            .is_some_and(|deadline| Instant::now() >= deadline)
    }

    fn runs(&self, timeline: TimelineId) -> Option<&Vec<(SegmentNumber, SegmentNumber)>> {
        self.segments.get(&timeline)
    }

    /// Adds segments from `first` to `last`.
    pub fn add_segments(
        &mut self,
        timeline: TimelineId,
        first: SegmentNumber,
        last: SegmentNumber,
    ) {
        if last < first {
            return;
        }
        let runs = self.segments.entry(timeline).or_default();
        // The runs that touch the new one become part of it.
        let begin = runs.partition_point(|(_, run_last)| run_last.next() < first);
        let end = runs.partition_point(|(run_first, _)| *run_first <= last.next());
        let touched = runs.get(begin..end).unwrap_or_default();
        let first = touched.first().map_or(first, |run| run.0.min(first));
        let last = touched.last().map_or(last, |run| run.1.max(last));
        runs.splice(begin..end.max(begin), [(first, last)]);
    }

    /// Adds a base backup.
    pub fn add_backup(&mut self, id: impl Into<String>) {
        self.backups.insert(id.into());
    }

    /// The selected runs of segments, first and last, per timeline. Empty for everything.
    pub fn segments(
        &self,
    ) -> impl Iterator<Item = (TimelineId, SegmentNumber, SegmentNumber)> + '_ {
        self.segments.iter().flat_map(|(timeline, runs)| {
            runs.iter().map(|(first, last)| (*timeline, *first, *last))
        })
    }

    /// The selected base backups. Empty for everything.
    pub fn backups(&self) -> impl Iterator<Item = &str> {
        self.backups.iter().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_holds_what_was_added(runs in proptest::collection::vec((0_u64..60, 0_u64..6), 0..12)) {
            let mut selection = Selection::nothing();
            let mut wanted = BTreeSet::new();
            for (first, more) in &runs {
                selection.add_segments(
                    TimelineId::FIRST, SegmentNumber(*first), SegmentNumber(first + more));
                wanted.extend(*first..=first + more);
            }
            for number in 0..70 {
                prop_assert_eq!(
                    selection.wants_segment(TimelineId::FIRST, SegmentNumber(number)),
                    wanted.contains(&number));
                prop_assert!(!selection.wants_segment(TimelineId(2), SegmentNumber(number)));
            }
            let held: Vec<_> = selection.segments().collect();
            prop_assert!(held.windows(2).all(|pair| pair[0].2.0 + 1 < pair[1].1.0));
        }
    }

    #[test]
    fn everything_is_everything() {
        let all = Selection::everything();
        assert!(all.wants_segment(TimelineId(9), SegmentNumber(7)));
        assert!(all.wants_backup("20261121T133159"));
        let mut some = Selection::nothing();
        some.add_backup("a");
        assert!(some.wants_backup("a") && !some.wants_backup("b") && !some.is_everything());
        assert!(!some.is_over());
        assert!(some.until(Some(Instant::now())).is_over());
    }
}
