//! `walproof verify`: what can be recovered, and what is wrong.

use std::sync::OnceLock;

use clap::{Args, ValueEnum};

use serde::Serialize;

use super::verify_depth::DepthArgs;
use super::verify_shards::{self as shards, ShardArgs};
use crate::cli::alone::AloneArgs;
use crate::cli::recording::Recording;
use crate::cli::render::verify as render;
use crate::cli::source::{SourceArgs, resolve_all};
use crate::cli::{Context, ExitCode, Failure};
use crate::config::{AloneSetting, Config, Period, Tier};
use crate::drill::Cancellation;
use crate::finding::Severity;
use crate::operation::alone;
use crate::operation::shards::Campaign;
use crate::operation::source::Source;
use crate::operation::verify::{
    VerifyRequest, has_no_usable_backup, is_problem, not_alone, verify,
};
use crate::repository::{AloneAsked, AloneOptions};
use crate::state::RunKind;
use crate::verify::read::Reading;
use crate::verify::{ReadProgress, VerifyReport};

/// Check what a repository holds: findings, windows, archive tip
#[derive(Args, Clone, Debug)]
#[command(
    long_about = "Check what a repository holds, without restoring it: which base backups are usable, from when to when the database can be brought back, how fresh the archive is, and what is wrong.\n\nOf a cluster every copy is checked, of a URL that one place. The report always says at which depth it speaks:\n\n  listed   names and sizes, and the WAL around the tip, around gaps and at timeline switches. Takes seconds; run it every few minutes for the exposure.\n  sampled  every byte of what is new or changed, and of the rest of what was read longest ago, so that everything is read again within --reread-within (30d). The state database remembers what was read; a run that is interrupted is gone on with by the next one.\n  read     every byte that lies there: each object decoded with its codec's own checks, every WAL record by its checksum and its place in the chain, every archive's structure, every page of every relation. Finds what names cannot show and most tools restore without a word: flipped bytes, cut objects, foreign or recycled segments, damaged pages. Costs one download of the repository; run it every night while that is cheap.\n\nAn object that is no longer what it was when it was first read is a finding at every depth.\n\nA page torn while the backup ran is no damage: the WAL of the backup heals it, which is looked up. Only a restore proves (`walproof drill run`).",
    after_long_help = "Examples:\n  walproof verify orders\n  walproof verify orders --depth read\n  walproof verify orders --depth read --segments --output json | jq '.wal.by_segment[] | select(.sound | not)'\n  walproof verify orders --depth sampled\n  walproof verify orders --depth sampled --max-bytes 50GiB\n  walproof verify orders --subset 1/7\n  walproof verify orders --depth read --reread-within 1d\n  walproof verify orders --depth read --shards 4\n  walproof verify orders --copy second-region\n  walproof verify orders --copy second-region --depth read --alone\n  walproof verify s3://backups/orders\n  walproof verify s3://backups/orders --endpoint-url http://127.0.0.1:9000 --max-backup-age 26h\n  walproof verify orders --output json | jq '.findings[].code'\n\nExit codes: 0 no finding at or above --fail-on; 1 there is one; 3 could not check, or with --alone another copy answered."
)]
pub struct VerifyArgs {
    /// What to verify.
    #[command(flatten)]
    pub source: SourceArgs,
    /// The other copies.
    #[command(flatten)]
    pub alone: AloneArgs,
    /// How deeply to look, and how much to read.
    #[command(flatten)]
    pub depth: DepthArgs,
    /// Dividing the reading.
    #[command(flatten)]
    pub shards: ShardArgs,
    /// List every WAL segment that was read in the JSON: records, commits, times
    #[arg(long)]
    pub segments: bool,
    /// Remember nothing: neither the run in the history nor what was read. Nothing is
    /// digested then, which reads plain archives faster, and no change shows
    #[arg(long, conflicts_with_all = ["reread_within", "max_time", "accept_changed", "forget_absent"])]
    pub no_state: bool,
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
            verification: tier.verification.clone(),
            due: tier.due,
        }
    }
}

