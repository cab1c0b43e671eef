//! Logs: to standard error, for people or as JSON lines. Silent up to warnings unless asked.

use opentelemetry_sdk::trace::SdkTracer;
use tracing::Metadata;
use tracing_subscriber::filter::{FilterFn, LevelFilter};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use super::Traces;

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

/// The directives for a number of `-v`: ours get louder first, libraries later. The one that
/// ticks tells of every tick, which nobody wants to read, and the client of Kubernetes notes
/// as errors what is an answer to us, and prints the whole of an answer that it cannot read:
/// that may be a Secret.
pub const fn directives(verbosity: u8) -> &'static str {
    match verbosity {
        0 => "warn,kube_client=off",
        1 => "warn,walproof=info,kube_client=off",
        2 => "warn,walproof=debug,kube_client=off",
        _ => {
            "debug,walproof=trace,tokio_cron_scheduler=warn,\
             kube_client::client=off,kube_client::client::builder=debug"
        }
    }
}

/// Only our own spans are traced, whatever is logged: what libraries note may hold more
/// than is anybody's business.
fn is_ours(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && metadata.target().starts_with("walproof")
}

/// Begins logging, and tracing where there is a collector. A second call changes nothing.
pub fn start<W>(
    directives: &str,
    format: LogFormat,
    color: bool,
    writer: W,
    traces: Option<&Traces>,
) -> Result<(), LogLevelError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter =
        EnvFilter::try_new(directives).map_err(|_| LogLevelError(directives.to_owned()))?;
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_ansi(color);
    let lines = match format {
        LogFormat::Human => lines.with_target(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let traced = traces.map(|traces| {
        tracing_opentelemetry::OpenTelemetryLayer::<_, SdkTracer>::new(traces.tracer())
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_filter(FilterFn::new(is_ours).with_max_level_hint(LevelFilter::INFO))
    });
    let started = tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .with(traced)
        .try_init();
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
        assert!(
            start(
                "walproof=loud",
                LogFormat::Human,
                false,
                std::io::sink,
                None
            )
            .is_err()
        );
    }
}
