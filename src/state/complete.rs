//! The end of a run: run, findings, report, record, ledger, incidents, standing and job in
//! one transaction, so that no kill leaves a half of it and no stale attempt leaves a trace.

use chrono::{DateTime, SubsecRound as _, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use super::claim::{attempt_in, done_in, settle_in};
use super::database::{EitherTransaction, Transaction, transact, values};
use super::entries::{append_in, append_outcomes_in, entry, head_in, new_entry};
use super::incidents::{Seen, close_in, evolve_in, open_in};
use super::jobs::job;
use super::requests::change_in;
use super::standings::stand_in;
use super::store::Backend;
use super::{
    Completion, DepthRank, Fence, IncidentKey, IncidentKind, NewRun, Outcome, RequestStatus,
    RunKind, RunningRun, Standing, State, StateError, StateErrorKind,
};
use crate::evidence::ledger::{
    Asked, Body, ClosedIncident, InterruptedBody, RunBody, note_incidents,
};
use crate::evidence::{
    DrillRecord, EntryKind, LedgerEntry, NewEntry, RecordFile, Trigger, Verdict,
};
use crate::finding::Code;
use crate::telemetry;

/// From where the end of its run may change a request.
const UNDER_WAY: [RequestStatus; 2] = [RequestStatus::Queued, RequestStatus::Restoring];

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
            RunKind::Capture => Self::Capture,
            RunKind::Request => Self::Request,
        }
    }
}

impl State {
    /// Notes that a run begins that is an attempt at a job. Refused
    /// ([`StateErrorKind::Fenced`]) when the attempt is no longer the newest.
    pub async fn begin_run_of(
        &self,
        fence: &Fence,
        run: &NewRun,
    ) -> Result<RunningRun, StateError> {
        self.held(fence).await?;
        let running = self.begin_run(run).await?;
        let linked: Result<(), StateError> = transact!(
            self, transaction => attempt_in(&mut transaction, fence, running.id));
        linked.map(|()| running)
    }

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
                run.hold.remove();
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
        transact!(once self, transaction => async {
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
        // As exact as every database keeps it.
        let now = Utc::now().trunc_subsecs(6);
        transact!(self, transaction => async {
            // Done already, by an attempt whose end was not heard of?
            let done = transaction
                .row(
                    "SELECT sequence, previous, sha256, text FROM entries \
                     WHERE run_id = $1 AND kind = $2",
                    values![run.id, EntryKind::from(run.kind).as_str()],
                )
                .await?;
            match done {
                Some(row) => entry(&row),
                None => {
                    self.finish_in(&mut transaction, run, outcome, completion, record, now)
                        .await
                }
            }
        })
    }

    async fn finish_in(
        &self,
        transaction: &mut Transaction,
        run: &RunningRun,
        outcome: &Outcome,
        completion: &Completion,
        record: Option<&RecordFile>,
        now: DateTime<Utc>,
    ) -> Result<LedgerEntry, StateError> {
        if let Some(fence) = &completion.fence {
            settle_in(transaction, fence, run.id, now, &completion.job).await?;
        }
        if let (Some(record), Some(file)) = (&completion.record, record) {
            record_rows(&self.backend, transaction, run, record, file).await?;
        }
        finish_rows(&self.backend, transaction, run, outcome, now).await?;
        let (newest, _) = head_in(transaction).await?;
        let (raises, closes) = match (run.kind, completion.depth) {
            (_, Some(depth)) => (depth, depth),
            (RunKind::Verify, None) => (DepthRank::READ, DepthRank::LISTED),
            (_, None) => (DepthRank::LISTED, DepthRank::LISTED),
        };
        let mut evolved = evolve_in(
            transaction,
            &Seen {
                cluster: &run.cluster,
                copy: &run.copy,
                scope: &completion.scope,
                kind: IncidentKind::from(run.kind),
                findings: &outcome.findings,
                raises,
                closes: (saw_all(outcome) && !completion.partial).then_some(closes),
                by: newest + 1,
                at: now,
            },
        )
        .await?;
        if let Some(overdue) = answers(run, completion)
            && let Some(open) = open_in(transaction, &overdue).await?
        {
            close_in(transaction, &open, Some(newest + 1), now).await?;
            evolved.closed.push(ClosedIncident::from(&open));
        }
        let mut body = match &completion.body {
            Some(body) => body.clone(),
            None => plain(run, outcome, now),
        };
        note_incidents(&mut body, &evolved.opened, &evolved.closed);
        let new = NewEntry {
            kind: EntryKind::from(run.kind),
            at: now,
            cluster: Some(run.cluster.clone()).filter(|name| !name.is_empty()),
            copy: Some(run.copy.clone()).filter(|name| !name.is_empty()),
            run_id: Some(run.id),
            body,
        };
        let appended = append_outcomes_in(transaction, &[(&new, came_to(outcome))])
            .await?
            .into_iter()
            .next()
            .ok_or_else(|| transaction.trouble(StateErrorKind::Other, "nothing was appended"))?;
        if let Some(standing) = &completion.standing {
            stand_in(transaction, standing).await?;
        }
        if let Some((request, change)) = &completion.request {
            // One that ended meanwhile stays as it is.
            change_in(transaction, *request, &UNDER_WAY, change).await?;
        }
        Ok(appended)
    }

    /// Whether an attempt is the newest, for now.
    async fn held(&self, fence: &Fence) -> Result<(), StateError> {
        let held = self
            .row(
                "SELECT id FROM jobs WHERE id = $1 AND token = $2 AND status = 'running'",
                values![fence.job, fence.token],
            )
            .await?;
        if held.is_some() {
            return Ok(());
        }
        Err(self.backend.trouble(
            "write to",
            StateErrorKind::Fenced,
            format!(
                "job {} is no longer held by its attempt {}",
                fence.job, fence.token
            ),
        ))
    }

    /// Writes a record's file, unless it is clear already that it will be refused.
    async fn write_record(
        &self,
        run: &RunningRun,
        record: &DrillRecord,
        fence: Option<Fence>,
    ) -> Result<RecordFile, StateError> {
        if let Some(fence) = fence {
            self.held(&fence).await?;
        }
        self.record_file(run, record).await
    }
}

/// What is no longer overdue when a run of a guarded copy came to an answer, whatever it is.
fn answers(run: &RunningRun, completion: &Completion) -> Option<IncidentKey> {
    let answered = completion
        .standing
        .as_ref()
        .is_some_and(Standing::has_answered);
    let (code, copy) = match run.kind {
        RunKind::Verify => (Code::VerificationOverdue, run.copy.as_str()),
        RunKind::Replicate => (Code::ReplicationOverdue, run.copy.as_str()),
        // One of any copy is enough.
        RunKind::Drill => (Code::DrillOverdue, ""),
        RunKind::Capture => (Code::DefinitionStale, run.copy.as_str()),
        RunKind::Restore
        | RunKind::Backup
        | RunKind::Compare
        | RunKind::Expire
        | RunKind::Request => return None,
    };
    answered.then(|| IncidentKey {
        cluster: run.cluster.clone(),
        copy: copy.to_owned(),
        scope: String::new(),
        code: code.as_str().to_owned(),
    })
}

/// The body of an entry about a run of which nothing more was said.
fn plain(run: &RunningRun, outcome: &Outcome, now: DateTime<Utc>) -> Value {
    let body = RunBody::new(
        Asked::default(),
        (run.started_at, now),
        outcome.verdict,
        outcome.exit_code,
        &outcome.summary,
        &outcome.findings,
    );
    json!({ "run": body })
}

/// Whether a run came so far that what it did not find is not there. A drill that proved a
/// copy and could not clean up has.
fn saw_all(outcome: &Outcome) -> bool {
    outcome.exit_code <= 1 || outcome.verdict == Some(Verdict::Proven)
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
        (Backend::Postgres(postgres), EitherTransaction::Postgres(inner)) => {
            postgres.finish_run(inner, run, outcome, now).await
        }
        (Backend::Sqlite(_) | Backend::Postgres(_), _) => Err(mixed(transaction)),
    }
}

