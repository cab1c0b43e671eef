//! `walproof replicate run`: copy what a replica lacks.

use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::replicate_pair::PairArgs;
use super::verify::FailOn;
use crate::cli::recording::Recording;
use crate::cli::render::replicate as render;
use crate::cli::{Context, ExitCode, Failure};
use crate::config::{Bandwidth, Config, Period, Share, TimeWindow};
use crate::finding::Severity;
use crate::operation;
use crate::operation::replicate::{Places, Way, replicate};
use crate::replicate::{
    CopyProgress, FollowEvent, FollowOptions, OnCopyProgress, OnFollowEvent, ReplicateOptions,
    ReplicatePlan, ReplicateReport, plan,
};
use crate::state::RunKind;
use crate::verify::words;

/// Copy what a replica lacks: create-only, in an order that keeps it recoverable
#[derive(Args, Clone, Debug)]
#[command(
    long_about = "Copy what a replica lacks: of a cluster the primary to its replicas, of two URLs the first to the second.\n\nEvery object is digested while it passes, written only where there is none, compared with what the target acknowledges, and a share is read back. WAL goes oldest first and the description of a base backup after its data and its WAL, so that the copy can be restored from at every moment; keys stay as they are, so that CloudNativePG and the tools restore from it unchanged. A base backup that is not finished waits.\n\nNothing is ever overwritten or deleted at the target: what differs is a finding with both digests, and what the source deletes stays. A source object that changed after it was copied is an alarm.\n\nAn interrupted run is gone on with by the next one: what lies at the target is not copied again.",
    after_long_help = "Examples:\n  walproof replicate run orders --dry-run\n  walproof replicate run orders\n  walproof replicate run orders --copy second-region --bandwidth 50MiB/s\n  walproof replicate run s3://backups/orders s3://copy/orders --target-profile copy\n  walproof replicate run s3://backups/orders file:///mnt/disk/orders\n  walproof replicate run orders --follow\n  walproof replicate run orders --incremental --compare-every 6h\n  walproof replicate run orders --output json | jq '.copied'\n\nExit codes: 0 done, no finding at or above --fail-on; 1 there is one; 3 something could not be copied; 4 refused (places overlap, or the target holds another database); 130 interrupted."
)]
pub struct RunArgs {
    /// What, and where to.
    #[command(flatten)]
    pub pair: PairArgs,
    /// Say what would be copied, and copy nothing
    #[arg(long)]
    pub dry_run: bool,
    /// How many objects are copied at once [default: 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub parallel: Option<u32>,
    /// Read at most so many bytes per second from the source, such as 50MiB/s
    #[arg(long, value_name = "RATE")]
    pub bandwidth: Option<Bandwidth>,
    /// Copy only within this time of day, such as 22:00-06:00; outside it, end
    #[arg(long, value_name = "WINDOW")]
    pub window: Option<TimeWindow>,
    /// Keep on copying whatever appears at the source, until told to stop (SIGTERM, Ctrl-C)
    #[arg(long, conflicts_with_all = ["dry_run", "max_objects"])]
    pub follow: bool,
    /// Look only where new objects appear, if both sides were compared as a whole within
    /// --compare-every and nothing was left undone
    #[arg(long, conflicts_with_all = ["dry_run", "follow"])]
    pub incremental: bool,
    /// With --follow: look for new objects this often [default: 5s]
    #[arg(long, value_name = "PERIOD", requires = "follow")]
    pub interval: Option<Period>,
    /// With --follow or --incremental: compare both sides as a whole this often [default: 1h,
    /// with --incremental 1d]
    #[arg(long, value_name = "PERIOD")]
    pub compare_every: Option<Period>,
    /// Read back this share of what was written [default: 1%]
    #[arg(long, value_name = "SHARE")]
    pub read_back: Option<Share>,
    /// Remove what was begun to be written longer ago and never finished [default: 1h]
    #[arg(long, value_name = "PERIOD")]
    pub abandoned_after: Option<Period>,
    /// End after so many objects
    #[arg(long, value_name = "N")]
    pub max_objects: Option<u64>,
    /// Exit with 1 when there is a finding of at least this severity
    #[arg(long, value_name = "SEVERITY", default_value = "warning")]
    pub fail_on: FailOn,
    /// Show at most this many findings as text; JSON always has all
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: usize,
}

