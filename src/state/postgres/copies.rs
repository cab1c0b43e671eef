//! What is remembered of copies, and who copies.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::Row as _;
use uuid::Uuid;

use super::super::columns::Columns;
use super::super::copy_row::{self, CopyRow};
use super::super::{CopyMark, CopyPair, CopySummary, RememberedCopy, StateError};
use super::write::LIVES;
use super::{Claim, Postgres};

const COLUMNS: &str = "key, size, sha256, source_etag, source_version, source_modified, \
    target_etag, target_version, copied_at, read_back_at, expired_at, alarm::text AS alarm";

const UPSERT: &str = "INSERT INTO copies (pair_id, key, size, sha256, source_etag, \
    source_version, source_modified, target_etag, target_version, source_mark, target_mark, \
    copied_at, read_back_at, expired_at, alarm) \
    SELECT $1, key, size, decode(sha256, 'hex'), source_etag, source_version, source_modified, \
    target_etag, target_version, source_mark, target_mark, copied_at, read_back_at, expired_at, \
    alarm::json FROM json_to_recordset($2::json) AS r(key text, size bigint, sha256 text, \
    source_etag text, source_version text, source_modified bigint, target_etag text, \
    target_version text, source_mark bigint, target_mark bigint, copied_at bigint, \
    read_back_at bigint, expired_at bigint, alarm text) \
    ON CONFLICT (pair_id, key) DO UPDATE SET size = excluded.size, sha256 = excluded.sha256, \
    source_etag = excluded.source_etag, source_version = excluded.source_version, \
    source_modified = excluded.source_modified, target_etag = excluded.target_etag, \
    target_version = excluded.target_version, source_mark = excluded.source_mark, \
    target_mark = excluded.target_mark, copied_at = excluded.copied_at, \
    read_back_at = excluded.read_back_at, expired_at = excluded.expired_at, \
    alarm = excluded.alarm";

impl Postgres {
    /// Takes a pair if nobody has it whose process lives.
    pub(in super::super) async fn hold_pair(
        &self,
        pair: &CopyPair,
    ) -> Result<Option<Claim>, StateError> {
        let process = self.process().await?;
        let hold = Uuid::now_v7();
        let claim = process.claim_pair(hold);
        let sql = format!(
            "INSERT INTO pair_holders AS held (pair_id, hold_id, process_id) VALUES ($1, $2, $3) \
             ON CONFLICT (pair_id) DO UPDATE SET hold_id = $2, process_id = $3 \
             WHERE held.hold_id = $2 OR NOT EXISTS (SELECT FROM processes \
             WHERE processes.id = held.process_id AND {LIVES})"
        );
        let taken = self
            .patiently(|| async {
                sqlx::query(sqlx::AssertSqlSafe(sql.clone()))
                    .bind(pair.id)
                    .bind(hold)
                    .bind(process.id)
                    .execute(&self.pool)
                    .await
                    .map_err(self.writing())
            })
            .await?;
        if taken.rows_affected() == 1 {
            return Ok(Some(claim));
        }
        claim.done();
        Ok(None)
    }

    pub(in super::super) async fn copy_pair(
        &self,
        source: &str,
        target: &str,
    ) -> Result<CopyPair, StateError> {
        let id = self
            .patiently(|| async {
                sqlx::query_scalar(
                    "INSERT INTO copy_pairs (source, target) VALUES ($1, $2) \
                     ON CONFLICT (source, target) DO UPDATE SET source = excluded.source \
                     RETURNING id",
                )
                .bind(source)
                .bind(target)
                .fetch_one(&self.pool)
                .await
                .map_err(self.writing())
            })
            .await?;
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
        let rows: Vec<(String, i64, i64, bool, bool)> = self
            .patiently(|| async {
                sqlx::query_as(
                    "SELECT key, source_mark, target_mark, alarm IS NOT NULL, \
                     expired_at IS NOT NULL FROM copies WHERE pair_id = $1 AND key > $2 \
                     AND ($3::text IS NULL OR key <= $3) ORDER BY key LIMIT $4",
                )
                .bind(pair.id)
                .bind(after)
                .bind(until)
                .bind(i64::from(limit))
                .fetch_all(&self.pool)
                .await
                .map_err(self.reading())
            })
            .await?;
        let marks = rows
            .into_iter()
            .map(|(key, source, target, alarmed, expired)| CopyMark {
                key,
                source,
                target,
                alarmed,
                expired,
            });
        Ok(marks.collect())
    }

