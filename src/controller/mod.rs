//! The custom resources of `walproof.dev` and what the daemon makes of them.
//!
//! A ProtectedCluster and a RecoveryDrill are another way to write configuration: they are
//! compiled into the very types of [`config`](crate::config) and handed to the daemon as an
//! [`Overlay`](crate::daemon::Overlay). From there on everything is as with the YAML file,
//! and what came of it is written back from the state into their statuses. A kind whose
//! resources are work of their own (a RecoveryRequest) plugs in as a [`Kind`].

mod board;
pub mod cleanup;
mod cluster;
pub mod compile;
mod drill;
mod drill_jobs;
mod kind;
pub mod names;
pub mod request;
pub mod resources;
mod rounds;
mod run;
mod statuses;
mod watching;
mod write;

pub use kind::{Around, Finalizer, Kind, Reconciled, Told, Tone};
pub use rounds::{Rounds, rounds};
pub use run::{CONTROLLER_LEASE, ControllerOptions, run};
