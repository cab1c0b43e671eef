//! From a target to one explicit record, by reading what will be replayed.

use std::ops::ControlFlow;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;

use super::progress::{Progress, Step, Watch};
use super::resolve_error::ResolveError;
use super::stop::{Consistency, StopSearch};
use super::target::Target;
use super::wal::{Stretch, WalPlan};
use crate::codec::Codec;
use crate::finding::{Code, Finding};
use crate::postgres::RequiredSettings;
use crate::postgres::{BackupLabel, Lsn, TimelineHistory, TimelineId};
use crate::repository::{BaseBackup, Catalog, Repository};
use crate::verify::CommitPoint;
use crate::verify::path::SegmentPath;
use crate::verify::wal_range::{RangeReport, RangeRequest, StopReason, Until, scan};

/// A target as PostgreSQL is given it: the start of the last record that is applied, as
/// an inclusive `recovery_target_lsn` on an explicit timeline.
#[derive(Clone, Debug, Serialize)]
pub struct ResolvedTarget {
    /// What was asked for.
    pub target: Target,
    /// The backup from which it is reached.
    pub backup_id: String,
    /// For `recovery_target_timeline`.
    pub timeline: TimelineId,
    /// Where replay begins.
    pub begin: Lsn,
    /// For `recovery_target_lsn`: the start of the last record that is applied.
    pub stop_record: Lsn,
    /// Where that record ends: what `pg_last_wal_replay_lsn()` must show.
    pub end: Lsn,
    /// Where the backup is consistent.
    pub consistent_at: Lsn,
    /// The last commit that is applied; `None` when none lies between the backup's begin
    /// and the stop.
    pub recovery_point: Option<CommitPoint>,
    /// The first commit that is not applied, if one was found near.
    pub next_commit: Option<CommitPoint>,
    /// Settings that the WAL asks for; the control file's come on top after extraction.
    pub required: RequiredSettings,
    /// The WAL that recovery needs.
    pub plan: WalPlan,
    /// What reading it found, which may reach a little beyond the stop.
    pub range: RangeReport,
    /// What was found up to the stop; for the tip also what ends it.
    pub findings: Vec<Finding>,
}

impl ResolvedTarget {
    /// The newest moment whose changes are there: the last applied commit.
    pub fn recovery_time(&self) -> Option<DateTime<Utc>> {
        self.recovery_point.map(|commit| commit.time)
    }
}

/// Resolves `target` from `backup` along `history`, by reading all WAL from the backup's
/// redo point to the stop (and up to 64 MiB beyond it, for the next commit).
pub async fn resolve(
    repository: &Repository,
    catalog: &Catalog,
    backup: &BaseBackup,
    history: &TimelineHistory,
    target: &Target,
    watch: &Watch,
) -> Result<ResolvedTarget, ResolveError> {
    let attempt = Attempt {
        repository,
        catalog,
        backup,
        history,
        target,
        give_up_at: None,
    };
    Box::pin(attempt.run(watch)).await
}

/// One backup, one way, one target.
pub(super) struct Attempt<'a> {
    pub(super) repository: &'a Repository,
    pub(super) catalog: &'a Catalog,
    pub(super) backup: &'a BaseBackup,
    pub(super) history: &'a TimelineHistory,
    pub(super) target: &'a Target,
    pub(super) give_up_at: Option<Lsn>,
}

