//! A repository, opened.

use super::barman_cloud::keys::wal_key;
use super::barman_cloud::{self, sizes};
use super::{Catalog, Layout, ReadWalError, RepositoryError};
use crate::codec::{Codec, CodecFault, Sha256, decode_all};
use crate::postgres::{SegmentSize, WalFileName};
use crate::storage::{ErrorKind, ObjectEntry, Store};
use tokio::sync::mpsc;

/// One object that holds a file of the WAL archive.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WalObject {
    /// Its key, relative to the repository.
    pub key: String,
    /// The codec that its extension tells.
    pub codec: Codec,
}

/// What came of reading one object of the WAL archive.
#[derive(Debug)]
pub struct WalRead {
    /// What the store says of it; `None` when its stored bytes were not all read.
    pub entry: Option<ObjectEntry>,
    /// The digest of its stored bytes, if asked for.
    pub sha256: Option<Sha256>,
    /// The decoded bytes.
    pub bytes: Result<Vec<u8>, ReadWalError>,
}

/// A place in a store where one cluster's backups lie. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Repository {
    store: Store,
    layout: Layout,
}

/// Opens a repository. Nothing is asked of the store yet.
pub fn open(store: Store) -> Repository {
    Repository {
        store,
        layout: Layout::BarmanCloud,
    }
}

impl Repository {
    /// How many listed objects are shown at once.
    pub const LISTED_TOGETHER: usize = 1_000;

    /// The store, at the repository's place.
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// How its objects are laid out.
    pub const fn layout(&self) -> Layout {
        self.layout
    }

    /// Lists everything once and reads the small metadata objects.
    pub async fn catalog(&self) -> Result<Catalog, RepositoryError> {
        self.catalog_shown_to(None).await
    }

    /// The same, and shows every listed object to whoever receives, in batches of
    /// [`Self::LISTED_TOGETHER`] in the order of the listing. The listing waits for a slow
    /// receiver and goes on without one that is gone. A catalog keeps few bytes of an object;
    /// who needs more of it looks here.
    #[tracing::instrument(name = "phase", skip_all, fields(otel.name = "list", walproof.phase = "list"))]
    pub async fn catalog_shown_to(
        &self,
        watcher: Option<mpsc::Sender<Vec<ObjectEntry>>>,
    ) -> Result<Catalog, RepositoryError> {
        match self.layout {
            Layout::BarmanCloud => barman_cloud::read(&self.store, watcher).await,
        }
    }

    /// The objects that hold a file of the WAL archive, best first; none when the catalog
    /// has none that could. An unfinished segment is only given for its own name. Backup
    /// history files, which recovery never asks for, are counted in a catalog, not kept.
    pub fn wal_objects(&self, catalog: &Catalog, name: WalFileName) -> Vec<WalObject> {
        let wal = &catalog.wal;
        let codecs: Vec<Codec> = match name {
            WalFileName::Segment(segment) => segment
                .number(wal.segment_size)
                .map(|number| wal.codecs_of(segment.timeline, number))
                .unwrap_or_default(),
            WalFileName::Partial(segment) => {
                let number = segment.number(wal.segment_size).ok();
                let partials = wal.timelines.get(&segment.timeline).map(|t| &t.partials);
                partials
                    .into_iter()
                    .flatten()
                    .filter(|(partial, _)| Some(*partial) == number)
                    .map(|(_, codec)| *codec)
                    .collect()
            }
            WalFileName::History(timeline) => wal
                .histories
                .get(&timeline)
                .map(|object| object.codec)
                .into_iter()
                .collect(),
            WalFileName::BackupHistory { .. } => Vec::new(),
        };
        codecs
            .into_iter()
            .map(|codec| WalObject {
                key: wal_key(name, codec),
                codec,
            })
            .collect()
    }

    /// Reads and decodes one file of the WAL archive, at most `limit` decoded bytes.
    /// Memory: the stored and the decoded bytes.
    pub async fn read_wal(&self, object: &WalObject, limit: u64) -> Result<Vec<u8>, ReadWalError> {
        self.read_wal_object(object, limit, false).await.bytes
    }

    /// The same with what the store says of the object, and on request its digest.
    pub async fn read_wal_object(&self, object: &WalObject, limit: u64, digest: bool) -> WalRead {
        let mut read = WalRead {
            entry: None,
            sha256: None,
            bytes: Ok(Vec::new()),
        };
        read.bytes = self
            .read_into(object, limit, digest, &mut read.entry, &mut read.sha256)
            .await;
        read
    }

    async fn read_into(
        &self,
        object: &WalObject,
        limit: u64,
        digest: bool,
        entry: &mut Option<ObjectEntry>,
        sha256: &mut Option<Sha256>,
    ) -> Result<Vec<u8>, ReadWalError> {
        let WalObject { key, codec } = object.clone();
        let too_large = |key| ReadWalError::TooLarge { key, limit };
        let stored = SegmentSize::new(limit.next_power_of_two())
            .map_or(limit.saturating_add(1 << 20), |size| {
                sizes::largest(codec, size)
            });
        let (own, bytes) = match self.store.read_small_entry(&key, stored).await {
            Ok(read) => read,
            Err(error) if error.kind == ErrorKind::TooLarge => return Err(too_large(key)),
            Err(error) => return Err(error.into()),
        };
        *entry = Some(own);
        let decoding = tokio::task::spawn_blocking(move || {
            let sha256 = digest.then(|| Sha256::of(&bytes));
            // Taken over without a copy when the buffer is whole.
            let plain = codec == Codec::None && bytes.len() as u64 <= limit;
            let decoded = if plain {
                Ok(bytes.into())
            } else {
                decode_all(codec, &bytes, limit)
            };
            (sha256, decoded)
        });
        let decoded;
        (*sha256, decoded) = decoding.await?;
        decoded.map_err(|source| match source.fault {
            CodecFault::TooLarge(_) => too_large(key),
            _ => ReadWalError::Codec { key, source },
        })
    }
}
