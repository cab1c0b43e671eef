//! `walproof wal`: what PostgreSQL's archive_command and restore_command call, and a look
//! into the WAL itself.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::wal_find::{self, FindArgs};
use super::wal_show::{self, ShowArgs};
use crate::backup::{self, PushError};
use crate::cli::source::{SourceArgs, resolve};
use crate::cli::{Context, ExitCode, Failure, interrupted};
use crate::codec::Codec;
use crate::postgres::{SegmentSize, WalFileName};
use crate::repository::{self, Repository};
use crate::restore::read_plan;
use crate::restore::wal::{self, WalAnswer, WalGetOptions, wal_get};

/// Archive and fetch WAL, and look into it
#[derive(Subcommand, Clone, Debug)]
pub enum WalCommand {
    /// Archive one WAL file: archive_command = 'walproof wal push URL %p'
    #[command(
        long_about = "Archive one WAL file into a Barman Cloud repository.\n\nDone means durable. Pushing the same bytes again is fine; other bytes under the same name are refused (4), because two servers then archive to one place.",
        after_long_help = "Examples, in postgresql.conf:\n  archive_command = 'walproof wal push s3://backups/orders %p'\n  archive_command = 'walproof wal push orders %p --compression zstd'"
    )]
    Push(PushArgs),
    /// Fetch one WAL file: restore_command = 'walproof wal get URL %f %p'
    #[command(
        long_about = "Fetch one WAL file for a server in recovery, with read-ahead.\n\nA file that is not in the archive gives exit code 1, so that recovery goes on to the next source or ends. Storage that cannot be reached and bytes that are bad give a code above 125, so that PostgreSQL stops instead of promoting with rows missing.",
        after_long_help = "Examples, in postgresql.conf:\n  restore_command = 'walproof wal get s3://backups/orders %f %p'\n  restore_command = 'walproof wal get orders %f %p'"
    )]
    Get(GetArgs),
    /// Show what the archive's WAL is made of: stretches, records by kind, commits over time
    #[command(
        long_about = "Show what the WAL of an archive is made of, read from its records: which stretches are whole, how much each part of PostgreSQL wrote, commits over time, restore points, gaps.\n\nNo PostgreSQL is needed, and the cluster may be gone.",
        after_long_help = "Examples:\n  walproof wal show orders\n  walproof wal show s3://backups/orders --from -6h\n  walproof wal show orders --from 16/B3000000 --to 16/B5000000 --output json\n\nExit codes: 0 all of it could be read; 1 some of it is damaged; 3 could not look."
    )]
    Show(ShowArgs),
    /// Find the position just before something happened: a drop, a restore point, a commit
    #[command(
        long_about = "Find the position just before something happened, from the archive alone: when a relation was dropped or truncated and by which transaction, named restore points, commits around a moment.\n\nEvery hit comes with the LSN to restore to. Relations are known by file number (pg_class.relfilenode) and database oid; --catalog names them from a running server. A relation that is gone from the live server is named by one that was restored to an earlier moment.",
        after_long_help = "Examples:\n  walproof wal find orders --dropped\n  walproof wal find orders --dropped 16384/24601\n  walproof wal find orders --dropped invoices --catalog postgres://me@127.0.0.1:5544/orders\n  walproof wal find orders --around 2026-11-21T02:40:00Z --within 1m\n  walproof wal find orders --restore-point before-release\n  walproof wal find orders --xid 4711\n\nExit codes: 0 found; 1 nothing found; 3 could not look."
    )]
    Find(FindArgs),
    /// Fetch one WAL file from the drill or restore that runs this server
    #[command(hide = true)]
    Fetch(FetchArgs),
}

/// Arguments of `wal push`.
#[derive(Args, Clone, Debug)]
pub struct PushArgs {
    /// Where to.
    #[command(flatten)]
    pub source: SourceArgs,
    /// The file, as PostgreSQL gives it for %p
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
    /// How it is compressed
    #[arg(long, value_name = "CODEC", default_value = "gzip")]
    pub compression: CompressionArg,
}

/// Arguments of `wal get`.
#[derive(Args, Clone, Debug)]
pub struct GetArgs {
    /// Where from.
    #[command(flatten)]
    pub source: SourceArgs,
    /// The file's name, as PostgreSQL gives it for %f
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Where to put it, as PostgreSQL gives it for %p
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
    /// Let an unfinished segment (.partial) pass for a full one
    #[arg(long)]
    pub allow_partial: bool,
    /// What recovery needs, as `walproof restore` wrote it; a needed file that is missing
    /// then stops recovery instead of ending it
    #[arg(long, value_name = "FILE", conflicts_with = "segment_size")]
    pub plan: Option<PathBuf>,
    /// The cluster's WAL segment size in bytes, where there is no plan [default: 16 MiB]
    #[arg(long, value_name = "BYTES", value_parser = parse_segment_size)]
    pub segment_size: Option<SegmentSize>,
    /// How many segments are fetched ahead
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub read_ahead: usize,
    /// Directory for segments fetched ahead [default: beside PATH]
    #[arg(long, value_name = "DIRECTORY")]
    pub spool: Option<PathBuf>,
}

/// Arguments of `wal fetch`.
#[derive(Args, Clone, Debug)]
pub struct FetchArgs {
    /// The socket of the drill or restore
    #[arg(long, value_name = "SOCKET")]
    pub socket: PathBuf,
    /// The file's name (%f)
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Where to put it (%p)
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
}

