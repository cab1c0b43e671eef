//! Opening a database in PostgreSQL.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgSslMode};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, PgPool};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::super::{StateError, StateErrorKind};
use super::Postgres;
use super::patience::PATIENCE;
use crate::config::{PostgresState, StateTls};

pub(in super::super) static MIGRATIONS: Migrator = sqlx::migrate!("migrations/postgres");

/// The oldest server, as `server_version_num` gives it.
const OLDEST: i32 = 130_000;

/// How long to wait for a server that does not answer when the state is opened, and for
/// another process that holds a lock.
const OPENING: Duration = Duration::from_secs(15);

/// Connections of one process.
const CONNECTIONS: u32 = 5;

/// How long who only looks waits for an answer.
const PEEK: Duration = Duration::from_secs(5);
/// Limits that the server is told: for locks, for statements, and for a transaction in
/// which nothing is asked, as when this process was stopped.
const SETTINGS: [(&str, &str); 4] = [
    ("lock_timeout", "15s"),
    ("statement_timeout", "60s"),
    ("idle_in_transaction_session_timeout", "60s"),
    ("timezone", "UTC"),
];

impl Postgres {
    /// Opens the database. A server that is being restarted meanwhile is waited for.
    pub(in super::super) async fn open(
        settings: &PostgresState,
        name: &str,
    ) -> Result<Self, StateError> {
        let until = Instant::now() + OPENING;
        let mut pause = Duration::from_millis(50);
        loop {
            let error = match Self::try_open(settings, name, until).await {
                Ok(postgres) => return Ok(postgres),
                Err(error) => error,
            };
            if !error.kind.may_pass() || Instant::now() + pause >= until {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }

    async fn try_open(
        settings: &PostgresState,
        name: &str,
        until: Instant,
    ) -> Result<Self, StateError> {
        let sql = |error: sqlx::Error| StateError::server("open", name, &error);
        let options = options(settings, name)?;
        let mut connection = tokio::time::timeout_at(until, options.connect())
            .await
            .map_err(|_| {
                StateError::new(
                    "open",
                    name,
                    StateErrorKind::Unreachable,
                    format!("no answer within {} seconds", OPENING.as_secs()),
                )
            })?
            .map_err(sql)?;
        suits(&mut connection, name).await?;
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(Duration::from_secs(5))
            .idle_timeout(Duration::from_mins(5))
            .max_lifetime(Duration::from_mins(30))
            .connect_lazy_with(options.clone());
        migrate(&mut connection, &pool, name).await?;
        connection.close().await.map_err(sql)?;
        let postgres = Self {
            pool,
            name: name.into(),
            settings: Arc::new(settings.clone()),
            options: Arc::new(options),
            process: Arc::new(OnceCell::new()),
            patience: PATIENCE,
        };
        postgres.mark_interrupted().await?;
        Ok(postgres)
    }

    /// One text from a database that is only looked at: nothing is brought up to date or marked.
    /// `None` where there is no such table or row.
    pub(in super::super) async fn peek(
        settings: &PostgresState,
        query: &'static str,
    ) -> Result<Option<String>, StateError> {
        let name = settings.url();
        let options = options(settings, name)?;
        let look = async {
            let mut connection = options.connect().await?;
            let found = sqlx::query_scalar(query)
                .fetch_optional(&mut connection)
                .await;
            let _ = connection.close().await;
            found
        };
        let found = tokio::time::timeout(PEEK, look).await.map_err(|_| {
            StateError::new(
                "open",
                name,
                StateErrorKind::Unreachable,
                format!("no answer within {} seconds", PEEK.as_secs()),
            )
        })?;
        match found {
            // SQLSTATE undefined_table.
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42P01") => {
                Ok(None)
            }
            found => found.map_err(|error| StateError::server("open", name, &error)),
        }
    }

    /// Connects with the password that is found now, if it is another than before; else
    /// the error stays.
    pub(super) fn renew_password(&self, error: StateError) -> Result<(), StateError> {
        let Ok(Some(_)) = self.settings.password() else {
            return Err(error);
        };
        let options = options(&self.settings, &self.name)?;
        self.pool.set_connect_options(options);
        Ok(())
    }
}

/// What connections are made with: the URL, the environment for what it leaves out, and
/// the password.
fn options(settings: &PostgresState, name: &str) -> Result<PgConnectOptions, StateError> {
    let wrong = |error: sqlx::Error| {
        StateError::new("open", name, StateErrorKind::Other, error.to_string())
    };
    let mut options: PgConnectOptions = settings.url().parse().map_err(wrong)?;
    options = options.application_name("walproof").options(SETTINGS);
    if let Some(password) = settings
        .password()
        .map_err(|error| StateError::secret(name, &error))?
    {
        options = options.password(&password);
    }
    for file in [
        &settings.root_certificate,
        &settings.certificate,
        &settings.key,
    ] {
        if let Some(file) = file
            && let Err(error) = std::fs::File::open(file)
        {
            return Err(StateError::new(
                "open",
                name,
                StateErrorKind::Tls,
                format!("read {}: {error}", file.display()),
            ));
        }
    }
    if let Some(file) = &settings.root_certificate {
        options = options.ssl_root_cert(file);
    }
    if let Some(file) = &settings.certificate {
        options = options.ssl_client_cert(file);
    }
    if let Some(file) = &settings.key {
        options = options.ssl_client_key(file);
    }
    options = match settings.tls {
        Some(StateTls::Disable) => options.ssl_mode(PgSslMode::Disable),
        Some(StateTls::Prefer) => options.ssl_mode(PgSslMode::Prefer),
        Some(StateTls::Require) => options.ssl_mode(PgSslMode::Require),
        Some(StateTls::VerifyCa) => options.ssl_mode(PgSslMode::VerifyCa),
        Some(StateTls::VerifyFull) => options.ssl_mode(PgSslMode::VerifyFull),
        // Over a network nobody should be able to read along or to pretend, unless that
        // was asked for.
        None if std::env::var_os("PGSSLMODE").is_none() && !is_local(&options) => {
            options.ssl_mode(PgSslMode::VerifyFull)
        }
        None => options,
    };
    Ok(options)
}

/// Whether the server is on this machine for certain.
fn is_local(options: &PgConnectOptions) -> bool {
    let host = options.get_host();
    options.get_socket().is_some()
        || Path::new(host).is_absolute()
        || host == "localhost"
        || host
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// Whether the server and the database are such that the state can be kept there.
async fn suits(connection: &mut PgConnection, name: &str) -> Result<(), StateError> {
    let (version, text, encoding): (i32, String, String) = sqlx::query_as(
        "SELECT current_setting('server_version_num')::int, \
         current_setting('server_version'), current_setting('server_encoding')",
    )
    .fetch_one(connection)
    .await
    .map_err(|error| StateError::server("open", name, &error))?;
    let unsuitable = if version < OLDEST {
        format!("the server is PostgreSQL {text}")
    } else if encoding != "UTF8" {
        format!("the database has the encoding {encoding}")
    } else {
        return Ok(());
    };
    Err(StateError::new(
        "open",
        name,
        StateErrorKind::Unsuitable,
        unsuitable,
    ))
}

/// Brings the schema up to date; several processes at once wait for each other at the lock
/// that sqlx takes. Where there is nothing to do nothing is written, so that a role without
/// the right to change the schema, or a standby, will do.
async fn migrate(
    connection: &mut PgConnection,
    pool: &PgPool,
    name: &str,
) -> Result<(), StateError> {
    let sql = |error: &sqlx::Error| StateError::server("open", name, error);
    let applied: Result<Vec<(i64, Vec<u8>, bool)>, sqlx::Error> =
        sqlx::query_as("SELECT version, checksum, success FROM _sqlx_migrations ORDER BY version")
            .fetch_all(&mut *connection)
            .await;
    let applied = match applied {
        Ok(applied) => applied,
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42P01") => Vec::new(),
        Err(error) => return Err(sql(&error)),
    };
    if let Some((version, ..)) = applied
        .iter()
        .rev()
        .find(|(version, ..)| !MIGRATIONS.version_exists(*version))
    {
        return Err(StateError::newer(name, *version));
    }
    let up_to_date = MIGRATIONS.iter().all(|migration| {
        applied.iter().any(|(version, checksum, success)| {
            *version == migration.version && *success && **checksum == *migration.checksum
        })
    });
    if up_to_date {
        return Ok(());
    }
    MIGRATIONS
        .run(pool)
        .await
        .map_err(|error| StateError::migrate(name, &error, sql))
}
