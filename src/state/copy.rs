//! What is remembered of copies, as plain data.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::codec::Sha256;
use crate::storage::{ObjectEntry, ObjectIdentity};

/// Two repositories, one of which is copied to the other. Named as in the object ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyPair {
    pub(super) id: i64,
    /// The name of the source.
    pub source: String,
    /// The name of the target.
    pub target: String,
}

/// One copied object as it is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RememberedCopy {
    /// The key, the same on both sides.
    pub key: String,
    /// The digest of what was sent; `None` for what lay at the target already and was never
    /// read.
    pub sha256: Option<Sha256>,
    /// What the source's store said of the object when it was read.
    pub source: ObjectIdentity,
    /// The tag that the target's store gave the copy.
    pub target_etag: Option<String>,
    /// The version that the target's store gave the copy.
    pub target_version: Option<String>,
    /// When it was copied; `None` for what lay there already.
    pub copied_at: Option<DateTime<Utc>>,
    /// When it was last read back and was what it should be.
    pub read_back_at: Option<DateTime<Utc>>,
    /// Since when it was removed from the target by policy.
    pub expired_at: Option<DateTime<Utc>>,
    /// What is wrong with it.
    pub alarm: Option<CopyAlarm>,
}

/// What is wrong with a copied object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyAlarm {
    /// On which side the other bytes lie.
    pub side: CopySide,
    /// The digest of the other bytes.
    pub sha256: Sha256,
    /// Their size.
    pub size: u64,
    /// The mark of what the listing said when they were read: read again only if it is
    /// another.
    pub mark: i64,
    /// When that was noticed first.
    pub noticed: DateTime<Utc>,
}

/// One side of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CopySide {
    /// The source holds other bytes than were copied.
    Source,
    /// The target holds other bytes than were written.
    Target,
    /// Both hold an object of the key, and nothing was copied.
    Both,
}

/// As much of a remembered copy as comparing two listings needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyMark {
    /// The key.
    pub key: String,
    /// The mark of the source.
    pub source: i64,
    /// The mark of the target.
    pub target: i64,
    /// Whether something is wrong with it.
    pub alarmed: bool,
    /// Whether it was removed from the target by policy.
    pub expired: bool,
}

/// A pair's copies counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CopySummary {
    /// Copies that are remembered and were not removed by policy.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those of them whose digest is known.
    pub digests: u64,
    /// Those that were read back.
    pub read_back: u64,
    /// Those with which something is wrong.
    pub alarmed: u64,
    /// When the newest was copied.
    pub newest: Option<DateTime<Utc>>,
}

/// The mark of what a source's listing says of an object.
pub fn source_mark(identity: &ObjectIdentity) -> i64 {
    mark(
        identity.size,
        identity.etag.as_deref(),
        Some(identity.modified.timestamp()),
    )
}

/// The mark of what a target's listing says of an object. Without the time: what
/// acknowledges a write does not tell it.
pub fn target_mark(size: u64, etag: Option<&str>) -> i64 {
    mark(size, etag, None)
}

/// FNV-1a, 64 bits: stable over versions, and few enough to be alike by chance.
fn mark(size: u64, etag: Option<&str>, modified: Option<i64>) -> i64 {
    let size = size.to_le_bytes();
    let modified = modified.map(i64::to_le_bytes).unwrap_or_default();
    let parts = [&size, etag.unwrap_or_default().as_bytes(), &modified];
    let digest = parts
        .into_iter()
        .flatten()
        .fold(0xcbf2_9ce4_8422_2325_u64, |digest, byte| {
            (digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
    digest.cast_signed()
}

impl RememberedCopy {
    /// Something that lies on both sides and was never read.
    pub fn adopted(source: &ObjectEntry, target: &ObjectEntry) -> Self {
        Self {
            key: source.key.clone(),
            sha256: None,
            source: source.identity(),
            target_etag: target.etag.clone(),
            target_version: target.version.clone(),
            copied_at: None,
            read_back_at: None,
            expired_at: None,
            alarm: None,
        }
    }

    /// The mark of its source.
    pub fn source_mark(&self) -> i64 {
        source_mark(&self.source)
    }

    /// The mark of its target.
    pub fn target_mark(&self) -> i64 {
        target_mark(self.source.size, self.target_etag.as_deref())
    }
}
