//! Requests: who may have what back, until when. Each change is one statement that says from
//! where it may come, so that of two who want the same only one does it.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::database::{Row, Transaction, Value, transact, values};
use super::entries::append_in;
use super::jobs::enqueue_in;
use super::{
    NewJob, NewRequest, REQUEST_LIMIT, Request, RequestChange, RequestFilter, RequestStatus, State,
    StateError, StateErrorKind,
};
use crate::evidence::{NewEntry, Verdict};

/// Requests that one call gives when it names no limit.
const REQUESTS: u32 = 1000;
/// So many are looked after at once.
const TENDED: u32 = 200;

/// `$2` to `$9` are the statuses from which it may come; `$10` is the moment.
const CHANGE: &str = "UPDATE requests SET status = coalesce($11, status), \
     job_id = coalesce($12, job_id), run_id = coalesce($13, run_id), \
     namespace = coalesce($14, namespace), verdict = coalesce($15, verdict), \
     message = coalesce($16, message), result = coalesce($17, result), \
     traces = coalesce($18, traces), ready_at = coalesce($19, ready_at), \
     lease_seconds = coalesce($20, lease_seconds), \
     expires_at = coalesce($19, ready_at) + 1000000 * coalesce($20, lease_seconds), \
     end_asked_at = coalesce(end_asked_at, $21), end_reason = coalesce(end_reason, $22), \
     gone_at = coalesce(gone_at, $23), changed_at = $10 \
     WHERE id = $1 AND gone_at IS NULL AND status IN ($2, $3, $4, $5, $6, $7, $8, $9) RETURNING *";

impl State {
    /// Keeps a request, with the job that restores it where there is one, and what the ledger
    /// says of it: all of it or nothing. Gives the request, and whether it is new: of a key
    /// that is known nothing changes.
    pub async fn add_request(
        &self,
        new: &NewRequest,
        job: Option<&NewJob>,
        entry: &NewEntry,
    ) -> Result<(Request, bool), StateError> {
        transact!(self, transaction => add_in(&mut transaction, new, job, entry))
    }

    /// One request.
    pub async fn request(&self, id: Uuid) -> Result<Option<Request>, StateError> {
        self.row("SELECT * FROM requests WHERE id = $1", values![id])
            .await?
            .as_ref()
            .map(request)
            .transpose()
    }

    /// The requests that a filter leaves, newest first.
    pub async fn requests(&self, filter: &RequestFilter) -> Result<Vec<Request>, StateError> {
        let limit = if filter.limit == 0 {
            REQUESTS
        } else {
            filter.limit
        };
        let id = filter.id.as_ref().map(|id| id.to_ascii_lowercase());
        let rows = self
            .rows(
                "SELECT * FROM requests WHERE ($1 IS NULL OR cluster = $1) \
                 AND ($2 IS NULL OR key = $2) \
                 AND ($3 IS NULL OR substr(id, 1, length($3)) = $3) \
                 AND ($4 = 0 OR gone_at IS NULL) ORDER BY asked_at DESC, id DESC LIMIT $5",
                values![
                    &filter.cluster,
                    &filter.key,
                    id.as_deref(),
                    filter.open,
                    limit
                ],
            )
            .await?;
        rows.iter().map(request).collect()
    }

    /// Requests that somebody has to look after at a moment: all of which something is or may
    /// be left, but those whose lease goes on. Longest over first, at most 200.
    pub async fn requests_to_tend(&self, now: DateTime<Utc>) -> Result<Vec<Request>, StateError> {
        let rows = self
            .rows(
                "SELECT * FROM requests WHERE gone_at IS NULL AND NOT (status = 'ready' \
                 AND expires_at > $1 AND end_asked_at IS NULL) \
                 ORDER BY coalesce(expires_at, asked_at), id LIMIT $2",
                values![now, TENDED],
            )
            .await?;
        rows.iter().map(request).collect()
    }

    /// Whether a run is under way: begun, and whoever began it lives.
    pub async fn is_running(&self, run: Uuid) -> Result<bool, StateError> {
        self.mark_interrupted().await?;
        let running = self
            .row(
                "SELECT status FROM runs WHERE status = 'running' AND CAST(id AS TEXT) = $1",
                values![run],
            )
            .await?;
        Ok(running.is_some())
    }

    /// Changes a request that stands at one of `from`, and appends what the ledger says of it:
    /// both or nothing. `None` when it stands elsewhere, or nothing of it is left.
    pub async fn change_request(
        &self,
        id: Uuid,
        from: &[RequestStatus],
        change: &RequestChange,
        entry: Option<&NewEntry>,
    ) -> Result<Option<Request>, StateError> {
        transact!(once self, transaction => async {
            let changed = change_in(&mut transaction, id, from, change).await?;
            if changed.is_some() {
                append_in(&mut transaction, entry.map(std::slice::from_ref).unwrap_or_default())
                    .await?;
            }
            Ok(changed)
        })
    }
}

