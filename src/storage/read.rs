//! Streams of an object's bytes: resumed when the network breaks, ended when the object
//! changes.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore};

use super::local::FileRead;
use super::open::Backend;
use super::remote::Remote;
use super::store::{blocking, permit};
use super::{ErrorKind, ObjectEntry, ObjectRead, Operation, StorageError, Store};

type Chunks = BoxStream<'static, Result<Bytes, object_store::Error>>;

impl Store {
    /// Opens an object for reading from its beginning. A broken connection is resumed; an
    /// object that changes meanwhile is an error.
    pub async fn read(&self, key: &str) -> Result<ObjectRead, StorageError> {
        let path = self.path(Operation::Read, key)?;
        match &self.shared.backend {
            Backend::Local(_) => self.read_local(key, path).await,
            Backend::Remote(Remote { inner, .. }) => {
                let got = {
                    let _permit = permit(&self.shared).await;
                    inner.get_opts(&path, GetOptions::default()).await
                };
                let got = got.map_err(|error| self.error(Operation::Read, key, &error))?;
                self.confirm();
                let entry = self.entry(got.meta.clone());
                let checksum = got.extensions.get().cloned();
                let resumed = Resumed {
                    store: self.clone(),
                    inner: Arc::clone(inner),
                    path,
                    etag: got.meta.e_tag.clone(),
                    entry: entry.clone(),
                    position: 0,
                    chunks: got.into_stream(),
                    failing: None,
                };
                let stream = futures::stream::try_unfold(resumed, Resumed::next).boxed();
                Ok(ObjectRead {
                    entry,
                    checksum,
                    stream,
                })
            }
        }
    }

    async fn read_local(&self, key: &str, path: Path) -> Result<ObjectRead, StorageError> {
        let (file, entry) = self.open_local(key, path).await?;
        let state = (file, self.clone(), entry.clone());
        let stream = futures::stream::try_unfold(state, |(mut file, store, entry)| async move {
            let held = permit(&store.shared).await;
            let read = blocking(move || Ok((file.chunk()?, file)));
            let (chunk, file) = read
                .await
                .map_err(|error| store.local_error(Operation::Read, &entry.key, &error))?;
            store.shared.counters.read(chunk.len());
            drop(held);
            Ok((!chunk.is_empty()).then(|| (Bytes::from(chunk), (file, store, entry))))
        });
        Ok(ObjectRead {
            entry,
            checksum: None,
            stream: stream.boxed(),
        })
    }

    /// Opens a file of the directory.
    pub(super) async fn open_local(
        &self,
        key: &str,
        path: Path,
    ) -> Result<(FileRead, ObjectEntry), StorageError> {
        let opened = self.on_directory(Operation::Read, key, move |directory| {
            let (file, found) = directory.open_file(path.as_ref())?;
            Ok((FileRead::new(file, &found), found))
        });
        let (file, found) = opened.await?;
        Ok((file, self.found(found)))
    }

    /// Some bytes of an object: fewer where it ends earlier, none behind its end. All of
    /// them are held in memory.
    pub async fn read_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StorageError> {
        let path = self.path(Operation::Read, key)?;
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let read = match &self.shared.backend {
            Backend::Local(_) => {
                self.on_directory(Operation::Read, key, move |directory| {
                    use std::io::{Read, Seek, SeekFrom};
                    let (mut file, _) = directory.open_file(path.as_ref())?;
                    file.seek(SeekFrom::Start(range.start))?;
                    let mut bytes = Vec::new();
                    file.take(range.end - range.start).read_to_end(&mut bytes)?;
                    Ok(bytes.into())
                })
                .await
            }
            Backend::Remote(Remote { inner, .. }) => {
                let _permit = permit(&self.shared).await;
                let options = GetOptions {
                    range: Some(GetRange::Bounded(range)),
                    ..GetOptions::default()
                };
                let read = async { inner.get_opts(&path, options).await?.bytes().await };
                match read.await {
                    Ok(bytes) => Ok(bytes),
                    Err(error) if super::classify::behind_end(&error) => Ok(Bytes::new()),
                    Err(error) => Err(self.error(Operation::Read, key, &error)),
                }
            }
        };
        let read = read?;
        self.shared.counters.read(read.len());
        Ok(read)
    }
}

