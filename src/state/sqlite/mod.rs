//! The state in a SQLite file: write-ahead logging, one writer, several readers.

mod copies;
mod info;
mod objects;
mod open;
mod read;
mod write;

use std::path::{Path, PathBuf};

use sqlx::SqlitePool;

use super::StateError;
use super::columns::Reader;
#[cfg(test)]
pub(super) use open::MIGRATIONS;

/// A SQLite database that is open.
#[derive(Clone, Debug)]
pub(super) struct Sqlite {
    /// One connection: SQLite has one writer at a time, and waiting in our own queue is
    /// fairer than its busy handler.
    writer: SqlitePool,
    /// Connections that refuse to write.
    readers: SqlitePool,
    path: PathBuf,
    directory: PathBuf,
}

impl Sqlite {
    fn reading(&self) -> impl Fn(sqlx::Error) -> StateError + '_ {
        |error| StateError::sql("read", &self.path, &error)
    }

    fn writing(&self) -> impl Fn(sqlx::Error) -> StateError + '_ {
        |error| StateError::sql("write to", &self.path, &error)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Connections that refuse to write.
    pub(super) const fn readers(&self) -> &SqlitePool {
        &self.readers
    }

    pub(super) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

impl Reader for Sqlite {
    fn unreadable(&self, error: &sqlx::Error) -> StateError {
        StateError::sql("read", &self.path, error)
    }

    fn strange(&self, what: &str) -> StateError {
        Self::strange(self, what)
    }
}
