//! The ledger of one repository.

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};

use super::Place;
use crate::repository::Repository;
use crate::state::State;
use crate::verify::rotation::{Pace, Subset};

/// The ledger of one repository for one run.
#[derive(Clone, Debug)]
pub struct Ledger {
    pub(super) place: Place,
}

impl Ledger {
    /// The ledger of a repository. A bucket of the same name at another endpoint is another
    /// repository.
    pub fn new(state: State, repository: &Repository, now: DateTime<Utc>) -> Self {
        Self {
            place: Place {
                state,
                name: repository.name(),
                layout: repository.layout(),
                now: now.trunc_subsecs(6),
            },
        }
    }
}

/// How the ledger is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LedgerOptions {
    /// How what was read long ago comes back; `None` reads what the depth says, always.
    pub pace: Option<Pace>,
    /// Only this part.
    pub subset: Option<Subset>,
    /// At most this many stored bytes.
    pub max_bytes: Option<u64>,
    /// At most about this long, by the rate of the run before.
    pub max_time: Option<std::time::Duration>,
    /// Whether objects that changed are taken for what they are now.
    pub accept_changed: bool,
    /// Objects that have been gone for longer than this are forgotten.
    pub forget_absent: Option<TimeDelta>,
}
