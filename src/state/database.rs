//! One set of statements for whatever database holds the state.
//!
//! The tables of the daemon hold whole numbers and text only, and parameters are `$1`, `$2`,
//! which both databases understand. So a statement stands once, and means the same in both.
//! Not sqlx's `Any`: that hides which database it is, here only values and rows are.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row as _};
use uuid::Uuid;

use super::store::Backend;
use super::{State, StateError, StateErrorKind, postgres};

/// A value on its way into the database.
#[derive(Clone, Debug)]
pub(super) enum Value<'a> {
    Integer(Option<i64>),
    Text(Option<Cow<'a, str>>),
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Integer(Some(number))
    }
}

impl From<Option<i64>> for Value<'_> {
    fn from(number: Option<i64>) -> Self {
        Self::Integer(number)
    }
}

/// Numbers in the database are signed.
impl From<u64> for Value<'_> {
    fn from(number: u64) -> Self {
        Self::Integer(Some(i64::try_from(number).unwrap_or(i64::MAX)))
    }
}

impl From<u32> for Value<'_> {
    fn from(number: u32) -> Self {
        Self::Integer(Some(i64::from(number)))
    }
}

impl From<u8> for Value<'_> {
    fn from(number: u8) -> Self {
        Self::Integer(Some(i64::from(number)))
    }
}

impl From<bool> for Value<'_> {
    fn from(yes: bool) -> Self {
        Self::Integer(Some(i64::from(yes)))
    }
}

impl From<DateTime<Utc>> for Value<'_> {
    fn from(time: DateTime<Utc>) -> Self {
        Self::Integer(Some(time.timestamp_micros()))
    }
}

impl From<Option<DateTime<Utc>>> for Value<'_> {
    fn from(time: Option<DateTime<Utc>>) -> Self {
        Self::Integer(time.map(|time| time.timestamp_micros()))
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Some(Cow::Borrowed(text)))
    }
}

impl<'a> From<&'a String> for Value<'a> {
    fn from(text: &'a String) -> Self {
        Self::Text(Some(Cow::Borrowed(text)))
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::Text(Some(Cow::Owned(text)))
    }
}

impl<'a> From<Option<&'a str>> for Value<'a> {
    fn from(text: Option<&'a str>) -> Self {
        Self::Text(text.map(Cow::Borrowed))
    }
}

impl<'a> From<&'a Option<String>> for Value<'a> {
    fn from(text: &'a Option<String>) -> Self {
        Self::Text(text.as_deref().map(Cow::Borrowed))
    }
}

impl From<Uuid> for Value<'_> {
    fn from(id: Uuid) -> Self {
        Self::Text(Some(Cow::Owned(id.to_string())))
    }
}

impl From<Option<Uuid>> for Value<'_> {
    fn from(id: Option<Uuid>) -> Self {
        Self::Text(id.map(|id| Cow::Owned(id.to_string())))
    }
}

/// Values of several types, in the order of their parameters.
macro_rules! values {
    ($($value:expr),* $(,)?) => { &[$($crate::state::database::Value::from($value)),*] };
}

pub(super) use values;

fn as_it_is(text: &str) -> Cow<'_, str> {
    Cow::Borrowed(text)
}

/// Binds values to a statement of either database, with texts as that database takes them.
macro_rules! bound {
    ($sql:expr, $values:expr, $text:expr) => {{
        let mut query = sqlx::query(AssertSqlSafe($sql.to_owned()));
        for value in $values {
            query = match value.clone() {
                Value::Integer(number) => query.bind(number),
                Value::Text(text) => query.bind(text.map(|text| $text(&text).into_owned())),
            };
        }
        query
    }};
}

/// A row of either database.
#[derive(Debug)]
pub(super) struct Row {
    row: EitherRow,
    backend: Backend,
}

#[derive(Debug)]
enum EitherRow {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl Row {
    fn optional_number(&self, column: &str) -> Result<Option<i64>, StateError> {
        match &self.row {
            EitherRow::Sqlite(row) => row.try_get(column),
            EitherRow::Postgres(row) => row.try_get(column),
        }
        .map_err(|error| self.wrong(&error))
    }

    /// A text that may be missing.
    pub(super) fn optional_text(&self, column: &str) -> Result<Option<String>, StateError> {
        match &self.row {
            EitherRow::Sqlite(row) => row.try_get(column),
            EitherRow::Postgres(row) => row.try_get(column),
        }
        .map_err(|error| self.wrong(&error))
    }

