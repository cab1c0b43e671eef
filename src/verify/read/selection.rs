//! What is to be read.

use std::collections::{BTreeMap, BTreeSet};

use crate::postgres::{SegmentNumber, TimelineId};

/// Which objects are read. What is left out counts as sound, and what rests on it is
/// reported at depth `sampled`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ReadSelection {
    /// Every object.
    #[default]
    All,
    /// Some of them. Records are joined across the borders of neighbouring segments only,
    /// so whole runs of segments tell more than single ones. The newest segments should
    /// always be among them, for the tip.
    Some {
        /// Segments by timeline: ranges in rising order, both ends inclusive.
        segments: BTreeMap<TimelineId, Vec<(SegmentNumber, SegmentNumber)>>,
        /// Base backups by id.
        backups: BTreeSet<String>,
    },
}

impl ReadSelection {
    /// Whether a segment, full or partial, is to be read.
    pub fn has_segment(&self, timeline: TimelineId, number: SegmentNumber) -> bool {
        match self {
            Self::All => true,
            Self::Some { segments, .. } => segments.get(&timeline).is_some_and(|ranges| {
                let index = ranges.partition_point(|(_, last)| *last < number);
                ranges.get(index).is_some_and(|(first, _)| *first <= number)
            }),
        }
    }

    /// Whether a base backup is to be read.
    pub fn has_backup(&self, id: &str) -> bool {
        match self {
            Self::All => true,
            Self::Some { backups, .. } => backups.contains(id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_inclusive_and_by_timeline() {
        let n = SegmentNumber;
        let selection = ReadSelection::Some {
            segments: BTreeMap::from([(TimelineId(2), vec![(n(3), n(5)), (n(9), n(9))])]),
            backups: BTreeSet::from(["monday".to_owned()]),
        };
        let chosen: Vec<u64> = (0..12)
            .filter(|number| selection.has_segment(TimelineId(2), n(*number)))
            .collect();
        assert_eq!(chosen, [3, 4, 5, 9]);
        assert!(!selection.has_segment(TimelineId(1), n(4)));
        assert!(selection.has_backup("monday") && !selection.has_backup("tuesday"));
        assert!(ReadSelection::All.has_segment(TimelineId(1), n(4)));
        assert!(ReadSelection::All.has_backup("tuesday"));
    }
}
