//! Opening the database file.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _};
use uuid::Uuid;

use super::super::complete::{GONE, Gone, gone_in};
use super::super::database::values;
use super::super::store::Backend;
use super::super::time::{from_text, to_text};
use super::super::{RunKind, StateError, StateErrorKind, lock};
use super::Sqlite;

pub(in super::super) static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// How long to wait for another process.
const BUSY: Duration = Duration::from_secs(15);
/// The same for who only looks.
const PEEK: Duration = Duration::from_secs(5);

impl Sqlite {
    pub(in super::super) async fn open(path: &Path, directory: &Path) -> Result<Self, StateError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|error| StateError::io("open", directory, &error))?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // A finished run must survive a power cut.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY);
        let sql = |error: sqlx::Error| StateError::sql("open", path, &error);
        // Two processes that begin at once must not both set up the schema.
        let setting_up = take_lock(path, directory).await?;
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_with(options.clone())
            .await
            .map_err(sql)?;
        MIGRATIONS.run(&writer).await.map_err(|error| {
            StateError::migrate(path, &error, |error| StateError::sql("open", path, error))
        })?;
        drop(setting_up);
        let readers = SqlitePoolOptions::new()
            .max_connections(4)
            .connect_lazy_with(options.pragma("query_only", "on"));
        let sqlite = Self {
            writer,
            readers,
            path: path.to_owned(),
            directory: directory.to_owned(),
        };
        sqlite.mark_interrupted().await?;
        Ok(sqlite)
    }

    /// One text from a database that is only looked at: nothing is made, brought up to date or
    /// marked. `None` where there is no such file, table or row.
    pub(in super::super) async fn peek(
        path: &Path,
        query: &'static str,
    ) -> Result<Option<String>, StateError> {
        if !path.exists() {
            return Ok(None);
        }
        let options = SqliteConnectOptions::new()
            .filename(path)
            .read_only(true)
            .busy_timeout(PEEK);
        let sql = |error: sqlx::Error| StateError::sql("open", path, &error);
        let mut connection = options.connect().await.map_err(sql)?;
        let found = sqlx::query_scalar(query)
            .fetch_optional(&mut connection)
            .await;
        let _ = connection.close().await;
        match found {
            Err(error) if error.to_string().contains("no such table") => Ok(None),
            found => found.map_err(sql),
        }
    }

    /// Marks runs that were under way and whose process is gone, and says so in the ledger.
    /// Gives their ids.
    pub(in super::super) async fn mark_interrupted(&self) -> Result<Vec<Uuid>, StateError> {
        let backend = Backend::Sqlite(Arc::new(self.clone()));
        let running: Vec<String> =
            sqlx::query_scalar("SELECT id FROM runs WHERE status = 'running'")
                .fetch_all(&self.readers)
                .await
                .map_err(self.reading())?;
        let mut marked = Vec::new();
        for id in running {
            let taken = lock::try_take(&self.directory, &id)
                .map_err(|error| StateError::io("open", &self.directory, &error))?;
            // Somebody holds it, so the run is alive.
            let Some(held) = taken else { continue };
            let mut transaction = backend.begin().await?;
            let now = Utc::now();
            let row = transaction
                .row(
                    "UPDATE runs SET status = 'interrupted', finished_at = $2, summary = $3 \
                     WHERE id = $1 AND status = 'running' \
                     RETURNING id, kind, cluster, copy, started_at",
                    values![&id, to_text(now), GONE],
                )
                .await?;
            if let Some(row) = row {
                let started_at = row.text("started_at")?;
                let gone = Gone {
                    id: row.id("id")?,
                    kind: row.word("kind", RunKind::from_word)?,
                    cluster: row.text("cluster")?,
                    copy: row.text("copy")?,
                    started_at: from_text(&started_at).ok_or_else(|| row.strange(&started_at))?,
                };
                marked.push(gone.id);
                gone_in(&mut transaction, &gone, now).await?;
            }
            transaction.commit().await?;
            held.remove();
        }
        Ok(marked)
    }
}

/// Waits for other processes that are opening the database, as long as for its locks.
async fn take_lock(path: &Path, directory: &Path) -> Result<lock::Held, StateError> {
    let begin = Instant::now();
    loop {
        let taken = lock::try_take(directory, "open")
            .map_err(|error| StateError::io("open", directory, &error))?;
        if let Some(held) = taken {
            return Ok(held);
        }
        if begin.elapsed() > BUSY {
            return Err(StateError::new(
                "open",
                path,
                StateErrorKind::Locked,
                "another walproof is opening it and does not come to an end",
            ));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
