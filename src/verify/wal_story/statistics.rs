//! Who wrote how much, and when it was committed.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::postgres::wal::{WalEvent, WalRecord, resource_manager_name};

use super::super::CommitPoint;

/// The width of a bucket at first.
const MINUTE: i64 = 60;
/// More buckets than this are joined, ten at a time.
const BUCKETS: usize = 20_000;
/// Restore points that are kept.
const RESTORE_POINTS: usize = 256;

/// What one resource manager wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ManagerStatistics {
    /// As `pg_waldump` names it; `custom-NNN` for those of extensions.
    pub name: String,
    /// Records.
    pub records: u64,
    /// Bytes of records, full-page images among them, without padding and page headers.
    pub bytes: u64,
    /// Full-page images.
    pub images: u64,
    /// Bytes of full-page images.
    pub image_bytes: u64,
}

/// Commits within a stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Bucket {
    /// When it begins.
    pub begin: DateTime<Utc>,
    /// Commits by the server's clock within it.
    pub commits: u64,
}

/// A named restore point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NamedPoint {
    /// Its name.
    pub name: String,
    /// Where its record begins.
    pub lsn: crate::postgres::Lsn,
    /// When it was made.
    pub time: DateTime<Utc>,
}

/// What the records of a range tell. Memory: 20,000 buckets, 256 resource managers and
/// restore points.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WalStatistics {
    /// By the number of the resource manager.
    pub managers: BTreeMap<u8, ManagerStatistics>,
    /// Transactions committed.
    pub commits: u64,
    /// Transactions rolled back.
    pub aborts: u64,
    /// Checkpoints completed.
    pub checkpoints: u64,
    /// Segments that were ended early (`archive_timeout`, `pg_switch_wal`).
    pub switches: u64,
    /// The first commit.
    pub first_commit: Option<CommitPoint>,
    /// The last commit.
    pub last_commit: Option<CommitPoint>,
    /// The width of a bucket in seconds.
    pub bucket_seconds: i64,
    /// Commits over time, by [`Self::over_time`]; only stretches with commits.
    #[serde(skip)]
    buckets: BTreeMap<i64, u64>,
    /// Restore points, the first 256.
    pub restore_points: Vec<NamedPoint>,
}

impl Default for WalStatistics {
    fn default() -> Self {
        Self {
            managers: BTreeMap::new(),
            commits: 0,
            aborts: 0,
            checkpoints: 0,
            switches: 0,
            first_commit: None,
            last_commit: None,
            bucket_seconds: MINUTE,
            buckets: BTreeMap::new(),
            restore_points: Vec::new(),
        }
    }
}

impl WalStatistics {
    /// Takes in a record. Commits, rollbacks and restore points whose time `holds` not are
    /// left out.
    pub fn take(&mut self, record: &WalRecord<'_>, holds: impl Fn(DateTime<Utc>) -> bool) {
        let id = record.resource_manager;
        let manager = self
            .managers
            .entry(id)
            .or_insert_with(|| ManagerStatistics {
                name: resource_manager_name(id)
                    .map_or_else(|| format!("custom-{id}"), str::to_owned),
                ..ManagerStatistics::default()
            });
        manager.records += 1;
        manager.bytes += record.len() as u64;
        for image in record.blocks().filter_map(|block| block.image) {
            manager.images += 1;
            manager.image_bytes += u64::from(image.length);
        }
        match record.event() {
            Some(WalEvent::Commit { xid, time, .. }) if holds(time) => {
                self.commits += 1;
                let commit = CommitPoint {
                    lsn: record.start,
                    end: record.end,
                    xid,
                    time,
                };
                self.first_commit.get_or_insert(commit);
                self.last_commit = Some(commit);
                let bucket = time.timestamp().div_euclid(self.bucket_seconds);
                *self.buckets.entry(bucket).or_default() += 1;
                if self.buckets.len() > BUCKETS {
                    self.join_buckets(10);
                }
            }
            Some(WalEvent::Abort { time, .. }) if holds(time) => self.aborts += 1,
            Some(WalEvent::Checkpoint { .. }) => self.checkpoints += 1,
            Some(WalEvent::Switch) => self.switches += 1,
            Some(WalEvent::RestorePoint { name, time })
                if holds(time) && self.restore_points.len() < RESTORE_POINTS =>
            {
                self.restore_points.push(NamedPoint {
                    name,
                    lsn: record.start,
                    time,
                });
            }
            _ => {}
        }
    }

    fn join_buckets(&mut self, times: i64) {
        self.bucket_seconds = self.bucket_seconds.saturating_mul(times);
        for (bucket, commits) in std::mem::take(&mut self.buckets) {
            *self.buckets.entry(bucket.div_euclid(times)).or_default() += commits;
        }
    }

    /// Commits over time, oldest first, in at most `most` buckets that each begin at a
    /// multiple of their width; with their width in seconds.
    pub fn over_time(&self, most: usize) -> (i64, Vec<Bucket>) {
        /// Widths that people count in.
        const WIDTHS: &[i64] = &[
            60, 300, 600, 1_800, 3_600, 10_800, 21_600, 43_200, 86_400, 604_800, 2_592_000,
        ];
        let span = |width: i64| {
            let at = |bucket: i64| bucket.saturating_mul(self.bucket_seconds).div_euclid(width);
            match (
                self.buckets.first_key_value(),
                self.buckets.last_key_value(),
            ) {
                (Some((first, _)), Some((last, _))) => {
                    usize::try_from(at(*last).saturating_sub(at(*first)).saturating_add(1))
                        .unwrap_or(usize::MAX)
                }
                _ => 0,
            }
        };
        let width = WIDTHS
            .iter()
            .copied()
            .find(|width| *width >= self.bucket_seconds && span(*width) <= most)
            .unwrap_or(31_536_000);
        let mut joined: BTreeMap<i64, u64> = BTreeMap::new();
        for (bucket, commits) in &self.buckets {
            let begin = bucket.saturating_mul(self.bucket_seconds);
            *joined.entry(begin.div_euclid(width)).or_default() += commits;
        }
        let buckets = joined
            .into_iter()
            .filter_map(|(bucket, commits)| {
                let begin = DateTime::from_timestamp(bucket.saturating_mul(width), 0)?;
                Some(Bucket { begin, commits })
            })
            .collect();
        (width, buckets)
    }
}
