//! One damage, one fault: each kind alone.

use super::builder::{main_data, record};
use super::*;
use crate::postgres::{HistoryEntry, SegmentNumber, TimelineId};

/// Three commits on the first page, a record over several pages, one more commit.
fn healthy() -> Builder {
    let mut builder = Builder::new();
    builder.commit(1, 1);
    builder.commit(2, 2);
    builder.commit(3, 3);
    builder.message(20_000);
    builder.commit(4, 4);
    builder.switch();
    builder
}

/// The first commit's offset in the first segment; a commit takes 40 bytes.
const FIRST: usize = 40;
const COMMIT: usize = 40;

/// Reads the healthy segment with one change.
fn damaged(change: impl FnOnce(&mut Vec<u8>)) -> Read {
    let mut segments = healthy().segments();
    change(&mut segments[0]);
    read_with(options(Lsn::new(1 << 20)), &segments)
}

fn lsn(offset: usize) -> Lsn {
    Lsn::new((1 << 20) + offset as u64)
}

#[test]
fn without_damage_there_is_no_fault() {
    let read = damaged(|_| ());
    assert_eq!(read.fault, None);
    assert_eq!(read.starts.len(), 6);
    assert_eq!(read.position.end, Lsn::new(2 << 20));
}

/// Writes over bytes at an offset.
fn put(segment: &mut [u8], at: usize, bytes: &[u8]) {
    segment[at..at + bytes.len()].copy_from_slice(bytes);
}

#[test]
fn page_faults() {
    let page = PAGE_SIZE;
    type Change = fn(&mut Vec<u8>);
    let cases: [(Change, WalFault); 15] = [
        (
            |segment| segment.truncate(1 << 19),
            WalFault::WrongSize {
                lsn: lsn(0),
                found: 1 << 19,
                expected: 1 << 20,
            },
        ),
        (
            |segment| segment.push(0),
            WalFault::WrongSize {
                lsn: lsn(0),
                found: (1 << 20) + 1,
                expected: 1 << 20,
            },
        ),
        (
            |segment| put(segment, 0, b"\x1f\x8b"),
            WalFault::BadMagic {
                lsn: lsn(0),
                found: 0x8B1F,
                expected_major: None,
            },
        ),
        (
            |segment| put(segment, PAGE_SIZE, &[0x0D, 0xD1]),
            WalFault::BadMagic {
                lsn: lsn(page),
                found: 0xD10D,
                expected_major: Some(15),
            },
        ),
        (
            |segment| segment[PAGE_SIZE + 2] |= 0x10,
            WalFault::BadPageFlags {
                lsn: lsn(page),
                found: 0x0015,
            },
        ),
        (
            |segment| segment[2] &= !0x02,
            WalFault::BadPageFlags {
                lsn: lsn(0),
                found: 0x0004,
            },
        ),
        (
            |segment| put(segment, PAGE_SIZE + 8, &0x80_2000_u64.to_le_bytes()),
            WalFault::WrongPageAddress {
                lsn: lsn(page),
                found: Lsn::new(0x80_2000),
            },
        ),
        (
            |segment| put(segment, 24, &77_u64.to_le_bytes()),
            WalFault::ForeignSystem {
                lsn: lsn(0),
                found: SystemId(77),
                expected: SYSTEM,
            },
        ),
        (
            |segment| put(segment, 32, &(16_u32 << 20).to_le_bytes()),
            WalFault::WrongSegmentSize {
                lsn: lsn(0),
                found: 16 << 20,
                expected: 1 << 20,
            },
        ),
        (
            |segment| put(segment, 36, &16_384_u32.to_le_bytes()),
            WalFault::WrongBlockSize {
                lsn: lsn(0),
                found: 16_384,
            },
        ),
        (
            |segment| segment[PAGE_SIZE + 4] = 2,
            WalFault::WrongTimeline {
                lsn: lsn(page),
                found: TimelineId(2),
                expected: TimelineId(1),
            },
        ),
        (
            |segment| segment[PAGE_SIZE..2 * PAGE_SIZE].fill(0),
            WalFault::UnexpectedZeros { lsn: lsn(page) },
        ),
        (
            |segment| segment[PAGE_SIZE + 2] &= !0x01,
            WalFault::BadContinuation {
                lsn: lsn(page),
                reason: ContinuationFault::Missing {
                    record: lsn(FIRST + 3 * COMMIT),
                },
            },
        ),
        (
            |segment| put(segment, PAGE_SIZE + 16, &9_000_u32.to_le_bytes()),
            WalFault::BadContinuation {
                lsn: lsn(page),
                reason: ContinuationFault::Length {
                    record: lsn(FIRST + 3 * COMMIT),
                    found: 9_000,
                    expected: 20_029 - 8_032,
                },
            },
        ),
        (
            |segment| segment[2] |= 0x01,
            WalFault::BadContinuation {
                lsn: lsn(0),
                reason: ContinuationFault::Unexpected,
            },
        ),
    ];
    for (change, expected) in cases {
        let read = damaged(change);
        assert_eq!(read.fault.as_ref(), Some(&expected));
        assert!(!expected.to_string().is_empty());
        if expected.lsn() == lsn(page) {
            // Recovery ends behind the last commit that was complete.
            assert_eq!(read.position.end, lsn(FIRST + 3 * COMMIT));
            assert_eq!(read.position.last_record, Some(lsn(FIRST + 2 * COMMIT)));
        }
    }
}

