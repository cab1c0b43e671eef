//! Pieces that are joined give what reading one segment after another gives.

use proptest::prelude::*;

use super::builder::BEGIN;
use super::*;
use crate::postgres::{HistoryEntry, SegmentNumber, TimelineId};

/// A record, as far as two readings can be told apart by it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    start: Lsn,
    end: Lsn,
    prev: Lsn,
    kind: (u8, u8, u32),
    body: u32,
    event: Option<WalEvent>,
}

fn seen(record: &WalRecord<'_>) -> Seen {
    Seen {
        start: record.start,
        end: record.end,
        prev: record.prev,
        kind: (record.resource_manager, record.info, record.xid),
        body: crc32c::crc32c(record.body),
        event: record.event(),
    }
}

/// What a stream says after each segment, and all its records.
#[derive(Debug, PartialEq, Eq)]
struct Course {
    steps: Vec<(Result<(), WalFault>, WalPosition, SegmentNumber)>,
    records: Vec<Seen>,
    major: Option<u32>,
    system_id: Option<SystemId>,
}

fn course(
    options: WalStreamOptions,
    segments: &[(SegmentNumber, Vec<u8>)],
    mut step: impl FnMut(&mut WalStream, usize, &mut Vec<Seen>) -> Result<(), WalFault>,
) -> Course {
    let mut stream = WalStream::new(options);
    let mut records = Vec::new();
    let mut steps = Vec::new();
    for index in 0..segments.len() {
        let result = step(&mut stream, index, &mut records);
        steps.push((result, stream.position(), stream.next_segment()));
    }
    Course {
        steps,
        records,
        major: stream.major(),
        system_id: stream.system_id(),
    }
}

fn in_sequence(options: &WalStreamOptions, segments: &[(SegmentNumber, Vec<u8>)]) -> Course {
    course(options.clone(), segments, |stream, index, records| {
        let (number, bytes) = &segments[index];
        stream.push_segment(*number, bytes, &mut |record| {
            records.push(seen(record));
            ControlFlow::Continue(())
        })
    })
}

/// Reads all pieces first, the last one first, then joins them.
fn in_pieces(options: &WalStreamOptions, segments: &[(SegmentNumber, Vec<u8>)]) -> Course {
    let piece_options = WalStream::new(options.clone()).piece_options();
    let mut pieces: Vec<_> = segments
        .iter()
        .rev()
        .map(|(number, bytes)| {
            let mut own = Vec::new();
            let piece = WalPiece::read(&piece_options, *number, bytes, &mut |record| {
                own.push(seen(record));
            });
            assert_eq!(piece.number(), *number);
            (piece, own)
        })
        .collect();
    course(options.clone(), segments, |stream, _, records| {
        let (piece, own) = pieces.pop().unwrap();
        let result = stream.join(piece, &mut |record| records.push(seen(record)));
        if stream.adopted() {
            records.extend(own);
        }
        result
    })
}

fn numbered(segments: Vec<Vec<u8>>, first: SegmentNumber) -> Vec<(SegmentNumber, Vec<u8>)> {
    (first.0..).map(SegmentNumber).zip(segments).collect()
}

/// Both ways agree; answers with what they say.
fn both(options: &WalStreamOptions, segments: &[(SegmentNumber, Vec<u8>)]) -> Course {
    let sequence = in_sequence(options, segments);
    let pieces = in_pieces(options, segments);
    assert_eq!(pieces.steps, sequence.steps);
    assert_eq!(pieces, sequence);
    sequence
}

fn from_begin(builder: &Builder) -> Vec<(SegmentNumber, Vec<u8>)> {
    numbered(builder.segments(), SegmentNumber(1))
}

fn child(switches: &[u64]) -> TimelineHistory {
    let entry = |(index, lsn): (usize, &u64)| HistoryEntry {
        timeline: TimelineId(u32::try_from(index).unwrap() + 1),
        switch_lsn: Lsn::new(*lsn),
        reason: String::new(),
    };
    TimelineHistory {
        timeline: TimelineId(u32::try_from(switches.len()).unwrap() + 1),
        ancestors: switches.iter().enumerate().map(entry).collect(),
    }
}

#[test]
fn a_record_over_four_segments_is_handed_out_by_joining() {
    let mut builder = Builder::new();
    builder.commit(1, 1);
    let long = builder.message(3_400_000);
    builder.commit(2, 2);
    builder.commit(3, 3);
    let segments = from_begin(&builder);
    let course = both(&options(begin()), &segments);
    assert_eq!(course.records.len(), 4);
    assert_eq!(course.records[1].start, long);
    let options = WalStream::new(options(begin())).piece_options();
    let middle = WalPiece::read(&options, SegmentNumber(2), &segments[1].1, &mut |_| {
        panic!("no record begins here")
    });
    assert_eq!((middle.first_record(), middle.fault()), (None, None));
}

