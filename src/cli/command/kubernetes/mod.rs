//! `walproof kubernetes`: clusters that an operator runs.

mod check;
mod crds;
mod scan;

use clap::Subcommand;

pub(in crate::cli) use check::CheckReport;
pub use check::{CheckArgs, FormArg, WorkArg};
pub use crds::CrdsArgs;
pub use scan::ScanArgs;

use crate::cli::{Context, ExitCode, Failure};
use crate::kubernetes::{KubeError, KubeErrorKind};

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
    Crds(CrdsArgs),
}

/// Runs `kubernetes …`.
pub async fn run(command: KubernetesCommand, context: &Context) -> Result<ExitCode, Failure> {
    match command {
        KubernetesCommand::Scan(args) => Box::pin(scan::run(args, context)).await,
        KubernetesCommand::Check(args) => check::run(args, context).await,
        KubernetesCommand::Crds(args) => crds::run(&args, context),
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
