//! A place in a store, opened.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};

use super::checksum::StoredChecksum;
use super::classify::{classify, classify_local, code, status};
use super::identity::{normal_etag, normal_version};
use super::local::{Directory, Found};
use super::open::Backend;
use super::remote::Remote;
use super::usage::Counters;
use super::write_once::WRITE_MEMORY_KIB;
use super::{ErrorKind, Location, Operation, Scheme, StorageError, StorageOptions};

/// How many entries of a local listing travel together, and how many such batches wait.
const BATCH: usize = 256;
const BATCHES: usize = 4;
/// How much a small object's claimed size may reserve before its bytes arrive.
const RESERVED_AHEAD: u64 = 64 << 20;

/// One object as a listing shows it. Keys are relative to the store's location.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ObjectEntry {
    /// The key, relative to the store's location.
    pub key: String,
    /// The size in bytes.
    pub size: u64,
    /// When it was last written.
    pub last_modified: DateTime<Utc>,
    /// The store's entity tag without its quotes; for local files one of inode, time and
    /// size.
    pub etag: Option<String>,
    /// The store's version id.
    pub version: Option<String>,
}

/// An object being read.
pub struct ObjectRead {
    /// What is read.
    pub entry: ObjectEntry,
    /// What the store tells of its bytes, if anything. Nothing compares them with it but who
    /// reads: what is wrong with a stored object is for others to judge.
    pub checksum: Option<StoredChecksum>,
    /// Its bytes, in order. Ends after exactly `entry.size` bytes, or with an error.
    pub stream: BoxStream<'static, Result<Bytes, StorageError>>,
}

/// What a create-only write did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutOutcome {
    /// The object is new.
    Created,
    /// There already was an object; nothing was written.
    Exists,
}

/// A place in a store, opened. Cheap to clone; clones and the places below share the limit
/// on concurrency. A request counts against it only while the store is waited for, so
/// that holding one stream while opening another never blocks.
#[derive(Clone)]
pub struct Store {
    pub(super) shared: Arc<Shared>,
    location: Location,
    base: Path,
}

/// What clones share.
pub(super) struct Shared {
    pub(super) backend: Backend,
    pub(super) permits: Semaphore,
    pub(super) retry_time: Duration,
    pub(super) read_timeout: Duration,
    pub(super) counters: Arc<Counters>,
    /// Memory for objects on their way out, in KiB.
    pub(super) write_memory: Arc<Semaphore>,
    /// Whether the store has answered something that needs bucket and credentials.
    confirmed: AtomicBool,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({})", self.location)
    }
}

impl Shared {
    /// Whether the store has answered something that needs bucket and credentials.
    pub(super) fn is_confirmed(&self) -> bool {
        self.confirmed.load(Ordering::Relaxed)
    }
}

/// Waits for a turn.
pub(super) async fn permit(shared: &Shared) -> Option<SemaphorePermit<'_>> {
    // Never closed.
    shared.permits.acquire().await.ok()
}

/// Runs file operations where they may block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
}

impl Store {
    /// Opens a place. Nothing is asked of a network store yet; missing credentials show
    /// here where that is possible. A local directory must exist.
    pub fn open(location: &Location, options: &StorageOptions) -> Result<Self, StorageError> {
        let counters = Arc::default();
        let backend = super::open::open(location, options, &counters)?;
        let prefix = if location.scheme() == Scheme::File {
            ""
        } else {
            location.prefix()
        };
        let base = Path::parse(prefix).map_err(|error| {
            super::client::open_error(location, ErrorKind::Settings, error.to_string())
        })?;
        Ok(Self {
            shared: Arc::new(Shared {
                backend,
                permits: Semaphore::new(options.concurrency.clamp(1, Semaphore::MAX_PERMITS)),
                retry_time: options.retry_time,
                read_timeout: options.read_timeout,
                counters,
                write_memory: Arc::new(Semaphore::new(WRITE_MEMORY_KIB)),
                confirmed: AtomicBool::new(false),
            }),
            location: location.clone(),
            base,
        })
    }

    /// Where it lies.
    pub const fn location(&self) -> &Location {
        &self.location
    }

