//! Why a verification could not be done.

use crate::repository::RepositoryError;
use crate::state::StateError;
use crate::storage::StorageError;

/// A repository could not be looked at. What is wrong with its contents is a finding.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The catalog could not be made.
    #[error("read the catalog: {0}")]
    Catalog(#[from] RepositoryError),
    /// The store failed while WAL was read.
    #[error("read WAL: {0}")]
    Storage(#[from] StorageError),
    /// The store failed while a base backup was read.
    #[error("read base backup: {0}")]
    Base(StorageError),
    /// The object ledger could not be looked into or written.
    #[error("keep the object ledger: {0}")]
    Ledger(#[from] StateError),
    /// The work was cut short by the runtime's shutdown or a defect.
    #[error("read the repository: {0}")]
    Task(#[from] tokio::task::JoinError),
}
