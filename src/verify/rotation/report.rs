//! What a rotation chose, for machines and for people.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;

/// How much is read this time, and when everything will have been.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RotationReport {
    /// WAL segment objects chosen.
    pub segments: u64,
    /// Base backups chosen.
    pub backups: u64,
    /// Their stored bytes.
    pub bytes: u64,
    /// WAL segment objects that there are.
    pub of_segments: u64,
    /// Finished base backups that there are.
    pub of_backups: u64,
    /// The stored bytes of these.
    pub of_bytes: u64,
    /// The stored bytes that were never read, or changed since, and were not chosen.
    pub new_left_bytes: u64,
    /// The part that was asked for, such as `1/7`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subset: Option<String>,
    /// The most that a run may read, in stored bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_bytes: Option<u64>,
    /// Within how many seconds everything is read again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reread_within_seconds: Option<i64>,
    /// When what was read longest ago was, before this run; nothing while something never
    /// was.
    pub oldest_read: Option<DateTime<Utc>>,
    /// By when everything that lies there now will have been read, if runs go on as they do.
    pub everything_read_by: Option<DateTime<Utc>>,
    /// Why no such date can be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub never_because: Option<String>,
}

impl RotationReport {
    /// How much of everything is read, in hundredths, rounded down; all of nothing is all.
    pub fn percent(&self) -> u64 {
        self.bytes
            .saturating_mul(100)
            .checked_div(self.of_bytes)
            .unwrap_or(100)
    }
}
