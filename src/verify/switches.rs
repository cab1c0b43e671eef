//! Timeline switches in the bytes: a child's first segment must repeat its parent's up to
//! the switch point, and begin its timeline there.

use std::ops::ControlFlow;

use crate::finding::{Code, Finding};
use crate::postgres::wal::{WalFault, WalStream, WalStreamOptions, first_record, read_first_page};
use crate::postgres::{HistoryEntry, SegmentNumber, SegmentSize, TimelineId};

use super::VerifyError;
use super::backups::Way;
use super::segment_reader::{SegmentRead, SegmentReader, fault_finding, unreadable_finding};

/// Compares the newest `limit` switches of a way whose segment lies within `range`, both
/// ends inclusive.
/// Memory: two segments.
pub(super) async fn compare(
    reader: &SegmentReader<'_>,
    way: Way<'_>,
    (from, to): (SegmentNumber, SegmentNumber),
    limit: usize,
) -> Result<Vec<Finding>, VerifyError> {
    let size = way.catalog.wal.segment_size;
    let mut findings = Vec::new();
    let newest_first = way.history.ancestors.iter().rev();
    for entry in newest_first
        .skip_while(|entry| size.segment_of(entry.switch_lsn) > to)
        .take_while(|entry| size.segment_of(entry.switch_lsn) >= from)
        .take(limit)
    {
        findings.extend(compare_one(reader, way, entry).await?);
    }
    Ok(findings)
}

async fn compare_one(
    reader: &SegmentReader<'_>,
    way: Way<'_>,
    entry: &HistoryEntry,
) -> Result<Option<Finding>, VerifyError> {
    let wal = &way.catalog.wal;
    let size = wal.segment_size;
    let switch = size.segment_of(entry.switch_lsn);
    let child = way.path.timeline_of(switch);
    let Some(number) = oldest_from(way, child, switch) else {
        return Ok(None); // Nothing of the child is here yet.
    };
    let name = wal.name(child, number);
    let (key, bytes) = match reader.read(child, number).await? {
        SegmentRead::Bytes { key, bytes } => (key, bytes),
        SegmentRead::Missing => return Ok(None),
        SegmentRead::Unreadable { key, reason } => {
            return Ok(Some(unreadable_finding(way.catalog, name, &key, &reason)));
        }
    };
    let fault = |fault: &WalFault| fault_finding(way.catalog, way.history, fault, name, &key);
    if number > switch {
        // The switch segment is missing, or the history names a wrong one: the first
        // page of what is there tells.
        let first = match read_first_page(&bytes) {
            Ok(first) => first,
            Err(found) => return Ok(Some(fault(&found))),
        };
        return Ok((first.timeline != child).then(|| {
            fault(&WalFault::WrongTimeline {
                lsn: number.begin_lsn(size),
                found: first.timeline,
                expected: child,
            })
        }));
    }
    if let Some(parent) = parent_bytes(reader, way, entry.timeline, switch).await?
        && let Some(at) = first_difference(&parent, &bytes, size, entry)
    {
        let lsn = switch.begin_lsn(size).checked_add(at).unwrap_or_default();
        let object = wal.histories.get(&way.history.timeline);
        return Ok(Some(
            Finding::new(
                Code::HistoryContradictory,
                object.map_or(key.as_str(), |object| object.key.as_str()),
                format!(
                    "segment {name} should repeat timeline {} up to {}, but differs from it at {lsn}",
                    entry.timeline, entry.switch_lsn
                ),
            )
            .with_wal(child, lsn, entry.switch_lsn),
        ));
    }
    let stream = read_through(way, number, bytes).await?;
    Ok(stream.err().as_ref().map(fault))
}

/// Reads the records of a switch segment, so that a switch point inside a record, or a
/// timeline that does not begin there, is seen.
async fn read_through(
    way: Way<'_>,
    number: SegmentNumber,
    bytes: Vec<u8>,
) -> Result<Result<(), WalFault>, VerifyError> {
    let segment_size = way.catalog.wal.segment_size;
    let history = way.history.clone();
    let task = tokio::task::spawn_blocking(move || {
        let Some(start) = first_record(&bytes)? else {
            return Ok(());
        };
        let mut stream = WalStream::new(WalStreamOptions {
            segment_size,
            system_id: None,
            history,
            start,
        });
        stream.push_segment(number, &bytes, &mut |_| ControlFlow::Continue(()))
    });
    Ok(task.await?)
}

/// The oldest full segment of the child's stretch from the switch on.
fn oldest_from(way: Way<'_>, child: TimelineId, switch: SegmentNumber) -> Option<SegmentNumber> {
    let stretch = way
        .path
        .stretches()
        .iter()
        .find(|stretch| stretch.timeline == child)?;
    let runs = &way.catalog.wal.timelines.get(&child)?.runs;
    let run = runs.get(runs.partition_point(|run| run.last < switch))?;
    let oldest = run.first.max(switch);
    (oldest <= stretch.last).then_some(oldest)
}

/// The parent's own bytes of the switch segment, full or unfinished. That they are absent
/// or bad does not matter: recovery does not read them.
async fn parent_bytes(
    reader: &SegmentReader<'_>,
    way: Way<'_>,
    parent: TimelineId,
    switch: SegmentNumber,
) -> Result<Option<Vec<u8>>, VerifyError> {
    let own = way.catalog.wal.timelines.get(&parent);
    if own.is_some_and(|wal| wal.run_of(switch).is_some())
        && let SegmentRead::Bytes { bytes, .. } = reader.read(parent, switch).await?
    {
        return Ok(Some(bytes));
    }
    match reader.read_partial(parent, switch).await? {
        SegmentRead::Bytes { bytes, .. } => Ok(Some(bytes)),
        SegmentRead::Missing | SegmentRead::Unreadable { .. } => Ok(None),
    }
}

/// The offset of the first byte before the switch point in which the two differ.
fn first_difference(
    parent: &[u8],
    child: &[u8],
    size: SegmentSize,
    entry: &HistoryEntry,
) -> Option<u64> {
    let common = usize::try_from(size.offset_of(entry.switch_lsn)).unwrap_or(usize::MAX);
    let pairs = parent.iter().zip(child).take(common);
    pairs
        .enumerate()
        .find(|(_, (a, b))| a != b)
        .map(|(at, _)| at as u64)
}
