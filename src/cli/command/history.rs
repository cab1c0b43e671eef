//! `walproof history`: what was run and what it came to.

use clap::{Args, ValueEnum};

use crate::cli::{Context, ExitCode, Failure};
use crate::config::Period;

/// Show what was run and what it came to
#[derive(Args, Clone, Debug)]
#[command(
    long_about = "Show what was run and what it came to, newest first: verifications, drills, restores, backups. A run that was killed shows as `interrupted`.",
    after_long_help = "Examples:\n  walproof history\n  walproof history orders --kind drill\n  walproof history --verdict failed --since 30d\n  walproof history --output json | jq '.runs[].verdict'"
)]
pub struct HistoryArgs {
    /// Only of this cluster, or of the repository at this URL
    #[arg(value_name = "CLUSTER|URL")]
    pub source: Option<String>,
    /// Only this kind of run
    #[arg(long, value_name = "KIND")]
    pub kind: Option<KindArg>,
    /// Only this verdict
    #[arg(long, value_name = "VERDICT")]
    pub verdict: Option<VerdictArg>,
    /// Only what began within this period, such as 30d
    #[arg(long, value_name = "PERIOD")]
    pub since: Option<Period>,
    /// At most this many
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: u32,
}

/// Kinds of runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KindArg {
    /// Verifications.
    Verify,
    /// Drills.
    Drill,
    /// Restores.
    Restore,
    /// Base backups.
    Backup,
}

/// Verdicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum VerdictArg {
    /// Proven.
    Proven,
    /// Failed.
    Failed,
    /// Could not be checked.
    Unproven,
}

/// Runs `history`.
#[expect(clippy::unused_async, reason = "the room behind it is asynchronous")]
pub async fn run(_args: HistoryArgs, _context: &Context) -> Result<ExitCode, Failure> {
    Err(Failure::not_built("history"))
}
