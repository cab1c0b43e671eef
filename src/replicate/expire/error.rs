//! Why objects of a copy could not be removed, or what to remove could not be found out.

use crate::repository::RepositoryError;
use crate::state::StateError;
use crate::storage::StorageError;
use crate::verify::VerifyError;

/// A plan could not be made or carried out.
#[derive(Debug, thiserror::Error)]
pub enum ExpireError {
    /// The store failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The catalog could not be read.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The copy could not be verified.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// The state database failed.
    #[error(transparent)]
    State(#[from] StateError),
    /// The work was cut short by the runtime's shutdown or a defect.
    #[error("list the copy: {0}")]
    Task(#[from] tokio::task::JoinError),
    /// The digest that was given is not that of the plan.
    #[error("the plan has digest {digest}, not {given}: what would be removed has changed")]
    OtherPlan {
        /// The plan's digest.
        digest: String,
        /// What was given.
        given: String,
    },
    /// The digest that was given is too short or no digest.
    #[error("`{0}` confirms nothing: give at least the first 12 digits of the plan's digest")]
    NoDigest(String),
    /// The plan must not be carried out.
    #[error("refused: {0}")]
    Objection(String),
}
