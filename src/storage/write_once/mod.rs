//! Writing an object once: never over another one, digested while it passes, with what the
//! store acknowledged.
//!
//! The condition "only if there is none" goes with the request that makes the object visible:
//! `If-None-Match: *` on the PUT and on `CompleteMultipartUpload` (S3), `ifGenerationMatch=0`
//! (GCS), `If-None-Match: *` on Put Blob and Put Block List (Azure), a hard link (files).
//!
//! Checksums: SHA-256 of every object, computed once. A whole object is sent with it (S3: in
//! the signature and as the object's checksum), or with CRC32C (GCS) or MD5 (Azure), which is
//! what these verify. Parts carry a CRC32C (Azure: MD5); S3 is given that of the whole at the
//! end, combined from those of the parts.

mod azure;
mod digest;
mod gcs;
mod s3;
mod upload;

use std::sync::atomic::Ordering;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use object_store::PutPayload;
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use super::identity::normal_etag;
use super::identity::normal_version;
use super::open::Backend;
use super::remote::{Dialect, Remote};
use super::wire::Answer;
use super::{ErrorKind, ObjectEntry, Operation, PutOutcome, StorageError, Store};
use crate::codec::Sha256;
use digest::Digests;
pub use upload::OnceUpload;
pub(super) use upload::WRITE_MEMORY_KIB;

/// How strictly a retention binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LockMode {
    /// Who has a special permission may shorten or lift it (Azure: "unlocked").
    Governance,
    /// Nobody may (Azure and GCS: "locked").
    Compliance,
}

/// Until when a written object may be neither overwritten nor deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Retention {
    /// How strictly.
    pub mode: LockMode,
    /// The last moment, in whole seconds.
    pub until: DateTime<Utc>,
}

/// How an object is written.
#[derive(Clone, Debug)]
pub struct WriteOptions {
    /// About how many bytes it will have: better more than less. Parts follow it.
    pub expected: Option<u64>,
    /// For how long the store must keep it. A directory cannot.
    pub retention: Option<Retention>,
    /// Whether the store is given checksums to verify, where it knows them.
    pub checksums: bool,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self {
            expected: None,
            retention: None,
            checksums: true,
        }
    }
}

impl WriteOptions {
    /// The usual options for an object of about `expected` bytes.
    pub fn sized(expected: u64) -> Self {
        Self {
            expected: Some(expected),
            ..Self::default()
        }
    }
}

/// What the store gave back and that is what we computed ourselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Acknowledged {
    /// The SHA-256 of the whole object.
    Sha256,
    /// The CRC32C of the whole object.
    Crc32c,
    /// The MD5 of the whole object.
    Md5,
    /// A checksum of each of its parts.
    Parts,
    /// It was read back, and has the same SHA-256.
    ReadBack,
}

/// An object that was written, by the store's words and ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// What the store says of it. The time is that of the answer, unless the store told one.
    pub entry: ObjectEntry,
    /// The SHA-256 of what was sent.
    pub sha256: Sha256,
    /// What the store confirmed to hold; `None` if it only said that it took it.
    pub acknowledged: Option<Acknowledged>,
}

/// What a create-only write did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnceOutcome {
    /// The object is new.
    Written(Written),
    /// There already is an object of this key (for a replacement: another one than was to be
    /// replaced); nothing was written.
    Exists,
}

/// What must hold for a write to happen.
#[derive(Clone, Copy, Debug)]
enum Condition<'a> {
    /// There is no object of the key.
    Absent,
    /// It is the one with this tag (without quotes).
    Is(&'a str),
    /// Nothing.
    None,
}

/// A whole object on its way.
struct Body {
    payload: PutPayload,
    digests: Digests,
}

/// What a store said to a conditional write.
enum Put {
    Done(Stored),
    /// The condition does not hold. `unsure`: perhaps because of an earlier attempt of the
    /// same write, whose answer got lost.
    Exists {
        unsure: bool,
    },
}

/// What a store said of what it took.
struct Stored {
    etag: Option<String>,
    version: Option<String>,
    at: DateTime<Utc>,
    acknowledged: Option<Acknowledged>,
}

impl Stored {
    /// Reads the headers that S3 and Azure share; `version` is the name of theirs.
    fn of(answer: &Answer, version: &str, acknowledged: Option<Acknowledged>) -> Self {
        let time = |name| DateTime::parse_from_rfc2822(answer.header(name)?).ok();
        Self {
            etag: answer.header("etag").and_then(normal_etag),
            version: answer
                .header(version)
                .and_then(|version| normal_version(version.to_owned())),
            at: time("last-modified")
                .or_else(|| time("date"))
                .map_or_else(Utc::now, Into::into),
            acknowledged,
        }
    }

