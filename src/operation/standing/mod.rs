//! Standings: where a copy stands by its newest run of a kind. Small, typed, made from the
//! reports, and kept one per cluster, copy and kind, so that neither the fleet view nor the
//! metrics need to read whole reports. Times are UTC, lengths are whole milliseconds.
//!
//! Fields are only added, each with a default: what an older version wrote stays readable.

mod drill;
mod replicate;
mod verify;

pub use drill::{DrillStanding, ObjectiveStanding, PhaseStanding, ProofStanding};
pub use replicate::ReplicateStanding;
pub use verify::{FindingTally, VerifyStanding, tally};
