//! What the state says of everything at once: a few queries for a whole fleet.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use chrono::{DateTime, Utc};

use crate::state::{
    IncidentFilter, Job, JobFilter, JobKind, RunKind, Standing, StandingFilter, State, StateError,
};

/// So many of the newest drills are looked at for changes.
const RECENT: u32 = 300;

/// The queue's drills: what waits, runs, and was due last.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    /// What each schedule's jobs look like; another number when one of them changed.
    marks: BTreeMap<String, u64>,
    /// All of them.
    pub(super) mark: u64,
}

impl Queue {
    pub(super) async fn read(state: &State) -> Result<Self, StateError> {
        let open = JobFilter {
            open: true,
            ..JobFilter::default()
        };
        let recent = JobFilter {
            kind: Some(JobKind::Drill),
            limit: RECENT,
            ..JobFilter::default()
        };
        let mut jobs = state.jobs(&open).await?;
        let known: BTreeSet<_> = jobs.iter().map(|job| job.id).collect();
        let others = state.jobs(&recent).await?;
        jobs.extend(others.into_iter().filter(|job| !known.contains(&job.id)));
        jobs.sort_by_key(|job| job.id);
        let mut hashers: BTreeMap<String, DefaultHasher> = BTreeMap::new();
        let mut all = DefaultHasher::new();
        for job in &jobs {
            let schedule = job.schedule.clone().unwrap_or_default();
            let own = hashers.entry(schedule).or_default();
            mark(job, own);
            mark(job, &mut all);
        }
        let marks = hashers.into_iter();
        Ok(Self {
            marks: marks.map(|(name, own)| (name, own.finish())).collect(),
            mark: all.finish(),
        })
    }

    /// What a schedule's jobs look like.
    pub(super) fn of(&self, schedule: &str) -> u64 {
        self.marks.get(schedule).copied().unwrap_or_default()
    }
}

fn mark(job: &Job, into: &mut DefaultHasher) {
    job.id.hash(into);
    job.status.as_str().hash(into);
    job.attempts.hash(into);
    job.run_id.hash(into);
    let phase = job.progress.as_ref().map(|progress| &progress.phase);
    phase.hash(into);
}

/// Where clusters stand.
#[derive(Clone, Debug, Default)]
pub(super) struct Fleet {
    /// The newest verification of the primary, and the newest drill, by cluster.
    pub(super) verified: BTreeMap<String, Standing>,
    pub(super) drilled: BTreeMap<String, Standing>,
    /// Open incidents, counted by cluster.
    pub(super) incidents: BTreeMap<String, u32>,
    /// When each schedule is due next, for the cluster that is first.
    pub(super) next: BTreeMap<String, DateTime<Utc>>,
}

impl Fleet {
    pub(super) async fn read(state: &State) -> Result<Self, StateError> {
        let mut fleet = Self::default();
        let standings = state.standings(&StandingFilter::default()).await?;
        for standing in standings {
            let place = match standing.kind {
                RunKind::Verify if standing.copy == "primary" => &mut fleet.verified,
                RunKind::Drill => &mut fleet.drilled,
                _ => continue,
            };
            let newer = place
                .get(&standing.cluster)
                .is_none_or(|known| known.at < standing.at);
            if newer {
                place.insert(standing.cluster.clone(), standing);
            }
        }
        for incident in state.incidents(true, &IncidentFilter::default()).await? {
            *fleet.incidents.entry(incident.cluster).or_default() += 1;
        }
        for row in state.schedules(None).await? {
            fleet
                .next
                .entry(row.schedule)
                .and_modify(|known: &mut DateTime<Utc>| *known = row.next_due.min(*known))
                .or_insert(row.next_due);
        }
        Ok(fleet)
    }
}
