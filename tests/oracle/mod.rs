//! Real PostgreSQL servers and their own tools, as the second opinion on what we read.
#![allow(
    dead_code,
    reason = "each test binary compiles this module and uses a part of it"
)]

pub(crate) mod server;
pub(crate) mod waldump;
pub(crate) mod workload;

use std::path::{Path, PathBuf};

use walproof::postgres::{SegmentName, SegmentSize, TimelineId};

/// The segments of a timeline in a `pg_wal` directory, in order, with their numbers.
pub(crate) fn segments(
    pg_wal: &Path,
    timeline: TimelineId,
    size: SegmentSize,
) -> Vec<(walproof::postgres::SegmentNumber, PathBuf)> {
    let mut found: Vec<_> = std::fs::read_dir(pg_wal)
        .unwrap()
        .filter_map(|entry| {
            let entry = entry.unwrap();
            let name: SegmentName = entry.file_name().to_str()?.parse().ok()?;
            (name.timeline == timeline).then(|| (name.number(size).unwrap(), entry.path()))
        })
        .collect();
    found.sort();
    found
}
