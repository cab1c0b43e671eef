//! The memory that a large catalog takes. Alone in its process, because the peak of a
//! process's memory is what is measured.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests fail by panicking"
)]

use chrono::DateTime;
use walproof::codec::Codec;
use walproof::postgres::{SegmentName, SegmentNumber, SegmentSize, TimelineId, WalFileName};
use walproof::repository::barman_cloud::inventory::WalCollector;
use walproof::repository::barman_cloud::keys::{Key, wal_key};

fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Keys as a store lists them, in an order that no run can be built from at once.
#[test]
fn a_million_objects_take_less_than_150_mb() {
    const OBJECTS: u64 = 1_000_000;
    let size = SegmentSize::DEFAULT;
    let mut collector = WalCollector::new();
    for index in 0..OBJECTS {
        // A step that is coprime with the count visits every number once.
        let number = SegmentNumber(index * 7_368_787 % OBJECTS);
        let name = SegmentName::new(TimelineId(1), number, size);
        let key = wal_key(WalFileName::Segment(name), Codec::Gzip);
        let Key::Wal { name, codec } = Key::parse(&key) else {
            panic!("{key}");
        };
        collector.add(name, codec, 4_000_000, DateTime::UNIX_EPOCH);
    }
    let inventory = collector.finish(size);
    let wal = &inventory.timelines[&TimelineId(1)];
    assert_eq!(wal.runs.len(), 1);
    assert_eq!(wal.count(), OBJECTS);
    let peak = peak_kib();
    println!(
        "peak resident memory for {OBJECTS} objects: {} MiB",
        peak / 1024
    );
    assert!(peak < 150_000_000 / 1024, "{peak} KiB");
}

/// The worst case for runs: every second segment is missing.
#[test]
fn a_million_gaps_also_fit() {
    const OBJECTS: u64 = 1_000_000;
    let size = SegmentSize::DEFAULT;
    let mut collector = WalCollector::new();
    for number in 0..OBJECTS {
        let name = SegmentName::new(TimelineId(1), SegmentNumber(number * 2), size);
        collector.add(
            WalFileName::Segment(name),
            Codec::None,
            16 << 20,
            DateTime::UNIX_EPOCH,
        );
    }
    let inventory = collector.finish(size);
    assert_eq!(inventory.timelines[&TimelineId(1)].runs.len(), 1_000_000);
    let peak = peak_kib();
    assert!(peak < 150_000_000 / 1024, "{peak} KiB");
}