#[test]
fn record_faults() {
    let second = FIRST + COMMIT;
    type Change = fn(&mut Vec<u8>);
    let cases: [(Change, WalFault); 8] = [
        (
            |segment| put(segment, FIRST + COMMIT, &23_u32.to_le_bytes()),
            WalFault::BadLength {
                lsn: lsn(second),
                found: 23,
            },
        ),
        (
            |segment| put(segment, FIRST + COMMIT, &u32::MAX.to_le_bytes()),
            WalFault::BadLength {
                lsn: lsn(second),
                found: u32::MAX,
            },
        ),
        (
            |segment| put(segment, FIRST + COMMIT, &0_u32.to_le_bytes()),
            WalFault::BadLength {
                lsn: lsn(second),
                found: 0,
            },
        ),
        (
            |segment| segment[FIRST + COMMIT + 17] = 22,
            WalFault::BadResourceManager {
                lsn: lsn(second),
                found: 22,
            },
        ),
        (
            |segment| put(segment, FIRST + COMMIT + 8, &16_u64.to_le_bytes()),
            WalFault::BadPrev {
                lsn: lsn(second),
                found: Lsn::new(16),
                expected: Some(lsn(FIRST)),
            },
        ),
        (
            |segment| put(segment, FIRST + 8, &(2_u64 << 20).to_le_bytes()),
            WalFault::BadPrev {
                lsn: lsn(FIRST),
                found: Lsn::new(2 << 20),
                expected: None,
            },
        ),
        (
            |segment| segment[FIRST + COMMIT..PAGE_SIZE].fill(0),
            WalFault::UnexpectedZeros { lsn: lsn(second) },
        ),
        (
            |segment| {
                put(
                    segment,
                    FIRST + COMMIT,
                    &record(1, 0, 2, (1 << 20) + 40, &[255, 9, 1]),
                )
            },
            WalFault::BadBody {
                lsn: lsn(second),
                reason: BodyFault::Length,
            },
        ),
    ];
    for (change, expected) in cases {
        let read = damaged(change);
        assert_eq!(read.fault.as_ref(), Some(&expected));
        assert!(!expected.to_string().is_empty());
        assert_eq!(
            read.starts.len(),
            usize::from(expected.lsn() == lsn(second))
        );
    }
    let crc = damaged(|segment| segment[second + 30] ^= 0x04);
    assert!(
        matches!(crc.fault, Some(WalFault::BadCrc { lsn: at, found, computed })
            if at == lsn(second) && found != computed)
    );
    let long = damaged(|segment| segment[PAGE_SIZE + 500] ^= 0x04);
    assert!(
        matches!(long.fault, Some(WalFault::BadCrc { lsn: at, .. }) if at == lsn(FIRST + 3 * COMMIT))
    );
}

