//! Claims: who does which job, for how long, and what becomes of those who fall silent.
//!
//! A claim happens under one lock, so that budgets hold over all daemons. Among the jobs of
//! the highest priority the cluster goes first that was served longest ago, told by the
//! number of the claim and not by a clock: with a thousand clusters waiting, each gets every
//! thousandth claim, however many jobs one of them has.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::database::{Transaction, Value, transact, values};
use super::jobs::{job, take_turn};
use super::undone::undone_in;
use super::{
    ClaimRequest, Fence, Heartbeat, Job, JobEnd, JobKind, JobProgress, JobStatus, Release, State,
    StateError, StateErrorKind,
};

/// Jobs that may be given now: ready, not past their deadline or begun before it, of a kind
/// that is asked for, within the budgets. `$4` to `$8`, `$13` and `$14` are the kinds; `$9` the drills, `$10` the
/// bytes of scratch that are left, `$12` all of them: what was planned for more of them than there are
/// now takes all; `$11` the budget per bucket. The kind is no reason to take another
/// index than that of waiting jobs, so it stands as an expression.
macro_rules! ready {
    () => {
        "w.status = 'waiting' AND w.priority = $1 AND w.run_after <= $2 \
         AND (w.deadline IS NULL OR w.deadline >= $2 OR w.token > 0) \
         AND (w.kind || '') IN ($4, $5, $6, $7, $8, $13, $14) \
         AND (w.kind NOT IN ('drill', 'request') OR $9 > 0) \
         AND (w.scratch_bytes = 0 \
         OR CASE WHEN w.scratch_bytes < $12 THEN w.scratch_bytes ELSE $12 END <= $10) \
         AND w.bucket NOT IN (SELECT r.bucket FROM jobs r WHERE r.status = 'running' \
         AND r.bucket <> '' GROUP BY r.bucket HAVING count(*) >= $11)"
    };
}

/// The cluster whose turn it is; `$3` is the budget per cluster.
const TURN: &str = concat!(
    "SELECT c.cluster FROM queue_clusters c \
     WHERE (c.cluster = '' OR c.cluster NOT IN (SELECT r.cluster FROM jobs r \
     WHERE r.status = 'running' GROUP BY r.cluster HAVING count(*) >= $3)) \
     AND EXISTS (SELECT 1 FROM jobs w WHERE w.cluster = c.cluster AND ",
    ready!(),
    ") ORDER BY c.served, c.cluster LIMIT 1"
);

/// Its first job; `$3` is the cluster.
const FIRST: &str = concat!(
    "SELECT w.id FROM jobs w WHERE w.cluster = $3 AND ",
    ready!(),
    " ORDER BY w.due_at, w.id LIMIT 1"
);

/// What a claim looks through the queue with.
#[cfg(test)]
pub(super) const STATEMENTS: [&str; 2] = [TURN, FIRST];

impl State {
    /// Gives a job to its caller, if there is one that may be done now. Every claim gives
    /// the job a greater token.
    pub async fn claim(&self, request: &ClaimRequest) -> Result<Option<Job>, StateError> {
        // Most of the time there is nothing to do, and then nobody should have to wait.
        let nothing = self
            .row(
                "SELECT id FROM jobs WHERE status = 'waiting' AND run_after <= $1 LIMIT 1",
                values![request.now],
            )
            .await?
            .is_none();
        if nothing || request.allow.is_empty() {
            return Ok(None);
        }
        transact!(once self, transaction => async {
            let claimed = claim_in(&mut transaction, request).await?;
            if claimed.is_none() {
                // Whoever asks in vain writes nothing.
                transaction.forget();
            }
            Ok(claimed)
        })
    }