/// Codecs that can be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum CompressionArg {
    /// Not compressed.
    None,
    /// gzip (.gz).
    #[default]
    Gzip,
    /// bzip2 (.bz2).
    Bzip2,
    /// xz (.xz).
    Xz,
    /// Zstandard (.zst).
    Zstd,
    /// LZ4 frames (.lz4).
    Lz4,
    /// Snappy frames (.snappy).
    Snappy,
}

impl From<CompressionArg> for Codec {
    fn from(argument: CompressionArg) -> Self {
        match argument {
            CompressionArg::None => Self::None,
            CompressionArg::Gzip => Self::Gzip,
            CompressionArg::Bzip2 => Self::Bzip2,
            CompressionArg::Xz => Self::Xz,
            CompressionArg::Zstd => Self::Zstd,
            CompressionArg::Lz4 => Self::Lz4,
            CompressionArg::Snappy => Self::Snappy,
        }
    }
}

/// The exit code of a `restore_command` that cannot tell whether the file is there.
pub(in crate::cli) const CANNOT_TELL: ExitCode = ExitCode::RestoreCommand(201);

/// The exit code of a `restore_command` that was ended by SIGTERM, as a shell tells it.
const ENDED: ExitCode = ExitCode::RestoreCommand(143);

/// Runs a `wal` command.
pub async fn run(command: WalCommand, context: &Context) -> Result<ExitCode, Failure> {
    match command {
        WalCommand::Push(args) => push(args, context).await,
        WalCommand::Get(args) => get(args, context).await,
        WalCommand::Show(args) => wal_show::run(args, context).await,
        WalCommand::Find(args) => wal_find::run(args, context).await,
        WalCommand::Fetch(args) => Err(Failure::unproven(format_args!(
            "fetch {}: it is answered before the runtime starts",
            args.name
        ))),
    }
}

/// What recovery can do without is asked for in every healthy recovery, and would only
/// alarm in the server's log.
const fn is_trouble(answer: &WalAnswer) -> bool {
    matches!(answer, WalAnswer::Stop(_) | WalAnswer::Unreachable(_))
}

/// Runs `wal fetch`: small and blocking, because PostgreSQL starts it anew for every file.
/// Its exit codes are those of `restore_command`, not walproof's: 1 for "recovery can do
/// without", above 125 to make recovery stop, also when walproof itself has a defect.
pub(in crate::cli) fn fetch(args: &FetchArgs) -> std::process::ExitCode {
    use std::io::Write as _;
    let answer = std::panic::catch_unwind(|| wal::fetch(&args.socket, &args.name, &args.path))
        .unwrap_or_else(|_| WalAnswer::Unreachable("walproof has a defect".to_owned()));
    if is_trouble(&answer) {
        // Standard error is the server's log.
        let _ = writeln!(
            std::io::stderr(),
            "walproof wal fetch: {}: {answer}",
            args.name
        );
    }
    std::process::ExitCode::from(answer.exit_code())
}

async fn push(args: PushArgs, context: &Context) -> Result<ExitCode, Failure> {
    let config = context.config()?;
    let source = resolve(&args.source, &config)?;
    let name = args
        .path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let name: WalFileName = name.parse().map_err(|error| {
        Failure::usage(format_args!("archive {}: {error}", args.path.display()))
            .with_hint("archive_command gives the path of a WAL file: `walproof wal push URL %p`")
    })?;
    let store = source.open_for_writing()?;
    let outcome = backup::push(&store, &args.path, name, args.compression.into())
        .await
        .map_err(push_failure)?;
    if context.output.is_json() {
        context.output.json(&outcome)?;
    } else {
        tracing::info!(?outcome, "archived {name}");
    }
    Ok(ExitCode::Done)
}

fn push_failure(error: PushError) -> Failure {
    match error {
        PushError::Storage(error) => error.into(),
        PushError::Differs { .. } | PushError::StoredUnreadable { .. } => Failure::refused(error),
        error => Failure::unproven(error),
    }
}

fn parse_segment_size(text: &str) -> Result<SegmentSize, String> {
    let bytes: u64 = text
        .parse()
        .map_err(|_| "not a number of bytes".to_owned())?;
    SegmentSize::new(bytes).map_err(|error| error.to_string())
}

/// What goes wrong before anything was asked of the archive must stop recovery as well:
/// PostgreSQL takes codes up to 125 for "not there" and would promote.
async fn get(args: GetArgs, context: &Context) -> Result<ExitCode, Failure> {
    let mut interrupt = context.interrupt.clone();
    let answer = match prepare(&args, context) {
        Ok((repository, options)) => {
            tokio::select! {
                answer = wal_get(&repository, &args.name, &args.path, &options) => answer,
                // A server that shuts down ends its restore_command first.
                () = interrupted(&mut interrupt) => return Ok(ENDED),
            }
        }
        Err(failure) => WalAnswer::Unreachable(failure.message),
    };
    if is_trouble(&answer) {
        context
            .progress
            .print(&format!("walproof wal get: {}: {answer}\n", args.name));
    }
    Ok(ExitCode::RestoreCommand(answer.exit_code()))
}

fn prepare(args: &GetArgs, context: &Context) -> Result<(Repository, WalGetOptions), Failure> {
    let config = context.config()?;
    let source = resolve(&args.source, &config)?;
    let plan = args
        .plan
        .as_deref()
        .map(read_plan)
        .transpose()
        .map_err(Failure::unproven)?;
    let options = WalGetOptions {
        plan,
        segment_size: args.segment_size.unwrap_or_default(),
        spool: args.spool.clone(),
        read_ahead: args.read_ahead,
        allow_partial: args.allow_partial,
    };
    let store = source.open()?;
    Ok((repository::open(store), options))
}
