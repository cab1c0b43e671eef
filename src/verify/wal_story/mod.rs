//! What happened, told by the archive alone: how much each part of PostgreSQL wrote,
//! commits over time, and when a relation went away.

mod names;
mod search;
mod statistics;
mod walk;

pub use names::{RelationNames, RelationSelector, SelectorError};
pub use search::{Hit, HitKind, RelationHit, Search, SearchReport, Wanted};
pub use statistics::{Bucket, ManagerStatistics, WalStatistics};
pub use walk::{StretchRead, WalkReport, WalkRequest, walk};