    /// Hands a claimed job over to another process that goes by the same fence: from now on
    /// `to` holds it. `None` when the claim does not hold any more, or when somebody else than
    /// `from` holds it.
    pub async fn take_over(
        &self,
        fence: &Fence,
        from: Option<Uuid>,
        to: Uuid,
        now: DateTime<Utc>,
        lease: Duration,
    ) -> Result<Option<Job>, StateError> {
        transact!(self, transaction => async {
            let from = from.map(|from| from.to_string());
            let row = transaction
                .row(
                    "UPDATE jobs SET holder = $3, lease_until = $4 \
                     WHERE id = $1 AND token = $2 AND status = 'running' \
                     AND ($5 IS NULL OR holder = $5) RETURNING *",
                    values![
                        fence.job,
                        fence.token,
                        to,
                        lease_end(now, lease),
                        from.as_deref()
                    ],
                )
                .await?;
            row.as_ref().map(job).transpose()
        })
    }

    /// A holder's sign of life. `Lost` when the job is no longer its own.
    pub async fn heartbeat(
        &self,
        fence: &Fence,
        now: DateTime<Utc>,
        lease: Duration,
        progress: Option<JobProgress>,
    ) -> Result<Heartbeat, StateError> {
        transact!(self, transaction => heartbeat_in(&mut transaction, fence, now, lease, progress.as_ref()))
    }

    /// Lets a job go that was not finished. Gives the status that it has then. When it is over
    /// and none of its attempts left an entry of its own, the ledger notes it as missed or, if
    /// it was cancelled, as skipped. Refused ([`StateErrorKind::Fenced`]) when the job is no
    /// longer its holder's.
    pub async fn release(
        &self,
        fence: &Fence,
        now: DateTime<Utc>,
        release: &Release,
    ) -> Result<JobStatus, StateError> {
        transact!(once self, transaction => async {
            let job = release_in(&mut transaction, fence, now, release).await?;
            undone_in(&mut transaction, std::slice::from_ref(&job), now).await?;
            Ok(job.status)
        })
    }

    /// Takes the jobs back whose holders fell silent: they wait again, or have failed when
    /// their attempts are used up, or are cancelled when that was asked for. The ledger is told
    /// as by [`Self::release`]. At most 1,000 at once.
    pub async fn expire_leases(&self, now: DateTime<Utc>) -> Result<Vec<Job>, StateError> {
        let none = self
            .row(
                "SELECT id FROM jobs WHERE status = 'running' AND lease_until < $1 LIMIT 1",
                values![now],
            )
            .await?
            .is_none();
        if none {
            return Ok(Vec::new());
        }
        transact!(self, transaction => expire_in(&mut transaction, now))
    }
}

fn lease_end(now: DateTime<Utc>, lease: Duration) -> DateTime<Utc> {
    let lease = TimeDelta::from_std(lease).unwrap_or(TimeDelta::MAX);
    now.checked_add_signed(lease)
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}

async fn claim_in(
    transaction: &mut Transaction,
    request: &ClaimRequest,
) -> Result<Option<Job>, StateError> {
    let turn = take_turn(transaction).await?;
    let Some(used) = transaction
        .row(
            "SELECT count(*) AS jobs, coalesce(sum(CASE WHEN kind IN ('drill', 'request') THEN 1 ELSE 0 END), 0) AS drills, \
             CAST(coalesce(sum(scratch_bytes), 0) AS BIGINT) AS scratch FROM jobs WHERE status = 'running'",
            values![],
        )
        .await?
    else {
        return Ok(None);
    };
    let drills = u64::from(request.budgets.drills).saturating_sub(used.count("drills")?);
    let scratch = request
        .budgets
        .scratch_bytes
        .saturating_sub(used.count("scratch")?);
    let mut kinds = request.allow.iter().map(|kind| kind.as_str());
    let mut kind = || Value::from(kinds.next().unwrap_or_default());
    const {
        assert!(
            JobKind::ALL.len() == 7,
            "the statement has room for seven kinds"
        );
    };
    let mut arguments: [Value<'_>; 14] = [
        Value::from(0_i64),
        Value::from(request.now),
        Value::from(request.budgets.per_cluster),
        kind(),
        kind(),
        kind(),
        kind(),
        kind(),
        Value::from(drills),
        Value::from(scratch),
        Value::from(request.budgets.per_bucket),
        Value::from(request.budgets.scratch_bytes),
        kind(),
        kind(),
    ];
    let mut above = 10_i64;
    loop {
        let level = transaction
            .row(
                "SELECT CAST(coalesce(max(priority), -1) AS BIGINT) AS priority FROM jobs \
                 WHERE status = 'waiting' AND priority < $1",
                values![above],
            )
            .await?
            .map_or(Ok(-1), |row| row.number("priority"))?;
        if level < 0 {
            return Ok(None);
        }
        above = level;
        arguments[0] = Value::from(level);
        arguments[2] = Value::from(request.budgets.per_cluster);
        let Some(cluster) = transaction.row(TURN, &arguments).await? else {
            continue;
        };
        let cluster = cluster.text("cluster")?;
        arguments[2] = Value::from(cluster.clone());
        let Some(first) = transaction.row(FIRST, &arguments).await? else {
            continue;
        };
        let id = first.id("id")?;
        transaction
            .execute(
                "UPDATE queue_clusters SET served = $2 WHERE cluster = $1",
                values![cluster, turn],
            )
            .await?;
        let claimed = transaction
            .row(
                "UPDATE jobs SET status = 'running', attempts = attempts + 1, token = token + 1, \
                 holder = $2, lease_until = $3, started_at = $4, progress = NULL \
                 WHERE id = $1 AND status = 'waiting' RETURNING *",
                values![
                    id,
                    request.holder,
                    lease_end(request.now, request.lease),
                    request.now
                ],
            )
            .await?;
        // Somebody cancelled it in this very moment.
        let Some(claimed) = claimed else {
            return Ok(None);
        };
        return job(&claimed).map(Some);
    }
}

