//! Large objects, written in parts while their bytes arrive.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;

use super::digest::Digests;
use super::{Body, Condition, OnceOutcome, Put, WriteOptions, Written, azure, exists, gcs, s3};
use crate::storage::local::Staged;
use crate::storage::open::Backend;
use crate::storage::remote::{Dialect, Remote};
use crate::storage::store::{blocking, permit};
use crate::storage::{ErrorKind, ObjectEntry, Operation, PutOutcome, StorageError, Store};

const MIB: u64 = 1 << 20;
/// S3 allows 10,000 parts; this leaves room for an object that is larger than expected.
const PARTS: u64 = 9_000;
/// Memory for objects on their way out, over all clones of a store, in KiB.
pub(in crate::storage) const WRITE_MEMORY_KIB: usize = 96 << 10;
/// How long the parts of an upload that is given up may take to end.
const PARTING: Duration = Duration::from_secs(5);
/// How many bytes go to a file at once.
const FILE_CHUNK: u64 = MIB;

/// The size of the part of a number (from 0), so that 5 TiB need fewer than 10,000 parts.
///
/// With an expected size all parts are equal, as some stores demand (Cloudflare R2): 8 MiB up
/// to 70 GiB. Without, they grow: 16 MiB up to 62 GiB, 64 MiB up to 187 GiB, 256 MiB up to
/// 437 GiB, then 1.75 GiB.
fn part_size(number: u32, expected: Option<u64>) -> u64 {
    if let Some(expected) = expected {
        return (expected.div_ceil(PARTS).div_ceil(MIB) * MIB).max(8 * MIB);
    }
    match number {
        0..4_000 => 16 * MIB,
        4_000..6_000 => 64 * MIB,
        6_000..7_000 => 256 * MIB,
        _ => 1_792 * MIB,
    }
}

/// A large object being written. Nothing is visible before [`finish`](Self::finish); dropping
/// it gives it up.
///
/// Memory: all uploads of a store and its clones together hold at most 96 MiB, or one part
/// alone if that is larger (objects of more than 840 GiB, or 187 GiB if their size is not
/// expected). An upload waits for its share before it takes the first bytes of a part; so who
/// holds several open must write to them from tasks of their own.
pub struct OnceUpload {
    store: Store,
    key: String,
    options: WriteOptions,
    sink: Sink,
}

enum Sink {
    Local(Box<Local>),
    Remote(Box<Parts>),
    /// A failure took the sink, or it was finished.
    Gone,
}

struct Local {
    staged: Staged,
    digests: Digests,
    waiting: Vec<Bytes>,
    waiting_bytes: u64,
}

struct Parts {
    digests: Digests,
    /// Begun with the first full part: what fits into one is put whole.
    session: Option<Arc<Session>>,
    number: u32,
    /// How many bytes were cut into parts.
    cut: u64,
    waiting: VecDeque<Bytes>,
    waiting_bytes: u64,
    /// The share of memory for the part that is being collected.
    share: Option<OwnedSemaphorePermit>,
    in_flight: JoinSet<Result<(u32, Part), StorageError>>,
    done: BTreeMap<u32, Part>,
}

enum Session {
    S3(s3::Session),
    Gcs(gcs::Session),
    Azure(azure::Session),
}

enum Part {
    S3(s3::Part),
    Azure(azure::Part),
    /// The parts of an upload to GCS have no names.
    Gcs,
}

/// The bucket behind a store; uploads to directories never ask.
fn remote(store: &Store) -> Result<&Remote, StorageError> {
    match &store.shared.backend {
        Backend::Remote(remote) => Ok(remote),
        Backend::Local(_) => Err(store.odd(Operation::Write, "", "no bucket")),
    }
}

impl Store {
    /// Begins to write an object of which there must be none yet.
    ///
    /// # Errors
    /// [`ErrorKind::Exists`] if there is one already and the store was asked, which it is not
    /// for small objects. Then, as for one that comes to be meanwhile, it shows in
    /// [`OnceUpload::finish`].
    pub async fn write_once(
        &self,
        key: &str,
        options: WriteOptions,
    ) -> Result<OnceUpload, StorageError> {
        let path = self.path(Operation::Write, key)?;
        if matches!(self.shared.backend, Backend::Local(_)) {
            self.files_cannot_lock(key, &options)?;
        }
        // For what fits into one request, the request will tell.
        let small = options
            .expected
            .is_some_and(|bytes| bytes <= part_size(0, options.expected));
        if !(small && self.knows_conditions()) && self.is_there(key).await? {
            return Err(exists(self.url(key)));
        }
        let sink = match &self.shared.backend {
            Backend::Local(_) => {
                let staged = self.on_directory(Operation::Write, key, move |directory| {
                    directory.stage(path.as_ref())
                });
                Sink::Local(Box::new(Local {
                    staged: staged.await?,
                    digests: Digests::new(false),
                    waiting: Vec::new(),
                    waiting_bytes: 0,
                }))
            }
            Backend::Remote(remote) => Sink::Remote(Box::new(Parts {
                digests: Digests::new(matches!(remote.dialect, Dialect::Azure(_))),
                session: None,
                number: 0,
                cut: 0,
                waiting: VecDeque::new(),
                waiting_bytes: 0,
                share: None,
                in_flight: JoinSet::new(),
                done: BTreeMap::new(),
            })),
        };
        Ok(OnceUpload {
            store: self.clone(),
            key: key.to_owned(),
            options,
            sink,
        })
    }
}

