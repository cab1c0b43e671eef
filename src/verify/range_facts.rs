//! Collecting what recovery over a range would need and meet.

use std::collections::{BTreeMap, VecDeque};

use chrono::{DateTime, Duration, Utc};

use crate::finding::{Code, Finding};
use crate::postgres::wal::{ParameterChange, WalEvent, WalPosition, WalRecord};
use crate::postgres::{Lsn, TimelineId, WalLevel};

use super::CommitPoint;
use super::range_report::{
    ClockStep, PreparedTransaction, RangeReport, RestorePoint, StopReason, TablespaceEvent,
};
use super::wal_range::RangeProgress;
use super::words::{count, length, utc};

const COMMITS: usize = 64;
const NAMED: usize = 256;
const PREPARED: usize = 4096;
const STEPS: usize = 64;

/// How many steps are remembered, so that those which no restore meets can be left out.
const STEPS_KEPT: usize = 4096;

/// How many changes of settings are remembered: one is written when a server starts with
/// other settings than before.
const CHANGES: usize = 4096;

/// Commit times are taken a moment before their records are written, so neighbours may
/// be out of order by that much without any clock having stepped.
const JITTER: Duration = Duration::seconds(1);

/// What was seen so far. Memory: the bounded lists.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) records: u64,
    commits: u64,
    first_commit: Option<CommitPoint>,
    last_commits: VecDeque<CommitPoint>,
    latest: Option<DateTime<Utc>>,
    pub(super) settings: Option<ParameterChange>,
    changes: Vec<(Lsn, Lsn, ParameterChange)>,
    created: Vec<TablespaceEvent>,
    dropped: Vec<TablespaceEvent>,
    minimal: Option<(Lsn, Lsn, String)>,
    pub(super) restore_points: Vec<RestorePoint>,
    pub(super) prepared: BTreeMap<u32, String>,
    clock_steps: Vec<ClockStep>,
    pub(super) clock_steps_count: u64,
    findings: Vec<(Lsn, Lsn, Finding)>,
}

impl Facts {
    /// Takes in one record of the object `key`.
    pub(super) fn take(&mut self, record: &WalRecord<'_>, key: &str) {
        self.records += 1;
        if let Some(event) = record.event() {
            self.take_event(record.start, record.end, &event, key);
        }
    }

    /// Takes in what one record of the object `key` means. Counts no record.
    pub(super) fn take_event(&mut self, start: Lsn, end: Lsn, event: &WalEvent, key: &str) {
        match event {
            WalEvent::Commit {
                xid,
                time,
                prepared,
                ..
            } => {
                if *prepared {
                    self.prepared.remove(xid);
                }
                self.commit(CommitPoint {
                    lsn: start,
                    end,
                    xid: *xid,
                    time: *time,
                });
            }
            WalEvent::Abort {
                xid,
                prepared: true,
                ..
            } => {
                self.prepared.remove(xid);
            }
            WalEvent::Prepare { xid, gid, .. } if self.prepared.len() < PREPARED => {
                self.prepared.insert(*xid, gid.clone());
            }
            WalEvent::ParameterChange(change) => self.settings((start, end), *change, key),
            WalEvent::TablespaceCreate { oid, location } => {
                // One without a location lies within the data directory.
                if !location.is_empty() {
                    let message =
                        format!("tablespace {oid} is created at {start} in directory {location}");
                    self.tablespace((start, end), Code::WalTablespaceCreated, message, key);
                }
                if self.created.len() < NAMED {
                    self.created.push(TablespaceEvent {
                        lsn: start,
                        oid: *oid,
                        location: location.clone(),
                    });
                }
            }
            WalEvent::TablespaceDrop { oid } => {
                let message = format!("tablespace {oid} is dropped at {start}");
                self.tablespace((start, end), Code::WalTablespaceDropped, message, key);
                if self.dropped.len() < NAMED {
                    self.dropped.push(TablespaceEvent {
                        lsn: start,
                        oid: *oid,
                        location: String::new(),
                    });
                }
            }
            WalEvent::RestorePoint { name, time } if self.restore_points.len() < NAMED => {
                self.restore_points.push(RestorePoint {
                    name: name.clone(),
                    lsn: start,
                    time: *time,
                });
            }
            _ => {}
        }
    }

    fn commit(&mut self, commit: CommitPoint) {
        self.commits += 1;
        self.first_commit.get_or_insert(commit);
        if self.last_commits.len() == COMMITS {
            self.last_commits.pop_front();
        }
        self.last_commits.push_back(commit);
        match self.latest {
            Some(latest) if commit.time + JITTER < latest => {
                self.clock_steps_count += 1;
                if self.clock_steps.len() < STEPS_KEPT {
                    self.clock_steps.push(ClockStep {
                        lsn: commit.lsn,
                        time: commit.time,
                        after: latest,
                    });
                }
                // From here on the new clock counts, so that one step is told once.
                self.latest = Some(commit.time);
            }
            latest => self.latest = latest.max(Some(commit.time)),
        }
    }

