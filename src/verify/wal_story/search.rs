//! When something happened, and which position is just before it.

use std::collections::{BTreeMap, VecDeque};

use chrono::{DateTime, Duration, Utc};
use serde::Serialize;

use crate::postgres::Lsn;
use crate::postgres::wal::{RelationLocator, WalEvent, WalRecord};

use super::super::CommitPoint;
use super::names::RelationNames;

/// Hits that are kept; the others are counted.
const HITS: usize = 10_000;
/// Relations of one transaction that are kept.
const RELATIONS: usize = 1_000;
/// Open transactions whose new files are remembered; the oldest are forgotten first.
const OPEN: usize = 100_000;

/// What is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Transactions that dropped, truncated or rewrote relations: these files, as database
    /// (`None` for any) and file number; all files if the list is empty.
    Drops(Vec<(Option<u32>, u32)>),
    /// Named restore points; of this name, or all.
    RestorePoints(Option<String>),
    /// Commits at most this long before or after a moment.
    Around {
        /// The moment.
        time: DateTime<Utc>,
        /// How far from it.
        within: Duration,
    },
    /// The end of one transaction.
    Transaction(u32),
}

/// What a hit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HitKind {
    /// A transaction committed.
    Commit,
    /// A transaction was rolled back.
    Abort,
    /// A named restore point.
    RestorePoint,
}

/// What became of a relation's file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RelationHit {
    /// The file.
    #[serde(flatten)]
    pub file: RelationLocator,
    /// Its name, where a catalog told it.
    pub name: Option<String>,
}

/// One thing that was looked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hit {
    /// What it is.
    pub kind: HitKind,
    /// Where its record begins. A recovery to this position, exclusive, ends just before.
    pub lsn: Lsn,
    /// The position after its record.
    pub end: Lsn,
    /// When, by the server's clock.
    pub time: DateTime<Utc>,
    /// The transaction; 0 for a restore point.
    pub xid: u32,
    /// The restore point's name.
    pub name: Option<String>,
    /// The files that it removed; at most 1,000.
    pub dropped: Vec<RelationHit>,
    /// How many files it removed.
    pub dropped_files: u64,
    /// How many files the same transaction had made before: where there are some, it
    /// truncated or rewrote relations (`TRUNCATE`, `VACUUM FULL`, `CLUSTER`, `ALTER TABLE`)
    /// rather than only dropped them.
    pub created_files: u64,
    /// The last commit before it.
    pub commit_before: Option<CommitPoint>,
}

/// What a search found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SearchReport {
    /// The first 10,000, in the order of the WAL.
    pub hits: Vec<Hit>,
    /// How many there were.
    pub count: u64,
    /// Of [`Wanted::Around`] without a hit: the last commit not after the moment.
    pub nearest_before: Option<CommitPoint>,
    /// Of [`Wanted::Around`]: the first commit after the moment.
    pub nearest_after: Option<CommitPoint>,
}

/// A search in progress.
#[derive(Debug)]
pub struct Search {
    wanted: Wanted,
    names: RelationNames,
    last_commit: Option<CommitPoint>,
    /// Files that open transactions have made.
    created: BTreeMap<u32, u64>,
    order: VecDeque<u32>,
    found: SearchReport,
}

impl Search {
    /// A search; `names` only decorate what is found.
    pub fn new(wanted: Wanted, names: RelationNames) -> Self {
        Self {
            wanted,
            names,
            last_commit: None,
            created: BTreeMap::new(),
            order: VecDeque::new(),
            found: SearchReport::default(),
        }
    }

    /// Takes in a record. What happened at a time that `holds` not is no hit.
    pub fn take(&mut self, record: &WalRecord<'_>, holds: impl Fn(DateTime<Utc>) -> bool) {
        let Some(event) = record.event() else {
            return;
        };
        match event {
            WalEvent::Commit {
                xid,
                time,
                dropped_relations,
                ..
            } => {
                let commit = CommitPoint {
                    lsn: record.start,
                    end: record.end,
                    xid,
                    time,
                };
                self.ended(HitKind::Commit, commit, &dropped_relations, holds(time));
                self.last_commit = Some(commit);
            }
            WalEvent::Abort { xid, time, .. } => {
                let end = CommitPoint {
                    lsn: record.start,
                    end: record.end,
                    xid,
                    time,
                };
                self.ended(HitKind::Abort, end, &[], holds(time));
            }
            WalEvent::RelationCreate { fork: 0, .. } => self.made(record.xid),
            WalEvent::RestorePoint { name, time } => {
                if let Wanted::RestorePoints(wanted) = &self.wanted
                    && wanted.as_ref().is_none_or(|wanted| *wanted == name)
                    && holds(time)
                {
                    self.hit(Hit {
                        kind: HitKind::RestorePoint,
                        lsn: record.start,
                        end: record.end,
                        time,
                        xid: 0,
                        name: Some(name),
                        dropped: Vec::new(),
                        dropped_files: 0,
                        created_files: 0,
                        commit_before: self.last_commit,
                    });
                }
            }
            _ => {}
        }
    }

    /// A file was made by a transaction that is still open.
    fn made(&mut self, xid: u32) {
        if let Some(count) = self.created.get_mut(&xid) {
            *count += 1;
            return;
        }
        if self.order.len() >= OPEN
            && let Some(oldest) = self.order.pop_front()
        {
            self.created.remove(&oldest);
        }
        self.created.insert(xid, 1);
        self.order.push_back(xid);
    }

    fn ended(
        &mut self,
        kind: HitKind,
        end: CommitPoint,
        dropped: &[RelationLocator],
        counts: bool,
    ) {
        let created_files = self.created.remove(&end.xid).unwrap_or_default();
        if created_files > 0 {
            self.order.retain(|xid| *xid != end.xid);
        }
        let committed = kind == HitKind::Commit;
        let wanted = match &self.wanted {
            Wanted::Drops(files) => {
                committed
                    && dropped.iter().any(|file| {
                        files.is_empty()
                            || files.iter().any(|(database, relation)| {
                                *relation == file.relation
                                    && database.is_none_or(|database| database == file.database)
                            })
                    })
            }
            Wanted::RestorePoints(_) => false,
            Wanted::Around { time, within } => {
                if committed && end.time <= *time {
                    self.found.nearest_before = Some(end);
                } else if committed {
                    self.found.nearest_after.get_or_insert(end);
                }
                committed && (end.time - *time).abs() <= *within
            }
            Wanted::Transaction(xid) => *xid == end.xid,
        };
        if !(wanted && counts) {
            return;
        }
        let named = dropped
            .iter()
            .take(RELATIONS)
            .map(|file| RelationHit {
                file: *file,
                name: self.names.of(*file).map(str::to_owned),
            })
            .collect();
        self.hit(Hit {
            kind,
            lsn: end.lsn,
            end: end.end,
            time: end.time,
            xid: end.xid,
            name: None,
            dropped: named,
            dropped_files: dropped.len() as u64,
            created_files,
            commit_before: self.last_commit,
        });
    }

    fn hit(&mut self, hit: Hit) {
        self.found.count += 1;
        if self.found.hits.len() < HITS {
            self.found.hits.push(hit);
        }
    }

    /// What was found.
    pub fn finish(self) -> SearchReport {
        self.found
    }
}
