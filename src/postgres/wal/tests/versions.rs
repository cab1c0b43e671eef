//! Where the majors differ.

use super::*;
use crate::postgres::wal::version::KNOWN_MAJORS;

const MAGICS: [(u16, u32); 6] = [
    (0xD106, 13),
    (0xD10D, 14),
    (0xD110, 15),
    (0xD113, 16),
    (0xD116, 17),
    (0xD118, 18),
];

#[test]
fn every_known_major_is_told_by_its_magic() {
    assert_eq!((MAGICS[0].1, MAGICS[5].1), KNOWN_MAJORS);
    for (magic, major) in MAGICS {
        let mut builder = Builder::with_magic(magic);
        builder.commit(1, 1);
        let segments = builder.segments();
        assert_eq!(read_first_page(&segments[0]).unwrap().major, major);
        let mut stream = WalStream::new(options(begin()));
        assert_eq!(stream.major(), None);
        let number = stream.next_segment();
        let _ = stream.push_segment(number, &segments[0], &mut |record| {
            assert_eq!(record.major(), major);
            ControlFlow::Continue(())
        });
        assert_eq!(stream.major(), Some(major));
    }
}

#[test]
fn extensions_resource_managers_are_legal_since_15() {
    for (magic, major) in MAGICS {
        let mut builder = Builder::with_magic(magic);
        builder.record(200, 0, 1, b"theirs");
        let accepted = !read(&builder).starts.is_empty();
        assert_eq!(accepted, major >= 15, "{major}");
    }
}

/// An image of 100 bytes with flags, in a record of any major.
fn image(magic: u16, flags: u8, extra: &[u8]) -> Option<BlockImage> {
    let mut body = vec![0, 0x10, 0, 0];
    body.extend(100_u16.to_le_bytes());
    body.extend(50_u16.to_le_bytes());
    body.push(flags);
    body.extend(extra);
    body.extend([7; 12]);
    body.extend(9_u32.to_le_bytes());
    body.extend([0xEE; 100]);
    let mut builder = Builder::with_magic(magic);
    builder.raw(10, 0, 1, &body);
    let mut found = None;
    let mut stream = WalStream::new(options(begin()));
    let number = stream.next_segment();
    let _ = stream.push_segment(number, &builder.segments()[0], &mut |record| {
        let blocks: Vec<_> = record.blocks().collect();
        assert_eq!(blocks.len(), 1);
        assert_eq!(blocks[0].block, 9);
        assert_eq!(blocks[0].relation.relation, 0x0707_0707);
        assert_eq!(record.main_data(), b"");
        found = blocks[0].image;
        ControlFlow::Continue(())
    });
    found
}

#[test]
fn image_flags_moved_in_15() {
    // Has a hole, is compressed, is to be applied.
    let old = image(0xD10D, 0x01 | 0x02 | 0x04, &[3, 0]).unwrap();
    assert!(old.apply && old.compressed);
    assert!(!image(0xD10D, 0x01, &[]).unwrap().apply);
    for method in [0x04, 0x08, 0x10] {
        let new = image(0xD110, 0x01 | 0x02 | method, &[3, 0]).unwrap();
        assert!(new.apply && new.compressed);
        let no_hole = image(0xD110, 0x02 | method, &[]).unwrap();
        assert!(no_hole.apply && no_hole.compressed);
    }
    let plain = image(0xD110, 0x01, &[]).unwrap();
    assert!(!plain.apply && !plain.compressed);
}

#[test]
fn the_top_level_xid_exists_since_14() {
    for (magic, major) in MAGICS {
        let mut builder = Builder::with_magic(magic);
        builder.raw(10, 0, 2, &[252, 1, 0, 0, 0, 255, 1, 9]);
        let read = read(&builder);
        if major >= 14 {
            assert_eq!(read.starts.len(), 1);
        } else {
            assert!(matches!(
                read.fault,
                Some(WalFault::BadBody {
                    reason: BodyFault::UnknownPart,
                    ..
                })
            ));
        }
    }
}

