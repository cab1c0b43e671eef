//! What is in WAL, below the codec. Without other word the damage is in a segment that only
//! recovery past the newest base backup needs.

use std::ops::Range;

use super::{Ground, Hit, Kind, found, harmless};
use crate::common::wal_bytes::{self, PAGE, Record};

const PART: &str = "WAL, below the codec";

/// A record in the middle of the segment that lies within its page, with one behind it there.
fn pair(segment: &[u8]) -> (Record, Record) {
    let records = wal_bytes::records(segment);
    let half = records.len() / 2;
    records[half..]
        .windows(2)
        .find(|pair| {
            pair[0].bytes.start / PAGE == pair[1].bytes.start / PAGE
                && pair[0].bytes.len() >= 60
                && pair[1].bytes.len() >= 60
        })
        .map(|pair| (pair[0].clone(), pair[1].clone()))
        .expect("no two records beside each other")
}

/// The commit in the middle of the segment.
fn commit(segment: &[u8]) -> Record {
    let records = wal_bytes::records(segment);
    let commits: Vec<_> = records
        .into_iter()
        .filter(|record| record.manager == 1 && record.info & 0x70 == 0)
        .collect();
    commits[commits.len() / 2].clone()
}

/// Where a page begins that a record goes on into.
fn continued(segment: &[u8]) -> usize {
    (PAGE..segment.len())
        .step_by(PAGE)
        .find(|&page| segment[page + 2] & 1 != 0)
        .unwrap()
}

fn half(segment: &[u8]) -> usize {
    (segment.len() / 2).next_multiple_of(PAGE)
}

fn put(segment: &mut [u8], at: usize, bytes: &[u8]) {
    segment[at..at + bytes.len()].copy_from_slice(bytes);
}

fn corrupt(name: &'static str, damage: fn(&Ground) -> Hit) -> Kind {
    found(PART, name, "wal-corrupt", damage)
}

fn two(ground: &Ground) -> [String; 2] {
    let later = ground.later();
    let at = later.len() / 2;
    [&later[at], &later[at + 1]].map(|name| ground.tree.wal_key(name))
}

pub(super) fn kinds() -> Vec<Kind> {
    let mut kinds = records();
    kinds.extend(pages());
    kinds.extend(segments());
    kinds.extend(harmless_ones());
    kinds
}

fn records() -> Vec<Kind> {
    vec![
        corrupt("one bit of a record flipped", |ground| {
            ground
                .change_middle(|wal| {
                    let (record, _) = pair(wal);
                    wal[record.bytes.end - 3] ^= 0x10;
                })
                .into()
        }),
        corrupt("one bit of a full-page image flipped", |ground| {
            // The image of a checkpoint's first change: the longest record of a segment.
            let name = ground.field(ground.newest(), "begin_wal");
            let key = ground.tree.wal_key(&name);
            ground.tree.change_inside(&key, |wal| {
                let page = (PAGE..wal.len())
                    .step_by(PAGE)
                    .find(|&page| {
                        let rest =
                            u32::from_le_bytes(wal[page + 16..page + 20].try_into().unwrap());
                        rest > 2000
                    })
                    .unwrap();
                wal[page + 1000] ^= 1;
            });
            key.into()
        }),
        corrupt("`xl_prev` of a record wrong, its CRC right", |ground| {
            ground
                .change_middle(|wal| {
                    let (record, _) = pair(wal);
                    wal[record.bytes.start + 8] ^= 0x08;
                    wal_bytes::seal(wal, &record.bytes);
                })
                .into()
        }),
        corrupt(
            "`xl_prev` of a segment's first record wrong, its CRC right",
            |ground| {
                let later = ground.later();
                let (key, record) = later[1..later.len() - 1]
                    .iter()
                    .find_map(|name| {
                        let key = ground.tree.wal_key(name);
                        let wal = ground.decoded(&key);
                        let first = wal_bytes::records(&wal).into_iter().next()?;
                        (first.bytes.start < PAGE).then_some((key, first))
                    })
                    .unwrap();
                ground.tree.change_inside(&key, |wal| {
                    wal[record.bytes.start + 8] ^= 0x08;
                    wal_bytes::seal(wal, &record.bytes);
                });
                key.into()
            },
        ),
        corrupt("a record's length wrong, its CRC right", |ground| {
            ground
                .change_middle(|wal| {
                    let (record, next) = pair(wal);
                    let longer = record.bytes.start..record.bytes.end + 8;
                    assert!(longer.end < next.bytes.end);
                    let length = u32::try_from(longer.len()).unwrap();
                    put(wal, longer.start, &length.to_le_bytes());
                    wal_bytes::seal(wal, &longer);
                })
                .into()
        }),
        corrupt("a record's length beyond all reason", |ground| {
            ground
                .change_middle(|wal| {
                    let (record, _) = pair(wal);
                    put(wal, record.bytes.start, &[0xF0, 0xFF, 0xFF, 0x7F]);
                })
                .into()
        }),
        corrupt("a record doubled over the one behind it", |ground| {
            ground
                .change_middle(|wal| {
                    let (record, next) = pair(wal);
                    let copy = wal[record.bytes.clone()].to_vec();
                    put(wal, next.bytes.start, &copy);
                })
                .into()
        }),
        corrupt("a record taken out, those behind it moved up", |ground| {
            ground
                .change_middle(|wal| {
                    let (record, next) = pair(wal);
                    let end = (record.bytes.start / PAGE + 1) * PAGE;
                    let by = next.bytes.start - record.bytes.start;
                    wal.copy_within(next.bytes.start..end, record.bytes.start);
                    wal[end - by..end].fill(0);
                })
                .into()
        }),
        corrupt(
            "block references of a record garbled, its CRC right",
            |ground| {
                ground
                    .change_middle(|wal| {
                        let records = wal_bytes::records(wal);
                        let heap = records.iter().filter(|record| record.manager == 10);
                        let heap: Vec<_> = heap.collect();
                        let record = heap[heap.len() / 2].clone();
                        // The length of block 0's data: two bytes behind its id and fork.
                        wal[record.bytes.start + 24 + 3] ^= 0x40;
                        wal_bytes::seal(wal, &record.bytes);
                    })
                    .into()
            },
        ),
    ]
}

