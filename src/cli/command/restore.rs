//! `walproof restore`: fill an empty directory.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr as _;
use std::sync::{Arc, Mutex, PoisonError};

use clap::{Args, ValueEnum};
use indicatif::ProgressBar;
use serde::Serialize;
use tokio::task::JoinHandle;

use crate::cli::recording::{self, Recording, failed};
use crate::cli::render::restore as render;
use crate::cli::source::{SourceArgs, resolve};
use crate::cli::{Context, ExitCode, Failure, Interrupt, Progress, TargetArgs, interrupted};
use crate::finding::{Finding, Severity};
use crate::operation::source::Source;
use crate::postgres::TimelineId;
use crate::repository;
use crate::restore::configuration::RecoveryAction;
use crate::restore::{
    self, BackupChoice, Cancel, ExtractOptions, ProgressSink, RestoreError, RestoreOptions,
    RestorePlan, RestoreReport, RunError, Step, TablespaceMap, TablespaceOverride, Target, Watch,
    Wish,
};
use crate::state::{Outcome, RunKind};

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
    /// The system's user that will run the server, when walproof runs as root [default: the
    /// owner of DIRECTORY if it exists, else postgres]
    #[arg(help_heading = "Server", long, value_name = "USER")]
    pub owner: Option<String>,
    /// A library of shared_preload_libraries that the server shall load (repeatable); the
    /// source's others stay out
    #[arg(help_heading = "Server", long, value_name = "LIBRARY")]
    pub preload: Vec<String>,
    /// Where the server's socket will be
    #[arg(
        help_heading = "Server",
        long,
        value_name = "DIRECTORY",
        default_value = "/tmp"
    )]
    pub socket_directory: PathBuf,
    /// The server's port, which names its socket; it listens on no address
    #[arg(
        help_heading = "Server",
        long,
        value_name = "PORT",
        default_value_t = 5432
    )]
    pub port: u16,
    /// Begin although the free space seems too little: file systems that compress hold more
    #[arg(long)]
    pub ignore_free_space: bool,
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

impl From<TargetAction> for RecoveryAction {
    fn from(action: TargetAction) -> Self {
        match action {
            TargetAction::Pause => Self::Pause,
            TargetAction::Promote => Self::Promote,
            TargetAction::Shutdown => Self::Shutdown,
        }
    }
}

/// Runs `restore`.
pub async fn run(args: RestoreArgs, context: &Context) -> Result<ExitCode, Failure> {
    let config = context.config_for(&args.source.source).await?;
    let source = resolve(&args.source, &config)?;
    let options = options(&args, &source, context)?;
    let repository = repository::open(source.open()?);
    let mut interrupt = context.interrupt.clone();
    let catalog = tokio::select! {
        catalog = repository.catalog() => catalog?,
        () = interrupted(&mut interrupt) => return Err(Failure::interrupted()),
    };
    let watch = Watch {
        sink: Arc::new(Bars::new(context.progress.clone())),
        cancel: Cancel::new(),
    };
    let stopper = stop_when_interrupted(context.interrupt.clone(), watch.cancel.clone());
    let style = context.output.style();
    let recording = if args.dry_run {
        None
    } else {
        Recording::try_begin(RunKind::Restore, &source, &config, context).await
    };
    let outcome = if args.dry_run {
        restore::plan(&repository, &catalog, &options, &watch)
            .await
            .map(|(plan, _)| Done::Planned(Box::new(plan)))
    } else {
        restore::run(&repository, &catalog, &options, &watch)
            .await
            .map(|report| Done::Restored(Box::new(report)))
    };
    stopper.abort();
    let outcome = outcome.map_err(|error| failure(&error));
    if let Some(recording) = recording {
        recording.finish(&outcome_of(&outcome)).await?;
    }
    let outcome = outcome?;
    let worst = outcome
        .findings()
        .iter()
        .map(|finding| finding.severity)
        .max();
    match outcome {
        Done::Planned(plan) if context.output.is_json() => context.output.json(&Document {
            schema: "walproof.restore-plan/v1",
            body: &plan,
        })?,
        Done::Planned(plan) => context.output.text(&render::plan(&plan, style))?,
        Done::Restored(report) if context.output.is_json() => context.output.json(&Document {
            schema: "walproof.restore/v1",
            body: &report,
        })?,
        Done::Restored(report) => context.output.text(&render::report(&report, style))?,
    }
    // What was asked for is there, but not all that should be: a hole behind the tip.
    Ok(if worst == Some(Severity::Critical) {
        ExitCode::Problem
    } else {
        ExitCode::Done
    })
}

/// A restore proves nothing by itself, so it has no verdict.
fn outcome_of(result: &Result<Done, Failure>) -> Outcome {
    let done = match result {
        Ok(done) => done,
        Err(failure) => return failed(failure),
    };
    let (summary, schema) = match done {
        Done::Planned(_) => ("planned".to_owned(), "walproof.restore-plan/v1"),
        Done::Restored(report) => (
            format!(
                "backup {} into {}, up to {}",
                report.plan.backup_id,
                report.plan.into.display(),
                report.expected_end
            ),
            "walproof.restore/v1",
        ),
    };
    recording::outcome(
        None,
        ExitCode::Done,
        summary,
        done.findings(),
        (schema, done),
    )
}