    fn written(self, key: &str, size: u64, sha256: Sha256) -> Written {
        Written {
            entry: ObjectEntry {
                key: key.to_owned(),
                size,
                last_modified: self.at,
                etag: self.etag,
                version: self.version,
            },
            sha256,
            acknowledged: self.acknowledged,
        }
    }
}

fn exists(url: String) -> StorageError {
    let cause = "there already is an object of this key";
    StorageError::new(Operation::Write, url, ErrorKind::Exists, cause)
}

impl Store {
    /// Writes a whole object only if there is none of this key. Durable when it returns. The
    /// bytes are held in memory.
    pub async fn put_once(
        &self,
        key: &str,
        bytes: Bytes,
        options: &WriteOptions,
    ) -> Result<OnceOutcome, StorageError> {
        if !self.knows_conditions() && self.is_there(key).await? {
            return Ok(OnceOutcome::Exists);
        }
        self.put_if(key, bytes, Condition::Absent, options).await
    }

    /// The same with the usual options, told in short.
    pub async fn put_new(&self, key: &str, bytes: Bytes) -> Result<PutOutcome, StorageError> {
        Ok(
            match self.put_once(key, bytes, &WriteOptions::default()).await? {
                OnceOutcome::Written(_) => PutOutcome::Created,
                OnceOutcome::Exists => PutOutcome::Exists,
            },
        )
    }

    /// Replaces the object that has this entity tag by other bytes; [`OnceOutcome::Exists`] if
    /// it is another one by now. Only for descriptions whose status changes, such as
    /// `backup.info`.
    ///
    /// # Errors
    /// Also when there is no object of this key. In a directory the tag is looked at just
    /// before the file is replaced, which is not proof against a writer at that very moment.
    pub async fn replace_if(
        &self,
        key: &str,
        bytes: Bytes,
        etag: &str,
    ) -> Result<OnceOutcome, StorageError> {
        let options = WriteOptions::default();
        let outcome = self
            .put_if(key, bytes, Condition::Is(etag), &options)
            .await?;
        // Azure says of an object that is not there that it is another one.
        if outcome == OnceOutcome::Exists && !self.is_there(key).await? {
            let cause = "there is no object to replace";
            let url = self.url(key);
            return Err(StorageError::new(
                Operation::Write,
                url,
                ErrorKind::NotFound,
                cause,
            ));
        }
        Ok(outcome)
    }

    /// Writes an object, replacing what is there. Only for descriptions whose status
    /// changes, such as `backup.info`, by who is alone to write them.
    pub async fn put_replace(&self, key: &str, bytes: Bytes) -> Result<(), StorageError> {
        self.put_if(key, bytes, Condition::None, &WriteOptions::default())
            .await
            .map(|_| ())
    }

    /// Writes without looking first.
    pub(super) async fn create(
        &self,
        key: &str,
        bytes: Bytes,
    ) -> Result<OnceOutcome, StorageError> {
        self.put_if(key, bytes, Condition::Absent, &WriteOptions::default())
            .await
    }

    /// Whether the store is known to keep to conditions. Some servers that speak S3 do not
    /// know them and would overwrite: they are asked first, until they have refused a write.
    fn knows_conditions(&self) -> bool {
        let Backend::Remote(remote) = &self.shared.backend else {
            return true;
        };
        match &remote.dialect {
            Dialect::S3(s3) => s3.known_server || s3.conditions_seen.load(Ordering::Relaxed),
            Dialect::Gcs(_) | Dialect::Azure(_) => true,
        }
    }

    /// Whether an object is there already. Who may write only is refused here, and protected
    /// by the condition alone.
    async fn is_there(&self, key: &str) -> Result<bool, StorageError> {
        match self.head(key).await {
            Ok(found) => Ok(found.is_some()),
            Err(error) if error.kind == ErrorKind::Denied => Ok(false),
            Err(error) => Err(StorageError {
                operation: Operation::Write,
                object: self.url(key),
                ..error
            }),
        }
    }

    async fn put_if(
        &self,
        key: &str,
        bytes: Bytes,
        condition: Condition<'_>,
        options: &WriteOptions,
    ) -> Result<OnceOutcome, StorageError> {
        let Backend::Remote(remote) = &self.shared.backend else {
            return self.put_file(key, bytes, condition, options).await;
        };
        let wants_md5 = matches!(remote.dialect, Dialect::Azure(_));
        let (pieces, digests) = Digests::new(wants_md5).add(vec![bytes]).await;
        let body = Body {
            payload: pieces.into_iter().collect(),
            digests,
        };
        self.put_body(key, remote, &body, condition, options).await
    }