    /// The endpoint that is asked, if that is not the vendor's own.
    pub fn endpoint(&self) -> Option<&str> {
        match &self.shared.backend {
            Backend::Remote(remote) => remote.endpoint.as_deref(),
            Backend::Local(_) => None,
        }
    }

    /// The place below this one. A name that no store can hold shows at the first use.
    #[must_use]
    pub fn at(&self, below: &str) -> Self {
        let location = self.location.join(below);
        let below = below.trim_matches('/');
        let joined = if self.base.as_ref().is_empty() {
            below.to_owned()
        } else {
            format!("{}/{below}", self.base)
        };
        // `Path::join` would percent-encode.
        let base = Path::parse(&joined).unwrap_or_else(|_| Path::from(joined));
        Self {
            shared: Arc::clone(&self.shared),
            location,
            base,
        }
    }

    pub(super) fn url(&self, key: &str) -> String {
        self.location.join(key).to_string()
    }

    pub(super) fn path(&self, operation: Operation, key: &str) -> Result<Path, StorageError> {
        let full = if self.base.as_ref().is_empty() {
            key.to_owned()
        } else {
            format!("{}/{key}", self.base)
        };
        Path::parse(full).map_err(|error| {
            StorageError::new(
                operation,
                self.url(key),
                ErrorKind::Settings,
                super::classify::one_line(&error.to_string()),
            )
        })
    }

    pub(super) fn relative(&self, full: String) -> String {
        match full.strip_prefix(self.base.as_ref()) {
            Some(rest) => rest.trim_start_matches('/').to_owned(),
            None => full,
        }
    }

    pub(super) fn entry(&self, meta: object_store::ObjectMeta) -> ObjectEntry {
        ObjectEntry {
            key: self.relative(meta.location.into()),
            size: meta.size,
            last_modified: meta.last_modified,
            etag: meta.e_tag.as_deref().and_then(normal_etag),
            version: meta.version.and_then(normal_version),
        }
    }

    pub(super) fn found(&self, found: Found) -> ObjectEntry {
        ObjectEntry {
            key: self.relative(found.key),
            size: found.size,
            last_modified: found.modified,
            etag: Some(found.etag),
            version: None,
        }
    }

    pub(super) fn error(
        &self,
        operation: Operation,
        key: &str,
        error: &object_store::Error,
    ) -> StorageError {
        let mut found = classify(operation, self.url(key), self.endpoint(), error);
        // Nothing but the bucket itself can be missing for a listing or a write.
        if found.kind == ErrorKind::NotFound
            && matches!(operation, Operation::List | Operation::Write)
            && code(error).is_none()
        {
            found.kind = ErrorKind::MissingBucket;
        }
        found
    }

    pub(super) fn local_error(
        &self,
        operation: Operation,
        key: &str,
        error: &io::Error,
    ) -> StorageError {
        classify_local(operation, self.url(key), error)
    }

    pub(super) fn confirm(&self) {
        self.shared.confirmed.store(true, Ordering::Relaxed);
    }

