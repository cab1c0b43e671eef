//! Collecting the WAL of a listing in few bytes per object.
//!
//! Names come before the segment size is known, so a segment object is first kept as 16
//! bytes; at the end all are sorted and folded into runs. One million objects take 16 MB,
//! and up to three times that while the list grows.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::keys::wal_key;
use super::sizes::{self, SizeVerdict};
use crate::codec::Codec;
use crate::postgres::{SegmentName, SegmentNumber, SegmentSize, TimelineId, WalFileName};
use crate::repository::{DuplicateSegment, OddSegment, SegmentRun, WalInventory};

/// One segment object. The order of fields is the order of sorting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Packed {
    timeline: u32,
    log: u32,
    /// The segment part of the name, below 4096 for every legal segment size.
    segment: u16,
    /// The codec's place in [`Codec::ALL`].
    codec: u8,
    /// Whether it is a `.partial`.
    partial: bool,
    /// The stored size, saturated: the largest segment is 1 GiB.
    size: u32,
}

impl Packed {
    fn name(self) -> SegmentName {
        SegmentName {
            timeline: TimelineId(self.timeline),
            log: self.log,
            segment: u32::from(self.segment),
        }
    }

    fn codec(self) -> Codec {
        Codec::ALL
            .get(usize::from(self.codec))
            .copied()
            .unwrap_or_default()
    }

    fn key(self) -> String {
        let name = self.name();
        let file = if self.partial {
            WalFileName::Partial(name)
        } else {
            WalFileName::Segment(name)
        };
        wal_key(file, self.codec())
    }

    /// Same segment, whatever its codec. Never for unfinished ones.
    fn is_copy_of(self, other: Self) -> bool {
        !self.partial && !other.partial && self.name() == other.name()
    }
}

/// Collects WAL objects while a repository is listed.
#[derive(Debug, Default)]
pub struct WalCollector {
    packed: Vec<Packed>,
    newest: BTreeMap<u32, (u32, u32, DateTime<Utc>)>,
    histories: Vec<(TimelineId, Codec)>,
    backup_histories: u64,
    illegal: Vec<OddSegment>,
    omitted: u64,
}

impl WalCollector {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one object of the WAL archive.
    pub fn add(&mut self, name: WalFileName, codec: Codec, size: u64, stored: DateTime<Utc>) {
        let (segment, partial) = match name {
            WalFileName::History(timeline) => {
                self.histories.push((timeline, codec));
                return;
            }
            WalFileName::BackupHistory { .. } => {
                self.backup_histories += 1;
                return;
            }
            WalFileName::Segment(segment) => (segment, false),
            WalFileName::Partial(segment) => (segment, true),
        };
        let TimelineId(timeline) = segment.timeline;
        match u16::try_from(segment.segment) {
            // 1 MiB segments, the smallest, have the most per log: 4096.
            Ok(low) if low < 0x1000 => {
                self.packed.push(Packed {
                    timeline,
                    log: segment.log,
                    segment: low,
                    codec: Codec::ALL
                        .iter()
                        .position(|known| *known == codec)
                        .and_then(|place| u8::try_from(place).ok())
                        .unwrap_or_default(),
                    partial,
                    size: u32::try_from(size).unwrap_or(u32::MAX),
                });
                if !partial {
                    let place = (segment.log, segment.segment, stored);
                    let newest = self.newest.entry(timeline).or_insert(place);
                    if *newest < place {
                        *newest = place;
                    }
                }
            }
            _ => {
                let odd = OddSegment {
                    timeline: segment.timeline,
                    number: None,
                    key: wal_key(name, codec),
                    size,
                };
                keep(&mut self.illegal, odd, &mut self.omitted);
            }
        }
    }

    /// The history files found so far: timeline and codec.
    pub fn histories(&self) -> &[(TimelineId, Codec)] {
        &self.histories
    }

