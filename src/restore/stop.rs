//! Which record is the last that recovery to a target applies. Pure.
//!
//! The rules are PostgreSQL's own (`recoveryStopsBefore`, `recoveryStopsAfter` and
//! `CheckRecoveryConsistency` in `src/backend/access/transam/xlogrecovery.c`), with
//! `recovery_target_inclusive = on` for times and names.

use std::ops::ControlFlow;

use super::target::Target;
use crate::postgres::RequiredSettings;
use crate::postgres::wal::WalEvent;
use crate::postgres::{Lsn, WalLevel};
use crate::verify::CommitPoint;

/// How far behind the stop a later commit is looked for, in bytes of WAL: enough to tell
/// what is left out on a busy server, little to read on an idle one.
const LOOK_BEYOND: u64 = 64 << 20;

/// When a base backup is consistent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Consistency {
    /// At the end-of-backup record of the backup that began here: one of a primary.
    BackupEnd(Lsn),
    /// Once replay has reached this position: one of a standby.
    Reached(Lsn),
}

/// One record as far as the stop depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Applied {
    /// Its first byte.
    pub(crate) start: Lsn,
    /// Where it ends.
    pub(crate) end: Lsn,
}

/// A tablespace that replay up to the stop would create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CreatedTablespace {
    pub(crate) lsn: Lsn,
    pub(crate) oid: u32,
    pub(crate) location: String,
}

/// Everything known at the stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stop {
    /// The last record that is applied; `None` when the target lies before the first.
    pub(crate) last: Option<Applied>,
    /// The last commit among the applied records.
    pub(crate) recovery_point: Option<CommitPoint>,
    /// The first commit that is not applied, if it was met.
    pub(crate) next_commit: Option<CommitPoint>,
    /// Settings that the applied records ask for.
    pub(crate) required: RequiredSettings,
    /// Tablespaces that the applied records create.
    pub(crate) tablespaces: Vec<CreatedTablespace>,
}

/// Looks for the stop, record by record.
#[derive(Debug)]
pub(crate) struct StopSearch {
    target: Target,
    consistency: Consistency,
    /// Give up when this position is reached without a stop.
    give_up_at: Option<Lsn>,
    last: Option<Applied>,
    consistent_at: Option<Applied>,
    last_commit: Option<CommitPoint>,
    required: RequiredSettings,
    tablespaces: Vec<CreatedTablespace>,
    minimal_at: Option<Lsn>,
    stop: Option<Stop>,
}

impl StopSearch {
    /// A search from a backup's redo point. `give_up_at` ends it early where the target
    /// is known to be reachable from a newer backup, if at all.
    pub(crate) fn new(target: Target, consistency: Consistency, give_up_at: Option<Lsn>) -> Self {
        Self {
            target,
            consistency,
            give_up_at,
            last: None,
            consistent_at: None,
            last_commit: None,
            required: RequiredSettings::default(),
            tablespaces: Vec::new(),
            minimal_at: None,
            stop: None,
        }
    }

    /// Looks at the next record. Breaks when nothing more needs to be read.
    pub(crate) fn observe(
        &mut self,
        start: Lsn,
        end: Lsn,
        event: Option<&WalEvent>,
    ) -> ControlFlow<()> {
        if let Some(stop) = &mut self.stop {
            if let Some(commit) = commit_point(start, end, event) {
                stop.next_commit = Some(commit);
                return ControlFlow::Break(());
            }
            let stopped = stop.last.map_or(start, |last| last.end);
            return more_if(start.saturating_since(stopped) < LOOK_BEYOND);
        }
        if let Some(WalEvent::ParameterChange(change)) = event
            && change.wal_level == WalLevel::Minimal
        {
            // Recovery ends with an error here, whatever the target.
            self.minimal_at = Some(start);
            return ControlFlow::Break(());
        }
        if self.stops_before(start, event) {
            let next_commit = commit_point(start, end, event);
            self.stop = Some(Stop {
                next_commit,
                ..self.here()
            });
            return more_if(next_commit.is_none());
        }
        self.apply(start, end, event);
        if self.stops_after(start, event) {
            self.stop = Some(self.here());
            return ControlFlow::Continue(());
        }
        more_if(self.give_up_at.is_none_or(|limit| start < limit))
    }