    fn wrong(&self, error: &sqlx::Error) -> StateError {
        self.backend.sql("read", error)
    }

    fn missing(&self, column: &str) -> StateError {
        self.strange(&format!("a row without {column}"))
    }

    /// A row that this version did not write so.
    pub(super) fn strange(&self, what: &str) -> StateError {
        self.backend.strange(what)
    }

    /// A whole number.
    pub(super) fn number(&self, column: &str) -> Result<i64, StateError> {
        self.optional_number(column)?
            .ok_or_else(|| self.missing(column))
    }

    /// A number that is never negative.
    pub(super) fn count(&self, column: &str) -> Result<u64, StateError> {
        let number = self.number(column)?;
        u64::try_from(number).map_err(|_| self.strange(&format!("{column} {number}")))
    }

    /// A number that is never negative and may be missing.
    pub(super) fn optional_count(&self, column: &str) -> Result<Option<u64>, StateError> {
        self.optional_number(column)?
            .map(|number| {
                u64::try_from(number).map_err(|_| self.strange(&format!("{column} {number}")))
            })
            .transpose()
    }

    /// A number within the bounds of a smaller type.
    pub(super) fn small<T: TryFrom<i64>>(&self, column: &str) -> Result<T, StateError> {
        let number = self.number(column)?;
        T::try_from(number).map_err(|_| self.strange(&format!("{column} {number}")))
    }

    /// A text.
    pub(super) fn text(&self, column: &str) -> Result<String, StateError> {
        self.optional_text(column)?
            .ok_or_else(|| self.missing(column))
    }

    /// A moment that may be missing.
    pub(super) fn optional_moment(
        &self,
        column: &str,
    ) -> Result<Option<DateTime<Utc>>, StateError> {
        self.optional_number(column)?
            .map(|micros| {
                DateTime::from_timestamp_micros(micros)
                    .ok_or_else(|| self.strange(&format!("{column} {micros}")))
            })
            .transpose()
    }

    /// A moment.
    pub(super) fn moment(&self, column: &str) -> Result<DateTime<Utc>, StateError> {
        self.optional_moment(column)?
            .ok_or_else(|| self.missing(column))
    }

    /// An identity that may be missing.
    pub(super) fn optional_id(&self, column: &str) -> Result<Option<Uuid>, StateError> {
        self.optional_text(column)?
            .map(|text| text.parse().map_err(|_| self.strange(&text)))
            .transpose()
    }

    /// An identity.
    pub(super) fn id(&self, column: &str) -> Result<Uuid, StateError> {
        self.optional_id(column)?
            .ok_or_else(|| self.missing(column))
    }

    /// One of a closed set of words.
    pub(super) fn word<T>(
        &self,
        column: &str,
        from_word: impl Fn(&str) -> Option<T>,
    ) -> Result<T, StateError> {
        let word = self.text(column)?;
        from_word(&word).ok_or_else(|| self.strange(&word))
    }

    /// What a JSON text says.
    pub(super) fn json<T: DeserializeOwned>(&self, column: &str) -> Result<T, StateError> {
        self.optional_json(column)?
            .ok_or_else(|| self.missing(column))
    }

    /// What a JSON text says that may be missing.
    pub(super) fn optional_json<T: DeserializeOwned>(
        &self,
        column: &str,
    ) -> Result<Option<T>, StateError> {
        self.optional_text(column)?
            .map(|text| {
                serde_json::from_str(&text).map_err(|error| self.strange(&error.to_string()))
            })
            .transpose()
    }
}

/// A transaction that writes. Dropped without [`Self::commit`], nothing of it happened.
#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) inner: EitherTransaction,
    backend: Backend,
    forgotten: bool,
}

