//! `walproof repository`: look at a place before anything is configured.

use clap::{Args, Subcommand};

use crate::cli::source::StoreArgs;
use crate::cli::{Context, ExitCode, Failure};

/// Look at a place in object storage before anything is configured
#[derive(Subcommand, Clone, Debug)]
pub enum RepositoryCommand {
    /// List the servers whose backups lie below a URL, and print the configuration to paste
    #[command(
        long_about = "List the servers whose backups lie below a URL, and print the configuration to paste.\n\nOnly names and small metadata objects are read; nothing is written.",
        after_long_help = "Examples:\n  walproof repository discover s3://backups\n  walproof repository discover s3://backups --endpoint-url https://minio.example:9000\n  walproof repository discover file:///srv/backups"
    )]
    Discover(DiscoverArgs),
}

/// Arguments of `repository discover`.
#[derive(Args, Clone, Debug)]
pub struct DiscoverArgs {
    /// The bucket, a prefix in it, or a directory
    #[arg(value_name = "URL")]
    pub url: String,
    /// How to reach the store.
    #[command(flatten)]
    pub store: StoreArgs,
}

/// Runs `repository discover`.
#[expect(clippy::unused_async, reason = "the room behind it is asynchronous")]
pub async fn run(command: RepositoryCommand, _context: &Context) -> Result<ExitCode, Failure> {
    match command {
        RepositoryCommand::Discover(args) => {
            let (_location, _options) = crate::cli::source::resolve_url(&args.url, &args.store)?;
            Err(Failure::not_built("repository discover"))
        }
    }
}