#[derive(Serialize)]
#[serde(untagged)]
enum Done {
    Planned(Box<RestorePlan>),
    Restored(Box<RestoreReport>),
}

impl Done {
    fn findings(&self) -> &[Finding] {
        match self {
            Self::Planned(plan) => &plan.target.findings,
            Self::Restored(report) => &report.findings,
        }
    }
}

#[derive(Serialize)]
struct Document<'a, T: Serialize> {
    schema: &'static str,
    #[serde(flatten)]
    body: &'a T,
}

fn options(
    args: &RestoreArgs,
    source: &Source,
    context: &Context,
) -> Result<RestoreOptions, Failure> {
    let target = match args.target.target()? {
        Some(text) => Target::try_from(&text)?,
        None => Target::Tip,
    };
    let overrides = args
        .tablespaces
        .iter()
        .map(|text| text.parse())
        .collect::<Result<Vec<TablespaceOverride>, RestoreError>>()
        .map_err(Failure::usage)?;
    let program = std::env::current_exe()
        .map_err(|error| Failure::unproven(format_args!("find walproof's own path: {error}")))?;
    Ok(RestoreOptions {
        wish: Wish {
            target,
            backup: BackupChoice::from_str(&args.backup).unwrap_or_default(),
            timeline: args.target.timeline()?.map(TimelineId),
        },
        into: args.into.clone(),
        tablespaces: TablespaceMap { overrides },
        extract: ExtractOptions {
            parallel: args.jobs.get().try_into().unwrap_or(usize::MAX),
            ..ExtractOptions::default()
        },
        action: args.then.into(),
        program,
        wal_get_arguments: wal_get_arguments(args, source, context)?,
        owner: args.owner.clone(),
        preload: args.preload.clone(),
        socket_directory: args.socket_directory.clone(),
        port: args.port,
        ignore_free_space: args.ignore_free_space,
    })
}

/// The words by which `walproof wal get` finds the same repository again. Credentials are
/// not among them: the server's environment or the configuration must give them.
fn wal_get_arguments(
    args: &RestoreArgs,
    source: &Source,
    context: &Context,
) -> Result<Vec<String>, Failure> {
    let mut words = Vec::new();
    if source.cluster.is_some()
        && let Some(file) = context.config_file()
    {
        let file = std::path::absolute(&file).map_err(|error| {
            Failure::unproven(format_args!("find the path of {}: {error}", file.display()))
        })?;
        words.extend(["--config".to_owned(), file.display().to_string()]);
    }
    words.push(args.source.source.clone());
    if let Some(copy) = &args.source.copy {
        words.extend(["--copy".to_owned(), copy.clone()]);
    }
    // A bare URL was reached with what the command line and the environment say; the
    // server's environment may be another.
    if source.cluster.is_none() {
        let options = &source.options;
        if let Some(endpoint) = &options.endpoint {
            words.extend(["--endpoint-url".to_owned(), endpoint.clone()]);
        }
        if let Some(region) = &options.region {
            words.extend(["--region".to_owned(), region.clone()]);
        }
        if let Some(file) = &options.ca_file {
            words.extend(["--ca-file".to_owned(), file.display().to_string()]);
        }
        if let Some(hosted) = options.virtual_hosted {
            words.push(format!("--path-style={}", !hosted));
        }
    }
    Ok(words)
}

fn stop_when_interrupted(mut interrupt: Interrupt, cancel: Cancel) -> JoinHandle<()> {
    tokio::spawn(async move {
        interrupted(&mut interrupt).await;
        cancel.cancel();
    })
}

fn failure(error: &RunError) -> Failure {
    let code = if error.is_cancelled() {
        ExitCode::Interrupted
    } else if error.is_refusal() {
        ExitCode::Refused
    } else if error.is_usage() {
        ExitCode::Usage
    } else if error.is_unreachable() {
        ExitCode::Unproven
    } else {
        ExitCode::Problem
    };
    let failure = Failure::new(code, format_args!("restore: {error}"));
    match error.findings().first() {
        Some(finding) => failure.with_hint(format_args!(
            "{} ({}): {}",
            finding.code, finding.object, finding.action
        )),
        None => failure,
    }
}

/// One bar per step.
struct Bars {
    progress: Progress,
    current: Mutex<Option<(Step, ProgressBar)>>,
}

impl Bars {
    const fn new(progress: Progress) -> Self {
        Self {
            progress,
            current: Mutex::new(None),
        }
    }
}

impl ProgressSink for Bars {
    fn progress(&self, state: &restore::Progress) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_none_or(|(step, _)| *step != state.step) {
            if let Some((_, old)) = current.take() {
                old.finish_and_clear();
            }
            let total = state.total.unwrap_or_default();
            let bar = match state.step {
                Step::ReadWal => self.progress.bytes("read WAL", total),
                Step::FetchBase => self.progress.bytes("fetch base", total),
                Step::Sync => self.progress.count("flush to disk", total),
            };
            *current = Some((state.step, bar));
        }
        if let Some((_, bar)) = current.as_ref() {
            if let Some(total) = state.total {
                bar.set_length(total);
            }
            bar.set_position(state.done);
        }
    }
}
