//! What tells the others that somebody still works: a lock on a file beside a SQLite
//! database, the word of a living process in PostgreSQL.

use super::lock::Held;
use super::postgres::Claim;

/// Held while work goes on. Dropped, the work was given up.
#[derive(Debug)]
pub(super) enum Hold {
    /// The kernel releases it when the process dies.
    File(Held),
    /// The others see by the process' heartbeat whether it still counts.
    Process(Claim),
}

impl Hold {
    /// The work came to its end.
    pub(super) fn remove(self) {
        match self {
            Self::File(held) => held.remove(),
            Self::Process(claim) => claim.done(),
        }
    }
}
