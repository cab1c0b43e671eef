//! `walproof kubernetes crds`: the definitions of the custom resources.

use clap::Args;

use crate::cli::{Context, ExitCode, Failure};
use crate::controller::resources;

/// Print the definitions of walproof's custom resources, for `kubectl apply -f -`
#[derive(Args, Clone, Debug)]
#[command(
    long_about = "Print the definitions of walproof's custom resources (ProtectedCluster, RecoveryDrill and so on) as YAML, for `kubectl apply --server-side -f -`. They are generated from the types that this program reads; the chart installs the same.\n\nNothing is asked of any API server. With --output json they are printed as a List.",
    after_long_help = "Examples:\n  walproof kubernetes crds\n  walproof kubernetes crds --output json\n\nExit codes: 0 printed."
)]
pub struct CrdsArgs {}

/// Runs `kubernetes crds`.
pub(super) fn run(_args: &CrdsArgs, context: &Context) -> Result<ExitCode, Failure> {
    let crds = resources::crds();
    if context.output.is_json() {
        context.output.json(&serde_json::json!({
            "apiVersion": "v1",
            "kind": "List",
            "items": crds,
        }))?;
    } else {
        let documents: Vec<String> = crds.iter().map(resources::to_yaml).collect();
        context.output.text(&documents.join("---\n"))?;
    }
    Ok(ExitCode::Done)
}
