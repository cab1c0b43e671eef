//! The end of a run: run, findings, report, record, ledger, incidents, standing and job in
//! one transaction, so that no kill leaves a half of it and no stale attempt leaves a trace.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use super::claim::{done_in, settle_in};
use super::database::{EitherTransaction, Transaction, transact, values};
use super::entries::{append_in, append_outcomes_in};
use super::incidents::{Seen, evolve_in};
use super::standings::stand_in;
use super::store::Backend;
use super::{
    Completion, DepthRank, Fence, IncidentKind, Outcome, RunKind, RunningRun, State, StateError,
    StateErrorKind,
};
use crate::evidence::{DrillRecord, EntryKind, LedgerEntry, NewEntry, RecordFile, Verdict};
use crate::telemetry;

/// The exit code of a run that could not check.
const UNCHECKED: u8 = 3;

impl From<RunKind> for EntryKind {
    fn from(kind: RunKind) -> Self {
        match kind {
            RunKind::Verify => Self::Verify,
            RunKind::Drill => Self::Drill,
            RunKind::Restore => Self::Restore,
            RunKind::Backup => Self::Backup,
            RunKind::Replicate => Self::Replicate,
            RunKind::Compare => Self::Compare,
            RunKind::Expire => Self::Expire,
        }
    }
}

impl State {
    /// Notes how a run ended, with all that goes with it, all of it or nothing. Gives the
    /// ledger's entry. Refused ([`StateErrorKind::Fenced`]) when the run belongs to an
    /// attempt at a job that is no longer the newest; the run then shows as interrupted at
    /// the next look.
    pub async fn finish_run(
        &self,
        run: RunningRun,
        outcome: &Outcome,
        completion: &Completion,
    ) -> Result<LedgerEntry, StateError> {
        telemetry::ended(outcome.exit_code, outcome.verdict, outcome.findings.len());
        let record = match &completion.record {
            Some(record) => Some(self.write_record(&run, record, completion.fence).await?),
            None => None,
        };
        let finished = self
            .finish_rows(&run, outcome, completion, record.as_ref())
            .await;
        match finished {
            Ok(entry) => {
                run.lock.remove();
                Ok(entry)
            }
            Err(error) => {
                if error.kind == StateErrorKind::Fenced
                    && let Some(file) = &record
                {
                    // It was never a record: no row names it.
                    let _ = std::fs::remove_file(self.records_directory().join(&file.name));
                }
                Err(error)
            }
        }
    }

    /// Marks a job as done that has no run of its own, such as a report, and appends the
    /// entries that it gives. Refused ([`StateErrorKind::Fenced`]) when the attempt is no
    /// longer the newest.
    pub async fn finish_job(
        &self,
        fence: &Fence,
        now: DateTime<Utc>,
        entries: &[NewEntry],
    ) -> Result<Vec<LedgerEntry>, StateError> {
        transact!(self, transaction => async {
            done_in(&mut transaction, fence, now).await?;
            append_in(&mut transaction, entries).await
        })
    }

    async fn finish_rows(
        &self,
        run: &RunningRun,
        outcome: &Outcome,
        completion: &Completion,
        record: Option<&RecordFile>,
    ) -> Result<LedgerEntry, StateError> {
        transact!(self, transaction => self.finish_in(&mut transaction, run, outcome, completion, record))
    }

    async fn finish_in(
        &self,
        transaction: &mut Transaction,
        run: &RunningRun,
        outcome: &Outcome,
        completion: &Completion,
        record: Option<&RecordFile>,
    ) -> Result<LedgerEntry, StateError> {
        let now = Utc::now();
        if let Some(fence) = &completion.fence {
            settle_in(transaction, fence, run.id, now, &completion.job).await?;
        }
        if let (Some(record), Some(file)) = (&completion.record, record) {
            record_rows(&self.backend, transaction, run, record, file).await?;
        }
        finish_rows(&self.backend, transaction, run, outcome, now).await?;
        let cluster = Some(run.cluster.clone()).filter(|name| !name.is_empty());
        let copy = Some(run.copy.clone()).filter(|name| !name.is_empty());
        let new = NewEntry {
            kind: EntryKind::from(run.kind),
            at: now,
            cluster,
            copy,
            run_id: Some(run.id),
            body: completion.body.clone().unwrap_or_else(|| plain(outcome)),
        };
        let came_to = came_to(outcome);
        let appended = append_outcomes_in(transaction, &[(&new, came_to)])
            .await?
            .into_iter()
            .next()
            .ok_or_else(|| transaction.trouble(StateErrorKind::Other, "nothing was appended"))?;
        let (raises, closes) = match (run.kind, completion.depth) {
            (_, Some(depth)) => (depth, depth),
            (RunKind::Verify, None) => (DepthRank::READ, DepthRank::LISTED),
            (_, None) => (DepthRank::LISTED, DepthRank::LISTED),
        };
        evolve_in(
            transaction,
            &Seen {
                cluster: &run.cluster,
                copy: &run.copy,
                scope: &completion.scope,
                kind: IncidentKind::from(run.kind),
                findings: &outcome.findings,
                raises,
                closes: (outcome.exit_code <= 1).then_some(closes),
                by: appended.sequence,
                at: now,
            },
        )
        .await?;
        if let Some(standing) = &completion.standing {
            stand_in(transaction, standing).await?;
        }
        Ok(appended)
    }