async fn heartbeat_in(
    transaction: &mut Transaction,
    fence: &Fence,
    now: DateTime<Utc>,
    lease: Duration,
    progress: Option<&JobProgress>,
) -> Result<Heartbeat, StateError> {
    let progress = progress
        .map(|progress| transaction.json(progress))
        .transpose()?;
    let held = transaction
        .row(
            "UPDATE jobs SET lease_until = $3, progress = coalesce($4, progress) \
             WHERE id = $1 AND token = $2 AND status = 'running' RETURNING cancel_asked_at",
            values![
                fence.job,
                fence.token,
                lease_end(now, lease),
                progress.as_deref()
            ],
        )
        .await?;
    Ok(match held {
        None => Heartbeat::Lost,
        Some(row) if row.optional_moment("cancel_asked_at")?.is_some() => Heartbeat::CancelAsked,
        Some(_) => Heartbeat::Held,
    })
}

/// What a refused holder is told.
fn fenced(transaction: &Transaction, fence: &Fence) -> StateError {
    transaction.trouble(
        StateErrorKind::Fenced,
        format!(
            "job {} is no longer held by its attempt {}",
            fence.job, fence.token
        ),
    )
}

async fn release_in(
    transaction: &mut Transaction,
    fence: &Fence,
    now: DateTime<Utc>,
    release: &Release,
) -> Result<Job, StateError> {
    let (asked, run_after, error, attempt) = match release {
        Release::Retry { run_after, error } => ("retry", Some(*run_after), Some(error.as_str()), 0),
        Release::Failed { error } => ("failed", None, Some(error.as_str()), 0),
        Release::Cancelled => ("cancelled", None, None, 0),
        Release::GivenBack => ("given-back", None, None, 1_i64),
        Release::NotYet { run_after } => ("given-back", Some(*run_after), None, 1_i64),
    };
    let released = transaction
        .row(
            "UPDATE jobs SET status = CASE \
             WHEN $3 IN ('failed', 'cancelled') THEN $3 \
             WHEN cancel_asked_at IS NOT NULL THEN 'cancelled' \
             WHEN $3 = 'retry' AND attempts >= max_attempts THEN 'failed' \
             ELSE 'waiting' END, \
             finished_at = CASE WHEN $3 IN ('failed', 'cancelled') OR cancel_asked_at IS NOT NULL \
             OR ($3 = 'retry' AND attempts >= max_attempts) THEN $4 ELSE NULL END, \
             run_after = CASE WHEN $5 > run_after THEN $5 ELSE run_after END, \
             error = coalesce($6, error), attempts = attempts - $7, \
             holder = NULL, lease_until = NULL, progress = NULL \
             WHERE id = $1 AND token = $2 AND status = 'running' RETURNING *",
            values![
                fence.job,
                fence.token,
                asked,
                now,
                run_after,
                error,
                attempt
            ],
        )
        .await?;
    match released {
        Some(row) => job(&row),
        None => Err(fenced(transaction, fence)),
    }
}

