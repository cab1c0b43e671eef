//! `walproof config`: check the configuration, print its schemas.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use crate::cli::{Context, ExitCode, Failure, Palette};
use crate::config::{self, Config, schema};

/// Check the configuration, or print its JSON Schema
#[derive(Subcommand, Clone, Debug)]
pub enum ConfigCommand {
    /// Check walproof.yaml and its drills; every mistake is named with its place
    #[command(
        long_about = "Check walproof.yaml and every drill definition that it names.\n\nAll mistakes are reported at once, each with file, line, column and what is allowed. Nothing is asked of any repository; secrets are not read.",
        after_long_help = "Examples:\n  walproof config check\n  walproof config check --config /etc/walproof/walproof.yaml\n  walproof config check drills/nightly.yaml"
    )]
    Check(CheckArgs),
    /// Print the JSON Schema of walproof.yaml or of a drill definition
    #[command(
        long_about = "Print the JSON Schema of walproof.yaml or of a drill definition, for editors.\n\nThe same schemas lie in docs/schema/ of the project.",
        after_long_help = "Examples:\n  walproof config schema > walproof.schema.json\n  walproof config schema drill > drill.schema.json"
    )]
    Schema(SchemaArgs),
}

/// Arguments of `config check`.
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// A single drill definition to check instead
    #[arg(value_name = "DRILL-FILE")]
    pub drill: Option<PathBuf>,
}

/// Arguments of `config schema`.
#[derive(Args, Clone, Debug)]
pub struct SchemaArgs {
    /// Of which kind of file
    #[arg(value_name = "KIND", default_value = "config")]
    pub kind: SchemaKind,
}

/// Kinds of files with a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SchemaKind {
    /// walproof.yaml
    Config,
    /// A drill definition
    Drill,
}

/// Runs `config check` or `config schema`.
pub fn run(command: ConfigCommand, context: &Context) -> Result<ExitCode, Failure> {
    match command {
        ConfigCommand::Check(args) => check(&args, context),
        ConfigCommand::Schema(args) => {
            let schema = match args.kind {
                SchemaKind::Config => schema::config(),
                SchemaKind::Drill => schema::drill(),
            };
            context.output.text(&schema::to_text(&schema))?;
            Ok(ExitCode::Done)
        }
    }
}

fn check(args: &CheckArgs, context: &Context) -> Result<ExitCode, Failure> {
    if let Some(file) = &args.drill {
        let drill = config::load_drill(file)?;
        if context.output.is_json() {
            context.output.json(&json!({
                "schema": "walproof.config-check/v1",
                "file": drill.file,
                "drills": [drill.definition.name],
            }))?;
        } else {
            context.output.line(format_args!(
                "{} is right: drill `{}`, target {}, {}",
                drill.file.display(),
                drill.definition.name,
                drill.definition.target,
                counted(drill.definition.checks.len(), "check")
            ))?;
        }
        return Ok(ExitCode::Done);
    }
    let Some(file) = context.config_file() else {
        return Err(Failure::usage("check the configuration: there is none")
            .with_hint("`walproof init` writes a commented starter; --config names another file"));
    };
    let config = context.config()?;
    if context.output.is_json() {
        context.output.json(&json!({
            "schema": "walproof.config-check/v1",
            "file": file,
            "state": config.state,
            "clusters": config.clusters.iter().map(|cluster| &cluster.name).collect::<Vec<_>>(),
            "tiers": config.tiers.keys().collect::<Vec<_>>(),
            "drills": config.drills.iter().map(|drill| &drill.definition.name).collect::<Vec<_>>(),
        }))?;
    } else {
        context
            .output
            .text(&summary(&config, context.output.palette))?;
    }
    Ok(ExitCode::Done)
}

fn counted(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

fn or_dash<T: ToString>(value: Option<&T>) -> String {
    value.map_or_else(|| "-".to_owned(), ToString::to_string)
}

/// The configuration in a few lines. Writing to a `String` cannot fail.
fn summary(config: &Config, palette: Palette) -> String {
    let mut text = String::new();
    if let Some(file) = &config.file {
        let _ = writeln!(text, "{} is right.", palette.bold(file.display()));
    }
    let _ = writeln!(text, "state     {}", config.state);
    for (name, tier) in &config.tiers {
        let _ = writeln!(
            text,
            "tier      {}: RPO {}, RTO {}, retention {}, newest backup within {}",
            palette.bold(name),
            or_dash(tier.rpo.as_ref()),
            or_dash(tier.rto.as_ref()),
            or_dash(tier.retention.as_ref()),
            or_dash(tier.max_backup_age.as_ref()),
        );
    }
    for cluster in &config.clusters {
        let _ = writeln!(
            text,
            "cluster   {}: tier {}, owner {}, {}",
            palette.bold(&cluster.name),
            or_dash(cluster.tier.as_ref()),
            or_dash(cluster.owner.as_ref()),
            if cluster.heartbeat.is_some() {
                "heartbeat"
            } else {
                "no heartbeat"
            },
        );
        for (label, repository) in cluster.copies() {
            let _ = writeln!(text, "          {label}: {}", repository.url);
        }
    }
    for drill in &config.drills {
        let definition = &drill.definition;
        let clusters = if definition.clusters.is_empty() {
            "any cluster".to_owned()
        } else {
            definition.clusters.join(", ")
        };
        let _ = writeln!(
            text,
            "drill     {}: {clusters}, target {}, {}{}{}",
            palette.bold(&definition.name),
            definition.target,
            counted(definition.checks.len(), "check"),
            if definition.checksums {
                ", pg_checksums"
            } else {
                ""
            },
            if definition.amcheck.is_some() {
                ", pg_amcheck"
            } else {
                ""
            },
        );
    }
    if config.clusters.is_empty() {
        let _ = writeln!(text, "There is no cluster yet: add one under `clusters`.");
    }
    text
}
