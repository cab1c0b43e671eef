//! `walproof job`: what the daemon has to do.

use chrono::Utc;
use clap::{Args, Subcommand, ValueEnum};

use super::verify_shards;
use crate::cli::render::job as render;
use crate::cli::{Context, ExitCode, Failure};
use crate::config::Config;
use crate::daemon::{self, Handover};
use crate::state::{Fence, Job, JobFilter, JobKind, JobStatus, State};
use crate::verify::rotation::Subset;

/// Look at the jobs of the daemon, and cancel them
#[derive(Subcommand, Clone, Debug)]
pub enum JobCommand {
    /// List jobs: those that wait or run, or all that are kept
    #[command(
        long_about = "List the jobs of the daemon, newest due first: those that wait or run, with --all every one that is kept, or those of one status.",
        after_long_help = "Examples:\n  walproof job list\n  walproof job list --cluster orders --all\n  walproof job list --status failed\n  walproof job list --output json | jq '.jobs[] | select(.attempts > 1)'"
    )]
    List(ListArgs),
    /// Show one job
    #[command(
        long_about = "Show one job: what it is to do, when it was due, who holds it, how far it is, and why its last attempt came to nothing.",
        after_long_help = "Examples:\n  walproof job show 0199c1f2\n  walproof job show 0199c1f2 --output json"
    )]
    Show(JobArgs),
    /// Cancel a job that waits or runs
    #[command(
        long_about = "Cancel a job. One that waits is cancelled at once. One that runs is asked to stop: its daemon hears of it with its next sign of life, cleans up and lets go; what was copied or read until then stays.",
        after_long_help = "Examples:\n  walproof job cancel 0199c1f2\n\nExit codes: 0 cancelled, or asked to stop; 2 there is no such job, or it is over."
    )]
    Cancel(JobArgs),
    /// Perform a job that a daemon claimed: what runs in the pods that it makes
    #[command(
        long_about = "Perform a job that a daemon claimed, in place of the daemon: what runs in the pod of a Job of Kubernetes with `daemon: {executor: kubernetes}`. The claim's token is what may write: the signs of life, the records and the end of the job are this process' own, and the daemon that claimed it may stop, die or be replaced meanwhile.\n\nA claim that does not hold any more is left alone. SIGTERM makes it clean up and give the job back. With --shards it reads only the part of the index in JOB_COMPLETION_INDEX, for the process that concludes.",
        after_long_help = "Examples:\n  walproof job perform --job 0199c1f2-7c1b-7b1e-9d0a-3f2b4c5d6e7f --token 3\n\nExit codes: 0 done, or its part was read; 3 not done: let go to be tried again, or the claim does not hold any more; 130 stopped, and given back."
    )]
    Perform(PerformArgs),
}

/// Arguments of `job list`.
#[derive(Args, Clone, Debug)]
pub struct ListArgs {
    /// Only of this cluster
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,
    /// Only this kind
    #[arg(long, value_name = "KIND")]
    pub kind: Option<JobKindArg>,
    /// Only this status
    #[arg(long, value_name = "STATUS", conflicts_with = "all")]
    pub status: Option<JobStatusArg>,
    /// Those that are over, too
    #[arg(long)]
    pub all: bool,
    /// At most this many
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub limit: u32,
}

/// Arguments of `job show` and `job cancel`.
#[derive(Args, Clone, Debug)]
pub struct JobArgs {
    /// The job's id or its beginning
    #[arg(value_name = "ID")]
    pub id: String,
}

/// Arguments of `job perform`.
#[derive(Args, Clone, Debug)]
pub struct PerformArgs {
    /// The job's whole id
    #[arg(long, value_name = "ID")]
    pub job: uuid::Uuid,
    /// The claim's fencing token
    #[arg(long, value_name = "N")]
    pub token: i64,
    /// Who must hold it now
    #[arg(long, value_name = "ID")]
    pub holder: Option<uuid::Uuid>,
    /// Read only one part of so many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256), conflicts_with = "holder")]
    pub shards: Option<u32>,
}

/// Kinds of jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum JobKindArg {
    /// Verifications.
    Verify,
    /// Replications.
    Replicate,
    /// Drills.
    Drill,
    /// Reports.
    Report,
    /// Clearing away what was left behind.
    Sweep,
    /// Definitions captured.
    Capture,
    /// Restores that people asked for.
    Request,
}

impl From<JobKindArg> for JobKind {
    fn from(kind: JobKindArg) -> Self {
        match kind {
            JobKindArg::Verify => Self::Verify,
            JobKindArg::Replicate => Self::Replicate,
            JobKindArg::Drill => Self::Drill,
            JobKindArg::Report => Self::Report,
            JobKindArg::Sweep => Self::Sweep,
            JobKindArg::Capture => Self::Capture,
            JobKindArg::Request => Self::Request,
        }
    }
}

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum JobStatusArg {
    /// To be done.
    Waiting,
    /// Under way.
    Running,
    /// It came to its end, whatever it found.
    Done,
    /// It could not be done.
    Failed,
    /// Somebody wanted it no longer.
    Cancelled,
    /// It was not begun in time.
    Missed,
    /// It was left out.
    Skipped,
}

impl From<JobStatusArg> for JobStatus {
    fn from(status: JobStatusArg) -> Self {
        match status {
            JobStatusArg::Waiting => Self::Waiting,
            JobStatusArg::Running => Self::Running,
            JobStatusArg::Done => Self::Done,
            JobStatusArg::Failed => Self::Failed,
            JobStatusArg::Cancelled => Self::Cancelled,
            JobStatusArg::Missed => Self::Missed,
            JobStatusArg::Skipped => Self::Skipped,
        }
    }
}