impl OnceUpload {
    fn gone(&self) -> StorageError {
        let cause = "the upload has already failed";
        let url = self.store.url(&self.key);
        StorageError::new(Operation::Write, url, ErrorKind::Other, cause)
    }

    /// Adds bytes. Waits while too many are on their way. After an error the upload is
    /// lost: abort it or drop it.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), StorageError> {
        if bytes.is_empty() {
            return Ok(());
        }
        match std::mem::replace(&mut self.sink, Sink::Gone) {
            Sink::Gone => Err(self.gone()),
            Sink::Local(mut local) => {
                local.waiting_bytes += bytes.len() as u64;
                local.waiting.push(bytes);
                if local.waiting_bytes >= FILE_CHUNK {
                    local = self.flush(local).await?;
                }
                self.sink = Sink::Local(local);
                Ok(())
            }
            Sink::Remote(mut parts) => {
                // The parts go back in any case: their upload must be ended.
                let upload = (&self.store, self.key.as_str(), &self.options);
                let result = parts.add(upload, bytes).await;
                self.sink = Sink::Remote(parts);
                result
            }
        }
    }

    async fn flush(&self, mut local: Box<Local>) -> Result<Box<Local>, StorageError> {
        let _permit = permit(&self.store.shared).await;
        self.store.shared.counters.request();
        let written = blocking(move || {
            let pieces = std::mem::take(&mut local.waiting);
            local.waiting_bytes = 0;
            local.digests.update(&pieces);
            for piece in pieces {
                local.staged.write(&piece)?;
            }
            Ok(local)
        });
        written
            .await
            .map_err(|error| self.store.local_error(Operation::Write, &self.key, &error))
    }

    /// Makes the object visible, durably, if there is still none of its key.
    pub async fn finish(mut self) -> Result<OnceOutcome, StorageError> {
        match std::mem::replace(&mut self.sink, Sink::Gone) {
            Sink::Gone => Err(self.gone()),
            Sink::Local(local) => {
                let local = *self.flush(local).await?;
                self.publish(local).await
            }
            Sink::Remote(mut parts) => {
                let upload = (&self.store, self.key.as_str(), &self.options);
                let result = parts.finish(upload).await;
                // Back to where dropping aborts it, unless it is done.
                self.sink = Sink::Remote(parts);
                if matches!(result, Ok(OnceOutcome::Exists)) {
                    self.end().await?;
                }
                result
            }
        }
    }

    async fn publish(&self, local: Local) -> Result<OnceOutcome, StorageError> {
        let Local {
            staged, digests, ..
        } = local;
        let path = self.store.path(Operation::Write, &self.key)?;
        let found = self
            .store
            .on_directory(Operation::Write, &self.key, move |directory| {
                match staged.publish_new()? {
                    PutOutcome::Created => directory.head(path.as_ref()),
                    PutOutcome::Exists => Ok(None),
                }
            })
            .await?;
        let Some(found) = found else {
            return Ok(OnceOutcome::Exists);
        };
        self.store.shared.counters.written(digests.bytes());
        Ok(OnceOutcome::Written(Written {
            entry: ObjectEntry {
                size: digests.bytes(),
                ..self.store.found(found)
            },
            sha256: digests.sha256(),
            acknowledged: None,
        }))
    }

    /// Gives up; nothing stays.
    pub async fn abort(mut self) -> Result<(), StorageError> {
        self.end().await
    }

    async fn end(&mut self) -> Result<(), StorageError> {
        let Sink::Remote(mut parts) = std::mem::replace(&mut self.sink, Sink::Gone) else {
            return Ok(());
        };
        match parts.session.take() {
            Some(session) => end(&self.store, &self.key, &session, &mut parts.in_flight).await,
            None => Ok(()),
        }
    }
}