#[test]
fn faults_at_a_border_come_before_those_within() {
    let mut builder = Builder::new();
    builder.commit(1, 1);
    builder.switch();
    // The chain is torn at the border, and a later record is damaged as well.
    builder.prev(Lsn::new(BEGIN + 40));
    let first = builder.commit(2, 2);
    let second = builder.commit(3, 3);
    let mut segments = from_begin(&builder);
    let at = usize::try_from(second.bytes() % MIB).unwrap();
    segments[1].1[at + 30] ^= 1;
    let options = options(begin());
    let course = both(&options, &segments);
    assert!(
        matches!(course.steps[1].0, Err(WalFault::BadPrev { lsn, expected: Some(_), .. }) if lsn == first)
    );
    let piece_options = WalStream::new(options).piece_options();
    let piece = WalPiece::read(
        &piece_options,
        SegmentNumber(2),
        &segments[1].1,
        &mut |_| (),
    );
    assert!(matches!(piece.fault(), Some(WalFault::BadCrc { lsn, .. }) if *lsn == second));
}

#[test]
fn a_piece_is_small() {
    let mut builder = Builder::new();
    for xid in 0..5_000 {
        builder.commit(xid, 1);
        builder.message(300);
    }
    builder.message(40_000);
    builder.commit(9, 9);
    let segments = from_begin(&builder);
    let options = WalStream::new(options(begin())).piece_options();
    let piece = WalPiece::read(&options, SegmentNumber(2), &segments[1].1, &mut |_| ());
    assert!(
        piece.kept_bytes() <= 2 * PAGE_SIZE,
        "{}",
        piece.kept_bytes()
    );
    // A segment whose first page is not WAL is not kept either.
    let garbage = vec![0x55; segments[1].1.len()];
    let piece = WalPiece::read(&options, SegmentNumber(2), &garbage, &mut |_| ());
    assert_eq!(piece.kept_bytes(), PAGE_SIZE);
    // Nor one that begins with a SWITCH.
    let mut builder = Builder::new();
    builder.switch();
    let segments = builder.segments();
    let piece = WalPiece::read(&options, SegmentNumber(1), &segments[0], &mut |_| ());
    assert_eq!(piece.kept_bytes(), 2 * PAGE_SIZE);
}

#[test]
fn a_stream_that_starts_within_a_segment_wants_its_own_piece() {
    let mut builder = Builder::new();
    builder.commit(1, 1);
    let middle = builder.commit(2, 2);
    builder.message(2_000_000);
    builder.commit(3, 3);
    let segments = from_begin(&builder);
    let options = options(middle);
    let course = both(&options, &segments);
    assert_eq!(course.records[0].start, middle);
    assert_eq!(course.records.len(), 3);

    let mut stream = WalStream::new(options);
    let mut elsewhere = stream.piece_options();
    elsewhere.start = None;
    let piece = WalPiece::read(&elsewhere, SegmentNumber(1), &segments[0].1, &mut |_| ());
    assert_eq!(
        stream.join(piece, &mut |_| panic!("nothing is handed out")),
        Err(WalFault::BadStart { lsn: middle })
    );
    assert!(!stream.adopted());
}

#[test]
fn after_a_gap_a_stream_starts_with_the_first_record_of_a_piece() {
    let mut builder = Builder::new();
    builder.commit(1, 1);
    builder.message(1_500_000);
    builder.commit(2, 2);
    builder.commit(3, 3);
    let segments = from_begin(&builder);
    let whole = in_sequence(&options(begin()), &segments);
    let mut piece_options = WalStream::new(options(begin())).piece_options();
    piece_options.start = None;
    let mut own = Vec::new();
    let piece = WalPiece::read(
        &piece_options,
        SegmentNumber(2),
        &segments[1].1,
        &mut |record| {
            own.push(seen(record));
        },
    );
    let first = piece.first_record().unwrap();
    let mut stream = WalStream::new(options(first));
    let mut records = Vec::new();
    let _ = stream.join(piece, &mut |record| records.push(seen(record)));
    assert!(stream.adopted());
    records.extend(own);
    assert_eq!(records, whole.records[2..]);
}

