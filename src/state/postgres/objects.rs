//! What is remembered of objects. Rows travel as one JSON text per batch, as they do with
//! SQLite: a statement for each would take ten times as long.

use chrono::{DateTime, Utc};
use sqlx::postgres::PgRow;
use sqlx::{Executor, Postgres as Driver};

use super::super::columns::Columns;
use super::super::number::signed;
use super::super::object_row::{self, ObjectRow};
use super::super::{ObjectSummary, ReadRate, RememberedObject, StateError};
use super::Postgres;
use super::patience::limited;

const COLUMNS: &str = "key, size, etag, version, modified, sha256, first_seen, first_read, \
    last_read, findings::text AS findings, change, changed_at, size_before, etag_before, \
    sha256_after, absent_since";

const UPSERT: &str = "INSERT INTO objects (repository_id, key, size, etag, version, modified, \
    sha256, first_seen, first_read, last_read, findings, change, changed_at, size_before, \
    etag_before, sha256_after, absent_since) \
    SELECT $1, key, size, etag, version, modified, decode(sha256, 'hex'), first_seen, first_read, \
    last_read, findings::json, change, changed_at, size_before, etag_before, \
    decode(sha256_after, 'hex'), absent_since FROM json_to_recordset($2::json) AS r( \
    key text, size bigint, etag text, version text, modified bigint, sha256 text, \
    first_seen bigint, first_read bigint, last_read bigint, findings text, change text, \
    changed_at bigint, size_before bigint, etag_before text, sha256_after text, \
    absent_since bigint) \
    ON CONFLICT (repository_id, key) DO UPDATE SET size = excluded.size, etag = excluded.etag, \
    version = excluded.version, modified = excluded.modified, sha256 = excluded.sha256, \
    first_seen = excluded.first_seen, first_read = excluded.first_read, \
    last_read = excluded.last_read, findings = excluded.findings, change = excluded.change, \
    changed_at = excluded.changed_at, size_before = excluded.size_before, \
    etag_before = excluded.etag_before, sha256_after = excluded.sha256_after, \
    absent_since = excluded.absent_since";

impl Postgres {
    pub(in super::super) async fn objects_lookup(
        &self,
        location: &str,
        keys: &[String],
    ) -> Result<Vec<RememberedObject>, StateError> {
        let rows = self
            .patiently(|| async {
                let Some(repository) = self.repository(location).await? else {
                    return Ok(Vec::new());
                };
                lookup(&self.pool, repository, keys)
                    .await
                    .map_err(self.reading())
            })
            .await?;
        self.remembered(&rows)
    }

    /// What to write is decided between reading and writing, with no other writer between.
    pub(in super::super) async fn objects_update(
        &self,
        location: &str,
        keys: &[String],
        decide: &mut (dyn FnMut(Vec<RememberedObject>) -> Vec<RememberedObject> + Send),
    ) -> Result<(), StateError> {
        let mut wanted = None;
        let mut wait = self.waiting();
        loop {
            let attempt = self.try_objects_update(location, keys, decide, &mut wanted);
            match limited(self, attempt).await {
                Ok(()) => return Ok(()),
                Err(error) => wait.after(error).await?,
            }
        }
    }

    /// `wanted` is what an attempt before this one wanted to write.
    async fn try_objects_update(
        &self,
        location: &str,
        keys: &[String],
        decide: &mut (dyn FnMut(Vec<RememberedObject>) -> Vec<RememberedObject> + Send),
        wanted: &mut Option<Vec<RememberedObject>>,
    ) -> Result<(), StateError> {
        let mut transaction = self.begin().await?;
        // Locked until the end, so that nobody else writes in between.
        let repository = loop {
            let found: Option<i64> =
                sqlx::query_scalar("SELECT id FROM repositories WHERE location = $1 FOR UPDATE")
                    .bind(location)
                    .fetch_optional(&mut *transaction)
                    .await
                    .map_err(self.writing())?;
            if let Some(id) = found {
                break id;
            }
            sqlx::query(
                "INSERT INTO repositories (location) VALUES ($1) ON CONFLICT (location) DO NOTHING",
            )
            .bind(location)
            .execute(&mut *transaction)
            .await
            .map_err(self.writing())?;
        };
        let rows = lookup(&mut *transaction, repository, keys).await;
        let known = self.remembered(&rows.map_err(self.writing())?)?;
        // Written already, by an attempt whose end was not heard of? Then it must not be
        // decided on again.
        if let Some(wanted) = wanted
            && wanted.iter().all(|object| known.contains(object))
        {
            return Ok(());
        }
        let changed = decide(known);
        if !changed.is_empty() {
            let rows = changed
                .iter()
                // The last of a key counts, and one order keeps writers from deadlocks.
                .map(|object| Ok((&object.key, ObjectRow::new(object, |all| self.json(all))?)))
                .collect::<Result<std::collections::BTreeMap<_, _>, StateError>>()?;
            let rows: Vec<_> = rows.values().collect();
            sqlx::query(UPSERT)
                .bind(repository)
                .bind(self.json(&rows)?)
                .execute(&mut *transaction)
                .await
                .map_err(self.writing())?;
        }
        *wanted = Some(changed);
        transaction.commit().await.map_err(self.writing())
    }

