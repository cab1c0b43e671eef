//! What a rotation promises, night after night.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;

use super::*;
use crate::codec::Codec;
use crate::postgres::{SegmentNumber, TimelineId};

/// Size, and when it was read.
type Held = (u64, Option<DateTime<Utc>>);
/// Begin and end segment, size, and when it was read.
type HeldBase = (u64, u64, u64, Option<DateTime<Utc>>);

/// A repository in a test: sizes and times of reading.
#[derive(Clone, Debug)]
struct Shelf {
    /// Timeline and number of segments: size and when they were read.
    segments: BTreeMap<(u32, u64), Held>,
    /// Begin and end segment of backups on timeline 1, size and when they were read.
    backups: BTreeMap<String, HeldBase>,
}

fn start() -> DateTime<Utc> {
    DateTime::from_timestamp(1_790_000_000, 0).unwrap()
}

impl Shelf {
    fn holdings(&self) -> Holdings {
        let segments = self
            .segments
            .iter()
            .map(|((timeline, number), (size, read))| {
                let name = (TimelineId(*timeline), SegmentNumber(*number), Codec::Gzip);
                HeldSegment::new(name, *size, *read, false)
            });
        let backups = self
            .backups
            .iter()
            .map(|(id, (first, last, size, read))| HeldBackup {
                id: id.clone(),
                bytes: *size,
                last_read: *read,
                urgent: false,
                wal: Some((TimelineId(1), SegmentNumber(*first), SegmentNumber(*last))),
                begin_time: Some(start() - TimeDelta::days(40)),
            });
        Holdings::new(segments.collect(), backups.collect())
    }

    /// Reads what was selected; of an interrupted night only so many objects.
    fn read(&mut self, selection: &Selection, now: DateTime<Utc>, mut objects: usize) {
        for ((timeline, number), (_, read)) in &mut self.segments {
            if selection.wants_segment(TimelineId(*timeline), SegmentNumber(*number)) && objects > 0
            {
                *read = Some(now);
                objects -= 1;
            }
        }
        for (id, (.., read)) in &mut self.backups {
            if selection.wants_backup(id) && objects > 0 {
                *read = Some(now);
                objects -= 1;
            }
        }
    }

    /// When what was read longest ago was; `None` when something never was.
    fn oldest(&self) -> Option<DateTime<Utc>> {
        let wal = self.segments.values().map(|(_, read)| *read);
        let backups = self.backups.values().map(|(.., read)| *read);
        wal.chain(backups).min().flatten()
    }
}

fn shelves() -> impl Strategy<Value = Shelf> {
    let segments = proptest::collection::btree_map(
        (1_u32..3, 0_u64..200),
        (1_u64..100).prop_map(|size| (size, None)),
        1..150,
    );
    let backups = proptest::collection::btree_map(
        "[a-f]{3}",
        (0_u64..180, 0_u64..5, 1_u64..400)
            .prop_map(|(first, more, size)| (first, first + more, size, None)),
        0..5,
    );
    (segments, backups).prop_map(|(segments, backups)| Shelf { segments, backups })
}

fn spread(now: DateTime<Utc>, days: i64) -> RotationOptions {
    RotationOptions {
        pace: Pace::Spread(TimeDelta::days(days)),
        ..RotationOptions::everything(now)
    }
}

