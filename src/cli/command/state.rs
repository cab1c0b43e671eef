//! `walproof state`: the database in which walproof keeps what it knows.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::cli::{Context, ExitCode, Failure};
use crate::config::StateDatabase;

/// Show and back up the state database
#[derive(Subcommand, Clone, Debug)]
pub enum StateCommand {
    /// Show what the state database is and holds, and bring its schema up to date
    #[command(
        long_about = "Show what the state database is and holds. As every command does, it makes the database if there is none and brings its schema up to date first.",
        after_long_help = "Examples:\n  walproof state info\n  walproof state info --state sqlite:///var/lib/walproof/state.sqlite\n  walproof state info --output json | jq .schema_version"
    )]
    Info,
    /// Write a consistent copy of the state database to a new file
    #[command(
        long_about = "Write a consistent copy of the state database to a new file, while everything goes on working.\n\nFor a state in SQLite. One in PostgreSQL is backed up with pg_dump, or with any tool for backups of PostgreSQL (docs/state.md, which also tells how to restore it).",
        after_long_help = "Examples:\n  walproof state backup --to /backup/walproof-state.sqlite"
    )]
    Backup(BackupArgs),
}

/// Arguments of `state backup`.
#[derive(Args, Clone, Debug)]
pub struct BackupArgs {
    /// The file to write; it must not be there yet
    #[arg(long, value_name = "FILE")]
    pub to: PathBuf,
}

/// Runs `state`.
pub async fn run(command: StateCommand, context: &Context) -> Result<ExitCode, Failure> {
    match command {
        StateCommand::Info => info(context).await,
        StateCommand::Backup(args) => backup(&args, context).await,
    }
}

async fn info(context: &Context) -> Result<ExitCode, Failure> {
    let config = context.config()?;
    let state = context.state(&config).await?;
    let info = state.info().await?;
    state.close().await;
    if context.output.is_json() {
        context.output.json(&json!({
            "schema": "walproof.state/v1",
            "state": config.state,
            "directory": config.state.directory(),
            "engine": info.engine,
            "schema_version": info.schema_version,
            "bytes": info.bytes,
            "runs": info.runs,
            "running": info.running,
            "records": info.records,
            "objects": info.objects,
        }))?;
        return Ok(ExitCode::Done);
    }
    let mut text = String::new();
    for (name, value) in [
        ("state", config.state.to_string()),
        ("files", config.state.directory().display().to_string()),
        ("engine", info.engine),
        ("schema", format!("version {}", info.schema_version)),
        ("size", format!("{} bytes", info.bytes)),
        ("runs", format!("{}, {} under way", info.runs, info.running)),
        ("records", info.records.to_string()),
        ("objects", format!("{} remembered", info.objects)),
    ] {
        let _ = writeln!(text, "{name:<9} {value}");
    }
    context.output.text(&text)?;
    Ok(ExitCode::Done)
}

async fn backup(args: &BackupArgs, context: &Context) -> Result<ExitCode, Failure> {
    let config = context.config()?;
    if let StateDatabase::Postgres(settings) = config.state.database() {
        return Err(Failure::usage(format_args!(
            "the state is in PostgreSQL: {}",
            settings.url()
        ))
        .with_hint(format_args!(
            "`pg_dump --format=custom --file={} '{}'` backs it up while everything works (docs/state.md)",
            args.to.display(),
            settings.url()
        )));
    }
    if args.to.exists() {
        return Err(Failure::refused(format_args!(
            "{} is there already, and a backup is never written over anything",
            args.to.display()
        ))
        .with_hint("name a new file"));
    }
    let state = context.state(&config).await?;
    state.backup_to(&args.to).await?;
    state.close().await;
    let bytes = std::fs::metadata(&args.to)
        .map(|file| file.len())
        .unwrap_or_default();
    if context.output.is_json() {
        context.output.json(&json!({
            "schema": "walproof.state-backup/v1",
            "file": args.to,
            "bytes": bytes,
        }))?;
    } else {
        let text = format!("wrote {} ({bytes} bytes)\n", args.to.display());
        context.output.text(&text)?;
    }
    Ok(ExitCode::Done)
}
