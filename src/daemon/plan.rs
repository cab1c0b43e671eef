//! A configuration made ready: what its schedules do, and within what limits.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::schedule::{Hold, Outline, outline};
use crate::config::{ByteSize, Config};
use crate::state::{Budgets, ScheduleRow};

/// A configuration made ready. A reload makes a new one; what is under way keeps its own.
#[derive(Debug)]
pub struct Plan {
    /// The configuration.
    pub config: Arc<Config>,
    /// What the schedules do, by schedule and cluster.
    outlines: BTreeMap<String, BTreeMap<String, Outline>>,
    hold: Hold,
}

impl Plan {
    /// Makes a configuration ready.
    pub fn of(config: Arc<Config>) -> Self {
        let mut outlines: BTreeMap<String, BTreeMap<String, Outline>> = BTreeMap::new();
        for outline in outline(&config) {
            outlines
                .entry(outline.schedule.clone())
                .or_default()
                .insert(outline.cluster.clone(), outline);
        }
        let hold = Hold::new(
            config.time_zone,
            &config.daemon.windows,
            &config.daemon.blackout,
        );
        Self {
            config,
            outlines,
            hold,
        }
    }

    /// What a schedule does for a cluster.
    pub fn outline(&self, schedule: &str, cluster: &str) -> Option<&Outline> {
        self.outlines.get(schedule)?.get(cluster)
    }

    /// Everything that the schedules do, by schedule and cluster.
    pub fn outlines(&self) -> impl Iterator<Item = &Outline> {
        self.outlines.values().flat_map(BTreeMap::values)
    }

    /// What the state is to know of the schedules; those that are new come next after `now`.
    pub fn rows(&self, now: DateTime<Utc>) -> Vec<ScheduleRow> {
        self.outlines()
            .filter_map(|outline| outline.row(now))
            .collect()
    }

    /// Whether jobs may be started at this moment.
    pub fn starts(&self, now: DateTime<Utc>) -> bool {
        self.hold.release(now) == Some(now)
    }

    /// How much may be under way at once, over all daemons.
    pub fn budgets(&self) -> Budgets {
        let daemon = &self.config.daemon;
        Budgets {
            drills: daemon.drills(),
            per_cluster: daemon.per_cluster(),
            per_bucket: daemon.per_bucket(),
            scratch_bytes: daemon.scratch.map_or(u64::MAX, ByteSize::bytes),
        }
    }
}
