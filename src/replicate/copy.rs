//! Copying one object: read once, digested while it passes, written once, compared with what
//! the target acknowledges, and a share of them read back.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use tokio::sync::watch;

use super::digest::digest;
use super::gate::{self, Gate};
use super::ledger::Ledger;
use super::limit::Limit;
use super::meter::Meter;
use super::queue::MarkerItem;
use super::{Pair, ReplicateError, ReplicateOptions, arrival, findings};
use crate::codec::Sha256;
use crate::finding::Finding;
use crate::state::{CopyAlarm, CopySide, RememberedCopy, source_mark, target_mark};
use crate::storage::{
    Acknowledged, ErrorKind, ObjectEntry, OnceOutcome, Operation, StorageError, Store,
    StoredChecksum, WriteOptions, Written,
};

/// Who is asked to stop finishes objects of which no more than this is left.
const FINISHED: u64 = 64 << 20;

/// What all who copy share.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) pair: Pair,
    pub(super) options: ReplicateOptions,
    pub(super) ledger: Ledger,
    pub(super) limit: Limit,
    pub(super) meter: Meter,
    pub(super) stop: watch::Receiver<bool>,
}

/// What came of one object.
#[derive(Debug)]
pub(super) enum Done {
    /// It was copied.
    Copied(Copied),
    /// The target had one already, with the same bytes.
    There,
    /// The target had one already, with other bytes; or what was written cannot be read.
    Wrong(Finding),
    /// The source does not hold it any more.
    Gone,
    /// It must wait, for this reason.
    Waits(String),
    /// More was found that must go before.
    More(Vec<ObjectEntry>),
    /// Given up because the run is asked to stop.
    Stopped,
}

/// An object that was copied.
#[derive(Debug)]
pub(super) struct Copied {
    pub(super) bytes: u64,
    /// What the target confirmed to hold.
    pub(super) acknowledged: Option<Acknowledged>,
    /// Whether it was read back, and was what it should be.
    pub(super) read_back: bool,
    /// When it was stored at the source.
    pub(super) stored: DateTime<Utc>,
}

impl Work {
    pub(super) fn is_asked_to_stop(&self) -> bool {
        *self.stop.borrow()
    }

    /// Does something that leaves nothing behind, unless asked to stop meanwhile.
    pub(super) async fn unless_stopped<T>(
        &self,
        doing: impl Future<Output = Result<T, ReplicateError>>,
    ) -> Result<T, ReplicateError> {
        let mut stop = self.stop.clone();
        tokio::select! {
            result = doing => result,
            Ok(()) = async { stop.wait_for(|asked| *asked).await.map(|_| ()) } => Err(ReplicateError::Interrupted),
        }
    }

    fn write_options(&self, size: u64) -> WriteOptions {
        WriteOptions {
            retention: self.options.locked_until(Utc::now()),
            ..WriteOptions::sized(size)
        }
    }

    fn source(&self) -> &Store {
        self.pair.source.store()
    }

    fn target(&self) -> &Store {
        self.pair.target.store()
    }

    /// Copies one object, but no commit marker. `listed` is the size that its listing told.
    pub(super) async fn copy(
        self: Arc<Self>,
        key: &str,
        listed: u64,
    ) -> Result<Done, StorageError> {
        let mut attempts = 1;
        loop {
            match self.copy_once(key, listed).await {
                Err(error) if arrival::was_damaged(&error) && attempts < arrival::ATTEMPTS => {
                    attempts += 1;
                }
                done => return done,
            }
        }
    }

    async fn copy_once(&self, key: &str, listed: u64) -> Result<Done, StorageError> {
        let mut read = match self.source().read(key).await {
            Err(error) if error.is_not_found() => return Ok(Done::Gone),
            read => read?,
        };
        let entry = read.entry.clone();
        if entry.size < listed {
            // Backup tools never shorten an object; a wire or a proxy may.
            let cause = format!(
                "it was listed with {listed} bytes and is given with {}",
                entry.size
            );
            let url = self.source().location().join(key).to_string();
            return Err(StorageError::new(
                Operation::Read,
                url,
                ErrorKind::Changed,
                cause,
            ));
        }
        let mut arrived = read.checksum.take().map(StoredChecksum::arriving);
        let options = self.write_options(entry.size);
        let mut upload = match self.target().write_once(key, options).await {
            Err(error) if error.kind == ErrorKind::Exists => return self.existing(key).await,
            upload => upload?,
        };
        let mut passed: u64 = 0;
        loop {
            let bytes = match read.stream.try_next().await {
                Ok(Some(bytes)) => bytes,
                Ok(None) => break,
                Err(error) => {
                    upload.abort().await?;
                    return gone(error);
                }
            };
            if self.is_asked_to_stop() && entry.size - passed.min(entry.size) > FINISHED {
                upload.abort().await?;
                return Ok(Done::Stopped);
            }
            if let Some(arrived) = &mut arrived {
                arrived.update(&bytes);
            }
            self.limit.take(bytes.len()).await;
            passed += bytes.len() as u64;
            self.meter.passed(bytes.len() as u64);
            upload.write(bytes).await?;
        }
        if let Err(error) = arrival::check(self.source(), key, arrived) {
            // Nothing of it is visible yet.
            upload.abort().await?;
            return Err(error);
        }
        match upload.finish().await? {
            OnceOutcome::Written(written) => self.written(key, &entry, written, false).await,
            OnceOutcome::Exists => self.existing(key).await,
        }
    }

