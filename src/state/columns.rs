//! The columns of a row, read alike whichever database gave it.

use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;

use super::StateError;
use crate::codec::Sha256;

/// A database that can say what is wrong with a row of its own.
pub(super) trait Reader {
    /// The row could not be read.
    fn unreadable(&self, error: &sqlx::Error) -> StateError;

    /// This version did not write the row so.
    fn strange(&self, what: &str) -> StateError;
}

/// What a row of either database can be asked for.
pub(super) trait Cells {
    fn integer(&self, column: &str) -> Result<Option<i64>, sqlx::Error>;
    fn text(&self, column: &str) -> Result<Option<String>, sqlx::Error>;
    fn bytes(&self, column: &str) -> Result<Option<Vec<u8>>, sqlx::Error>;
}

macro_rules! cells {
    ($($row:ty),*) => {
        $(
            impl Cells for $row {
                fn integer(&self, column: &str) -> Result<Option<i64>, sqlx::Error> {
                    self.try_get(column)
                }

                fn text(&self, column: &str) -> Result<Option<String>, sqlx::Error> {
                    self.try_get(column)
                }

                fn bytes(&self, column: &str) -> Result<Option<Vec<u8>>, sqlx::Error> {
                    self.try_get(column)
                }
            }
        )*
    };
}

cells!(SqliteRow, PgRow);

/// A row, and the database that it is of.
pub(super) struct Columns<'r, D> {
    row: &'r dyn Cells,
    database: &'r D,
}

impl<'r, D: Reader> Columns<'r, D> {
    pub(super) fn of(row: &'r dyn Cells, database: &'r D) -> Self {
        Self { row, database }
    }

    /// A text that may be missing.
    pub(super) fn optional(&self, column: &str) -> Result<Option<String>, StateError> {
        self.row
            .text(column)
            .map_err(|error| self.database.unreadable(&error))
    }

    /// A text.
    pub(super) fn text(&self, column: &str) -> Result<String, StateError> {
        self.optional(column)?.ok_or_else(|| self.without(column))
    }

    /// What a JSON text says that may be missing.
    pub(super) fn json<T: DeserializeOwned>(&self, column: &str) -> Result<Option<T>, StateError> {
        self.optional(column)?
            .map(|body| {
                serde_json::from_str(&body)
                    .map_err(|error| self.database.strange(&error.to_string()))
            })
            .transpose()
    }

    /// One of a closed set of words, or nothing.
    pub(super) fn word<T>(
        &self,
        column: &str,
        from_word: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, StateError> {
        self.optional(column)?
            .map(|word| from_word(&word).ok_or_else(|| self.database.strange(&word)))
            .transpose()
    }

    fn integer(&self, column: &str) -> Result<Option<i64>, StateError> {
        self.row
            .integer(column)
            .map_err(|error| self.database.unreadable(&error))
    }

    /// A number that is never negative; nothing is zero.
    pub(super) fn count(&self, column: &str) -> Result<u64, StateError> {
        let number = self.integer(column)?.unwrap_or_default();
        u64::try_from(number).map_err(|_| self.database.strange(&format!("{column} {number}")))
    }

    /// A moment, microseconds since 1970, that may be missing.
    pub(super) fn moment(&self, column: &str) -> Result<Option<DateTime<Utc>>, StateError> {
        let Some(micros) = self.integer(column)? else {
            return Ok(None);
        };
        DateTime::from_timestamp_micros(micros)
            .map(Some)
            .ok_or_else(|| self.database.strange(&format!("{column} {micros}")))
    }

    /// A moment.
    pub(super) fn needed_moment(&self, column: &str) -> Result<DateTime<Utc>, StateError> {
        self.moment(column)?.ok_or_else(|| self.without(column))
    }

    /// A digest that may be missing.
    pub(super) fn digest(&self, column: &str) -> Result<Option<Sha256>, StateError> {
        self.row
            .bytes(column)
            .map_err(|error| self.database.unreadable(&error))?
            .map(|bytes| {
                <[u8; 32]>::try_from(bytes)
                    .map(Sha256::from)
                    .map_err(|_| self.database.strange("a digest of another length"))
            })
            .transpose()
    }

    fn without(&self, column: &str) -> StateError {
        self.database.strange(&format!("a row without {column}"))
    }
}
