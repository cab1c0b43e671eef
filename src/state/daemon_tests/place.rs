//! A database of one test's own, opened as often as the test wants.

use std::path::Path;

use tempfile::TempDir;

use super::super::State;
use super::super::tests::other_program;
use crate::config::StateUrl;

/// A database for one test.
pub(in crate::state) struct Place {
    directory: TempDir,
}

impl Place {
    pub(in crate::state) async fn sqlite() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    /// Another empty one of the same kind.
    pub(in crate::state) async fn fresh(&self) -> Self {
        Self::sqlite().await
    }

    /// Another handle, as another process would have it.
    pub(in crate::state) async fn open(&self) -> State {
        Self::open_at(self.directory.path()).await
    }

    /// What a child process opens it by.
    pub(in crate::state) fn address(&self) -> String {
        self.directory.path().to_str().unwrap().to_owned()
    }

    /// What [`Self::address`] gave.
    pub(in crate::state) async fn open_address(address: &str) -> State {
        Self::open_at(Path::new(address)).await
    }

    async fn open_at(directory: &Path) -> State {
        State::open(&StateUrl::sqlite(directory.join("state.sqlite")))
            .await
            .unwrap()
    }

    /// Runs statements as any other program could; gives the database's words if it refuses.
    pub(in crate::state) async fn other(&self, sql: &str) -> Result<(), String> {
        let other = other_program(self.directory.path()).await;
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned()))
            .execute(&other)
            .await
            .map(|_| ())
            .map_err(|error| error.to_string())
    }

    /// Whether it is a SQLite database.
    pub(in crate::state) fn is_sqlite(&self) -> bool {
        true
    }
}

/// Makes a test of each body for each database.
macro_rules! on_each_database {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(
                #[tokio::test]
                async fn $name() {
                    super::$name(&$crate::state::daemon_tests::Place::sqlite().await).await;
                }
            )*
        }
    };
}

pub(in crate::state) use on_each_database;
