//! The catalog: what a repository claims.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{BaseBackup, WalInventory};
use crate::finding::Finding;

/// How a backup tool lays out its objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// Barman Cloud: CloudNativePG's in-tree backups and its Barman Cloud plugin.
    #[default]
    BarmanCloud,
}

/// Objects that belong to no known place of the layout.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct UnknownObjects {
    /// How many there are.
    pub count: u64,
    /// The first few keys.
    pub sample: Vec<String>,
}

/// What a repository claims to hold: pure data from one listing and the small metadata
/// objects. Nothing here is proven.
#[derive(Clone, Debug, Serialize)]
pub struct Catalog {
    /// The layout by which the objects were read.
    pub layout: Layout,
    /// The repository's URL, without credentials.
    pub location: String,
    /// When the listing began.
    pub listed_at: DateTime<Utc>,
    /// How many objects were listed.
    pub objects: u64,
    /// The sum of their stored sizes in bytes.
    pub bytes: u64,
    /// Base backups, oldest first (by id, which is a time in this layout).
    pub backups: Vec<BaseBackup>,
    /// The WAL.
    pub wal: WalInventory,
    /// Objects that belong to no known place.
    pub unknown: UnknownObjects,
    /// What was wrong with metadata objects while reading them.
    pub findings: Vec<Finding>,
    /// Remarks on how it was read, such as on a guessed segment size.
    pub notes: Vec<String>,
}

impl Catalog {
    /// Whether the listing held no object at all.
    pub const fn is_empty(&self) -> bool {
        self.objects == 0
    }

    /// The backup with this id.
    pub fn backup(&self, id: &str) -> Option<&BaseBackup> {
        self.backups.iter().find(|backup| backup.id == id)
    }
}
