//! `walproof wal push %p`: one file of `pg_wal` into the repository, for good.
//!
//! An `archive_command` must be durable before it succeeds, succeed again for the same
//! bytes (the server asks again after a crash), and never replace different bytes: two
//! servers that archive to one place would destroy each other's WAL. Barman's own
//! `barman-cloud-wal-archive` overwrites.

use std::io::Read;
use std::path::{Path, PathBuf};

use futures::TryStreamExt;
use futures::stream::FuturesUnordered;
use serde::Serialize;

use crate::codec::{Codec, DigestReader, Sha256, decoder, encode_all};
use crate::postgres::wal::read_first_page;
use crate::postgres::{SegmentName, WalFileName};
use crate::repository::barman_cloud::keys::wal_key;
use crate::storage::{PutOutcome, StorageError, Store};

/// The largest file that `pg_wal` can hold: a segment of 1 GiB.
const LIMIT: u64 = 1 << 30;

/// What a push did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
pub enum PushOutcome {
    /// The object is new.
    Stored {
        /// Its key.
        key: String,
        /// The file's size in bytes.
        bytes: u64,
        /// The object's size in bytes.
        stored_bytes: u64,
        /// SHA-256 of the file.
        sha256: String,
    },
    /// An object with the same bytes was there already, perhaps under another codec.
    AlreadyStored {
        /// Its key.
        key: String,
        /// SHA-256 of the file.
        sha256: String,
    },
}

/// Why a file was not archived.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The store failed; nothing is known to be stored.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The file could not be read.
    #[error("read {path}: {source}; run it as the server's user, with the %p of archive_command")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not what its name says.
    #[error("{path} is not the WAL file {name}: {reason}; nothing was stored")]
    NotThisFile {
        /// The file.
        path: PathBuf,
        /// What it should be.
        name: WalFileName,
        /// What is wrong.
        reason: String,
    },
    /// Something else is stored under this name.
    #[error(
        "{key} holds other bytes (SHA-256 {stored}, {stored_bytes} bytes) than {path} (SHA-256 {new}, {new_bytes} bytes); refused to replace it: another server may archive to this place, or this one was restored from an older state; give it a place of its own"
    )]
    Differs {
        /// The object.
        key: String,
        /// The file.
        path: PathBuf,
        /// SHA-256 of the object's decoded bytes.
        stored: String,
        /// How many they are.
        stored_bytes: u64,
        /// SHA-256 of the file.
        new: String,
        /// How many bytes it has.
        new_bytes: u64,
    },
    /// Something that cannot be read is stored under this name.
    #[error(
        "{key} exists and cannot be decoded ({reason}), so it may differ from {path}; refused to replace it: look at it and move it away"
    )]
    StoredUnreadable {
        /// The object.
        key: String,
        /// The file.
        path: PathBuf,
        /// What is wrong with the object.
        reason: String,
    },
    /// The codec failed, or the work was cut short by the runtime's shutdown.
    #[error("encode {path}: {reason}")]
    Encode {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        reason: String,
    },
}

/// Archives the file at `path` as `name` into the server's folder that `store` is.
/// Memory: the file and its encoded bytes.
pub async fn push(
    store: &Store,
    path: &Path,
    name: WalFileName,
    codec: Codec,
) -> Result<PushOutcome, PushError> {
    let bytes = read_file(path).await?;
    check(path, name, &bytes)?;
    let new = File {
        path: path.to_owned(),
        sha256: Sha256::of(&bytes),
        bytes: bytes.len() as u64,
    };
    // The other codecs first: the same segment must not come to lie there twice.
    let others: Vec<Codec> = Codec::ALL
        .into_iter()
        .filter(|other| *other != codec)
        .collect();
    let found: Vec<Option<String>> = others
        .iter()
        .map(|other| exists(store, wal_key(name, *other)))
        .collect::<FuturesUnordered<_>>()
        .try_collect()
        .await?;
    let mut present = None;
    for key in found.into_iter().flatten() {
        compare(store, &key, &new).await?;
        present = Some(key);
    }
    let sha256 = new.sha256.to_string();
    let key = wal_key(name, codec);
    if let Some(elsewhere) = present {
        // All copies count: a different one under our own key is still a refusal.
        if exists(store, key.clone()).await?.is_some() {
            compare(store, &key, &new).await?;
        }
        store.settle(&elsewhere).await?;
        return Ok(PushOutcome::AlreadyStored {
            key: elsewhere,
            sha256,
        });
    }
    let encoded = tokio::task::spawn_blocking(move || encode_all(codec, &bytes))
        .await
        .map_err(|error| error.to_string())
        .and_then(|result| result.map_err(|error| error.to_string()))
        .map_err(|reason| PushError::Encode {
            path: path.to_owned(),
            reason,
        })?;
    let stored_bytes = encoded.len() as u64;
    match store.put_new(&key, encoded.into()).await? {
        PutOutcome::Created => Ok(PushOutcome::Stored {
            key,
            bytes: new.bytes,
            stored_bytes,
            sha256,
        }),
        PutOutcome::Exists => {
            compare(store, &key, &new).await?;
            store.settle(&key).await?;
            Ok(PushOutcome::AlreadyStored { key, sha256 })
        }
    }
}

