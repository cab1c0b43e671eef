//! What is remembered of copies. Rows travel as one JSON text per batch, as those of objects
//! do.

use chrono::{DateTime, Utc};
use sqlx::Row as _;

use super::super::columns::Columns;
use super::super::copy_row::{self, CopyRow};
use super::super::{CopyMark, CopyPair, CopySummary, RememberedCopy, StateError};
use super::Sqlite;

const COLUMNS: &str = "key, size, sha256, source_etag, source_version, source_modified, \
    target_etag, target_version, copied_at, read_back_at, expired_at, alarm";

const UPSERT: &str = "INSERT INTO copies (pair_id, key, size, sha256, source_etag, \
    source_version, source_modified, target_etag, target_version, source_mark, target_mark, \
    copied_at, read_back_at, expired_at, alarm) \
    SELECT ?1, value->>'key', value->>'size', unhex(value->>'sha256'), value->>'source_etag', \
    value->>'source_version', value->>'source_modified', value->>'target_etag', \
    value->>'target_version', value->>'source_mark', value->>'target_mark', \
    value->>'copied_at', value->>'read_back_at', value->>'expired_at', value->>'alarm' \
    FROM json_each(?2) WHERE true \
    ON CONFLICT (pair_id, key) DO UPDATE SET size = excluded.size, sha256 = excluded.sha256, \
    source_etag = excluded.source_etag, source_version = excluded.source_version, \
    source_modified = excluded.source_modified, target_etag = excluded.target_etag, \
    target_version = excluded.target_version, source_mark = excluded.source_mark, \
    target_mark = excluded.target_mark, copied_at = excluded.copied_at, \
    read_back_at = excluded.read_back_at, expired_at = excluded.expired_at, \
    alarm = excluded.alarm";

impl Sqlite {
    pub(in super::super) async fn copy_pair(
        &self,
        source: &str,
        target: &str,
    ) -> Result<CopyPair, StateError> {
        let id = sqlx::query_scalar(
            "INSERT INTO copy_pairs (source, target) VALUES (?1, ?2) \
             ON CONFLICT (source, target) DO UPDATE SET source = excluded.source RETURNING id",
        )
        .bind(source)
        .bind(target)
        .fetch_one(&self.writer)
        .await
        .map_err(self.writing())?;
        Ok(CopyPair {
            id,
            source: source.to_owned(),
            target: target.to_owned(),
        })
    }

    pub(in super::super) async fn copies_page(
        &self,
        pair: &CopyPair,
        after: &str,
        until: Option<&str>,
        limit: u32,
    ) -> Result<Vec<CopyMark>, StateError> {
        // One row with a JSON text: a row for each would take ten times as long.
        let page: String = sqlx::query_scalar(
            "SELECT json_group_array(json_array(key, source_mark, target_mark, alarmed, expired)) \
             FROM (SELECT key, source_mark, target_mark, alarm IS NOT NULL AS alarmed, \
             expired_at IS NOT NULL AS expired FROM copies \
             WHERE pair_id = ?1 AND key > ?2 AND key <= coalesce(?3, x'') ORDER BY key LIMIT ?4)",
        )
        .bind(pair.id)
        .bind(after)
        // Without an end any blob: all text sorts before it.
        .bind(until)
        .bind(i64::from(limit))
        .fetch_one(&self.readers)
        .await
        .map_err(self.reading())?;
        let mut rows: Vec<(String, i64, i64, u8, u8)> = self.parse(&page)?;
        // An aggregate promises no order.
        rows.sort_unstable();
        let marks = rows
            .into_iter()
            .map(|(key, source, target, alarmed, expired)| CopyMark {
                key,
                source,
                target,
                alarmed: alarmed != 0,
                expired: expired != 0,
            });
        Ok(marks.collect())
    }

    pub(in super::super) async fn copies_lookup(
        &self,
        pair: &CopyPair,
        keys: &[String],
    ) -> Result<Vec<RememberedCopy>, StateError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM copies WHERE pair_id = ?1 \
             AND key IN (SELECT value FROM json_each(?2))"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(pair.id)
            .bind(self.json(&keys)?)
            .fetch_all(&self.readers)
            .await
            .map_err(self.reading())?;
        rows.iter()
            .map(|row| copy_row::copy(&Columns::of(row, self)))
            .collect()
    }

    pub(in super::super) async fn copies_write(
        &self,
        pair: &CopyPair,
        copies: &[RememberedCopy],
    ) -> Result<(), StateError> {
        let rows = copies
            .iter()
            .map(|copy| CopyRow::new(copy, |alarm| self.json(alarm)))
            .collect::<Result<Vec<_>, _>>()?;
        sqlx::query(UPSERT)
            .bind(pair.id)
            .bind(self.json(&rows)?)
            .execute(&self.writer)
            .await
            .map_err(self.writing())?;
        Ok(())
    }

    pub(in super::super) async fn copies_alarmed(
        &self,
        pair: &CopyPair,
        limit: u32,
    ) -> Result<Vec<RememberedCopy>, StateError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM copies WHERE pair_id = ?1 AND alarm IS NOT NULL \
             ORDER BY key LIMIT ?2"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(pair.id)
            .bind(i64::from(limit))
            .fetch_all(&self.readers)
            .await
            .map_err(self.reading())?;
        rows.iter()
            .map(|row| copy_row::copy(&Columns::of(row, self)))
            .collect()
    }

    pub(in super::super) async fn copies_summary(
        &self,
        pair: &CopyPair,
    ) -> Result<CopySummary, StateError> {
        let row = sqlx::query(
            "SELECT count(*) AS objects, coalesce(sum(size), 0) AS bytes, \
             count(sha256) AS digests, count(read_back_at) AS read_back, \
             count(alarm) AS alarmed, max(copied_at) AS newest \
             FROM copies WHERE pair_id = ?1 AND expired_at IS NULL",
        )
        .bind(pair.id)
        .fetch_one(&self.readers)
        .await
        .map_err(self.reading())?;
        let count = |column: &str| Columns::of(&row, self).count(column);
        Ok(CopySummary {
            objects: count("objects")?,
            bytes: count("bytes")?,
            digests: count("digests")?,
            read_back: count("read_back")?,
            alarmed: count("alarmed")?,
            newest: Columns::of(&row, self).moment("newest")?,
        })
    }

    pub(in super::super) async fn copy_front(
        &self,
        pair: &CopyPair,
    ) -> Result<Option<(DateTime<Utc>, String)>, StateError> {
        let row = sqlx::query("SELECT compared_at, front FROM copy_pairs WHERE id = ?1")
            .bind(pair.id)
            .fetch_one(&self.readers)
            .await
            .map_err(self.reading())?;
        let front: Option<String> = row.try_get("front").map_err(self.reading())?;
        Ok(Columns::of(&row, self).moment("compared_at")?.zip(front))
    }

    pub(in super::super) async fn keep_copy_front(
        &self,
        pair: &CopyPair,
        compared_at: DateTime<Utc>,
        front: Option<&str>,
    ) -> Result<(), StateError> {
        sqlx::query("UPDATE copy_pairs SET compared_at = ?2, front = ?3 WHERE id = ?1")
            .bind(pair.id)
            .bind(compared_at.timestamp_micros())
            .bind(front)
            .execute(&self.writer)
            .await
            .map_err(self.writing())?;
        Ok(())
    }
}