    async fn put_body(
        &self,
        key: &str,
        remote: &Remote,
        body: &Body,
        condition: Condition<'_>,
        options: &WriteOptions,
    ) -> Result<OnceOutcome, StorageError> {
        let answer = match &remote.dialect {
            Dialect::S3(s3) => s3::put(self, remote, s3, key, body, condition, options).await?,
            Dialect::Gcs(gcs) => gcs::put(self, remote, gcs, key, body, condition, options).await?,
            Dialect::Azure(azure) => {
                azure::put(self, remote, azure, key, body, condition, options).await?
            }
        };
        self.outcome(key, answer, &body.digests).await
    }

    /// Judges a store's answer. If the answer to an earlier attempt got lost, the object that
    /// is there can be our own work: then it is read back.
    async fn outcome(
        &self,
        key: &str,
        answer: Put,
        digests: &Digests,
    ) -> Result<OnceOutcome, StorageError> {
        let stored = match answer {
            Put::Done(stored) => stored,
            Put::Exists { unsure: false } => return Ok(OnceOutcome::Exists),
            Put::Exists { unsure: true } => match self.same_bytes(key, digests).await? {
                Some(stored) => stored,
                None => return Ok(OnceOutcome::Exists),
            },
        };
        Ok(OnceOutcome::Written(stored.written(
            key,
            digests.bytes(),
            digests.sha256(),
        )))
    }

    /// Whether the object that is there has these bytes.
    async fn same_bytes(
        &self,
        key: &str,
        digests: &Digests,
    ) -> Result<Option<Stored>, StorageError> {
        let mut read = match self.read(key).await {
            Ok(read) => read,
            Err(error) if error.kind == ErrorKind::Denied => return Ok(None),
            Err(error) if error.is_not_found() => {
                let cause = "the store answers as if it were done, and there is no object";
                return Err(StorageError::new(
                    Operation::Write,
                    self.url(key),
                    ErrorKind::Network,
                    cause,
                ));
            }
            Err(error) => return Err(error),
        };
        if read.entry.size != digests.bytes() {
            return Ok(None);
        }
        let mut hash = sha2::Sha256::new();
        while let Some(bytes) = read.stream.try_next().await? {
            hash.update(&bytes);
        }
        let same = <[u8; 32]>::from(hash.finalize()) == *digests.sha256().as_bytes();
        Ok(same.then_some(Stored {
            etag: read.entry.etag,
            version: read.entry.version,
            at: read.entry.last_modified,
            acknowledged: Some(Acknowledged::ReadBack),
        }))
    }

    async fn put_file(
        &self,
        key: &str,
        bytes: Bytes,
        condition: Condition<'_>,
        options: &WriteOptions,
    ) -> Result<OnceOutcome, StorageError> {
        self.files_cannot_lock(key, options)?;
        let path = self.path(Operation::Write, key)?;
        let expected = match condition {
            Condition::Is(etag) => Some(etag.to_owned()),
            Condition::Absent | Condition::None => None,
        };
        let new = matches!(condition, Condition::Absent);
        let size = bytes.len() as u64;
        let (sha256, found) = self
            .on_directory(Operation::Write, key, move |directory| {
                let sha256 = Sha256::of(&bytes);
                let mut staged = directory.stage(path.as_ref())?;
                staged.write(&bytes)?;
                if new {
                    if staged.publish_new()? == PutOutcome::Exists {
                        return Ok((sha256, None));
                    }
                    return Ok((sha256, directory.head(path.as_ref())?));
                }
                if let Some(expected) = expected {
                    let there = directory
                        .head(path.as_ref())?
                        .ok_or(std::io::ErrorKind::NotFound)?;
                    if there.etag != expected {
                        return Ok((sha256, None));
                    }
                }
                staged.replace()?;
                Ok((sha256, directory.head(path.as_ref())?))
            })
            .await?;
        let Some(found) = found else {
            return Ok(OnceOutcome::Exists);
        };
        self.shared.counters.written(size);
        Ok(OnceOutcome::Written(Written {
            entry: ObjectEntry {
                size,
                ..self.found(found)
            },
            sha256,
            acknowledged: None,
        }))
    }

    fn files_cannot_lock(&self, key: &str, options: &WriteOptions) -> Result<(), StorageError> {
        if options.retention.is_none() {
            return Ok(());
        }
        let cause = "a directory cannot keep objects from being deleted: leave the retention out \
                     or take a bucket with object lock";
        Err(StorageError::new(
            Operation::Write,
            self.url(key),
            ErrorKind::Settings,
            cause,
        ))
    }

    /// The error of an acknowledgement that is not what was sent.
    fn differs(&self, key: &str, what: &str, ours: &str, theirs: &str) -> StorageError {
        StorageError::new(
            Operation::Write,
            self.url(key),
            ErrorKind::Damaged,
            format!("the store acknowledges {what} {theirs}, what was sent has {ours}"),
        )
    }
}