#[test]
fn body_faults() {
    let block = |id: u8, flags: u8, length: u16| {
        let mut bytes = vec![id, flags];
        bytes.extend(length.to_le_bytes());
        bytes
    };
    let locator = [1_u8; 12];
    let number = [0_u8; 4];
    let cases = [
        (vec![100], BodyFault::UnknownPart),
        (block(0, 0x20, 0), BodyFault::BlockFlags),
        (block(0, 0x00, 4), BodyFault::BlockFlags),
        (
            [block(0, 0x80, 0), number.to_vec()].concat(),
            BodyFault::NoRelation,
        ),
        (
            [
                block(1, 0, 0),
                locator.to_vec(),
                number.to_vec(),
                block(1, 0x80, 0),
                number.to_vec(),
            ]
            .concat(),
            BodyFault::BlockOrder,
        ),
        (vec![255, 2, 1], BodyFault::Length),
        (vec![254, 1, 0], BodyFault::Length),
    ];
    for (body, reason) in cases {
        let mut builder = Builder::new();
        let at = builder.raw(10, 0, 5, &body);
        let fault = read(&builder).fault;
        assert_eq!(
            fault,
            Some(WalFault::BadBody { lsn: at, reason }),
            "{body:?}"
        );
    }
    // A commit without its time.
    let mut builder = Builder::new();
    let at = builder.raw(1, 0, 5, &main_data(&[1, 2, 3]));
    let reason = BodyFault::Content;
    assert_eq!(
        read(&builder).fault,
        Some(WalFault::BadBody { lsn: at, reason })
    );
}

#[test]
fn segments_out_of_order_or_of_another_place() {
    let mut builder = Builder::new();
    builder.message(3_000_000);
    builder.commit(1, 1);
    let segments = builder.segments();
    let mut stream = WalStream::new(options(builder.begin()));
    let mut ignore = |_: &WalRecord<'_>| ControlFlow::Continue(());
    assert!(matches!(
        stream.push_segment(SegmentNumber(2), &segments[1], &mut ignore),
        Err(WalFault::OutOfOrder { .. })
    ));
    // Two neighbours that stand under each other's names.
    let swapped = [
        segments[0].clone(),
        segments[2].clone(),
        segments[1].clone(),
    ];
    let read = read_with(options(builder.begin()), &swapped);
    assert!(matches!(
        read.fault,
        Some(WalFault::WrongPageAddress { .. })
    ));
    assert!(read.position.incomplete);
}

/// A segment whose content is whole in itself, but follows another history.
#[test]
fn the_chain_holds_across_segments() {
    let mut builder = Builder::new();
    builder.commit(1, 1);
    builder.switch();
    let mut other = builder.clone();
    builder.commit(2, 2);
    builder.switch();
    other.prev(lsn(FIRST)).commit(2, 2);
    other.switch();
    let mixed = [builder.segments()[0].clone(), other.segments()[1].clone()];
    assert!(matches!(
        read_with(options(builder.begin()), &mixed).fault,
        Some(WalFault::BadPrev {
            expected: Some(_),
            ..
        })
    ));
    // Alone, nothing tells.
    let alone = read_with(options(Lsn::new(2 << 20)), &mixed[1..]);
    assert_eq!(alone.fault, None);
}

#[test]
fn reading_cannot_begin_within_a_record() {
    for start in [8, 44, PAGE_SIZE + 16, PAGE_SIZE + 24, PAGE_SIZE + 800] {
        let read = read_with(options(lsn(start)), &healthy().segments());
        assert_eq!(
            read.fault,
            Some(WalFault::BadStart { lsn: lsn(start) }),
            "{start}"
        );
        assert_eq!(read.position.end, lsn(start));
    }
}

