//! Why a repository could not be copied or compared.

use crate::state::StateError;
use crate::storage::StorageError;

/// A repository could not be copied or compared. What is wrong with the copy is a finding in
/// the report instead.
#[derive(Debug, thiserror::Error)]
pub enum ReplicateError {
    /// A store failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The state database failed.
    #[error(transparent)]
    State(#[from] StateError),
    /// Source and target overlap.
    #[error("copy {source_url} to {target_url}: one lies within the other")]
    SamePlace {
        /// The source.
        source_url: String,
        /// The target.
        target_url: String,
    },
    /// The target holds another database.
    #[error(
        "copy {source_url} to {target_url}: the target holds backups of another database system ({there}, the source has {here})"
    )]
    OtherSystem {
        /// The source.
        source_url: String,
        /// The target.
        target_url: String,
        /// The source's system identifier.
        here: String,
        /// The target's.
        there: String,
    },
    /// Another run copies the same.
    #[error("copy to {target_url}: another run is at it")]
    Busy {
        /// The target.
        target_url: String,
    },
    /// A listing did not come in the order of its keys.
    #[error("list {0}: the store does not list in the order of keys")]
    Unordered(String),
    /// Asked to stop before anything was copied.
    #[error("interrupted")]
    Interrupted,
    /// The work was cut short by the runtime's shutdown or a defect.
    #[error("copy objects: {0}")]
    Task(#[from] tokio::task::JoinError),
}
