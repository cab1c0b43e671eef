//! The `local` environment: a restored server from PostgreSQL binaries on this machine,
//! in a scratch directory of its own, unprivileged and, where the system allows it,
//! without a network.

pub mod binaries;
pub mod confine;
pub mod disk;
pub mod identity;
pub mod ownership;
pub mod process;
mod programs;
pub mod scratch;
pub mod server;
pub mod sweep;

pub use binaries::{Binaries, BinariesError};
pub use confine::{Confinement, Network};
pub use disk::{RoomError, require_room};
pub use identity::{RunAs, RunAsError};
pub use scratch::{Scratch, ScratchError};
pub use server::{Server, ServerError, ServerPlan};
pub use sweep::{SweepReport, sweep, would_sweep};
