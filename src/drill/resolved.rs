//! From a target to the exact record at which recovery must end.

use super::course::Stop;
use super::options::DrillOptions;
use super::proof::ExpectedEnd;
use crate::finding::{Code, Finding};
use crate::postgres::Lsn;
use crate::repository::{BaseBackup, Catalog, Repository};
use crate::restore::configuration::RequiredSettings;
use crate::restore::wal::Stretch;
use crate::restore::{Target, WalPlan};
use crate::verify::listed::Survey;
use crate::verify::path::SegmentPath;
use crate::verify::wal_range::{RangeRequest, Until, scan};

/// The end of a recovery, and the way there.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// Where replay begins.
    pub begin: Lsn,
    /// Where it must end.
    pub expected: ExpectedEnd,
    /// The files that it needs.
    pub wal: WalPlan,
    /// Bytes between begin and end.
    pub wal_bytes: u64,
    /// Commits in between.
    pub commits: u64,
    /// The lowest settings that it needs.
    pub required: RequiredSettings,
    /// Tablespaces that it would create outside.
    pub tablespaces_created: Vec<crate::verify::wal_range::TablespaceEvent>,
    /// What keeps the tip from being the archive's end.
    pub holes: Vec<Finding>,
    /// What else was found in the range.
    pub findings: Vec<Finding>,
}

/// Reads the WAL from the backup's begin on and finds the target in it.
pub async fn resolve(
    repository: &Repository,
    catalog: &Catalog,
    survey: &Survey,
    backup: &BaseBackup,
    options: &DrillOptions,
) -> Result<Resolved, Stop> {
    if options.target != Target::Tip {
        return Err(Stop::Unproven(format!("target {} is not known", options.target)));
    }
    let begin = backup
        .begin_lsn
        .ok_or_else(|| Stop::Unproven(format!("backup {} does not say where it begins", backup.id)))?;
    let history = match options.timeline {
        None => survey.timelines.current.clone(),
        Some(timeline) => catalog.wal.history(timeline).ok_or_else(|| {
            Stop::failed(Finding::new(
                Code::HistoryMissing,
                timeline.history_file_name(),
                "the timeline that was asked for has no readable history file",
            ))
        })?,
    };
    let request = RangeRequest {
        history: history.clone(),
        start: begin,
        until: Until::End,
        system_id: backup.system_id,
    };
    let range = scan(repository, catalog, &request, &|_| {}, &mut |_| std::ops::ControlFlow::Continue(()))
        .await
        .map_err(Stop::unproven)?;
    if let Some(lsn) = range.wal_level_minimal {
        return Err(Stop::Failed(if range.findings.is_empty() {
            vec![Finding::new(Code::WalLevelMinimal, lsn.to_string(), "wal_level was lowered to minimal")]
        } else {
            range.findings
        }));
    }
    let reached = backup.end_lsn.is_none_or(|end| range.end >= end);
    let Some(stop_record) = range.last_record.filter(|_| reached) else {
        let mut findings = range.findings;
        if findings.is_empty() {
            findings.push(Finding::new(
                Code::BackupWalMissing,
                &backup.id,
                "the WAL that makes this backup consistent cannot be read to its end",
            ));
        }
        return Err(Stop::Failed(findings));
    };
    let size = catalog.wal.segment_size;
    let path = SegmentPath::new(&history, size);
    let segments = path
        .split(size.segment_of(begin), size.segment_before(range.end))
        .iter()
        .map(|stretch| Stretch {
            timeline: stretch.timeline,
            first: stretch.first,
            last: stretch.last,
        })
        .collect();
    let mut required = RequiredSettings::default();
    if let Some(change) = &range.settings {
        required.raise_to_change(change);
    }
    let whole = matches!(
        range.stopped_by,
        crate::verify::wal_range::StopReason::ArchiveEnd
    );
    let (holes, findings) = if whole {
        (Vec::new(), range.findings)
    } else {
        (range.findings, Vec::new())
    };
    let mut histories: Vec<_> = history.ancestors.iter().map(|entry| entry.timeline).collect();
    histories.push(history.timeline);
    histories.retain(|timeline| *timeline != crate::postgres::TimelineId::FIRST);
    Ok(Resolved {
        begin,
        expected: ExpectedEnd {
            timeline: history.timeline,
            stop_record,
            end: range.end,
            recovery_point: range.last_commit,
            next_commit: None,
            system_id: backup.system_id,
        },
        wal: WalPlan {
            segment_size: size,
            system_id: backup.system_id,
            timeline: history.timeline,
            segments,
            histories,
            codecs: Vec::new(),
        },
        wal_bytes: range.end.saturating_since(begin),
        commits: range.commits,
        required,
        tablespaces_created: range.tablespaces_created,
        holes,
        findings,
    })
}
