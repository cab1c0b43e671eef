//! What is remembered of objects. Rows travel as one JSON text per batch: a statement for
//! each would take ten times as long.

use chrono::{DateTime, Utc};
use sqlx::sqlite::SqliteRow;
use sqlx::{Executor, Sqlite as Driver};

use super::super::columns::Columns;
use super::super::number::signed;
use super::super::object_row::{self, ObjectRow};
use super::super::{ObjectSummary, ReadRate, RememberedObject, StateError};
use super::Sqlite;

const COLUMNS: &str = "key, size, etag, version, modified, sha256, first_seen, first_read, \
    last_read, findings, change, changed_at, size_before, etag_before, sha256_after, absent_since";

const UPSERT: &str = "INSERT INTO objects (repository_id, key, size, etag, version, modified, \
    sha256, first_seen, first_read, last_read, findings, change, changed_at, size_before, \
    etag_before, sha256_after, absent_since) \
    SELECT ?1, value->>'key', value->>'size', value->>'etag', value->>'version', \
    value->>'modified', unhex(value->>'sha256'), value->>'first_seen', value->>'first_read', \
    value->>'last_read', value->>'findings', value->>'change', value->>'changed_at', \
    value->>'size_before', value->>'etag_before', unhex(value->>'sha256_after'), \
    value->>'absent_since' FROM json_each(?2) WHERE true \
    ON CONFLICT (repository_id, key) DO UPDATE SET size = excluded.size, etag = excluded.etag, \
    version = excluded.version, modified = excluded.modified, sha256 = excluded.sha256, \
    first_seen = excluded.first_seen, first_read = excluded.first_read, \
    last_read = excluded.last_read, findings = excluded.findings, change = excluded.change, \
    changed_at = excluded.changed_at, size_before = excluded.size_before, \
    etag_before = excluded.etag_before, sha256_after = excluded.sha256_after, \
    absent_since = excluded.absent_since";

impl Sqlite {
    pub(in super::super) async fn objects_lookup(
        &self,
        location: &str,
        keys: &[String],
    ) -> Result<Vec<RememberedObject>, StateError> {
        let Some(repository) = self.repository(location).await? else {
            return Ok(Vec::new());
        };
        let keys = self.json(&keys)?;
        let rows = lookup(&self.readers, repository, &keys).await;
        self.remembered(&rows.map_err(self.reading())?)
    }

    /// What to write is decided between reading and writing, with no other writer between.
    pub(in super::super) async fn objects_update(
        &self,
        location: &str,
        keys: &[String],
        decide: &mut (dyn FnMut(Vec<RememberedObject>) -> Vec<RememberedObject> + Send),
    ) -> Result<(), StateError> {
        let mut transaction = self.begin().await?;
        let repository: i64 = sqlx::query_scalar(
            "INSERT INTO repositories (location) VALUES (?1) \
             ON CONFLICT (location) DO UPDATE SET location = excluded.location RETURNING id",
        )
        .bind(location)
        .fetch_one(&mut *transaction)
        .await
        .map_err(self.writing())?;
        let keys = self.json(&keys)?;
        let rows = lookup(&mut *transaction, repository, &keys).await;
        let known = self.remembered(&rows.map_err(self.writing())?)?;
        let changed = decide(known);
        if !changed.is_empty() {
            let rows = changed
                .iter()
                .map(|object| ObjectRow::new(object, |all| self.json(all)))
                .collect::<Result<Vec<_>, _>>()?;
            sqlx::query(UPSERT)
                .bind(repository)
                .bind(self.json(&rows)?)
                .execute(&mut *transaction)
                .await
                .map_err(self.writing())?;
        }
        transaction.commit().await.map_err(self.writing())
    }

    pub(in super::super) async fn objects_keys(
        &self,
        location: &str,
        after: &str,
        limit: u32,
    ) -> Result<Vec<String>, StateError> {
        sqlx::query_scalar(
            "SELECT key FROM objects WHERE repository_id = \
             (SELECT id FROM repositories WHERE location = ?1) \
             AND key > ?2 AND absent_since IS NULL ORDER BY key LIMIT ?3",
        )
        .bind(location)
        .bind(after)
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await
        .map_err(self.reading())
    }

