//! The whole command line as types.

use std::path::PathBuf;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser, Subcommand, ValueEnum};

use super::command;
use super::{ColorChoice, OutputFormat};

const ABOUT: &str = "\
walproof answers one question about every PostgreSQL database it guards, with evidence:
from which moment to which moment can it be brought back, from which copy, how fast, and
losing how much?

It reads what backup tools wrote to object storage, restores it for real in a scratch
place, measures, and records the proof. It never writes to the repositories that it
checks (only `backup take` and `wal push` write, and never over other bytes); replicas are
written by `replicate`, create-only.";

const EXAMPLES: &str = "\
The first look at a bucket needs no configuration, only credentials in the environment:
  walproof repository discover s3://backups
  walproof verify s3://backups/orders
  walproof drill run s3://backups/orders

With a configuration, by the cluster's name:
  walproof init
  walproof config check
  walproof verify orders
  walproof drill run orders --target-time -1h
  walproof replicate run orders
  walproof history orders
  walproof status

Exit codes: 0 done or proven, 1 a problem was found, 2 wrong usage or configuration,
3 could not check, 4 refused for safety, 130 interrupted (`walproof help exit-codes`).";

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Yellow.on_default().bold())
    .usage(AnsiColor::Yellow.on_default().bold())
    .literal(AnsiColor::Green.on_default())
    .placeholder(AnsiColor::Cyan.on_default());

/// Proves that PostgreSQL backups restore.
#[derive(Parser, Debug)]
#[command(
    name = "walproof",
    version,
    about = "Proves that PostgreSQL backups restore",
    long_about = ABOUT,
    after_long_help = EXAMPLES,
    after_help = "`walproof help COMMAND` explains a command with examples.",
    styles = STYLES,
    max_term_width = 100,
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct Cli {
    /// Flags of every command.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of every command.
#[derive(Args, Clone, Debug)]
pub struct GlobalArgs {
    /// Configuration file [default: ./walproof.yaml, then /etc/walproof/walproof.yaml; none is fine]
    #[arg(
        help_heading = "Global options",
        long,
        global = true,
        value_name = "FILE",
        env = "WALPROOF_CONFIG",
        hide_env = true
    )]
    pub config: Option<PathBuf>,
    /// State database, sqlite:///path or postgres://… [default: as the configuration says]
    #[arg(
        help_heading = "Global options",
        long,
        global = true,
        value_name = "URL",
        env = "WALPROOF_STATE",
        hide_env = true
    )]
    pub state: Option<String>,
    /// What standard output is for: people, or programs (docs/json-contract.md)
    #[arg(
        help_heading = "Global options",
        long,
        short,
        global = true,
        value_name = "FORMAT",
        default_value = "text"
    )]
    pub output: OutputFormat,
    /// Log more: -v what happens, -vv in detail, -vvv libraries too
    #[arg(help_heading = "Global options", long, short, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Log level or directives, such as debug or walproof=debug,object_store=info
    #[arg(
        help_heading = "Global options",
        long,
        global = true,
        value_name = "LEVEL",
        env = "WALPROOF_LOG",
        hide_env = true,
        conflicts_with = "verbose"
    )]
    pub log_level: Option<String>,
    /// How log lines on standard error look
    #[arg(
        help_heading = "Global options",
        long,
        global = true,
        value_name = "FORMAT",
        env = "WALPROOF_LOG_FORMAT",
        hide_env = true,
        default_value = "human"
    )]
    pub log_format: LogFormatArg,
    /// When to use colour
    #[arg(
        help_heading = "Global options",
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto"
    )]
    pub color: ColorChoice,
    /// Show no progress; it is shown on a terminal only
    #[arg(help_heading = "Global options", long, global = true)]
    pub no_progress: bool,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormatArg {
    /// For people.
    #[default]
    Human,
    /// One JSON object per line.
    Json,
}

/// The commands; each explains itself in its own file.
#[derive(Subcommand, Debug)]
#[expect(
    missing_docs,
    reason = "a comment here would replace the command's own help"
)]
pub enum Command {
    Init(command::init::InitArgs),
    #[command(subcommand)]
    Config(command::config::ConfigCommand),
    #[command(subcommand)]
    Repository(command::repository::RepositoryCommand),
    Verify(command::verify::VerifyArgs),
    #[command(subcommand)]
    Drill(command::drill::DrillCommand),
    Restore(command::restore::RestoreArgs),
    #[command(subcommand)]
    Replicate(command::replicate::ReplicateCommand),
    #[command(subcommand)]
    Definition(command::definition::DefinitionCommand),
    #[command(subcommand)]
    Backup(command::backup::BackupCommand),
    #[command(subcommand)]
    Request(command::request::RequestCommand),
    #[command(subcommand)]
    Wal(command::wal::WalCommand),
    #[command(subcommand)]
    Kubernetes(command::kubernetes::KubernetesCommand),
    Status(command::status::StatusArgs),
    Daemon(command::daemon::DaemonArgs),
    #[command(subcommand)]
    Schedule(command::schedule::ScheduleCommand),
    #[command(subcommand)]
    Job(command::job::JobCommand),
    History(command::history::HistoryArgs),
    #[command(subcommand)]
    State(command::state::StateCommand),
    #[command(subcommand)]
    Evidence(command::evidence::EvidenceCommand),
    #[command(subcommand)]
    Notify(command::notify::NotifyCommand),
    Help(command::help::HelpArgs),
    #[command(subcommand, hide = true)]
    Internal(command::internal::InternalCommand),
}