/// A download that goes on where it broke. The client resumes too, but only within the
/// time limit that began with the request, which a large object outlives.
struct Resumed {
    store: Store,
    inner: Arc<dyn ObjectStore>,
    path: Path,
    /// The tag as the store wrote it, quotes and all: it goes back in a header.
    etag: Option<String>,
    entry: ObjectEntry,
    position: u64,
    chunks: Chunks,
    /// Since when, and how often, without a byte.
    failing: Option<(Instant, u32)>,
}

impl Resumed {
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, StorageError> {
        loop {
            if self.position == self.entry.size {
                return Ok(None);
            }
            let next = {
                let _permit = permit(&self.store.shared).await;
                self.chunks.next().await
            };
            match next {
                Some(Ok(bytes)) => {
                    self.position += bytes.len() as u64;
                    if self.position > self.entry.size {
                        return Err(self.changed("it gives more bytes than it has"));
                    }
                    if !bytes.is_empty() {
                        self.store.shared.counters.read(bytes.len());
                        self.failing = None;
                        return Ok(Some((bytes, self)));
                    }
                }
                Some(Err(error)) => {
                    let error = self.store.error(Operation::Read, &self.entry.key, &error);
                    self.resume(error).await?;
                }
                None => {
                    let cause = format!("the transfer ended after {} bytes", self.position);
                    let url = self.store.url(&self.entry.key);
                    let error = StorageError::new(Operation::Read, url, ErrorKind::Network, cause);
                    self.resume(error).await?;
                }
            }
        }
    }

    fn changed(&self, cause: &str) -> StorageError {
        let url = self.store.url(&self.entry.key);
        StorageError::new(Operation::Read, url, ErrorKind::Changed, cause)
    }

    /// Asks for the rest, or gives the error back when that makes no sense or has gone on
    /// for too long.
    async fn resume(&mut self, error: StorageError) -> Result<(), StorageError> {
        let worth_it = matches!(error.kind, ErrorKind::Network | ErrorKind::Throttled);
        // Without a tag nothing tells that the rest belongs to the same object.
        let Some(etag) = self.etag.clone().filter(|_| worth_it) else {
            return Err(error);
        };
        let (since, times) = self.failing.unwrap_or_else(|| (Instant::now(), 0));
        if since.elapsed() > self.store.shared.retry_time {
            return Err(error);
        }
        self.failing = Some((since, times + 1));
        tokio::time::sleep(pause(times)).await;
        tracing::debug!(object = %error.object, position = self.position, "resuming a download");
        let options = GetOptions {
            range: Some(GetRange::Bounded(self.position..self.entry.size)),
            if_match: Some(etag),
            ..GetOptions::default()
        };
        let got = {
            let _permit = permit(&self.store.shared).await;
            self.inner.get_opts(&self.path, options).await
        };
        match got {
            Ok(got) if got.meta.size == self.entry.size => {
                self.chunks = got.into_stream();
                Ok(())
            }
            Ok(_) | Err(object_store::Error::Precondition { .. }) => {
                Err(self.changed("it was replaced while it was read"))
            }
            Err(error) => Err(self.store.error(Operation::Read, &self.entry.key, &error)),
        }
    }
}

/// The pause before the next attempt: 0.1 s doubling to 5 s, of which a random half.
pub(super) fn pause(times: u32) -> Duration {
    let full = Duration::from_millis(100 << times.min(6)).min(Duration::from_secs(5));
    // The last byte of a version 7 UUID is random.
    let random = uuid::Uuid::now_v7().into_bytes()[15];
    full / 2 + full.mul_f64(f64::from(random) / 512.0)
}