    pub(in super::super) async fn objects_marked(
        &self,
        location: &str,
        limit: u32,
    ) -> Result<Vec<RememberedObject>, StateError> {
        let Some(repository) = self.repository(location).await? else {
            return Ok(Vec::new());
        };
        // Each half by its own small index, and no more than can be shown.
        let half = |column: &str| {
            format!(
                "SELECT * FROM (SELECT {COLUMNS} FROM objects WHERE repository_id = ?1 \
                 AND {column} IS NOT NULL AND absent_since IS NULL ORDER BY key LIMIT ?2)"
            )
        };
        let sql = format!(
            "{} UNION {} ORDER BY key LIMIT ?2",
            half("change"),
            half("findings")
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(repository)
            .bind(i64::from(limit))
            .fetch_all(&self.readers)
            .await
            .map_err(self.reading())?;
        self.remembered(&rows)
    }

    pub(in super::super) async fn objects_summary(
        &self,
        location: &str,
    ) -> Result<ObjectSummary, StateError> {
        let row = sqlx::query(
            "SELECT count(*) FILTER (WHERE absent_since IS NULL) AS objects, \
             count(*) FILTER (WHERE absent_since IS NULL AND last_read IS NULL) AS unread, \
             min(last_read) FILTER (WHERE absent_since IS NULL) AS oldest_read, \
             count(change) FILTER (WHERE absent_since IS NULL) AS changed, \
             count(findings) FILTER (WHERE absent_since IS NULL) AS damaged, \
             count(absent_since) AS absent FROM objects WHERE repository_id = \
             (SELECT id FROM repositories WHERE location = ?1)",
        )
        .bind(location)
        .fetch_one(&self.readers)
        .await
        .map_err(self.reading())?;
        let count = |column: &str| Columns::of(&row, self).count(column);
        Ok(ObjectSummary {
            objects: count("objects")?,
            unread: count("unread")?,
            oldest_read: Columns::of(&row, self).moment("oldest_read")?,
            changed: count("changed")?,
            damaged: count("damaged")?,
            absent: count("absent")?,
        })
    }

    pub(in super::super) async fn objects_forget_absent(
        &self,
        location: &str,
        before: DateTime<Utc>,
    ) -> Result<u64, StateError> {
        let done = sqlx::query(
            "DELETE FROM objects WHERE repository_id = \
             (SELECT id FROM repositories WHERE location = ?1) AND absent_since < ?2",
        )
        .bind(location)
        .bind(before.timestamp_micros())
        .execute(&self.writer)
        .await
        .map_err(self.writing())?;
        Ok(done.rows_affected())
    }

    pub(in super::super) async fn read_rate(
        &self,
        location: &str,
    ) -> Result<Option<ReadRate>, StateError> {
        let row = sqlx::query("SELECT read_bytes, read_ms FROM repositories WHERE location = ?1")
            .bind(location)
            .fetch_optional(&self.readers)
            .await
            .map_err(self.reading())?;
        let Some(row) = row else { return Ok(None) };
        let rate = ReadRate {
            bytes: Columns::of(&row, self).count("read_bytes")?,
            millis: Columns::of(&row, self).count("read_ms")?,
        };
        Ok((rate.millis > 0 && rate.bytes > 0).then_some(rate))
    }

    pub(in super::super) async fn keep_read_rate(
        &self,
        location: &str,
        rate: ReadRate,
    ) -> Result<(), StateError> {
        sqlx::query("UPDATE repositories SET read_bytes = ?2, read_ms = ?3 WHERE location = ?1")
            .bind(location)
            .bind(signed(rate.bytes))
            .bind(signed(rate.millis))
            .execute(&self.writer)
            .await
            .map_err(self.writing())?;
        Ok(())
    }

    async fn repository(&self, location: &str) -> Result<Option<i64>, StateError> {
        sqlx::query_scalar("SELECT id FROM repositories WHERE location = ?1")
            .bind(location)
            .fetch_optional(&self.readers)
            .await
            .map_err(self.reading())
    }

    fn remembered(&self, rows: &[SqliteRow]) -> Result<Vec<RememberedObject>, StateError> {
        rows.iter()
            .map(|row| object_row::object(&Columns::of(row, self)))
            .collect()
    }
}

async fn lookup<'c>(
    executor: impl Executor<'c, Database = Driver>,
    repository: i64,
    keys: &str,
) -> Result<Vec<SqliteRow>, sqlx::Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM objects WHERE repository_id = ?1 \
         AND key IN (SELECT value FROM json_each(?2))"
    );
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(repository)
        .bind(keys)
        .fetch_all(executor)
        .await
}
