//! Large objects, written in parts.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, PutPayload};
use tokio::task::JoinSet;

use super::local::Staged;
use super::open::Backend;
use super::store::{blocking, permit};
use super::{ErrorKind, Operation, PutOutcome, StorageError, Store};

const MIB: u64 = 1 << 20;
/// S3 allows 10,000 parts; this leaves room for an object that is larger than expected.
const PARTS: u64 = 9_000;
/// How many bytes of finished parts may be on their way, unless one part alone is more.
const IN_FLIGHT: u64 = 64 * MIB;

/// The size of the part of a number (from 0), so that 5 TiB need fewer than 10,000 parts.
///
/// With an expected size all parts are equal, as some stores demand (Cloudflare R2).
/// Without, they grow: 16 MiB up to 62 GiB, 64 MiB up to 187 GiB, 256 MiB up to 437 GiB,
/// then 1.75 GiB.
fn part_size(number: u64, expected: Option<u64>) -> u64 {
    if let Some(expected) = expected {
        return (expected.div_ceil(PARTS).div_ceil(MIB) * MIB).max(16 * MIB);
    }
    match number {
        0..4_000 => 16 * MIB,
        4_000..6_000 => 64 * MIB,
        6_000..7_000 => 256 * MIB,
        _ => 1_792 * MIB,
    }
}

/// A large object being written. Nothing is visible before [`finish`](Self::finish);
/// dropping it gives it up.
///
/// Memory: one part and 64 MiB more, at least two parts. That is 80 MiB for objects up to
/// 140 GiB if their size is expected, or up to 62 GiB if not.
pub struct Upload {
    store: Store,
    key: String,
    sink: Sink,
}

enum Sink {
    Local(Staged),
    Remote(Box<Parts>),
    /// A failure took the sink, or it was finished.
    Gone,
}

struct Parts {
    inner: Arc<dyn ObjectStore>,
    path: Path,
    expected: Option<u64>,
    /// Begun with the first full part: what fits into one is put whole.
    upload: Option<Box<dyn MultipartUpload>>,
    number: u64,
    waiting: VecDeque<Bytes>,
    waiting_bytes: u64,
    in_flight: JoinSet<Result<u64, object_store::Error>>,
    in_flight_bytes: u64,
}

impl Store {
    /// Begins to write a large object of unknown size. There must be none of this key.
    pub async fn upload(&self, key: &str) -> Result<Upload, StorageError> {
        self.begin_upload(key, None).await
    }

    /// Begins to write a large object of about `expected` bytes: better more than less.
    pub async fn upload_sized(&self, key: &str, expected: u64) -> Result<Upload, StorageError> {
        self.begin_upload(key, Some(expected)).await
    }

    async fn begin_upload(&self, key: &str, expected: Option<u64>) -> Result<Upload, StorageError> {
        let path = self.path(Operation::Write, key)?;
        match self.head(key).await {
            Ok(None) => {}
            Ok(Some(_)) => return Err(exists(self.url(key))),
            Err(error) if error.kind == ErrorKind::Denied => {}
            Err(error) => {
                return Err(StorageError {
                    operation: Operation::Write,
                    object: self.url(key),
                    ..error
                });
            }
        }
        let sink = match &self.shared.backend {
            Backend::Local(_) => {
                let staged = self.on_directory(Operation::Write, key, move |directory| {
                    directory.stage(path.as_ref())
                });
                Sink::Local(staged.await?)
            }
            Backend::Remote(inner, _) => Sink::Remote(Box::new(Parts {
                inner: Arc::clone(inner),
                path,
                expected,
                upload: None,
                number: 0,
                waiting: VecDeque::new(),
                waiting_bytes: 0,
                in_flight: JoinSet::new(),
                in_flight_bytes: 0,
            })),
        };
        Ok(Upload {
            store: self.clone(),
            key: key.to_owned(),
            sink,
        })
    }
}

fn exists(url: String) -> StorageError {
    let cause = "there already is an object of this key";
    StorageError::new(Operation::Write, url, ErrorKind::Exists, cause)
}

impl Upload {
    fn error(&self, error: &object_store::Error) -> StorageError {
        self.store.error(Operation::Write, &self.key, error)
    }

    fn gone(&self) -> StorageError {
        let cause = "the upload has already failed";
        let url = self.store.url(&self.key);
        StorageError::new(Operation::Write, url, ErrorKind::Other, cause)
    }