async fn expire_in(
    transaction: &mut Transaction,
    now: DateTime<Utc>,
) -> Result<Vec<Job>, StateError> {
    take_turn(transaction).await?;
    let rows = transaction
        .rows(
            "UPDATE jobs SET status = CASE WHEN cancel_asked_at IS NOT NULL THEN 'cancelled' \
             WHEN attempts >= max_attempts THEN 'failed' ELSE 'waiting' END, \
             finished_at = CASE WHEN cancel_asked_at IS NOT NULL OR attempts >= max_attempts \
             THEN $1 ELSE NULL END, \
             error = 'its holder fell silent: killed, cut off or paused', \
             holder = NULL, lease_until = NULL, progress = NULL \
             WHERE id IN (SELECT id FROM jobs WHERE status = 'running' AND lease_until < $1 \
             LIMIT 1000) AND status = 'running' AND lease_until < $1 RETURNING *",
            values![now],
        )
        .await?;
    let jobs = rows.iter().map(job).collect::<Result<Vec<_>, _>>()?;
    undone_in(transaction, &jobs, now).await?;
    Ok(jobs)
}

/// Checks the attempt and settles the job, with the end of a run.
pub(super) async fn settle_in(
    transaction: &mut Transaction,
    fence: &Fence,
    run_id: Uuid,
    now: DateTime<Utc>,
    end: &JobEnd,
) -> Result<(), StateError> {
    // The row is held until the end of the transaction, so nobody takes it meanwhile.
    let held = transaction
        .execute(
            "UPDATE jobs SET run_id = $3 WHERE id = $1 AND token = $2 AND status = 'running'",
            values![fence.job, fence.token, run_id],
        )
        .await?;
    if held != 1 {
        return Err(fenced(transaction, fence));
    }
    link_in(transaction, fence, run_id).await?;
    let release = match end {
        JobEnd::GoesOn => return Ok(()),
        JobEnd::Done => return done_in(transaction, fence, now).await,
        JobEnd::Retry { run_after, error } => Release::Retry {
            run_after: *run_after,
            error: error.clone(),
        },
        JobEnd::Failed { error } => Release::Failed {
            error: error.clone(),
        },
    };
    release_in(transaction, fence, now, &release)
        .await
        .map(|_| ())
}

/// Remembers which attempt a run was.
pub(super) async fn link_in(
    transaction: &mut Transaction,
    fence: &Fence,
    run_id: Uuid,
) -> Result<(), StateError> {
    transaction
        .execute(
            "INSERT INTO job_runs (run_id, job_id, token) VALUES ($1, $2, $3) \
             ON CONFLICT DO NOTHING",
            values![run_id, fence.job, fence.token],
        )
        .await
        .map(|_| ())
}

/// Checks the attempt and remembers the run that it begins.
pub(super) async fn attempt_in(
    transaction: &mut Transaction,
    fence: &Fence,
    run_id: Uuid,
) -> Result<(), StateError> {
    settle_in(transaction, fence, run_id, Utc::now(), &JobEnd::GoesOn).await
}

/// Marks a job as done.
pub(super) async fn done_in(
    transaction: &mut Transaction,
    fence: &Fence,
    now: DateTime<Utc>,
) -> Result<(), StateError> {
    let done = transaction
        .execute(
            "UPDATE jobs SET status = 'done', finished_at = $3, error = NULL, holder = NULL, \
             lease_until = NULL WHERE id = $1 AND token = $2 AND status = 'running'",
            values![fence.job, fence.token, now],
        )
        .await?;
    if done == 1 {
        Ok(())
    } else {
        Err(fenced(transaction, fence))
    }
}
