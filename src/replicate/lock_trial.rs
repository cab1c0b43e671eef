//! Whether locked objects are locked: by trying.
//!
//! A small object of walproof's own is written into the copy with a retention of a day; then
//! it is overwritten, and its version is deleted. Both must be refused, or leave the locked
//! version readable with its bytes. What is left of earlier trials goes when their day is
//! over.

use bytes::Bytes;
use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use futures::TryStreamExt;
use schemars::JsonSchema;
use serde::Serialize;

use super::expire::{DeletingStore, Removal};
use crate::repository::OWN_FOLDER;
use crate::storage::{
    ErrorKind, LockMode, OnceOutcome, Retention, StorageError, Store, WriteOptions,
};

/// How the keys of the trials' objects begin.
const BEGINNING: &str = ".walproof/lock-trial-";
/// The shortest that every store takes.
const DAY: TimeDelta = TimeDelta::days(1);
/// How much of a trial's object is read back.
const LIMIT: u64 = 1 << 10;
/// How many left-over objects are tidied up at once.
const TIDIED: u64 = 100;

/// What a store did when it was asked to do away with a locked object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Attempt {
    /// It refused.
    Refused {
        /// In its words.
        cause: String,
    },
    /// It took it, but the locked version can still be read, with its bytes.
    Survived,
    /// The locked version is gone or has other bytes.
    Succeeded,
    /// It was not tried.
    NotTried {
        /// Why not.
        why: String,
    },
}

impl Attempt {
    /// Whether the locked version stood it.
    pub const fn withstood(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::Survived)
    }
}

/// What a trial showed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LockTrial {
    /// When.
    pub tried_at: DateTime<Utc>,
    /// The key of the object, relative to the repository.
    pub key: String,
    /// Its version.
    pub version: Option<String>,
    /// How strictly it was locked.
    pub mode: LockMode,
    /// Until when.
    pub until: DateTime<Utc>,
    /// Overwriting it.
    pub overwrite: Attempt,
    /// Deleting its version.
    pub delete: Attempt,
    /// Whether both were withstood.
    pub proven: bool,
    /// Whether the same credentials could delete a version that was not locked: then it was
    /// the lock that withstood, and not a missing permission. `None` if that did not show.
    pub may_delete: Option<bool>,
    /// Objects of earlier trials that were removed.
    pub tidied: u64,
    /// Objects of earlier trials that are still locked.
    pub left: u64,
}

/// Tries.
///
/// # Errors
/// What keeps anything from being tried: no network, wrong credentials, no permission to
/// write. A store that takes no retention is a result, not an error.
pub async fn try_lock(store: &Store, mode: LockMode) -> Result<LockTrial, StorageError> {
    let tried_at = Utc::now();
    let (tidied, left) = tidy(store, tried_at).await?;
    let key = format!("{BEGINNING}{}", uuid::Uuid::now_v7());
    let until = (tried_at + DAY).trunc_subsecs(0) + TimeDelta::seconds(1);
    let mut trial = LockTrial {
        tried_at,
        key,
        version: None,
        mode,
        until,
        overwrite: not_tried("nothing was written"),
        delete: not_tried("nothing was written"),
        proven: false,
        may_delete: None,
        tidied,
        left,
    };
    let body = Bytes::from(format!(
        "walproof tries whether this object is locked until {}; written {}\n",
        until.to_rfc3339(),
        tried_at.to_rfc3339()
    ));
    let options = WriteOptions {
        retention: Some(Retention { mode, until }),
        ..WriteOptions::default()
    };
    let written = match store.put_once(&trial.key, body.clone(), &options).await {
        Ok(OnceOutcome::Written(written)) => written.entry,
        // Of a name made up just now: the store repeated the write to itself.
        Ok(OnceOutcome::Exists) => {
            trial.overwrite = not_tried("the store says that the new object was there before");
            trial.delete = trial.overwrite.clone();
            return Ok(trial);
        }
        Err(error) if takes_no_retention(&error) => {
            trial.overwrite = not_tried(&format!("it takes no retention: {}", error.cause));
            trial.delete = trial.overwrite.clone();
            return Ok(trial);
        }
        Err(error) => return Err(error),
    };
    let now = store.head(&trial.key).await?;
    trial.version = written
        .version
        .or_else(|| now.as_ref().and_then(|entry| entry.version.clone()));
    let etag = written.etag.or_else(|| now.and_then(|entry| entry.etag));
    trial.overwrite = overwrite(store, &mut trial, &body, etag.as_deref()).await?;
    trial.delete = delete(store, &trial, &body).await?;
    trial.proven = trial.overwrite.withstood() && trial.delete.withstood();
    Ok(trial)
}

