//! `walproof kubernetes scan`: the first look, with nothing installed.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::access::AccessArgs;
use crate::cli::render::kubernetes_scan as render;
use crate::cli::render::style::Style;
use crate::cli::{Context, ExitCode, Failure};
use crate::operation::scan::{Scan, ScanOptions, ScanReport, scan};

/// Show every CloudNativePG cluster: exposure, window, backups, findings
#[derive(Args, Clone, Debug)]
#[command(
    long_about = "Show every CloudNativePG cluster with what its repository is worth: exposure, window, newest backup and findings at depth `listed`, and what a drill in a scratch namespace would need.\n\nNothing needs to be installed and nothing is changed: the API is asked with `get` and `list` only, and which permissions there are. Clusters with the Barman Cloud plugin and with the in-tree form are read, with their own credentials, by reference. A store that is a Service of the cluster is reached through the API from outside of it. What cannot be read is said with its reason, and the rest goes on.\n\nThe exposure of a cluster whose WAL is in no archive is `all`: everything would be lost.\n\n--write-config writes a walproof.yaml that works as printed: secrets stand in it by reference.",
    after_long_help = "Examples:\n  walproof kubernetes scan\n  walproof kubernetes scan --namespace shop\n  walproof kubernetes scan --context prod --write-config walproof.yaml\n  walproof kubernetes scan --write-config - > walproof.yaml\n  walproof kubernetes scan --output json | jq '.clusters[] | select(.outcome != \"quiet\")'\n\nExit codes: 0 no finding of at least a warning; 1 there is one, or there is no cluster; 3 the API or a repository could not be read."
)]
pub struct ScanArgs {
    /// Look at this namespace only [default: all of them]
    #[arg(long, short, value_name = "NAME")]
    pub namespace: Option<String>,
    /// Write the configuration to this file, or to standard output with `-`, which then
    /// holds nothing else. A file that is there is not written over
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    pub write_config: Option<PathBuf>,
    /// How many repositories are looked at at a time
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub parallel: u8,
    /// Which API server, as whom.
    #[command(flatten)]
    pub access: AccessArgs,
}

/// Runs `kubernetes scan`.
pub(super) async fn run(args: ScanArgs, context: &Context) -> Result<ExitCode, Failure> {
    let to_stdout = args.write_config.as_deref() == Some(Path::new("-"));
    if to_stdout && context.output.is_json() {
        return Err(
            Failure::usage("--write-config and --output json both want standard output")
                .with_hint("give --write-config a file"),
        );
    }
    let file = args.write_config.as_deref().filter(|_| !to_stdout);
    if let Some(file) = file
        && file.symlink_metadata().is_ok()
    {
        return Err(
            Failure::usage(format_args!("write {}: it exists already", file.display()))
                .with_hint("nothing was written; give another file or move this one away"),
        );
    }
    let options = ScanOptions {
        namespace: args.namespace.clone(),
        at_once: args.parallel.into(),
        ..ScanOptions::of(args.access.access(context)?)
    };
    let spinner = context.progress.spinner("looking");
    let bar = std::sync::OnceLock::new();
    let scanned = scan(&options, &|cluster, total| {
        let bar = bar.get_or_init(|| {
            spinner.finish_and_clear();
            context.progress.count("looked at", total as u64)
        });
        bar.set_message(cluster.title());
        bar.inc(1);
    })
    .await;
    spinner.finish_and_clear();
    if let Some(bar) = bar.get() {
        bar.finish_and_clear();
    }
    let Scan { report, written } = scanned?;
    if report.clusters.is_empty() {
        return Err(none(&report));
    }
    let text = written.text(&report);
    if let Some(file) = file {
        write(file, &text)?;
    }
    if to_stdout {
        context.output.text(&text)?;
        // Standard error need not be a terminal.
        let seen_style = Style {
            color: context.error_palette.is_enabled(),
            ..Style::of_stdout()
        };
        let seen = render::render(&report, seen_style);
        context.progress.print(&seen);
    } else if context.output.is_json() {
        context.output.json(&report)?;
    } else {
        context
            .output
            .text(&render::render(&report, context.output.style()))?;
    }
    if let Some(file) = file {
        context
            .progress
            .print(&format!("wrote {}\n", file.display()));
    }
    Ok(exit_code(&report))
}

fn none(report: &ScanReport) -> Failure {
    let place = report.namespace.as_ref().map_or_else(
        || "in any namespace".to_owned(),
        |namespace| format!("in namespace {namespace}"),
    );
    Failure::new(
        ExitCode::Problem,
        format_args!(
            "no Cluster of CloudNativePG is {place} of {}",
            report.server
        ),
    )
    .with_hint(
        "is this the right context? `kubectl config current-context`; name another with --context",
    )
}

/// A problem weighs more than what could not be read.
const fn exit_code(report: &ScanReport) -> ExitCode {
    if report.counts.problem > 0 {
        ExitCode::Problem
    } else if report.counts.unread > 0 {
        ExitCode::Unproven
    } else {
        ExitCode::Done
    }
}

fn write(file: &Path, text: &str) -> Result<(), Failure> {
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(file)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|error| Failure::unproven(format_args!("write {}: {error}", file.display())))
}
