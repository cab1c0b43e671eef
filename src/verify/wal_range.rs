//! Reading all the WAL that one restore will replay, before it does.

use std::ops::ControlFlow;

use futures::StreamExt;
use tokio::runtime::{Handle, RuntimeFlavor};

use crate::finding::{Code, Finding};
use crate::postgres::wal::{WalRecord, WalStream, WalStreamOptions};
use crate::postgres::{Lsn, SegmentNumber, SystemId, TimelineHistory};
use crate::repository::{Catalog, Repository};

use super::VerifyError;
use super::backups::Way;
use super::bad_segments::BadSegments;
use super::chain::known_end;
use super::path::SegmentPath;
use super::range_facts::Facts;
pub use super::range_report::{
    ClockStep, PreparedTransaction, RangeReport, RestorePoint, StopReason, TablespaceEvent,
};
use super::segment_reader::{SegmentRead, SegmentReader, fault_finding, unreadable_finding};
use super::switches;

/// How many segments are fetched and decoded ahead of the one whose records are read.
const READ_AHEAD: usize = 3;

/// How many of the newest timeline switches in the range are compared with the parent.
const SWITCHES: usize = 16;

/// How far to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// To the end of the archive on the followed way.
    End,
    /// To this segment, inclusive.
    Segment(SegmentNumber),
}

/// What to read.
#[derive(Clone, Debug)]
pub struct RangeRequest {
    /// The timeline to end on, and the way there.
    pub history: TimelineHistory,
    /// Where to begin: a backup's redo point.
    pub start: Lsn,
    /// How far to read.
    pub until: Until,
    /// The database system that must have written the WAL.
    pub system_id: Option<SystemId>,
}

/// How far a scan is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RangeProgress {
    /// Segments read.
    pub segments: u64,
    /// Segments that there are to read, as far as names tell.
    pub of_segments: u64,
    /// Decoded bytes read.
    pub bytes: u64,
    /// Records read.
    pub records: u64,
    /// The position reached.
    pub lsn: Lsn,
}

/// Is told after each segment how far a scan is.
pub type OnProgress<'p> = &'p (dyn Fn(RangeProgress) + Send + Sync);

/// Is handed every record; breaks to end the scan behind it.
pub type OnRecord<'v> = &'v mut (dyn FnMut(&WalRecord<'_>) -> ControlFlow<()> + Send);

/// Reads the WAL from `request.start` on, segment by segment along the way, checks it and
/// collects what recovery over it would need and meet. Where it ends and why is in the
/// report; `Err` means that storage failed.
///
/// Memory: [`READ_AHEAD`] and one more segments, each stored and decoded, and the longest
/// record. Decoding runs on blocking threads; records are read on the calling thread,
/// which a multi-thread runtime replaces meanwhile.
pub async fn scan(
    repository: &Repository,
    catalog: &Catalog,
    request: &RangeRequest,
    progress: OnProgress<'_>,
    visit: OnRecord<'_>,
) -> Result<RangeReport, VerifyError> {
    let wal = &catalog.wal;
    let size = wal.segment_size;
    let path = SegmentPath::new(&request.history, size);
    let bad = BadSegments::of(wal);
    let way = Way {
        catalog,
        history: &request.history,
        path: &path,
        bad: &bad,
    };
    let first = size.segment_of(request.start);
    let known = known_end(way).unwrap_or(first).max(first);
    let last = match request.until {
        Until::End => known,
        Until::Segment(number) => number,
    };
    let reader = SegmentReader::new(repository, catalog);
    let ahead = futures::stream::iter((first.0..=last.0).map(SegmentNumber))
        .map(|number| {
            let timeline = path.timeline_of(number);
            let reader = &reader;
            async move { (number, reader.read(timeline, number).await) }
        })
        .buffered(READ_AHEAD);
    tokio::pin!(ahead);

    let mut stream = WalStream::new(WalStreamOptions {
        segment_size: size,
        system_id: request.system_id,
        history: request.history.clone(),
        start: request.start,
    });
    let mut facts = Facts::default();
    let mut findings = Vec::new();
    let mut stopped_by = match request.until {
        Until::End => StopReason::ArchiveEnd,
        Until::Segment(_) => StopReason::Requested,
    };
    let mut done = RangeProgress {
        of_segments: (last.0 + 1).saturating_sub(first.0),
        ..RangeProgress::default()
    };
    while let Some((number, read)) = ahead.next().await {
        let name = wal.name(path.timeline_of(number), number);
        let (key, bytes) = match read? {
            SegmentRead::Bytes { key, bytes } => (key, bytes),
            SegmentRead::Missing => {
                findings.push(missing(way, number));
                stopped_by = StopReason::MissingSegment {
                    segment: name.to_string(),
                };
                break;
            }
            SegmentRead::Unreadable { key, reason } => {
                findings.push(unreadable_finding(catalog, name, &key, &reason));
                stopped_by = StopReason::Unreadable { key, reason };
                break;
            }
        };
        let mut broke = false;
        let records_before = facts.records;
        let result = on_this_thread(|| {
            stream.push_segment(number, &bytes, &mut |record| {
                facts.take(record, &key);
                let flow = visit(record);
                broke |= flow.is_break();
                flow
            })
        });
        done.segments += 1;
        done.bytes += bytes.len() as u64;
        done.records += facts.records - records_before;
        done.lsn = stream.position().end;
        progress(done);
        if let Err(fault) = result {
            findings.push(fault_finding(catalog, &request.history, &fault, name, &key));
            stopped_by = StopReason::Fault { key, fault };
            break;
        }
        if broke {
            stopped_by = StopReason::Visitor;
            break;
        }
    }
    let reached = SegmentNumber(first.0.saturating_add(done.segments)).min(last);
    for finding in switches::compare(&reader, way, (first, reached), SWITCHES).await? {
        if !findings.contains(&finding) {
            findings.push(finding);
        }
    }
    findings.extend(facts.findings(|lsn| path.timeline_of(size.segment_of(lsn)), |_| true));
    let position = stream.position();
    Ok(facts.report(
        request.start,
        position,
        done,
        stream.major(),
        stopped_by,
        findings,
    ))
}

fn missing(way: Way<'_>, number: SegmentNumber) -> Finding {
    let wal = &way.catalog.wal;
    let timeline = way.path.timeline_of(number);
    let name = wal.name(timeline, number);
    if let Some(object) = way.bad.get(timeline, number).first() {
        return super::wal::size_finding(object.code, &object.key, object.size);
    }
    Finding::new(
        Code::WalGap,
        name.to_string(),
        format!("segment {name} is missing"),
    )
    .with_wal(
        timeline,
        number.begin_lsn(wal.segment_size),
        number.end_lsn(wal.segment_size),
    )
}

/// Runs CPU work where it is; on a multi-thread runtime the other tasks of this thread
/// move to another one meanwhile.
fn on_this_thread<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}
