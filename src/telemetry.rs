//! Logs: to standard error, for people or as JSON lines. Silent up to warnings unless asked.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// One JSON object per line, times in UTC.
    Json,
}

/// Log directives that cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("not a log level: {0:?} (write error, warn, info, debug, trace or target=level)")]
pub struct LogLevelError(String);

/// The directives for a number of `-v`: ours get louder first, libraries later.
pub const fn directives(verbosity: u8) -> &'static str {
    match verbosity {
        0 => "warn",
        1 => "warn,walproof=info",
        2 => "warn,walproof=debug",
        _ => "debug,walproof=trace",
    }
}

/// Begins logging. A second call changes nothing.
pub fn start<W>(
    directives: &str,
    format: LogFormat,
    color: bool,
    writer: W,
) -> Result<(), LogLevelError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter =
        EnvFilter::try_new(directives).map_err(|_| LogLevelError(directives.to_owned()))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(color);
    let started = match format {
        LogFormat::Human => builder.with_target(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    if started.is_err() {
        tracing::debug!("logging was started before");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_are_understood() {
        for verbosity in 0..5 {
            assert!(EnvFilter::try_new(directives(verbosity)).is_ok());
        }
        assert!(start("walproof=loud", LogFormat::Human, false, std::io::sink).is_err());
    }
}
