//! What can go wrong with the state database, in words that say what to do.

use std::path::{Path, PathBuf};

use sqlx::migrate::MigrateError;

use crate::config::SecretError;

/// The kind of trouble, by what a person must do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateErrorKind {
    /// Another process holds the file for longer than we wait.
    Locked,
    /// Another session of the server holds a lock for longer than we wait.
    Blocked,
    /// Another session of the server was in the way at the same moment, again and again.
    Conflict,
    /// No space is left.
    Full,
    /// The file is damaged, or no database.
    Corrupt,
    /// What the server holds is damaged, or was written by another program.
    Damaged,
    /// A newer walproof has written it.
    NewerSchema,
    /// The file may not be written or opened.
    Permission,
    /// The rules of the schema refused it, among them that records never change.
    Refused,
    /// A newer attempt at the same job has begun, or another holds the lease: nothing of
    /// this one was kept.
    Fenced,
    /// The server does not answer, or went away and did not come back in time.
    Unreachable,
    /// The server has no room for another connection.
    Crowded,
    /// The server does not let this role in, or not with this password.
    Credentials,
    /// TLS could not be agreed on.
    Tls,
    /// The server has no such database.
    NoDatabase,
    /// The role lacks a right in the database.
    Rights,
    /// The database takes no writes: a standby, or one set to read only.
    ReadOnly,
    /// The server is too old, or the database has another encoding than UTF-8.
    Unsuitable,
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
            Self::Blocked => {
                "another session holds a lock in the database; `SELECT * FROM pg_stat_activity` on the server shows who; try again"
            }
            Self::Conflict => "other sessions were in the way each time; try again",
            Self::Full => "no space is left; make room on that file system",
            Self::Corrupt => {
                "the file is damaged or no database; move it away with its -wal and -shm files (the records beside it stay) and start anew, or restore it from a backup"
            }
            Self::Damaged => {
                "what the database holds is damaged or was written by another program; restore it from a backup (docs/state.md)"
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
            Self::Unreachable => {
                "check that the server runs and can be reached from here (host, port, firewall), then try again; what was finished before is kept"
            }
            Self::Crowded => {
                "the server has no connection left (max_connections, or the role's limit); walproof uses up to five per process"
            }
            Self::Credentials => {
                "check the role, its password (`state_password` in the configuration, PGPASSWORD or ~/.pgpass) and pg_hba.conf on the server"
            }
            Self::Tls => {
                "check sslmode and sslrootcert in the URL against what the server offers (docs/state.md)"
            }
            Self::NoDatabase => {
                "create it on the server, as in docs/state.md, or correct the name in the URL"
            }
            Self::Rights => "grant the role what docs/state.md lists, or let it own the database",
            Self::ReadOnly => {
                "name the primary server: a standby, or a database that is set to read only, can be looked at but takes no runs"
            }
            Self::Unsuitable => {
                "use PostgreSQL 13 or newer and a database with ENCODING 'UTF8' (docs/state.md)"
            }
            Self::Other => "see the cause",
        }
    }

    /// Whether trying again after a moment may help by itself.
    pub const fn may_pass(self) -> bool {
        matches!(self, Self::Unreachable | Self::Crowded | Self::Conflict)
    }
}

/// A failed operation on the state database.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{verb} the state database {database}: {cause}; {}", kind.hint())]
pub struct StateError {
    /// What was being done: `open`, `read`, `write`.
    pub verb: &'static str,
    /// The database: its file, or its URL, which has no password in it.
    pub database: String,
    /// The kind of trouble.
    pub kind: StateErrorKind,
    /// The database's or system's own words.
    pub cause: String,
}

/// What a database is called in an error: a file's path or a URL.
pub(super) trait Named {
    /// The name.
    fn named(&self) -> String;
}

impl Named for Path {
    fn named(&self) -> String {
        self.display().to_string()
    }
}

impl Named for PathBuf {
    fn named(&self) -> String {
        self.display().to_string()
    }
}

impl Named for str {
    fn named(&self) -> String {
        self.to_owned()
    }
}