    fn settings(&mut self, (start, end): (Lsn, Lsn), change: ParameterChange, key: &str) {
        if change.wal_level == WalLevel::Minimal && self.minimal.is_none() {
            self.minimal = Some((start, end, key.to_owned()));
        }
        if self.changes.len() < CHANGES {
            self.changes.push((start, end, change));
        }
        let Some(highest) = &mut self.settings else {
            self.settings = Some(change);
            return;
        };
        *highest = ParameterChange {
            max_connections: highest.max_connections.max(change.max_connections),
            max_worker_processes: highest
                .max_worker_processes
                .max(change.max_worker_processes),
            max_wal_senders: highest.max_wal_senders.max(change.max_wal_senders),
            max_prepared_transactions: highest
                .max_prepared_transactions
                .max(change.max_prepared_transactions),
            max_locks_per_transaction: highest
                .max_locks_per_transaction
                .max(change.max_locks_per_transaction),
            ..change
        };
    }

    fn tablespace(&mut self, (start, end): (Lsn, Lsn), code: Code, message: String, key: &str) {
        if self.findings.len() < NAMED {
            let finding = Finding::new(code, key, message);
            self.findings.push((start, end, finding));
        }
    }

    /// Changes of settings that a restored server must match: begin and end of the record
    /// and what it says, oldest first.
    pub(super) fn changes(&self) -> &[(Lsn, Lsn, ParameterChange)] {
        &self.changes
    }

    /// The findings on what the records do, in the order of the WAL. `timeline_of` tells
    /// on which timeline a position lies, `counts` whether it matters.
    pub(super) fn findings(
        &self,
        timeline_of: impl Fn(Lsn) -> TimelineId,
        counts: impl Fn(Lsn) -> bool,
    ) -> Vec<Finding> {
        let mut findings: Vec<_> = self
            .findings
            .iter()
            .filter(|(begin, _, _)| counts(*begin))
            .cloned()
            .collect();
        if let Some((begin, end, key)) = &self.minimal {
            let message = format!("wal_level is lowered to minimal at {begin}");
            let finding = Finding::new(Code::WalLevelMinimal, key, message);
            findings.push((*begin, *end, finding));
        }
        let mut steps = self.clock_steps.iter().filter(|step| counts(step.lsn));
        if let Some(step) = steps.next() {
            let left_out = self.clock_steps.len() - 1 - steps.count();
            let number = self.clock_steps_count.saturating_sub(left_out as u64);
            let message = format!(
                "{} before an earlier one; the first, at {}, by {} ({} after {})",
                if number == 1 {
                    "1 commit has a time".to_owned()
                } else {
                    format!("{} have a time", count(number, "commit"))
                },
                step.lsn,
                length(step.after - step.time),
                utc(step.time),
                utc(step.after)
            );
            let finding = Finding::new(Code::WalClockStepped, step.lsn.to_string(), message)
                .with_time(Some(step.time), Some(step.after));
            findings.push((step.lsn, step.lsn, finding));
        }
        findings.sort_by_key(|(begin, _, _)| *begin);
        findings
            .into_iter()
            .map(|(begin, end, finding)| finding.with_wal(timeline_of(begin), begin, end))
            .collect()
    }

    /// Everything as a report. `found` are the findings in their final order.
    pub(super) fn report(
        mut self,
        begin: Lsn,
        position: WalPosition,
        done: RangeProgress,
        major: Option<u32>,
        stopped_by: StopReason,
        found: Vec<Finding>,
    ) -> RangeReport {
        self.clock_steps.truncate(STEPS);
        RangeReport {
            begin,
            last_record: position.last_record,
            end: position.end,
            incomplete: position.incomplete,
            segments: done.segments,
            bytes: done.bytes,
            records: self.records,
            commits: self.commits,
            major,
            first_commit: self.first_commit,
            last_commit: self.last_commits.back().copied(),
            last_commits: self.last_commits.into(),
            stopped_by,
            settings: self.settings,
            tablespaces_created: self.created,
            tablespaces_dropped: self.dropped,
            wal_level_minimal: self.minimal.map(|(begin, _, _)| begin),
            restore_points: self.restore_points,
            prepared: self
                .prepared
                .into_iter()
                .map(|(xid, gid)| PreparedTransaction { xid, gid })
                .collect(),
            clock_steps: self.clock_steps,
            clock_steps_count: self.clock_steps_count,
            findings: found,
        }
    }
}
