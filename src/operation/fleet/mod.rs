//! The fleet: every guarded cluster, where it stands now, and whether it is proven.
//!
//! Made from what runs left in the state database; nothing is looked at anew, and the report
//! says of each figure how old the look behind it is. A verdict is `proven` only where a
//! drill proved a copy within its due and the newest look at every copy found nothing wrong
//! ([`judge()`]).

mod gather;
mod judge;
#[cfg(test)]
mod judge_tests;
mod report;

pub use gather::{cluster, fleet};
pub use judge::{CLOCK_TOLERANCE, CopyProofs, Judged, LOOK_COUNTS, PROOF_COUNTS, judge};
pub use report::{
    ClusterStatus, CopyRole, CopyStatus, DrillStatus, ExposureStatus, Fleet, FleetCounts,
    IncidentStatus, JobUnderWay, LastProof, LedgerHead, NextRun, Overdue, ReasonWhy,
    ReplicationStatus, SCHEMA, VerificationStatus,
};
