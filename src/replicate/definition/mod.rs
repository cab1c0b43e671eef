//! Captured definitions beside a replica: written once, read back with every digest checked,
//! written anew before their lock ends, removed by plan.
//!
//! They lie below `walproof/definitions/<cluster>/<stamp>/` of a replica, where no reader of a
//! layout looks ([`crate::repository::is_own`]). A folder counts once its `manifest.json` is
//! there, which is written last and removed first.

mod put;
mod read;
mod retention;
#[cfg(test)]
mod tests;

pub use put::{PutDefinition, put};
pub use read::{StoredDefinition, list, newest, read, since};
pub use retention::{Removed, Retention, keep, remove};

use crate::kubernetes::definition::ContentError;
use crate::repository::REBUILD_FOLDER;
use crate::storage::StorageError;

/// Larger manifests are none.
const MOST_MANIFEST: u64 = 4 << 20;

/// Larger files are none: an object of Kubernetes has at most 1.5 MiB.
const MOST_FILE: u64 = 4 << 20;

/// A definition with more bytes than this is not read.
const MOST_BYTES: u64 = 64 << 20;

/// Why stored definitions cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum DefinitionError {
    /// The store cannot be asked.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// What lies there is not what was captured.
    #[error("{name} is not what was captured: {problem}")]
    Changed {
        /// Which one.
        name: String,
        /// What is wrong.
        problem: ContentError,
    },
}

/// Where the definitions of a cluster lie in a replica.
pub fn folder(cluster: &str) -> String {
    format!("{REBUILD_FOLDER}/definitions/{cluster}")
}
