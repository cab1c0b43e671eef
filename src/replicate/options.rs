//! How a repository is copied.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::SharedBandwidth;
use crate::config::{Bandwidth, LockMode, Replication, Share, TimeWindow};
use crate::storage;

/// How a repository is copied.
#[derive(Clone, Debug)]
pub struct ReplicateOptions {
    /// The cluster's name, for the report.
    pub cluster: Option<String>,
    /// The copy's name, for the report.
    pub copy: Option<String>,
    /// How many objects are copied at once.
    pub parallel: usize,
    /// At most this much is read from the source.
    pub bandwidth: Option<Bandwidth>,
    /// A budget that it shares with other runs of this process, beside its own limit.
    pub shared_bandwidth: Option<SharedBandwidth>,
    /// Only within this time of day.
    pub window: Option<TimeWindow>,
    /// How much of what was written is read back. Commit markers always are.
    pub read_back: Share,
    /// Object lock.
    pub retention: Option<crate::config::Retention>,
    /// What was begun to be written longer ago and never finished is removed from the target.
    pub abandoned_after: Duration,
    /// Look only where new objects appear, if both sides were compared as a whole within this
    /// time.
    pub incremental: Option<Duration>,
    /// Ends after so many objects.
    pub max_objects: Option<u64>,
}

impl Default for ReplicateOptions {
    fn default() -> Self {
        Self {
            cluster: None,
            copy: None,
            parallel: Self::PARALLEL,
            bandwidth: None,
            shared_bandwidth: None,
            window: None,
            read_back: Share::ONE_PERCENT,
            retention: None,
            abandoned_after: Duration::from_hours(1),
            incremental: None,
            max_objects: None,
        }
    }
}

impl ReplicateOptions {
    /// How many objects are copied at once unless told otherwise.
    pub const PARALLEL: usize = 8;

    /// What the configuration says of a replica.
    pub fn of(replication: &Replication) -> Self {
        let usual = Self::default();
        Self {
            parallel: replication
                .parallel
                .and_then(|parallel| usize::try_from(parallel).ok())
                .unwrap_or(usual.parallel),
            bandwidth: replication.bandwidth,
            window: replication.window,
            read_back: replication.read_back.unwrap_or(usual.read_back),
            retention: replication.retention.clone(),
            ..usual
        }
    }

    /// Until when what is copied at a moment must be kept.
    pub fn locked_until(&self, now: DateTime<Utc>) -> Option<storage::Retention> {
        let retention = self.retention.as_ref()?;
        Some(storage::Retention {
            mode: match retention.mode {
                LockMode::Governance => storage::LockMode::Governance,
                LockMode::Compliance => storage::LockMode::Compliance,
            },
            until: now + retention.period.as_chrono(),
        })
    }
}
