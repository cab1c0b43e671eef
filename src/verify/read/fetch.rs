//! Fetching and decoding segments ahead of the one whose records are checked.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::{Stream, StreamExt as _};
use tokio::task::{JoinError, JoinHandle};

use super::seen::{Notes, ReadPiece};
use crate::codec::Sha256;
use crate::postgres::wal::{PieceOptions, WalPiece};
use crate::postgres::{Lsn, SegmentName, SegmentNumber, SegmentSize, TimelineId, WalFileName};
use crate::repository::{Catalog, ReadWalError, Repository, WalObject};
use crate::storage::ObjectEntry;
use crate::verify::VerifyError;
use crate::verify::base::TouchedPiece;
use crate::verify::parts::Parts;
use crate::verify::segment_reader::SegmentRead;

/// How many decoded bytes may wait ahead of the segment that is checked.
const AHEAD_BYTES: u64 = 48 << 20;
/// How many segments may, however small they are.
const AHEAD_SEGMENTS: u64 = 16;

/// How many segments of this size are fetched and decoded at once, ahead of the one whose
/// records are checked: 16 of 1 MiB, 3 of 16 MiB, 1 from 32 MiB on. Each takes its stored
/// and its decoded bytes, and what its codec's decoder takes.
pub(super) fn ahead(size: SegmentSize) -> usize {
    let segments = (AHEAD_BYTES / size.bytes()).clamp(1, AHEAD_SEGMENTS);
    usize::try_from(segments).unwrap_or(1)
}

/// Where segments come from. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) repository: Repository,
    pub(super) size: SegmentSize,
    /// Whether stored bytes are digested.
    pub(super) digest: bool,
    /// How pieces are read.
    pub(super) pieces: PieceOptions,
    /// Segments that are not read as pieces, in parallel with others: base backups need
    /// their every record in order.
    pub(super) in_order: Arc<Vec<RangeInclusive<SegmentNumber>>>,
    /// Up to which segment base backups want to know which blocks were changed.
    pub(super) touched_until: Option<SegmentNumber>,
    /// The redo points of base backups.
    pub(super) begins: Arc<BTreeSet<Lsn>>,
    /// What shards have read.
    pub(super) parts: Parts,
}

impl Source {
    fn is_piece(&self, number: SegmentNumber) -> bool {
        !self.in_order.iter().any(|range| range.contains(&number))
    }

    fn read_piece(&self, number: SegmentNumber, bytes: &[u8]) -> ReadPiece {
        let mut notes = Notes::of(number, self.size, &self.begins);
        let wanted = self.touched_until.is_some_and(|until| number <= until);
        let mut touched = wanted.then(TouchedPiece::default);
        let wal = WalPiece::read(&self.pieces, number, bytes, &mut |record| {
            notes.take(record);
            if let Some(touched) = &mut touched {
                touched.take(record);
            }
        });
        ReadPiece {
            wal,
            seen: notes.seen(),
            touched,
        }
    }
}

/// One object that was read to its last stored byte.
#[derive(Clone, Debug)]
pub(super) struct ObjectFact {
    /// As the store gave it with the bytes.
    pub(super) entry: ObjectEntry,
    /// The digest of the stored bytes, if asked for.
    pub(super) sha256: Option<Sha256>,
}

/// A segment as the archive gave it.
pub(super) struct Fetched {
    pub(super) number: SegmentNumber,
    pub(super) name: SegmentName,
    /// What recovery would be given.
    pub(super) read: SegmentRead,
    /// Every object that was read.
    pub(super) objects: Vec<ObjectFact>,
    /// A further copy that is not the same as the one that counts, and why.
    pub(super) differs: Option<(String, String)>,
    /// Its records, read without those of its neighbours.
    pub(super) piece: Option<Box<ReadPiece>>,
    /// When a shard read it: what is told of its bytes, which are not here.
    pub(super) kept: Option<KeptBytes>,
}

/// What is told of bytes that are not here.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeptBytes {
    /// How many.
    pub(super) count: u64,
    /// Where reading can begin in them; `None` where no record begins.
    pub(super) begin: Option<Lsn>,
}

/// A task that ends when nobody waits for it any more.
struct Task<T>(JoinHandle<T>);

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context)
    }
}

/// Fetches segments in the given order, [`ahead`] of them at once.
pub(super) fn fetch_all<'c>(
    source: &'c Source,
    catalog: &'c Catalog,
    segments: impl Iterator<Item = (TimelineId, SegmentNumber)> + 'c,
) -> impl Stream<Item = Result<Fetched, VerifyError>> + 'c {
    futures::stream::iter(segments)
        .map(move |(timeline, number)| {
            let name = catalog.wal.name(timeline, number);
            let objects = source
                .repository
                .wal_objects(catalog, WalFileName::Segment(name));
            let source = source.clone();
            Task(tokio::spawn(async move {
                fetch(&source, number, name, &objects).await
            }))
        })
        .buffered(ahead(source.size))
        .map(|fetched| fetched?)
}

