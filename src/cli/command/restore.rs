//! `walproof restore`: fill an empty directory.

use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::cli::source::{SourceArgs, resolve};
use crate::cli::{Context, ExitCode, Failure, TargetArgs};

/// Restore into an empty directory, up to any target
#[derive(Args, Clone, Debug)]
#[command(
    long_about = "Fill an empty directory with a base backup and set it up to recover to a target.\n\nEvery target becomes an exact position in the WAL, computed from the archive's bytes beforehand, so that recovery either ends there or stops with an error; it never promotes early with rows missing. A directory that is not empty is refused. Tablespaces are always moved to places that you name.",
    after_long_help = "Examples:\n  walproof restore orders --into /var/lib/postgresql/15/orders\n  walproof restore s3://backups/orders --into /srv/orders --target-time '2026-11-21 02:40:00+00'\n  walproof restore orders --into /srv/orders --target-lsn 16/B374D848 --exclusive\n  walproof restore orders --into /srv/orders --tablespace 16385=/srv/orders-fast\n  walproof restore orders --into /srv/orders --dry-run"
)]
pub struct RestoreArgs {
    /// Where from.
    #[command(flatten)]
    pub source: SourceArgs,
    /// The directory to fill; it must be empty or not exist
    #[arg(long, value_name = "DIRECTORY")]
    pub into: PathBuf,
    /// The base backup: its id, or auto for the newest that reaches the target
    #[arg(long, value_name = "ID", default_value = "auto")]
    pub backup: String,
    /// How far.
    #[command(flatten)]
    pub target: TargetArgs,
    /// Where a tablespace goes: its oid or name, and an empty directory (repeatable)
    #[arg(long = "tablespace", value_name = "OID|NAME=DIRECTORY")]
    pub tablespaces: Vec<String>,
    /// What the server does when it has reached the target
    #[arg(long, value_name = "ACTION", default_value = "pause")]
    pub then: TargetAction,
    /// How many archives are fetched at once
    #[arg(long, value_name = "N", default_value = "4")]
    pub jobs: NonZeroU32,
    /// Let an unfinished segment (.partial) pass for a full one
    #[arg(long)]
    pub allow_partial: bool,
    /// Show what would be restored, and touch nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// PostgreSQL's recovery_target_action.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum TargetAction {
    /// Wait, readable, until somebody resumes.
    #[default]
    Pause,
    /// Become a server that can be written to.
    Promote,
    /// Stop.
    Shutdown,
}

/// Runs `restore`.
#[expect(clippy::unused_async, reason = "the room behind it is asynchronous")]
pub async fn run(args: RestoreArgs, context: &Context) -> Result<ExitCode, Failure> {
    let config = context.config()?;
    let _source = resolve(&args.source, &config)?;
    let _target = args.target.target()?;
    let _timeline = args.target.timeline()?;
    Err(Failure::not_built("restore"))
}
