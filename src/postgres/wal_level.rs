//! How much a server wrote to its WAL.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The setting `wal_level` (`WalLevel` in `src/include/access/xlog.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WalLevel {
    /// Enough for a crash, not for a restore: recovery from an archive refuses to pass.
    Minimal,
    /// Enough for archives and standbys.
    Replica,
    /// Also enough for logical decoding.
    Logical,
}

impl WalLevel {
    /// The level of PostgreSQL's number; `None` when there is no such level.
    pub const fn from_number(number: i32) -> Option<Self> {
        match number {
            0 => Some(Self::Minimal),
            1 => Some(Self::Replica),
            2 => Some(Self::Logical),
            _ => None,
        }
    }
}

impl fmt::Display for WalLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Minimal => "minimal",
            Self::Replica => "replica",
            Self::Logical => "logical",
        })
    }
}
