//! Holes in the WAL that recovery needs, and objects that cannot be what they claim.

use crate::finding::{Code, Finding};
use crate::postgres::{SegmentNumber, TimelineId};
use crate::repository::{BaseBackup, Catalog, Keep};

use super::backups::{BackupAssessment, Way};
use super::bad_segments::{BadSegment, odd_objects};
use super::chain::known_end;
use super::objects::unneeded;
use super::words::count;

/// Consecutive segments that recovery needs and cannot have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoleSpan {
    /// The first one.
    pub first: SegmentNumber,
    /// The last one.
    pub last: SegmentNumber,
    /// Objects that lie there and hold no segment; at most 100 are named.
    pub bad: Vec<BadSegment>,
}

impl HoleSpan {
    /// How many segments.
    pub const fn len(&self) -> u64 {
        self.last.0 - self.first.0 + 1
    }

    /// A hole has at least one segment.
    pub const fn is_empty(&self) -> bool {
        false
    }
}

/// From where on the archive is meant to be whole: the begin of the oldest usable backup.
/// Backups kept `standalone` do not count, for the WAL after them is deleted on purpose;
/// unless there is no other, then the newest of them does.
pub fn needed_from(catalog: &Catalog, assessments: &[BackupAssessment]) -> Option<SegmentNumber> {
    let usable = || {
        assessments
            .iter()
            .filter(|found| found.usable)
            .filter_map(|found| catalog.backup(&found.id))
    };
    let first = |backup: &BaseBackup| Some(backup.segment_size.segment_of(backup.begin_lsn?));
    let continuous = usable().filter(|backup| backup.keep != Some(Keep::Standalone));
    continuous
        .filter_map(first)
        .min()
        .or_else(|| usable().filter_map(first).max())
}

/// How many bad objects a hole names.
const NAMED: u64 = 100;

/// The holes of a way from `from` on, in order.
pub fn holes(way: Way<'_>, from: SegmentNumber) -> Vec<HoleSpan> {
    let wal = &way.catalog.wal;
    let mut spans = Vec::new();
    let mut expected = from;
    let mut add = |first: SegmentNumber, last: SegmentNumber| {
        if first > last {
            return;
        }
        let bad = way
            .path
            .split(first, last)
            .iter()
            .flat_map(|stretch| {
                let numbers = way
                    .bad
                    .within(stretch.timeline, stretch.first, stretch.last);
                numbers.flat_map(|number| way.bad.get(stretch.timeline, number).to_vec())
            })
            .take(usize::try_from(NAMED).unwrap_or(usize::MAX))
            .collect();
        spans.push(HoleSpan { first, last, bad });
    };
    for (first, last) in way.path.present(wal, way.bad, from) {
        if let Some(before) = first.previous() {
            add(expected, before);
        }
        expected = last.next();
    }
    if let Some(end) = known_end(way) {
        add(expected, end);
    }
    spans
}

/// Findings on the sizes of segment objects outside holes. Those inside are told with
/// their hole.
pub fn odd_findings(way: Way<'_>, from: Option<SegmentNumber>, holes: &[HoleSpan]) -> Vec<Finding> {
    let wal = &way.catalog.wal;
    odd_objects(wal)
        .filter(|(_, odd)| {
            !holes
                .iter()
                .any(|hole| hole.bad.iter().any(|bad| bad.key == odd.key))
        })
        .map(|(code, odd)| {
            let finding = size_finding(code, &odd.key, odd.size);
            let needed = odd.number.is_some_and(|number| {
                from.is_some_and(|from| number >= from)
                    && way.path.timeline_of(number) == odd.timeline
            });
            if needed { finding } else { unneeded(finding) }
        })
        .collect()
}

/// A finding on one segment object's size.
pub fn size_finding(code: Code, key: &str, size: u64) -> Finding {
    let message = match code {
        Code::ObjectEmpty => "this WAL segment is empty".to_owned(),
        Code::WalTooLarge => {
            format!("this WAL object has {size} bytes, more than a segment can take")
        }
        _ => format!("this WAL object has {size} bytes, too few for a segment"),
    };
    Finding::new(code, key, message)
}

/// The finding of a hole by its names alone. When objects lie there that hold nothing,
/// and nothing else is missing, those are the finding.
pub fn hole_findings(way: Way<'_>, hole: &HoleSpan) -> Vec<Finding> {
    let wal = &way.catalog.wal;
    let name = |number: SegmentNumber| wal.name(way.path.timeline_of(number), number);
    let mut findings: Vec<Finding> = hole
        .bad
        .iter()
        .map(|bad| size_finding(bad.code, &bad.key, bad.size))
        .collect();
    let explained = hole.len() <= NAMED && explained(way, hole);
    if !explained {
        let range = if hole.len() == 1 {
            format!("segment {} is missing", name(hole.first))
        } else {
            format!(
                "{} are missing: {} to {}",
                count(hole.len(), "segment"),
                name(hole.first),
                name(hole.last)
            )
        };
        let at_switch = switch_note(way, hole);
        findings.insert(
            0,
            Finding::new(
                Code::WalGap,
                name(hole.first).to_string(),
                format!("{range}{at_switch}"),
            ),
        );
    }
    let timeline: TimelineId = way.path.timeline_of(hole.first);
    findings
        .into_iter()
        .map(|finding| {
            finding.with_wal(
                timeline,
                hole.first.begin_lsn(wal.segment_size),
                hole.last.end_lsn(wal.segment_size),
            )
        })
        .collect()
}

/// Whether every segment of a hole has an object that holds nothing.
fn explained(way: Way<'_>, hole: &HoleSpan) -> bool {
    let there: u64 = way
        .path
        .split(hole.first, hole.last)
        .iter()
        .map(|stretch| {
            way.bad
                .within(stretch.timeline, stretch.first, stretch.last)
                .count() as u64
        })
        .sum();
    there == hole.len()
}

/// What is special about a hole at a timeline switch.
fn switch_note(way: Way<'_>, hole: &HoleSpan) -> String {
    let first_of_child = way
        .path
        .stretches()
        .iter()
        .skip(1)
        .find(|stretch| (hole.first..=hole.last).contains(&stretch.first));
    let last_of_parent = way
        .path
        .stretches()
        .iter()
        .find(|stretch| (hole.first..=hole.last).contains(&stretch.last));
    match (last_of_parent, first_of_child) {
        (_, Some(child)) => format!(" (at the switch to timeline {})", child.timeline),
        (Some(parent), None) => format!(
            " (the last of timeline {} before the switch; a failover often loses segments that the old primary had not archived)",
            parent.timeline
        ),
        (None, None) => String::new(),
    }
}
