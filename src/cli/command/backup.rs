//! `walproof backup`: base backups of a local server.

use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::wal::CompressionArg;
use crate::cli::source::{SourceArgs, resolve};
use crate::cli::{Context, ExitCode, Failure};

/// Take base backups of a local server
#[derive(Subcommand, Clone, Debug)]
pub enum BackupCommand {
    /// Take a base backup of the local server into a Barman Cloud repository
    #[command(
        long_about = "Take a base backup of the server that runs here into a Barman Cloud repository, which barman-cloud-restore and CloudNativePG can read.\n\nThe low-level backup API is used: walproof connects (environment variables PGHOST, PGPORT, PGUSER and so on, or --connection), reads the data directory and its tablespaces, and must therefore run on the same machine as a user that may read them. WAL must be archived to the same repository (`walproof wal push`).",
        after_long_help = "Examples:\n  walproof backup take file:///srv/backups/orders\n  walproof backup take orders --compression zstd --jobs 4\n  walproof backup take s3://backups/orders --connection 'host=/run/postgresql user=postgres'"
    )]
    Take(TakeArgs),
}

/// Arguments of `backup take`.
#[derive(Args, Clone, Debug)]
pub struct TakeArgs {
    /// Where to.
    #[command(flatten)]
    pub source: SourceArgs,
    /// How to connect, as libpq writes it (host=… user=…); a password belongs in PGPASSWORD
    /// or ~/.pgpass
    #[arg(long, value_name = "CONNINFO")]
    pub connection: Option<String>,
    /// The data directory, if it is seen here under another path than the server says
    #[arg(long, value_name = "DIRECTORY")]
    pub data_directory: Option<PathBuf>,
    /// A name for the backup
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// How the archives are compressed
    #[arg(long, value_name = "CODEC", default_value = "gzip")]
    pub compression: CompressionArg,
    /// How many files are read and stored at once
    #[arg(long, value_name = "N", default_value = "2")]
    pub jobs: NonZeroU32,
    /// Wait for the next scheduled checkpoint instead of asking for one at once
    #[arg(long)]
    pub spread_checkpoint: bool,
}

/// Runs `backup take`.
#[expect(clippy::unused_async, reason = "the room behind it is asynchronous")]
pub async fn run(command: BackupCommand, context: &Context) -> Result<ExitCode, Failure> {
    match command {
        BackupCommand::Take(args) => {
            let config = context.config()?;
            let _source = resolve(&args.source, &config)?;
            Err(Failure::not_built("backup take"))
        }
    }
}
