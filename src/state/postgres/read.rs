//! What is read.

use std::collections::BTreeMap;

use sqlx::Row as _;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::super::{HistoryFilter, Report, Run, RunKind, RunStatus, StateError, StoredDrill};
use super::Postgres;
use crate::evidence::Verdict;

const HISTORY: &str = "SELECT id, kind, cluster, copy, location, started_at, finished_at, status, \
    verdict, exit_code, summary, version, \
    (SELECT count(*) FROM findings WHERE findings.run_id = runs.id) AS findings \
    FROM runs \
    WHERE ($1::text IS NULL OR cluster = $1 OR location = $1) AND ($2::text IS NULL OR kind = $2) \
    AND ($3::text IS NULL OR verdict = $3) AND ($4::timestamptz IS NULL OR started_at >= $4) \
    ORDER BY started_at DESC, id DESC LIMIT $5";

const FIND: &str = "SELECT id, kind, cluster, copy, location, started_at, finished_at, status, \
    verdict, exit_code, summary, version, \
    (SELECT count(*) FROM findings WHERE findings.run_id = runs.id) AS findings \
    FROM runs WHERE kind = $1 AND starts_with(id::text, $2) \
    ORDER BY started_at DESC, id DESC LIMIT $3";

const VERDICTS: &str = "SELECT id, verdict FROM runs \
    WHERE verdict IS NOT NULL AND id = ANY($1)";

impl Postgres {
    pub(in super::super) async fn history(
        &self,
        filter: &HistoryFilter,
    ) -> Result<Vec<Run>, StateError> {
        // PostgreSQL takes NULL for no limit.
        let limit = (filter.limit > 0).then(|| i64::from(filter.limit));
        let rows = self
            .patiently(|| async {
                sqlx::query(HISTORY)
                    .bind(filter.source.as_deref())
                    .bind(filter.kind.map(RunKind::as_str))
                    .bind(filter.verdict.map(crate::evidence::Verdict::as_str))
                    .bind(filter.since)
                    .bind(limit)
                    .fetch_all(&self.pool)
                    .await
                    .map_err(self.reading())
            })
            .await?;
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
        let rows = self
            .patiently(|| async {
                sqlx::query(FIND)
                    .bind(kind.as_str())
                    .bind(beginning.to_ascii_lowercase())
                    .bind(limit)
                    .fetch_all(&self.pool)
                    .await
                    .map_err(self.reading())
            })
            .await?;
        rows.iter().map(|row| self.run(row)).collect()
    }

    pub(in super::super) async fn verdicts(
        &self,
        ids: &[Uuid],
    ) -> Result<BTreeMap<Uuid, Verdict>, StateError> {
        let rows: Vec<(Uuid, String)> = self
            .patiently(|| async {
                sqlx::query_as(VERDICTS)
                    .bind(ids)
                    .fetch_all(&self.pool)
                    .await
                    .map_err(self.reading())
            })
            .await?;
        rows.into_iter()
            .map(|(id, verdict)| {
                let known: Verdict = verdict.parse().map_err(|_| self.strange(&verdict))?;
                Ok((id, known))
            })
            .collect()
    }

    pub(in super::super) async fn drill(&self, run: Run) -> Result<StoredDrill, StateError> {
        let id = run.id;
        let (bodies, report, record) = self.patiently(|| self.parts(id)).await?;
        let findings = bodies
            .iter()
            .map(|body| self.parse(body))
            .collect::<Result<_, _>>()?;
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

    /// Findings, report and record of a run, as text.
    async fn parts(
        &self,
        id: Uuid,
    ) -> Result<
        (
            Vec<String>,
            Option<(String, String)>,
            Option<(String, String)>,
        ),
        StateError,
    > {
        let findings = sqlx::query_scalar(
            "SELECT body::text FROM findings WHERE run_id = $1 ORDER BY position",
        )
        .bind(id)
        .fetch_all(&self.pool)
        .await
        .map_err(self.reading())?;
        let report = sqlx::query_as("SELECT schema, body::text FROM reports WHERE run_id = $1")
            .bind(id)
            .fetch_optional(&self.pool)
            .await
            .map_err(self.reading())?;
        let record = sqlx::query_as(
            "SELECT body::text, sha256 FROM records WHERE run_id = $1 \
             ORDER BY sequence DESC LIMIT 1",
        )
        .bind(id)
        .fetch_optional(&self.pool)
        .await
        .map_err(self.reading())?;
        Ok((findings, report, record))
    }

    fn run(&self, row: &PgRow) -> Result<Run, StateError> {
        let text = |column: &str| row.try_get::<String, _>(column).map_err(self.reading());
        let kind = text("kind")?;
        let status = text("status")?;
        let verdict: Option<String> = row.try_get("verdict").map_err(self.reading())?;
        let exit_code: Option<i64> = row.try_get("exit_code").map_err(self.reading())?;
        let findings: i64 = row.try_get("findings").map_err(self.reading())?;
        Ok(Run {
            id: row.try_get("id").map_err(self.reading())?,
            kind: RunKind::from_word(&kind).ok_or_else(|| self.strange(&kind))?,
            cluster: text("cluster")?,
            copy: text("copy")?,
            location: text("location")?,
            started_at: row.try_get("started_at").map_err(self.reading())?,
            finished_at: row.try_get("finished_at").map_err(self.reading())?,
            status: RunStatus::from_word(&status).ok_or_else(|| self.strange(&status))?,
            verdict: verdict
                .map(|word| word.parse().map_err(|_| self.strange(&word)))
                .transpose()?,
            exit_code: exit_code.and_then(|code| u8::try_from(code).ok()),
            summary: text("summary")?,
            findings: u64::try_from(findings).unwrap_or(0),
            version: text("version")?,
        })
    }
}
