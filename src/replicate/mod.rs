//! Replication: one repository copied to a second place, so that the copy can be recovered
//! from at every moment.
//!
//! Both sides are listed and compared with each other and with what is remembered of the
//! copies. What the target lacks is copied: every object is digested while it passes and
//! written create-only, what the target acknowledges is compared, and a share is read back.
//! WAL goes oldest first and a backup's commit marker after all that it claims. Nothing is
//! ever overwritten or deleted here but by [`expire`] and [`definition`], by plan; what differs is a finding with both digests.
//!
//! Resuming needs nothing but the target's listing. The state gives the digests by which a
//! source that changed after it was copied, and a target that is not what was written, are
//! told apart.

mod arrival;
mod compare;
mod copy;
pub mod definition;
mod diff;
mod digest;
mod engine;
mod error;
pub mod expire;
mod findings;
mod follow;
mod gate;
mod incremental;
mod judge;
mod ledger;
mod limit;
mod listing;
pub mod lock_trial;
mod meter;
mod options;
mod pair;
pub mod posture;
mod prepare;
mod queue;
mod report;
mod run;
pub mod statement;
pub mod status;
mod sweep;
mod system;
mod tally;

pub use compare::{CompareOptions, CompareReport, ReadReport, compare};
pub use error::ReplicateError;
pub use follow::{FollowEvent, FollowOptions, OnFollowEvent, follow};
pub use limit::SharedBandwidth;
pub use meter::{CopyProgress, OnCopyProgress};
pub use options::ReplicateOptions;
pub use pair::Pair;
pub use queue::Tallies;
pub use report::{
    Compared, CopiedReport, Ended, Failure, Incremental, PlannedBackup, ReplicatePlan,
    ReplicateReport, Waiting,
};
pub use run::{Stop, plan, replicate, was_interrupted};
pub use tally::Tally;

use engine::concerns_object;
