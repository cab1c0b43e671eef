//! What a copy keeps.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use crate::config::{Period, Replication};
use crate::finding::Finding;
use crate::verify::VerifyOptions;

/// What a copy keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ExpirePolicy {
    /// Every moment this far back stays recoverable.
    pub keep: Period,
    /// At least so many usable base backups stay, however old; never less than one.
    pub minimum_redundancy: u32,
}

impl ExpirePolicy {
    /// What the configuration says of a replica; `None` if it says nothing of how long.
    pub fn of(replication: &Replication) -> Option<Self> {
        Some(Self {
            keep: replication.keep?,
            minimum_redundancy: replication.minimum_redundancy.unwrap_or(1).max(1),
        })
    }

    /// The earliest moment that must stay recoverable.
    pub fn since(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        now.checked_sub_signed(self.keep.as_chrono())
            .unwrap_or(DateTime::<Utc>::MIN_UTC)
    }
}

/// How a plan is made.
#[derive(Clone, Debug)]
pub struct ExpireOptions {
    /// The cluster's name, for the report.
    pub cluster: Option<String>,
    /// The copy's name, for the report.
    pub copy: Option<String>,
    /// What is kept.
    pub policy: ExpirePolicy,
    /// How the copy is judged, and at which moment.
    pub verify: VerifyOptions,
    /// Damage that earlier runs found in objects of this copy. A base backup that has any is
    /// not counted among the usable ones.
    pub remembered: Vec<Finding>,
}