/// Removes what the store holds of an unfinished upload. A part that is still on its way when
/// the upload is removed may stay for ever: they are waited for, for a while.
async fn end(
    store: &Store,
    key: &str,
    session: &Session,
    in_flight: &mut JoinSet<Result<(u32, Part), StorageError>>,
) -> Result<(), StorageError> {
    let all = async { while in_flight.join_next().await.is_some() {} };
    let ended = tokio::time::timeout(PARTING, all).await.is_ok();
    in_flight.shutdown().await;
    if !ended {
        remove(store, key, session).await?;
        tokio::time::sleep(PARTING).await;
    }
    remove(store, key, session).await
}

async fn remove(store: &Store, key: &str, session: &Session) -> Result<(), StorageError> {
    let remote = remote(store)?;
    match (&remote.dialect, session) {
        (Dialect::S3(s3), Session::S3(session)) => {
            s3::abort(store, remote, s3, key, session.id()).await
        }
        (Dialect::Gcs(_), Session::Gcs(session)) => gcs::abort(store, remote, key, session).await,
        // Azure forgets blocks that nobody lists.
        _ => Ok(()),
    }
}

impl Drop for OnceUpload {
    /// A local file goes at once. Parts in a bucket are invisible but cost money: they are
    /// removed in the background if the runtime still runs.
    fn drop(&mut self) {
        let Sink::Remote(mut parts) = std::mem::replace(&mut self.sink, Sink::Gone) else {
            return;
        };
        let (Some(session), Ok(runtime)) =
            (parts.session.take(), tokio::runtime::Handle::try_current())
        else {
            return;
        };
        let (store, key) = (self.store.clone(), std::mem::take(&mut self.key));
        runtime.spawn(async move {
            if let Err(error) = end(&store, &key, &session, &mut parts.in_flight).await {
                tracing::warn!(%error, "an unfinished upload could not be removed");
            }
        });
    }
}

