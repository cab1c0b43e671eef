//! The queue: what is to be done, who does it, what became of it.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::database::{Row, Transaction, transact, values};
use super::entries::append_in;
use super::undone::{missed, undone_in};
use super::{
    JOB_SPEC_LIMIT, Job, JobCount, JobFilter, JobKind, JobStatus, NewJob, State, StateError,
    StateErrorKind,
};
use crate::evidence::ledger::MissedReason;

/// Jobs that one call gives when it names no limit.
const JOBS: u32 = 1000;

impl State {
    /// Puts jobs into the queue, all of them or none. Tells of each whether it is new: a key
    /// that is known does nothing.
    pub async fn enqueue(&self, jobs: &[NewJob]) -> Result<Vec<bool>, StateError> {
        transact!(self, transaction => enqueue_in(&mut transaction, jobs))
    }

    /// The jobs that a filter leaves, newest due first.
    pub async fn jobs(&self, filter: &JobFilter) -> Result<Vec<Job>, StateError> {
        let limit = if filter.limit == 0 {
            JOBS
        } else {
            filter.limit
        };
        let rows = self
            .rows(
                "SELECT * FROM jobs WHERE ($1 IS NULL OR cluster = $1) \
                 AND ($2 IS NULL OR kind = $2) AND ($3 IS NULL OR status = $3) \
                 AND ($4 IS NULL OR schedule = $4) \
                 AND ($5 = 0 OR status IN ('waiting', 'running')) \
                 AND ($6 IS NULL OR substr(id, 1, length($6)) = $6) \
                 ORDER BY due_at DESC, id DESC LIMIT $7",
                values![
                    &filter.cluster,
                    filter.kind.map(JobKind::as_str),
                    filter.status.map(JobStatus::as_str),
                    &filter.schedule,
                    filter.open,
                    filter
                        .id
                        .as_ref()
                        .map(|id| id.to_ascii_lowercase())
                        .as_deref(),
                    limit,
                ],
            )
            .await?;
        rows.iter().map(job).collect()
    }

    /// One job.
    pub async fn job(&self, id: Uuid) -> Result<Option<Job>, StateError> {
        self.row("SELECT * FROM jobs WHERE id = $1", values![id])
            .await?
            .as_ref()
            .map(job)
            .transpose()
    }

    /// The job that a run was an attempt at, whichever attempt; `None` for a run of a person,
    /// and once the job is forgotten.
    pub async fn job_of_run(&self, run_id: Uuid) -> Result<Option<Job>, StateError> {
        self.row(
            "SELECT jobs.* FROM job_runs JOIN jobs ON jobs.id = job_runs.job_id \
             WHERE job_runs.run_id = $1",
            values![run_id],
        )
        .await?
        .as_ref()
        .map(job)
        .transpose()
    }

    /// How many jobs of each kind stand where.
    pub async fn job_counts(&self) -> Result<Vec<JobCount>, StateError> {
        let rows = self
            .rows(
                "SELECT kind, status, count(*) AS jobs FROM jobs GROUP BY kind, status \
                 ORDER BY kind, status",
                values![],
            )
            .await?;
        rows.iter()
            .map(|row| {
                Ok(JobCount {
                    kind: row.word("kind", JobKind::from_word)?,
                    status: row.word("status", JobStatus::from_word)?,
                    jobs: row.count("jobs")?,
                })
            })
            .collect()
    }

    /// What a schedule's jobs that wait or run are about: their keys up to the due moment,
    /// which stands behind the last `@`.
    pub async fn jobs_under_way(&self, schedule: &str) -> Result<BTreeSet<String>, StateError> {
        let rows = self
            .rows(
                "SELECT key FROM jobs WHERE schedule = $1 AND status IN ('waiting', 'running')",
                values![schedule],
            )
            .await?;
        rows.iter()
            .map(|row| {
                let key = row.text("key")?;
                let about = key.rsplit_once('@').map(|(about, _)| about.to_owned());
                Ok(about.unwrap_or(key))
            })
            .collect()
    }

    /// Cancels a job that waits, which the ledger notes as skipped unless an attempt left an
    /// entry, or asks the holder of one that runs to stop. Gives the status that it has then;
    /// `None` if there is no such job.
    pub async fn cancel(
        &self,
        id: Uuid,
        now: DateTime<Utc>,
    ) -> Result<Option<JobStatus>, StateError> {
        transact!(self, transaction => cancel_in(&mut transaction, id, now))
    }

    /// Marks jobs as missed that were never begun before their deadline, and appends an entry
    /// for each. At most 1,000 at once. One that was begun in time is tried on.
    pub async fn missed_jobs(&self, now: DateTime<Utc>) -> Result<Vec<Job>, StateError> {
        let none = self
            .row(
                "SELECT id FROM jobs WHERE status = 'waiting' AND deadline IS NOT NULL \
                 AND deadline < $1 AND token = 0 LIMIT 1",
                values![now],
            )
            .await?
            .is_none();
        if none {
            return Ok(Vec::new());
        }
        transact!(self, transaction => missed_in(&mut transaction, now))
    }

    /// Forgets jobs that were over before a moment, at most `limit`. The ledger keeps what
    /// came of them. Their keys are free again: the moment must lie further back than any
    /// schedule looks.
    pub async fn prune_jobs(&self, before: DateTime<Utc>, limit: u32) -> Result<u64, StateError> {
        transact!(self, transaction => async {
            transaction
                .execute(
                    "DELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE finished_at IS NOT NULL \
                     AND finished_at < $1 ORDER BY finished_at LIMIT $2)",
                    values![before, limit],
                )
                .await
        })
    }
}

