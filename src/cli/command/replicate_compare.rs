//! `walproof replicate compare`: a copy against its source.

use clap::Args;
use serde::Serialize;

use super::replicate_pair::PairArgs;
use super::replicate_run::{graver, progress};
use super::verify::FailOn;
use crate::cli::recording::{Recording, failed, outcome};
use crate::cli::render::replicate as render;
use crate::cli::{Context, ExitCode, Failure};
use crate::config::{Bandwidth, Period};
use crate::evidence::Verdict;
use crate::finding::Severity;
use crate::operation::Leaves;
use crate::operation::replicate::Places;
use crate::replicate::{CompareOptions, CompareReport, ReplicateOptions, compare};
use crate::state::{DepthRank, Outcome, RunKind, State};
use crate::verify::words;

/// Compare a copy with its source: by listing and memory, or every byte
#[derive(Args, Clone, Debug)]
#[command(
    long_about = "Compare a copy with its source. Both are listed and compared by name, size and what walproof remembers of each copy: its digest, and what the stores said of it then. What looks different is read, and its bytes decide.\n\nWith --read every object is read on both sides and the digests are compared with each other and with what was copied; that also makes the memory whole again where it was lost. Nothing is written to either place.",
    after_long_help = "Examples:\n  walproof replicate compare orders\n  walproof replicate compare orders --copy second-region --read\n  walproof replicate compare s3://backups/orders file:///mnt/disk/orders --read --bandwidth 100MiB/s\n  walproof replicate compare orders --output json | jq '.findings[].object'\n\nExit codes: 0 no finding at or above --fail-on; 1 there is one; 3 could not compare; 4 refused; 130 interrupted."
)]
pub struct CompareArgs {
    /// What, and with what.
    #[command(flatten)]
    pub pair: PairArgs,
    /// Read every object on both sides
    #[arg(long)]
    pub read: bool,
    /// What lies at the source for longer must be at the target [default: the replica's
    /// `lag`, else 1h]
    #[arg(long, value_name = "PERIOD")]
    pub lag: Option<Period>,
    /// How many objects are read at once [default: 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub parallel: Option<u32>,
    /// Read at most so many bytes per second from the source, such as 50MiB/s
    #[arg(long, value_name = "RATE")]
    pub bandwidth: Option<Bandwidth>,
    /// Exit with 1 when there is a finding of at least this severity
    #[arg(long, value_name = "SEVERITY", default_value = "warning")]
    pub fail_on: FailOn,
    /// Show at most this many findings as text; JSON always has all
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: usize,
}

impl CompareArgs {
    fn options(&self, places: &Places) -> CompareOptions {
        let configured = places.options();
        CompareOptions {
            replicate: ReplicateOptions {
                parallel: self
                    .parallel
                    .and_then(|parallel| usize::try_from(parallel).ok())
                    .unwrap_or(configured.parallel),
                bandwidth: self.bandwidth.or(configured.bandwidth),
                ..configured
            },
            read: self.read,
            lag: self.lag.or(places.replication.lag).map(Period::as_chrono),
        }
    }
}

#[derive(Serialize)]
struct Copies<'a> {
    schema: &'static str,
    reports: &'a [CompareReport],
}

/// Runs `replicate compare`.
pub(super) async fn run(args: CompareArgs, context: &Context) -> Result<ExitCode, Failure> {
    let config = context.known_config().await?;
    let pairs = args.pair.resolve(&config)?;
    let threshold = Severity::from(args.fail_on);
    let mut reports = Vec::new();
    for places in &pairs {
        let recording =
            Recording::try_begin(RunKind::Compare, &places.target, &config, context).await;
        let state = recording.as_ref().map(Recording::state);
        let result = one(&args, places, state, context).await;
        if let Some(recording) = recording {
            let (outcome, leaves) = match &result {
                Ok(report) => (outcome_of(report, threshold), leaves(report)),
                Err(failure) => (failed(failure), Leaves::default()),
            };
            recording.finish_with(&outcome, leaves).await?;
        }
        reports.push(result?);
    }
    if context.output.is_json() {
        match reports.as_slice() {
            [only] => context.output.json(only)?,
            all => context.output.json(&Copies {
                schema: "walproof.replicate-compares/v1",
                reports: all,
            })?,
        }
    } else {
        let style = context.output.style();
        let texts: Vec<String> = reports
            .iter()
            .map(|report| render::compare(report, style, args.limit))
            .collect();
        context.output.text(&texts.join("\n"))?;
    }
    Ok(reports
        .iter()
        .map(|report| code_of(report, threshold))
        .fold(ExitCode::Done, graver))
}

async fn one(
    args: &CompareArgs,
    places: &Places,
    state: Option<&State>,
    context: &Context,
) -> Result<CompareReport, Failure> {
    let pair = places.open(false)?;
    let options = args.options(places);
    let (tell, clear) = progress(context, &places.label(), "reading");
    let result = compare(&pair, &options, state, tell, context.interrupt.clone()).await;
    clear();
    Ok(result?)
}

fn code_of(report: &CompareReport, threshold: Severity) -> ExitCode {
    if report.interrupted {
        ExitCode::Interrupted
    } else if report
        .worst_severity()
        .is_some_and(|worst| worst >= threshold)
    {
        ExitCode::Problem
    } else if !report.failures.is_empty() || report.trouble.is_some() {
        ExitCode::Unproven
    } else {
        ExitCode::Done
    }
}

/// What a comparison leaves. One by names and sizes does not close what reading found, and
/// one that could not look at something closes nothing.
fn leaves(report: &CompareReport) -> Leaves {
    Leaves {
        depth: Some(if report.read.is_some() {
            DepthRank::READ
        } else {
            DepthRank::LISTED
        }),
        partial: report.interrupted || !report.failures.is_empty(),
        ..Leaves::default()
    }
}

fn outcome_of(report: &CompareReport, threshold: Severity) -> Outcome {
    let code = code_of(report, threshold);
    let depth = if report.read.is_some() {
        "read"
    } else {
        "listed"
    };
    outcome(
        (code == ExitCode::Problem).then_some(Verdict::Failed),
        code,
        format!(
            "{depth}, {} missing, {}",
            words::count(report.compared.missing.objects, "object"),
            words::count(report.findings.len() as u64, "finding"),
        ),
        &report.findings,
        (report.schema, report),
    )
}