impl StateError {
    pub(super) fn new(
        verb: &'static str,
        database: &(impl Named + ?Sized),
        kind: StateErrorKind,
        cause: impl Into<String>,
    ) -> Self {
        Self {
            verb,
            database: database.named(),
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

    /// Of SQLite.
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

    /// Of PostgreSQL.
    pub(super) fn server(verb: &'static str, database: &str, error: &sqlx::Error) -> Self {
        let (kind, cause) = match error {
            sqlx::Error::Database(told) => {
                let code = told.code().unwrap_or_default();
                let kind = from_server_code(&code, told.message());
                (kind, format!("{} (SQLSTATE {code})", told.message()))
            }
            sqlx::Error::Tls(_) => (StateErrorKind::Tls, error.to_string()),
            // What rustls refuses comes as trouble with the connection.
            sqlx::Error::Io(io)
                if io
                    .get_ref()
                    .is_some_and(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>) =>
            {
                (StateErrorKind::Tls, error.to_string())
            }
            sqlx::Error::Io(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => (StateErrorKind::Unreachable, error.to_string()),
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::ColumnNotFound(_) => {
                (StateErrorKind::Damaged, error.to_string())
            }
            _ => (StateErrorKind::Other, error.to_string()),
        };
        Self::new(verb, database, kind, cause)
    }

    /// Of a migration, where `told` gives the database's own trouble its kind.
    pub(super) fn migrate(
        database: &(impl Named + ?Sized),
        error: &MigrateError,
        told: impl Fn(&sqlx::Error) -> Self,
    ) -> Self {
        match error {
            MigrateError::VersionMissing(version) | MigrateError::VersionTooNew(version, _) => {
                Self::newer(database, *version)
            }
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => told(error),
            other => Self::new("open", database, StateErrorKind::Other, other.to_string()),
        }
    }

    pub(super) fn newer(database: &(impl Named + ?Sized), version: i64) -> Self {
        Self::new(
            "open",
            database,
            StateErrorKind::NewerSchema,
            format!("its schema has version {version}, which this walproof does not know"),
        )
    }

    pub(super) fn secret(database: &str, error: &SecretError) -> Self {
        Self::new(
            "open",
            database,
            StateErrorKind::Credentials,
            error.to_string(),
        )
    }
}

/// The lower byte of a SQLite result code is the primary code
/// (<https://www.sqlite.org/rescode.html>).
const fn from_sqlite_code(code: u32) -> StateErrorKind {
    /// `SQLITE_IOERR_SHMSIZE`: the file beside the database that is shared memory cannot be
    /// made longer, which is so for want of room.
    const NO_ROOM_FOR_SHARED_MEMORY: u32 = 4874;
    match code & 0xFF {
        _ if code == NO_ROOM_FOR_SHARED_MEMORY => StateErrorKind::Full,
        5 | 6 => StateErrorKind::Locked,
        13 => StateErrorKind::Full,
        11 | 26 => StateErrorKind::Corrupt,
        3 | 8 | 14 | 23 => StateErrorKind::Permission,
        19 => StateErrorKind::Refused,
        _ => StateErrorKind::Other,
    }
}

/// By SQLSTATE (PostgreSQL manual, appendix A).
fn from_server_code(code: &str, message: &str) -> StateErrorKind {
    match code {
        // A server that wants TLS says so in words only; those of 13 were others.
        "28000" if message.contains("no encryption") || message.contains("SSL off") => {
            StateErrorKind::Tls
        }
        "28000" | "28P01" => StateErrorKind::Credentials,
        "3D000" => StateErrorKind::NoDatabase,
        "42501" => StateErrorKind::Rights,
        "25006" => StateErrorKind::ReadOnly,
        "40001" | "40P01" => StateErrorKind::Conflict,
        "53100" => StateErrorKind::Full,
        "53300" => StateErrorKind::Crowded,
        "55P03" | "57014" => StateErrorKind::Blocked,
        "57P01" | "57P02" | "57P03" | "57P05" | "25P03" => StateErrorKind::Unreachable,
        "XX001" | "XX002" => StateErrorKind::Damaged,
        _ if code.starts_with("08") => StateErrorKind::Unreachable,
        _ if code.starts_with("23") => StateErrorKind::Refused,
        _ => StateErrorKind::Other,
    }
}