/// Whose parts these are.
type Upload<'a> = (&'a Store, &'a str, &'a WriteOptions);

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

    async fn add(&mut self, upload: Upload<'_>, bytes: Bytes) -> Result<(), StorageError> {
        let (store, _, options) = upload;
        self.reserve(store, options).await;
        self.waiting_bytes += bytes.len() as u64;
        self.waiting.push_back(bytes);
        loop {
            let size = part_size(self.number, options.expected);
            // The last part may be whole: it is only sent when more follows or at the end.
            if self.waiting_bytes <= size {
                return Ok(());
            }
            self.send(upload, size).await?;
            self.reserve(store, options).await;
        }
    }

    /// Waits for the memory of the next part.
    async fn reserve(&mut self, store: &Store, options: &WriteOptions) {
        if self.share.is_some() {
            return;
        }
        let size = part_size(self.number, options.expected);
        let rest = options
            .expected
            .map_or(size, |expected| expected.saturating_sub(self.cut));
        let wanted = usize::try_from(size.min(rest.max(1)).div_ceil(1 << 10)).unwrap_or(usize::MAX);
        let wanted = u32::try_from(wanted.min(WRITE_MEMORY_KIB)).unwrap_or(u32::MAX);
        let memory = Arc::clone(&store.shared.write_memory);
        // Never closed.
        self.share = memory.acquire_many_owned(wanted).await.ok();
    }

    /// Cuts the next part and digests it.
    async fn cut(&mut self, size: u64) -> Body {
        let pieces = self.take(size);
        let wants_nothing = Digests::new(false);
        let digests = std::mem::replace(&mut self.digests, wants_nothing);
        let (pieces, digests) = digests.add(pieces).await;
        self.digests = digests.clone();
        self.cut = digests.bytes();
        Body {
            payload: pieces.into_iter().collect(),
            digests,
        }
    }

    /// Sends the next part, in the background.
    async fn send(&mut self, upload: Upload<'_>, size: u64) -> Result<(), StorageError> {
        let (store, key, options) = upload;
        let remote = remote(store)?;
        let session = match &self.session {
            Some(session) => Arc::clone(session),
            None => Arc::clone(self.session.insert(Arc::new(begin(upload, remote).await?))),
        };
        let at = self.cut;
        let body = self.cut(size).await;
        let share = self.share.take();
        if matches!(*session, Session::Gcs(_)) {
            self.join_all().await?;
        }
        // What has failed is told soon.
        while let Some(joined) = self.in_flight.try_join_next() {
            self.joined(store, key, joined)?;
        }
        self.number += 1;
        let number = self.number;
        let (store, key, options) = (store.clone(), key.to_owned(), options.clone());
        self.in_flight.spawn(async move {
            let _share = share;
            let upload = (&store, key.as_str(), &options);
            let part = send_part(upload, &session, number, at, &body).await?;
            Ok((number, part))
        });
        Ok(())
    }

    fn joined(
        &mut self,
        store: &Store,
        key: &str,
        joined: Result<Result<(u32, Part), StorageError>, tokio::task::JoinError>,
    ) -> Result<(), StorageError> {
        let (number, part) =
            joined.map_err(|error| store.odd(Operation::Write, key, &error.to_string()))??;
        self.done.insert(number, part);
        Ok(())
    }

    async fn join_all(&mut self) -> Result<(), StorageError> {
        while let Some(joined) = self.in_flight.join_next().await {
            let (number, part) = joined.map_err(|error| {
                StorageError::new(
                    Operation::Write,
                    String::new(),
                    ErrorKind::Other,
                    error.to_string(),
                )
            })??;
            self.done.insert(number, part);
        }
        Ok(())
    }

    async fn finish(&mut self, upload: Upload<'_>) -> Result<OnceOutcome, StorageError> {
        let (store, key, options) = upload;
        let remote = remote(store)?;
        if self.session.is_none() {
            let body = self.cut(self.waiting_bytes).await;
            let put = store.put_body(key, remote, &body, Condition::Absent, options);
            let outcome = put.await;
            self.share = None;
            return outcome;
        }
        let session = self.session.clone();
        let put = match (&remote.dialect, session.as_deref()) {
            (Dialect::Gcs(_), Some(Session::Gcs(session))) => {
                self.join_all().await?;
                let at = self.cut;
                let body = self.cut(self.waiting_bytes).await;
                let last = Some(&self.digests);
                gcs::part(store, remote, key, session, at, body.payload, last)
                    .await?
                    .ok_or_else(|| store.odd(Operation::Write, key, "the upload has no end"))?
            }
            (dialect, session) => {
                self.send(upload, self.waiting_bytes).await?;
                self.join_all().await?;
                if !store.knows_conditions() && store.is_there(key).await? {
                    return Ok(OnceOutcome::Exists);
                }
                match (dialect, session) {
                    (Dialect::S3(s3), Some(Session::S3(session))) => {
                        let parts = self.done.values().filter_map(|part| match part {
                            Part::S3(part) => Some(part),
                            _ => None,
                        });
                        let parts: Vec<_> = parts.collect();
                        let digests = &self.digests;
                        s3::complete(store, remote, s3, key, session, &parts, digests).await?
                    }
                    (Dialect::Azure(azure), _) => {
                        let parts = self.done.values().filter_map(|part| match part {
                            Part::Azure(part) => Some(part),
                            _ => None,
                        });
                        let parts: Vec<_> = parts.collect();
                        azure::complete(store, remote, azure, key, &parts, options).await?
                    }
                    _ => return Err(store.odd(Operation::Write, key, "a foreign upload")),
                }
            }
        };
        if matches!(put, Put::Done(_)) {
            self.session = None;
        }
        store.outcome(key, put, &self.digests).await
    }
}

async fn begin(upload: Upload<'_>, remote: &Remote) -> Result<Session, StorageError> {
    let (store, key, options) = upload;
    Ok(match &remote.dialect {
        Dialect::S3(s3) => Session::S3(s3::begin(store, remote, s3, key, options).await?),
        Dialect::Gcs(gcs) => Session::Gcs(
            gcs::begin(store, remote, gcs, key, options)
                .await?
                .ok_or_else(|| exists(store.url(key)))?,
        ),
        Dialect::Azure(_) => Session::Azure(azure::begin()),
    })
}

async fn send_part(
    upload: Upload<'_>,
    session: &Session,
    number: u32,
    at: u64,
    body: &Body,
) -> Result<Part, StorageError> {
    let (store, key, options) = upload;
    let remote = remote(store)?;
    match (&remote.dialect, session) {
        (Dialect::S3(s3), Session::S3(session)) => {
            s3::part(store, remote, s3, key, session, number, body)
                .await
                .map(Part::S3)
        }
        (Dialect::Azure(azure), Session::Azure(session)) => {
            azure::part(store, remote, azure, key, (session, number), body, options)
                .await
                .map(Part::Azure)
        }
        (Dialect::Gcs(_), Session::Gcs(session)) => {
            let payload = body.payload.clone();
            gcs::part(store, remote, key, session, at, payload, None).await?;
            Ok(Part::Gcs)
        }
        _ => Err(store.odd(Operation::Write, key, "a foreign upload")),
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
        assert_eq!(part_size(0, Some(70 << 30)), 8 * MIB);
        let grown: u64 = (0..10_000).map(|number| part_size(number, None)).sum();
        assert!(grown >= whole);
    }
}
