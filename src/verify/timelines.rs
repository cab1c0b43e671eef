//! Timelines as a tree: which one is current, which ones are side branches, and what is
//! wrong with history files.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use crate::finding::{Code, Finding, Severity};
use crate::postgres::{HistoryEntry, Lsn, SegmentNumber, TimelineHistory, TimelineId};
use crate::repository::{BackupStatus, Catalog, TimelineWal, WalInventory};

use super::words::utc;

/// What a timeline is to the current one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TimelineRole {
    /// The one that recovery follows.
    Current,
    /// On the way to it.
    Ancestor,
    /// Left behind; not part of the current database.
    SideBranch,
    /// Cannot be placed, because its history is missing, unreadable or contradictory.
    Unplaced,
}

/// One timeline of a repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TimelineReport {
    /// Its number.
    pub timeline: TimelineId,
    /// What it is to the current one.
    pub role: TimelineRole,
    /// The timeline it branched off from.
    pub parent: Option<TimelineId>,
    /// Where it branched off.
    pub branched_at: Option<Lsn>,
    /// How many full segments the archive holds.
    pub segments: u64,
    /// The name of the newest full segment.
    pub newest_segment: Option<String>,
}

/// The timelines of a repository.
#[derive(Clone, Debug)]
pub struct Timelines {
    /// The way to the current timeline: the highest whose history can be read and agrees
    /// with its ancestors' own.
    pub current: TimelineHistory,
    /// Every timeline of which there is a trace, rising.
    pub all: Vec<TimelineReport>,
    /// Timelines with WAL or finished backups, but without a history file.
    pub without_history: Vec<TimelineId>,
    /// A timeline that goes on past the point where the current one branched off, while
    /// the current one has neither WAL nor a finished backup of its own: nothing but a
    /// history file says that production ever went there. A restored copy that was let
    /// archive leaves just that.
    pub contested_by: Option<TimelineId>,
}

impl Timelines {
    /// Reads the tree from a catalog.
    pub fn of(catalog: &Catalog) -> Self {
        let wal = &catalog.wal;
        let finished = catalog
            .backups
            .iter()
            .filter(|backup| backup.status == BackupStatus::Done)
            .filter_map(|backup| backup.timeline);
        let traces: BTreeSet<TimelineId> = wal
            .timelines
            .keys()
            .copied()
            .chain(finished.clone())
            .filter(|timeline| timeline.0 > 0)
            .collect();
        let known: BTreeSet<TimelineId> = traces
            .union(&wal.histories.keys().copied().collect())
            .copied()
            .collect();
        let current = known
            .iter()
            .rev()
            .filter_map(|timeline| wal.history(*timeline))
            .find(|history| disagreement(wal, history).is_none())
            .unwrap_or_else(TimelineHistory::first);
        let without_history = traces
            .iter()
            .copied()
            .filter(|timeline| {
                *timeline != TimelineId::FIRST && !wal.histories.contains_key(timeline)
            })
            .collect();
        let all = known
            .iter()
            .map(|timeline| describe(wal, &current, *timeline))
            .collect::<Vec<_>>();
        let traced = wal
            .timelines
            .get(&current.timeline)
            .is_some_and(|own| own.count() > 0)
            || finished
                .clone()
                .any(|timeline| timeline == current.timeline);
        let contested_by = all
            .iter()
            .rev()
            .filter(|report| !traced && beside(wal, &current, report).is_some())
            .map(|report| report.timeline)
            .next();
        Self {
            current,
            all,
            without_history,
            contested_by,
        }
    }

    /// A timeline above the current one that has WAL or backups but cannot be followed.
    pub fn unreachable_above(&self) -> Option<TimelineId> {
        self.all
            .iter()
            .rev()
            .find(|report| {
                report.role == TimelineRole::Unplaced && report.timeline > self.current.timeline
            })
            .map(|report| report.timeline)
    }
}

