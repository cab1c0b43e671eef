//! Definitions: what a rebuild needs besides data, captured while the Cluster is there, stored
//! beside a replica, compared, and made ready for the day on which it is not.

mod capture;
mod find;
mod place;
mod rebuild;
mod report;
mod site;

pub use capture::{Captured, capture};
pub use find::{DefinitionList, ListedDefinition, StoredState, by_name, list, live, newest};
pub use place::{Place, replica, replicas};
pub use rebuild::{Rebuild, RebuildFile, RebuildWish, rebuild};
pub use report::{CaptureReport, Outcome, SecretReport, SiteReport};