    pub(in super::super) async fn copies_lookup(
        &self,
        pair: &CopyPair,
        keys: &[String],
    ) -> Result<Vec<RememberedCopy>, StateError> {
        let sql =
            format!("SELECT {COLUMNS} FROM copies WHERE pair_id = $1 AND key = ANY($2::text[])");
        let rows = self
            .patiently(|| async {
                sqlx::query(sqlx::AssertSqlSafe(sql.clone()))
                    .bind(pair.id)
                    .bind(keys)
                    .fetch_all(&self.pool)
                    .await
                    .map_err(self.reading())
            })
            .await?;
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
            // The last of a key counts, and one order keeps writers from deadlocks.
            .map(|copy| Ok((&copy.key, CopyRow::new(copy, |alarm| self.json(alarm))?)))
            .collect::<Result<BTreeMap<_, _>, StateError>>()?;
        let rows = self.json(&rows.values().collect::<Vec<_>>())?;
        self.patiently(|| async {
            sqlx::query(UPSERT)
                .bind(pair.id)
                .bind(&rows)
                .execute(&self.pool)
                .await
                .map_err(self.writing())
        })
        .await?;
        Ok(())
    }

    pub(in super::super) async fn copies_alarmed(
        &self,
        pair: &CopyPair,
        limit: u32,
    ) -> Result<Vec<RememberedCopy>, StateError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM copies WHERE pair_id = $1 AND alarm IS NOT NULL \
             ORDER BY key LIMIT $2"
        );
        let rows = self
            .patiently(|| async {
                sqlx::query(sqlx::AssertSqlSafe(sql.clone()))
                    .bind(pair.id)
                    .bind(i64::from(limit))
                    .fetch_all(&self.pool)
                    .await
                    .map_err(self.reading())
            })
            .await?;
        rows.iter()
            .map(|row| copy_row::copy(&Columns::of(row, self)))
            .collect()
    }

    pub(in super::super) async fn copies_summary(
        &self,
        pair: &CopyPair,
    ) -> Result<CopySummary, StateError> {
        let row = self
            .patiently(|| async {
                sqlx::query(
                    "SELECT count(*) AS objects, coalesce(sum(size), 0)::bigint AS bytes, \
                     count(sha256) AS digests, count(read_back_at) AS read_back, \
                     count(alarm) AS alarmed, max(copied_at) AS newest \
                     FROM copies WHERE pair_id = $1 AND expired_at IS NULL",
                )
                .bind(pair.id)
                .fetch_one(&self.pool)
                .await
                .map_err(self.reading())
            })
            .await?;
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
        let row = self
            .patiently(|| async {
                sqlx::query(
                    "SELECT compared_at, front::text AS front FROM copy_pairs WHERE id = $1",
                )
                .bind(pair.id)
                .fetch_one(&self.pool)
                .await
                .map_err(self.reading())
            })
            .await?;
        let front: Option<String> = row.try_get("front").map_err(self.reading())?;
        Ok(Columns::of(&row, self).moment("compared_at")?.zip(front))
    }

    pub(in super::super) async fn keep_copy_front(
        &self,
        pair: &CopyPair,
        compared_at: DateTime<Utc>,
        front: Option<&str>,
    ) -> Result<(), StateError> {
        self.patiently(|| async {
            sqlx::query("UPDATE copy_pairs SET compared_at = $2, front = $3::json WHERE id = $1")
                .bind(pair.id)
                .bind(compared_at.timestamp_micros())
                .bind(front)
                .execute(&self.pool)
                .await
                .map_err(self.writing())
        })
        .await?;
        Ok(())
    }
}