fn budget(now: DateTime<Utc>, bytes: u64) -> RotationOptions {
    RotationOptions {
        pace: Pace::Budget,
        max_bytes: Some(bytes),
        ..RotationOptions::everything(now)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// All parts together are everything, and what two of them share are borders.
    #[test]
    fn the_parts_are_the_whole(shelf in shelves(), of in 1_u32..9) {
        let holdings = shelf.holdings();
        let mut times: BTreeMap<(u32, u64), u32> = BTreeMap::new();
        let mut borders = BTreeSet::new();
        let mut backups: BTreeMap<&str, u32> = BTreeMap::new();
        for part in 1..=of {
            let options = RotationOptions {
                subset: Subset::new(part, of),
                ..RotationOptions::everything(start())
            };
            let Rotation { selection, .. } = rotate(&holdings, &options);
            for (timeline, number) in shelf.segments.keys() {
                if selection.wants_segment(TimelineId(*timeline), SegmentNumber(*number)) {
                    *times.entry((*timeline, *number)).or_default() += 1;
                    if !shelf.segments.contains_key(&(*timeline, number.wrapping_sub(1)))
                        || selection.wants_segment(TimelineId(*timeline), SegmentNumber(number - 1)) {
                        borders.insert((*timeline, *number));
                    }
                }
            }
            for id in shelf.backups.keys() {
                if selection.wants_backup(id) {
                    *backups.entry(id).or_default() += 1;
                    let (first, last, ..) = shelf.backups[id];
                    for number in first..=last {
                        prop_assert!(!shelf.segments.contains_key(&(1, number))
                            || selection.wants_segment(TimelineId(1), SegmentNumber(number)));
                    }
                }
            }
        }
        for segment in shelf.segments.keys() {
            prop_assert!(times.contains_key(segment), "{:?} is in no part", segment);
            // Its border to the one before is joined in some part.
            prop_assert!(borders.contains(segment), "{:?} is never joined", segment);
            let of_a_backup = shelf.backups.values()
                .any(|(first, last, ..)| segment.0 == 1 && (first.saturating_sub(1)..=*last).contains(&segment.1));
            let last_of_block = segment.1 % units::NEIGHBOURS == units::NEIGHBOURS - 1;
            prop_assert!(times[segment] == 1 || of_a_backup || (last_of_block && times[segment] == 2));
        }
        prop_assert!(shelf.backups.keys().all(|id| backups.get(id.as_str()) == Some(&1)));
    }

    /// A part stays what it is when other objects come and go.
    #[test]
    fn the_parts_are_stable(shelf in shelves(), gone in 0_u64..100) {
        let mut later = shelf.clone();
        later.segments.retain(|(_, number), _| *number >= gone);
        later.segments.insert((1, 500), (5, None));
        later.backups.pop_first();
        let options = RotationOptions {
            subset: Subset::new(2, 3),
            ..RotationOptions::everything(start())
        };
        let before = rotate(&Shelf { backups: BTreeMap::new(), ..shelf.clone() }.holdings(), &options).selection;
        let after = rotate(&Shelf { backups: BTreeMap::new(), ..later.clone() }.holdings(), &options).selection;
        for (timeline, number) in later.segments.keys().filter(|(_, number)| *number < 500) {
            let wants = |selection: &Selection|
                selection.wants_segment(TimelineId(*timeline), SegmentNumber(*number));
            prop_assert_eq!(wants(&before), wants(&after));
        }
        let whole = |shelf: &Shelf| rotate(&shelf.holdings(), &options).selection;
        for id in later.backups.keys() {
            prop_assert_eq!(whole(&shelf).wants_backup(id), whole(&later).wants_backup(id));
        }
    }

    /// Without a limit the first night reads everything, and every later moment sees nothing
    /// that was read longer ago than stated, though no night reads much.
    #[test]
    fn everything_is_read_again_within_the_time(mut shelf in shelves(), days in 5_i64..40) {
        let mut now = start();
        let first = rotate(&shelf.holdings(), &spread(now, days));
        prop_assert!(first.selection.is_everything());
        prop_assert_eq!(first.report.everything_read_by, Some(now));
        shelf.read(&first.selection, now, usize::MAX);
        for _ in 0..days * 2 {
            now += TimeDelta::days(1);
            let tonight = rotate(&shelf.holdings(), &spread(now, days));
            let by = tonight.report.everything_read_by.unwrap();
            prop_assert!(by <= now + TimeDelta::days(days));
            shelf.read(&tonight.selection, now, usize::MAX);
            prop_assert!(shelf.oldest().unwrap() > now - TimeDelta::days(days));
        }
    }

    /// A night never reads more than its budget, and keeps the date it states.
    #[test]
    fn a_budget_and_the_date_it_gives_are_kept(mut shelf in shelves(), limit in 50_u64..3_000) {
        let mut now = start();
        let mut stated: Option<DateTime<Utc>> = None;
        for night in 0..60 {
            let tonight = rotate(&shelf.holdings(), &budget(now, limit));
            prop_assert!(tonight.report.bytes <= limit);
            if night == 0 {
                stated = tonight.report.everything_read_by;
                if stated.is_none() {
                    prop_assert!(tonight.report.never_because.is_some());
                    break;
                }
            }
            shelf.read(&tonight.selection, now, usize::MAX);
            if let Some(by) = stated && now >= by {
                let oldest = shelf.oldest();
                prop_assert!(oldest.is_some_and(|oldest| oldest >= start()), "{:?} at {}", oldest, now);
                break;
            }
            now += TimeDelta::days(1);
        }
    }

    /// What an interrupted night did not come to is what the next one reads, and no more
    /// than borders of what it did.
    #[test]
    fn an_interrupted_night_goes_on(mut shelf in shelves(), objects in 0_usize..100) {
        shelf.backups.clear();
        let now = start();
        let again = |now| RotationOptions {
            pace: Pace::AtOnce(TimeDelta::hours(12)),
            ..RotationOptions::everything(now)
        };
        let first = rotate(&shelf.holdings(), &again(now));
        prop_assert!(first.selection.is_everything());
        shelf.read(&first.selection, now, objects);
        let now = now + TimeDelta::minutes(10);
        let second = rotate(&shelf.holdings(), &again(now)).selection;
        for ((timeline, number), (_, read)) in &shelf.segments {
            let wants = |number| second.wants_segment(TimelineId(*timeline), SegmentNumber(number));
            let unread = |number| shelf.segments.get(&(*timeline, number)).is_some_and(|(_, read)| read.is_none());
            prop_assert_eq!(wants(*number), read.is_none() || unread(number + 1));
        }
    }
}

fn days_of_wal() -> Shelf {
    Shelf {
        segments: (0..160).map(|number| ((1, number), (10, None))).collect(),
        backups: [("a", 16), ("b", 96)]
            .map(|(id, first)| (id.to_owned(), (first, first + 1, 200, None)))
            .into(),
    }
}

#[test]
fn the_newest_backup_and_its_wal_are_read_first() {
    let shelf = days_of_wal();
    let read = |bytes| rotate(&shelf.holdings(), &budget(start(), bytes));
    let first = read(250);
    assert_eq!(first.selection.backups().collect::<Vec<_>>(), ["b"]);
    let Rotation { selection, report } = read(1_000);
    assert_eq!(selection.backups().collect::<Vec<_>>(), ["b"]);
    assert!(selection.wants_segment(TimelineId(1), SegmentNumber(159)));
    assert!(!selection.wants_segment(TimelineId(1), SegmentNumber(50)));
    assert_eq!(report.of_bytes, 2_000);
    assert!(report.bytes <= 1_000 && report.bytes > 900, "{report:?}");
    assert_eq!(report.percent(), report.bytes / 20);
    assert!(report.new_left_bytes >= 1_000);
    let old = read(1_800).selection;
    assert!(old.wants_backup("a"));
}

#[test]
fn what_changed_is_read_before_all_else() {
    let shelf = days_of_wal();
    let mut segments = shelf.holdings().segments().to_vec();
    segments[3].urgent = true;
    let holdings = Holdings::new(segments, shelf.holdings().backups().to_vec());
    let small = rotate(&holdings, &budget(start(), 20)).selection;
    let runs: Vec<_> = small
        .segments()
        .map(|(_, first, last)| (first.0, last.0))
        .collect();
    assert_eq!(runs, [(2, 3)], "with the segment before it");
    // Also outside its part.
    let options = RotationOptions {
        subset: Subset::new(2, 7),
        ..RotationOptions::everything(start())
    };
    let part = rotate(&holdings, &options).selection;
    assert!(part.wants_segment(TimelineId(1), SegmentNumber(3)));
    assert!(!part.wants_segment(TimelineId(1), SegmentNumber(5)));
}

#[test]
fn a_backup_that_no_night_can_hold_is_named() {
    let shelf = days_of_wal();
    let report = rotate(&shelf.holdings(), &budget(start(), 100)).report;
    assert_eq!(report.everything_read_by, None);
    let because = report.never_because.unwrap();
    assert!(because.contains("base backup b"), "{because}");
    // What else there is is read all the same.
    assert!(report.bytes > 0);
}

#[test]
fn a_budget_that_what_arrives_uses_up_gives_no_date() {
    let mut shelf = days_of_wal();
    // Read long ago, and 2,000 bytes in forty days are 50 a day.
    for (_, read) in shelf.segments.values_mut() {
        *read = Some(start() - TimeDelta::days(1));
    }
    for (.., read) in shelf.backups.values_mut() {
        *read = Some(start() - TimeDelta::days(1));
    }
    let small = rotate(&shelf.holdings(), &budget(start(), 240)).report;
    let because = small.never_because.unwrap();
    assert!(because.contains("arrive between runs"), "{because}");
    let enough = rotate(&shelf.holdings(), &budget(start(), 400)).report;
    let by = enough.everything_read_by.unwrap();
    assert!(by > start() + TimeDelta::days(5), "{by}");
    assert!(by < start() + TimeDelta::days(15), "{by}");
}

#[test]
fn a_limit_in_time_selects_what_fits_into_it() {
    let shelf = days_of_wal();
    let options = RotationOptions {
        max_time: Some(Duration::from_secs(10)),
        bytes_per_second: Some(100),
        pace: Pace::Budget,
        ..RotationOptions::everything(start())
    };
    let report = rotate(&shelf.holdings(), &options).report;
    assert_eq!(report.budget_bytes, Some(1_000));
    assert!(report.bytes <= 1_000);
}

#[test]
fn a_part_says_when_the_others_will_have_been_read() {
    let options = RotationOptions {
        subset: Subset::new(1, 7),
        ..RotationOptions::everything(start())
    };
    let report = rotate(&days_of_wal().holdings(), &options).report;
    assert_eq!(
        report.everything_read_by,
        Some(start() + TimeDelta::days(6))
    );
    assert_eq!(report.subset.as_deref(), Some("1/7"));
}

#[test]
fn an_empty_repository_is_read_at_once() {
    let report = rotate(&Holdings::default(), &spread(start(), 30)).report;
    assert_eq!(report.everything_read_by, Some(start()));
    assert_eq!(report.percent(), 100);
}

#[test]
fn a_million_segments_are_planned_in_little_memory() {
    assert!(size_of::<HeldSegment>() <= 32);
    let shelf: Vec<HeldSegment> = (0..1_000_000)
        .map(|number| {
            let read = start() - TimeDelta::hours(i64::try_from(number / 1_000).unwrap());
            let name = (TimelineId(1), SegmentNumber(number), Codec::Zstd);
            HeldSegment::new(name, 4 << 20, Some(read), false)
        })
        .collect();
    let holdings = Holdings::new(shelf, Vec::new());
    let begin = std::time::Instant::now();
    let night = rotate(&holdings, &budget(start(), 50 << 30));
    eprintln!("planned a million segments in {:?}", begin.elapsed());
    assert!(night.report.bytes > 49 << 30);
    assert!(
        !night
            .selection
            .wants_segment(TimelineId(1), SegmentNumber(5))
    );
    assert!(
        night
            .selection
            .wants_segment(TimelineId(1), SegmentNumber(999_999))
    );
}
