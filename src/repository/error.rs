//! Why a repository could not be read.

use crate::codec::CodecError;
use crate::storage::StorageError;

/// A catalog could not be made. What is wrong with the repository's contents is a
/// finding in the catalog instead.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// The store failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The work was cut short by the runtime's shutdown or a defect.
    #[error("sort the listing: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// A file of the WAL archive could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadWalError {
    /// The store failed; the bytes may be good.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The object's bytes are not a clean stream of their codec.
    #[error("decode {key}: {source}")]
    Codec {
        /// The object.
        key: String,
        /// What is wrong with it.
        source: CodecError,
    },
    /// More bytes than the reader allows.
    #[error("{key} holds more than {limit} bytes, which no such file does")]
    TooLarge {
        /// The object.
        key: String,
        /// The most that was allowed, in bytes.
        limit: u64,
    },
    /// The work was cut short by the runtime's shutdown or a defect.
    #[error("decode a segment: {0}")]
    Task(#[from] tokio::task::JoinError),
}