    /// A few segments whose bytes can tell the segment size: the oldest, the newest, and one
    /// from the middle of the listing.
    pub(super) fn samples(&self) -> Vec<(SegmentName, Codec)> {
        let whole = || self.packed.iter().filter(|object| !object.partial);
        let middle = self.packed.get(self.packed.len() / 2);
        let samples = [
            whole().min(),
            whole().max(),
            middle.filter(|object| !object.partial),
        ];
        let samples = samples.into_iter().flatten();
        samples
            .map(|object| (object.name(), object.codec()))
            .collect()
    }

    /// Folds everything into runs, reading names by `segment_size`. History files are the
    /// caller's to read.
    pub fn finish(self, segment_size: SegmentSize) -> WalInventory {
        let Self {
            mut packed,
            newest,
            backup_histories,
            illegal,
            omitted,
            ..
        } = self;
        packed.sort_unstable();
        let mut inventory = WalInventory {
            segment_size,
            backup_histories,
            illegal,
            omitted,
            ..WalInventory::default()
        };
        let mut rest = packed.as_slice();
        while let Some(first) = rest.first() {
            let copies = rest
                .iter()
                .take_while(|other| *other == first || first.is_copy_of(**other))
                .count()
                .max(1);
            let (group, after) = rest.split_at(copies);
            rest = after;
            match first.name().number(segment_size) {
                Ok(number) => fold(&mut inventory, number, group),
                Err(_) => {
                    for object in group {
                        let odd = odd(*object, None);
                        keep(&mut inventory.illegal, odd, &mut inventory.omitted);
                    }
                }
            }
        }
        for (timeline, (_, _, stored)) in newest {
            if let Some(wal) = inventory.timelines.get_mut(&TimelineId(timeline)) {
                wal.newest_stored = Some(stored);
            }
        }
        inventory
    }
}

/// Adds one segment, stored once or several times, to the inventory.
fn fold(inventory: &mut WalInventory, number: SegmentNumber, group: &[Packed]) {
    let Some(first) = group.first() else { return };
    let timeline = TimelineId(first.timeline);
    if first.partial {
        let wal = inventory.timelines.entry(timeline).or_default();
        wal.partials.push((number, first.codec()));
        return;
    }
    if group.len() > 1 {
        let duplicate = DuplicateSegment {
            timeline,
            number,
            objects: group
                .iter()
                .map(|object| (object.key(), u64::from(object.size)))
                .collect(),
        };
        keep(&mut inventory.duplicates, duplicate, &mut inventory.omitted);
    }
    let mut plausible: Vec<Codec> = Vec::with_capacity(1);
    for object in group {
        let codec = object.codec();
        let list = match sizes::judge(codec, u64::from(object.size), inventory.segment_size) {
            SizeVerdict::Plausible => {
                plausible.push(codec);
                continue;
            }
            SizeVerdict::Empty => &mut inventory.empty,
            SizeVerdict::TooSmall => &mut inventory.too_small,
            SizeVerdict::TooLarge => &mut inventory.too_large,
        };
        keep(list, odd(*object, Some(number)), &mut inventory.omitted);
    }
    let wal = inventory.timelines.entry(timeline).or_default();
    // Going on with the codec of the segment before keeps runs long.
    let running = wal
        .runs
        .last()
        .filter(|run| run.last.next() == number)
        .map(|run| run.codec)
        .filter(|codec| plausible.contains(codec));
    let Some(chosen) = running.or_else(|| plausible.first().copied()) else {
        return;
    };
    extend(&mut wal.runs, number, chosen);
    for codec in plausible {
        if codec != chosen {
            extend_any(&mut wal.alternates, number, codec);
        }
    }
}

/// Adds a segment to the last run, or begins another.
fn extend(runs: &mut Vec<SegmentRun>, number: SegmentNumber, codec: Codec) {
    match runs.last_mut() {
        Some(run) if run.codec == codec && run.last.next() == number => run.last = number,
        _ => runs.push(SegmentRun {
            first: number,
            last: number,
            codec,
        }),
    }
}