#[test]
fn a_cut_off_record_must_be_given_up() {
    let cut = |give_up: Option<u64>| {
        let mut builder = Builder::new();
        let complete = builder.commit(1, 1);
        let lost = builder.message(30_000);
        builder.crash_at(lsn(PAGE_SIZE), complete);
        match give_up {
            Some(shift) => builder.give_up(Lsn::new(lost.bytes() + shift)),
            None => builder.commit(2, 2),
        };
        (read(&builder), lost)
    };
    let (read_none, lost) = cut(None);
    assert_eq!(
        read_none.fault,
        Some(WalFault::BadContinuation {
            lsn: lsn(PAGE_SIZE + 24),
            reason: ContinuationFault::NotOverwritten { record: lost },
        })
    );
    let (read_wrong, lost) = cut(Some(8));
    let found = Lsn::new(lost.bytes() + 8);
    assert_eq!(
        read_wrong.fault,
        Some(WalFault::BadContinuation {
            lsn: lsn(PAGE_SIZE + 24),
            reason: ContinuationFault::WrongOverwrite { found },
        })
    );
    // Without a cut there is nothing to give up.
    let mut builder = Builder::new();
    builder.commit(1, 1);
    let at = builder.give_up(Lsn::new(40));
    assert!(matches!(
        read(&builder).fault,
        Some(WalFault::BadContinuation { lsn, .. }) if lsn == at
    ));
}

fn child_of_first(switch_lsn: Lsn) -> TimelineHistory {
    TimelineHistory {
        timeline: TimelineId(2),
        ancestors: vec![HistoryEntry {
            timeline: TimelineId(1),
            switch_lsn,
            reason: String::new(),
        }],
    }
}

fn read_child(builder: &Builder, switch_lsn: Lsn) -> Option<WalFault> {
    let options = WalStreamOptions {
        history: child_of_first(switch_lsn),
        ..options(builder.begin())
    };
    read_with(options, &builder.segments()).fault
}

#[test]
fn the_parents_wal_does_not_pass_for_the_childs() {
    let mut builder = Builder::new();
    builder.commit(1, 1);
    let switch = builder.end();
    let next = builder.commit(2, 2);
    builder.switch();
    // The page still names the parent, rightly: only the record can tell.
    assert_eq!(
        read_child(&builder, switch),
        Some(WalFault::TimelineNotBegun {
            lsn: next,
            timeline: TimelineId(2),
        })
    );
    assert_eq!(
        read_child(&builder, Lsn::new(switch.bytes() - 8)),
        Some(WalFault::BadSwitchPoint {
            lsn: Lsn::new(switch.bytes() - 8),
            record: lsn(FIRST),
            end: switch,
        })
    );

    let mut builder = Builder::new();
    builder.commit(1, 1);
    let switch = builder.end();
    let next = builder.checkpoint(0x00, 1, 1);
    assert_eq!(
        read_child(&builder, switch),
        Some(WalFault::WrongTimeline {
            lsn: next,
            found: TimelineId(1),
            expected: TimelineId(2),
        })
    );

    // A later page of the parent's.
    let mut builder = Builder::new();
    builder.commit(1, 1);
    let switch = builder.end();
    builder.checkpoint(0x00, 2, 1);
    builder.message(20_000);
    assert_eq!(
        read_child(&builder, switch),
        Some(WalFault::WrongTimeline {
            lsn: lsn(PAGE_SIZE),
            found: TimelineId(1),
            expected: TimelineId(2),
        })
    );
}

#[test]
fn the_end_of_an_unfinished_segment_is_told_from_damage() {
    let zeros = WalFault::UnexpectedZeros { lsn: lsn(0) };
    let recycled = WalFault::WrongPageAddress {
        lsn: lsn(PAGE_SIZE),
        found: lsn(0),
    };
    let ahead = WalFault::WrongPageAddress {
        lsn: lsn(0),
        found: lsn(PAGE_SIZE),
    };
    assert!(zeros.looks_like_end_of_wal() && recycled.looks_like_end_of_wal());
    assert!(!ahead.looks_like_end_of_wal());
}
