//! What can go wrong with the state database, in words that say what to do.

use std::path::{Path, PathBuf};

use sqlx::migrate::MigrateError;

/// The kind of trouble, by what a person must do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateErrorKind {
    /// Another process holds it for longer than we wait.
    Locked,
    /// No space is left.
    Full,
    /// It is damaged, or no database.
    Corrupt,
    /// A newer walproof has written it.
    NewerSchema,
    /// It may not be written or opened.
    Permission,
    /// The rules of the schema refused it, among them that records never change.
    Refused,
    /// A newer attempt at the same job has begun, or another holds the lease: nothing of
    /// this one was kept.
    Fenced,
    /// Anything else.
    Other,
}

impl StateErrorKind {
    /// What to do.
    pub const fn hint(self) -> &'static str {
        match self {
            Self::Locked => {
                "another process holds the database; try again, and look for a hanging walproof or a backup tool that copies the file"
            }
            Self::Full => "no space is left; make room on that file system",
            Self::Corrupt => {
                "the file is damaged or no database; move it away with its -wal and -shm files (the records beside it stay) and start anew, or restore it from a backup"
            }
            Self::NewerSchema => {
                "a newer walproof has written this database; use that version, or another --state"
            }
            Self::Permission => {
                "check owner and permissions of the directory and the file; --state names another place"
            }
            Self::Refused => "the database's own rules refused it; nothing was changed",
            Self::Fenced => {
                "nothing of this attempt was kept; stop it and leave the work to its new holder"
            }
            Self::Other => "see the cause",
        }
    }
}

/// A failed operation on the state database.
#[derive(Debug, thiserror::Error)]
#[error("{verb} the state database {}: {cause}; {}", path.display(), kind.hint())]
pub struct StateError {
    /// What was being done: `open`, `read`, `write`.
    pub verb: &'static str,
    /// The database's file.
    pub path: PathBuf,
    /// The kind of trouble.
    pub kind: StateErrorKind,
    /// The database's or system's own words.
    pub cause: String,
}

impl StateError {
    pub(super) fn new(
        verb: &'static str,
        path: &Path,
        kind: StateErrorKind,
        cause: impl Into<String>,
    ) -> Self {
        Self {
            verb,
            path: path.to_owned(),
            kind,
            cause: cause.into(),
        }
    }

    pub(super) fn io(verb: &'static str, path: &Path, error: &std::io::Error) -> Self {
        use std::io::ErrorKind;

        let kind = match error.kind() {
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                StateErrorKind::Permission
            }
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StateErrorKind::Full,
            _ => StateErrorKind::Other,
        };
        Self::new(verb, path, kind, error.to_string())
    }

    pub(super) fn sql(verb: &'static str, path: &Path, error: &sqlx::Error) -> Self {
        let kind = match error {
            sqlx::Error::Database(database) => database
                .code()
                .and_then(|code| code.parse::<u32>().ok())
                .map_or(StateErrorKind::Other, from_sqlite_code),
            sqlx::Error::PoolTimedOut => StateErrorKind::Locked,
            _ => StateErrorKind::Other,
        };
        Self::new(verb, path, kind, error.to_string())
    }

    pub(super) fn migrate(path: &Path, error: &MigrateError) -> Self {
        match error {
            MigrateError::VersionMissing(version) | MigrateError::VersionTooNew(version, _) => {
                Self::new(
                    "open",
                    path,
                    StateErrorKind::NewerSchema,
                    format!("its schema has version {version}, which this walproof does not know"),
                )
            }
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
                Self::sql("open", path, error)
            }
            other => Self::new("open", path, StateErrorKind::Other, other.to_string()),
        }
    }
}

/// The lower byte of a SQLite result code is the primary code
/// (<https://www.sqlite.org/rescode.html>).
const fn from_sqlite_code(code: u32) -> StateErrorKind {
    match code & 0xFF {
        5 | 6 => StateErrorKind::Locked,
        13 => StateErrorKind::Full,
        11 | 26 => StateErrorKind::Corrupt,
        3 | 8 | 14 | 23 => StateErrorKind::Permission,
        19 => StateErrorKind::Refused,
        _ => StateErrorKind::Other,
    }
}
