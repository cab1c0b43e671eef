//! Over all WAL that there is on a way, holes or not.

use std::ops::ControlFlow;

use serde::Serialize;

use crate::finding::Finding;
use crate::postgres::wal::{WalRecord, first_record};
use crate::postgres::{Lsn, SegmentNumber, SystemId, TimelineHistory};
use crate::repository::{Catalog, Repository};

use super::super::VerifyError;
use super::super::bad_segments::BadSegments;
use super::super::path::SegmentPath;
use super::super::segment_reader::{SegmentRead, SegmentReader, fault_finding, unreadable_finding};
use super::super::wal_range::{OnProgress, RangeProgress, RangeRequest, StopReason, Until, scan};

/// What to go over.
#[derive(Clone, Debug)]
pub struct WalkRequest {
    /// The timeline to end on, and the way there.
    pub history: TimelineHistory,
    /// Records that begin before this are left out.
    pub from: Option<Lsn>,
    /// Records that begin at or behind this are left out.
    pub to: Option<Lsn>,
    /// The database system that must have written the WAL.
    pub system_id: Option<SystemId>,
}

/// A stretch that was read without a break.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StretchRead {
    /// The name of its first segment.
    pub first_segment: String,
    /// The name of its last segment that was asked for.
    pub last_segment: String,
    /// Where its first whole record begins.
    pub begin: Lsn,
    /// Where its last record ends.
    pub end: Lsn,
    /// Why it goes no further.
    pub stopped_by: StopReason,
}

/// What was gone over.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct WalkReport {
    /// The stretches, in order. Between two of them WAL is missing or cannot be read.
    pub stretches: Vec<StretchRead>,
    /// Segments read.
    pub segments: u64,
    /// Decoded bytes read.
    pub bytes: u64,
    /// Records read.
    pub records: u64,
    /// Segments missing between the first and the last one.
    pub missing_segments: u64,
    /// Whether all WAL from the first to the last segment could be read. If not, something
    /// may have happened where it could not be seen.
    pub whole: bool,
    /// What is wrong with the segments that were read.
    pub findings: Vec<Finding>,
}

/// Hands every record on the way to `visit`. After a hole or a bad segment it goes on
/// with the first record that begins behind it.
///
/// Memory: as [`scan`].
pub async fn walk(
    repository: &Repository,
    catalog: &Catalog,
    request: &WalkRequest,
    progress: OnProgress<'_>,
    visit: &mut (dyn FnMut(&WalRecord<'_>) + Send),
) -> Result<WalkReport, VerifyError> {
    let wal = &catalog.wal;
    let size = wal.segment_size;
    let path = SegmentPath::new(&request.history, size);
    let bad = BadSegments::of(wal);
    let reader = SegmentReader::new(repository, catalog);
    let from = request
        .from
        .map_or(SegmentNumber(0), |lsn| size.segment_of(lsn));
    let to = request
        .to
        .map_or(SegmentNumber(u64::MAX), |lsn| size.segment_of(lsn));
    let present: Vec<(SegmentNumber, SegmentNumber)> = path
        .present(wal, &bad, from)
        .into_iter()
        .filter(|(first, _)| *first <= to)
        .map(|(first, last)| (first, last.min(to)))
        .collect();
    let of_segments = present
        .iter()
        .map(|(first, last)| last.0 - first.0 + 1)
        .sum();
    let mut report = WalkReport {
        missing_segments: present
            .windows(2)
            .map(|pair| match pair {
                [(_, before), (after, _)] => after.0.saturating_sub(before.0).saturating_sub(1),
                _ => 0,
            })
            .sum(),
        whole: true,
        ..WalkReport::default()
    };
    for (first, last) in present {
        let mut next = Some(first);
        while let Some(first) = next.filter(|first| *first <= last) {
            next = None;
            let name = wal.name(path.timeline_of(first), first);
            let start = match reader.read(path.timeline_of(first), first).await? {
                SegmentRead::Bytes { key, bytes } => match first_record(&bytes) {
                    // Of other bytes than its own the scan says what is wrong.
                    Ok(Some(start)) if size.segment_of(start) != first => {
                        Some(first.begin_lsn(size))
                    }
                    Ok(start) => start,
                    Err(fault) => {
                        report.whole = false;
                        report.findings.push(fault_finding(
                            catalog,
                            &request.history,
                            &fault,
                            name,
                            &key,
                        ));
                        None
                    }
                },
                SegmentRead::Unreadable { key, reason } => {
                    report.whole = false;
                    report
                        .findings
                        .push(unreadable_finding(catalog, name, &key, &reason));
                    None
                }
                SegmentRead::Missing => {
                    report.missing_segments += 1;
                    None
                }
            };
            // A record that began before the stretch may run through its first segments.
            let Some(start) = start else {
                report.segments += 1;
                next = Some(first.next());
                continue;
            };
            let range = RangeRequest {
                history: request.history.clone(),
                start,
                until: Until::Segment(last),
                system_id: request.system_id,
            };
            let before = (report.segments, report.bytes, report.records);
            let range = scan(
                repository,
                catalog,
                &range,
                &|done| {
                    progress(RangeProgress {
                        segments: before.0 + done.segments,
                        of_segments,
                        bytes: before.1 + done.bytes,
                        records: before.2 + done.records,
                        lsn: done.lsn,
                    });
                },
                &mut |record| {
                    if request.to.is_some_and(|to| record.start >= to) {
                        return ControlFlow::Break(());
                    }
                    if request.from.is_none_or(|from| record.start >= from) {
                        visit(record);
                    }
                    ControlFlow::Continue(())
                },
            )
            .await?;
            report.segments += range.segments;
            report.bytes += range.bytes;
            report.records += range.records;
            let stopped_early = !matches!(
                range.stopped_by,
                StopReason::Requested | StopReason::ArchiveEnd | StopReason::Visitor
            );
            if stopped_early {
                report.whole = false;
                // The segment of the fault is counted among those that were read, one
                // that cannot be decoded is not.
                let read = SegmentNumber(first.0.saturating_add(range.segments));
                next = Some(match range.stopped_by {
                    StopReason::Fault { .. } => read,
                    _ => read.next(),
                });
            }
            report.findings.extend(range.findings);
            report.stretches.push(StretchRead {
                first_segment: name.to_string(),
                last_segment: wal.name(path.timeline_of(last), last).to_string(),
                begin: start,
                end: range.end,
                stopped_by: range.stopped_by,
            });
        }
    }
    report.whole &= report.missing_segments == 0;
    Ok(report)
}