async fn add_in(
    transaction: &mut Transaction,
    new: &NewRequest,
    job: Option<&NewJob>,
    entry: &NewEntry,
) -> Result<(Request, bool), StateError> {
    let spec = bounded(transaction, Some(&new.spec))?;
    let inserted = transaction
        .execute(
            "INSERT INTO requests (id, key, cluster, copy, asked_by, asked_at, spec, status, \
             lease_seconds, most_seconds, changed_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, 'queued', $8, $9, $6) ON CONFLICT (key) DO NOTHING",
            values![
                new.id,
                &new.key,
                &new.cluster,
                &new.copy,
                &new.asked_by,
                new.asked_at,
                spec.as_deref(),
                new.lease_seconds,
                new.most_seconds.max(new.lease_seconds),
            ],
        )
        .await?;
    if inserted == 1 {
        if let Some(job) = job {
            enqueue_in(transaction, std::slice::from_ref(job)).await?;
            transaction
                .execute(
                    "UPDATE requests SET job_id = (SELECT id FROM jobs WHERE key = $2) WHERE id = $1",
                    values![new.id, &job.key],
                )
                .await?;
        }
        append_in(transaction, std::slice::from_ref(entry)).await?;
    }
    let row = transaction
        .row("SELECT * FROM requests WHERE key = $1", values![&new.key])
        .await?
        .ok_or_else(|| transaction.trouble(StateErrorKind::Other, "the request was not kept"))?;
    Ok((request(&row)?, inserted == 1))
}

/// Changes a request that stands at one of `from`; `None` when it does not.
pub(super) async fn change_in(
    transaction: &mut Transaction,
    id: Uuid,
    from: &[RequestStatus],
    change: &RequestChange,
) -> Result<Option<Request>, StateError> {
    let result = bounded(transaction, change.result.as_ref())?;
    let traces = bounded(transaction, change.traces.as_ref())?;
    let mut from = from.iter().map(|status| status.as_str());
    let mut at = || Value::from(from.next().unwrap_or_default());
    let arguments = [
        Value::from(id),
        at(),
        at(),
        at(),
        at(),
        at(),
        at(),
        at(),
        at(),
        Value::from(Utc::now()),
        Value::from(change.status.map(RequestStatus::as_str)),
        Value::from(change.job_id),
        Value::from(change.run_id),
        Value::from(&change.namespace),
        Value::from(change.verdict.map(Verdict::as_str)),
        Value::from(&change.message),
        Value::from(result.as_deref()),
        Value::from(traces.as_deref()),
        Value::from(change.ready_at),
        Value::from(
            change
                .lease_seconds
                .map(|seconds| i64::try_from(seconds).unwrap_or(i64::MAX)),
        ),
        Value::from(change.end.as_ref().map(|(at, _)| *at)),
        Value::from(change.end.as_ref().map(|(_, why)| why.as_str())),
        Value::from(change.gone_at),
    ];
    transaction
        .row(CHANGE, &arguments)
        .await?
        .as_ref()
        .map(request)
        .transpose()
}

fn bounded(
    transaction: &Transaction,
    value: Option<&serde_json::Value>,
) -> Result<Option<String>, StateError> {
    let Some(value) = value else {
        return Ok(None);
    };
    let text = transaction.json(value)?;
    if text.len() > REQUEST_LIMIT {
        return Err(transaction.trouble(
            StateErrorKind::Refused,
            format!("a part of the request has {} bytes", text.len()),
        ));
    }
    Ok(Some(text))
}

/// A row of `requests`.
fn request(row: &Row) -> Result<Request, StateError> {
    let verdict = row
        .optional_text("verdict")?
        .map(|word| word.parse::<Verdict>().map_err(|_| row.strange(&word)))
        .transpose()?;
    Ok(Request {
        id: row.id("id")?,
        key: row.text("key")?,
        cluster: row.text("cluster")?,
        copy: row.text("copy")?,
        asked_by: row.text("asked_by")?,
        asked_at: row.moment("asked_at")?,
        spec: row.json("spec")?,
        status: row.word("status", RequestStatus::from_word)?,
        lease_seconds: row.count("lease_seconds")?,
        most_seconds: row.count("most_seconds")?,
        job_id: row.optional_id("job_id")?,
        run_id: row.optional_id("run_id")?,
        namespace: row.optional_text("namespace")?,
        verdict,
        message: row.text("message")?,
        result: row.optional_json("result")?,
        traces: row.optional_json("traces")?,
        ready_at: row.optional_moment("ready_at")?,
        expires_at: row.optional_moment("expires_at")?,
        end_asked_at: row.optional_moment("end_asked_at")?,
        end_reason: row.optional_text("end_reason")?,
        gone_at: row.optional_moment("gone_at")?,
        changed_at: row.moment("changed_at")?,
    })
}