fn describe(wal: &WalInventory, current: &TimelineHistory, timeline: TimelineId) -> TimelineReport {
    let history = wal.history(timeline);
    let parent = history.as_ref().and_then(TimelineHistory::parent).cloned();
    let segments = wal.timelines.get(&timeline);
    let role = if timeline == current.timeline {
        TimelineRole::Current
    } else if current.contains(timeline) {
        TimelineRole::Ancestor
    } else if history.is_some_and(|history| disagreement(wal, &history).is_none()) {
        TimelineRole::SideBranch
    } else {
        TimelineRole::Unplaced
    };
    TimelineReport {
        timeline,
        role,
        parent: parent.as_ref().map(|entry| entry.timeline),
        branched_at: parent.as_ref().map(|entry| entry.switch_lsn),
        segments: segments.map_or(0, TimelineWal::count),
        newest_segment: segments
            .and_then(TimelineWal::newest)
            .map(|number| wal.name(timeline, number).to_string()),
    }
}

/// The first ancestor whose own history file tells another story than `history` does.
fn disagreement(wal: &WalInventory, history: &TimelineHistory) -> Option<TimelineId> {
    history
        .ancestors
        .iter()
        .enumerate()
        .find_map(|(index, entry)| {
            let own = wal.history(entry.timeline)?;
            let before = history.ancestors.get(..index).unwrap_or_default();
            let same = |a: &HistoryEntry, b: &HistoryEntry| {
                a.timeline == b.timeline && a.switch_lsn == b.switch_lsn
            };
            let agrees = own.ancestors.len() == before.len()
                && own.ancestors.iter().zip(before).all(|(a, b)| same(a, b));
            (!agrees).then_some(entry.timeline)
        })
}

/// What is wrong with timelines. `oldest_needed` is the timeline of the oldest usable
/// base backup: ancestors before it matter no more.
pub fn findings(
    catalog: &Catalog,
    timelines: &Timelines,
    oldest_needed: Option<TimelineId>,
) -> Vec<Finding> {
    let wal = &catalog.wal;
    let mut findings = Vec::new();
    for (timeline, object) in &wal.histories {
        if let Err(reason) = &object.history {
            findings.push(Finding::new(
                Code::HistoryUnreadable,
                &object.key,
                format!("the history file of timeline {timeline} cannot be read: {reason}"),
            ));
        }
    }
    missing(timelines, oldest_needed, wal, &mut findings);
    for (timeline, object) in &wal.histories {
        let Ok(history) = &object.history else {
            continue;
        };
        if let Some(ancestor) = disagreement(wal, history) {
            findings.push(Finding::new(
                Code::HistoryContradictory,
                &object.key,
                format!(
                    "the history of timeline {timeline} and that of its ancestor {ancestor} name different branch points"
                ),
            ));
        }
        if let Some(parent) = history.parent()
            && let Some(oldest) = wal.timelines.get(timeline).and_then(TimelineWal::oldest)
            && oldest < wal.segment_size.segment_of(parent.switch_lsn)
        {
            findings.push(
                Finding::new(
                    Code::HistoryContradictory,
                    &object.key,
                    format!(
                        "timeline {timeline} branched off at {}, but the archive holds its segment {} from before",
                        parent.switch_lsn,
                        wal.name(*timeline, oldest)
                    ),
                )
                .with_wal(*timeline, oldest.begin_lsn(wal.segment_size), parent.switch_lsn),
            );
        }
    }
    for report in &timelines.all {
        findings.extend(abandoned(wal, timelines, report));
    }
    findings
}