/// Reads every object of a segment. The first that decodes to a whole segment counts, and
/// the others must equal it.
async fn fetch(
    source: &Source,
    number: SegmentNumber,
    name: SegmentName,
    objects: &[WalObject],
) -> Result<Fetched, VerifyError> {
    if let Some(kept) = kept(source, number, name, objects).await? {
        return Ok(kept);
    }
    let mut fetched = Fetched {
        number,
        name,
        read: SegmentRead::Missing,
        objects: Vec::new(),
        differs: None,
        piece: None,
        kept: None,
    };
    source.parts.read_here();
    let whole = |read: &SegmentRead| matches!(read, SegmentRead::Bytes { bytes, .. } if bytes.len() as u64 == source.size.bytes());
    for object in objects {
        let (read, fact) = read_object(source, object).await?;
        let (key, is_whole) = (object.key.clone(), whole(&read));
        fetched.objects.extend(fact);
        fetched.differs = match (&read, &fetched.read) {
            (SegmentRead::Missing, _) | (_, SegmentRead::Missing) => fetched.differs,
            (
                SegmentRead::Bytes { bytes, .. },
                SegmentRead::Bytes {
                    bytes: known,
                    key: other,
                },
            ) => {
                if bytes == known {
                    fetched.differs
                } else {
                    Some((key, format!("its bytes differ from those of {other}")))
                }
            }
            (SegmentRead::Unreadable { reason, .. }, _) => Some((key, reason.clone())),
            (_, SegmentRead::Unreadable { key, reason }) => Some((key.clone(), reason.clone())),
        };
        if !whole(&fetched.read) && (is_whole || matches!(fetched.read, SegmentRead::Missing)) {
            fetched.read = read;
        }
    }
    if source.is_piece(number) && whole(&fetched.read) {
        let source = source.clone();
        let task = tokio::task::spawn_blocking(move || {
            if let SegmentRead::Bytes { bytes, .. } = &fetched.read {
                fetched.piece = Some(Box::new(source.read_piece(number, bytes)));
            }
            fetched
        });
        fetched = task.await?;
    }
    Ok(fetched)
}

/// A segment that a shard has read, where a piece will do and its objects are still those that
/// were read.
async fn kept(
    source: &Source,
    number: SegmentNumber,
    name: SegmentName,
    objects: &[WalObject],
) -> Result<Option<Fetched>, VerifyError> {
    if !source.parts.is_kept() || !source.is_piece(number) {
        return Ok(None);
    }
    let touched = source.touched_until.is_some_and(|until| number <= until);
    let found = source.parts.segment(name, &source.pieces, touched).await?;
    let Some((kept, wal, touched)) = found else {
        return Ok(None);
    };
    let read: BTreeSet<&str> = kept.objects.iter().map(|(it, _)| it.key.as_str()).collect();
    let there: BTreeSet<&str> = objects.iter().map(|object| object.key.as_str()).collect();
    if read != there {
        return Ok(None);
    }
    for (entry, _) in &kept.objects {
        let store = source.repository.store();
        if !source.parts.is_as_it_was(store, entry).await? {
            return Ok(None);
        }
    }
    source.parts.taken();
    Ok(Some(Fetched {
        number,
        name,
        read: SegmentRead::Bytes {
            key: kept.key,
            bytes: Vec::new(),
        },
        objects: kept
            .objects
            .into_iter()
            .map(|(entry, sha256)| ObjectFact { entry, sha256 })
            .collect(),
        differs: None,
        piece: Some(Box::new(ReadPiece {
            wal,
            seen: kept.seen,
            touched,
        })),
        kept: Some(KeptBytes {
            count: kept.bytes,
            begin: kept.begin,
        }),
    }))
}

/// Reads one object of the archive, with what the store says of it.
pub(super) async fn read_object(
    source: &Source,
    object: &WalObject,
) -> Result<(SegmentRead, Option<ObjectFact>), VerifyError> {
    let read = source
        .repository
        .read_wal_object(object, source.size.bytes(), source.digest)
        .await;
    let fact = read.entry.map(|entry| ObjectFact {
        entry,
        sha256: read.sha256,
    });
    let key = object.key.clone();
    let read = match read.bytes {
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
    };
    Ok((read, fact))
}