fn pages() -> Vec<Kind> {
    vec![
        corrupt("a WAL page of zeros", |ground| {
            ground
                .change_middle(|wal| {
                    let at = half(wal);
                    wal[at..at + PAGE].fill(0);
                })
                .into()
        }),
        corrupt("zeros from the middle of a segment on", |ground| {
            ground
                .change_middle(|wal| {
                    let at = half(wal);
                    wal[at..].fill(0);
                })
                .into()
        }),
        corrupt("two pages of a segment swapped", |ground| {
            ground
                .change_middle(|wal| {
                    let at = half(wal);
                    let page = wal[at..at + PAGE].to_vec();
                    wal.copy_within(at + PAGE..at + 2 * PAGE, at);
                    put(wal, at + PAGE, &page);
                })
                .into()
        }),
        corrupt("a page doubled over the one behind it", |ground| {
            ground
                .change_middle(|wal| {
                    let at = half(wal);
                    wal.copy_within(at..at + PAGE, at + PAGE);
                })
                .into()
        }),
        corrupt("half a page of zeros", |ground| {
            ground
                .change_middle(|wal| {
                    let at = half(wal) + PAGE / 2;
                    wal[at..at + PAGE / 2].fill(0);
                })
                .into()
        }),
        corrupt("a page's address wrong", |ground| {
            ground
                .change_middle(|wal| {
                    let at = half(wal);
                    wal[at + 10] ^= 0x10;
                })
                .into()
        }),
        corrupt("a page's magic wrong", |ground| {
            ground
                .change_middle(|wal| {
                    let at = half(wal);
                    wal[at] ^= 0x01;
                })
                .into()
        }),
        found(
            PART,
            "a page's timeline wrong",
            "history-contradictory",
            |ground| {
                ground.change_middle(|wal| {
                    let at = half(wal);
                    wal[at + 4] = 7;
                });
                Hit {
                    object: "00000002.history".to_owned(),
                    detail: ground.middle(),
                }
            },
        ),
        corrupt("the rest of a continued record told wrong", |ground| {
            ground
                .change_middle(|wal| {
                    let page = continued(wal);
                    wal[page + 16] ^= 0x08;
                })
                .into()
        }),
        corrupt(
            "a continued record's page says that none goes on",
            |ground| {
                ground
                    .change_middle(|wal| {
                        let page = continued(wal);
                        wal[page + 2] &= !1;
                        wal[page + 16..page + 20].fill(0);
                    })
                    .into()
            },
        ),
        found(
            PART,
            "a segment's first page tells another segment size",
            "wal-unreadable",
            |ground| ground.change_middle(|wal| wal[34] ^= 0x30).into(),
        ),
        found(
            PART,
            "a segment's first page tells another block size",
            "wal-unreadable",
            |ground| ground.change_middle(|wal| wal[37] ^= 0x60).into(),
        ),
    ]
}

