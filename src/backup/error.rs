//! Why a backup could not be taken.

use std::path::PathBuf;
use std::time::Duration;

use crate::codec::Codec;
use crate::storage::StorageError;

/// Why no backup was taken.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// The server could not be reached or refused.
    #[error(
        "{doing}: {source}; check that the server runs, and host, port, user and database (or PGHOST, PGPORT, PGUSER, PGDATABASE, PGPASSWORD)"
    )]
    Server {
        /// What was asked of it.
        doing: &'static str,
        /// What came back.
        source: sqlx::Error,
    },
    /// The server is older than walproof knows.
    #[error("PostgreSQL {0} is too old: 13 is the oldest that is supported")]
    TooOld(u32),
    /// The data directory is not here, or not readable.
    #[error(
        "read {path}: {reason}; run `walproof backup take` on the server's machine as the server's user"
    )]
    DataDirectory {
        /// The file that was looked for.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The server does not archive, so that the backup could never be used.
    #[error(
        "archive_mode is off: a base backup without its WAL cannot be restored; set archive_mode = on and archive_command = 'walproof wal push …' first"
    )]
    NotArchiving,
    /// Barman's tools could not read such a backup.
    #[error("base backups cannot be stored with {0}: use none, gzip, bzip2, snappy or lz4")]
    Codec(Codec),
    /// The store failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A file could not be copied.
    #[error("copy the server's files: {0}")]
    Copy(std::io::Error),
    /// Somebody asked to stop.
    #[error("interrupted; the backup {id} was ended on the server and is marked FAILED")]
    Interrupted {
        /// The backup.
        id: String,
    },
    /// The backup is whole, but a segment that it needs did not arrive in time.
    #[error(
        "backup {id} is complete, but its segment {segment} was not archived within {} s: it cannot be restored before that; {archiver}",
        waited.as_secs()
    )]
    NotArchived {
        /// The backup.
        id: String,
        /// The segment.
        segment: String,
        /// How long was waited.
        waited: Duration,
        /// What the server says of archiving.
        archiver: String,
    },
    /// The runtime shut down or a defect stopped the copy.
    #[error("copy the server's files: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// Names what was asked of the server when it failed.
pub(super) fn asked(doing: &'static str) -> impl Fn(sqlx::Error) -> TakeError {
    move |source| TakeError::Server { doing, source }
}

/// Finds the store's error inside an I/O error.
pub(super) fn copy_error(error: std::io::Error) -> TakeError {
    match error.downcast::<StorageError>() {
        Ok(error) => error.into(),
        Err(error) => TakeError::Copy(error),
    }
}