    /// Writes a record's file, unless it is clear already that it will be refused.
    async fn write_record(
        &self,
        run: &RunningRun,
        record: &DrillRecord,
        fence: Option<Fence>,
    ) -> Result<RecordFile, StateError> {
        if let Some(fence) = fence {
            let held = self
                .row(
                    "SELECT id FROM jobs WHERE id = $1 AND token = $2 AND status = 'running'",
                    values![fence.job, fence.token],
                )
                .await?;
            if held.is_none() {
                return Err(self.backend.trouble(
                    "write a record to",
                    StateErrorKind::Fenced,
                    format!("job {} is no longer held", fence.job),
                ));
            }
        }
        self.record_file(run, record).await
    }
}

/// The body of an entry about a run of which nothing more was said.
fn plain(outcome: &Outcome) -> Value {
    let mut findings: BTreeMap<&str, u64> = BTreeMap::new();
    for finding in &outcome.findings {
        *findings.entry(finding.code.as_str()).or_default() += 1;
    }
    json!({
        "verdict": outcome.verdict,
        "exit_code": outcome.exit_code,
        "summary": outcome.summary,
        "findings": findings,
    })
}

/// What a run came to, as it is counted.
fn came_to(outcome: &Outcome) -> &'static str {
    match (outcome.verdict, outcome.exit_code) {
        (Some(verdict), _) => Verdict::as_str(verdict),
        (None, 0) => "done",
        (None, 1) => "found",
        (None, UNCHECKED) => "unchecked",
        (None, _) => "refused",
    }
}

async fn finish_rows(
    backend: &Backend,
    transaction: &mut Transaction,
    run: &RunningRun,
    outcome: &Outcome,
    now: DateTime<Utc>,
) -> Result<(), StateError> {
    match (backend, &mut transaction.inner) {
        (Backend::Sqlite(sqlite), EitherTransaction::Sqlite(inner)) => {
            sqlite.finish_run(inner, run, outcome, now).await
        }
    }
}

async fn record_rows(
    backend: &Backend,
    transaction: &mut Transaction,
    run: &RunningRun,
    record: &DrillRecord,
    file: &RecordFile,
) -> Result<(), StateError> {
    match (backend, &mut transaction.inner) {
        (Backend::Sqlite(sqlite), EitherTransaction::Sqlite(inner)) => {
            sqlite.record_rows(inner, run, record, file).await
        }
    }
}

/// A run whose process is gone.
#[derive(Debug)]
pub(super) struct Gone {
    pub(super) id: Uuid,
    pub(super) kind: RunKind,
    pub(super) cluster: String,
    pub(super) copy: String,
    pub(super) started_at: DateTime<Utc>,
}

/// Why a run is interrupted, in its summary and in the ledger.
pub(super) const GONE: &str = "killed, or the machine went down";

/// Says in the ledger that runs were interrupted; in the transaction that marks them so.
pub(super) async fn gone_in(
    transaction: &mut Transaction,
    gone: &[Gone],
    now: DateTime<Utc>,
) -> Result<(), StateError> {
    let named = |name: &String| Some(name.clone()).filter(|name| !name.is_empty());
    let entries: Vec<NewEntry> = gone
        .iter()
        .map(|run| NewEntry {
            kind: EntryKind::Interrupted,
            at: now,
            cluster: named(&run.cluster),
            copy: named(&run.copy),
            run_id: Some(run.id),
            body: json!({
                "run": run.kind,
                "started_at": run.started_at,
                "reason": GONE,
            }),
        })
        .collect();
    append_in(transaction, &entries).await.map(|_| ())
}
