//! Segment objects whose size alone says that they hold no segment.

use std::collections::BTreeMap;

use crate::finding::Code;
use crate::postgres::{SegmentNumber, TimelineId};
use crate::repository::{OddSegment, WalInventory};

/// One object that cannot be the segment its name promises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadSegment {
    /// What is wrong with it.
    pub code: Code,
    /// Its key, relative to the repository.
    pub key: String,
    /// Its stored size in bytes.
    pub size: u64,
}

/// Segments for which every object is bad by its size: recovery ends before them as if
/// they were missing. A segment that has a plausible second object is not among them.
#[derive(Clone, Debug, Default)]
pub struct BadSegments {
    by_segment: BTreeMap<(TimelineId, SegmentNumber), Vec<BadSegment>>,
}

impl BadSegments {
    /// Collects them from an inventory. At most a few times [`WalInventory::LIMIT`].
    pub fn of(wal: &WalInventory) -> Self {
        let mut by_segment: BTreeMap<_, Vec<BadSegment>> = BTreeMap::new();
        for (code, odd) in odd_objects(wal) {
            if let Some(number) = odd.number {
                by_segment
                    .entry((odd.timeline, number))
                    .or_default()
                    .push(BadSegment {
                        code,
                        key: odd.key.clone(),
                        size: odd.size,
                    });
            }
        }
        for duplicate in &wal.duplicates {
            let place = (duplicate.timeline, duplicate.number);
            let rescued = by_segment.get(&place).is_some_and(|bad| {
                let is_bad = |key: &String| bad.iter().any(|object| object.key == *key);
                duplicate.objects.iter().any(|(key, _)| !is_bad(key))
            });
            if rescued {
                by_segment.remove(&place);
            }
        }
        Self { by_segment }
    }

    /// The bad segments of a timeline from `first` to `last`, in order.
    pub fn within(
        &self,
        timeline: TimelineId,
        first: SegmentNumber,
        last: SegmentNumber,
    ) -> impl Iterator<Item = SegmentNumber> {
        let range = (timeline, first)..=(timeline, last.max(first));
        self.by_segment
            .range(range)
            .map(|((_, number), _)| *number)
            .filter(move |number| *number <= last)
    }

    /// The bad objects of one segment.
    pub fn get(&self, timeline: TimelineId, number: SegmentNumber) -> &[BadSegment] {
        self.by_segment
            .get(&(timeline, number))
            .map_or(&[], Vec::as_slice)
    }
}

/// Every odd object of an inventory with the code that names what is wrong with it. While
/// the segment size is only guessed, no size can be wrong but none.
pub(super) fn odd_objects(wal: &WalInventory) -> impl Iterator<Item = (Code, &OddSegment)> {
    let empty = wal.empty.iter().map(|odd| (Code::ObjectEmpty, odd));
    let small = wal
        .too_small
        .iter()
        .filter(|odd| odd.size > 0)
        .map(|odd| (Code::ObjectTooSmall, odd));
    let large = wal.too_large.iter().map(|odd| (Code::WalTooLarge, odd));
    let by_size = small.chain(large);
    empty.chain(by_size.filter(|_| !wal.segment_size_guessed))
}
