//! What is remembered of objects, as plain data.

use chrono::{DateTime, Utc};

use crate::codec::Sha256;
use crate::finding::Finding;
use crate::storage::ObjectIdentity;

/// One object of a repository as it is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RememberedObject {
    /// The key, relative to the repository.
    pub key: String,
    /// What the store said of it when it was last listed or read.
    pub identity: ObjectIdentity,
    /// When it was first listed.
    pub first_seen: DateTime<Utc>,
    /// The digest of the bytes that were read first, and when; `None` while it never was.
    pub first_read: Option<(Sha256, DateTime<Utc>)>,
    /// When its content was last judged. An object of which only the digest was taken has
    /// `first_read` alone.
    pub last_read: Option<DateTime<Utc>>,
    /// What was wrong with it when it was last judged.
    pub findings: Vec<Finding>,
    /// In what it is no longer what it was.
    pub change: Option<ObjectChange>,
    /// Since when listings do not show it any more.
    pub absent_since: Option<DateTime<Utc>>,
}

/// An object that is no longer what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectChange {
    /// In what.
    pub kind: ChangeKind,
    /// When that was noticed first.
    pub noticed: DateTime<Utc>,
    /// Its size before, in bytes.
    pub size_before: u64,
    /// Its entity tag before.
    pub etag_before: Option<String>,
    /// The digest of what it holds since; `None` while that was not read.
    pub sha256_after: Option<Sha256>,
}

/// In what an object is no longer what it was, the gravest last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChangeKind {
    /// The store gives another time.
    Time,
    /// The store gives another tag or version.
    Tag,
    /// It has another size.
    Size,
    /// Its digest is another.
    Bytes,
}

impl ChangeKind {
    /// The word in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::Tag => "tag",
            Self::Size => "size",
            Self::Bytes => "bytes",
        }
    }

    pub(super) fn from_word(word: &str) -> Option<Self> {
        [Self::Time, Self::Tag, Self::Size, Self::Bytes]
            .into_iter()
            .find(|kind| kind.as_str() == word)
    }
}

/// A repository's objects counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ObjectSummary {
    /// Objects that the last listing showed.
    pub objects: u64,
    /// Those of them that were never judged.
    pub unread: u64,
    /// When the one that was judged longest ago was.
    pub oldest_read: Option<DateTime<Utc>>,
    /// Those that are not what they were, by whatever sign.
    pub changed: u64,
    /// Those in which something was wrong.
    pub damaged: u64,
    /// Objects that are remembered and gone.
    pub absent: u64,
}

/// How fast a repository could last be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadRate {
    /// Stored bytes.
    pub bytes: u64,
    /// Milliseconds.
    pub millis: u64,
}
