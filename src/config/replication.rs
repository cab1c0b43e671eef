//! How a replica is kept.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Bandwidth, Period, Share, TimeWindow};

/// How a copy of the primary repository is made and kept (`walproof replicate`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Replication {
    /// How many objects are copied at once; 8 without it.
    #[serde(default)]
    #[schemars(range(min = 1, max = 256))]
    pub parallel: Option<u32>,
    /// At most this much is read from the source.
    #[serde(default)]
    pub bandwidth: Option<Bandwidth>,
    /// Only within this time of day.
    #[serde(default)]
    pub window: Option<TimeWindow>,
    /// How much of what was written is read back and compared; 1% without it. Descriptions
    /// of base backups always are.
    #[serde(default)]
    pub read_back: Option<Share>,
    /// Object lock: for how long what is copied may be neither changed nor deleted. The
    /// bucket must have been made with object lock.
    #[serde(default)]
    pub retention: Option<Retention>,
    /// `walproof replicate expire` keeps what is needed to go back this far.
    #[serde(default)]
    pub keep: Option<Period>,
    /// `walproof replicate expire` keeps at least so many base backups, however old.
    #[serde(default)]
    #[schemars(range(min = 1, max = 10_000))]
    pub minimum_redundancy: Option<u32>,
    /// The copy may be at most this far behind the primary.
    #[serde(default)]
    pub lag: Option<Period>,
}

/// Object lock on what is copied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// Who may lift it.
    pub mode: LockMode,
    /// For how long, from when the object is copied.
    pub period: Period,
}

/// Who may lift an object lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LockMode {
    /// Whoever has a special permission.
    Governance,
    /// Nobody, not even the account's owner.
    Compliance,
}
