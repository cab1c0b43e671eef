//! What the ledger says of jobs that did not happen, so that none goes missing quietly.

use chrono::{DateTime, Utc};

use super::database::{Transaction, values};
use super::entries::{append_in, new_entry};
use super::{Job, JobKind, JobStatus, StateError};
use crate::evidence::ledger::{Body, MissedBody, MissedReason, SkippedBody, SkippedReason};
use crate::evidence::{EntryKind, NewEntry};

/// Says of jobs that have failed or were cancelled that they came to nothing; in the
/// transaction that makes them so. Where an attempt left an entry of its own, that says what
/// the due moment came to. Jobs of any other status are passed over.
pub(super) async fn undone_in(
    transaction: &mut Transaction,
    jobs: &[Job],
    now: DateTime<Utc>,
) -> Result<(), StateError> {
    let entries = undone(transaction, jobs, SkippedReason::Cancelled, now).await?;
    append_in(transaction, &entries).await.map(|_| ())
}

/// What [`undone_in`] says, with the reason why those that were cancelled are left out.
pub(super) async fn undone(
    transaction: &mut Transaction,
    jobs: &[Job],
    reason: SkippedReason,
    now: DateTime<Utc>,
) -> Result<Vec<NewEntry>, StateError> {
    let mut entries = Vec::new();
    for job in jobs {
        let entry = match job.status {
            JobStatus::Failed => missed(transaction, job, MissedReason::Exhausted, now)?,
            JobStatus::Cancelled => skipped(transaction, job, reason, now)?,
            _ => continue,
        };
        // Sweeping is housekeeping: the ledger is about proofs.
        if job.kind != JobKind::Sweep && !is_told(transaction, job).await? {
            entries.push(entry);
        }
    }
    Ok(entries)
}

/// Whether an attempt at a job left an entry that says what it came to. That one was killed
/// does not say it.
async fn is_told(transaction: &mut Transaction, job: &Job) -> Result<bool, StateError> {
    transaction
        .row(
            "SELECT entries.sequence FROM job_runs \
             JOIN entries ON entries.run_id = job_runs.run_id \
             WHERE job_runs.job_id = $1 AND entries.kind <> $2 LIMIT 1",
            values![job.id, EntryKind::Interrupted.as_str()],
        )
        .await
        .map(|row| row.is_some())
}

/// What the ledger says of a job that should have happened and did not.
pub(super) fn missed(
    transaction: &Transaction,
    job: &Job,
    reason: MissedReason,
    now: DateTime<Utc>,
) -> Result<NewEntry, StateError> {
    let body = Body::Missed(Box::new(MissedBody {
        job: EntryKind::from(job.kind),
        schedule: job.schedule.clone(),
        key: Some(job.key.clone()),
        due_at: job.due_at,
        first_due_at: None,
        moments: 1,
        reason,
        newest_at: None,
        opened: Vec::new(),
        closed: Vec::new(),
    }));
    new_entry(transaction, now, &body, &job.cluster, &job.copy)
}

/// What the ledger says of a job that was left out knowingly.
fn skipped(
    transaction: &Transaction,
    job: &Job,
    reason: SkippedReason,
    now: DateTime<Utc>,
) -> Result<NewEntry, StateError> {
    let body = Body::Skipped(Box::new(SkippedBody {
        job: EntryKind::from(job.kind),
        schedule: job.schedule.clone(),
        key: Some(job.key.clone()),
        due_at: job.due_at,
        moments: 1,
        reason,
        earlier: None,
    }));
    new_entry(transaction, now, &body, &job.cluster, &job.copy)
}