/// Takes the right to claim, to sweep and to miss jobs: one at a time. Gives the claim's
/// number.
pub(super) async fn take_turn(transaction: &mut Transaction) -> Result<i64, StateError> {
    transaction
        .row(
            "UPDATE queue_head SET claims = claims + 1 WHERE only_row = 1 RETURNING claims",
            values![],
        )
        .await?
        .ok_or_else(|| transaction.trouble(StateErrorKind::Other, "the queue has no head"))?
        .number("claims")
}

pub(super) async fn enqueue_in(
    transaction: &mut Transaction,
    jobs: &[NewJob],
) -> Result<Vec<bool>, StateError> {
    let mut clusters = BTreeSet::new();
    let mut new = Vec::with_capacity(jobs.len());
    for job in jobs {
        let spec = transaction.json(&job.spec)?;
        if spec.len() > JOB_SPEC_LIMIT {
            return Err(transaction.trouble(
                StateErrorKind::Refused,
                format!("the spec of job {} has {} bytes", job.key, spec.len()),
            ));
        }
        if clusters.insert(&job.cluster) {
            transaction
                .execute(
                    "INSERT INTO queue_clusters (cluster) VALUES ($1) ON CONFLICT DO NOTHING",
                    values![&job.cluster],
                )
                .await?;
        }
        let inserted = transaction
            .execute(
                "INSERT INTO jobs (id, key, kind, schedule, cluster, copy, bucket, tier, due_at, \
                 run_after, deadline, priority, late, scratch_bytes, max_attempts, spec, status, \
                 created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, \
                 $15, $16, 'waiting', $17) ON CONFLICT (key) DO NOTHING",
                values![
                    Uuid::now_v7(),
                    &job.key,
                    job.kind.as_str(),
                    &job.schedule,
                    &job.cluster,
                    &job.copy,
                    &job.bucket,
                    &job.tier,
                    job.due_at,
                    job.run_after.max(job.due_at),
                    job.deadline,
                    job.priority.min(9),
                    job.late,
                    job.scratch_bytes,
                    job.max_attempts.max(1),
                    spec,
                    Utc::now(),
                ],
            )
            .await?;
        new.push(inserted == 1);
    }
    Ok(new)
}

async fn cancel_in(
    transaction: &mut Transaction,
    id: Uuid,
    now: DateTime<Utc>,
) -> Result<Option<JobStatus>, StateError> {
    let cancelled = transaction
        .row(
            "UPDATE jobs SET status = 'cancelled', cancel_asked_at = $2, finished_at = $2 \
             WHERE id = $1 AND status = 'waiting' RETURNING *",
            values![id, now],
        )
        .await?;
    if let Some(cancelled) = cancelled {
        undone_in(transaction, &[job(&cancelled)?], now).await?;
        return Ok(Some(JobStatus::Cancelled));
    }
    transaction
        .execute(
            "UPDATE jobs SET cancel_asked_at = $2 \
             WHERE id = $1 AND status = 'running' AND cancel_asked_at IS NULL",
            values![id, now],
        )
        .await?;
    transaction
        .row("SELECT status FROM jobs WHERE id = $1", values![id])
        .await?
        .map(|row| row.word("status", JobStatus::from_word))
        .transpose()
}

async fn missed_in(
    transaction: &mut Transaction,
    now: DateTime<Utc>,
) -> Result<Vec<Job>, StateError> {
    take_turn(transaction).await?;
    let rows = transaction
        .rows(
            "UPDATE jobs SET status = 'missed', finished_at = $1 WHERE id IN (SELECT id FROM jobs \
             WHERE status = 'waiting' AND deadline IS NOT NULL AND deadline < $1 AND token = 0 \
             ORDER BY deadline LIMIT 1000) AND status = 'waiting' RETURNING *",
            values![now],
        )
        .await?;
    let mut jobs = rows.iter().map(job).collect::<Result<Vec<_>, _>>()?;
    jobs.sort_by_key(|job| (job.due_at, job.id));
    // Sweeping is housekeeping: the ledger is about proofs.
    let entries = jobs
        .iter()
        .filter(|job| job.kind != JobKind::Sweep)
        .map(|job| missed(transaction, job, MissedReason::Deadline, now))
        .collect::<Result<Vec<_>, _>>()?;
    append_in(transaction, &entries).await?;
    Ok(jobs)
}

/// A row of `jobs`.
pub(super) fn job(row: &Row) -> Result<Job, StateError> {
    Ok(Job {
        id: row.id("id")?,
        key: row.text("key")?,
        kind: row.word("kind", JobKind::from_word)?,
        schedule: row.optional_text("schedule")?,
        cluster: row.text("cluster")?,
        copy: row.text("copy")?,
        bucket: row.text("bucket")?,
        tier: row.optional_text("tier")?,
        due_at: row.moment("due_at")?,
        run_after: row.moment("run_after")?,
        deadline: row.optional_moment("deadline")?,
        priority: row.small("priority")?,
        late: row.number("late")? != 0,
        scratch_bytes: row.count("scratch_bytes")?,
        max_attempts: row.small("max_attempts")?,
        spec: row.json("spec")?,
        status: row.word("status", JobStatus::from_word)?,
        attempts: row.small("attempts")?,
        token: row.number("token")?,
        holder: row.optional_id("holder")?,
        lease_until: row.optional_moment("lease_until")?,
        progress: row.optional_json("progress")?,
        cancel_asked_at: row.optional_moment("cancel_asked_at")?,
        error: row.optional_text("error")?,
        run_id: row.optional_id("run_id")?,
        created_at: row.moment("created_at")?,
        started_at: row.optional_moment("started_at")?,
        finished_at: row.optional_moment("finished_at")?,
    })
}
