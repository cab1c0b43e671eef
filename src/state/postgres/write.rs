//! What is written.

use std::borrow::Cow;
use std::sync::Arc;

use chrono::{DateTime, SubsecRound as _, Utc};
use sqlx::{Postgres as Driver, Transaction};
use uuid::Uuid;

use super::super::complete::{GONE, Gone, gone_in};
use super::super::database::values;
use super::super::hold::Hold;
use super::super::number::signed;
use super::super::store::Backend;
use super::super::{NewRun, Outcome, RunKind, RunningRun, StateError, StateErrorKind};
use super::Postgres;
use crate::evidence::{DrillRecord, RecordFile};

/// Whether the process of a row lives, by the server's clock.
pub(super) const LIVES: &str = "processes.beat_at > clock_timestamp() - interval '60 seconds'";

/// PostgreSQL's text cannot hold the character NUL, which others may.
pub(in super::super) fn text(text: &str) -> Cow<'_, str> {
    if text.contains('\0') {
        Cow::Owned(text.replace('\0', "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}

impl Postgres {
    pub(in super::super) async fn begin_run(&self, run: &NewRun) -> Result<RunningRun, StateError> {
        let id = Uuid::now_v7();
        // As exact as the database keeps it.
        let started_at = Utc::now().trunc_subsecs(6);
        let process = self.process().await?;
        // Given up should it fail half way.
        let hold = Hold::Process(process.claim_run(id));
        self.patiently(|| async {
            sqlx::query(
                "INSERT INTO runs (id, kind, cluster, copy, location, started_at, status, version, process_id) \
                 VALUES ($1, $2, $3, $4, $5, $6, 'running', $7, $8) ON CONFLICT (id) DO NOTHING",
            )
            .bind(id)
            .bind(run.kind.as_str())
            .bind(text(&run.cluster))
            .bind(text(&run.copy))
            .bind(text(&run.location))
            .bind(started_at)
            .bind(env!("CARGO_PKG_VERSION"))
            .bind(process.id)
            .execute(&self.pool)
            .await
            .map_err(self.writing())
        })
        .await?;
        Ok(RunningRun {
            id,
            kind: run.kind,
            cluster: run.cluster.clone(),
            copy: run.copy.clone(),
            started_at,
            hold,
        })
    }

    /// The rows of a run that ends.
    pub(in super::super) async fn finish_run(
        &self,
        transaction: &mut Transaction<'static, Driver>,
        run: &RunningRun,
        outcome: &Outcome,
        finished_at: DateTime<Utc>,
    ) -> Result<(), StateError> {
        let id = run.id;
        let process = self.process().await?.id;
        // Others may have taken this process for dead while the server could not be reached
        // from here; what it has done counts all the same.
        let changed = sqlx::query(
            "UPDATE runs SET status = 'finished', finished_at = $2, verdict = $3, exit_code = $4, summary = $5 \
             WHERE id = $1 AND (status = 'running' OR status = 'interrupted' AND process_id = $6)",
        )
        .bind(id)
        .bind(finished_at)
        .bind(outcome.verdict.map(crate::evidence::Verdict::as_str))
        .bind(i64::from(outcome.exit_code))
        .bind(text(&outcome.summary))
        .bind(process)
        .execute(&mut **transaction)
        .await
        .map_err(self.writing())?;
        if changed.rows_affected() != 1 {
            return Err(StateError::new(
                "write to",
                &*self.name,
                StateErrorKind::Refused,
                format!("run {id} is not under way"),
            ));
        }
        for (position, finding) in outcome.findings.iter().enumerate() {
            let body = self.json(finding)?;
            sqlx::query(
                "INSERT INTO findings (run_id, position, code, severity, object, body) \
                 VALUES ($1, $2, $3, $4, $5, $6::json)",
            )
            .bind(id)
            .bind(signed(position as u64))
            .bind(finding.code.as_str())
            .bind(finding.severity.as_str())
            .bind(text(&finding.object))
            .bind(body)
            .execute(&mut **transaction)
            .await
            .map_err(self.writing())?;
        }
        if let Some(report) = &outcome.report {
            sqlx::query("INSERT INTO reports (run_id, schema, body) VALUES ($1, $2, $3::json)")
                .bind(id)
                .bind(&report.schema)
                .bind(self.json(&report.body)?)
                .execute(&mut **transaction)
                .await
                .map_err(self.writing())?;
        }
        Ok(())
    }

    pub(in super::super) async fn record_drill(
        &self,
        run: &RunningRun,
        record: &DrillRecord,
        file: &RecordFile,
    ) -> Result<(), StateError> {
        self.patiently(|| self.try_record_drill(run.id, record, file))
            .await
    }

    async fn try_record_drill(
        &self,
        id: Uuid,
        record: &DrillRecord,
        file: &RecordFile,
    ) -> Result<(), StateError> {
        let mut transaction = self.begin().await?;
        self.record_rows(&mut transaction, id, record, file).await?;
        transaction.commit().await.map_err(self.writing())
    }

    /// The rows of a drill and its record.
    pub(in super::super) async fn record_rows(
        &self,
        transaction: &mut Transaction<'static, Driver>,
        id: Uuid,
        record: &DrillRecord,
        file: &RecordFile,
    ) -> Result<(), StateError> {
        // Done already, by an attempt whose end was not heard of?
        let done: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM records WHERE id = $1 AND run_id = $2 AND sha256 = $3)",
        )
        .bind(record.id)
        .bind(id)
        .bind(&file.sha256)
        .fetch_one(&mut **transaction)
        .await
        .map_err(self.writing())?;
        if done {
            return Ok(());
        }
        sqlx::query(
            "INSERT INTO drills (run_id, definition, target, backup_id, time_to_verified_ms, recovery_point_ms) \
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(id)
        .bind(text(&record.due.definition))
        .bind(text(&record.target.asked))
        .bind(record.source.backup.as_ref().map(|backup| text(&backup.id)))
        .bind(record.measurements.time_to_verified_ms.map(signed))
        .bind(record.measurements.recovery_point_ms.map(signed))
        .execute(&mut **transaction)
        .await
        .map_err(self.writing())?;
        for (position, phase) in record.phases.iter().enumerate() {
            sqlx::query(
                "INSERT INTO phases (run_id, position, name, started_at, duration_ms, outcome) \
                 VALUES ($1, $2, $3, $4, $5, $6)",
            )
            .bind(id)
            .bind(signed(position as u64))
            .bind(text(&phase.name))
            .bind(phase.started_at)
            .bind(signed(phase.duration_ms))
            .bind(phase.outcome.as_str())
            .execute(&mut **transaction)
            .await
            .map_err(self.writing())?;
        }
        for (position, check) in record.checks.iter().enumerate() {
            sqlx::query(
                "INSERT INTO checks (run_id, position, name, kind, verdict, message, duration_ms) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7)",
            )
            .bind(id)
            .bind(signed(position as u64))
            .bind(text(&check.name))
            .bind(text(&check.kind))
            .bind(check.verdict.as_str())
            .bind(text(&check.message))
            .bind(signed(check.duration_ms))
            .execute(&mut **transaction)
            .await
            .map_err(self.writing())?;
        }
        sqlx::query(
            "INSERT INTO records (id, run_id, schema, cluster, created_at, verdict, sha256, body) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8::json)",
        )
        .bind(record.id)
        .bind(id)
        .bind(&record.schema)
        .bind(text(&record.source.cluster))
        .bind(record.finished_at)
        .bind(record.verdict.as_str())
        .bind(&file.sha256)
        .bind(&file.text)
        .execute(&mut **transaction)
        .await
        .map_err(self.writing())?;
        Ok(())
    }

    /// Marks runs that were under way and whose process is gone, and says so in the ledger.
    /// Writes nothing where there
    /// are none, so that a standby can be looked at. Gives their ids.
    pub(in super::super) async fn mark_interrupted(&self) -> Result<Vec<Uuid>, StateError> {
        let gone = format!(
            "status = 'running' AND NOT EXISTS (SELECT FROM processes \
             WHERE processes.id = runs.process_id AND {LIVES})"
        );
        let look = format!("SELECT EXISTS (SELECT FROM runs WHERE {gone})");
        let mark = format!(
            "UPDATE runs SET status = 'interrupted', finished_at = clock_timestamp(), \
             summary = $1 WHERE {gone} RETURNING CAST(id AS TEXT) AS id, kind, cluster, copy, \
             CAST(extract(epoch FROM started_at) * 1000000 AS BIGINT) AS started_at"
        );
        self.patiently(|| async {
            let some: bool = sqlx::query_scalar(sqlx::AssertSqlSafe(look.clone()))
                .fetch_one(&self.pool)
                .await
                .map_err(self.reading())?;
            if !some {
                return Ok(Vec::new());
            }
            match self.try_mark_interrupted(&mark).await {
                Err(error) if error.kind == StateErrorKind::ReadOnly => Ok(Vec::new()),
                other => other,
            }
        })
        .await
    }

    async fn try_mark_interrupted(&self, mark: &str) -> Result<Vec<Uuid>, StateError> {
        let mut transaction = Backend::Postgres(Arc::new(self.clone())).begin().await?;
        let mut marked = Vec::new();
        for row in transaction.rows(mark, values![GONE]).await? {
            let gone = Gone {
                id: row.id("id")?,
                kind: row.word("kind", RunKind::from_word)?,
                cluster: row.text("cluster")?,
                copy: row.text("copy")?,
                started_at: row.moment("started_at")?,
            };
            marked.push(gone.id);
            gone_in(&mut transaction, &gone, Utc::now()).await?;
        }
        transaction.commit().await?;
        Ok(marked)
    }

    /// The server's clock against ours.
    pub(in super::super) async fn clock_offset(&self) -> Result<chrono::TimeDelta, StateError> {
        self.patiently(|| async {
            // A connection first: making one takes longer than asking.
            let mut connection = self.pool.acquire().await.map_err(self.reading())?;
            let before = Utc::now();
            let there: DateTime<Utc> = sqlx::query_scalar("SELECT clock_timestamp()")
                .fetch_one(&mut *connection)
                .await
                .map_err(self.reading())?;
            let here = before + (Utc::now() - before) / 2;
            Ok(there - here)
        })
        .await
    }
}
