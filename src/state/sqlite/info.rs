//! The file itself: what it holds, and a backup of it.

use std::path::Path;

use super::super::{StateError, StateErrorKind, StateInfo};
use super::Sqlite;

impl Sqlite {
    pub(in super::super) async fn info(&self) -> Result<StateInfo, StateError> {
        let engine: String = sqlx::query_scalar("SELECT 'sqlite ' || sqlite_version()")
            .fetch_one(&self.readers)
            .await
            .map_err(self.reading())?;
        let counts = sqlx::query_as(
            "SELECT (SELECT count(*) FROM runs), \
             (SELECT count(*) FROM runs WHERE status = 'running'), \
             (SELECT count(*) FROM records), (SELECT count(*) FROM objects), \
             (SELECT max(version) FROM _sqlx_migrations), \
             (SELECT page_count * page_size FROM pragma_page_count, pragma_page_size)",
        )
        .fetch_one(&self.readers)
        .await
        .map_err(self.reading())?;
        Ok(StateInfo::new(engine, counts))
    }

    /// Readers and writers go on meanwhile (SQLite manual, "VACUUM", "INTO").
    pub(in super::super) async fn backup_to(&self, file: &Path) -> Result<(), StateError> {
        let text = file.to_str().ok_or_else(|| {
            StateError::new(
                "back up",
                file,
                StateErrorKind::Other,
                "the file's name is not text (UTF-8)",
            )
        })?;
        // SQLite itself takes an empty file for a new one.
        if file.exists() {
            return Err(StateError::new(
                "back up to",
                file,
                StateErrorKind::Refused,
                "there is such a file already",
            ));
        }
        // A connection that only reads may not.
        sqlx::query("VACUUM INTO ?1")
            .bind(text)
            .execute(&self.writer)
            .await
            .map_err(|error| StateError::sql("back up to", file, &error))?;
        // What SQLite wrote is not on the disk yet when the machine goes down.
        let synced = tokio::fs::File::open(file).await;
        match synced {
            Ok(synced) => synced.sync_all().await,
            Err(error) => Err(error),
        }
        .map_err(|error| StateError::io("back up to", file, &error))
    }
}
