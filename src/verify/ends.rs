//! Where contiguous WAL really ends, read from its last segments, and where it begins
//! again after a hole.

use std::ops::ControlFlow;

use chrono::{DateTime, Utc};

use crate::finding::Finding;
use crate::postgres::wal::{
    WalEvent, WalFault, WalRecord, WalStream, WalStreamOptions, first_record,
};
use crate::postgres::{Lsn, SegmentNumber, SystemId};

use super::backups::Way;
use super::segment_reader::{SegmentRead, SegmentReader, fault_finding, unreadable_finding};
use super::{CommitPoint, VerifyError};

/// The end of a stretch of contiguous WAL.
#[derive(Clone, Debug, Default)]
pub(super) struct EndOfWal {
    /// The position after the last record; `None` when no segment could be read.
    pub(super) end: Option<Lsn>,
    /// The last record's begin.
    pub(super) last_record: Option<Lsn>,
    /// The last commit that was found.
    pub(super) commit: Option<CommitPoint>,
    /// Whether the commit lies so far back that other records' times tell more.
    pub(super) idle: bool,
    /// The latest time in any record: whatever was committed before it is there.
    pub(super) record_time: Option<DateTime<Utc>>,
    /// The object that holds the end.
    pub(super) key: Option<String>,
    /// Whether everything from the floor on was read.
    pub(super) whole: bool,
    /// What was wrong with the bytes.
    pub(super) findings: Vec<Finding>,
}

/// What to read the end of.
#[derive(Clone, Copy, Debug)]
pub(super) struct EndRequest {
    /// The last segment of the stretch.
    pub(super) last: SegmentNumber,
    /// The redo point of the newest backup that the stretch carries: nothing before it is
    /// read.
    pub(super) floor: Lsn,
    /// The system that must have written it.
    pub(super) system_id: Option<SystemId>,
    /// How many segments to read backwards at most in search of a commit.
    pub(super) segments: u64,
}

/// What was seen while records passed.
#[derive(Debug, Default)]
struct Seen {
    first_commit: Option<CommitPoint>,
    last_commit: Option<CommitPoint>,
    record_time: Option<DateTime<Utc>>,
    /// Stop at the first commit.
    first_only: bool,
}

impl Seen {
    fn visit(&mut self, record: &WalRecord<'_>) -> ControlFlow<()> {
        let time = match record.event() {
            Some(WalEvent::Commit { xid, time, .. }) => {
                let commit = CommitPoint {
                    lsn: record.start,
                    end: record.end,
                    xid,
                    time,
                };
                self.first_commit.get_or_insert(commit);
                self.last_commit = Some(commit);
                if self.first_only {
                    return ControlFlow::Break(());
                }
                time
            }
            Some(
                WalEvent::Abort { time, .. }
                | WalEvent::Checkpoint { time, .. }
                | WalEvent::RestorePoint { time, .. }
                | WalEvent::EndOfRecovery { time, .. },
            ) => time,
            _ => return ControlFlow::Continue(()),
        };
        self.record_time = self.record_time.max(Some(time));
        ControlFlow::Continue(())
    }
}

/// A stream with what it has seen, to be moved to a blocking thread and back.
#[derive(Debug)]
struct Pass {
    stream: WalStream,
    seen: Seen,
}

impl Pass {
    async fn push(
        mut self,
        number: SegmentNumber,
        bytes: Vec<u8>,
    ) -> Result<(Self, Result<(), WalFault>), VerifyError> {
        let task = tokio::task::spawn_blocking(move || {
            let Self { stream, seen } = &mut self;
            let result = stream.push_segment(number, &bytes, &mut |record| seen.visit(record));
            (self, result)
        });
        Ok(task.await?)
    }
}

/// How one pass over the last segments ended.
enum PassEnd {
    /// It reached the last segment.
    Done,
    /// The first segment of the pass has no record of its own.
    NoRecord,
    /// This segment is bad.
    Bad(SegmentNumber, Finding),
}

