//! Healthy WAL in every shape that pages and segments give it.

use super::*;
use crate::postgres::{HistoryEntry, SegmentNumber, TimelineId};

/// All records are read, and the position is behind the last.
fn assert_whole(builder: &Builder, records: usize) -> Read {
    let read = read(builder);
    assert!(
        read.fault.as_ref().is_none_or(|fault| *fault
            == WalFault::UnexpectedZeros { lsn: fault.lsn() }
            && fault.lsn() >= builder.end()),
        "{:?}",
        read.fault
    );
    assert_eq!(read.starts.len(), records);
    assert_eq!(read.position.last_record, Some(builder.last()));
    read
}

#[test]
fn a_record_at_every_distance_from_the_page_end() {
    // From a header that fits wholly to one of which eight bytes fit.
    for left in (8..=64).step_by(8) {
        let mut builder = Builder::new();
        let room = PAGE_SIZE - 40;
        builder.message(room - left - 24 - 5);
        assert_eq!(
            builder.end(),
            Lsn::new((1 << 20) + (PAGE_SIZE - left) as u64)
        );
        builder.message(100);
        builder.commit(7, 1);
        let read = assert_whole(&builder, 3);
        assert_eq!(read.ends[1], read.starts[2]);
        assert_eq!(read.position.end, builder.end());
    }
}

#[test]
fn a_record_that_fills_its_page_ends_at_the_next_page() {
    let mut builder = Builder::new();
    builder.fill_page();
    let page = builder.end();
    builder.commit(7, 1);
    let read = assert_whole(&builder, 2);
    assert_eq!(read.ends[0], page);
    assert_eq!(read.starts[1].bytes(), page.bytes() + 24);

    // The page's begin stands for the record behind its header.
    let again = read_with(options(page), &builder.segments());
    assert_eq!(again.starts, read.starts[1..]);
}

#[test]
fn a_record_longer_than_two_segments() {
    let mut builder = Builder::new();
    builder.commit(6, 1);
    let long = builder.message(2_500_000);
    builder.commit(7, 2);
    let read = assert_whole(&builder, 3);
    assert_eq!(read.starts[1], long);
    let segments = builder.segments();
    assert_eq!(segments.len(), 3);
    let cut = read_with(options(builder.begin()), &segments[..2]);
    assert!(cut.position.incomplete);
    assert_eq!(cut.position.end, read.ends[0]);
    assert_eq!(first_record(&segments[1]), Ok(None));
    assert_eq!(first_record(&segments[2]), Ok(Some(read.starts[2])));
}

#[test]
fn a_switch_ends_with_its_segment_whatever_stands_behind_it() {
    let mut builder = Builder::new();
    builder.commit(7, 1);
    builder.switch();
    let end = builder.end();
    let after = builder.commit(8, 2);
    let read = assert_whole(&builder, 3);
    assert_eq!(read.ends[1], end);
    assert_eq!(read.starts[2], after);

    let mut segments = builder.segments();
    for byte in segments[0].iter_mut().skip(PAGE_SIZE) {
        *byte = 0xAA;
    }
    assert_eq!(
        read_with(options(builder.begin()), &segments).starts.len(),
        3
    );
}

#[test]
fn a_switch_that_is_the_last_record_of_its_segment() {
    let mut builder = Builder::new();
    for _ in 0..127 {
        builder.fill_page();
    }
    // The header and the record before leave exactly the switch's 24 bytes.
    builder.message(PAGE_SIZE - 24 - 29 - 24);
    builder.switch();
    assert_eq!(builder.end(), Lsn::new(2 << 20));
    builder.commit(8, 2);
    let read = assert_whole(&builder, 130);
    assert_eq!(read.ends[128], Lsn::new(2 << 20));
}

#[test]
fn a_switch_split_by_the_segment_border_ends_with_the_next_segment() {
    let mut builder = Builder::new();
    for _ in 0..127 {
        builder.fill_page();
    }
    builder.message(PAGE_SIZE - 24 - 29 - 8);
    builder.switch();
    assert_eq!(builder.end(), Lsn::new(3 << 20));
    builder.commit(8, 2);
    let read = assert_whole(&builder, 130);
    assert_eq!(read.ends[128], Lsn::new(3 << 20));
}

#[test]
fn reading_may_begin_in_the_middle() {
    let mut builder = Builder::new();
    builder.commit(1, 1);
    builder.message(20_000);
    let middle = builder.commit(2, 2);
    builder.message(2_000_000);
    builder.commit(3, 3);
    let read = read_with(options(middle), &builder.segments());
    assert_eq!(read.starts.len(), 3);
    assert_eq!(read.starts[0], middle);
}

