//! `walproof drill`: restores for proof.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};

use super::verify::ObjectiveArgs;
use crate::cli::access::AccessArgs;
use crate::cli::alone::AloneArgs;
use crate::cli::source::SourceArgs;
use crate::cli::{Context, ExitCode, Failure, TargetArgs, render};
use crate::config::{self, Config, DrillDefinition, Environment, Period};
use crate::operation;
use crate::state::RunKind;

/// Restore for proof: run drills, look at them, remove what they left
#[derive(Subcommand, Clone, Debug)]
pub enum DrillCommand {
    /// Restore in a scratch place, compare, check, and record the verdict
    #[command(
        long_about = "Restore a cluster in a scratch place, prove that recovery ended exactly where the archive's bytes say it must, run the checks, measure, and record the verdict.\n\nWithout a target it recovers to the archive tip. The restored server runs on a private socket with settings of walproof's own; it never archives and never connects out. The scratch directory is removed at the end, also after Ctrl-C; what a crash leaves is removed by the next run or by `walproof drill sweep`.",
        after_long_help = "Examples:\n  walproof drill run orders\n  walproof drill run s3://backups/orders --rpo 5m --rto 1h\n  walproof drill run orders --drill nightly\n  walproof drill run orders --target-time -1h\n  walproof drill run orders --copy second-region --alone\n  walproof drill run file:///srv/backups/orders --definition drills/nightly.yaml\n  walproof drill run orders --environment cnpg\n  walproof drill run orders --environment cnpg --keep-for 2h\n  walproof drill run orders --dry-run\n\nExit codes: 0 proven; 1 failed; 3 unproven (could not be checked), or proven and not cleaned up; 4 refused for safety; 130 interrupted and cleaned up."
    )]
    Run(Box<RunArgs>),
    /// Show a recorded drill
    #[command(
        long_about = "Show a recorded drill: verdict, what was restored, phases, checks, findings.",
        after_long_help = "Examples:\n  walproof drill show last\n  walproof drill show 0199c1f2\n  walproof drill show last --output json"
    )]
    Show(ShowArgs),
    /// Remove what crashed drills left behind
    #[command(
        long_about = "Remove what crashed drills left behind.\n\nOnly directories and namespaces that carry a drill's mark, and whose process is gone or whose time is up, are removed; servers in such directories are stopped. Nothing else is touched.",
        after_long_help = "Examples:\n  walproof drill sweep --dry-run\n  walproof drill sweep\n  walproof drill sweep --scratch /srv/scratch"
    )]
    Sweep(SweepArgs),
}

/// Arguments of `drill run`.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// Where from.
    #[command(flatten)]
    pub source: SourceArgs,
    /// The other copies.
    #[command(flatten)]
    pub alone: AloneArgs,
    /// A drill of the configuration, by name [default: the only one defined for the
    /// cluster, else a plain drill to the tip]
    #[arg(long, value_name = "NAME", conflicts_with = "definition")]
    pub drill: Option<String>,
    /// A file with a drill definition
    #[arg(long, value_name = "FILE")]
    pub definition: Option<PathBuf>,
    /// Where to restore: PostgreSQL's programs on this machine, or a recovery Cluster of
    /// CloudNativePG in Kubernetes; wins over the definition [default: local]
    #[arg(long, value_name = "ENVIRONMENT", value_parser = environment)]
    pub environment: Option<Environment>,
    /// Which Kubernetes, for the environment cnpg.
    #[command(flatten)]
    pub kubernetes: AccessArgs,
    /// Leave the restored Cluster for inspection for so long (cnpg); then the next sweep
    /// removes it
    #[arg(help_heading = "Kubernetes", long, value_name = "PERIOD")]
    pub keep_for: Option<Period>,
    /// How far; wins over the definition.
    #[command(flatten)]
    pub target: TargetArgs,
    /// The base backup: its id, or auto for the newest that reaches the target
    #[arg(long, value_name = "ID")]
    pub backup: Option<String>,
    /// Directory in which the scratch directory is made
    #[arg(long, value_name = "DIRECTORY")]
    pub scratch: Option<PathBuf>,
    /// Directory with PostgreSQL's programs [default: the right major is looked for]
    #[arg(long, value_name = "DIRECTORY")]
    pub pg_bin: Option<PathBuf>,
    /// The system's user that runs the restored server, when walproof runs as root
    /// [default: walproof if there is such a user, else nobody]
    #[arg(long, value_name = "USER")]
    pub run_as: Option<String>,
    /// The superuser of the restored cluster; wins over the definition [default: postgres]
    #[arg(long, value_name = "ROLE")]
    pub superuser: Option<String>,
    /// Give up after this time
    #[arg(long, value_name = "PERIOD")]
    pub timeout: Option<Period>,
    /// The moment of the assumed loss, from which the recovery point is measured
    /// [default: when the drill starts]
    #[arg(long, value_name = "TIME")]
    pub lost_at: Option<DateTime<Utc>>,
    /// Read every page of tables and indexes with pg_amcheck
    #[arg(long)]
    pub amcheck: bool,
    /// Who asked for this drill, for the record [default: the user who runs walproof]
    #[arg(long, value_name = "NAME")]
    pub initiator: Option<String>,
    /// Objectives; win over the tier's.
    #[command(flatten)]
    pub objectives: ObjectiveArgs,
    /// Try to write to the repository, which should be refused, and record the answer. What
    /// a store lets through is removed again at once
    #[arg(long)]
    pub probe_write: bool,
    /// Show the plan, and touch nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `drill show`.