    fn apply(&mut self, start: Lsn, end: Lsn, event: Option<&WalEvent>) {
        let applied = Applied { start, end };
        self.last = Some(applied);
        if let Some(commit) = commit_point(start, end, event) {
            self.last_commit = Some(commit);
        }
        match event {
            Some(WalEvent::ParameterChange(change)) => self.required.raise_to_change(change),
            // One without a location lies within the data directory.
            Some(WalEvent::TablespaceCreate { oid, location }) if !location.is_empty() => {
                self.tablespaces.push(CreatedTablespace {
                    lsn: start,
                    oid: *oid,
                    location: location.clone(),
                });
            }
            _ => {}
        }
        if self.consistent_at.is_none() {
            let consistent = match self.consistency {
                Consistency::BackupEnd(begin) => {
                    matches!(event, Some(WalEvent::BackupEnd { start }) if *start == begin)
                }
                Consistency::Reached(lsn) => end >= lsn,
            };
            if consistent {
                self.consistent_at = Some(applied);
            }
        }
    }

    fn stops_before(&self, start: Lsn, event: Option<&WalEvent>) -> bool {
        match (&self.target, event) {
            (
                Target::Time(target),
                Some(WalEvent::Commit { time, .. } | WalEvent::Abort { time, .. }),
            ) => time > target,
            (
                Target::Lsn {
                    lsn,
                    inclusive: false,
                },
                _,
            ) => start >= *lsn,
            (
                Target::Xid {
                    xid: target,
                    inclusive: false,
                },
                Some(WalEvent::Commit { xid, .. } | WalEvent::Abort { xid, .. }),
            ) => xid == target,
            _ => false,
        }
    }

    fn stops_after(&self, start: Lsn, event: Option<&WalEvent>) -> bool {
        match (&self.target, event) {
            (
                Target::Lsn {
                    lsn,
                    inclusive: true,
                },
                _,
            ) => start >= *lsn,
            (
                Target::Xid {
                    xid: target,
                    inclusive: true,
                },
                Some(WalEvent::Commit { xid, .. } | WalEvent::Abort { xid, .. }),
            ) => xid == target,
            (Target::Name(target), Some(WalEvent::RestorePoint { name, .. })) => name == target,
            (Target::Immediate, _) => self.consistent_at.is_some(),
            _ => false,
        }
    }

    /// The stop, if everything applied so far were all.
    fn here(&self) -> Stop {
        Stop {
            last: self.last,
            recovery_point: self.last_commit,
            next_commit: None,
            required: self.required,
            tablespaces: self.tablespaces.clone(),
        }
    }

    /// Where the backup became consistent.
    pub(crate) fn consistent_at(&self) -> Option<Applied> {
        self.consistent_at
    }

    /// The last commit that was met before the stop.
    pub(crate) fn last_commit(&self) -> Option<CommitPoint> {
        self.last_commit
    }

    /// The last record that was met before the stop.
    pub(crate) fn last(&self) -> Option<Applied> {
        self.last
    }

    /// Where `wal_level` was lowered to minimal, before the stop.
    pub(crate) fn minimal_at(&self) -> Option<Lsn> {
        self.minimal_at
    }

    /// The stop; for the tip, what was read last. `None` when the target was not met.
    pub(crate) fn stop(&self) -> Option<Stop> {
        match (&self.stop, &self.target) {
            (Some(stop), _) => Some(stop.clone()),
            (None, Target::Tip) => Some(self.here()),
            (None, _) => None,
        }
    }
}

fn more_if(more: bool) -> ControlFlow<()> {
    if more {
        ControlFlow::Continue(())
    } else {
        ControlFlow::Break(())
    }
}