fn mixed(transaction: &Transaction) -> StateError {
    transaction.trouble(
        StateErrorKind::Other,
        "the transaction is another database's",
    )
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
        (Backend::Postgres(postgres), EitherTransaction::Postgres(inner)) => {
            postgres.record_rows(inner, run.id, record, file).await
        }
        (Backend::Sqlite(_) | Backend::Postgres(_), _) => Err(mixed(transaction)),
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

/// Says in the ledger that a run was interrupted; in the transaction that marks it so.
pub(super) async fn gone_in(
    transaction: &mut Transaction,
    run: &Gone,
    now: DateTime<Utc>,
) -> Result<(), StateError> {
    let attempt = transaction
        .row(
            "SELECT jobs.* FROM job_runs JOIN jobs ON jobs.id = job_runs.job_id \
             WHERE job_runs.run_id = $1",
            values![run.id],
        )
        .await?
        .as_ref()
        .map(job)
        .transpose()?;
    let asked = attempt.as_ref().map_or_else(Asked::default, |job| Asked {
        trigger: Trigger::Schedule,
        initiator: String::new(),
        schedule: job.schedule.clone(),
        job: Some(job.id),
        due_at: Some(job.due_at),
        late: job.late,
    });
    let body = Body::Interrupted(Box::new(InterruptedBody {
        job: EntryKind::from(run.kind),
        asked,
        started_at: run.started_at,
        noticed_at: now,
        // Even when it is over by now: what a job came to always stands in an entry of its own.
        again: attempt.is_some(),
    }));
    let entry = new_entry(transaction, now, &body, &run.cluster, &run.copy)?.of_run(run.id);
    append_in(transaction, &[entry]).await.map(|_| ())
}
