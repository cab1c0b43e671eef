//! Commands that walproof runs itself, in processes of their own.

use std::ffi::OsString;

use clap::{Args, Subcommand};

use crate::cli::{ExitCode, Failure};
use crate::drill::environments::local::confine;

/// Commands that walproof runs itself
#[derive(Subcommand, Clone, Debug)]
pub enum InternalCommand {
    /// Confine this process, then become another program
    Confine(ConfineArgs),
}

/// Arguments of `internal confine`.
#[derive(Args, Clone, Debug)]
pub struct ConfineArgs {
    /// The program and its arguments
    #[arg(
        value_name = "ARGUMENT",
        trailing_var_arg = true,
        allow_hyphen_values = true,
        required = true
    )]
    pub arguments: Vec<OsString>,
}

/// Runs an internal command. There is no runtime and there are no threads yet, because
/// confinement holds for one thread at a time.
pub fn run(command: &InternalCommand) -> Result<ExitCode, Failure> {
    match command {
        InternalCommand::Confine(args) => match confine::run(&args.arguments) {
            // 126: "found, and cannot be run", as a shell says it.
            Err(error) => Err(Failure::refused(error)),
            Ok(never) => match never {},
        },
    }
}