/// COMMIT PREPARED with every part that stands before the prepared transaction's xid.
#[test]
fn dropped_statistics_are_passed_over_by_their_size() {
    for (magic, major) in MAGICS {
        let mut data = 77_i64.to_le_bytes().to_vec();
        let statistics = if major >= 15 { 1_u32 << 8 } else { 0 };
        data.extend((0b1_1111 | statistics).to_le_bytes());
        data.extend([0; 8]);
        data.extend(2_u32.to_le_bytes());
        data.extend([0; 8]);
        data.extend(1_u32.to_le_bytes());
        data.extend([5, 0, 0, 0, 6, 0, 0, 0, 7, 0, 0, 0]);
        if major >= 15 {
            data.extend(3_u32.to_le_bytes());
            data.extend(vec![0xFF; 3 * if major >= 18 { 16 } else { 12 }]);
        }
        data.extend(1_u32.to_le_bytes());
        data.extend([0xEE; 16]);
        data.extend(4711_u32.to_le_bytes());
        let mut builder = Builder::with_magic(magic);
        builder.record(1, 0x30 | 0x80, 0, &data);
        let events = read(&builder).events;
        assert!(
            matches!(&events[..], [WalEvent::Commit { xid: 4711, prepared: true, dropped_relations, .. }]
                if dropped_relations[0].to_string() == "5/6/7"),
            "{major}: {events:?}"
        );
    }
}

#[test]
fn the_name_of_a_prepared_transaction_moved_in_15() {
    for (magic, major) in MAGICS {
        let (length_at, name_at) = if major >= 15 { (54, 72) } else { (46, 64) };
        let mut data = vec![0; name_at];
        data[8..12].copy_from_slice(&99_u32.to_le_bytes());
        data[length_at] = 6;
        data.extend(b"pay-1\0..");
        let mut builder = Builder::with_magic(magic);
        builder.record(1, 0x10, 99, &data);
        let events = read(&builder).events;
        assert!(
            matches!(&events[..], [WalEvent::Prepare { xid: 99, gid, .. }] if gid == "pay-1"),
            "{major}: {events:?}"
        );
    }
}

#[test]
fn the_preview_has_its_own_flags_managers_and_checkpoints() {
    let preview = 0xD122;
    let mut builder = Builder::with_magic(preview);
    let complete = builder.commit(1, 1);
    let lost = builder.message(30_000);
    builder.crash_at(Lsn::new((1 << 20) + PAGE_SIZE as u64), complete);
    builder.give_up(lost);
    builder.record(22, 0, 0, b"checksums");
    let mut data = vec![0xEE; 96];
    data[0..8].copy_from_slice(&0x10_0028_u64.to_le_bytes());
    data[8..12].copy_from_slice(&1_u32.to_le_bytes());
    data[12..16].copy_from_slice(&1_u32.to_le_bytes());
    data[32..40].copy_from_slice(&0x1_0000_02DD_u64.to_le_bytes());
    data[72..80].copy_from_slice(&1_790_000_000_i64.to_le_bytes());
    builder.record(0, 0x10, 0, &data);
    let checkpoint = builder.record(0, 0x10, 0, &data[..95]);
    let read = read(&builder);
    assert_eq!(read.starts.len(), 4);
    assert!(matches!(
        read.events[2],
        WalEvent::Checkpoint { redo, next_xid: 0x1_0000_02DD, time, .. }
            if redo == Lsn::new(0x10_0028) && time.timestamp() == 1_790_000_000
    ));
    assert_eq!(
        read.fault,
        Some(WalFault::BadBody {
            lsn: checkpoint,
            reason: BodyFault::Content
        })
    );
    let mut segments = builder.segments();
    assert_eq!(read_first_page(&segments[0]).unwrap().major, PREVIEW_MAJOR);
    segments[0][PAGE_SIZE + 2] |= 0x08;
    assert!(matches!(
        read_with(options(begin()), &segments).fault,
        Some(WalFault::BadPageFlags { .. })
    ));
    // What it has is nothing that the others have.
    for (magic, _) in MAGICS {
        let mut builder = Builder::with_magic(magic);
        builder.record(22, 0, 0, b"checksums");
        assert!(
            read_with(options(begin()), &builder.segments())
                .starts
                .is_empty()
        );
    }
}
