//! `walproof verify`: what can be recovered, and what is wrong.

use clap::{Args, ValueEnum};

use crate::cli::source::{SourceArgs, resolve_all};
use crate::cli::{Context, ExitCode, Failure};
use crate::config::{Period, Tier};
use crate::finding::Severity;

/// Check what a repository holds: findings, windows, archive tip
#[derive(Args, Clone, Debug)]
#[command(
    long_about = "Check what a repository holds, without restoring it: which base backups are usable, from when to when the database can be brought back, how fresh the archive is, and what is wrong.\n\nOf a cluster every copy is checked, of a URL that one place. The report always says at which depth it speaks: `listed` means names and sizes, and the WAL around the tip and around gaps. Only a restore proves (`walproof drill run`).",
    after_long_help = "Examples:\n  walproof verify orders\n  walproof verify orders --copy second-region\n  walproof verify s3://backups/orders\n  walproof verify s3://backups/orders --endpoint-url http://127.0.0.1:9000 --max-backup-age 26h\n  walproof verify orders --output json | jq '.findings[].code'\n\nExit codes: 0 no finding at or above --fail-on; 1 there is one; 3 could not check."
)]
pub struct VerifyArgs {
    /// What to verify.
    #[command(flatten)]
    pub source: SourceArgs,
    /// Exit with 1 when there is a finding of at least this severity
    #[arg(long, value_name = "SEVERITY", default_value = "warning")]
    pub fail_on: FailOn,
    /// Show at most this many findings as text; JSON always has all
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: usize,
    /// Objectives, where there is no tier or it shall not count.
    #[command(flatten)]
    pub objectives: ObjectiveArgs,
}

/// From which severity a finding is a problem.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum FailOn {
    /// Any finding.
    Info,
    /// Warnings and critical findings.
    #[default]
    Warning,
    /// Critical findings.
    Critical,
}

impl From<FailOn> for Severity {
    fn from(fail_on: FailOn) -> Self {
        match fail_on {
            FailOn::Info => Self::Info,
            FailOn::Warning => Self::Warning,
            FailOn::Critical => Self::Critical,
        }
    }
}

/// Objectives on the command line; they win over the tier's.
#[derive(Args, Clone, Debug, Default)]
pub struct ObjectiveArgs {
    /// At most this much may be lost, such as 5m
    #[arg(help_heading = "Objectives", long, value_name = "PERIOD")]
    pub rpo: Option<Period>,
    /// Recovery until all checks passed takes at most this long, such as 1h
    #[arg(help_heading = "Objectives", long, value_name = "PERIOD")]
    pub rto: Option<Period>,
    /// Any moment this far back must be recoverable, such as 30d
    #[arg(help_heading = "Objectives", long, value_name = "PERIOD")]
    pub retention: Option<Period>,
    /// The newest good base backup must be younger than this, such as 26h
    #[arg(help_heading = "Objectives", long, value_name = "PERIOD")]
    pub max_backup_age: Option<Period>,
    /// A base backup still unfinished after this counts as dead, such as 12h
    #[arg(help_heading = "Objectives", long, value_name = "PERIOD")]
    pub started_backup_age: Option<Period>,
}

impl ObjectiveArgs {
    /// The tier's objectives with these put over them.
    pub fn over(&self, tier: &Tier) -> Tier {
        Tier {
            rpo: self.rpo.or(tier.rpo),
            rto: self.rto.or(tier.rto),
            retention: self.retention.or(tier.retention),
            max_backup_age: self.max_backup_age.or(tier.max_backup_age),
            started_backup_age: self.started_backup_age.or(tier.started_backup_age),
        }
    }
}

/// Runs `verify`.
#[expect(clippy::unused_async, reason = "the room behind it is asynchronous")]
pub async fn run(args: VerifyArgs, context: &Context) -> Result<ExitCode, Failure> {
    let config = context.config()?;
    let _sources = resolve_all(&args.source, &config)?;
    Err(Failure::not_built("verify"))
}
