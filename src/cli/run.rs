//! From `main` to a command and back to an exit code.

use std::ffi::OsString;
use std::io::{IsTerminal as _, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};

use clap::{CommandFactory as _, FromArgMatches as _};
use tracing::{Instrument as _, Span};

use super::command;
use super::interrupt::{interrupted, listen};
use super::{
    Cli, Command, Context, ExitCode, Failure, LogFormatArg, Output, Palette, Progress, plugin,
};
use crate::telemetry::{self, LogFormat, Traces};

/// Threads of a daemon's runtime, besides those that block.
const DAEMON_THREADS: usize = 2;

/// Runs the command line of this process.
pub fn main() -> std::process::ExitCode {
    announce_panics();
    let cli = match parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() && is_restore_command(std::env::args_os()) => {
            let _ = error.print();
            return command::wal::CANNOT_TELL.into();
        }
        Err(error) => error.exit(),
    };
    if let Command::Wal(command::wal::WalCommand::Fetch(args)) = &cli.command {
        return command::wal::fetch(args);
    }
    let recovery = matches!(&cli.command, Command::Wal(command::wal::WalCommand::Get(_)));
    let output = Output::new(cli.global.output, cli.global.color);
    let palette = Palette::new(cli.global.color.wanted(std::io::stderr().is_terminal()));
    let progress = Progress::new(!cli.global.no_progress);
    let result = guarded(|| start(cli, output, palette, progress.clone()));
    progress.clear();
    match result {
        Ok(code) => code.into(),
        Err(failure) => {
            report(&failure, output, palette);
            if recovery {
                return command::wal::CANNOT_TELL.into();
            }
            failure.code.into()
        }
    }
}

/// Reads the command line, also that of a plugin of kubectl.
fn parse() -> Result<Cli, clap::Error> {
    let given: Vec<OsString> = std::env::args_os().collect();
    let mut command = Cli::command();
    if given
        .first()
        .is_some_and(|program| plugin::is_plugin(program))
    {
        // As a person types it, for usage lines.
        command = command.bin_name("kubectl walproof");
    }
    let matches = command.try_get_matches_from(plugin::arguments(given))?;
    Cli::from_arg_matches(&matches)
}

/// A panic is a defect of ours, so nothing was proven. The hook has told what happened.
fn guarded(work: impl FnOnce() -> Result<ExitCode, Failure>) -> Result<ExitCode, Failure> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(Failure::unproven("walproof has a defect and stopped")
            .with_hint("nothing was proven; `walproof drill sweep` removes what a drill left"))
    })
}

/// Whether PostgreSQL asks as its `restore_command`. A mistake in that command must stop
/// recovery: below 126 PostgreSQL would take it for the end of the archive and promote.
fn is_restore_command(arguments: impl Iterator<Item = OsString>) -> bool {
    let words: Vec<OsString> = arguments.collect();
    words.windows(2).any(
        |pair| matches!(pair, [wal, verb] if wal == "wal" && (verb == "get" || verb == "fetch")),
    )
}

/// Tells of a failure: to people on standard error, to programs as the one document on
/// standard output.
fn report(failure: &Failure, output: Output, palette: Palette) {
    // Nobody can be told when standard error itself is gone.
    let _ = writeln!(std::io::stderr().lock(), "{}", failure.render(palette));
    if output.is_json()
        && let Err(second) = output.json(&failure.document())
    {
        let _ = writeln!(std::io::stderr().lock(), "{}", second.render(palette));
    }
}

fn announce_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("no message");
        let place = panic
            .location()
            .map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        let _ = writeln!(
            std::io::stderr().lock(),
            "defect in walproof {}: {message} (at {place}); please report this line",
            env!("CARGO_PKG_VERSION"),
        );
    }));
}

fn start(
    cli: Cli,
    output: Output,
    palette: Palette,
    progress: Progress,
) -> Result<ExitCode, Failure> {
    let daemon = matches!(cli.command, Command::Daemon(_));
    let traces = start_logging(&cli, daemon, palette, progress.clone())?;
    // Commands that must not become a server with threads before they change what this
    // process may do.
    if let Command::Internal(internal) = &cli.command {
        return command::internal::run(internal);
    }
    // Fails only when a provider was installed before, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if daemon {
        // Work with bytes is done by blocking threads; a few others serve a process that
        // is idle most of the time, on a machine of any size.
        runtime.worker_threads(DAEMON_THREADS);
    }
    let runtime = runtime
        .enable_all()
        .build()
        .map_err(|error| Failure::unproven(format_args!("start the runtime: {error}")))?;
    let result = runtime.block_on(async {
        let interrupt = listen(progress.clone())?;
        let context = Context::new(&cli.global, output, palette, progress, interrupt)?;
        dispatch(cli.command, context).await
    });
    // A blocking read that nobody waits for any more must not keep the process alive.
    runtime.shutdown_background();
    if let Some(traces) = traces {
        traces.finish();
    }
    result
}

