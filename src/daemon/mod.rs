//! The daemon: schedules, the queue's tick and its workers, reload, stop, sweeping.
//!
//! [`schedule`] computes when something is due. The tick turns due moments into jobs of the
//! state database, one transaction at a time; workers claim jobs and let an [`Executor`]
//! perform them. What may be written is decided by fencing tokens in the database, never by
//! clocks; [`clock`] only says when it is time to look.

mod bell;
mod changes;
pub mod clock;
mod dispatch;
mod error;
mod executor;
mod in_process;
mod kubernetes_executor;
mod metronome;
mod overdue;
mod overlay;
mod perform;
mod plan;
mod records;
mod reload;
mod requests;
mod retired;
mod retry;
mod run;
pub mod schedule;
mod sources;
mod sweep;
mod systemd;
mod tick;
mod watcher;
mod worker;

pub use error::DaemonError;
pub use executor::{Assignment, Executor, Finished};
pub use in_process::InProcess;
pub use kubernetes_executor::{ByConfiguration, KubernetesExecutor};
pub use overlay::{Declared, Merged, NAME_TAKEN, Origin, Overlay, Refusal, merge};
pub use perform::{Handover, perform, perform_shard};
pub use plan::Plan;
pub use run::{Daemon, DaemonOptions, Signals};
pub use tick::{TICK_LEASE, Ticked};
