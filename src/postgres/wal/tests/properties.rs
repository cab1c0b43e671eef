//! Whatever the bytes, there is an answer; and no flipped bit in a record goes unseen.

use proptest::prelude::*;

use super::*;
use crate::postgres::SegmentNumber;

/// Records of any mix of lengths, over up to three segments.
fn any_wal() -> impl Strategy<Value = Builder> {
    let lengths = prop_oneof![
        20 => 0usize..400,
        5 => 400usize..20_000,
        1 => 900_000usize..1_300_000,
    ];
    proptest::collection::vec((lengths, 0u8..12), 1..60).prop_map(|records| {
        let mut builder = Builder::new();
        for (index, (length, kind)) in records.into_iter().enumerate() {
            let xid = u32::try_from(index).unwrap();
            match kind {
                0 => builder.switch(),
                1 => builder.fill_page_if_room(),
                2..5 => builder.commit(xid, i64::from(xid)),
                5 => builder.checkpoint(0x10, 1, 1),
                _ => builder.message(length),
            };
            if builder.end() > Lsn::new(4 << 20) {
                break;
            }
        }
        builder
    })
}

/// The byte ranges of records, by their position in the WAL.
fn record_bytes(builder: &Builder) -> Vec<(Lsn, Vec<u64>)> {
    let mut records = Vec::new();
    let mut stream = WalStream::new(options(begin()));
    for segment in builder.segments() {
        let number = stream.next_segment();
        let _ = stream.push_segment(number, &segment, &mut |record| {
            let mut bytes = Vec::new();
            let mut at = record.start.bytes();
            while bytes.len() < record.len() {
                if at.is_multiple_of(PAGE_SIZE as u64) {
                    at += if at.is_multiple_of(MIB) { 40 } else { 24 };
                }
                bytes.push(at);
                at += 1;
            }
            records.push((record.start, bytes));
            ControlFlow::Continue(())
        });
    }
    records
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn healthy_wal_is_read_whole(builder in any_wal()) {
        let read = read(&builder);
        prop_assert!(
            read.fault.as_ref().is_none_or(|fault| fault.lsn() >= builder.end()
                && fault.looks_like_end_of_wal()),
            "{:?}", read.fault
        );
        prop_assert_eq!(read.position.last_record, Some(builder.last()));
        prop_assert_eq!(read.position.end, builder.end());
        prop_assert!(!read.position.incomplete);
    }

    #[test]
    fn a_flipped_bit_in_a_record_is_noticed_there(
        builder in any_wal(),
        which in any::<prop::sample::Index>(),
        byte in any::<prop::sample::Index>(),
        bit in 0u8..8,
    ) {
        let records = record_bytes(&builder);
        let (start, bytes) = &records[which.index(records.len())];
        let at = bytes[byte.index(bytes.len())];
        let mut segments = builder.segments();
        let offset = usize::try_from(at % MIB).unwrap();
        let segment = usize::try_from(at / MIB - 1).unwrap();
        segments[segment][offset] ^= 1 << bit;
        let read = read_with(options(begin()), &segments);
        prop_assert!(read.fault.is_some());
        prop_assert!(!read.starts.contains(start));
        let before = records.iter().take_while(|(other, _)| other < start).count();
        prop_assert_eq!(read.starts.len(), before);
    }

    #[test]
    fn damage_of_any_kind_is_answered(
        builder in any_wal(),
        edits in proptest::collection::vec(
            (any::<prop::sample::Index>(), any::<u64>(), 1usize..9), 0..20),
        cut in any::<prop::sample::Index>(),
        shorten in any::<bool>(),
        start in 0u64..3 << 20,
    ) {
        let mut segments = builder.segments();
        for (place, value, length) in edits {
            let segment = place.index(segments.len());
            let at = place.index(segments[segment].len() - 8);
            let bytes = value.to_le_bytes();
            segments[segment][at..at + length.min(8)].copy_from_slice(&bytes[..length.min(8)]);
        }
        if shorten {
            let length = cut.index(segments[0].len());
            segments[0].truncate(length);
        }
        let _ = read_with(options(begin()), &segments);
        let _ = read_with(options(Lsn::new((1 << 20) + start)), &segments);
        for segment in &segments {
            let _ = first_record(segment);
            let _ = read_first_page(segment);
        }
    }

    #[test]
    fn random_bytes_are_answered(
        head in proptest::collection::vec(any::<u8>(), 0..4096),
        start in any::<u64>(),
        number in any::<u64>(),
    ) {
        let _ = read_first_page(&head);
        let _ = first_record(&head);
        let mut segment = Builder::new().segments().pop().unwrap_or_default();
        segment.extend(&head);
        segment.resize(1 << 20, 0xD1);
        for start in [start, u64::MAX, u64::MAX - 8, (1 << 20) + (start & 0xFFFF)] {
            let mut stream = WalStream::new(options(Lsn::new(start)));
            let due = stream.next_segment();
            let _ = stream.push_segment(due, &segment, &mut |_| ControlFlow::Continue(()));
            let _ = stream.push_segment(SegmentNumber(number), &segment, &mut |_| ControlFlow::Continue(()));
        }
    }

    /// Behind a right checksum anything may stand: decoding must still answer.
    #[test]
    fn any_body_is_answered(
        body in proptest::collection::vec(any::<u8>(), 0..300),
        manager in prop_oneof![0u8..23, Just(1), any::<u8>()],
        info in any::<u8>(),
        magic in proptest::sample::select(vec![0xD106u16, 0xD10D, 0xD110, 0xD113, 0xD116, 0xD118, 0xD122]),
        whole in any::<bool>(),
    ) {
        let mut builder = Builder::with_magic(magic);
        if whole {
            builder.record(manager, info, 9, &body);
        } else {
            builder.raw(manager, info, 9, &body);
        }
        let segments = builder.segments();
        let mut stream = WalStream::new(options(begin()));
        let number = stream.next_segment();
        let _ = stream.push_segment(number, &segments[0], &mut |record| {
            let may_be = event::may_be_event(record.resource_manager, record.info);
            assert!(may_be || record.event().is_none());
            assert!(record.blocks().count() <= 33);
            assert!(record.main_data().len() <= record.body.len());
            ControlFlow::Continue(())
        });
    }
}
