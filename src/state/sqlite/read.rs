//! What is read.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::super::time::{from_text, to_text};
use super::super::{
    HistoryFilter, Report, Run, RunKind, RunStatus, StateError, StateErrorKind, StoredDrill,
};
use super::Sqlite;
use crate::evidence::Verdict;

const HISTORY: &str = "SELECT id, kind, cluster, copy, location, started_at, finished_at, status, \
    verdict, exit_code, summary, version, \
    (SELECT count(*) FROM findings WHERE findings.run_id = runs.id) AS findings \
    FROM runs \
    WHERE (?1 IS NULL OR cluster = ?1 OR location = ?1) AND (?2 IS NULL OR kind = ?2) \
    AND (?3 IS NULL OR verdict = ?3) AND (?4 IS NULL OR started_at >= ?4) \
    ORDER BY started_at DESC, id DESC LIMIT ?5";

const FIND: &str = "SELECT id, kind, cluster, copy, location, started_at, finished_at, status, \
    verdict, exit_code, summary, version, \
    (SELECT count(*) FROM findings WHERE findings.run_id = runs.id) AS findings \
    FROM runs WHERE kind = ?1 AND substr(id, 1, length(?2)) = ?2 \
    ORDER BY started_at DESC, id DESC LIMIT ?3";

const VERDICTS: &str = "SELECT id, verdict FROM runs \
    WHERE verdict IS NOT NULL AND id IN (SELECT value FROM json_each(?1))";

impl Sqlite {
    pub(in super::super) async fn history(
        &self,
        filter: &HistoryFilter,
    ) -> Result<Vec<Run>, StateError> {
        // SQLite takes a negative limit for none.
        let limit = if filter.limit == 0 {
            -1
        } else {
            i64::from(filter.limit)
        };
        let rows = sqlx::query(HISTORY)
            .bind(filter.source.as_deref())
            .bind(filter.kind.map(RunKind::as_str))
            .bind(filter.verdict.map(crate::evidence::Verdict::as_str))
            .bind(filter.since.map(to_text))
            .bind(limit)
            .fetch_all(&self.readers)
            .await
            .map_err(self.reading())?;
        rows.iter().map(|row| self.run(row)).collect()
    }

    pub(in super::super) async fn find_runs(
        &self,
        kind: RunKind,
        beginning: &str,
    ) -> Result<Vec<Run>, StateError> {
        let (beginning, limit) = if beginning == "last" {
            ("", 1_i64)
        } else {
            (beginning, 10)
        };
        let rows = sqlx::query(FIND)
            .bind(kind.as_str())
            .bind(beginning.to_ascii_lowercase())
            .bind(limit)
            .fetch_all(&self.readers)
            .await
            .map_err(self.reading())?;
        rows.iter().map(|row| self.run(row)).collect()
    }

    pub(in super::super) async fn verdicts(
        &self,
        ids: &[Uuid],
    ) -> Result<BTreeMap<Uuid, Verdict>, StateError> {
        let list: Vec<String> = ids.iter().map(Uuid::to_string).collect();
        let list = serde_json::Value::from(list).to_string();
        let rows: Vec<(String, String)> = sqlx::query_as(VERDICTS)
            .bind(list)
            .fetch_all(&self.readers)
            .await
            .map_err(self.reading())?;
        rows.iter()
            .map(|(id, verdict)| {
                let known: Uuid = id.parse().map_err(|_| self.strange(id))?;
                let verdict: Verdict = verdict.parse().map_err(|_| self.strange(verdict))?;
                Ok((known, verdict))
            })
            .collect()
    }

    pub(in super::super) async fn drill(&self, run: Run) -> Result<StoredDrill, StateError> {
        let id = run.id.to_string();
        let bodies: Vec<String> =
            sqlx::query_scalar("SELECT body FROM findings WHERE run_id = ?1 ORDER BY position")
                .bind(&id)
                .fetch_all(&self.readers)
                .await
                .map_err(self.reading())?;
        let findings = bodies
            .iter()
            .map(|body| self.parse(body))
            .collect::<Result<_, _>>()?;
        let report: Option<(String, String)> =
            sqlx::query_as("SELECT schema, body FROM reports WHERE run_id = ?1")
                .bind(&id)
                .fetch_optional(&self.readers)
                .await
                .map_err(self.reading())?;
        let record: Option<(String, String)> = sqlx::query_as(
            "SELECT body, sha256 FROM records WHERE run_id = ?1 ORDER BY sequence DESC LIMIT 1",
        )
        .bind(&id)
        .fetch_optional(&self.readers)
        .await
        .map_err(self.reading())?;
        let report = match report {
            Some((schema, body)) => Some(Report {
                schema,
                body: self.parse(&body)?,
            }),
            None => None,
        };
        let (record, record_sha256) = match record {
            Some((body, sha256)) => (Some(self.parse(&body)?), Some(sha256)),
            None => (None, None),
        };
        Ok(StoredDrill {
            run,
            findings,
            report,
            record,
            record_sha256,
        })
    }

    pub(super) fn parse<T: DeserializeOwned>(&self, body: &str) -> Result<T, StateError> {
        serde_json::from_str(body).map_err(|error| self.strange(&error.to_string()))
    }

    /// A row that this version did not write so.
    pub(in super::super) fn strange(&self, what: &str) -> StateError {
        StateError::new(
            "read",
            &self.path,
            StateErrorKind::Corrupt,
            format!("it holds something unknown: {what}"),
        )
    }

    fn run(&self, row: &SqliteRow) -> Result<Run, StateError> {
        let text = |column: &str| row.try_get::<String, _>(column).map_err(self.reading());
        let optional = |column: &str| {
            row.try_get::<Option<String>, _>(column)
                .map_err(self.reading())
        };
        let number = |column: &str| {
            row.try_get::<Option<i64>, _>(column)
                .map_err(self.reading())
        };
        let id = text("id")?;
        let kind = text("kind")?;
        let status = text("status")?;
        let started_at = text("started_at")?;
        let time = |text: &str| from_text(text).ok_or_else(|| self.strange(text));
        Ok(Run {
            id: id.parse().map_err(|_| self.strange(&id))?,
            kind: RunKind::from_word(&kind).ok_or_else(|| self.strange(&kind))?,
            cluster: text("cluster")?,
            copy: text("copy")?,
            location: text("location")?,
            started_at: time(&started_at)?,
            finished_at: optional("finished_at")?.as_deref().map(time).transpose()?,
            status: RunStatus::from_word(&status).ok_or_else(|| self.strange(&status))?,
            verdict: optional("verdict")?
                .map(|word| word.parse().map_err(|_| self.strange(&word)))
                .transpose()?,
            exit_code: number("exit_code")?.and_then(|code| u8::try_from(code).ok()),
            summary: text("summary")?,
            findings: number("findings")?
                .and_then(|count| u64::try_from(count).ok())
                .unwrap_or(0),
            version: text("version")?,
        })
    }
}
