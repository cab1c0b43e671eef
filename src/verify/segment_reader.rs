//! Reading single segments, and what it means when that fails.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::finding::{Code, Finding};
use crate::postgres::wal::WalFault;
use crate::postgres::{SegmentName, SegmentNumber, TimelineHistory, TimelineId, WalFileName};
use crate::repository::{Catalog, ReadWalError, Repository, WalObject};

use super::VerifyError;

/// What came of reading one segment.
#[derive(Debug)]
pub(super) enum SegmentRead {
    /// Its decoded bytes; their number has not been judged.
    Bytes {
        /// The object they came from.
        key: String,
        /// At most one segment and a byte.
        bytes: Vec<u8>,
    },
    /// There is no such object, or no longer.
    Missing,
    /// The object's bytes are bad.
    Unreadable {
        /// The object.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Reads segments of one catalog and counts them.
#[derive(Debug)]
pub(super) struct SegmentReader<'a> {
    repository: &'a Repository,
    catalog: &'a Catalog,
    count: AtomicU64,
}

impl<'a> SegmentReader<'a> {
    pub(super) const fn new(repository: &'a Repository, catalog: &'a Catalog) -> Self {
        Self {
            repository,
            catalog,
            count: AtomicU64::new(0),
        }
    }

    /// How many segments were read so far.
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Counts segments that were read by other means.
    pub(super) fn add(&self, segments: u64) {
        self.count.fetch_add(segments, Ordering::Relaxed);
    }

    pub(super) const fn catalog(&self) -> &'a Catalog {
        self.catalog
    }

    pub(super) const fn repository(&self) -> &'a Repository {
        self.repository
    }

    /// Reads a full segment. Of several objects the first that decodes to a whole segment
    /// counts. Memory: the stored and the decoded bytes.
    pub(super) async fn read(
        &self,
        timeline: TimelineId,
        number: SegmentNumber,
    ) -> Result<SegmentRead, VerifyError> {
        let name = WalFileName::Segment(self.catalog.wal.name(timeline, number));
        let mut worst = SegmentRead::Missing;
        for object in self.repository.wal_objects(self.catalog, name) {
            match self.read_object(&object).await? {
                SegmentRead::Bytes { key, bytes }
                    if bytes.len() as u64 == self.catalog.wal.segment_size.bytes() =>
                {
                    return Ok(SegmentRead::Bytes { key, bytes });
                }
                read @ SegmentRead::Bytes { .. } => worst = read,
                read @ SegmentRead::Unreadable { .. } => {
                    if matches!(worst, SegmentRead::Missing) {
                        worst = read;
                    }
                }
                SegmentRead::Missing => {}
            }
        }
        Ok(worst)
    }

    /// Reads an unfinished segment.
    pub(super) async fn read_partial(
        &self,
        timeline: TimelineId,
        number: SegmentNumber,
    ) -> Result<SegmentRead, VerifyError> {
        let name = WalFileName::Partial(self.catalog.wal.name(timeline, number));
        match self.repository.wal_objects(self.catalog, name).first() {
            Some(object) => self.read_object(object).await,
            None => Ok(SegmentRead::Missing),
        }
    }

    /// Reads one object of the archive.
    pub(super) async fn read_object(&self, object: &WalObject) -> Result<SegmentRead, VerifyError> {
        let key = object.key.clone();
        self.count.fetch_add(1, Ordering::Relaxed);
        let limit = self.catalog.wal.segment_size.bytes();
        Ok(match self.repository.read_wal(object, limit).await {
            Ok(bytes) => SegmentRead::Bytes { key, bytes },
            Err(ReadWalError::Storage(error)) if error.is_not_found() => SegmentRead::Missing,
            Err(ReadWalError::Storage(error)) => return Err(error.into()),
            Err(ReadWalError::Task(error)) => return Err(error.into()),
            Err(error @ (ReadWalError::Codec { .. } | ReadWalError::TooLarge { .. })) => {
                SegmentRead::Unreadable {
                    key,
                    reason: error.to_string(),
                }
            }
        })
    }
}

/// The finding of an object that cannot be decoded.
pub(super) fn unreadable_finding(
    catalog: &Catalog,
    name: SegmentName,
    key: &str,
    reason: &str,
) -> Finding {
    let finding = Finding::new(
        Code::WalUnreadable,
        key,
        format!("segment {name} cannot be read: {reason}"),
    );
    match name.number(catalog.wal.segment_size) {
        Ok(number) => finding.with_wal(
            name.timeline,
            number.begin_lsn(catalog.wal.segment_size),
            number.end_lsn(catalog.wal.segment_size),
        ),
        Err(_) => finding,
    }
}

/// The finding of a fault in a segment's bytes. Where the timelines do not fit, it is the
/// history file that is named, because recovery goes by it.
pub(super) fn fault_finding(
    catalog: &Catalog,
    history: &TimelineHistory,
    fault: &WalFault,
    name: SegmentName,
    key: &str,
) -> Finding {
    let size = catalog.wal.segment_size;
    let number = size.segment_of(fault.lsn());
    let at_begin = number.begin_lsn(size) == fault.lsn();
    let code = match fault {
        WalFault::ForeignSystem { .. } => Code::WalForeign,
        WalFault::WrongTimeline { .. }
        | WalFault::TimelineNotBegun { .. }
        | WalFault::BadSwitchPoint { .. } => Code::HistoryContradictory,
        WalFault::WrongSize { .. }
        | WalFault::WrongSegmentSize { .. }
        | WalFault::WrongBlockSize { .. } => Code::WalUnreadable,
        WalFault::BadMagic { .. } | WalFault::BadPageFlags { .. } if at_begin => {
            Code::WalUnreadable
        }
        _ => Code::WalCorrupt,
    };
    let object = if code == Code::HistoryContradictory {
        catalog
            .wal
            .histories
            .get(&history.timeline)
            .map_or(key, |object| object.key.as_str())
    } else {
        key
    };
    let finding = Finding::new(code, object, format!("segment {name}: {fault}")).with_wal(
        name.timeline,
        fault.lsn(),
        number.end_lsn(size),
    );
    match fault {
        WalFault::WrongSize { .. } => finding.with_consequence(
            "PostgreSQL refuses a segment of the wrong size: recovery stops here with an error.",
        ),
        _ => finding,
    }
}
