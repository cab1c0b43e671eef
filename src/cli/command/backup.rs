//! `walproof backup`: base backups of a local server, or by CloudNativePG.

use std::fmt::Write as _;

use clap::{Args, Subcommand, ValueEnum};
use indicatif::ProgressBar;

use super::backup_request::{self, RequestArgs};
use crate::backup::{self, ServerAddress, TakeError, TakeOptions, TakeProgress, TakeReport};
use crate::cli::recording::{self, Recording, failed};
use crate::cli::source::{SourceArgs, resolve};
use crate::cli::{Context, ExitCode, Failure, Palette, interrupted};
use crate::codec::Codec;
use crate::config::Period;
use crate::state::{Outcome, RunKind};
use crate::verify::words;

/// Take base backups: of a local server, or by CloudNativePG
#[derive(Subcommand, Clone, Debug)]
pub enum BackupCommand {
    /// Take a base backup of the local server into a Barman Cloud repository
    #[command(
        long_about = "Take a base backup of the server that runs here into a Barman Cloud repository, which barman-cloud-restore and CloudNativePG can read.\n\nThe low-level backup API is used: walproof connects (--host, --port, --user, --dbname, or PGHOST, PGPORT, PGUSER, PGDATABASE; a password only from PGPASSWORD or ~/.pgpass), reads the data directory and its tablespaces, and must therefore run on the same machine as a user that may read them. WAL must be archived to the same repository (`walproof wal push`).",
        after_long_help = "Examples:\n  walproof backup take file:///srv/backups/orders\n  walproof backup take orders --compression lz4 --wait 10m\n  walproof backup take s3://backups/orders --host /run/postgresql --user postgres"
    )]
    Take(TakeArgs),
    /// Let CloudNativePG take a base backup, and follow it until it is known to be usable
    #[command(
        long_about = "Let CloudNativePG take a base backup: a `Backup` is created in the Cluster's namespace and followed until the operator calls it completed. Then the repository is looked into: the operator's word says that the archives are stored, not that the WAL has arrived that makes them consistent.\n\nThe configuration says where the cluster lives in Kubernetes (`kubernetes: {namespace, name}`) and where its repository is. What is needed there: to get the Cluster, and to create and get Backups (`walproof kubernetes check --for backup`). A Backup is never deleted, and goes on when this command is interrupted or its time is over.",
        after_long_help = "Examples:\n  walproof backup request orders\n  walproof backup request orders --wait 4h\n  walproof backup request orders --method snapshot\n  walproof backup request orders --no-wait\n\nExit codes: 0 verified (or as far as was asked for); 1 the operator says that it failed, or it cannot be used; 3 not completed in time, or the API or the repository cannot be asked."
    )]
    Request(RequestArgs),
}

/// Arguments of `backup take`.
#[derive(Args, Clone, Debug)]
pub struct TakeArgs {
    /// Where to.
    #[command(flatten)]
    pub source: SourceArgs,
    /// The server's host, or the directory of its socket
    #[arg(help_heading = "Server", long, value_name = "HOST")]
    pub host: Option<String>,
    /// The server's port
    #[arg(help_heading = "Server", long, value_name = "PORT")]
    pub port: Option<u16>,
    /// The role to connect as
    #[arg(help_heading = "Server", long, value_name = "ROLE")]
    pub user: Option<String>,
    /// The database to connect to [default: postgres]
    #[arg(help_heading = "Server", long, value_name = "NAME")]
    pub dbname: Option<String>,
    /// A name for the backup
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// How the archives are compressed
    #[arg(long, value_name = "CODEC", default_value = "gzip")]
    pub compression: BaseCompression,
    /// Begin a new part when an archive has this many bytes
    #[arg(long, value_name = "BYTES", default_value_t = TakeOptions::MAX_ARCHIVE_SIZE)]
    pub max_archive_size: u64,
    /// Wait for the next scheduled checkpoint instead of asking for one at once
    #[arg(long)]
    pub spread_checkpoint: bool,
    /// Wait until the WAL that the backup needs is archived, at most this long
    #[arg(long, value_name = "PERIOD", num_args = 0..=1, default_missing_value = "10m")]
    pub wait: Option<Period>,
}

/// Codecs that Barman's tools read in base backups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum BaseCompression {
    /// Not compressed.
    None,
    /// gzip (.gz).
    #[default]
    Gzip,
    /// bzip2 (.bz2).
    Bzip2,
    /// Snappy frames (.snappy).
    Snappy,
    /// LZ4 frames (.lz4).
    Lz4,
}

