//! Places where a state can be kept, for tests: the same body of assertions is called with
//! a SQLite file and with a database of a real PostgreSQL server.

mod server;

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::postgres::PgPoolOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use tempfile::TempDir;

use super::State;
use crate::config::StateUrl;
pub(super) use server::{Server, majors, skipped};

/// `on_both! { name, … }`: makes two tests of each `async fn name(place: &Place)`.
macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {
        mod on_sqlite {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $name() {
                    super::$name(&crate::state::testing::Place::sqlite()).await;
                }
            )+
        }

        mod on_postgres {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $name() {
                    if let Some(place) = crate::state::testing::Place::postgres().await {
                        super::$name(&place).await;
                    }
                }
            )+
        }
    };
}
pub(super) use on_both;

/// A place for a state of a test's own.
#[derive(Debug)]
pub(super) struct Place {
    directory: TempDir,
    url: StateUrl,
    other: Other,
}

/// Another program with the same database.
#[derive(Debug)]
enum Other {
    Sqlite(PathBuf),
    Postgres(sqlx::PgPool),
}

impl Place {
    /// A file.
    pub(super) fn sqlite() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("state.sqlite");
        Self {
            url: StateUrl::sqlite(&file),
            other: Other::Sqlite(file),
            directory,
        }
    }

    /// A database of the server that all tests of this process share; `None`, said aloud,
    /// if no PostgreSQL is installed.
    pub(super) async fn postgres() -> Option<Self> {
        let server = Server::shared()?;
        Some(Self::on(server).await)
    }

    /// A new database of this server.
    pub(super) async fn on(server: &Server) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let database = server.create_database().await;
        let url: StateUrl = server.url(&database).parse().unwrap();
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .connect_lazy(&server.url(&database))
            .unwrap();
        Self {
            url: url.with_directory(directory.path()),
            directory,
            other: Other::Postgres(pool),
        }
    }

    /// Another empty one of the same kind, on the shared server.
    pub(super) async fn fresh(&self) -> Self {
        match &self.other {
            Other::Sqlite(_) => Self::sqlite(),
            Other::Postgres(_) => Self::postgres().await.unwrap(),
        }
    }

    pub(super) fn url(&self) -> &StateUrl {
        &self.url
    }

    pub(super) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(super) fn is_sqlite(&self) -> bool {
        matches!(self.other, Other::Sqlite(_))
    }

    pub(super) async fn open(&self) -> State {
        State::open(&self.url).await.unwrap()
    }

    /// Statements of another program.
    pub(super) async fn sql(&self, text: &str) -> Result<(), sqlx::Error> {
        let text = sqlx::AssertSqlSafe(text.to_owned());
        match &self.other {
            Other::Sqlite(file) => sqlx::raw_sql(text)
                .execute(&sqlite_pool(file).await)
                .await
                .map(|_| ()),
            Other::Postgres(pool) => sqlx::raw_sql(text).execute(pool).await.map(|_| ()),
        }
    }

    /// One number that another program reads.
    pub(super) async fn number(&self, text: &str) -> i64 {
        let text = sqlx::AssertSqlSafe(text.to_owned());
        match &self.other {
            Other::Sqlite(file) => sqlx::query_scalar(text)
                .fetch_one(&sqlite_pool(file).await)
                .await
                .unwrap(),
            Other::Postgres(pool) => sqlx::query_scalar(text).fetch_one(pool).await.unwrap(),
        }
    }

    /// Texts that another program reads, one per row.
    pub(super) async fn texts(&self, text: &str) -> Vec<String> {
        let text = sqlx::AssertSqlSafe(text.to_owned());
        match &self.other {
            Other::Sqlite(file) => sqlx::query_scalar(text)
                .fetch_all(&sqlite_pool(file).await)
                .await
                .unwrap(),
            Other::Postgres(pool) => sqlx::query_scalar(text).fetch_all(pool).await.unwrap(),
        }
    }

    /// Makes a database of an older version: the first `count` migrations.
    pub(super) async fn migrate_to(&self, count: usize) {
        fn first(all: &'static Migrator, count: usize) -> Migrator {
            Migrator {
                migrations: all.iter().take(count).cloned().collect::<Vec<_>>().into(),
                ..Migrator::DEFAULT
            }
        }
        match &self.other {
            Other::Sqlite(file) => {
                std::fs::write(file, []).unwrap();
                let pool = sqlite_pool(file).await;
                first(&super::sqlite::MIGRATIONS, count).run(&pool).await
            }
            Other::Postgres(pool) => first(&super::postgres::MIGRATIONS, count).run(pool).await,
        }
        .unwrap();
    }

    /// Lets as much time pass as it takes until a process that is gone counts as gone.
    /// SQLite knows it at once.
    pub(super) async fn a_minute_passes(&self) {
        if !self.is_sqlite() {
            self.sql("UPDATE processes SET beat_at = beat_at - interval '61 seconds'")
                .await
                .unwrap();
        }
    }

    /// The pool of another program on the server.
    pub(super) fn pool(&self) -> &sqlx::PgPool {
        match &self.other {
            Other::Postgres(pool) => pool,
            Other::Sqlite(_) => panic!("no server"),
        }
    }
}

/// A connection of its own, as any other program would open it.
pub(super) async fn sqlite_pool(file: &Path) -> sqlx::SqlitePool {
    SqlitePoolOptions::new()
        .max_connections(1)
        .connect_with(
            SqliteConnectOptions::new()
                .filename(file)
                .busy_timeout(Duration::from_millis(50)),
        )
        .await
        .unwrap()
}

/// Waits until something holds; panics when it does not within a minute.
pub(super) async fn wait_until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begin = std::time::Instant::now();
    while !holds().await {
        assert!(begin.elapsed() < Duration::from_mins(1), "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
