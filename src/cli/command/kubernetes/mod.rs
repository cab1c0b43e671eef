//! `walproof kubernetes`: clusters that an operator runs.

mod check;
mod scan;

use std::path::PathBuf;

use clap::{Args, Subcommand};

pub(in crate::cli) use check::CheckReport;
pub use check::{CheckArgs, FormArg, WorkArg};
pub use scan::ScanArgs;

use crate::cli::{Context, ExitCode, Failure};
use crate::kubernetes::{Access, KubeError, KubeErrorKind};

/// Look at Kubernetes clusters with CloudNativePG, and at what walproof may do there
///
/// As a kubectl plugin these are `kubectl walproof check` and so on (docs/kubernetes.md).
#[derive(Subcommand, Clone, Debug)]
#[expect(
    missing_docs,
    reason = "a comment here would replace the command's own help"
)]
pub enum KubernetesCommand {
    Scan(ScanArgs),
    Check(CheckArgs),
}

/// Which API server, as whom.
#[derive(Args, Clone, Debug, Default)]
pub struct AccessArgs {
    /// A kubeconfig file [default: KUBECONFIG, ~/.kube/config, or the pod's ServiceAccount]
    #[arg(help_heading = "Kubernetes", long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// A context of the kubeconfig [default: its current one]
    #[arg(help_heading = "Kubernetes", long, value_name = "NAME")]
    pub context: Option<String>,
}

impl AccessArgs {
    /// What the command line says.
    pub fn access(&self) -> Access {
        Access {
            kubeconfig: self.kubeconfig.clone(),
            context: self.context.clone(),
        }
    }
}

/// Runs `kubernetes …`.
pub async fn run(command: KubernetesCommand, context: &Context) -> Result<ExitCode, Failure> {
    match command {
        KubernetesCommand::Scan(args) => Box::pin(scan::run(args, context)).await,
        KubernetesCommand::Check(args) => check::run(args, context).await,
    }
}

/// What the API would not do, as the end of a command.
fn failure(error: KubeError) -> Failure {
    let code = match error.kind {
        KubeErrorKind::Configuration => ExitCode::Usage,
        _ => ExitCode::Unproven,
    };
    let hint = error.hint();
    Failure::new(code, error).with_hint(hint)
}
