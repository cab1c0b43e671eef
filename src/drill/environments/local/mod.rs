//! The `local` environment: a restored server from PostgreSQL binaries on this machine,
//! in a scratch directory of its own, unprivileged and, where the system allows it,
//! without a network.

pub(in crate::drill) mod admit;
pub mod binaries;
pub mod confine;
pub(in crate::drill) mod course;
pub mod disk;
pub mod identity;
mod options;
pub mod ownership;
mod prepare;
pub mod process;
mod programs;
mod recovery;
pub mod scratch;
pub mod server;
pub mod sweep;
pub(in crate::drill) mod tear_down;
mod wal_wanted;

pub use binaries::{Binaries, BinariesError};
pub use confine::{Confinement, Network};
pub use disk::{RoomError, require_room};
pub use identity::{RunAs, RunAsError};
pub use options::LocalOptions;
pub use scratch::{Scratch, ScratchError};
pub use server::{Server, ServerError, ServerPlan};
pub use sweep::{SweepReport, sweep, would_sweep};