/// Runs `verify`.
pub async fn run(args: VerifyArgs, context: &Context) -> Result<ExitCode, Failure> {
    let config = context.config_for(&args.source.source).await?;
    let sources = resolve_all(&args.source, &config)?;
    let asked = args.alone.over(AloneSetting::No);
    let alone = match sources.as_slice() {
        [only] => alone::others(asked, only)?,
        _ if asked == AloneAsked::No => AloneOptions::default(),
        _ => {
            return Err(
                Failure::usage("--alone looks at one copy").with_hint("name it with --copy NAME")
            );
        }
    };
    if let Some(shard) = args.shards.shard {
        return shards::run_one(shard, &sources, &config, context).await;
    }
    let threshold = Severity::from(args.fail_on);
    let mut reports = Vec::new();
    // One copy that cannot be reached must not hide what the others say.
    let mut failures: Vec<(&str, Failure)> = Vec::new();
    for source in &sources {
        let result = verify_one(source, &args, &alone, &config, context).await;
        match result {
            Ok(report) => reports.push(report),
            Err(failure) if sources.len() == 1 || failure.code == ExitCode::Interrupted => {
                return Err(failure);
            }
            Err(failure) => failures.push((&source.copy, failure)),
        }
    }
    if context.output.is_json() {
        match reports.as_slice() {
            [only] if sources.len() == 1 => context.output.json(only)?,
            all => context.output.json(&Copies {
                schema: "walproof.verify-copies/v1",
                reports: all,
                failures: failures
                    .iter()
                    .map(|(copy, failure)| CopyFailure {
                        copy,
                        error: failure.document(),
                    })
                    .collect(),
            })?,
        }
    } else {
        let style = context.output.style();
        let texts: Vec<String> = reports
            .iter()
            .map(|report| render::render(report, style, args.limit))
            .collect();
        context.output.text(&texts.join("\n\n"))?;
    }
    for (copy, failure) in &failures {
        context.progress.print(&format!(
            "copy {copy}: {}\n",
            failure.render(context.error_palette)
        ));
    }
    let problem = reports.iter().any(|report| is_problem(report, threshold));
    let accompanied = reports.iter().any(|report| !not_alone(report).is_empty());
    Ok(if problem {
        ExitCode::Problem
    } else if accompanied {
        ExitCode::Unproven
    } else {
        failures
            .first()
            .map_or(ExitCode::Done, |(_, failure)| failure.code)
    })
}

#[derive(Serialize)]
struct Copies<'a, E: Serialize> {
    schema: &'static str,
    reports: &'a [VerifyReport],
    /// Copies that could not be looked at.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failures: Vec<CopyFailure<'a, E>>,
}

#[derive(Serialize)]
struct CopyFailure<'a, E: Serialize> {
    copy: &'a str,
    error: E,
}

async fn verify_one(
    source: &Source,
    args: &VerifyArgs,
    others: &AloneOptions,
    config: &Config,
    context: &Context,
) -> Result<VerifyReport, Failure> {
    let recording = if args.no_state {
        None
    } else {
        Recording::try_begin(RunKind::Verify, source, config, context).await
    };
    let (recording, state) = Recording::split(recording);
    let shards = args.shards.asked(source, &args.depth);
    if shards > 1 && state.is_none() {
        return Err(Failure::unproven(
            "read in shards: there is no state database that they could share",
        ));
    }
    if shards > 1 {
        shards::run_all(shards, &source.copy, context).await?;
    }
    let request = VerifyRequest {
        depth: args.depth.wish(),
        by_segment: args.segments,
        objectives: args.objectives.over(&source.tier),
        alone: others.clone(),
        threshold: args.fail_on.into(),
        goes_on_without_backup: false,
        campaign: (shards > 1).then_some(Campaign::Hand),
    };
    let spinner = context
        .progress
        .spinner(&format!("listing {}", source.name));
    let bar = OnceLock::new();
    let tell = |progress: ReadProgress| {
        let bar = bar.get_or_init(|| {
            spinner.finish_and_clear();
            context
                .progress
                .bytes(&format!("reading {}", source.name), progress.of_bytes)
        });
        bar.set_length(progress.of_bytes.max(progress.bytes));
        bar.set_position(progress.bytes);
        bar.set_message(match progress.what {
            Reading::Wal => "WAL",
            Reading::Base => "base backup",
            Reading::Beside => "WAL beside the way",
        });
    };
    // Who interrupts leaves the whole command, and its run shows as interrupted.
    let never = Cancellation::never();
    let verified = verify(source, &request, recording, &tell, &never).await;
    spinner.finish_and_clear();
    if let Some(bar) = bar.get() {
        bar.finish_and_clear();
    }
    if let Some(state) = state {
        state.close().await;
    }
    let report = verified?.report;
    let ledger = report.ledger.as_ref();
    if let Some(trouble) = ledger.and_then(|ledger| ledger.trouble.as_ref()) {
        context.progress.print(&format!(
            "{} the object ledger is not complete: {trouble}\n",
            context.error_palette.yellow("note:")
        ));
    }
    if has_no_usable_backup(&report) && lives_in_kubernetes(source) {
        context.progress.print(&format!(
            "{} no base backup can be used; `walproof backup request {}` asks for one\n",
            context.error_palette.yellow("hint:"),
            source.name
        ));
    }
    Ok(report)
}

/// Whether it is what a Cluster of CloudNativePG writes.
fn lives_in_kubernetes(source: &Source) -> bool {
    source.cluster.as_ref().is_some_and(|cluster| {
        cluster.kubernetes.is_some()
            && cluster
                .copies()
                .next()
                .is_some_and(|(primary, _)| primary == source.copy)
    })
}