/// History files that should be there.
fn missing(
    timelines: &Timelines,
    oldest_needed: Option<TimelineId>,
    wal: &WalInventory,
    findings: &mut Vec<Finding>,
) {
    let current = timelines.current.timeline;
    for timeline in &timelines.without_history {
        let on_the_way = timelines.current.contains(*timeline);
        let needed = oldest_needed.is_none_or(|oldest| *timeline > oldest);
        if on_the_way && !needed {
            continue; // Every usable base backup is younger: recovery never asks for it.
        }
        let finding = Finding::new(
            Code::HistoryMissing,
            timeline.history_file_name(),
            format!("timeline {timeline} has WAL or backups here, but no history file"),
        );
        findings.push(if *timeline > current {
            finding
        } else if on_the_way {
            finding.with_consequence(format!(
                "A recovery to the latest timeline stops looking at {timeline} and silently stays on an abandoned branch; only an explicit recovery_target_timeline = '{current}' still works."
            ))
        } else {
            finding
                .with_severity(Severity::Warning)
                .with_consequence("This timeline cannot be placed or recovered to; the current one does not need it.")
        });
    }
    // A number without any trace: PostgreSQL looks for history files upward, one by one,
    // and stops at the first it cannot find (`findNewestTimeLine`).
    let Some(oldest) = oldest_needed else {
        return;
    };
    let absent = (oldest.0.saturating_add(1)..current.0)
        .map(TimelineId)
        .find(|timeline| {
            !wal.histories.contains_key(timeline) && !timelines.without_history.contains(timeline)
        });
    if let Some(timeline) = absent {
        findings.push(
            Finding::new(
                Code::HistoryMissing,
                timeline.history_file_name(),
                format!("there is a history file for timeline {current}, but none for timeline {timeline} before it"),
            )
            .with_severity(if timelines.current.contains(timeline) { Severity::Critical } else { Severity::Warning })
            .with_consequence(format!(
                "A recovery to the latest timeline from a backup of timeline {oldest} stops looking at {timeline} and silently stays on an abandoned branch; only an explicit recovery_target_timeline = '{current}' works."
            )),
        );
    }
}

/// How many full segments of an ancestor may follow its switch point without a word: a
/// failover often leaves the one that was being written, and one more.
const REMAINS: u64 = 1;

/// The first and last full segment that a timeline has beside the way to the current one.
fn beside(
    wal: &WalInventory,
    current: &TimelineHistory,
    report: &TimelineReport,
) -> Option<(SegmentNumber, SegmentNumber)> {
    let own = wal.timelines.get(&report.timeline)?;
    let first = match report.role {
        TimelineRole::Current | TimelineRole::Unplaced => return None,
        TimelineRole::SideBranch => own.oldest()?,
        TimelineRole::Ancestor => {
            let switch = current.switch_from(report.timeline)?;
            let switch = wal.segment_size.segment_of(switch);
            SegmentNumber(switch.0.saturating_add(1 + REMAINS))
        }
    };
    let last = own.newest().filter(|last| *last >= first)?;
    Some((first, last))
}

fn abandoned(
    wal: &WalInventory,
    timelines: &Timelines,
    report: &TimelineReport,
) -> Option<Finding> {
    let current = &timelines.current;
    let timeline = report.timeline;
    let (first, last) = beside(wal, current, report)?;
    let begin = if report.role == TimelineRole::Ancestor {
        current.switch_from(timeline)?
    } else {
        first.begin_lsn(wal.segment_size)
    };
    let (name, newest) = (wal.name(timeline, first), wal.name(timeline, last));
    let finding = Finding::new(
        Code::TimelineAbandoned,
        newest.to_string(),
        format!(
            "timeline {timeline} goes on from {name} to {newest} beside the current timeline {}",
            current.timeline
        ),
    )
    .with_wal(timeline, begin, last.end_lsn(wal.segment_size));
    let stored = |timeline: TimelineId| wal.timelines.get(&timeline)?.newest_stored;
    Some(match (stored(timeline), stored(current.timeline)) {
        (Some(side), Some(main)) if side > main => {
            still_written(finding, timeline, current.timeline, side)
        }
        (Some(side), None) if timelines.contested_by.is_some() => {
            still_written(finding, timeline, current.timeline, side)
        }
        _ => finding,
    })
}

fn still_written(
    finding: Finding,
    side: TimelineId,
    current: TimelineId,
    at: DateTime<Utc>,
) -> Finding {
    let message = format!("{}, and was written last, at {}", finding.message, utc(at));
    Finding { message, ..finding }
        .with_severity(Severity::Warning)
        .with_consequence(format!(
            "Either two servers archive to this place, or a restored copy did: if production is on timeline {side}, a recovery to the latest timeline ({current}) goes to the wrong database."
        ))
        .with_action("Ask production for its timeline (`SELECT timeline_id FROM pg_control_checkpoint()`); stop the other writer.")
}
