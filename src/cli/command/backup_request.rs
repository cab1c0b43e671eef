//! `walproof backup request`: a base backup by CloudNativePG, followed until it is usable.

use std::fmt::Write as _;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::cli::access::AccessArgs;
use crate::cli::recording::Recording;
use crate::cli::source::{SourceArgs, StoreArgs, resolve};
use crate::cli::{Context, ExitCode, Failure, Palette, interrupted};
use crate::config::{Config, KubernetesCluster, Period};
use crate::drill::Cancellation;
use crate::kubernetes::cnpg::BackupMethod;
use crate::kubernetes::{Access, Kube};
use crate::operation;
use crate::operation::backup_request::{
    BackupRequestReport, BackupState, BackupStep, BackupWish, Until, outcome_of, request,
};
use crate::operation::source::Source;
use crate::state::RunKind;
use crate::verify::words;

/// How long a backup is followed when nothing is said.
const DEFAULT_WAIT: Duration = Duration::from_hours(1);

/// Arguments of `backup request`.
#[derive(Args, Clone, Debug)]
pub struct RequestArgs {
    /// A cluster's name from the configuration, which says where it lives in Kubernetes
    #[arg(value_name = "CLUSTER")]
    pub cluster: String,
    /// How it is taken [default: as the Cluster archives]
    #[arg(long, value_name = "METHOD")]
    pub method: Option<MethodArg>,
    /// Follow it at most this long; it goes on without us [default: 1h]
    #[arg(long, value_name = "PERIOD")]
    pub wait: Option<Period>,
    /// Only ask for it, and do not wait for its end
    #[arg(long, conflicts_with_all = ["wait", "no_verify"])]
    pub no_wait: bool,
    /// Believe the operator that it is completed, and do not look into the repository
    #[arg(long)]
    pub no_verify: bool,
    /// How to reach the store.
    #[command(flatten)]
    pub store: StoreArgs,
    /// Which Kubernetes.
    #[command(flatten)]
    pub kubernetes: AccessArgs,
}

/// How a backup is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MethodArg {
    /// By the Barman Cloud plugin into its ObjectStore.
    Plugin,
    /// By the operator itself into `barmanObjectStore` (until CloudNativePG 1.30).
    Barman,
    /// As snapshots of the volumes.
    Snapshot,
}

impl From<MethodArg> for BackupMethod {
    fn from(argument: MethodArg) -> Self {
        match argument {
            MethodArg::Plugin => Self::Plugin,
            MethodArg::Barman => Self::InTree,
            MethodArg::Snapshot => Self::VolumeSnapshot,
        }
    }
}

/// Runs `backup request`.
pub(super) async fn run(args: RequestArgs, context: &Context) -> Result<ExitCode, Failure> {
    let mut config = context.known_config().await?;
    args.kubernetes.apply(&mut config);
    let source = resolve(
        &SourceArgs {
            source: args.cluster.clone(),
            copy: None,
            store: args.store.clone(),
        },
        &config,
    )?;
    let wish = BackupWish {
        cluster: resource(&source)?,
        method: args.method.map(BackupMethod::from),
        until: if args.no_wait {
            Until::Asked
        } else if args.no_verify {
            Until::Completed
        } else {
            Until::Verified
        },
        limit: args.wait.map_or(DEFAULT_WAIT, Period::as_std),
    };
    let spinner = context.progress.spinner("asking for a backup");
    let recording = Recording::try_begin(RunKind::Backup, &source, &config, context).await;
    let tell = |step: BackupStep| {
        spinner.set_message(match step {
            BackupStep::Asked(name) => format!("backup {name}"),
            BackupStep::Phase(phase) => format!("the operator says: {phase}"),
            BackupStep::Archiving(segment) => format!("waiting for {segment} in the archive"),
        });
    };
    let result = follow(&config, &source, &wish, &tell, context).await;
    spinner.finish_and_clear();
    if let Some(recording) = recording {
        recording.finish(&outcome_of(&result)).await?;
    }
    let report = result?;
    if context.output.is_json() {
        context.output.json(&report)?;
    } else {
        context
            .output
            .text(&render(&report, context.output.palette))?;
    }
    Ok(ExitCode::of(report.state.exit_code()))
}

/// Where the cluster lives in Kubernetes.
fn resource(source: &Source) -> Result<KubernetesCluster, Failure> {
    let cluster = source.cluster.as_ref();
    cluster
        .and_then(|cluster| Some(cluster.kubernetes.as_ref()?.resource()))
        .ok_or_else(|| {
            Failure::usage(format_args!(
                "the configuration does not say where `{}` lives in Kubernetes",
                source.name
            ))
            .with_hint(
                "give the cluster `kubernetes: {namespace: …, name: …}`; `walproof kubernetes scan --write-config` prints it",
            )
        })
}

async fn follow(
    config: &Config,
    source: &Source,
    wish: &BackupWish,
    tell: &(dyn Fn(BackupStep) + Send + Sync),
    context: &Context,
) -> Result<BackupRequestReport, operation::Failure> {
    let access = Access {
        kubeconfig: config.kubernetes.kubeconfig.clone(),
        context: config.kubernetes.context.clone(),
    };
    let kube = Kube::connect(&access).await?;
    let (canceller, stop) = Cancellation::new();
    let mut interrupt = context.interrupt.clone();
    let asked = request(&kube, source, wish, tell, &stop);
    tokio::pin!(asked);
    tokio::select! {
        result = &mut asked => result,
        () = interrupted(&mut interrupt) => {
            canceller.cancel();
            asked.await
        }
    }
}

fn render(report: &BackupRequestReport, palette: Palette) -> String {
    let id = report.backup_id.as_deref().unwrap_or(&report.backup);
    let state = report.state.as_str();
    let state = match report.state {
        BackupState::Verified => palette.green(state),
        BackupState::Failed | BackupState::Unusable => palette.red(state),
        BackupState::Asked | BackupState::Completed | BackupState::Unfinished => {
            palette.yellow(state)
        }
    };
    let mut text = format!(
        "backup {} of {}: {state}\n  Backup {}/{}, {}\n",
        palette.bold(id),
        report.cluster,
        report.namespace,
        report.backup,
        report.method,
    );
    if let Some(milliseconds) = report.completed_milliseconds {
        let stored = report.stored_bytes.map_or_else(String::new, |bytes| {
            format!(", {} stored", words::bytes(bytes))
        });
        let took = i64::try_from(milliseconds).unwrap_or(i64::MAX);
        let took = words::length(chrono::TimeDelta::milliseconds(took));
        let _ = writeln!(text, "  completed in {took}{stored}");
    }
    if let (Some(begin), Some(end)) = (&report.begin_wal, &report.end_wal) {
        let _ = writeln!(text, "  WAL segments {begin} to {end}");
    }
    match report.state {
        BackupState::Verified if report.stored_bytes.is_some() => {
            let _ = writeln!(
                text,
                "  its archives and the WAL that it needs are in {}",
                report.location
            );
        }
        BackupState::Verified => {
            let _ = writeln!(
                text,
                "  its snapshots are ready, and the WAL that it needs is in {}",
                report.location
            );
        }
        BackupState::Completed => {
            let _ = writeln!(
                text,
                "  whether it is usable was not looked at (--no-verify)"
            );
        }
        BackupState::Asked => {
            let _ = writeln!(text, "  not waited for (--no-wait)");
        }
        BackupState::Failed | BackupState::Unfinished | BackupState::Unusable => {}
    }
    for reason in &report.reasons {
        let _ = writeln!(text, "  {reason}");
    }
    text
}
