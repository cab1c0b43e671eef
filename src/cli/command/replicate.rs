//! `walproof replicate`: a second copy of a repository, and how it stands.

use clap::Subcommand;

use super::{replicate_compare, replicate_expire, replicate_run, replicate_status};
use crate::cli::{Context, ExitCode, Failure, interrupted};

/// Keep a verified second copy of a repository
#[derive(Subcommand, Clone, Debug)]
pub enum ReplicateCommand {
    /// Copy what a replica lacks: create-only, in an order that keeps it recoverable
    Run(replicate_run::RunArgs),
    /// Show every copy: what it holds, how far behind, how safe; does 3-2-1 hold?
    Status(replicate_status::StatusArgs),
    /// Compare a copy with its source: by listing and memory, or every byte
    Compare(replicate_compare::CompareArgs),
    /// Remove from a copy what its policy no longer keeps; shows the plan unless confirmed
    Expire(replicate_expire::ExpireArgs),
}

/// Runs `replicate`.
pub async fn run(command: ReplicateCommand, context: &Context) -> Result<ExitCode, Failure> {
    match command {
        ReplicateCommand::Run(args) => replicate_run::run(args, context).await,
        ReplicateCommand::Status(args) => {
            let mut interrupt = context.interrupt.clone();
            tokio::select! {
                result = replicate_status::run(args, context) => result,
                () = interrupted(&mut interrupt) => Err(Failure::interrupted()),
            }
        }
        ReplicateCommand::Compare(args) => replicate_compare::run(args, context).await,
        // What is left of an expiry that was cut is whole; nothing needs to be tidied up.
        ReplicateCommand::Expire(args) => {
            let mut interrupt = context.interrupt.clone();
            tokio::select! {
                result = replicate_expire::run(args, context) => result,
                () = interrupted(&mut interrupt) => Err(Failure::interrupted()),
            }
        }
    }
}
