//! When each schedule is due next, and the step from one due moment to the next. One daemon
//! takes that step at a time: the one that holds the lease.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::database::{Row, Transaction, transact, values};
use super::entries::{append_in, new_entry};
use super::jobs::{enqueue_in, job, take_turn};
use super::undone::undone;
use super::{
    Advance, Advanced, JobKind, Lease, ScheduleRow, ScheduleSync, State, StateError, StateErrorKind,
};
use crate::evidence::ledger::{Body, SkippedBody, SkippedReason};
use crate::evidence::{EntryKind, NewEntry};

impl State {
    /// Takes or renews a lease; `None` while another holds it. Its token grows when it
    /// changes hands.
    pub async fn try_lease(
        &self,
        name: &str,
        holder: Uuid,
        now: DateTime<Utc>,
        ttl: Duration,
    ) -> Result<Option<Lease>, StateError> {
        transact!(self, transaction => lease_in(&mut transaction, name, holder, now, ttl))
    }

    /// Gives a lease back before its time. One that was lost meanwhile is no error.
    pub async fn release_lease(&self, lease: &Lease) -> Result<(), StateError> {
        transact!(self, transaction => async {
            transaction
                .execute(
                    "UPDATE leases SET holder = NULL, lease_until = 0 WHERE name = $1 AND token = $2",
                    values![&lease.name, lease.token],
                )
                .await
                .map(|_| ())
        })
    }

    /// Who holds a lease at a moment; `None` if nobody does.
    pub async fn lease(&self, name: &str, now: DateTime<Utc>) -> Result<Option<Lease>, StateError> {
        let row = self
            .row(
                "SELECT * FROM leases WHERE name = $1 AND holder IS NOT NULL AND lease_until >= $2",
                values![name, now],
            )
            .await?;
        row.map(|row| {
            Ok(Lease {
                name: row.text("name")?,
                holder: row.id("holder")?,
                token: row.number("token")?,
                until: row.moment("lease_until")?,
            })
        })
        .transpose()
    }

    /// Makes the stored schedules those that are given: new ones come, those that are not
    /// among them go, those whose definition changed take their new moment unless they are due,
    /// and all others keep theirs, so that what was missed is noticed.
    ///
    /// What is no longer wanted is said: jobs that wait for a schedule that goes are cancelled,
    /// and they and the moment of one that is due are noted as skipped. Refused
    /// ([`StateErrorKind::Fenced`]) when the lease has changed hands.
    pub async fn schedules_sync(
        &self,
        lease: &Lease,
        rows: &[ScheduleRow],
        now: DateTime<Utc>,
    ) -> Result<ScheduleSync, StateError> {
        transact!(self, transaction => sync_in(&mut transaction, lease, rows, now))
    }

    /// Schedules, by cluster and name; those of one cluster if one is named.
    pub async fn schedules(&self, cluster: Option<&str>) -> Result<Vec<ScheduleRow>, StateError> {
        let rows = self
            .rows(
                "SELECT * FROM schedules WHERE ($1 IS NULL OR cluster = $1) \
                 ORDER BY cluster, schedule",
                values![cluster],
            )
            .await?;
        rows.iter().map(schedule).collect()
    }