/// The way to a collector of traces, for commands whose work is worth one. What the
/// configuration has wrong the command itself will say.
fn traces(cli: &Cli) -> Option<Traces> {
    let idle = matches!(
        cli.command,
        Command::Init(_)
            | Command::Config(_)
            | Command::Repository(_)
            | Command::Wal(_)
            | Command::Kubernetes(_)
            | Command::Status(_)
            | Command::Job(_)
            | Command::Schedule(_)
            | Command::History(_)
            | Command::Evidence(_)
            | Command::Notify(_)
            | Command::Help(_)
            | Command::Internal(_)
    );
    if idle {
        return None;
    }
    let file = super::context::config_file(cli.global.config.as_deref());
    let config = file.and_then(|file| crate::config::load(&file).ok());
    let otlp = config.and_then(|config| config.telemetry.otlp);
    Traces::begin(otlp.as_ref()).unwrap_or_else(|error| {
        // There is no log yet, and the work matters more than its traces.
        let _ = writeln!(std::io::stderr().lock(), "warning: {error}");
        None
    })
}

/// A daemon has nobody who looks at it: what happens is logged.
fn start_logging(
    cli: &Cli,
    daemon: bool,
    palette: Palette,
    progress: Progress,
) -> Result<Option<Traces>, Failure> {
    let global = &cli.global;
    let verbose = global.verbose.saturating_add(u8::from(daemon));
    let directives = global
        .log_level
        .as_deref()
        .unwrap_or_else(|| telemetry::directives(verbose));
    let format = match global.log_format {
        LogFormatArg::Human => LogFormat::Human,
        LogFormatArg::Json => LogFormat::Json,
    };
    let traces = traces(cli);
    let color = palette.is_enabled();
    telemetry::start(directives, format, color, progress, traces.as_ref())
        .map_err(Failure::usage)?;
    Ok(traces)
}

/// Runs a command. Those that own something (a scratch directory, a server, an upload) are
/// given the wish to stop and clean up themselves; the others are simply left.
async fn dispatch(command: Command, context: Context) -> Result<ExitCode, Failure> {
    let owns = matches!(
        command,
        Command::Drill(_)
            | Command::Request(_)
            | Command::Restore(_)
            | Command::Replicate(_)
            | Command::Backup(_)
            | Command::Wal(_)
            | Command::Daemon(_)
    );
    let mut interrupt = context.interrupt.clone();
    let span = job_span(&command);
    let work = Box::pin(run(command, &context)).instrument(span);
    if owns {
        return work.await;
    }
    tokio::select! {
        result = work => result,
        () = interrupted(&mut interrupt) => Err(Failure::interrupted()),
    }
}

/// What a person asks for is one job, and one trace.
fn job_span(command: &Command) -> Span {
    match command {
        Command::Verify(_) => telemetry::job("verify"),
        Command::Drill(_) => telemetry::job("drill"),
        Command::Request(command::request::RequestCommand::Create(_)) => telemetry::job("request"),
        Command::Replicate(_) => telemetry::job("replicate"),
        Command::Restore(_) => telemetry::job("restore"),
        Command::Backup(_) => telemetry::job("backup"),
        Command::Definition(command::definition::DefinitionCommand::Capture(_)) => {
            telemetry::job("capture")
        }
        _ => Span::none(),
    }
}

async fn run(command: Command, context: &Context) -> Result<ExitCode, Failure> {
    match command {
        Command::Init(args) => command::init::run(&args, context),
        Command::Config(args) => command::config::run(args, context),
        Command::Repository(args) => command::repository::run(args, context).await,
        Command::Verify(args) => Box::pin(command::verify::run(args, context)).await,
        Command::Drill(args) => Box::pin(command::drill::run(args, context)).await,
        Command::Restore(args) => command::restore::run(args, context).await,
        Command::Replicate(args) => Box::pin(command::replicate::run(args, context)).await,
        Command::Definition(args) => Box::pin(command::definition::run(args, context)).await,
        Command::Backup(args) => command::backup::run(args, context).await,
        Command::Request(args) => Box::pin(command::request::run(args, context)).await,
        Command::Wal(args) => command::wal::run(args, context).await,
        Command::Kubernetes(args) => command::kubernetes::run(args, context).await,
        Command::State(args) => command::state::run(args, context).await,
        Command::Status(args) => command::status::run(args, context).await,
        Command::Job(args) => command::job::run(args, context).await,
        Command::Daemon(args) => Box::pin(command::daemon::run(&args, context)).await,
        Command::Schedule(args) => command::schedule::run(args, context).await,
        Command::History(args) => command::history::run(args, context).await,
        Command::Evidence(args) => command::evidence::run(args, context).await,
        Command::Notify(args) => command::notify::run(args, context).await,
        Command::Help(args) => command::help::run(&args, context),
        Command::Internal(internal) => command::internal::run(&internal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_defect_is_unproven_and_never_green() {
        let failure = guarded(|| panic!("a defect")).unwrap_err();
        assert_eq!(failure.code, ExitCode::Unproven);
        assert_eq!(guarded(|| Ok(ExitCode::Done)).unwrap(), ExitCode::Done);
    }
}