#[test]
fn a_visitor_may_stop_and_go_on() {
    let mut builder = Builder::new();
    builder.fill_page();
    builder.commit(1, 1);
    builder.message(20_000);
    builder.commit(2, 2);
    builder.switch();
    builder.commit(3, 3);
    let segments = builder.segments();
    let whole = read(&builder);
    let mut stream = WalStream::new(options(builder.begin()));
    let mut starts = Vec::new();
    while starts.len() < whole.starts.len() {
        let number = stream.next_segment();
        let index = usize::try_from(number.0 - 1).unwrap();
        stream
            .push_segment(number, &segments[index], &mut |record| {
                starts.push(record.start);
                ControlFlow::Break(())
            })
            .unwrap();
        assert_eq!(stream.position().last_record, starts.last().copied());
    }
    assert_eq!(starts, whole.starts);
}

#[test]
fn a_record_that_a_crash_cut_off_is_given_up() {
    let mut builder = Builder::new();
    let complete = builder.commit(1, 1);
    let lost = builder.message(30_000);
    builder.crash_at(Lsn::new((1 << 20) + 2 * PAGE_SIZE as u64), complete);
    builder.give_up(lost);
    builder.commit(2, 2);
    let read = assert_whole(&builder, 3);
    assert!(!read.starts.contains(&lost));

    // At a segment border, with the cut before what is read.
    let mut builder = Builder::new();
    let complete = builder.commit(1, 1);
    let lost = builder.message(3_000_000);
    builder.crash_at(Lsn::new(2 << 20), complete);
    let begin = builder.end();
    builder.give_up(lost);
    builder.commit(2, 2);
    assert_whole(&builder, 3);
    let segments = builder.segments();
    let read = read_with(options(begin), &segments[1..]);
    assert_eq!(read.starts.len(), 2);
}

/// Two timelines: the child begins where the parent's last record ends.
fn promoted(fill: usize) -> (Builder, TimelineHistory) {
    let mut builder = Builder::new();
    builder.commit(1, 1);
    builder.message(fill);
    let switch_lsn = builder.end();
    builder.timeline(2);
    builder.end_of_recovery(2, 1);
    builder.message(20_000);
    builder.commit(2, 2);
    let history = TimelineHistory {
        timeline: TimelineId(2),
        ancestors: vec![HistoryEntry {
            timeline: TimelineId(1),
            switch_lsn,
            reason: String::new(),
        }],
    };
    (builder, history)
}

#[test]
fn the_path_crosses_to_a_child_timeline() {
    // In the middle of a page, at a page's end, and at a segment's end.
    let page = PAGE_SIZE - 40 - 34 - 6 - 24 - 5;
    let mut segment = 1_030_000;
    loop {
        let end = promoted(segment).1.ancestors[0].switch_lsn;
        match (2_u64 << 20).checked_sub(end.bytes()) {
            Some(0) => break,
            missing => segment += usize::try_from(missing.unwrap()).unwrap().min(8_000),
        }
    }
    for fill in [100, page, segment] {
        let (builder, history) = promoted(fill);
        let read = read_with(
            WalStreamOptions {
                history: history.clone(),
                ..options(builder.begin())
            },
            &builder.segments(),
        );
        assert_eq!(read.starts.len(), 5, "{fill}: {:?}", read.fault);
        assert!(read.events.iter().any(|event| matches!(
            event,
            WalEvent::EndOfRecovery {
                timeline: TimelineId(2),
                previous_timeline: TimelineId(1),
                ..
            }
        )));
        // From the switch point itself, as a base backup of the child may.
        let switch = history.ancestors[0].switch_lsn;
        let segments = builder.segments();
        let skip = usize::try_from(mib().segment_of(switch).0 - 1).unwrap();
        let child = read_with(
            WalStreamOptions {
                history,
                ..options(switch)
            },
            &segments[skip..],
        );
        assert_eq!(child.starts, read.starts[2..]);
    }
}

#[test]
fn the_first_page_is_read_without_knowing_anything() {
    let mut builder = Builder::new();
    builder.commit(1, 1);
    let segments = builder.segments();
    let first = read_first_page(&segments[0][..40]).unwrap();
    assert_eq!(first.major, 15);
    assert_eq!(first.system_id, SYSTEM);
    assert_eq!(first.segment_size, mib());
    assert_eq!(first.address, SegmentNumber(1).begin_lsn(mib()));
    assert_eq!(first.timeline, TimelineId(1));
    assert!(matches!(
        read_first_page(&segments[0][..39]),
        Err(WalFault::WrongSize { .. } | WalFault::UnexpectedZeros { .. })
    ));
}