#[test]
fn a_switch_split_by_the_border_leaves_the_piece_unused() {
    let mut builder = Builder::new();
    for _ in 0..127 {
        builder.fill_page();
    }
    builder.message(PAGE_SIZE - 24 - 29 - 8);
    builder.switch();
    builder.commit(8, 2);
    let mut segments = from_begin(&builder);
    assert_eq!(both(&options(begin()), &segments).records.len(), 130);
    // Whatever stands behind it, even records.
    let other = Builder::segment_of_records(2, 64);
    segments[1].1[64..].copy_from_slice(&other[64..]);
    let course = both(&options(begin()), &segments);
    assert_eq!(course.records.len(), 130);
}

#[test]
fn a_timeline_may_still_wait_for_its_announcement_at_a_border() {
    // The parent is left at the segment's end, or so close to it that the child's first
    // record, which need not be the announcement, ends the segment.
    let announced = |kind: u8| {
        let mut builder = Builder::new();
        builder.commit(1, 1);
        while builder.end().bytes() < 2 * MIB - 8192 - 64 {
            builder.fill_page_if_room();
        }
        let switch = builder.end();
        builder.timeline(2);
        let room = 2 * MIB - builder.end().bytes();
        builder.fpw_change_of(usize::try_from(room).unwrap());
        match kind {
            0 => builder.end_of_recovery(2, 1),
            1 => builder.commit(2, 2),
            2 => {
                builder.fpw_change_of(40);
                builder.commit(2, 2)
            }
            3 => {
                builder.fpw_change_of(40);
                builder.checkpoint(0, 2, 1)
            }
            _ => builder.checkpoint(0, 3, 1),
        };
        builder.commit(3, 3);
        let options = WalStreamOptions {
            history: child(&[switch.bytes()]),
            ..options(begin())
        };
        both(&options, &from_begin(&builder)).steps[1].0.clone()
    };
    for kind in [0, 3] {
        assert!(
            matches!(announced(kind), Err(fault) if fault.looks_like_end_of_wal()),
            "{kind}"
        );
    }
    for kind in [1, 2] {
        assert!(
            matches!(announced(kind), Err(WalFault::TimelineNotBegun { .. })),
            "{kind}"
        );
    }
    assert!(matches!(announced(4), Err(WalFault::WrongTimeline { .. })));
}

/// How to make WAL that may be wrong although every checksum holds.
#[derive(Clone, Debug)]
enum Step {
    Message(usize),
    Commit,
    Checkpoint(u32),
    EndOfRecovery(u32),
    Switch,
    FillPage,
    FillSegment(usize),
    FullPages(usize),
    Timeline(u32),
    Prev(u64),
    GiveUp(bool),
    CrashAtPage(bool),
    Empty(u8, u8),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0usize..400).prop_map(Step::Message),
        5 => (400usize..20_000).prop_map(Step::Message),
        2 => (900_000usize..2_300_000).prop_map(Step::Message),
        8 => Just(Step::Commit),
        2 => (1u32..4).prop_map(Step::Checkpoint),
        2 => (1u32..4).prop_map(Step::EndOfRecovery),
        2 => Just(Step::Switch),
        4 => Just(Step::FillPage),
        4 => (0usize..8).prop_map(|words| Step::FillSegment(words * 8)),
        3 => (1usize..200).prop_map(Step::FullPages),
        1 => (1u32..4).prop_map(Step::Timeline),
        1 => any::<u64>().prop_map(Step::Prev),
        1 => any::<bool>().prop_map(Step::GiveUp),
        2 => any::<bool>().prop_map(Step::CrashAtPage),
        1 => (0u8..30, any::<u8>()).prop_map(|(manager, info)| Step::Empty(manager, info)),
    ]
}