    /// Copies a commit marker, after a look whether all that it claims is at the target.
    pub(super) async fn copy_marker(
        self: Arc<Self>,
        item: &MarkerItem,
    ) -> Result<Done, ReplicateError> {
        let (entry, bytes) =
            match gate::look(&self.pair, &self.ledger, &item.backup, &item.key).await? {
                Gate::Open { entry, bytes } => (entry, bytes),
                Gate::Waits(reason) => return Ok(Done::Waits(reason)),
                Gate::More(more) => return Ok(Done::More(more)),
                Gate::Gone => return Ok(Done::Gone),
            };
        self.meter.passed(entry.size);
        let outcome = if let Some(etag) = &item.replaces {
            self.target().replace_if(&item.key, bytes, etag).await?
        } else {
            let options = self.write_options(entry.size);
            self.target().put_once(&item.key, bytes, &options).await?
        };
        match outcome {
            OnceOutcome::Written(written) => {
                Ok(self.written(&item.key, &entry, written, true).await?)
            }
            OnceOutcome::Exists => Ok(self.existing(&item.key).await?),
        }
    }

    /// Remembers what was written, and reads it back if it is its turn.
    async fn written(
        &self,
        key: &str,
        entry: &ObjectEntry,
        written: Written,
        always: bool,
    ) -> Result<Done, StorageError> {
        let mut copy = RememberedCopy {
            key: key.to_owned(),
            sha256: Some(written.sha256),
            source: entry.identity(),
            target_etag: written.entry.etag.clone(),
            target_version: written.entry.version.clone(),
            copied_at: Some(Utc::now()),
            read_back_at: None,
            expired_at: None,
            alarm: None,
        };
        let mut wrong = None;
        let mut shown = None;
        if always || self.options.read_back.holds(first_bytes(written.sha256)) {
            let (found, sha256) = digest(self.target(), key, None).await?;
            if sha256 == written.sha256 {
                copy.read_back_at = Some(Utc::now());
                shown = Some(found);
            } else {
                wrong = Some(findings::not_what_was_written(key, written.sha256, sha256));
                let there = target_mark(found.size, found.etag.as_deref());
                copy.alarm = Some(alarm(
                    CopySide::Target,
                    &found,
                    sha256,
                    copy.source_mark(),
                    there,
                ));
            }
        }
        if wrong.is_none() && copy.target_etag.is_none() {
            copy.target_etag = self.tag_of(&written.entry, shown).await;
        }
        let read_back = copy.read_back_at.is_some();
        self.ledger.note(copy).await;
        Ok(match wrong {
            Some(finding) => Done::Wrong(finding),
            None => Done::Copied(Copied {
                bytes: written.entry.size,
                acknowledged: written.acknowledged,
                read_back,
                stored: entry.last_modified,
            }),
        })
    }

    /// The tag that listings show of what was written, where the answer to the write did not
    /// tell it: Google's tells the generation alone, listings the tag alone. Without it the
    /// next run would have to read the copy. `None` if somebody else's is there by now, or
    /// the store does not say: then it is read.
    async fn tag_of(&self, written: &ObjectEntry, shown: Option<ObjectEntry>) -> Option<String> {
        written.version.as_ref()?;
        let shown = match shown {
            Some(shown) => Some(shown),
            None => self.target().head(&written.key).await.ok()?,
        };
        shown
            .filter(|shown| shown.version == written.version)
            .and_then(|shown| shown.etag)
    }

    /// Compares what lies on both sides after all: another writer was there first.
    async fn existing(&self, key: &str) -> Result<Done, StorageError> {
        let (source, here) = match digest(self.source(), key, Some(&self.limit)).await {
            Ok(read) => read,
            Err(error) => return gone(error),
        };
        let (target, there) = match digest(self.target(), key, None).await {
            Err(error) if error.is_not_found() => return Err(hidden(error)),
            read => read?,
        };
        let mut copy = RememberedCopy {
            key: key.to_owned(),
            sha256: Some(here),
            ..RememberedCopy::adopted(&source, &target)
        };
        if here == there {
            copy.read_back_at = Some(Utc::now());
            self.ledger.note(copy).await;
            return Ok(Done::There);
        }
        let marks = (
            source_mark(&source.identity()),
            target_mark(target.size, target.etag.as_deref()),
        );
        let alarm = alarm(CopySide::Both, &target, there, marks.0, marks.1);
        let finding = findings::alarm(&copy, &alarm, false);
        copy.alarm = Some(alarm);
        self.ledger.note(copy).await;
        Ok(Done::Wrong(finding))
    }
}

/// The target refuses to write over what it does not show: not copied, and the source holds
/// it. (versitygw counts a version below a delete marker.)
fn hidden(error: StorageError) -> StorageError {
    StorageError {
        operation: Operation::Write,
        kind: ErrorKind::Other,
        cause: "the target says that there is an object of this key, and shows none: remove the \
                delete marker that hides it, if it keeps versions"
            .to_owned(),
        ..error
    }
}

/// What is not there any more is no failure.
fn gone(error: StorageError) -> Result<Done, StorageError> {
    if error.is_not_found() {
        Ok(Done::Gone)
    } else {
        Err(error)
    }
}

/// An alarm that is noticed now.
fn alarm(side: CopySide, found: &ObjectEntry, sha256: Sha256, here: i64, there: i64) -> CopyAlarm {
    CopyAlarm {
        side,
        sha256,
        size: found.size,
        mark: super::judge::combined(here, there),
        noticed: Utc::now(),
    }
}

/// The beginning of a digest, as a number.
fn first_bytes(sha256: Sha256) -> u64 {
    let bytes = sha256.as_bytes().first_chunk().copied();
    u64::from_be_bytes(bytes.unwrap_or_default())
}