/// Reads the last segments of a stretch, 1, 2, 4, … of them, until a commit is found.
/// Where a segment turns out bad, the stretch ends there, and the search goes on from
/// there; in all at most four times as many segments are read as the request allows
/// backwards. Memory: one segment, stored and decoded, and the longest record.
pub(super) async fn read_end(
    reader: &SegmentReader<'_>,
    way: Way<'_>,
    request: EndRequest,
) -> Result<EndOfWal, VerifyError> {
    let floor = way.catalog.wal.segment_size.segment_of(request.floor);
    let most = request.segments.max(1);
    let budget = reader.count().saturating_add(most.saturating_mul(4));
    let mut found = EndOfWal::default();
    let mut last = request.last;
    let mut count = 1;
    while last >= floor && reader.count() < budget {
        let first = SegmentNumber(floor.0.max((last.0 + 1).saturating_sub(count)));
        let start = (first == floor).then_some(request.floor);
        let (pass, key, end) = read_pass(reader, way, request, (first, last), start).await?;
        if let Some(pass) = pass
            && let Some(record) = pass.stream.position().last_record
        {
            found.end = Some(pass.stream.position().end);
            found.last_record = Some(record);
            found.commit = pass.seen.last_commit;
            found.record_time = found.record_time.max(pass.seen.record_time);
            found.key = key;
        }
        found.whole = first == floor;
        if let PassEnd::Bad(number, finding) = end {
            if !found.findings.contains(&finding) {
                found.findings.push(finding);
            }
            if number < last {
                // What was seen behind it does not count; it is the end now.
                last = number;
                count = 1;
                if found.commit.is_some() {
                    break;
                }
                continue;
            }
        }
        if found.commit.is_some() || found.whole || count >= most {
            break;
        }
        count = (count * 2).min(most);
    }
    Ok(found)
}

/// Reads `first..=last` in one stream. `start` is where a record is known to begin; else
/// it is looked for in the first segment.
async fn read_pass(
    reader: &SegmentReader<'_>,
    way: Way<'_>,
    request: EndRequest,
    (first, last): (SegmentNumber, SegmentNumber),
    start: Option<Lsn>,
) -> Result<(Option<Pass>, Option<String>, PassEnd), VerifyError> {
    let wal = &way.catalog.wal;
    let mut pass: Option<Pass> = None;
    let mut last_key = None;
    for number in (first.0..=last.0).map(SegmentNumber) {
        let timeline = way.path.timeline_of(number);
        let name = wal.name(timeline, number);
        let (key, bytes) = match reader.read(timeline, number).await? {
            SegmentRead::Bytes { key, bytes } => (key, bytes),
            SegmentRead::Missing => {
                let finding = Finding::new(
                    crate::finding::Code::WalGap,
                    name.to_string(),
                    format!("segment {name} was listed and is gone"),
                );
                return Ok((pass, last_key, PassEnd::Bad(number, finding)));
            }
            SegmentRead::Unreadable { key, reason } => {
                let finding = unreadable_finding(way.catalog, name, &key, &reason);
                return Ok((pass, last_key, PassEnd::Bad(number, finding)));
            }
        };
        let running = match pass.take() {
            Some(running) => running,
            None => match start.map_or_else(|| first_record(&bytes), |start| Ok(Some(start))) {
                Ok(Some(start)) => Pass {
                    stream: WalStream::new(WalStreamOptions {
                        segment_size: wal.segment_size,
                        system_id: request.system_id,
                        history: way.history.clone(),
                        start,
                    }),
                    seen: Seen::default(),
                },
                Ok(None) => return Ok((None, None, PassEnd::NoRecord)),
                Err(fault) => {
                    let finding = fault_finding(way.catalog, way.history, &fault, name, &key);
                    return Ok((None, None, PassEnd::Bad(number, finding)));
                }
            },
        };
        let (running, result) = running.push(number, bytes).await?;
        pass = Some(running);
        if let Err(fault) = result {
            let finding = fault_finding(way.catalog, way.history, &fault, name, &key);
            return Ok((pass, Some(key), PassEnd::Bad(number, finding)));
        }
        last_key = Some(key);
    }
    Ok((pass, last_key, PassEnd::Done))
}

/// The first commit from segment `first` on, reading at most `segments` of those that
/// follow without a hole.
pub(super) async fn first_commit(
    reader: &SegmentReader<'_>,
    way: Way<'_>,
    first: SegmentNumber,
    segments: u64,
) -> Result<Option<CommitPoint>, VerifyError> {
    let wal = &way.catalog.wal;
    let mut pass: Option<Pass> = None;
    for number in (first.0..first.0.saturating_add(segments)).map(SegmentNumber) {
        let timeline = way.path.timeline_of(number);
        let SegmentRead::Bytes { bytes, .. } = reader.read(timeline, number).await? else {
            return Ok(None);
        };
        let running = match pass.take() {
            Some(running) => running,
            None => match first_record(&bytes) {
                Ok(Some(start)) => Pass {
                    stream: WalStream::new(WalStreamOptions {
                        segment_size: wal.segment_size,
                        system_id: None,
                        history: way.history.clone(),
                        start,
                    }),
                    seen: Seen {
                        first_only: true,
                        ..Seen::default()
                    },
                },
                Ok(None) => continue,
                Err(_) => return Ok(None),
            },
        };
        let (running, result) = running.push(number, bytes).await?;
        if running.seen.first_commit.is_some() || result.is_err() {
            return Ok(running.seen.first_commit);
        }
        pass = Some(running);
    }
    Ok(None)
}
