//! `walproof status`: where every cluster stands.

use chrono::Utc;
use clap::Args;

use crate::cli::render::status as render;
use crate::cli::{Context, ExitCode, Failure};
use crate::evidence::Verdict;
use crate::operation::fleet::{Fleet, cluster, fleet};

/// Show where every cluster stands: exposure, window, last proof, verdict, next run
#[derive(Args, Clone, Debug)]
#[command(
    long_about = "Show where every cluster stands, the worst first: what would be lost now, from when to when it can be brought back, when it was last proven, and what runs next. With a cluster's name everything about that one: each copy, every proof with its age against what is due, what is wrong now with its run book, schedules, and jobs under way.\n\nNothing is looked at anew: it is what the newest runs left in the state database, by hand or by `walproof daemon`. The exposure is now minus the newest commit that could be recovered at the last look, and how long ago that look was stands beside it; a look that is too old is not believed.\n\nThe verdict is\n\n  proven    a drill proved a copy within its due, the newest look at every copy found nothing of at least a warning, and nothing is overdue\n  failed    something is wrong: the newest look or drill found it, or an incident is open\n  unproven  something is not known, or not known any more\n\nHow old each proof may get is the `due` of the cluster's tier. Without it a look counts for a day and a drill's proof for 30 days.",
    after_long_help = "Examples:\n  walproof status\n  walproof status orders\n  walproof status --check\n  walproof status --output json | jq '.clusters[] | select(.verdict != \"proven\") | .name'\n\nExit codes: 0 shown; with --check 1 if a cluster failed, 3 if one is unproven; 2 no such cluster."
)]
pub struct StatusArgs {
    /// Everything about this cluster
    #[arg(value_name = "CLUSTER")]
    pub cluster: Option<String>,
    /// Exit with 1 if a cluster has failed, and with 3 if one is unproven
    #[arg(long)]
    pub check: bool,
}

/// Runs `status`.
pub async fn run(args: StatusArgs, context: &Context) -> Result<ExitCode, Failure> {
    let config = context.whole_config().await?;
    let state = context.state(&config).await?;
    let now = Utc::now();
    let report = match &args.cluster {
        Some(name) => cluster(&config, &state, name, now).await,
        None => fleet(&config, &state, now).await,
    };
    state.close().await;
    let report = report?;
    if context.output.is_json() {
        context.output.json(&report)?;
    } else {
        let style = context.output.style();
        let text = match (&args.cluster, report.clusters.as_slice()) {
            (Some(_), [only]) => render::cluster(only, report.at, style),
            _ => render::fleet(&report, config.schedules.is_empty(), style),
        };
        context.output.text(&text)?;
    }
    Ok(if args.check {
        checked(&report)
    } else {
        ExitCode::Done
    })
}

/// The exit code of the worst cluster; a fleet of none is not proven.
fn checked(report: &Fleet) -> ExitCode {
    if report.clusters.is_empty() {
        return ExitCode::Unproven;
    }
    report
        .clusters
        .iter()
        .fold(Verdict::Proven, |worst, cluster| worst.and(cluster.verdict))
        .into()
}
