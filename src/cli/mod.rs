//! The command line: arguments, exit codes, errors, progress and renderings.
//!
//! Each command is one thin file in `command/`; what it does lives in the rooms below. A
//! command gives an [`ExitCode`], or a [`Failure`] that says what could not be done, why,
//! and what to do about it.

pub mod access;
pub mod alone;
pub mod command;
mod context;
pub mod contract;
mod exit;
mod failure;
mod global;
mod interrupt;
mod output;
pub mod plugin;
mod progress;
mod recording;
mod relation_names;
pub mod render;
mod run;
pub mod source;
mod target;
mod wal_range;

pub use context::Context;
pub use exit::ExitCode;
pub use failure::Failure;
pub use global::{Cli, Command, GlobalArgs, LogFormatArg};
pub use interrupt::{Interrupt, interrupted};
pub use output::{ColorChoice, Output, OutputFormat, Palette};
pub use progress::Progress;
pub use run::main;
pub use target::TargetArgs;
