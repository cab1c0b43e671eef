//! A definition written beside a replica, once.

use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::read::{StoredDefinition, newest, read};
use super::{DefinitionError, folder};
use crate::kubernetes::definition::{Content, ContentError, Manifest, Stamp, files, manifest_of};
use crate::storage::{OnceOutcome, Retention, Store, WriteOptions};

/// What became of a definition.
#[derive(Clone, Debug, PartialEq)]
pub enum PutDefinition {
    /// It was written, and read back.
    Stored(Box<StoredDefinition>),
    /// The newest that is stored is the same, and half of its lock was over: it was written once
    /// more under a name and with a lock of its own, and read back.
    Renewed(Box<StoredDefinition>),
    /// The newest that is stored is the same: nothing was written.
    Unchanged(Box<StoredDefinition>),
}

impl PutDefinition {
    /// What lies there now.
    pub fn stored(&self) -> &StoredDefinition {
        match self {
            Self::Stored(stored) | Self::Renewed(stored) | Self::Unchanged(stored) => stored,
        }
    }
}

/// Stores a definition unless the newest is the same, and reads it back. `damaged` is told of
/// a newest one that is not what was captured; it stays where it is, and a new one is written.
/// With `retention`, one that is the same is written anew when half of its lock is over: a lock
/// counts from the writing, and the definition that counts must not be the one that may be removed.
///
/// # Errors
///
/// The store cannot be asked or written to, or what is read back is not what was written.
pub async fn put(
    store: &Store,
    cluster: &str,
    content: &Content,
    captured_at: DateTime<Utc>,
    retention: Option<Retention>,
    damaged: &mut Vec<DefinitionError>,
) -> Result<PutDefinition, DefinitionError> {
    let mut renewed = false;
    match newest(store, cluster).await {
        Ok(Some(stored)) if stored.content.sha256() == content.sha256() => {
            renewed = retention
                .is_some_and(|lock| is_half_over(stored.manifest.captured_at, captured_at, lock));
            if !renewed {
                return Ok(PutDefinition::Unchanged(Box::new(stored)));
            }
        }
        Ok(_) => {}
        Err(error @ DefinitionError::Changed { .. }) => damaged.push(error),
        Err(error) => return Err(error),
    }
    let files = files(content);
    let manifest = manifest_of(content, &files, cluster, captured_at);
    let stamp = Stamp::of(captured_at, &content.sha256());
    let place = format!("{}/{stamp}", folder(cluster));
    // The manifest comes last: without it the folder counts for nothing.
    let all = files
        .into_iter()
        .map(|(name, text)| (name, text.into_bytes()))
        .chain([(Manifest::FILE.to_owned(), manifest.to_bytes())]);
    for (name, bytes) in all {
        let options = WriteOptions {
            retention,
            ..WriteOptions::sized(bytes.len() as u64)
        };
        let key = format!("{place}/{name}");
        // The same second and content: somebody else writes the same.
        match store.put_once(&key, Bytes::from(bytes), &options).await? {
            OnceOutcome::Written(_) | OnceOutcome::Exists => {}
        }
    }
    let stored = read(store, cluster, &stamp).await?;
    stored.map_or_else(
        || {
            Err(DefinitionError::Changed {
                name: store.location().join(&place).to_string(),
                problem: ContentError::Missing(Manifest::FILE.to_owned()),
            })
        },
        |stored| {
            let stored = Box::new(stored);
            Ok(if renewed {
                PutDefinition::Renewed(stored)
            } else {
                PutDefinition::Stored(stored)
            })
        },
    )
}

/// Whether half of the time is over for which what was written at a moment is locked, if it got
/// the lock that is given now.
fn is_half_over(written: DateTime<Utc>, now: DateTime<Utc>, lock: Retention) -> bool {
    let period = lock.until.signed_duration_since(now);
    now.signed_duration_since(written) > period / 2
}