    /// Adds bytes. Waits while too many are on their way. After an error the upload is
    /// lost: abort it or drop it.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), StorageError> {
        match std::mem::replace(&mut self.sink, Sink::Gone) {
            Sink::Gone => Err(self.gone()),
            Sink::Local(mut staged) => {
                let _permit = permit(&self.store.shared).await;
                let staged = blocking(move || {
                    staged.write(&bytes)?;
                    Ok(staged)
                })
                .await
                .map_err(|error| self.store.local_error(Operation::Write, &self.key, &error))?;
                self.sink = Sink::Local(staged);
                Ok(())
            }
            Sink::Remote(mut parts) => {
                // The parts go back in any case: their upload must be ended.
                let result = parts.add(&self.store, bytes).await;
                self.sink = Sink::Remote(parts);
                result.map_err(|error| self.error(&error))
            }
        }
    }

    /// Makes the object visible, durably.
    pub async fn finish(mut self) -> Result<(), StorageError> {
        match std::mem::replace(&mut self.sink, Sink::Gone) {
            Sink::Gone => Err(self.gone()),
            Sink::Local(staged) => match blocking(move || staged.publish_new()).await {
                Ok(PutOutcome::Created) => Ok(()),
                Ok(PutOutcome::Exists) => Err(exists(self.store.url(&self.key))),
                Err(error) => Err(self.store.local_error(Operation::Write, &self.key, &error)),
            },
            Sink::Remote(mut parts) if parts.upload.is_none() => {
                let bytes = parts.take(parts.waiting_bytes).concat();
                match self.store.put_if_absent(&self.key, bytes.into()).await? {
                    PutOutcome::Created => Ok(()),
                    PutOutcome::Exists => Err(exists(self.store.url(&self.key))),
                }
            }
            Sink::Remote(mut parts) => {
                let result = parts.complete(&self.store).await;
                if result.is_err() {
                    // Back to where dropping aborts it.
                    self.sink = Sink::Remote(parts);
                }
                result.map_err(|error| self.error(&error))
            }
        }
    }

    /// Gives up; nothing stays.
    pub async fn abort(mut self) -> Result<(), StorageError> {
        let Sink::Remote(mut parts) = std::mem::replace(&mut self.sink, Sink::Gone) else {
            return Ok(());
        };
        parts.in_flight.shutdown().await;
        match parts.upload.as_mut() {
            Some(upload) => upload.abort().await.map_err(|error| self.error(&error)),
            None => Ok(()),
        }
    }
}

impl Drop for Upload {
    /// A local file goes at once. Parts in a bucket are invisible but cost money: they are
    /// removed in the background if the runtime still runs.
    fn drop(&mut self) {
        let Sink::Remote(mut parts) = std::mem::replace(&mut self.sink, Sink::Gone) else {
            return;
        };
        let (Some(mut upload), Ok(runtime)) =
            (parts.upload.take(), tokio::runtime::Handle::try_current())
        else {
            return;
        };
        let url = self.store.url(&self.key);
        runtime.spawn(async move {
            parts.in_flight.shutdown().await;
            if let Err(error) = upload.abort().await {
                let cause = super::classify::words(&error);
                tracing::warn!(
                    object = url,
                    cause,
                    "an unfinished upload could not be removed"
                );
            }
        });
    }
}

impl Parts {
    /// Takes exactly so many waiting bytes (or all, if there are fewer).
    fn take(&mut self, count: u64) -> Vec<Bytes> {
        let mut taken = Vec::new();
        let mut left = count;
        while left > 0 {
            let Some(mut bytes) = self.waiting.pop_front() else {
                break;
            };
            if let Some(at) = usize::try_from(left).ok().filter(|at| *at < bytes.len()) {
                self.waiting.push_front(bytes.split_off(at));
            }
            left -= bytes.len() as u64;
            taken.push(bytes);
        }
        self.waiting_bytes -= count - left;
        taken
    }

    async fn add(&mut self, store: &Store, bytes: Bytes) -> object_store::Result<()> {
        self.waiting_bytes += bytes.len() as u64;
        self.waiting.push_back(bytes);
        loop {
            let size = part_size(self.number, self.expected);
            // The last part may be whole: it is only sent when more follows or at the end.
            if self.waiting_bytes <= size {
                return Ok(());
            }
            self.send(store, size).await?;
        }
    }

    async fn send(&mut self, store: &Store, size: u64) -> object_store::Result<()> {
        while self.in_flight_bytes + size > IN_FLIGHT && !self.in_flight.is_empty() {
            self.join_one().await?;
        }
        let payload: PutPayload = self.take(size).into_iter().collect();
        let upload = match &mut self.upload {
            Some(upload) => upload,
            none => {
                let _permit = permit(&store.shared).await;
                none.insert(
                    self.inner
                        .put_multipart_opts(&self.path, <_>::default())
                        .await?,
                )
            }
        };
        let part = upload.put_part(payload);
        let shared = Arc::clone(&store.shared);
        self.number += 1;
        self.in_flight_bytes += size;
        self.in_flight.spawn(async move {
            let _permit = permit(&shared).await;
            part.await.map(|()| size)
        });
        Ok(())
    }

    async fn join_one(&mut self) -> object_store::Result<()> {
        if let Some(joined) = self.in_flight.join_next().await {
            self.in_flight_bytes -= joined??;
        }
        Ok(())
    }

    async fn complete(&mut self, store: &Store) -> object_store::Result<()> {
        self.send(store, self.waiting_bytes).await?;
        while !self.in_flight.is_empty() {
            self.join_one().await?;
        }
        if let Some(upload) = &mut self.upload {
            let _permit = permit(&store.shared).await;
            upload.complete().await?;
        }
        self.upload = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_tebibytes_fit() {
        let whole = 5 << 40;
        let equal = part_size(0, Some(whole));
        assert!(whole.div_ceil(equal) <= PARTS);
        assert!(equal <= 5 << 30);
        assert_eq!(part_size(0, Some(100_000_000_000)), 16 * MIB);
        let grown: u64 = (0..10_000).map(|number| part_size(number, None)).sum();
        assert!(grown >= whole);
    }
}