#[derive(Debug)]
pub(super) enum EitherTransaction {
    /// One at a time: it begins with the right to write.
    Sqlite(sqlx::Transaction<'static, sqlx::Sqlite>),
    /// Each statement sees what others have committed by then; rows that it changed are its
    /// own until the end.
    Postgres(sqlx::Transaction<'static, sqlx::Postgres>),
}

impl Transaction {
    /// Runs a statement; tells how many rows it changed.
    pub(super) async fn execute(
        &mut self,
        sql: &str,
        values: &[Value<'_>],
    ) -> Result<u64, StateError> {
        #[cfg(test)]
        crash::here(self)?;
        let done = match &mut self.inner {
            EitherTransaction::Sqlite(transaction) => bound!(sql, values, as_it_is)
                .execute(&mut **transaction)
                .await
                .map(|done| done.rows_affected()),
            EitherTransaction::Postgres(transaction) => bound!(sql, values, postgres::text)
                .execute(&mut **transaction)
                .await
                .map(|done| done.rows_affected()),
        };
        done.map_err(|error| self.backend.sql("write to", &error))
    }

    /// The rows that a statement gives.
    pub(super) async fn rows(
        &mut self,
        sql: &str,
        values: &[Value<'_>],
    ) -> Result<Vec<Row>, StateError> {
        #[cfg(test)]
        crash::here(self)?;
        match &mut self.inner {
            EitherTransaction::Sqlite(transaction) => bound!(sql, values, as_it_is)
                .fetch_all(&mut **transaction)
                .await
                .map(|rows| self.backend.rows(rows, EitherRow::Sqlite)),
            EitherTransaction::Postgres(transaction) => bound!(sql, values, postgres::text)
                .fetch_all(&mut **transaction)
                .await
                .map(|rows| self.backend.rows(rows, EitherRow::Postgres)),
        }
        .map_err(|error| self.backend.sql("write to", &error))
    }

    /// The one row that a statement gives, if it gives any.
    pub(super) async fn row(
        &mut self,
        sql: &str,
        values: &[Value<'_>],
    ) -> Result<Option<Row>, StateError> {
        Ok(self.rows(sql, values).await?.into_iter().next())
    }

    /// Lets [`Self::commit`] do nothing.
    pub(super) const fn forget(&mut self) {
        self.forgotten = true;
    }

    /// Makes it so.
    pub(super) async fn commit(self) -> Result<(), StateError> {
        #[cfg(test)]
        crash::here(&self)?;
        if self.forgotten {
            return Ok(());
        }
        match self.inner {
            EitherTransaction::Sqlite(transaction) => transaction.commit().await,
            EitherTransaction::Postgres(transaction) => transaction.commit().await,
        }
        .map_err(|error| self.backend.sql("write to", &error))
    }

    /// A failure in words.
    pub(super) fn trouble(&self, kind: StateErrorKind, cause: impl Into<String>) -> StateError {
        self.backend.trouble("write to", kind, cause)
    }

    /// JSON as it is kept.
    pub(super) fn json(&self, value: &impl serde::Serialize) -> Result<String, StateError> {
        serde_json::to_string(value)
            .map_err(|error| self.trouble(StateErrorKind::Other, error.to_string()))
    }
}

impl Backend {
    fn rows<R>(&self, rows: Vec<R>, either: impl Fn(R) -> EitherRow) -> Vec<Row> {
        rows.into_iter()
            .map(|row| Row {
                row: either(row),
                backend: self.clone(),
            })
            .collect()
    }

    fn sql(&self, verb: &'static str, error: &sqlx::Error) -> StateError {
        match self {
            Self::Sqlite(sqlite) => StateError::sql(verb, sqlite.path(), error),
            Self::Postgres(postgres) => StateError::server(verb, postgres.name(), error),
        }
    }

    fn strange(&self, what: &str) -> StateError {
        match self {
            Self::Sqlite(sqlite) => sqlite.strange(what),
            Self::Postgres(postgres) => postgres.strange(what),
        }
    }

    /// A failure in words.
    pub(super) fn trouble(
        &self,
        verb: &'static str,
        kind: StateErrorKind,
        cause: impl Into<String>,
    ) -> StateError {
        match self {
            Self::Sqlite(sqlite) => StateError::new(verb, sqlite.path(), kind, cause),
            Self::Postgres(postgres) => StateError::new(verb, postgres.name(), kind, cause),
        }
    }

    /// Begins a transaction that writes.
    pub(super) async fn begin(&self) -> Result<Transaction, StateError> {
        let inner = match self {
            Self::Sqlite(sqlite) => EitherTransaction::Sqlite(sqlite.begin().await?),
            Self::Postgres(postgres) => EitherTransaction::Postgres(postgres.begin().await?),
        };
        Ok(Transaction {
            inner,
            backend: self.clone(),
            forgotten: false,
        })
    }
}

impl State {
    /// The rows that a statement gives that only reads.
    pub(super) async fn rows(
        &self,
        sql: &str,
        values: &[Value<'_>],
    ) -> Result<Vec<Row>, StateError> {
        let reading = |error: sqlx::Error| self.backend.sql("read", &error);
        match &self.backend {
            Backend::Sqlite(sqlite) => bound!(sql, values, as_it_is)
                .fetch_all(sqlite.readers())
                .await
                .map(|rows| self.backend.rows(rows, EitherRow::Sqlite))
                .map_err(reading),
            Backend::Postgres(postgres) => {
                let asking = postgres.patiently(|| async {
                    bound!(sql, values, postgres::text)
                        .fetch_all(postgres.pool())
                        .await
                        .map(|rows| self.backend.rows(rows, EitherRow::Postgres))
                        .map_err(reading)
                });
                Box::pin(asking).await
            }
        }
    }

    /// The one row that a statement gives that only reads, if it gives any.
    pub(super) async fn row(
        &self,
        sql: &str,
        values: &[Value<'_>],
    ) -> Result<Option<Row>, StateError> {
        Ok(self.rows(sql, values).await?.into_iter().next())
    }
}

/// The waits between the attempts of one operation: none with SQLite, whose own waiting is
/// for its locks; a server that went away is waited for.
#[derive(Debug)]
pub(super) enum Patience<'a> {
    None,
    Server(postgres::Waiting<'a>),
}

impl Patience<'_> {
    /// Waits a moment after a failure; gives the failure back when it will not pass.
    pub(super) async fn after(&mut self, error: StateError) -> Result<(), StateError> {
        match self {
            Self::None => Err(error),
            Self::Server(waiting) => waiting.after(error).await,
        }
    }
}

impl Backend {
    pub(super) fn patience(&self) -> Patience<'_> {
        match self {
            Self::Sqlite(_) => Patience::None,
            Self::Postgres(postgres) => Patience::Server(postgres.waiting()),
        }
    }

    /// One attempt, with an end.
    pub(super) async fn limited<T>(
        &self,
        attempt: impl Future<Output = Result<T, StateError>>,
    ) -> Result<T, StateError> {
        match self {
            Self::Sqlite(_) => attempt.await,
            Self::Postgres(postgres) => postgres::limited(postgres, attempt).await,
        }
    }
}

/// Does something in one transaction: all of it or nothing. Tried again while the server is
/// away, also when the end of an attempt was not heard of; so it must be right when it is
/// done twice. With `once` it is not tried again after such an end.
macro_rules! transact {
    (once $state:expr, $transaction:ident => $work:expr) => {
        $crate::state::database::transact!(@ $state, $transaction => $work, true)
    };
    ($state:expr, $transaction:ident => $work:expr) => {
        $crate::state::database::transact!(@ $state, $transaction => $work, false)
    };
    (@ $state:expr, $transaction:ident => $work:expr, $once:literal) => {{
        let mut patience = $state.backend.patience();
        loop {
            let mut ending = false;
            // Boxed: two databases make it large, and it is part of everything that calls it.
            let attempt = Box::pin(async {
                let mut $transaction = $state.backend.begin().await?;
                let done = $work.await?;
                ending = true;
                $transaction.commit().await?;
                Ok(done)
            });
            match $state.backend.limited(attempt).await {
                Ok(done) => break Ok(done),
                Err(error) if $once && ending => break Err(error),
                Err(error) => {
                    if let Err(error) = patience.after(error).await {
                        break Err(error);
                    }
                }
            }
        }
    }};
}

pub(super) use transact;

/// For tests: the process dies after a number of statements of transactions, as far as the
/// database can tell.
#[cfg(test)]
pub(super) mod crash {
    use std::cell::Cell;

    use super::{StateError, StateErrorKind, Transaction};

    pub(in super::super) const WORDS: &str = "crashed on purpose";

    thread_local! {
        static LEFT: Cell<Option<u32>> = const { Cell::new(None) };
    }

    pub(in super::super) fn after(statements: u32) {
        LEFT.set(Some(statements));
    }

    pub(in super::super) fn never() {
        LEFT.set(None);
    }

    /// Nothing crashes until [`go_on`].
    pub(in super::super) fn pause() -> Option<u32> {
        LEFT.take()
    }

    pub(in super::super) fn go_on(statements: Option<u32>) {
        LEFT.set(statements);
    }

    pub(super) fn here(transaction: &Transaction) -> Result<(), StateError> {
        match LEFT.get() {
            None => Ok(()),
            Some(0) => Err(transaction.trouble(StateErrorKind::Other, WORDS)),
            Some(left) => {
                LEFT.set(Some(left - 1));
                Ok(())
            }
        }
    }
}