impl Attempt<'_> {
    pub(super) async fn run(&self, watch: &Watch) -> Result<ResolvedTarget, ResolveError> {
        let Some(begin) = self.backup.begin_lsn else {
            return Err(ResolveError::NoBackup(format!(
                "backup {} does not say where it begins",
                self.backup.id
            )));
        };
        let mut search = StopSearch::new(
            self.target.clone(),
            self.consistency(begin),
            self.give_up_at,
        );
        let request = RangeRequest {
            history: self.history.clone(),
            start: begin,
            until: Until::End,
            system_id: self.backup.system_id,
        };
        let begun = std::time::Instant::now();
        let cancel = watch.cancel.clone();
        let range = scan(
            self.repository,
            self.catalog,
            &request,
            &|progress| {
                watch.sink.progress(&Progress::of(
                    Step::ReadWal,
                    progress.segments,
                    Some(progress.of_segments),
                    begun.elapsed(),
                ));
            },
            &mut |record| {
                if cancel.is_cancelled() {
                    return ControlFlow::Break(());
                }
                search.observe(record.start, record.end, record.event().as_ref())
            },
        )
        .await?;
        if watch.cancel.is_cancelled() {
            return Err(ResolveError::Cancelled);
        }
        self.judge(begin, &search, range)
    }

    /// When the backup is consistent. A standby writes no end-of-backup record; the
    /// position that `pg_backup_stop` returned there is at least the minimum recovery
    /// point that its control file holds.
    fn consistency(&self, begin: Lsn) -> Consistency {
        let label = self
            .backup
            .backup_label
            .as_ref()
            .and_then(|text| BackupLabel::parse(text.as_bytes()).ok());
        match (label, self.backup.end_lsn) {
            (Some(label), Some(end)) if label.from_standby => Consistency::Reached(end),
            (None, Some(end)) => Consistency::Reached(end),
            _ => Consistency::BackupEnd(begin),
        }
    }

    fn judge(
        &self,
        begin: Lsn,
        search: &StopSearch,
        range: RangeReport,
    ) -> Result<ResolvedTarget, ResolveError> {
        let Some(stop) = search.stop() else {
            return Err(self.unreachable(search, &range));
        };
        let Some(consistent) = search.consistent_at() else {
            // The stop may have come before the end of the backup, or the WAL ended.
            return Err(if *self.target == Target::Tip {
                ResolveError::NotConsistent {
                    backup: self.backup.id.clone(),
                    why: why_ended(search, &range),
                    findings: range.findings,
                }
            } else {
                ResolveError::BeforeConsistency {
                    target: self.target.clone(),
                    backup: self.backup.id.clone(),
                    consistent_at: self.backup.end_lsn.unwrap_or(begin),
                    time: self.backup.end_time,
                }
            });
        };
        let Some(last) = stop.last else {
            return Err(self.unreachable(search, &range));
        };
        if let Some(created) = stop.tablespaces.first() {
            return Err(ResolveError::TablespaceCreated {
                target: self.target.clone(),
                lsn: created.lsn,
                timeline: self.history.timeline_at(created.lsn),
                oid: created.oid,
                location: created.location.clone(),
            });
        }
        let mut findings: Vec<Finding> = range
            .findings
            .iter()
            .filter(|finding| {
                *self.target == Target::Tip
                    || finding.wal.is_none_or(|stretch| stretch.begin < last.end)
            })
            .cloned()
            .collect();
        if let Some(minimal) = search.minimal_at()
            && !findings
                .iter()
                .any(|finding| finding.code == Code::WalLevelMinimal)
        {
            findings.push(
                Finding::new(
                    Code::WalLevelMinimal,
                    self.history.timeline.to_string(),
                    format!("wal_level was lowered to minimal at {minimal}"),
                )
                .with_wal(self.history.timeline_at(minimal), minimal, minimal),
            );
        }
        Ok(ResolvedTarget {
            target: self.target.clone(),
            backup_id: self.backup.id.clone(),
            timeline: self.history.timeline,
            begin,
            stop_record: last.start,
            end: last.end,
            consistent_at: consistent.end,
            recovery_point: stop.recovery_point,
            next_commit: stop.next_commit,
            required: stop.required,
            plan: self.plan(begin, last.end),
            range,
            findings,
        })
    }

    fn plan(&self, begin: Lsn, end: Lsn) -> WalPlan {
        let wal = &self.catalog.wal;
        let size = wal.segment_size;
        let path = SegmentPath::new(self.history, size);
        let segments: Vec<Stretch> = path
            .split(size.segment_of(begin), size.segment_before(end))
            .iter()
            .map(|stretch| Stretch {
                timeline: stretch.timeline,
                first: stretch.first,
                last: stretch.last,
            })
            .collect();
        WalPlan {
            segment_size: size,
            system_id: self.backup.system_id,
            timeline: self.history.timeline,
            // Recovery reads the file of the timeline it ends on; those of the ancestors
            // are looked for, not needed.
            histories: (self.history.timeline != TimelineId::FIRST)
                .then_some(self.history.timeline)
                .into_iter()
                .collect(),
            codecs: self.codecs(&segments),
            segments,
        }
    }

    /// The codecs of the planned segments, most segments first.
    fn codecs(&self, segments: &[Stretch]) -> Vec<Codec> {
        let mut counts: Vec<(Codec, u64)> = Vec::new();
        for stretch in segments {
            let Some(timeline) = self.catalog.wal.timelines.get(&stretch.timeline) else {
                continue;
            };
            for run in &timeline.runs {
                let first = run.first.max(stretch.first);
                let last = run.last.min(stretch.last);
                if first > last {
                    continue;
                }
                let amount = last.0 - first.0 + 1;
                match counts.iter_mut().find(|(codec, _)| *codec == run.codec) {
                    Some((_, count)) => *count += amount,
                    None => counts.push((run.codec, amount)),
                }
            }
        }
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        counts.into_iter().map(|(codec, _)| codec).collect()
    }

    /// Why a target was not met, in words that say what to choose instead.
    fn unreachable(&self, search: &StopSearch, range: &RangeReport) -> ResolveError {
        let gave_up = self.give_up_at.is_some() && range.stopped_by == StopReason::Visitor;
        let ended = why_ended(search, range);
        let last = match search.last_commit() {
            Some(commit) => format!(
                "the last commit it reaches is transaction {} at {} (record {})",
                commit.xid,
                words(commit.time),
                commit.lsn
            ),
            None => "there is no commit in it".to_owned(),
        };
        let whole = range.stopped_by == StopReason::ArchiveEnd && search.minimal_at().is_none();
        let why = match (self.target, whole) {
            (Target::Time(time), true) => format!(
                "no transaction in the archive ended after {}, so PostgreSQL would find nothing to stop at; {last}; choose the target `tip` for everything there is",
                words(*time)
            ),
            (Target::Lsn { lsn, .. }, true) => format!(
                "no record begins at {lsn} or later: the last one begins at {}; {last}; choose the target `tip` for everything there is",
                search.last().map_or(range.begin, |applied| applied.start)
            ),
            (Target::Xid { xid, .. }, true) => format!(
                "transaction {xid} does not end between this backup and the end of the archive (a subtransaction has no end of its own, and an older transaction needs an older backup); {last}"
            ),
            (Target::Name(name), true) => format!(
                "there is no restore point {name:?} between this backup and the end of the archive{}",
                names_there(range)
            ),
            (_, true) => format!("it is not met before the end of the archive; {last}"),
            (_, false) => format!("{ended}; {last}"),
        };
        ResolveError::TargetUnreachable {
            target: self.target.clone(),
            backup: self.backup.id.clone(),
            why,
            may_lie_before: matches!(self.target, Target::Xid { .. } | Target::Name(_))
                && (whole || gave_up),
            findings: range.findings.clone(),
        }
    }
}

fn names_there(range: &RangeReport) -> String {
    let names: Vec<&str> = range
        .restore_points
        .iter()
        .take(10)
        .map(|point| point.name.as_str())
        .collect();
    if names.is_empty() {
        "; there is none at all".to_owned()
    } else {
        format!("; there are: {}", names.join(", "))
    }
}

/// Why the WAL ended where it did.
fn why_ended(search: &StopSearch, range: &RangeReport) -> String {
    if let Some(minimal) = search.minimal_at() {
        return format!(
            "wal_level was lowered to minimal at {minimal}, and recovery cannot pass that; a newer base backup is needed for what follows"
        );
    }
    let end = range.end;
    match &range.stopped_by {
        StopReason::ArchiveEnd | StopReason::Requested | StopReason::Visitor => {
            format!("the archive ends at {end}")
        }
        StopReason::MissingSegment { segment } => {
            format!("segment {segment} is missing, so the WAL ends at {end}, within a hole")
        }
        StopReason::Fault { key, fault } => {
            format!("the WAL ends at {end}, because {key} is bad there: {fault}")
        }
        StopReason::Unreadable { key, reason } => {
            format!("the WAL ends at {end}, because {key} cannot be read: {reason}")
        }
    }
}

fn words(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}