    /// Schedules that are due at a moment, longest due first, at most `limit`.
    pub async fn schedules_due(
        &self,
        now: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<ScheduleRow>, StateError> {
        let rows = self
            .rows(
                "SELECT * FROM schedules WHERE next_due <= $1 \
                 ORDER BY next_due, schedule, cluster LIMIT $2",
                values![now, limit],
            )
            .await?;
        rows.iter().map(schedule).collect()
    }

    /// Takes schedules from a due moment to the next: jobs, entries and the next moment, all
    /// of it or nothing. A schedule that is gone or was moved beyond that moment meanwhile is
    /// passed over. Refused ([`StateErrorKind::Fenced`]) when the lease has changed hands.
    pub async fn schedule_advance(
        &self,
        lease: &Lease,
        steps: &[Advance],
    ) -> Result<Advanced, StateError> {
        transact!(self, transaction => advance_in(&mut transaction, lease, steps))
    }
}

async fn lease_in(
    transaction: &mut Transaction,
    name: &str,
    holder: Uuid,
    now: DateTime<Utc>,
    ttl: Duration,
) -> Result<Option<Lease>, StateError> {
    let ttl = TimeDelta::from_std(ttl).unwrap_or(TimeDelta::MAX);
    let until = now
        .checked_add_signed(ttl)
        .unwrap_or(DateTime::<Utc>::MAX_UTC);
    transaction
        .execute(
            "INSERT INTO leases (name, token, holder, lease_until) VALUES ($1, 0, NULL, 0) \
             ON CONFLICT DO NOTHING",
            values![name],
        )
        .await?;
    let taken = transaction
        .row(
            "UPDATE leases SET \
             token = CASE WHEN holder = $2 AND lease_until >= $3 THEN token ELSE token + 1 END, \
             holder = $2, lease_until = $4 \
             WHERE name = $1 AND (holder = $2 OR holder IS NULL OR lease_until < $3) \
             RETURNING token",
            values![name, holder, now, until],
        )
        .await?;
    taken
        .map(|row| {
            Ok(Lease {
                name: name.to_owned(),
                holder,
                token: row.number("token")?,
                until,
            })
        })
        .transpose()
}

/// Checks that a lease is held, and holds its row until the end of the transaction, so that
/// nobody takes it meanwhile.
pub(super) async fn hold_in(
    transaction: &mut Transaction,
    lease: &Lease,
) -> Result<(), StateError> {
    let held = transaction
        .execute(
            "UPDATE leases SET token = token WHERE name = $1 AND token = $2 AND holder = $3",
            values![&lease.name, lease.token, lease.holder],
        )
        .await?;
    if held == 1 {
        return Ok(());
    }
    Err(transaction.trouble(
        StateErrorKind::Fenced,
        format!("the lease {} was taken by another", lease.name),
    ))
}

async fn sync_in(
    transaction: &mut Transaction,
    lease: &Lease,
    rows: &[ScheduleRow],
    now: DateTime<Utc>,
) -> Result<ScheduleSync, StateError> {
    hold_in(transaction, lease).await?;
    // Two daemons with the same new configuration do this one after the other.
    take_turn(transaction).await?;
    let mut known: BTreeMap<(String, String), ScheduleRow> = transaction
        .rows("SELECT * FROM schedules", values![])
        .await?
        .iter()
        .map(schedule)
        .map(|row| row.map(|row| ((row.schedule.clone(), row.cluster.clone()), row)))
        .collect::<Result<_, _>>()?;
    let mut sync = ScheduleSync::default();
    let mut entries = Vec::new();
    for row in rows {
        let mut next_due = row.next_due;
        match known.remove(&(row.schedule.clone(), row.cluster.clone())) {
            Some(old) if old.definition == row.definition && old.kind == row.kind => continue,
            Some(old) => {
                sync.changed += 1;
                if old.kind != row.kind {
                    entries.extend(unwanted_in(transaction, &old, now).await?);
                } else if old.next_due <= now {
                    // What was due is dealt with before it goes by its new definition.
                    next_due = old.next_due;
                }
            }
            None => sync.added += 1,
        }
        transaction
            .execute(
                "INSERT INTO schedules (schedule, cluster, kind, definition, next_due, last_due) \
                 VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (schedule, cluster) DO UPDATE SET \
                 kind = excluded.kind, definition = excluded.definition, \
                 next_due = excluded.next_due",
                values![
                    &row.schedule,
                    &row.cluster,
                    row.kind.as_str(),
                    &row.definition,
                    next_due,
                    row.last_due,
                ],
            )
            .await?;
    }
    for gone in known.into_values() {
        entries.extend(unwanted_in(transaction, &gone, now).await?);
        sync.removed += transaction
            .execute(
                "DELETE FROM schedules WHERE schedule = $1 AND cluster = $2",
                values![&gone.schedule, &gone.cluster],
            )
            .await?;
    }
    append_in(transaction, &entries).await?;
    Ok(sync)
}

/// Cancels the jobs that wait for a schedule that is not wanted any more. Gives what is to be
/// said of them, and of its moment if that has come.
async fn unwanted_in(
    transaction: &mut Transaction,
    row: &ScheduleRow,
    now: DateTime<Utc>,
) -> Result<Vec<NewEntry>, StateError> {
    let jobs = transaction
        .rows(
            "UPDATE jobs SET status = 'cancelled', finished_at = $3, \
             error = 'the configuration does not want it any more' \
             WHERE schedule = $1 AND cluster = $2 AND status = 'waiting' RETURNING *",
            values![&row.schedule, &row.cluster, now],
        )
        .await?
        .iter()
        .map(job)
        .collect::<Result<Vec<_>, _>>()?;
    let mut entries = undone(transaction, &jobs, SkippedReason::Removed, now).await?;
    if row.next_due <= now && row.kind != JobKind::Sweep {
        let body = Body::Skipped(Box::new(SkippedBody {
            job: EntryKind::from(row.kind),
            schedule: Some(row.schedule.clone()),
            key: None,
            due_at: row.next_due,
            moments: 1,
            reason: SkippedReason::Removed,
            earlier: None,
        }));
        entries.push(new_entry(transaction, now, &body, &row.cluster, "")?);
    }
    Ok(entries)
}

async fn advance_in(
    transaction: &mut Transaction,
    lease: &Lease,
    steps: &[Advance],
) -> Result<Advanced, StateError> {
    hold_in(transaction, lease).await?;
    let mut advanced = Advanced::default();
    let mut entries = Vec::new();
    for step in steps {
        let moved = transaction
            .execute(
                "UPDATE schedules SET next_due = $3, last_due = $4 \
                 WHERE schedule = $1 AND cluster = $2 AND next_due <= $4",
                values![&step.schedule, &step.cluster, step.next_due, step.last_due],
            )
            .await?;
        if moved == 0 {
            continue;
        }
        let new = enqueue_in(transaction, &step.jobs).await?;
        advanced.jobs += new.into_iter().map(u64::from).sum::<u64>();
        entries.extend(step.entries.iter().cloned());
    }
    advanced.entries = append_in(transaction, &entries).await?;
    Ok(advanced)
}

fn schedule(row: &Row) -> Result<ScheduleRow, StateError> {
    Ok(ScheduleRow {
        schedule: row.text("schedule")?,
        cluster: row.text("cluster")?,
        kind: row.word("kind", JobKind::from_word)?,
        definition: row.text("definition")?,
        next_due: row.moment("next_due")?,
        last_due: row.optional_moment("last_due")?,
    })
}
