//! The tick: due moments become jobs; what is late, left out or missed is said; jobs whose
//! holder fell silent wait again.
//!
//! One daemon does it at a time: the one that holds the lease. The others look whether
//! somebody does. Every step is one transaction that shows the lease's token, so a daemon
//! that slept over the end of its lease changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::plan::Plan;
use super::schedule::Situation;
use crate::state::{Advance, Lease, ScheduleRow, State, StateError, StateErrorKind};

/// The name of the lease.
pub const TICK_LEASE: &str = "tick";
/// How long the lease of a daemon that fell silent keeps others out.
const LEASE: Duration = Duration::from_secs(15);
/// So many schedules take their step in one transaction.
const STEPS: u32 = 200;

/// What a tick came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ticked {
    /// Whether this daemon holds the lease.
    pub holds: bool,
    /// Whether somebody does.
    pub held: bool,
    /// Jobs that came into the queue.
    pub jobs: u64,
    /// Entries that were appended: late, left out, missed.
    pub entries: u64,
    /// Jobs that nobody began before their deadline.
    pub missed: u64,
    /// Jobs that were taken back from a holder that fell silent.
    pub expired: u64,
}

/// What ticks.
#[derive(Debug)]
pub(super) struct Tick {
    holder: Uuid,
    /// So much later than it should be is not yet late.
    grace: TimeDelta,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    lease: Option<Lease>,
    /// The plan whose schedules the state has, and the lease's token when it got them.
    synced: Option<(Arc<Plan>, i64)>,
}

impl Tick {
    pub(super) fn new(holder: Uuid, every: Duration) -> Self {
        let twice = TimeDelta::from_std(every * 2).unwrap_or(TimeDelta::MAX);
        Self {
            holder,
            grace: twice.max(TimeDelta::minutes(1)),
            held: Mutex::new(Held::default()),
        }
    }

    /// One tick.
    pub(super) async fn tick(
        &self,
        state: &State,
        plan: &Arc<Plan>,
        now: DateTime<Utc>,
    ) -> Result<Ticked, StateError> {
        let mut ticked = Ticked::default();
        let Some(lease) = self.lease(state, now).await? else {
            ticked.held = state.lease(TICK_LEASE, now).await?.is_some();
            return Ok(ticked);
        };
        (ticked.holds, ticked.held) = (true, true);
        let done = self.with_lease(state, plan, now, &lease, &mut ticked).await;
        if let Err(error) = &done
            && error.kind == StateErrorKind::Fenced
        {
            // Another one has it by now. That is as it should be.
            self.lock().lease = None;
            tracing::info!("another daemon took over the tick");
            return Ok(Ticked {
                held: true,
                ..Ticked::default()
            });
        }
        done.map(|()| ticked)
    }

    async fn with_lease(
        &self,
        state: &State,
        plan: &Arc<Plan>,
        now: DateTime<Utc>,
        lease: &Lease,
        ticked: &mut Ticked,
    ) -> Result<(), StateError> {
        self.sync(state, plan, now, lease).await?;
        // Before new ones come, so that a job that can no longer begin is in nobody's way.
        loop {
            let missed = state.missed_jobs(now).await?;
            ticked.missed += missed.len() as u64;
            for job in &missed {
                tracing::warn!(job = %job.key, deadline = ?job.deadline, "missed: not begun before its deadline");
            }
            if missed.len() < 1_000 {
                break;
            }
        }
        let expired = state.expire_leases(now).await?;
        ticked.expired = expired.len() as u64;
        for job in &expired {
            tracing::warn!(job = %job.key, holder = ?job.holder, status = job.status.as_str(), "taken back: its holder fell silent");
        }
        loop {
            let due = state.schedules_due(now, STEPS).await?;
            let steps = self.steps(state, plan, now, &due).await?;
            if steps.is_empty() {
                return Ok(());
            }
            let advanced = state.schedule_advance(lease, &steps).await?;
            ticked.jobs += advanced.jobs;
            ticked.entries += advanced.entries.len() as u64;
            tracing::debug!(schedules = steps.len(), jobs = advanced.jobs, "due");
        }
    }

    /// The steps of schedules that are due.
    async fn steps(
        &self,
        state: &State,
        plan: &Plan,
        now: DateTime<Utc>,
        due: &[ScheduleRow],
    ) -> Result<Vec<Advance>, StateError> {
        let mut under_way: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        let mut steps = Vec::with_capacity(due.len());
        for row in due {
            // A daemon with another configuration may have left it; the next sync removes
            // it.
            let Some(outline) = plan.outline(&row.schedule, &row.cluster) else {
                continue;
            };
            if !under_way.contains_key(row.schedule.as_str()) {
                let jobs = state.jobs_under_way(&row.schedule).await?;
                under_way.insert(&row.schedule, jobs);
            }
            let nobody = BTreeSet::new();
            let situation = Situation {
                now,
                grace: self.grace,
                under_way: under_way.get(row.schedule.as_str()).unwrap_or(&nobody),
            };
            match outline.due(row.next_due, &situation) {
                Ok(Some(step)) => steps.push(Advance {
                    schedule: row.schedule.clone(),
                    cluster: row.cluster.clone(),
                    next_due: step.next_due,
                    last_due: step.last_due,
                    jobs: step.jobs,
                    entries: step.entries,
                }),
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(schedule = %row.schedule, cluster = %row.cluster, %error, "a due moment cannot be written down");
                }
            }
        }
        Ok(steps)
    }

    /// Lets the state know the schedules, when they or the lease are new here.
    async fn sync(
        &self,
        state: &State,
        plan: &Arc<Plan>,
        now: DateTime<Utc>,
        lease: &Lease,
    ) -> Result<(), StateError> {
        // Plans are told apart by where they lie: this one is kept, so that no other lies there.
        let known = self
            .lock()
            .synced
            .as_ref()
            .is_some_and(|(synced, token)| Arc::ptr_eq(synced, plan) && *token == lease.token);
        if known {
            return Ok(());
        }
        let rows = plan.rows(now);
        let synced = state.schedules_sync(lease, &rows, now).await?;
        self.lock().synced = Some((Arc::clone(plan), lease.token));
        tracing::info!(
            schedules = rows.len(),
            added = synced.added,
            changed = synced.changed,
            removed = synced.removed,
            "the schedules are in the state"
        );
        Ok(())
    }

    /// The lease, taken or renewed.
    async fn lease(&self, state: &State, now: DateTime<Utc>) -> Result<Option<Lease>, StateError> {
        let half = TimeDelta::from_std(LEASE / 2).unwrap_or_default();
        let known = self.lock().lease.clone();
        if let Some(lease) = &known
            && lease.until - now > half
        {
            return Ok(known);
        }
        if known.is_none()
            && state
                .lease(TICK_LEASE, now)
                .await?
                .is_some_and(|lease| lease.holder != self.holder)
        {
            return Ok(None);
        }
        let taken = state.try_lease(TICK_LEASE, self.holder, now, LEASE).await?;
        match (&known, &taken) {
            (None, Some(_)) => tracing::info!("this daemon ticks"),
            (Some(_), None) => tracing::warn!("the tick's lease was lost to another daemon"),
            _ => {}
        }
        self.lock().lease.clone_from(&taken);
        Ok(taken)
    }

    /// Gives the lease back, so that another daemon need not wait for its end.
    pub(super) async fn release(&self, state: &State) {
        let lease = self.lock().lease.take();
        if let Some(lease) = lease
            && let Err(error) = state.release_lease(&lease).await
        {
            tracing::debug!(%error, "the tick's lease runs out by itself");
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
