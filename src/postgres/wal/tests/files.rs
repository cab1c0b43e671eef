//! Records about files, whole and cut short.

use super::*;

const OLD: u16 = 0xD10D;
const NEW: u16 = 0xD110;

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// The event of a record with such data. With its last byte gone, the record is refused.
fn event(magic: u16, manager: u8, info: u8, data: &[u8]) -> WalEvent {
    let mut builder = Builder::with_magic(magic);
    builder.record(manager, info, 9, data);
    let mut events = read(&builder).events;
    assert_eq!(events.len(), 1);

    let mut builder = Builder::with_magic(magic);
    let at = builder.record(manager, info, 9, &data[..data.len() - 1]);
    assert_eq!(
        read(&builder).fault,
        Some(WalFault::BadBody {
            lsn: at,
            reason: BodyFault::Content
        })
    );
    events.remove(0)
}

/// A kind that is no event.
fn no_event(magic: u16, manager: u8, info: u8, data: &[u8]) {
    let mut builder = Builder::with_magic(magic);
    builder.record(manager, info, 9, data);
    let read = read(&builder);
    assert_eq!((read.starts.len(), read.events.len()), (1, 0));
}

#[test]
fn relations_are_made_and_cut() {
    let relation = RelationLocator {
        tablespace: 1663,
        database: 5,
        relation: 16384,
    };
    assert_eq!(
        event(NEW, 2, 0x10, &words(&[1663, 5, 16384, 3])),
        WalEvent::RelationCreate { relation, fork: 3 }
    );
    for (flags, main, visibility_map, free_space_map) in [
        (7, true, true, true),
        (1, true, false, false),
        (4, false, false, true),
    ] {
        assert_eq!(
            event(NEW, 2, 0x20, &words(&[12, 1663, 5, 16384, flags])),
            WalEvent::RelationTruncate {
                relation,
                blocks: 12,
                main,
                visibility_map,
                free_space_map,
            }
        );
    }
    no_event(NEW, 2, 0x30, &[]);
    let mut builder = Builder::new();
    builder.record(2, 0x10, 9, &words(&[1663, 5, 16384, 4]));
    assert!(read(&builder).fault.is_some_and(|fault| matches!(
        fault,
        WalFault::BadBody {
            reason: BodyFault::Content,
            ..
        }
    )));
}

#[test]
fn databases_are_made_and_dropped_differently_since_15() {
    let directory = |tablespace, database| DatabaseDirectory {
        tablespace,
        database,
    };
    for magic in [OLD, NEW] {
        assert_eq!(
            event(magic, 4, 0x00, &words(&[16400, 1663, 1, 1700])),
            WalEvent::DatabaseCreate {
                directory: directory(1663, 16400),
                copied_from: Some(directory(1700, 1)),
            }
        );
    }
    assert_eq!(
        event(NEW, 4, 0x10, &words(&[16400, 1663])),
        WalEvent::DatabaseCreate {
            directory: directory(1663, 16400),
            copied_from: None,
        }
    );
    for (magic, info) in [(OLD, 0x10), (NEW, 0x20)] {
        assert_eq!(
            event(magic, 4, info, &words(&[16400, 2, 1663, 1700])),
            WalEvent::DatabaseDrop {
                database: 16400,
                tablespaces: vec![1663, 1700],
            }
        );
    }
    no_event(OLD, 4, 0x20, &[]);
}

#[test]
fn tables_and_maps_are_replaced() {
    for flags in 0..4_u32 {
        assert_eq!(
            event(NEW, 10, 0x30, &words(&[5, 2, flags, 16390, 16400])),
            WalEvent::TableTruncate {
                database: 5,
                tables: vec![16390, 16400],
                cascade: flags & 1 != 0,
                restart_sequences: flags & 2 != 0,
            }
        );
    }
    no_event(NEW, 10, 0x00, &[]);
    no_event(NEW, 10, 0x20, &[]);
    assert_eq!(
        event(
            NEW,
            7,
            0x00,
            &[words(&[0, 1664, 3]), vec![1, 2, 3]].concat()
        ),
        WalEvent::RelationMapUpdate {
            tablespace: 1664,
            database: 0,
        }
    );
    // A count that no record can hold.
    for (manager, info, at) in [(10, 0x30, 1), (4, 0x20, 1), (7, 0x00, 2)] {
        let mut data = [9_u32; 6];
        data[at] = u32::MAX;
        let mut builder = Builder::new();
        builder.record(manager, info, 9, &words(&data));
        assert!(matches!(
            read(&builder).fault,
            Some(WalFault::BadBody {
                reason: BodyFault::Content,
                ..
            })
        ));
    }
}

#[test]
fn a_page_is_replaced_by_an_image_that_is_applied_or_by_a_new_one() {
    let replaced = |flags: u8, image: Option<u8>| {
        let mut body = vec![0, flags, 0, 0];
        if let Some(info) = image {
            body.extend([4, 0, 0, 0, info]);
        }
        body.extend([7; 12]);
        body.extend(9_u32.to_le_bytes());
        if image.is_some() {
            body.extend([0xEE; 4]);
        }
        let mut builder = Builder::new();
        builder.raw(10, 0, 1, &body);
        let mut found = None;
        let mut stream = WalStream::new(options(begin()));
        let number = stream.next_segment();
        let _ = stream.push_segment(number, &builder.segments()[0], &mut |record| {
            found = record.blocks().next().map(|block| block.replaces_page());
            ControlFlow::Continue(())
        });
        found
    };
    assert_eq!(replaced(0, None), Some(false));
    assert_eq!(replaced(0x40, None), Some(true));
    assert_eq!(replaced(0x10, Some(0x02)), Some(true));
    assert_eq!(replaced(0x10, Some(0x00)), Some(false));
}