fn segments() -> Vec<Kind> {
    vec![
        corrupt("a segment of zeros", |ground| {
            ground.change_middle(|wal| wal.fill(0)).into()
        }),
        corrupt("an older segment's bytes under a newer name", |ground| {
            let name = ground.field(ground.newest(), "begin_wal");
            let older = ground.tree.wal_key(&name);
            ground.store_middle(&ground.tree.read(&older)).into()
        }),
        corrupt("an older segment's bytes from the middle on", |ground| {
            let name = ground.field(ground.newest(), "begin_wal");
            let older = ground.decoded(&ground.tree.wal_key(&name));
            ground
                .change_middle(|wal| {
                    let at = half(wal);
                    put(wal, at, &older[at..]);
                })
                .into()
        }),
        corrupt("two neighbouring segments swapped", |ground| {
            let [one, other] = two(ground);
            ground.tree.swap(&one, &other);
            one.into()
        }),
        corrupt("a segment doubled under the next one's name", |ground| {
            let [one, other] = two(ground);
            ground.tree.write(&other, &ground.tree.read(&one));
            other.into()
        }),
        corrupt(
            "the parent's segment under the new timeline's name",
            |ground| {
                let later = ground.tree.segments_of(2)[1].clone();
                let key = ground.tree.wal_key(&later);
                let parent = ground.middle_key();
                ground.tree.write(&key, &ground.tree.read(&parent));
                key.into()
            },
        ),
        found(
            PART,
            "a segment of another database system",
            "wal-foreign",
            |ground| ground.change_middle(|wal| wal[24] ^= 1).into(),
        ),
        found(
            PART,
            "a segment of half its size",
            "wal-unreadable",
            |ground| {
                ground
                    .change_middle(|wal| wal.truncate(wal.len() / 2))
                    .into()
            },
        ),
        found(
            PART,
            "a segment longer than its size",
            "wal-unreadable",
            |ground| ground.change_middle(|wal| wal.extend([0; 4096])).into(),
        ),
        corrupt("a record of the newest segment damaged", |ground| {
            let key = ground.last_key();
            ground.tree.change_inside(&key, |wal| {
                let record = wal_bytes::records(wal)[1].clone();
                wal[record.bytes.end - 3] ^= 0x10;
            });
            key.into()
        }),
        corrupt(
            "a record damaged that the older base backup needs",
            |ground| {
                let name = ground.field(ground.older(), "end_wal");
                let name = following(ground, &name);
                let key = ground.tree.wal_key(&name);
                ground.tree.change_inside(&key, |wal| {
                    let (record, _) = pair(wal);
                    wal[record.bytes.end - 3] ^= 0x10;
                });
                key.into()
            },
        ),
        corrupt(
            "a record damaged between a base backup's begin and end",
            |ground| {
                let key = ground
                    .tree
                    .wal_key(&ground.field(ground.newest(), "begin_wal"));
                let begin = usize::try_from(ground.lsn(ground.newest(), "begin_xlog")).unwrap();
                ground.tree.change_inside(&key, |wal| {
                    let at = begin % wal.len();
                    let record = wal_bytes::records(wal)
                        .into_iter()
                        .find(|record| record.bytes.start > at)
                        .unwrap();
                    wal[record.bytes.end - 1] ^= 1;
                });
                key.into()
            },
        ),
        found(
            PART,
            "the new timeline's first segment does not repeat its parent's bytes",
            "history-contradictory",
            |ground| {
                let first = ground.tree.segments_of(2)[0].clone();
                let key = ground.tree.wal_key(&first);
                ground.tree.change_inside(&key, |wal| {
                    let record = wal_bytes::records(wal)[0].clone();
                    let xid = record.bytes.start + 4;
                    wal[xid] ^= 1;
                    wal_bytes::seal(wal, &record.bytes);
                });
                Hit {
                    object: "00000002.history".to_owned(),
                    detail: first,
                }
            },
        ),
    ]
}

/// The segment behind that one.
fn following(ground: &Ground, name: &str) -> String {
    let segments = ground.tree.segments_of(1);
    let at = segments.iter().position(|segment| segment == name).unwrap();
    segments[at + 1].clone()
}

fn harmless_ones() -> Vec<Kind> {
    const PART: &str = "WAL that only looks damaged";
    vec![
        harmless(PART, "untouched", |_| Hit::default()),
        harmless(PART, "old bytes behind a SWITCH record", |ground| {
            let (key, at) = switched(ground);
            ground.tree.change_inside(&key, |wal| {
                let old = wal[..PAGE].to_vec();
                let first = at.end.next_multiple_of(PAGE);
                for page in (first..wal.len()).step_by(PAGE) {
                    put(wal, page, &old);
                }
            });
            key.into()
        }),
        harmless(
            PART,
            "a commit an hour before the one in front of it",
            |ground| {
                ground
                    .change_middle(|wal| {
                        let record = commit(wal);
                        let at = wal_bytes::main_data(wal, &record).unwrap();
                        let time = i64::from_le_bytes(wal[at..at + 8].try_into().unwrap());
                        let earlier = time - 3_600_000_000;
                        put(wal, at, &earlier.to_le_bytes());
                        wal_bytes::seal(wal, &record.bytes);
                    })
                    .into()
            },
        ),
        harmless(PART, "the removable flag of a page set", |ground| {
            ground
                .change_middle(|wal| {
                    let at = half(wal);
                    wal[at + 2] |= 4;
                })
                .into()
        }),
    ]
}

/// A segment of timeline 1 that a SWITCH ended, and the record.
fn switched(ground: &Ground) -> (String, Range<usize>) {
    ground
        .later()
        .iter()
        .find_map(|name| {
            let key = ground.tree.wal_key(name);
            let wal = ground.decoded(&key);
            let last = wal_bytes::records(&wal).pop()?;
            let switch = last.manager == 0 && last.info & 0xF0 == 0x40;
            (switch && last.bytes.end + 3 * PAGE < wal.len()).then_some((key, last.bytes))
        })
        .expect("no segment was switched early")
}
