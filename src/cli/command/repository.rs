//! `walproof repository`: look at a place before anything is configured.

use clap::{Args, Subcommand};

use serde::Serialize;

use crate::cli::render::discover::{self as render, StoreSettings};
use crate::cli::source::{StoreArgs, resolve_url};
use crate::cli::{Context, ExitCode, Failure};
use crate::kubernetes::Access;
use crate::operation::source::open_at;
use crate::repository::{self, Discovered};

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
pub async fn run(command: RepositoryCommand, context: &Context) -> Result<ExitCode, Failure> {
    let RepositoryCommand::Discover(args) = command;
    let (location, options) = resolve_url(&args.url, &args.store)?;
    let store = open_at(&Access::default(), &location, &options)?;
    let bar = context.progress.spinner("looking");
    let found = repository::discover(&store).await;
    bar.finish_and_clear();
    let found = found?;
    if found.is_empty() {
        return Err(Failure::new(
            ExitCode::Problem,
            format_args!("no server's backups lie at {location} or up to three levels below"),
        )
        .with_hint(
            "a server is a folder that holds `base/` and `wals/`; check bucket and prefix",
        ));
    }
    if context.output.is_json() {
        context.output.json(&Document {
            schema: "walproof.discover/v1",
            location: location.to_string(),
            servers: &found,
        })?;
    } else {
        let settings = StoreSettings::of(&options);
        context.output.text(&render::discovered(
            &found,
            &settings,
            context.output.palette,
        ))?;
    }
    Ok(ExitCode::Done)
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    location: String,
    servers: &'a [Discovered],
}
