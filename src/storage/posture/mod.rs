//! How a bucket is set up, as far as its API tells: versions, object lock, lifecycle rules,
//! public access, encryption.
//!
//! What may not be asked (403) or is not known to the server (501) is told as not told, never
//! as safe. Unknown settings in an answer are passed over.

mod azure;
mod gcs;
mod s3;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::open::Backend;
use super::remote::{Dialect, Remote};
use super::wire::{Answer, Ask};
use super::{ErrorKind, LockMode, Operation, StorageError, Store};

/// What a store told, or why it did not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Known<T> {
    /// It told.
    Told(T),
    /// It did not.
    NotTold {
        /// In the store's words, or ours.
        why: String,
    },
}

impl<T> Known<T> {
    /// What was told.
    pub const fn told(&self) -> Option<&T> {
        match self {
            Self::Told(told) => Some(told),
            Self::NotTold { .. } => None,
        }
    }

    fn not(why: impl Into<String>) -> Self {
        Self::NotTold { why: why.into() }
    }
}

/// How a bucket is set up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Posture {
    /// Whether overwritten and deleted objects stay as versions.
    pub versioning: Known<bool>,
    /// Whether objects can be locked.
    pub object_lock: Known<ObjectLock>,
    /// The rules by which the store deletes and moves objects by itself.
    pub lifecycle: Known<Vec<LifecycleRule>>,
    /// Whether everybody may read.
    pub public: Known<Public>,
    /// Whether objects are encrypted at rest.
    pub encryption: Known<Encryption>,
    /// What the server calls itself.
    pub server: Option<String>,
}

/// Whether objects of a bucket can be locked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ObjectLock {
    /// Whether they can (GCS: also whether the bucket has a retention policy; Azure: whether
    /// the container has an immutability policy, a legal hold or versions that can be locked).
    pub enabled: bool,
    /// What every new object gets.
    pub default: Option<DefaultRetention>,
}

/// The retention that every new object of a bucket gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct DefaultRetention {
    /// How strictly it binds.
    pub mode: LockMode,
    /// For how many whole days; a year has 365.
    pub days: u32,
}

/// A rule by which a store deletes or moves objects by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct LifecycleRule {
    /// Its name.
    pub id: Option<String>,
    /// Keys of the bucket (not of a place in it) that begin like this.
    pub prefix: String,
    /// What else objects must be to be meant: tags, sizes, suffixes, in words. `None`: all with
    /// the prefix are.
    pub only: Option<String>,
    /// Whether it is in force.
    pub enabled: bool,
    /// So many days after they were written, objects are deleted.
    pub expire_days: Option<u32>,
    /// At this time they are deleted.
    pub expire_date: Option<DateTime<Utc>>,
    /// So many days after they were replaced or deleted, old versions go.
    pub noncurrent_days: Option<u32>,
    /// When they are moved first, and to where.
    pub transition: Option<Transition>,
    /// So many days after they were begun, unfinished uploads go.
    pub abort_multipart_days: Option<u32>,
}

/// A move to another class of storage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Transition {
    /// So many days after objects were written.
    pub days: u32,
    /// The store's name of the class: `GLACIER`, `ARCHIVE`, …
    pub class: String,
}

/// Whether everybody may read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Public {
    /// Nobody can even make it so.
    Blocked,
    /// No.
    No,
    /// Yes.
    Yes {
        /// By what: policy or access list, and for whom.
        how: String,
    },
}

/// Whether new objects are encrypted at rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Encryption {
    /// By what: `AES256`, `aws:kms`, …; `None` if they are not.
    pub algorithm: Option<String>,
    /// The key, where it is one of the owner's.
    pub key: Option<String>,
}

impl Store {
    /// How the bucket is set up, as far as it tells.
    ///
    /// # Errors
    /// No network, wrong credentials, no bucket.
    pub async fn posture(&self) -> Result<Posture, StorageError> {
        match &self.shared.backend {
            Backend::Local(_) => Ok(directory()),
            Backend::Remote(remote) => match &remote.dialect {
                Dialect::S3(s3) => s3::posture(self, remote, s3).await,
                Dialect::Gcs(gcs) => gcs::posture(self, remote, gcs).await,
                Dialect::Azure(azure) => azure::posture(self, remote, azure).await,
            },
        }
    }

    /// Asks for a setting. A refusal is an answer, unless nothing can be asked at all.
    async fn inspect(&self, remote: &Remote, ask: &Ask) -> Result<Answer, StorageError> {
        let answer = self.ask(Operation::Inspect, "", remote, ask).await?;
        let hopeless = !answer.ok()
            && matches!(
                answer.refusal().kind(),
                ErrorKind::Credentials | ErrorKind::MissingBucket | ErrorKind::Settings
            );
        if hopeless {
            return Err(self.refused(Operation::Inspect, "", &answer));
        }
        Ok(answer)
    }
}

/// Why an answer tells nothing.
fn why(what: &str, answer: &Answer) -> String {
    let words = answer.refusal().words();
    match answer.status {
        401 | 403 => format!("{what} may not be asked for: {words}"),
        405 | 501 => format!("the server does not know {what}: {words}"),
        _ => format!("{what} was not answered: {words}"),
    }
}

/// A directory keeps to no rules that could be asked for.
fn directory() -> Posture {
    Posture {
        versioning: Known::not("a directory keeps no versions that walproof could see"),
        object_lock: Known::not("a directory does not tell whether files can be kept from removal"),
        lifecycle: Known::not("what removes files of a directory is not written in it"),
        public: Known::not("who reads a directory is up to its machine and its exports"),
        encryption: Known::not("whether a file system is encrypted does not show in its files"),
        server: None,
    }
}