/// Adds a segment to whichever of the last runs it continues; there are at most as many
/// of them as codecs.
fn extend_any(runs: &mut Vec<SegmentRun>, number: SegmentNumber, codec: Codec) {
    let continued = runs
        .iter_mut()
        .rev()
        .take(Codec::ALL.len())
        .find(|run| run.codec == codec && run.last.next() == number);
    match continued {
        Some(run) => run.last = number,
        None => runs.push(SegmentRun {
            first: number,
            last: number,
            codec,
        }),
    }
}

fn odd(object: Packed, number: Option<SegmentNumber>) -> OddSegment {
    OddSegment {
        timeline: TimelineId(object.timeline),
        number,
        key: object.key(),
        size: u64::from(object.size),
    }
}

fn keep<T>(list: &mut Vec<T>, item: T, omitted: &mut u64) {
    if list.len() < WalInventory::LIMIT {
        list.push(item);
    } else {
        *omitted += 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB16: u64 = 16 << 20;

    fn collect(objects: &[(&str, u64)], size: SegmentSize) -> WalInventory {
        let mut collector = WalCollector::new();
        for (file, bytes) in objects {
            let (name, codec) = Codec::split_extension(file);
            collector.add(
                name.parse().unwrap(),
                codec,
                *bytes,
                DateTime::from_timestamp(i64::try_from(*bytes).unwrap(), 0).unwrap(),
            );
        }
        collector.finish(size)
    }

    #[test]
    fn an_object_takes_sixteen_bytes() {
        assert_eq!(std::mem::size_of::<Packed>(), 16);
    }

    #[test]
    fn runs_break_at_gaps_and_codec_changes() {
        let inventory = collect(
            &[
                ("000000010000000100000000.gz", 20_000),
                ("0000000100000000000000FE", MIB16),
                ("0000000100000000000000FF", MIB16),
                ("000000010000000100000002.gz", 30_000),
                ("000000020000000100000002.gz", 30_000),
                ("000000010000000100000003.partial.gz", 30_000),
                ("000000010000000100000001.00000028.backup", 300),
            ],
            SegmentSize::DEFAULT,
        );
        let runs: Vec<(u64, u64, Codec)> = inventory.timelines[&TimelineId(1)]
            .runs
            .iter()
            .map(|run| (run.first.0, run.last.0, run.codec))
            .collect();
        assert_eq!(
            runs,
            [
                (0xFE, 0xFF, Codec::None),
                (0x100, 0x100, Codec::Gzip),
                (0x102, 0x102, Codec::Gzip)
            ]
        );
        assert_eq!(
            inventory.timelines[&TimelineId(1)].partials,
            [(SegmentNumber(0x103), Codec::Gzip)]
        );
        assert_eq!(inventory.timelines[&TimelineId(2)].count(), 1);
        assert_eq!(inventory.backup_histories, 1);
        assert_eq!(inventory.count(), 5);
        assert_eq!(
            inventory.timelines[&TimelineId(1)]
                .newest_stored
                .unwrap()
                .timestamp(),
            30_000
        );
        assert!(inventory.duplicates.is_empty() && inventory.illegal.is_empty());
    }

    #[test]
    fn copies_are_one_segment_and_one_duplicate() {
        let inventory = collect(
            &[
                ("000000010000000000000001.gz", 20_000),
                ("000000010000000000000002", MIB16),
                ("000000010000000000000002.gz", 20_000),
                ("000000010000000000000003", MIB16),
                ("000000010000000000000003.gz", 20_000),
                ("000000010000000000000003.zst", 20_000),
                ("000000010000000000000004.gz", 20_000),
            ],
            SegmentSize::DEFAULT,
        );
        let wal = &inventory.timelines[&TimelineId(1)];
        assert_eq!(wal.runs.len(), 1, "{:?}", wal.runs);
        assert_eq!(wal.count(), 4);
        assert_eq!(wal.alternates.len(), 2, "{:?}", wal.alternates);
        assert_eq!(inventory.duplicates.len(), 2);
        assert_eq!(inventory.duplicates[1].objects.len(), 3);
        assert_eq!(
            inventory.duplicates[0].objects[0],
            (
                "wals/0000000100000000/000000010000000000000002".to_owned(),
                MIB16
            )
        );
    }

    #[test]
    fn objects_that_hold_no_segment_are_in_no_run() {
        let inventory = collect(
            &[
                ("000000010000000000000001", 0),
                ("000000010000000000000002", MIB16 / 2),
                ("000000010000000000000003", MIB16 + 1),
                ("000000010000000000000004.gz", 100),
                ("000000010000000000000005", MIB16),
                // One good copy is enough.
                ("000000010000000000000006", 0),
                ("000000010000000000000006.gz", 20_000),
            ],
            SegmentSize::DEFAULT,
        );
        let wal = &inventory.timelines[&TimelineId(1)];
        assert_eq!(wal.oldest(), Some(SegmentNumber(5)));
        assert_eq!(wal.newest(), Some(SegmentNumber(6)));
        assert_eq!(inventory.empty.len(), 2);
        assert_eq!(inventory.too_small.len(), 2);
        assert_eq!(inventory.too_large.len(), 1);
        assert_eq!(
            inventory.too_large[0].key,
            "wals/0000000100000000/000000010000000000000003"
        );
    }

    #[test]
    fn names_beyond_the_segment_size_are_illegal() {
        let size = SegmentSize::new(64 << 20).unwrap();
        let inventory = collect(
            &[
                ("00000001000000000000003F.gz", 70_000),
                ("000000010000000100000000.gz", 70_000),
                ("000000010000000000000040.gz", 70_000),
                ("000000010000000001000000.gz", 70_000),
            ],
            size,
        );
        assert_eq!(inventory.timelines[&TimelineId(1)].runs.len(), 1);
        assert_eq!(inventory.illegal.len(), 2);
    }

    #[test]
    fn lists_are_bounded_and_the_rest_is_counted() {
        let mut collector = WalCollector::new();
        for number in 0..1_500 {
            let name = SegmentName::new(TimelineId(1), SegmentNumber(number), SegmentSize::DEFAULT);
            collector.add(
                WalFileName::Segment(name),
                Codec::None,
                0,
                DateTime::UNIX_EPOCH,
            );
        }
        let inventory = collector.finish(SegmentSize::DEFAULT);
        assert_eq!(inventory.empty.len(), WalInventory::LIMIT);
        assert_eq!(inventory.omitted, 500);
    }

    proptest! {
        /// Whatever the order of the listing, the runs hold exactly the plausible segments.
        #[test]
        fn runs_hold_what_was_listed(
            mut objects in proptest::collection::btree_set((1u32..3, 0u64..40, 0usize..7), 0..80)
                .prop_map(|set| set.into_iter().collect::<Vec<_>>()).prop_shuffle()
        ) {
            let size = SegmentSize::DEFAULT;
            let mut collector = WalCollector::new();
            for (timeline, number, codec) in &objects {
                let name = SegmentName::new(TimelineId(*timeline), SegmentNumber(*number), size);
                collector.add(WalFileName::Segment(name), Codec::ALL[*codec], MIB16, DateTime::UNIX_EPOCH);
            }
            let inventory = collector.finish(size);
            objects.sort_unstable();
            for timeline in 1..3 {
                let wal = inventory.timelines.get(&TimelineId(timeline));
                for number in 0..40 {
                    let number = SegmentNumber(number);
                    let listed: Vec<Codec> = objects.iter()
                        .filter(|(t, n, _)| *t == timeline && *n == number.0)
                        .map(|(_, _, codec)| Codec::ALL[*codec]).collect();
                    let mut found: Vec<Codec> = wal.into_iter()
                        .flat_map(|wal| wal.runs.iter().chain(&wal.alternates))
                        .filter(|run| run.contains(number)).map(|run| run.codec).collect();
                    found.sort_unstable();
                    prop_assert_eq!(&found, &listed);
                    prop_assert_eq!(
                        wal.is_some_and(|wal| wal.run_of(number).is_some()), !listed.is_empty());
                }
                if let Some(wal) = wal {
                    prop_assert!(wal.runs.windows(2).all(|pair| pair[0].last < pair[1].first));
                }
            }
        }
    }
}