fn not_tried(why: &str) -> Attempt {
    Attempt::NotTried {
        why: why.to_owned(),
    }
}

/// Whether the store answered, and did not want the object with its retention.
const fn takes_no_retention(error: &StorageError) -> bool {
    matches!(error.kind, ErrorKind::Settings | ErrorKind::Other)
}

async fn overwrite(
    store: &Store,
    trial: &mut LockTrial,
    body: &Bytes,
    etag: Option<&str>,
) -> Result<Attempt, StorageError> {
    let Some(etag) = etag else {
        return Ok(not_tried("the store told no tag to overwrite by"));
    };
    let other = Bytes::from_static(b"walproof overwrote this: it was not locked\n");
    match store.replace_if(&trial.key, other, etag).await {
        Ok(OnceOutcome::Exists) => Ok(not_tried("somebody else wrote to it meanwhile")),
        Ok(OnceOutcome::Written(newer)) => {
            let after = survived(store, trial, body).await?;
            // The newer version has no lock, unless the bucket gives every object one.
            if after == Attempt::Survived
                && let Some(version) = &newer.entry.version
            {
                let own = DeletingStore::for_own(store, BEGINNING);
                let removal = own.remove_version(&trial.key, Some(version)).await?;
                trial.may_delete = matches!(removal, Removal::Removed(_)).then_some(true);
            }
            Ok(after)
        }
        Err(error) => refused(error),
    }
}

async fn delete(store: &Store, trial: &LockTrial, body: &Bytes) -> Result<Attempt, StorageError> {
    let own = DeletingStore::for_own(store, BEGINNING);
    match own
        .remove_version(&trial.key, trial.version.as_deref())
        .await?
    {
        Removal::Refused(cause) => match survived(store, trial, body).await? {
            Attempt::Survived => Ok(Attempt::Refused { cause }),
            other => Ok(other),
        },
        _ => survived(store, trial, body).await,
    }
}

/// Whether the locked version can be read with its bytes.
async fn survived(store: &Store, trial: &LockTrial, body: &Bytes) -> Result<Attempt, StorageError> {
    let read = store
        .read_version(&trial.key, trial.version.as_deref(), LIMIT)
        .await;
    match read {
        Ok(bytes) if bytes == *body => Ok(Attempt::Survived),
        Ok(_) => Ok(Attempt::Succeeded),
        Err(error) if error.is_not_found() => Ok(Attempt::Succeeded),
        Err(error) => Err(error),
    }
}

/// A store's refusal is an answer; that nothing answered is not.
fn refused(error: StorageError) -> Result<Attempt, StorageError> {
    match error.kind {
        ErrorKind::Network | ErrorKind::Throttled | ErrorKind::Credentials => Err(error),
        _ => Ok(Attempt::Refused { cause: error.cause }),
    }
}

/// Removes what earlier trials left, where its day is over. Gives how many went and how many
/// are still locked.
async fn tidy(store: &Store, now: DateTime<Utc>) -> Result<(u64, u64), StorageError> {
    let own = DeletingStore::for_own(store, BEGINNING);
    let mut entries = store.list(OWN_FOLDER);
    let (mut gone, mut left) = (0, 0);
    while let Some(entry) = entries.try_next().await? {
        if !entry.key.starts_with(BEGINNING) {
            continue;
        }
        let over = now - entry.last_modified > DAY + TimeDelta::minutes(1);
        if !over || gone >= TIDIED {
            left += 1;
            continue;
        }
        match own
            .remove(&entry.key, entry.size, entry.etag.as_deref())
            .await?
        {
            Removal::Removed(_) | Removal::Absent => gone += 1,
            Removal::Refused(_) | Removal::Changed => left += 1,
        }
    }
    Ok((gone, left))
}