impl RunArgs {
    fn options(&self, places: &Places) -> ReplicateOptions {
        let configured = places.options();
        ReplicateOptions {
            parallel: self
                .parallel
                .and_then(|parallel| usize::try_from(parallel).ok())
                .unwrap_or(configured.parallel),
            bandwidth: self.bandwidth.or(configured.bandwidth),
            window: self.window.or(configured.window),
            read_back: self.read_back.unwrap_or(configured.read_back),
            incremental: self.incremental.then(|| {
                self.compare_every
                    .map_or(Duration::from_hours(24), Period::as_std)
            }),
            abandoned_after: self
                .abandoned_after
                .map_or(configured.abandoned_after, Period::as_std),
            max_objects: self.max_objects,
            ..configured
        }
    }
}

/// Runs `replicate run`.
pub(super) async fn run(args: RunArgs, context: &Context) -> Result<ExitCode, Failure> {
    let config = context.known_config().await?;
    let pairs = args.pair.resolve(&config)?;
    if args.dry_run {
        return dry_run(&args, &pairs, &config, context).await;
    }
    let threshold = Severity::from(args.fail_on);
    let mut reports: Vec<ReplicateReport> = Vec::new();
    // One target that cannot be reached must not keep the others from their copies.
    let mut failures: Vec<(String, Failure)> = Vec::new();
    let mut results = Vec::new();
    if args.follow {
        let all = pairs
            .iter()
            .map(|places| recorded(&args, places, &config, threshold, context));
        results = futures::future::join_all(all).await;
    } else {
        for places in &pairs {
            results.push(recorded(&args, places, &config, threshold, context).await);
            if *context.interrupt.borrow() {
                break;
            }
        }
    }
    for (places, result) in pairs.iter().zip(results) {
        match result {
            Ok(report) => reports.push(report),
            Err(failure) if pairs.len() == 1 => return Err(failure),
            Err(failure) => failures.push((places.label(), failure)),
        }
    }
    show(&args, &reports, &failures, pairs.len(), context)?;
    let worst = reports.iter().map(|report| code_of(report, threshold));
    let failed = failures.iter().map(|(_, failure)| failure.code);
    Ok(worst.chain(failed).fold(ExitCode::Done, graver))
}