fn build(magic: u16, steps: &[Step]) -> (Builder, Vec<u64>) {
    let mut builder = Builder::with_magic(magic);
    let mut before = Lsn::INVALID;
    let mut switches = Vec::new();
    for step in steps {
        let last = builder.last();
        match step {
            Step::Message(length) => drop(builder.message(*length)),
            Step::Commit => drop(builder.commit(7, 7)),
            Step::Checkpoint(timeline) => drop(builder.checkpoint(0x10, *timeline, 1)),
            Step::EndOfRecovery(timeline) => {
                switches.push(builder.end().bytes());
                builder.timeline(*timeline);
                builder.end_of_recovery(*timeline, 1);
            }
            Step::Switch => drop(builder.switch()),
            Step::FillPage => drop(builder.fill_page_if_room()),
            Step::FillSegment(left) => builder.fill_segment_but(*left),
            Step::FullPages(length) => drop(builder.fpw_change_of(24 + 2 + *length)),
            Step::Timeline(timeline) => {
                switches.push(builder.end().bytes());
                builder.timeline(*timeline);
            }
            Step::Prev(prev) => drop(builder.prev(Lsn::new(prev % (4 * MIB)))),
            Step::GiveUp(right) => drop(builder.give_up(if *right { last } else { before })),
            Step::CrashAtPage(right) => {
                let lost = builder.message(30_000);
                let page = lost.bytes().next_multiple_of(PAGE_SIZE as u64);
                builder.crash_at(Lsn::new(page.max(BEGIN + 8192)), last);
                builder.give_up(if *right { lost } else { before });
            }
            Step::Empty(manager, info) => drop(builder.raw(*manager, *info, 3, &[])),
        }
        before = last;
        if builder.end() > Lsn::new(5 * MIB) {
            break;
        }
    }
    if builder.end() == begin() {
        builder.commit(1, 1);
    }
    (builder, switches)
}

/// Where to write over bytes: close to a segment's begin or end, or anywhere.
fn any_edit() -> impl Strategy<Value = (prop::sample::Index, i64, Vec<u8>)> {
    let place = prop_oneof![
        4 => 0i64..48,
        4 => -64i64..0,
        2 => 0i64..200,
        2 => 8192i64..8192 + 64,
        2 => 0i64..1 << 20,
    ];
    let bytes = prop_oneof![
        proptest::collection::vec(any::<u8>(), 1..9),
        Just(vec![0; 64]),
        Just(vec![0]),
        (0u8..16).prop_map(|flags| vec![flags]),
    ];
    (any::<prop::sample::Index>(), place, bytes)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn joining_equals_reading_in_sequence(
        steps in proptest::collection::vec(any_step(), 1..40),
        magic in prop_oneof![6 => Just(0xD110u16), 1 => Just(0xD106), 1 => Just(0xD118)],
        edits in prop_oneof![
            2 => Just(Vec::new()),
            3 => proptest::collection::vec(any_edit(), 1..4),
        ],
        swap in proptest::option::weighted(0.1, (any::<prop::sample::Index>(), any::<prop::sample::Index>())),
        cut in proptest::option::weighted(0.1, (any::<prop::sample::Index>(), 0usize..1 << 20)),
        other in proptest::option::weighted(0.1, any::<prop::sample::Index>()),
        follow in any::<bool>(),
        known in any::<bool>(),
        start in prop_oneof![
            6 => Just(None),
            2 => any::<prop::sample::Index>().prop_map(Some),
        ],
        lost in 0usize..2,
    ) {
        let (builder, switches) = build(magic, &steps);
        let mut segments = builder.segments();
        for (which, place, bytes) in edits {
            let segment = which.index(segments.len());
            let segment = &mut segments[segment];
            let at = usize::try_from(place.rem_euclid(1 << 20)).unwrap();
            let end = (at + bytes.len()).min(segment.len());
            segment[at..end].copy_from_slice(&bytes[..end - at]);
        }
        if let Some((one, two)) = swap {
            let (one, two) = (one.index(segments.len()), two.index(segments.len()));
            segments.swap(one, two);
        }
        if let Some((which, length)) = cut {
            let which = which.index(segments.len());
            segments[which].truncate(length);
        }
        if let Some(which) = other {
            let (theirs, _) = build(0xD113, &steps);
            let theirs = theirs.segments();
            let which = which.index(segments.len().min(theirs.len()));
            segments[which].clone_from(&theirs[which]);
        }
        let whole = in_sequence(&options(begin()), &numbered(segments.clone(), SegmentNumber(1)));
        let start = start.and_then(|index: prop::sample::Index| {
            let records = &whole.records;
            (!records.is_empty()).then(|| records[index.index(records.len())].start)
        });
        let mut numbered = numbered(segments, SegmentNumber(1));
        let start = if let Some(start) = start {
            numbered.retain(|(number, _)| *number >= mib().segment_of(start));
            start
        } else {
            // Now and then from a later segment's begin, whatever stands there.
            let lost = lost.min(numbered.len() - 1);
            numbered.drain(..lost);
            Lsn::new(BEGIN + lost as u64 * MIB)
        };
        let options = WalStreamOptions {
            system_id: known.then_some(SYSTEM),
            history: if follow { child(&switches) } else { TimelineHistory::first() },
            ..options(start)
        };
        both(&options, &numbered);
    }
}
