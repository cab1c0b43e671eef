//! Rotation: what is read tonight, so that everything is read again within a stated time.
//!
//! Pure: from what there is and when it was read ([`Holdings`]) to what is read now
//! ([`Selection`]) and the date by which everything will have been ([`RotationReport`]).

mod holdings;
mod options;
mod plan;
mod report;
mod selection;
#[cfg(test)]
mod tests;
mod units;

pub use holdings::{HeldBackup, HeldSegment, Holdings};
pub use options::{Pace, RotationOptions, Subset, SubsetError};
pub use plan::{Rotation, rotate};
pub use report::RotationReport;
pub use selection::Selection;
