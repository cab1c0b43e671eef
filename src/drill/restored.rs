//! A restored server as the checks see it, wherever it runs.

use std::time::Duration;

use futures::future::BoxFuture;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection};

/// How long a server may take to answer a connection.
const PATIENCE: Duration = Duration::from_secs(30);

/// Settings of a session, sent with the connection.
pub type SessionSettings<'a> = [(&'static str, String)];

/// Why a connection was not made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The server is starting, stopping, or not yet consistent: ask again later.
    #[error("the server does not accept connections yet: {0}")]
    NotYet(String),
    /// The role does not exist in the restored database.
    #[error(
        "the restored database has no role {role:?} that may log in ({message}); name its superuser \
         under `superuser` in the drill definition or with --superuser"
    )]
    Role {
        /// The role.
        role: String,
        /// The server's words.
        message: String,
    },
    /// The database needs something that the place of the drill lacks: the environment's
    /// fault.
    #[error("database {database:?} cannot be opened where the drill runs: {message}")]
    Environment {
        /// The database.
        database: String,
        /// The server's words.
        message: String,
    },
    /// Anything else that the server said.
    #[error("database {database:?} refuses the connection: {message}")]
    Refused {
        /// The database.
        database: String,
        /// The SQLSTATE, where there is one.
        code: Option<String>,
        /// The server's or system's words.
        message: String,
    },
}

/// How a program of PostgreSQL's ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramEnd {
    /// Its exit code; `None` when it was killed.
    pub code: Option<i32>,
    /// The beginning of its output.
    pub stdout: String,
    /// The beginning of its complaints.
    pub stderr: String,
}

/// A restored server that can be asked. What cannot be done comes back in words: it is
/// never the backup's fault.
pub trait Restored: Send + Sync {
    /// Its major version.
    fn major(&self) -> u32;

    /// Connects to `database` as a superuser. `settings` win over what the restored
    /// database sets for roles and databases.
    fn connect<'a>(
        &'a self,
        database: &'a str,
        settings: &'a SessionSettings<'a>,
    ) -> BoxFuture<'a, Result<PgConnection, ConnectError>>;

    /// Runs `pg_amcheck`, which connects by itself, with `arguments` and `PGOPTIONS`.
    fn pg_amcheck<'a>(
        &'a self,
        arguments: &'a [String],
        options: &'a str,
        limit: Duration,
    ) -> BoxFuture<'a, Result<ProgramEnd, String>>;

    /// Stops the server in order and runs `pg_checksums --check`.
    fn pg_checksums(&mut self, limit: Duration) -> BoxFuture<'_, Result<ProgramEnd, String>>;
}

/// Connects to a database to ask about the whole cluster: `postgres`, or `template1` where
/// the source has dropped or closed that one.
pub async fn connect_anywhere(
    server: &dyn Restored,
    settings: &SessionSettings<'_>,
) -> Result<PgConnection, ConnectError> {
    match server.connect("postgres", settings).await {
        // invalid_catalog_name; not currently accepting connections.
        Err(ConnectError::Refused {
            code: Some(code), ..
        }) if matches!(code.as_str(), "3D000" | "55000") => {
            server.connect("template1", settings).await
        }
        other => other,
    }
}

/// Opens a session with `options`, which say where the server is and who asks.
pub async fn open_session(
    options: PgConnectOptions,
    database: &str,
    settings: &SessionSettings<'_>,
) -> Result<PgConnection, ConnectError> {
    // Libraries that a role or database would load into every session act before
    // anybody can ask.
    let always = [
        ("session_preload_libraries", String::new()),
        ("local_preload_libraries", String::new()),
    ];
    connect(options.options(always), database, settings).await
}

/// Opens a session as who is no superuser, and so may not say which libraries it loads: the
/// server was found confined before.
pub async fn open_session_of_anybody(
    options: PgConnectOptions,
    database: &str,
    settings: &SessionSettings<'_>,
) -> Result<PgConnection, ConnectError> {
    connect(options, database, settings).await
}

async fn connect(
    options: PgConnectOptions,
    database: &str,
    settings: &SessionSettings<'_>,
) -> Result<PgConnection, ConnectError> {
    let role = options.get_username().to_owned();
    let options = options
        .database(database)
        .application_name("walproof drill")
        .statement_cache_capacity(0)
        .options(settings.iter().cloned())
        .disable_statement_logging();
    match tokio::time::timeout(PATIENCE, PgConnection::connect_with(&options)).await {
        Ok(result) => result.map_err(|error| classify(&role, database, error)),
        Err(_) => Err(ConnectError::NotYet("no answer within 30 s".to_owned())),
    }
}

/// Sorts a refused connection by who is to blame.
fn classify(role: &str, database: &str, error: sqlx::Error) -> ConnectError {
    let database = database.to_owned();
    match error {
        sqlx::Error::Database(refusal) => {
            let message = refusal.message().to_owned();
            let code = refusal.code().map(std::borrow::Cow::into_owned);
            match code.as_deref() {
                // cannot_connect_now: starting up, shutting down, not yet accepting.
                Some("57P03") => ConnectError::NotYet(message),
                Some("28000") => ConnectError::Role {
                    role: role.to_owned(),
                    message,
                },
                _ if is_environment(&message) => ConnectError::Environment { database, message },
                _ => ConnectError::Refused {
                    database,
                    code,
                    message,
                },
            }
        }
        sqlx::Error::Io(error) => ConnectError::NotYet(error.to_string()),
        other => ConnectError::Refused {
            database,
            code: None,
            message: other.to_string(),
        },
    }
}

/// Whether a server's complaint is about the place where it runs, not about the data: a
/// locale or ICU version that is not there, or a library
/// (`src/backend/utils/init/postinit.c`).
pub fn is_environment(message: &str) -> bool {
    [
        "database locale is incompatible with operating system",
        "could not create locale",
        "could not open collator for locale",
        "ICU is not supported in this build",
        "could not access file \"$libdir/",
        "could not load library",
    ]
    .iter()
    .any(|words| message.contains(words))
}