impl From<BaseCompression> for Codec {
    fn from(argument: BaseCompression) -> Self {
        match argument {
            BaseCompression::None => Self::None,
            BaseCompression::Gzip => Self::Gzip,
            BaseCompression::Bzip2 => Self::Bzip2,
            BaseCompression::Snappy => Self::Snappy,
            BaseCompression::Lz4 => Self::Lz4,
        }
    }
}

/// Runs `backup …`.
pub async fn run(command: BackupCommand, context: &Context) -> Result<ExitCode, Failure> {
    match command {
        BackupCommand::Take(args) => take(args, context).await,
        BackupCommand::Request(args) => backup_request::run(args, context).await,
    }
}

async fn take(args: TakeArgs, context: &Context) -> Result<ExitCode, Failure> {
    let config = context.config()?;
    let source = resolve(&args.source, &config)?;
    let options = TakeOptions {
        codec: args.compression.into(),
        name: args.name,
        max_archive_size: args.max_archive_size,
        fast_checkpoint: !args.spread_checkpoint,
        wait_for_archive: args.wait.map(Period::as_std),
        ..TakeOptions::new(
            source.open_for_writing()?,
            ServerAddress {
                host: args.host,
                port: args.port,
                user: args.user,
                database: args.dbname,
            },
        )
    };
    let bar = context.progress.bytes("base backup", 0);
    let recording = Recording::try_begin(RunKind::Backup, &source, &config, context).await;
    let mut interrupt = context.interrupt.clone();
    let report = backup::take(
        options,
        &|state| show(&bar, &state),
        interrupted(&mut interrupt),
    )
    .await
    .map_err(failure);
    bar.finish_and_clear();
    if let Some(recording) = recording {
        recording.finish(&outcome_of(&report)).await?;
    }
    let report = report?;
    if context.output.is_json() {
        context.output.json(&report)?;
    } else {
        context
            .output
            .text(&render(&report, context.output.palette))?;
    }
    // The backup is whole, but what was asked for was to see its WAL archived.
    let waited_in_vain = report.archived == Some(false) && *context.interrupt.borrow();
    Ok(if waited_in_vain {
        ExitCode::Interrupted
    } else {
        ExitCode::Done
    })
}

fn outcome_of(result: &Result<TakeReport, Failure>) -> Outcome {
    match result {
        Ok(report) => recording::outcome(
            None,
            ExitCode::Done,
            format!("{}, {} read", report.id, words::bytes(report.read_bytes)),
            &[],
            ("walproof.backup/v1", report),
        ),
        Err(failure) => failed(failure),
    }
}

fn show(bar: &ProgressBar, state: &TakeProgress) {
    match state {
        TakeProgress::Checkpoint => bar.set_message("waiting for the checkpoint"),
        TakeProgress::Copying {
            read_bytes,
            expected_bytes,
        } => {
            bar.set_message("");
            bar.set_length(expected_bytes.unwrap_or_default().max(*read_bytes));
            bar.set_position(*read_bytes);
        }
        TakeProgress::WaitingForArchive { segment, waited } => bar.set_message(format!(
            "waiting {} s for {segment} in the archive",
            waited.as_secs()
        )),
    }
}

fn failure(error: TakeError) -> Failure {
    match error {
        TakeError::Storage(error) => error.into(),
        TakeError::Codec(_) => Failure::usage(error),
        TakeError::Interrupted { .. } => Failure::new(ExitCode::Interrupted, error),
        TakeError::NotArchived { .. } => Failure::new(ExitCode::Problem, error),
        error => Failure::unproven(error),
    }
}

fn render(report: &TakeReport, palette: Palette) -> String {
    let stored: u64 = report.archives.iter().map(|archive| archive.bytes).sum();
    let mut text = format!(
        "{} {} in {}\n",
        palette.green("backup"),
        palette.bold(&report.id),
        report.location
    );
    let took = report.end_time - report.begin_time;
    let _ = writeln!(
        text,
        "  {} files, {} read, {} stored in {}, {}",
        report.files,
        words::bytes(report.read_bytes),
        words::bytes(stored),
        words::count(report.archives.len() as u64, "archive"),
        words::length(took),
    );
    let _ = writeln!(
        text,
        "  WAL {} to {} on timeline {}, segments {} to {}",
        report.begin_lsn, report.end_lsn, report.timeline, report.begin_wal, report.end_wal
    );
    let archived = match report.archived {
        Some(true) => "the WAL that it needs is archived",
        Some(false) => "the WAL that it needs is not archived yet",
        None => "whether its WAL is archived was not waited for (--wait)",
    };
    let _ = writeln!(text, "  {archived}");
    for note in &report.notes {
        let _ = writeln!(text, "  {} {note}", palette.yellow("note:"));
    }
    text
}