fn show(
    args: &RunArgs,
    reports: &[ReplicateReport],
    failures: &[(String, Failure)],
    pairs: usize,
    context: &Context,
) -> Result<(), Failure> {
    if context.output.is_json() {
        match reports {
            [only] if pairs == 1 => context.output.json(only)?,
            all => context.output.json(&Copies {
                schema: "walproof.replicate-runs/v1",
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
            .map(|report| render::run(report, style, args.limit))
            .collect();
        context.output.text(&texts.join("\n"))?;
    }
    for (copy, failure) in failures {
        context.progress.print(&format!(
            "{copy}: {}\n",
            failure.render(context.error_palette)
        ));
    }
    Ok(())
}

#[derive(Serialize)]
struct Copies<'a, R: Serialize, E: Serialize> {
    schema: &'static str,
    reports: &'a [R],
    /// Copies that could not be made.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failures: Vec<CopyFailure<'a, E>>,
}

#[derive(Serialize)]
struct CopyFailure<'a, E: Serialize> {
    copy: &'a str,
    error: E,
}

/// The exit code that goes before the other: interrupted, refused, problem, could not, done.
pub(super) fn graver(one: ExitCode, other: ExitCode) -> ExitCode {
    let rank = |code: ExitCode| match code {
        ExitCode::Done => 0,
        ExitCode::Unproven => 1,
        ExitCode::Problem => 2,
        ExitCode::Refused | ExitCode::Usage => 3,
        ExitCode::Interrupted | ExitCode::RestoreCommand(_) => 4,
    };
    if rank(other) > rank(one) { other } else { one }
}

fn code_of(report: &ReplicateReport, threshold: Severity) -> ExitCode {
    ExitCode::of(operation::replicate::code_of(report, threshold))
}

async fn recorded(
    args: &RunArgs,
    places: &Places,
    config: &Config,
    threshold: Severity,
    context: &Context,
) -> Result<ReplicateReport, Failure> {
    let recording = Recording::try_begin(RunKind::Replicate, &places.target, config, context).await;
    let (recording, state) = Recording::split(recording);
    let options = args.options(places);
    let (way, clear) = if args.follow {
        let usual = FollowOptions::default();
        let how = FollowOptions {
            interval: args.interval.map_or(usual.interval, Period::as_std),
            compare_every: args
                .compare_every
                .map_or(usual.compare_every, Period::as_std),
        };
        (Way::Follow(how, events(context, &places.label())), None)
    } else {
        let (tell, clear) = progress(context, &places.label(), "copying to");
        (Way::Once(tell), Some(clear))
    };
    let stop = context.interrupt.clone();
    let result = replicate(places, &options, threshold, recording, way, stop).await;
    if let Some(clear) = clear {
        clear();
    }
    if let Some(state) = state {
        state.close().await;
    }
    Ok(result?.report)
}

/// Lines for what happens while an archive is followed.
fn events(context: &Context, label: &str) -> OnFollowEvent {
    let (progress, palette, label) = (
        context.progress.clone(),
        context.error_palette,
        label.to_owned(),
    );
    Arc::new(move |event| {
        let now = chrono::Utc::now().format("%Y-%m-%d %H:%M:%S");
        let words = match event {
            FollowEvent::Compared { compared, findings } => {
                let missing = render::tally(compared.missing);
                let mut words = format!("compared: {missing} to copy");
                for finding in findings {
                    // Writing to a String cannot fail.
                    let _ = write!(
                        words,
                        "\n  {} {} {}: {}",
                        finding.severity.as_str(),
                        finding.code,
                        finding.object,
                        finding.message
                    );
                }
                words
            }
            FollowEvent::UpToDate {
                copied,
                newest,
                delay,
            } => {
                let delay = delay.map_or_else(String::new, |delay| {
                    let millis = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
                    format!(", {} after it was stored", words::measured(millis))
                });
                format!(
                    "copied {} up to {newest}{delay}",
                    render::tally(copied.total())
                )
            }
            FollowEvent::Trouble { error, pause } => palette.yellow(format_args!(
                "trouble: {error}; trying again in {} s",
                pause.as_secs()
            )),
        };
        progress.print(&format!("{now} UTC {label}: {words}\n"));
    })
}

/// Bars for a run, and how to take them away.
pub(super) fn progress(
    context: &Context,
    label: &str,
    verb: &str,
) -> (OnCopyProgress, impl FnOnce() + use<>) {
    let comparing = context.progress.spinner(&format!("comparing {label}"));
    let copying: Arc<OnceLock<indicatif::ProgressBar>> = Arc::default();
    let bars = context.progress.clone();
    let what = format!("{verb} {label}");
    let (of_tell, of_clear) = (Arc::clone(&copying), comparing.clone());
    let tell = move |progress: CopyProgress| {
        if !progress.copying {
            comparing.set_message(format!("{} keys", progress.compared));
            return;
        }
        if progress.of_bytes == 0 && progress.of_objects == 0 {
            return;
        }
        let bar = of_tell.get_or_init(|| {
            comparing.finish_and_clear();
            bars.bytes(&what, progress.of_bytes)
        });
        bar.set_length(progress.of_bytes.max(progress.bytes));
        bar.set_position(progress.bytes);
        bar.set_message(format!(
            "{} of {} objects",
            progress.objects, progress.of_objects
        ));
    };
    let clear = move || {
        of_clear.finish_and_clear();
        if let Some(bar) = copying.get() {
            bar.finish_and_clear();
        }
    };
    (Arc::new(tell), clear)
}

async fn dry_run(
    args: &RunArgs,
    pairs: &[Places],
    config: &Config,
    context: &Context,
) -> Result<ExitCode, Failure> {
    // A plan is worth having without a state, too.
    let state = context.state(config).await.ok();
    let mut plans: Vec<ReplicatePlan> = Vec::new();
    for places in pairs {
        let pair = places.open(false)?;
        let (tell, clear) = progress(context, &places.label(), "copying to");
        let made = plan(&pair, &args.options(places), state.as_ref(), tell).await;
        clear();
        plans.push(made?);
    }
    if let Some(state) = state {
        state.close().await;
    }
    if context.output.is_json() {
        match plans.as_slice() {
            [only] if pairs.len() == 1 => context.output.json(only)?,
            all => context.output.json(&Copies::<_, ()> {
                schema: "walproof.replicate-plans/v1",
                reports: all,
                failures: Vec::new(),
            })?,
        }
    } else {
        let style = context.output.style();
        let texts: Vec<String> = plans.iter().map(|plan| render::plan(plan, style)).collect();
        context.output.text(&texts.join("\n"))?;
    }
    Ok(ExitCode::Done)
}