/// The file that is pushed.
struct File {
    path: PathBuf,
    sha256: Sha256,
    bytes: u64,
}

async fn read_file(path: &Path) -> Result<Vec<u8>, PushError> {
    let wrong = |source| PushError::File {
        path: path.to_owned(),
        source,
    };
    let size = tokio::fs::metadata(path).await.map_err(wrong)?.len();
    if size > LIMIT {
        return Err(wrong(std::io::Error::other(format!(
            "{size} bytes are more than any WAL file has"
        ))));
    }
    tokio::fs::read(path).await.map_err(wrong)
}

/// Checks that the bytes are those of the file that the name promises.
fn check(path: &Path, name: WalFileName, bytes: &[u8]) -> Result<(), PushError> {
    let reason = match name {
        WalFileName::Segment(segment) | WalFileName::Partial(segment) => {
            check_segment(segment, bytes)
        }
        WalFileName::History(_) | WalFileName::BackupHistory { .. } => {
            bytes.is_empty().then(|| "it is empty".to_owned())
        }
    };
    match reason {
        None => Ok(()),
        Some(reason) => Err(PushError::NotThisFile {
            path: path.to_owned(),
            name,
            reason,
        }),
    }
}

/// What is wrong with a segment's first page and size, if anything.
fn check_segment(name: SegmentName, bytes: &[u8]) -> Option<String> {
    let page = match read_first_page(bytes) {
        Ok(page) => page,
        Err(fault) => return Some(format!("its first page is wrong: {fault}")),
    };
    let size = page.segment_size;
    if bytes.len() as u64 != size.bytes() {
        return Some(format!(
            "it has {} bytes, and its first page tells of segments of {}",
            bytes.len(),
            size.bytes()
        ));
    }
    let holds = SegmentName::new(name.timeline, size.segment_of(page.address), size);
    if holds != name {
        return Some(format!("it holds the WAL of {holds}"));
    }
    // The first segment of a timeline begins with copies of its parent's pages.
    if page.timeline > name.timeline {
        return Some(format!("its first page is of timeline {}", page.timeline));
    }
    None
}

async fn exists(store: &Store, key: String) -> Result<Option<String>, StorageError> {
    Ok(store.head(&key).await?.map(|_| key))
}

/// Compares an object's decoded bytes with the file's.
async fn compare(store: &Store, key: &str, new: &File) -> Result<(), PushError> {
    let codec = Codec::split_extension(key).1;
    let (_, reader) = store.blocking_reader(key).await?;
    let digest = tokio::task::spawn_blocking(move || digest(codec, reader)).await;
    let unreadable = |reason| PushError::StoredUnreadable {
        key: key.to_owned(),
        path: new.path.clone(),
        reason,
    };
    match digest {
        Err(error) => Err(unreadable(error.to_string())),
        Ok(Err(error)) => Err(match error.downcast::<StorageError>() {
            Ok(error) => error.into(),
            Err(error) => unreadable(error.to_string()),
        }),
        Ok(Ok((stored, stored_bytes))) if stored != new.sha256 => Err(PushError::Differs {
            key: key.to_owned(),
            path: new.path.clone(),
            stored: stored.to_string(),
            stored_bytes,
            new: new.sha256.to_string(),
            new_bytes: new.bytes,
        }),
        Ok(Ok(_)) => Ok(()),
    }
}

fn digest(codec: Codec, reader: impl Read + Send + 'static) -> std::io::Result<(Sha256, u64)> {
    let mut reader = DigestReader::new(decoder(codec, Box::new(reader)));
    std::io::copy(&mut (&mut reader).take(LIMIT + 1), &mut std::io::sink())?;
    Ok(reader.finish())
}
