//! `walproof history`: what was run and what it came to.

use chrono::Utc;
use clap::{Args, ValueEnum};

use crate::cli::source::{StoreArgs, resolve_url};
use crate::cli::{Context, ExitCode, Failure, render};
use crate::config::Period;
use crate::evidence::Verdict;
use crate::state::{HistoryFilter, RunKind};

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
    /// At most this many; 0 for all
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
    /// Repositories copied to a second place.
    Replicate,
    /// Copies compared with their source.
    Compare,
    /// Objects removed from copies by policy.
    Expire,
    /// Definitions captured.
    Capture,
    /// Restores that people asked for.
    Request,
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

impl From<KindArg> for RunKind {
    fn from(argument: KindArg) -> Self {
        match argument {
            KindArg::Verify => Self::Verify,
            KindArg::Drill => Self::Drill,
            KindArg::Restore => Self::Restore,
            KindArg::Backup => Self::Backup,
            KindArg::Replicate => Self::Replicate,
            KindArg::Compare => Self::Compare,
            KindArg::Expire => Self::Expire,
            KindArg::Capture => Self::Capture,
            KindArg::Request => Self::Request,
        }
    }
}

impl From<VerdictArg> for Verdict {
    fn from(argument: VerdictArg) -> Self {
        match argument {
            VerdictArg::Proven => Self::Proven,
            VerdictArg::Failed => Self::Failed,
            VerdictArg::Unproven => Self::Unproven,
        }
    }
}

/// Runs `history`.
pub async fn run(args: HistoryArgs, context: &Context) -> Result<ExitCode, Failure> {
    let config = context.config()?;
    let source = match args.source {
        // As it is stored: slashes do not matter.
        Some(url) if url.contains("://") => {
            Some(resolve_url(&url, &StoreArgs::default())?.0.to_string())
        }
        other => other,
    };
    let filter = HistoryFilter {
        source,
        kind: args.kind.map(Into::into),
        verdict: args.verdict.map(Into::into),
        since: args.since.map(|period| Utc::now() - period.as_chrono()),
        limit: args.limit,
    };
    let state = context.state(&config).await?;
    let runs = state.history(&filter).await?;
    state.close().await;
    if context.output.is_json() {
        context.output.json(&serde_json::json!({
            "schema": "walproof.history/v1",
            "runs": runs,
        }))?;
    } else {
        context
            .output
            .text(&render::history::table(&runs, context.output.palette))?;
    }
    Ok(ExitCode::Done)
}
