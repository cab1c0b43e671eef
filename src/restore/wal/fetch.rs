//! One file of the archive, read and judged before recovery sees it.

use crate::postgres::wal::read_first_page;
use crate::postgres::{SegmentName, SegmentSize, SystemId, TimelineHistory, WalFileName};
use crate::repository::{ReadWalError, Repository, WalObject};

/// The longest history file that is read, in bytes: some 10,000 timelines.
const MAX_HISTORY: u64 = 1 << 20;

/// A file as recovery may have it.
#[derive(Clone, Debug)]
pub(crate) struct Fetched {
    /// The object it came from.
    pub(crate) key: String,
    /// The decoded bytes.
    pub(crate) bytes: Vec<u8>,
}

/// Why there is no such file for recovery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FetchFailure {
    /// No object holds it.
    Missing,
    /// Objects of its name exist; what is wrong with them.
    Bad(String),
    /// The store did not answer.
    Unreachable(String),
}

/// What a segment must be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expectation {
    /// The cluster's segment size.
    pub(crate) segment_size: SegmentSize,
    /// The system that must have written it.
    pub(crate) system_id: Option<SystemId>,
}

/// Reads the first of `candidates` that is there and good. Memory: the stored and decoded
/// bytes of one object.
pub(crate) async fn fetch_file(
    repository: &Repository,
    candidates: &[WalObject],
    name: WalFileName,
    expectation: Expectation,
) -> Result<Fetched, FetchFailure> {
    let limit = match name {
        WalFileName::Segment(_) | WalFileName::Partial(_) => expectation.segment_size.bytes(),
        WalFileName::History(_) | WalFileName::BackupHistory { .. } => MAX_HISTORY,
    };
    let mut bad: Vec<String> = Vec::new();
    for object in candidates {
        match repository.read_wal(object, limit).await {
            Ok(bytes) => match judge(name, &bytes, expectation) {
                Ok(()) => {
                    return Ok(Fetched {
                        key: object.key.clone(),
                        bytes,
                    });
                }
                Err(reason) => bad.push(format!("{}: {reason}", object.key)),
            },
            Err(ReadWalError::Storage(error)) if error.is_not_found() => {}
            Err(error @ (ReadWalError::Codec { .. } | ReadWalError::TooLarge { .. })) => {
                bad.push(error.to_string());
            }
            Err(error @ (ReadWalError::Storage(_) | ReadWalError::Task(_))) => {
                return Err(FetchFailure::Unreachable(error.to_string()));
            }
        }
    }
    Err(if bad.is_empty() {
        FetchFailure::Missing
    } else {
        FetchFailure::Bad(bad.join("; "))
    })
}

/// What must be true before recovery may have the bytes. The records themselves were
/// read when the target was resolved.
fn judge(name: WalFileName, bytes: &[u8], expectation: Expectation) -> Result<(), String> {
    match name {
        WalFileName::Segment(segment) | WalFileName::Partial(segment) => {
            judge_segment(segment, bytes.len() as u64, bytes, expectation)
        }
        WalFileName::History(timeline) => TimelineHistory::parse(timeline, bytes)
            .map(|_| ())
            .map_err(|error| error.to_string()),
        WalFileName::BackupHistory { .. } => Ok(()),
    }
}

/// Judges a segment by its length in bytes and its first page.
pub(super) fn judge_segment(
    name: SegmentName,
    length: u64,
    first_page: &[u8],
    expectation: Expectation,
) -> Result<(), String> {
    let size = expectation.segment_size;
    if length != size.bytes() {
        return Err(format!("holds {length} bytes instead of {}", size.bytes()));
    }
    let page = read_first_page(first_page).map_err(|fault| fault.to_string())?;
    let begin = name
        .number(size)
        .map_err(|error| error.to_string())?
        .begin_lsn(size);
    if page.address != begin {
        return Err(format!(
            "its first page says {} instead of {begin}: it is another segment",
            page.address
        ));
    }
    if page.segment_size != size {
        return Err(format!(
            "it was written with {}-byte segments instead of {}",
            page.segment_size.bytes(),
            size.bytes()
        ));
    }
    if let Some(expected) = expectation.system_id
        && page.system_id != expected
    {
        return Err(format!(
            "it was written by database system {} instead of {expected}",
            page.system_id
        ));
    }
    // The first segment of a timeline begins with its parent's pages.
    if page.timeline > name.timeline {
        return Err(format!(
            "its first page is of the later timeline {}",
            page.timeline
        ));
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::postgres::TimelineId;

    /// A segment whose first page is right and whose rest is empty.
    pub(crate) fn segment(name: &str, size: SegmentSize, system: SystemId) -> Vec<u8> {
        let name: SegmentName = name.parse().unwrap();
        let begin = name.number(size).unwrap().begin_lsn(size);
        let mut bytes = vec![0; usize::try_from(size.bytes()).unwrap()];
        bytes[0..2].copy_from_slice(&0xD110_u16.to_le_bytes());
        bytes[2..4].copy_from_slice(&0x0002_u16.to_le_bytes());
        bytes[4..8].copy_from_slice(&name.timeline.0.to_le_bytes());
        bytes[8..16].copy_from_slice(&begin.bytes().to_le_bytes());
        bytes[24..32].copy_from_slice(&system.0.to_le_bytes());
        bytes[32..36].copy_from_slice(&u32::try_from(size.bytes()).unwrap().to_le_bytes());
        bytes[36..40].copy_from_slice(&8192_u32.to_le_bytes());
        bytes
    }

    #[test]
    fn a_segment_is_given_only_if_it_is_the_one() {
        let size = SegmentSize::new(1 << 20).unwrap();
        let expectation = Expectation {
            segment_size: size,
            system_id: Some(SystemId(7)),
        };
        let name: SegmentName = "000000010000000000000002".parse().unwrap();
        let good = segment("000000010000000000000002", size, SystemId(7));
        let judge_one = |bytes: &[u8]| judge_segment(name, bytes.len() as u64, bytes, expectation);
        assert_eq!(judge_one(&good), Ok(()));

        let mut later = good.clone();
        later[4..8].copy_from_slice(&TimelineId(2).0.to_le_bytes());
        for (bytes, word) in [
            (good[..1 << 19].to_vec(), "instead of"),
            (vec![0; 1 << 20], ""),
            (
                segment("000000010000000000000003", size, SystemId(7)),
                "another segment",
            ),
            (
                segment("000000010000000000000002", size, SystemId(8)),
                "database system 8",
            ),
            (later, "later timeline"),
        ] {
            let error = judge_one(&bytes).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
        let history = WalFileName::History(TimelineId(2));
        assert!(judge(history, b"1\t0/3000000\tx\n", expectation).is_ok());
        assert!(judge(history, b"<html>", expectation).is_err());
    }
}