    /// Does something with the directory on a blocking thread.
    pub(super) async fn on_directory<T: Send + 'static>(
        &self,
        operation: Operation,
        key: &str,
        work: impl FnOnce(&Directory) -> io::Result<T> + Send + 'static,
    ) -> Result<T, StorageError> {
        let _permit = permit(&self.shared).await;
        let shared = Arc::clone(&self.shared);
        shared.counters.request();
        blocking(move || match &shared.backend {
            Backend::Local(directory) => work(directory),
            Backend::Remote(..) => Err(io::ErrorKind::Unsupported.into()),
        })
        .await
        .map_err(|error| self.local_error(operation, key, &error))
    }

    /// Lists everything below `prefix` (a folder, without trailing slash; empty for all).
    /// In the order of the keys on S3, GCS and for local files; Azure promises none. A
    /// prefix with nothing below it is an empty stream, a missing bucket an error.
    pub fn list(&self, prefix: &str) -> BoxStream<'static, Result<ObjectEntry, StorageError>> {
        self.list_from(prefix, None)
    }

    /// Like [`list`](Self::list), but only keys that sort behind `start_after` (a key
    /// relative to the store, which need not exist).
    pub fn list_after(
        &self,
        prefix: &str,
        start_after: &str,
    ) -> BoxStream<'static, Result<ObjectEntry, StorageError>> {
        self.list_from(prefix, Some(start_after))
    }

    fn list_from(
        &self,
        prefix: &str,
        after: Option<&str>,
    ) -> BoxStream<'static, Result<ObjectEntry, StorageError>> {
        let paths = self.path(Operation::List, prefix).and_then(|path| {
            let after = after.filter(|after| !after.is_empty());
            let after = after.map(|after| self.path(Operation::List, after));
            Ok((path, after.transpose()?))
        });
        let (path, after) = match paths {
            Ok(paths) => paths,
            Err(error) => return futures::stream::once(async { Err(error) }).boxed(),
        };
        let store = self.clone();
        let prefix = prefix.trim_matches('/').to_owned();
        match &self.shared.backend {
            Backend::Local(_) => store.list_local(prefix, path, after),
            Backend::Remote(remote) => {
                let pages = match &after {
                    Some(after) => remote.inner.list_with_offset(Some(&path), after),
                    None => remote.inner.list(Some(&path)),
                };
                let entries = futures::stream::unfold((pages, store), move |(mut pages, store)| {
                    let prefix = prefix.clone();
                    async move {
                        let next = {
                            let _permit = permit(&store.shared).await;
                            pages.next().await?
                        };
                        let next = match next {
                            Ok(meta) => {
                                store.confirm();
                                Ok(store.entry(meta))
                            }
                            Err(error) => Err(store.error(Operation::List, &prefix, &error)),
                        };
                        Some((next, (pages, store)))
                    }
                });
                // Consoles mark folders with empty objects named after them; the one of the
                // listed folder itself is not below it.
                let own = self.relative(path.into());
                // Some servers do not know where to begin, and begin at the beginning.
                let after = after.map(|after| self.relative(after.into()));
                entries
                    .try_filter(move |entry| {
                        let behind = after.as_ref().is_none_or(|after| entry.key > *after);
                        futures::future::ready(behind && entry.key != own)
                    })
                    .boxed()
            }
        }
    }

    fn list_local(
        self,
        prefix: String,
        path: Path,
        after: Option<Path>,
    ) -> BoxStream<'static, Result<ObjectEntry, StorageError>> {
        let begin = async move {
            let (sender, receiver) = mpsc::channel(BATCHES);
            tokio::task::spawn_blocking(move || {
                let Backend::Local(directory) = &self.shared.backend else {
                    return;
                };
                self.shared.counters.request();
                let mut batch = Vec::with_capacity(BATCH);
                let after = after.as_ref().map(Path::as_ref);
                let result = directory.walk(path.as_ref(), after, &mut |found| {
                    batch.push(Ok(self.found(found)));
                    batch.len() < BATCH || sender.blocking_send(std::mem::take(&mut batch)).is_ok()
                });
                if let Err(error) = result {
                    batch.push(Err(self.local_error(Operation::List, &prefix, &error)));
                }
                // If nobody listens any more, that is fine.
                let _ = sender.blocking_send(batch);
            });
            futures::stream::unfold(receiver, |mut receiver| async {
                Some((futures::stream::iter(receiver.recv().await?), receiver))
            })
        };
        futures::stream::once(begin).flatten().flatten().boxed()
    }

    /// The names of the folders directly below `prefix`, sorted. Holds one level of names.
    pub async fn list_folders(&self, prefix: &str) -> Result<Vec<String>, StorageError> {
        let path = self.path(Operation::List, prefix)?;
        let Backend::Remote(Remote { inner, .. }) = &self.shared.backend else {
            return self
                .on_directory(Operation::List, prefix, move |directory| {
                    directory.folders(path.as_ref())
                })
                .await;
        };
        let listing = {
            let _permit = permit(&self.shared).await;
            inner.list_with_delimiter(Some(&path)).await
        };
        let listing = listing.map_err(|error| self.error(Operation::List, prefix, &error))?;
        self.confirm();
        let mut names: Vec<String> = listing
            .common_prefixes
            .iter()
            .filter_map(|path| path.filename().map(str::to_owned))
            .collect();
        names.sort();
        Ok(names)
    }

    /// What the store knows of one object; `None` when it does not exist.
    pub async fn head(&self, key: &str) -> Result<Option<ObjectEntry>, StorageError> {
        let path = self.path(Operation::Head, key)?;
        let Backend::Remote(Remote { inner, .. }) = &self.shared.backend else {
            let found = self
                .on_directory(Operation::Head, key, move |directory| {
                    directory.head(path.as_ref())
                })
                .await?;
            return Ok(found.map(|found| self.found(found)));
        };
        let answer = {
            let _permit = permit(&self.shared).await;
            inner.head(&path).await
        };
        match answer {
            Ok(meta) => {
                self.confirm();
                Ok(Some(self.entry(meta)))
            }
            Err(error) => {
                self.explain(inner.as_ref(), key, &error).await?;
                match error {
                    object_store::Error::NotFound { .. } => Ok(None),
                    error => Err(self.error(Operation::Head, key, &error)),
                }
            }
        }
    }

    /// An answer to HEAD has no body: "no such key", "no such bucket" and (versitygw) "no
    /// such user" look alike, as do "may not" and "wrong secret". Before the status alone is
    /// believed for the first time, a listing is asked for its words.
    async fn explain(
        &self,
        inner: &dyn ObjectStore,
        key: &str,
        answer: &object_store::Error,
    ) -> Result<(), StorageError> {
        let wordless = status(answer).is_some() && code(answer).is_none();
        if !wordless || self.shared.confirmed.load(Ordering::Relaxed) {
            return Ok(());
        }
        let _permit = permit(&self.shared).await;
        if let Some(Err(error)) = inner.list(Some(&self.base)).next().await {
            let error = self.error(Operation::Head, key, &error);
            // Who may read but not list is answered 403 for what is missing, not 404.
            if error.kind != ErrorKind::Denied {
                return Err(error);
            }
        }
        self.confirm();
        Ok(())
    }

    /// A whole small object. More than `limit` bytes is an error, so that a hostile object
    /// cannot fill the memory.
    pub async fn read_small(&self, key: &str, limit: u64) -> Result<Bytes, StorageError> {
        Ok(self.read_small_entry(key, limit).await?.1)
    }

    /// The same with what the store says of the object.
    pub async fn read_small_entry(
        &self,
        key: &str,
        limit: u64,
    ) -> Result<(ObjectEntry, Bytes), StorageError> {
        let too_large = || {
            StorageError::new(
                Operation::Read,
                self.url(key),
                ErrorKind::TooLarge,
                format!("larger than {limit} bytes"),
            )
        };
        if let Backend::Local(_) = &self.shared.backend {
            let path = self.path(Operation::Read, key)?;
            let (mut file, entry) = self.open_local(key, path).await?;
            if entry.size > limit {
                return Err(too_large());
            }
            let _permit = permit(&self.shared).await;
            // One buffer, no chunks: segments are read this way, by the thousand.
            let bytes = blocking(move || file.whole())
                .await
                .map_err(|error| self.local_error(Operation::Read, key, &error))?;
            self.shared.counters.read(bytes.len());
            return Ok((entry, bytes.into()));
        }
        let mut read = self.read(key).await?;
        if read.entry.size > limit {
            return Err(too_large());
        }
        // Reserved ahead only as far as an ordinary segment goes.
        let expected = usize::try_from(read.entry.size.min(RESERVED_AHEAD)).unwrap_or_default();
        let mut all = Vec::with_capacity(expected);
        while let Some(chunk) = read.stream.try_next().await? {
            if (all.len() + chunk.len()) as u64 > limit {
                return Err(too_large());
            }
            all.extend_from_slice(&chunk);
        }
        Ok((read.entry, all.into()))
    }

    /// Makes sure that an object which is there will still be there after the power failed.
    /// Whoever wrote it may have been killed between giving it its name and making the name
    /// durable. Stores other than a directory answer only when an object is durable.
    pub async fn settle(&self, key: &str) -> Result<(), StorageError> {
        let path = self.path(Operation::Write, key)?;
        if matches!(self.shared.backend, Backend::Remote(..)) {
            return Ok(());
        }
        self.on_directory(Operation::Write, key, move |directory| {
            directory.settle(path.as_ref())
        })
        .await
    }
}