#[derive(Args, Clone, Debug)]
pub struct ShowArgs {
    /// The drill's id or its beginning, or last
    #[arg(value_name = "ID")]
    pub id: String,
}

/// Arguments of `drill sweep`.
#[derive(Args, Clone, Debug)]
pub struct SweepArgs {
    /// Only this directory with scratch directories [default: all in which drills of the
    /// configuration make them, and Kubernetes if they run there]
    #[arg(long, value_name = "DIRECTORY")]
    pub scratch: Option<PathBuf>,
    /// Which Kubernetes.
    #[command(flatten)]
    pub kubernetes: AccessArgs,
    /// Show what would be removed, and touch nothing
    #[arg(long)]
    pub dry_run: bool,
}

fn environment(text: &str) -> Result<Environment, String> {
    match text {
        "local" => Ok(Environment::Local),
        "cnpg" => Ok(Environment::Cnpg),
        _ => Err("it is `local` or `cnpg`".to_owned()),
    }
}

/// The definition that holds for a run: the file or name that was given, else the only one
/// defined for the cluster, else a plain drill; with what the command line says put over it.
pub fn definition(args: &RunArgs, config: &Config) -> Result<DrillDefinition, Failure> {
    let mut definition = if let Some(file) = &args.definition {
        config::load_drill(file)?.definition
    } else {
        operation::drill::definition(config, &args.source.source, args.drill.as_deref())?
    };
    operation::drill::check_definition(&definition, &args.source.source)?;
    if let Some(target) = args.target.target()? {
        definition.target = target;
    }
    if let Some(backup) = &args.backup {
        definition.backup.clone_from(backup);
    }
    if args.timeout.is_some() {
        definition.timeout = args.timeout;
    }
    if args.superuser.is_some() {
        definition.superuser.clone_from(&args.superuser);
    }
    if args.scratch.is_some() {
        definition.scratch.clone_from(&args.scratch);
    }
    if let Some(environment) = args.environment {
        definition.environment = environment;
    }
    if args.amcheck && definition.amcheck.is_none() {
        definition.amcheck = Some(config::Amcheck::default());
    }
    Ok(definition)
}

/// Runs a `drill` command.
pub async fn run(command: DrillCommand, context: &Context) -> Result<ExitCode, Failure> {
    match command {
        DrillCommand::Run(args) => Box::pin(super::drill_run::run(&args, context)).await,
        DrillCommand::Show(args) => show(&args, context).await,
        DrillCommand::Sweep(args) => super::drill_run::sweep(&args, context).await,
    }
}

async fn show(args: &ShowArgs, context: &Context) -> Result<ExitCode, Failure> {
    let config = context.config()?;
    let state = context.state(&config).await?;
    let mut found = state.find_runs(RunKind::Drill, &args.id).await?;
    if found.len() > 1 {
        let ids: Vec<String> = found.iter().map(|run| run.id.to_string()).collect();
        return Err(Failure::usage(format_args!(
            "several drills begin with `{}`: {}",
            args.id,
            ids.join(", ")
        ))
        .with_hint("write more of the id"));
    }
    let Some(run) = found.pop() else {
        return Err(
            Failure::usage(format_args!("there is no drill `{}`", args.id)).with_hint(
                "`walproof history --kind drill` lists the drills; --state names another database",
            ),
        );
    };
    let drill = state.drill(run).await?;
    state.close().await;
    if context.output.is_json() {
        context.output.json(&serde_json::json!({
            "schema": "walproof.drill-show/v1",
            "run": drill.run,
            "findings": drill.findings,
            "record": drill.record,
            "record_sha256": drill.record_sha256,
        }))?;
    } else {
        context
            .output
            .text(&render::history::drill(&drill, context.output))?;
    }
    Ok(ExitCode::Done)
}
