//! What is written.

use chrono::{DateTime, Utc};
use sqlx::{Sqlite as Driver, Transaction};
use uuid::Uuid;

use super::super::hold::Hold;
pub(super) use super::super::number::signed;
use super::super::time::to_text;
use super::super::{NewRun, Outcome, RunningRun, StateError, StateErrorKind, lock};
use super::Sqlite;
use crate::evidence::{DrillRecord, RecordFile};

impl Sqlite {
    pub(in super::super) async fn begin(&self) -> Result<Transaction<'static, Driver>, StateError> {
        self.writer
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(self.writing())
    }

    pub(in super::super) async fn begin_run(&self, run: &NewRun) -> Result<RunningRun, StateError> {
        let id = Uuid::now_v7();
        let started_at = Utc::now();
        // The lock comes first: a row without one would look like a run that was killed.
        let lock = lock::try_take(&self.directory, &id.to_string())
            .map_err(|error| StateError::io("write to", &self.directory, &error))?
            .ok_or_else(|| {
                StateError::new(
                    "write to",
                    &self.path,
                    StateErrorKind::Locked,
                    format!("run {id} exists already"),
                )
            })?;
        let inserted = sqlx::query(
            "INSERT INTO runs (id, kind, cluster, copy, location, started_at, status, version) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'running', ?7)",
        )
        .bind(id.to_string())
        .bind(run.kind.as_str())
        .bind(&run.cluster)
        .bind(&run.copy)
        .bind(&run.location)
        .bind(to_text(started_at))
        .bind(env!("CARGO_PKG_VERSION"))
        .execute(&self.writer)
        .await
        .map_err(self.writing());
        match inserted {
            Ok(_) => Ok(RunningRun {
                id,
                kind: run.kind,
                cluster: run.cluster.clone(),
                copy: run.copy.clone(),
                started_at,
                hold: Hold::File(lock),
            }),
            Err(error) => {
                lock.remove();
                Err(error)
            }
        }
    }

    /// The rows of a run that ends.
    pub(in super::super) async fn finish_run(
        &self,
        transaction: &mut Transaction<'static, Driver>,
        run: &RunningRun,
        outcome: &Outcome,
        now: DateTime<Utc>,
    ) -> Result<(), StateError> {
        let id = run.id.to_string();
        let changed = sqlx::query(
            "UPDATE runs SET status = 'finished', finished_at = ?2, verdict = ?3, exit_code = ?4, summary = ?5 \
             WHERE id = ?1 AND status = 'running'",
        )
        .bind(&id)
        .bind(to_text(now))
        .bind(outcome.verdict.map(crate::evidence::Verdict::as_str))
        .bind(i64::from(outcome.exit_code))
        .bind(&outcome.summary)
        .execute(&mut **transaction)
        .await
        .map_err(self.writing())?;
        if changed.rows_affected() != 1 {
            return Err(StateError::new(
                "write to",
                &self.path,
                StateErrorKind::Refused,
                format!("run {id} is not under way"),
            ));
        }
        for (position, finding) in outcome.findings.iter().enumerate() {
            let body = self.json(finding)?;
            sqlx::query(
                "INSERT INTO findings (run_id, position, code, severity, object, body) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )
            .bind(&id)
            .bind(signed(position as u64))
            .bind(finding.code.as_str())
            .bind(finding.severity.as_str())
            .bind(&finding.object)
            .bind(body)
            .execute(&mut **transaction)
            .await
            .map_err(self.writing())?;
        }
        if let Some(report) = &outcome.report {
            sqlx::query("INSERT INTO reports (run_id, schema, body) VALUES (?1, ?2, ?3)")
                .bind(&id)
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
        let mut transaction = self.begin().await?;
        self.record_rows(&mut transaction, run, record, file)
            .await?;
        transaction.commit().await.map_err(self.writing())
    }

    /// The rows of a drill and its record.
    pub(in super::super) async fn record_rows(
        &self,
        transaction: &mut Transaction<'static, Driver>,
        run: &RunningRun,
        record: &DrillRecord,
        file: &RecordFile,
    ) -> Result<(), StateError> {
        let id = run.id.to_string();
        sqlx::query(
            "INSERT INTO drills (run_id, definition, target, backup_id, time_to_verified_ms, recovery_point_ms) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )
        .bind(&id)
        .bind(&record.due.definition)
        .bind(&record.target.asked)
        .bind(record.source.backup.as_ref().map(|backup| &backup.id))
        .bind(record.measurements.time_to_verified_ms.map(signed))
        .bind(record.measurements.recovery_point_ms.map(signed))
        .execute(&mut **transaction)
        .await
        .map_err(self.writing())?;
        for (position, phase) in record.phases.iter().enumerate() {
            sqlx::query(
                "INSERT INTO phases (run_id, position, name, started_at, duration_ms, outcome) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )
            .bind(&id)
            .bind(signed(position as u64))
            .bind(&phase.name)
            .bind(to_text(phase.started_at))
            .bind(signed(phase.duration_ms))
            .bind(phase.outcome.as_str())
            .execute(&mut **transaction)
            .await
            .map_err(self.writing())?;
        }
        for (position, check) in record.checks.iter().enumerate() {
            sqlx::query(
                "INSERT INTO checks (run_id, position, name, kind, verdict, message, duration_ms) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )
            .bind(&id)
            .bind(signed(position as u64))
            .bind(&check.name)
            .bind(&check.kind)
            .bind(check.verdict.as_str())
            .bind(&check.message)
            .bind(signed(check.duration_ms))
            .execute(&mut **transaction)
            .await
            .map_err(self.writing())?;
        }
        sqlx::query(
            "INSERT INTO records (id, run_id, schema, cluster, created_at, verdict, sha256, body) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )
        .bind(record.id.to_string())
        .bind(&id)
        .bind(&record.schema)
        .bind(&record.source.cluster)
        .bind(to_text(record.finished_at))
        .bind(record.verdict.as_str())
        .bind(&file.sha256)
        .bind(&file.text)
        .execute(&mut **transaction)
        .await
        .map_err(self.writing())?;
        Ok(())
    }

    pub(super) fn json(&self, value: &impl serde::Serialize) -> Result<String, StateError> {
        serde_json::to_string(value).map_err(|error| {
            StateError::new(
                "write to",
                &self.path,
                StateErrorKind::Other,
                error.to_string(),
            )
        })
    }
}