    pub(in super::super) async fn objects_keys(
        &self,
        location: &str,
        after: &str,
        limit: u32,
    ) -> Result<Vec<String>, StateError> {
        self.patiently(|| async {
            sqlx::query_scalar(
                "SELECT key FROM objects WHERE repository_id = \
                 (SELECT id FROM repositories WHERE location = $1) \
                 AND key > $2 AND absent_since IS NULL ORDER BY key LIMIT $3",
            )
            .bind(location)
            .bind(after)
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await
            .map_err(self.reading())
        })
        .await
    }

    pub(in super::super) async fn objects_marked(
        &self,
        location: &str,
        limit: u32,
    ) -> Result<Vec<RememberedObject>, StateError> {
        // Each half by its own small index, and no more than can be shown.
        let half = |mark: &str, others: &str| {
            format!(
                "(SELECT {COLUMNS} FROM objects WHERE repository_id = \
                 (SELECT id FROM repositories WHERE location = $1) \
                 AND {mark} IS NOT NULL{others} AND absent_since IS NULL ORDER BY key LIMIT $2)"
            )
        };
        let sql = format!(
            "{} UNION ALL {} ORDER BY key LIMIT $2",
            half("change", ""),
            half("findings", " AND change IS NULL")
        );
        let rows = self
            .patiently(|| async {
                sqlx::query(sqlx::AssertSqlSafe(sql.clone()))
                    .bind(location)
                    .bind(i64::from(limit))
                    .fetch_all(&self.pool)
                    .await
                    .map_err(self.reading())
            })
            .await?;
        self.remembered(&rows)
    }

    pub(in super::super) async fn objects_summary(
        &self,
        location: &str,
    ) -> Result<ObjectSummary, StateError> {
        let row = self
            .patiently(|| async {
                sqlx::query(
                    "SELECT count(*) FILTER (WHERE absent_since IS NULL) AS objects, \
                     count(*) FILTER (WHERE absent_since IS NULL AND last_read IS NULL) AS unread, \
                     min(last_read) FILTER (WHERE absent_since IS NULL) AS oldest_read, \
                     count(change) FILTER (WHERE absent_since IS NULL) AS changed, \
                     count(findings) FILTER (WHERE absent_since IS NULL) AS damaged, \
                     count(absent_since) AS absent FROM objects WHERE repository_id = \
                     (SELECT id FROM repositories WHERE location = $1)",
                )
                .bind(location)
                .fetch_one(&self.pool)
                .await
                .map_err(self.reading())
            })
            .await?;
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
        self.patiently(|| async {
            let done = sqlx::query(
                "DELETE FROM objects WHERE repository_id = \
                 (SELECT id FROM repositories WHERE location = $1) AND absent_since < $2",
            )
            .bind(location)
            .bind(before.timestamp_micros())
            .execute(&self.pool)
            .await
            .map_err(self.writing())?;
            Ok(done.rows_affected())
        })
        .await
    }

    pub(in super::super) async fn read_rate(
        &self,
        location: &str,
    ) -> Result<Option<ReadRate>, StateError> {
        let row = self
            .patiently(|| async {
                sqlx::query("SELECT read_bytes, read_ms FROM repositories WHERE location = $1")
                    .bind(location)
                    .fetch_optional(&self.pool)
                    .await
                    .map_err(self.reading())
            })
            .await?;
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
        self.patiently(|| async {
            sqlx::query("UPDATE repositories SET read_bytes = $2, read_ms = $3 WHERE location = $1")
                .bind(location)
                .bind(signed(rate.bytes))
                .bind(signed(rate.millis))
                .execute(&self.pool)
                .await
                .map_err(self.writing())
        })
        .await?;
        Ok(())
    }

    async fn repository(&self, location: &str) -> Result<Option<i64>, StateError> {
        sqlx::query_scalar("SELECT id FROM repositories WHERE location = $1")
            .bind(location)
            .fetch_optional(&self.pool)
            .await
            .map_err(self.reading())
    }

    fn remembered(&self, rows: &[PgRow]) -> Result<Vec<RememberedObject>, StateError> {
        rows.iter()
            .map(|row| object_row::object(&Columns::of(row, self)))
            .collect()
    }
}

async fn lookup<'c>(
    executor: impl Executor<'c, Database = Driver>,
    repository: i64,
    keys: &[String],
) -> Result<Vec<PgRow>, sqlx::Error> {
    let sql =
        format!("SELECT {COLUMNS} FROM objects WHERE repository_id = $1 AND key = ANY($2::text[])");
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(repository)
        .bind(keys)
        .fetch_all(executor)
        .await
}
