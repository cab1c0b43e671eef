//! Operations: one verification, one replication, one drill, from the configuration to its
//! record.
//!
//! What the command line and the daemon share. Whoever starts one gives it its
//! [`Surroundings`]; it finds the place in the configuration, works, and leaves a run in the
//! state database with report, findings and standing. There is no terminal here: progress
//! goes to an [`Observer`], what could not be done comes back as a [`Failure`] with its
//! class, by which is decided whether trying again makes sense.

pub mod alone;
pub mod backup_request;
mod bodies;
pub mod definition;
mod depth;
pub mod drill;
mod drill_checks;
mod environment;
pub mod evidence;
mod failure;
pub mod fleet;
mod fresh_backup;
mod job;
mod observer;
mod perform;
pub mod recording;
pub mod records;
pub mod replicate;
mod report;
pub mod request;
pub mod scan;
pub mod secrets;
pub mod shards;
mod snapshots;
pub mod source;
pub mod standing;
mod surroundings;
pub mod sweep;
mod target;
pub mod verify;

pub use depth::DepthWish;
pub use failure::{Failure, FailureClass, class_of_storage};
pub use job::{JobSpec, definition_digest};
pub use observer::{Observer, Progress, REPLICATE_PHASES, Unit, Unobserved, VERIFY_PHASES};
pub use perform::perform;
pub use recording::{Leaves, Origin, Recording};
pub use surroundings::{Ended, Limits, Part, Performed, Surroundings};
