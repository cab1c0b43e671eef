//! The `cnpg` environment: a recovery Cluster of CloudNativePG in a scratch namespace of its
//! own, derived from the live one.
//!
//! The operator promotes by itself when the target is reached, so the server cannot be asked
//! there. What proves the end is the history file that it wrote: its switch point is where
//! replay ended, and must be where the bytes said it would.

pub(in crate::drill) mod admit;
mod cost;
pub(in crate::drill) mod course;
mod hand_over;
mod logs;
mod options;
pub mod plan;
mod probes;
pub mod report;
mod server;
mod snapshot;
mod store;
pub(in crate::drill) mod tear_down;
mod trouble;

pub use hand_over::{Connection, HandOver, HandedOver, LoginRole, hand_over};
pub use options::{CnpgOptions, Definition};
pub use plan::PlannedCnpg;
pub use report::{Cost, KubernetesReport, TroubleReport};
pub use snapshot::{snapshot_backups, snapshot_base};
