//! Which files recovery needs, and which it merely asks for.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::codec::Codec;
use crate::postgres::{SegmentName, SegmentNumber, SegmentSize, SystemId, TimelineId, WalFileName};

/// Consecutive segments of one timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Stretch {
    /// The timeline in the segments' names.
    pub timeline: TimelineId,
    /// The first segment.
    pub first: SegmentNumber,
    /// The last segment, inclusive.
    pub last: SegmentNumber,
}

/// The WAL of one recovery: what it must get.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WalPlan {
    /// The cluster's segment size.
    pub segment_size: SegmentSize,
    /// The system that must have written the WAL.
    pub system_id: Option<SystemId>,
    /// The timeline on which recovery ends.
    pub timeline: TimelineId,
    /// The segments, in the order of replay, from the redo point to the target.
    pub segments: Vec<Stretch>,
    /// Timelines whose history files recovery must get: the target's and its ancestors',
    /// without timeline 1, which has none.
    pub histories: Vec<TimelineId>,
    /// The codecs with which these segments are stored, most frequent first: a hint.
    pub codecs: Vec<Codec>,
}

/// How much recovery depends on a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Without it recovery must stop.
    Required,
    /// Given when it is there.
    Optional,
    /// Not given even if it is there.
    Beyond,
}

impl WalPlan {
    /// The name of the segment with which replay begins. `None` when there is nothing to get.
    pub(crate) fn first_segment(&self) -> Option<String> {
        let stretch = self.segments.first()?;
        let name = SegmentName::new(stretch.timeline, stretch.first, self.segment_size);
        Some(name.to_string())
    }

    /// The name of the segment in which recovery ends. `None` when there is nothing to get.
    pub(crate) fn last_segment(&self) -> Option<String> {
        let stretch = self.segments.last()?;
        let name = SegmentName::new(stretch.timeline, stretch.last, self.segment_size);
        Some(name.to_string())
    }

    /// How much recovery depends on a file.
    pub(crate) fn need(&self, name: WalFileName) -> Need {
        match name {
            WalFileName::Segment(segment) => match self.position_of(segment) {
                Some(_) => Need::Required,
                None => Need::Beyond,
            },
            WalFileName::History(timeline) if self.histories.contains(&timeline) => Need::Required,
            // Recovery looks upwards for a free timeline number.
            WalFileName::History(_) => Need::Optional,
            WalFileName::Partial(_) | WalFileName::BackupHistory { .. } => Need::Beyond,
        }
    }

    /// The planned segments that follow `segment`, at most `count`.
    pub(crate) fn following(&self, segment: SegmentName, count: usize) -> Vec<SegmentName> {
        let Some((index, number)) = self.position_of(segment) else {
            return Vec::new();
        };
        self.segments
            .iter()
            .skip(index)
            .flat_map(|stretch| {
                (stretch.first.0..=stretch.last.0).map(|n| (stretch.timeline, SegmentNumber(n)))
            })
            .filter(|(_, following)| *following > number)
            .take(count)
            .map(|(timeline, number)| SegmentName::new(timeline, number, self.segment_size))
            .collect()
    }

    /// How many segments are planned.
    pub fn count(&self) -> u64 {
        self.segments
            .iter()
            .map(|stretch| (stretch.last.0 + 1).saturating_sub(stretch.first.0))
            .sum()
    }

    /// Where in the plan a segment stands.
    fn position_of(&self, segment: SegmentName) -> Option<(usize, SegmentNumber)> {
        let number = segment.number(self.segment_size).ok()?;
        let index = self.segments.iter().position(|stretch| {
            stretch.timeline == segment.timeline && (stretch.first..=stretch.last).contains(&number)
        })?;
        Some((index, number))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Timeline 1 from segment 2 to 4, then timeline 3 from segment 5 to 6.
    pub(crate) fn example() -> WalPlan {
        let stretch = |timeline, first, last| Stretch {
            timeline: TimelineId(timeline),
            first: SegmentNumber(first),
            last: SegmentNumber(last),
        };
        WalPlan {
            segment_size: SegmentSize::new(1 << 20).unwrap(),
            system_id: Some(SystemId(7)),
            timeline: TimelineId(3),
            segments: vec![stretch(1, 2, 4), stretch(3, 5, 6)],
            histories: vec![TimelineId(3)],
            codecs: vec![Codec::Gzip],
        }
    }

    fn need(name: &str) -> Need {
        example().need(name.parse().unwrap())
    }

    #[test]
    fn only_what_the_plan_holds_is_required() {
        for name in [
            "000000010000000000000002",
            "000000010000000000000004",
            "000000030000000000000005",
            "00000003.history",
        ] {
            assert_eq!(need(name), Need::Required, "{name}");
        }
        for name in ["00000002.history", "00000004.history"] {
            assert_eq!(need(name), Need::Optional, "{name}");
        }
        for name in [
            "000000010000000000000001",
            "000000010000000000000005",
            "000000030000000000000004",
            "000000030000000000000007",
            "000000020000000000000003",
            "000000010000000000000003.partial",
            "000000010000000000000002.00000028.backup",
        ] {
            assert_eq!(need(name), Need::Beyond, "{name}");
        }
        assert_eq!(example().count(), 5);
    }

    #[test]
    fn read_ahead_crosses_to_the_next_timeline_and_ends_with_the_plan() {
        let following = |name: &str, count| -> Vec<String> {
            example()
                .following(name.parse().unwrap(), count)
                .iter()
                .map(ToString::to_string)
                .collect()
        };
        assert_eq!(
            following("000000010000000000000003", 3),
            [
                "000000010000000000000004",
                "000000030000000000000005",
                "000000030000000000000006"
            ]
        );
        assert!(following("000000030000000000000006", 3).is_empty());
        assert!(following("000000090000000000000006", 3).is_empty());
    }

    #[test]
    fn a_plan_survives_its_file() {
        let text = serde_json::to_string(&example()).unwrap();
        assert_eq!(serde_json::from_str::<WalPlan>(&text).unwrap(), example());
    }
}
