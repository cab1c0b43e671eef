//! The object ledger: what was read of a repository, when, and whether it is still what it
//! was.
//!
//! A listing is compared with what is remembered, which costs no reading: another size, tag
//! or time than before means that the object must be read again, and the digest then decides
//! whether it is another one. What was read is remembered object by object while the reading
//! goes on, so that an interrupted run is gone on with. Damage is told again by runs that do
//! not read the damaged object, until it is read sound or goes.
//!
//! Descriptions of base backups may change until they have been read as finished, and the
//! marks that protect from expiry at any time; nothing else ever changes.

mod damage;
mod findings;
mod keep;
mod listing;
mod log;
mod memory;
mod reading;
mod report;
mod run;
mod small;

pub use keep::{Ledger, LedgerOptions};
pub use reading::{ObjectReading, ReadLog};
pub use report::LedgerReport;
pub use run::verify_with;

use chrono::{DateTime, Utc};

use crate::repository::Layout;
use crate::state::State;

/// Where it is remembered, and what.
#[derive(Clone, Debug)]
struct Place {
    state: State,
    /// The repository's name in the state database.
    name: String,
    layout: Layout,
    /// The moment of the run.
    now: DateTime<Utc>,
}