/// Runs a `job` command.
pub async fn run(command: JobCommand, context: &Context) -> Result<ExitCode, Failure> {
    let config = context.config()?;
    let state = context.state(&config).await?;
    let result = match command {
        JobCommand::List(args) => list(args, &state, context).await,
        JobCommand::Show(args) => show(&args, &state, context).await,
        JobCommand::Cancel(args) => cancel(&args, &state, context).await,
        JobCommand::Perform(args) => perform(&args, config, &state, context).await,
    };
    state.close().await;
    result
}

async fn list(args: ListArgs, state: &State, context: &Context) -> Result<ExitCode, Failure> {
    let filter = JobFilter {
        cluster: args.cluster,
        kind: args.kind.map(Into::into),
        status: args.status.map(Into::into),
        open: !args.all && args.status.is_none(),
        limit: args.limit,
        ..JobFilter::default()
    };
    let jobs = state.jobs(&filter).await?;
    if context.output.is_json() {
        context.output.json(&serde_json::json!({
            "schema": "walproof.jobs/v1",
            "jobs": jobs,
        }))?;
    } else {
        let text = render::list(&jobs, Utc::now(), filter.open, context.output.style());
        context.output.text(&text)?;
    }
    Ok(ExitCode::Done)
}

async fn show(args: &JobArgs, state: &State, context: &Context) -> Result<ExitCode, Failure> {
    let job = find(&args.id, state).await?;
    tell(&job, context)?;
    Ok(ExitCode::Done)
}

async fn cancel(args: &JobArgs, state: &State, context: &Context) -> Result<ExitCode, Failure> {
    let job = find(&args.id, state).await?;
    let over = |status: JobStatus| {
        Failure::usage(format_args!(
            "job {} is over already: {}",
            job.id,
            status.as_str()
        ))
    };
    if job.status.is_over() {
        return Err(over(job.status));
    }
    match state.cancel(job.id, Utc::now()).await? {
        Some(JobStatus::Cancelled | JobStatus::Running) => {}
        // It came to its end meanwhile.
        Some(status) => return Err(over(status)),
        None => return Err(no_such_job(&args.id)),
    }
    let job = state
        .job(job.id)
        .await?
        .ok_or_else(|| no_such_job(&args.id))?;
    tell(&job, context)?;
    Ok(ExitCode::Done)
}

async fn perform(
    args: &PerformArgs,
    config: Config,
    state: &State,
    context: &Context,
) -> Result<ExitCode, Failure> {
    let handover = Handover {
        fence: Fence {
            job: args.job,
            token: args.token,
        },
        holder: args.holder,
    };
    let stop = context.interrupt.clone();
    if let Some(shards) = args.shards {
        return shard(&handover.fence, shards, &config, state, context).await;
    }
    let Some(job) = daemon::perform(state, config, handover, stop.clone()).await? else {
        return Err(Failure::unproven(format_args!(
            "job {} is no longer held by its attempt {}; nothing was done",
            args.job, args.token
        )));
    };
    tell(&job, context)?;
    Ok(match job.status {
        JobStatus::Done => ExitCode::Done,
        _ if *stop.borrow() => ExitCode::Interrupted,
        _ => ExitCode::Unproven,
    })
}

/// Reads the part of the index that Kubernetes gives to each pod of an indexed Job.
async fn shard(
    fence: &Fence,
    shards: u32,
    config: &Config,
    state: &State,
    context: &Context,
) -> Result<ExitCode, Failure> {
    let index = std::env::var("JOB_COMPLETION_INDEX").unwrap_or_default();
    let part = index
        .parse::<u32>()
        .ok()
        .and_then(|index| index.checked_add(1));
    let Some(shard) = part.and_then(|part| Subset::new(part, shards)) else {
        return Err(Failure::usage(format_args!(
            "JOB_COMPLETION_INDEX is {index:?}, and --shards {shards} needs one from 0 to {}",
            shards.saturating_sub(1)
        )));
    };
    let stop = context.interrupt.clone();
    match daemon::perform_shard(state, config, *fence, shard, stop).await? {
        Some(done) => {
            verify_shards::tell(shard, &done, context)?;
            Ok(ExitCode::Done)
        }
        None => Err(Failure::unproven(format_args!(
            "job {} is no longer held by its attempt {}; nothing was read",
            fence.job, fence.token
        ))),
    }
}

fn tell(job: &Job, context: &Context) -> Result<(), Failure> {
    if context.output.is_json() {
        return context.output.json(&serde_json::json!({
            "schema": "walproof.job/v1",
            "job": job,
        }));
    }
    let text = render::job(job, Utc::now(), context.output.style());
    context.output.text(&text)
}

async fn find(beginning: &str, state: &State) -> Result<Job, Failure> {
    let filter = JobFilter {
        id: Some(beginning.to_owned()),
        limit: 10,
        ..JobFilter::default()
    };
    let mut found = state.jobs(&filter).await?;
    if found.len() > 1 {
        let ids: Vec<String> = found.iter().map(|job| job.id.to_string()).collect();
        return Err(Failure::usage(format_args!(
            "several jobs begin with `{beginning}`: {}",
            ids.join(", ")
        ))
        .with_hint("write more of the id"));
    }
    found.pop().ok_or_else(|| no_such_job(beginning))
}

fn no_such_job(beginning: &str) -> Failure {
    Failure::usage(format_args!("there is no job `{beginning}`"))
        .with_hint("`walproof job list --all` lists the jobs; --state names another database")
}
