//! What is read as one: a run of neighbouring segments, or a base backup with its WAL.

use std::cmp::Reverse;

use chrono::{DateTime, Utc};

use super::Subset;
use super::holdings::{HeldBackup, HeldSegment, Holdings};
use crate::codec::Sha256;
use crate::postgres::{SegmentNumber, TimelineId};

/// Segments with the same number divided by this are neighbours: they are in the same
/// subset, today and when others have come and gone.
pub(super) const NEIGHBOURS: u64 = 16;

/// How soon something is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    /// Changed or damaged.
    Urgent,
    /// Never read.
    New,
    /// Read before.
    Again,
}

/// What is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// A run of segments on a timeline.
    Segments(TimelineId, SegmentNumber, SegmentNumber),
    /// The base backup at this place of the holdings.
    Backup(usize),
}

/// What is read as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unit {
    pub(super) content: Content,
    pub(super) due: Due,
    /// What it costs to read, with its border, in stored bytes.
    pub(super) cost: u64,
    /// What of it is counted as its own.
    pub(super) own: u64,
    /// When the part that was read longest ago was.
    pub(super) last_read: Option<DateTime<Utc>>,
    /// Where it lies in the archive, to read the newest of what is new first.
    place: (Option<usize>, bool, SegmentNumber),
}

/// Divides everything into units, in the order in which they are read. `largest` is the
/// size in bytes that a run of segments should not exceed.
pub(super) fn units(holdings: &Holdings, largest: u64, subset: Option<Subset>) -> Vec<Unit> {
    let mut units = Vec::new();
    for run in holdings.segments().chunk_by(|a, b| {
        let block = |number: SegmentNumber| number.0 / NEIGHBOURS;
        a.timeline == b.timeline && block(a.number) == block(b.number)
    }) {
        let Some(first) = run.first() else { continue };
        let block = first.number.0 / NEIGHBOURS;
        if subset.is_none_or(|subset| subset.holds(block)) {
            for part in run.chunk_by(|a, b| {
                class(a.urgent, a.last_read()) == class(b.urgent, b.last_read())
                    && b.number.0 - a.number.0 <= 1
            }) {
                divide(holdings, part, largest, &mut units);
            }
        } else {
            // What is urgent does not wait for the night of its subset.
            for part in run.chunk_by(|a, b| a.urgent == b.urgent) {
                if part.first().is_some_and(|held| held.urgent) {
                    divide(holdings, part, largest, &mut units);
                }
            }
        }
    }
    for (index, backup) in holdings.backups().iter().enumerate() {
        if backup.urgent || subset.is_none_or(|subset| subset.holds(place_of(backup))) {
            units.push(unit_of_backup(holdings, index, backup));
        }
    }
    units.sort_by_key(order);
    units
}

fn class(urgent: bool, last_read: Option<DateTime<Utc>>) -> Due {
    match (urgent, last_read) {
        (true, _) => Due::Urgent,
        (false, None) => Due::New,
        (false, Some(_)) => Due::Again,
    }
}

/// Cuts a run of like segments into units.
fn divide(holdings: &Holdings, part: &[HeldSegment], largest: u64, units: &mut Vec<Unit>) {
    let mut rest = part;
    while let Some(first) = rest.first() {
        let mut own = 0;
        let fits = |held: &&HeldSegment| {
            own += u64::from(held.bytes);
            held.number == first.number || own <= largest
        };
        let count = rest.iter().take_while(fits).count().max(1);
        let (piece, after) = rest.split_at(count);
        rest = after;
        let last = piece.last().unwrap_or(first);
        let own: u64 = piece.iter().map(|held| u64::from(held.bytes)).sum();
        units.push(Unit {
            content: Content::Segments(first.timeline, first.number, last.number),
            due: class(first.urgent, first.last_read()),
            cost: own + before(holdings, first.timeline, first.number),
            own,
            last_read: piece.iter().filter_map(HeldSegment::last_read).min(),
            place: (
                newest_backup_before(holdings, first.number),
                false,
                last.number,
            ),
        });
    }
}

/// The size of the segment before, which is read too so that the record that crosses the
/// border is checked.
fn before(holdings: &Holdings, timeline: TimelineId, first: SegmentNumber) -> u64 {
    first.previous().map_or(0, |previous| {
        let stretch = holdings.stretch(timeline, previous, previous);
        let held = holdings.segments().get(stretch).unwrap_or_default();
        held.iter().map(|held| u64::from(held.bytes)).sum()
    })
}

fn unit_of_backup(holdings: &Holdings, index: usize, backup: &HeldBackup) -> Unit {
    let wal: u64 = backup.wal.map_or(0, |(timeline, first, last)| {
        let stretch = holdings.stretch(timeline, first, last);
        let held = holdings.segments().get(stretch).unwrap_or_default();
        let own: u64 = held.iter().map(|held| u64::from(held.bytes)).sum();
        own + before(holdings, timeline, first)
    });
    let begin = backup.wal.map_or(SegmentNumber(0), |(_, first, _)| first);
    Unit {
        content: Content::Backup(index),
        due: class(backup.urgent, backup.last_read),
        cost: backup.bytes + wal,
        own: backup.bytes,
        last_read: backup.last_read,
        place: (newest_backup_before(holdings, begin), true, begin),
    }
}

/// The number of backups that begin at or before a segment: what follows the newest backup
/// comes before what follows an older one.
fn newest_backup_before(holdings: &Holdings, number: SegmentNumber) -> Option<usize> {
    let before = holdings
        .backups()
        .iter()
        .filter(|backup| backup.wal.is_some_and(|(_, first, _)| first <= number));
    let count = before.count();
    (count > 0).then_some(count)
}

/// A backup's place among the subsets: by its id, for places in a list shift when older ones
/// expire.
fn place_of(backup: &HeldBackup) -> u64 {
    let digest = Sha256::of(backup.id.as_bytes());
    digest
        .as_bytes()
        .iter()
        .take(8)
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

type Order = (
    Due,
    Option<DateTime<Utc>>,
    Reverse<(Option<usize>, bool, SegmentNumber)>,
);

/// What is urgent, then what is new (the newest backup, its WAL from the newest on, then the
/// backup before), then what was read longest ago.
fn order(unit: &Unit) -> Order {
    let age = unit.last_read.filter(|_| unit.due == Due::Again);
    (unit.due, age, Reverse(unit.place))
}
