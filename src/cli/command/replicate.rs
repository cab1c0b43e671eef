//! `walproof replicate`: a second copy of a repository, and how it stands.

use clap::Subcommand;

use super::{replicate_compare, replicate_run};
use crate::cli::{Context, ExitCode, Failure};

/// Keep a verified second copy of a repository
#[derive(Subcommand, Clone, Debug)]
pub enum ReplicateCommand {
    /// Copy what a replica lacks: create-only, in an order that keeps it recoverable
    Run(replicate_run::RunArgs),
    /// Compare a copy with its source: by listing and memory, or every byte
    Compare(replicate_compare::CompareArgs),
}

/// Runs `replicate`.
pub async fn run(command: ReplicateCommand, context: &Context) -> Result<ExitCode, Failure> {
    match command {
        ReplicateCommand::Run(args) => replicate_run::run(args, context).await,
        ReplicateCommand::Compare(args) => replicate_compare::run(args, context).await,
    }
}
