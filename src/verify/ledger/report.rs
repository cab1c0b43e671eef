//! What the ledger says, for machines and for people.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;

/// What is remembered of a repository's objects, after a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LedgerReport {
    /// Objects that are remembered and were listed.
    pub objects: u64,
    /// Those of them that were never read.
    pub unread: u64,
    /// When the one that was read longest ago was.
    pub oldest_read: Option<DateTime<Utc>>,
    /// Objects that this run read.
    pub read_now: u64,
    /// Their stored bytes.
    pub read_now_bytes: u64,
    /// Objects that were stored anew and hold the bytes that they always held.
    pub stored_anew: u64,
    /// Objects that are not what they were.
    pub changed: u64,
    /// Objects in which something was wrong when they were last read.
    pub damaged: u64,
    /// Objects that are remembered and no longer there: expired, as a rule.
    pub absent: u64,
    /// Why not everything could be remembered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}