fn commit_point(start: Lsn, end: Lsn, event: Option<&WalEvent>) -> Option<CommitPoint> {
    match event {
        Some(WalEvent::Commit { xid, time, .. }) => Some(CommitPoint {
            lsn: start,
            end,
            xid: *xid,
            time: *time,
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};

    use super::*;
    use crate::postgres::wal::ParameterChange;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap()
    }

    fn commit(xid: u32, second: i64) -> WalEvent {
        WalEvent::Commit {
            xid,
            time: at(second),
            prepared: false,
            dropped_relations: Vec::new(),
        }
    }

    fn abort(xid: u32, second: i64) -> WalEvent {
        WalEvent::Abort {
            xid,
            time: at(second),
            prepared: false,
            dropped_relations: Vec::new(),
        }
    }

    fn change(max_connections: i32, wal_level: WalLevel) -> WalEvent {
        WalEvent::ParameterChange(ParameterChange {
            max_connections,
            max_worker_processes: 8,
            max_wal_senders: 10,
            max_prepared_transactions: 0,
            max_locks_per_transaction: 64,
            wal_level,
            wal_log_hints: false,
            track_commit_timestamp: false,
        })
    }

    fn tablespace() -> WalEvent {
        WalEvent::TablespaceCreate {
            oid: 16400,
            location: "/srv/new".into(),
        }
    }

    fn point(name: &str) -> WalEvent {
        WalEvent::RestorePoint {
            name: name.into(),
            time: at(0),
        }
    }

    fn backup_end() -> WalEvent {
        WalEvent::BackupEnd {
            start: Lsn::new(100),
        }
    }

    /// Records at 100, 110, 120, …, each 10 bytes long, through a search.
    fn search(target: Target, events: &[Option<WalEvent>]) -> StopSearch {
        let mut search = StopSearch::new(target, Consistency::BackupEnd(Lsn::new(100)), None);
        for (index, event) in (0_u64..).zip(events) {
            let start = Lsn::new(100 + index * 10);
            let end = Lsn::new(110 + index * 10);
            if search.observe(start, end, event.as_ref()).is_break() {
                break;
            }
        }
        search
    }

    /// Start of the last applied record, last and next commit.
    fn found(target: Target, events: &[Option<WalEvent>]) -> (u64, Option<u32>, Option<u32>) {
        let stop = search(target, events).stop().unwrap();
        (
            stop.last.unwrap().start.bytes(),
            stop.recovery_point.map(|commit| commit.xid),
            stop.next_commit.map(|commit| commit.xid),
        )
    }

    fn events() -> Vec<Option<WalEvent>> {
        vec![
            None,                 // 100
            Some(backup_end()),   // 110
            Some(commit(7, 10)),  // 120
            None,                 // 130
            Some(abort(8, 20)),   // 140
            Some(point("here")),  // 150
            Some(commit(9, 20)),  // 160
            Some(point("here")),  // 170
            Some(commit(10, 30)), // 180
            None,                 // 190
        ]
    }

    #[test]
    fn the_tip_is_the_last_record() {
        assert_eq!(found(Target::Tip, &events()), (190, Some(10), None));
    }

    #[test]
    fn a_time_stops_before_the_first_end_of_a_transaction_past_it() {
        let time = |second| found(Target::Time(at(second)), &events());
        // Exactly a commit's time: it is applied, and what follows up to the next end.
        assert_eq!(time(10), (130, Some(7), Some(9)));
        assert_eq!(time(15), (130, Some(7), Some(9)));
        // Several at one time: all of them.
        assert_eq!(time(20), (170, Some(9), Some(10)));
        assert_eq!(time(29), (170, Some(9), Some(10)));
        assert_eq!(time(9), (110, None, Some(7)));
        // No later end of a transaction: PostgreSQL would not stop.
        assert_eq!(search(Target::Time(at(30)), &events()).stop(), None);
    }

    #[test]
    fn a_clock_that_steps_back_does_not_move_the_stop() {
        let events = [
            Some(backup_end()),
            Some(commit(7, 50)),
            Some(commit(8, 10)),
            Some(commit(9, 60)),
        ];
        assert_eq!(found(Target::Time(at(20)), &events), (100, None, Some(7)));
        assert_eq!(
            found(Target::Time(at(50)), &events),
            (120, Some(8), Some(9))
        );
    }

    #[test]
    fn an_lsn_is_compared_with_the_starts_of_records() {
        let lsn = |lsn, inclusive| {
            found(
                Target::Lsn {
                    lsn: Lsn::new(lsn),
                    inclusive,
                },
                &events(),
            )
        };
        assert_eq!(lsn(120, true), (120, Some(7), Some(9)));
        assert_eq!(lsn(121, true), (130, Some(7), Some(9)));
        assert_eq!(lsn(120, false), (110, None, Some(7)));
        assert_eq!(lsn(121, false), (120, Some(7), Some(9)));
        assert_eq!(lsn(190, true), (190, Some(10), None));
        // The end of the last record is past the start of every record.
        for inclusive in [true, false] {
            let target = Target::Lsn {
                lsn: Lsn::new(200),
                inclusive,
            };
            assert_eq!(search(target, &events()).stop(), None);
        }
    }

    #[test]
    fn a_transaction_stops_at_its_end_whether_commit_or_abort() {
        let xid = |xid, inclusive| found(Target::Xid { xid, inclusive }, &events());
        assert_eq!(xid(9, true), (160, Some(9), Some(10)));
        assert_eq!(xid(9, false), (150, Some(7), Some(9)));
        assert_eq!(xid(8, true), (140, Some(7), Some(9)));
        assert_eq!(xid(8, false), (130, Some(7), Some(9)));
        let missing = Target::Xid {
            xid: 99,
            inclusive: true,
        };
        assert_eq!(search(missing, &events()).stop(), None);
    }

    #[test]
    fn a_name_is_its_first_restore_point() {
        assert_eq!(
            found(Target::Name("here".into()), &events()),
            (150, Some(7), Some(9))
        );
        assert_eq!(search(Target::Name("there".into()), &events()).stop(), None);
    }

    #[test]
    fn immediate_is_the_end_of_the_backup() {
        assert_eq!(found(Target::Immediate, &events()), (110, None, Some(7)));
        // Another backup's end does not count.
        let other = Some(WalEvent::BackupEnd {
            start: Lsn::new(50),
        });
        assert_eq!(search(Target::Immediate, &[None, other]).stop(), None);
        let mut standby =
            StopSearch::new(Target::Immediate, Consistency::Reached(Lsn::new(115)), None);
        assert!(
            standby
                .observe(Lsn::new(100), Lsn::new(110), None)
                .is_continue()
        );
        assert_eq!(standby.stop(), None);
        let _ = standby.observe(Lsn::new(110), Lsn::new(120), None);
        assert_eq!(standby.stop().unwrap().last.unwrap().start, Lsn::new(110));
    }

    #[test]
    fn what_comes_behind_the_stop_does_not_count() {
        let events = [
            Some(backup_end()),
            Some(change(300, WalLevel::Replica)),
            Some(commit(7, 10)),
            Some(tablespace()),
            Some(change(900, WalLevel::Replica)),
            Some(commit(8, 20)),
        ];
        let before = search(Target::Time(at(5)), &events).stop().unwrap();
        assert_eq!(before.required.max_connections, 300);
        assert!(before.tablespaces.is_empty());
        let behind = search(Target::Time(at(15)), &events).stop().unwrap();
        assert_eq!(behind.required.max_connections, 900);
        assert_eq!(behind.tablespaces[0].location, "/srv/new");
        assert_eq!(behind.tablespaces[0].lsn, Lsn::new(130));
    }

    #[test]
    fn minimal_wal_ends_everything_before_it() {
        let events = [
            Some(backup_end()),
            Some(commit(7, 10)),
            Some(change(100, WalLevel::Minimal)),
            Some(commit(8, 20)),
        ];
        let tip = search(Target::Tip, &events);
        assert_eq!(tip.minimal_at(), Some(Lsn::new(120)));
        assert_eq!(tip.stop().unwrap().last.unwrap().start, Lsn::new(110));
        let time = search(Target::Time(at(15)), &events);
        assert_eq!(
            (time.stop(), time.minimal_at()),
            (None, Some(Lsn::new(120)))
        );
        let earlier = search(Target::Time(at(5)), &events);
        assert_eq!(earlier.minimal_at(), None);
        assert!(earlier.stop().is_some());
    }

    #[test]
    fn a_search_gives_up_where_it_is_told() {
        let mut search = StopSearch::new(
            Target::Name("x".into()),
            Consistency::BackupEnd(Lsn::new(100)),
            Some(Lsn::new(120)),
        );
        assert!(
            search
                .observe(Lsn::new(110), Lsn::new(120), None)
                .is_continue()
        );
        assert!(
            search
                .observe(Lsn::new(120), Lsn::new(130), None)
                .is_break()
        );
    }
}
