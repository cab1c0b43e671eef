//! Traces for a collector of OpenTelemetry: OTLP over HTTP, as protobuf.

use std::collections::HashMap;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{Protocol, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider,
};
use tokio::runtime::Runtime;

use super::exporter::OnRuntime;
use crate::config::{Otlp, SecretError};

/// Spans that wait to be sent; more are left out. A span of ours is below 1 KiB.
const QUEUE: usize = 4096;
/// Spans in one request.
const BATCH: usize = 512;
/// How long spans are gathered.
const GATHER: Duration = Duration::from_secs(2);
/// How long one export may take unless the configuration says otherwise.
const LIMIT: Duration = Duration::from_secs(10);
/// How long the end of the process waits for the last spans.
const FLUSH: Duration = Duration::from_secs(3);

/// The base URL of a collector, by OpenTelemetry's own convention.
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
/// The whole URL for traces, likewise.
const TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";

/// Traces that cannot be exported as it is configured. Never holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// A header's value cannot be read.
    #[error("export traces: {0}")]
    Secret(#[from] SecretError),
    /// Something cannot be set up.
    #[error("export traces: {0}")]
    Setting(String),
}

/// The way to a collector. Ended by [`Self::finish`], which sends what is left.
#[derive(Debug)]
pub struct Traces {
    provider: SdkTracerProvider,
    runtime: Runtime,
}

/// A variable of the environment that is set and not empty.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Where traces go: the environment wins over the configuration, as everywhere with
/// OpenTelemetry. `None` when nowhere.
fn endpoint(otlp: Option<&Otlp>) -> Option<String> {
    let off = variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
        || variable("OTEL_TRACES_EXPORTER").is_some_and(|value| value == "none");
    if off {
        return None;
    }
    if let Some(whole) = variable(TRACES_ENDPOINT) {
        return Some(whole);
    }
    let base = variable(ENDPOINT).or_else(|| otlp.map(|otlp| otlp.endpoint.as_str().to_owned()))?;
    Some(format!("{}/v1/traces", base.trim_end_matches('/')))
}

impl Traces {
    /// The way to the collector that the environment or the configuration names; `None` when
    /// neither does.
    pub fn begin(otlp: Option<&Otlp>) -> Result<Option<Self>, TracesError> {
        let Some(endpoint) = endpoint(otlp) else {
            return Ok(None);
        };
        let setting = |words: String| TracesError::Setting(words);
        let limit = otlp
            .and_then(|otlp| otlp.timeout)
            .map_or(LIMIT, crate::config::Period::as_std);
        let mut headers = HashMap::new();
        for (name, source) in otlp.into_iter().flat_map(|otlp| &otlp.headers) {
            headers.insert(name.clone(), source.read("headers")?);
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("walproof-traces")
            .enable_all()
            .build()
            .map_err(|error| setting(error.to_string()))?;
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_http_client(client(otlp, limit)?)
            .with_endpoint(endpoint)
            .with_timeout(limit)
            .with_headers(headers)
            .build()
            .map_err(|error| setting(error.to_string()))?;
        let exporter = OnRuntime::new(exporter, runtime.handle().clone(), limit);
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(QUEUE)
            .with_max_export_batch_size(BATCH)
            .with_scheduled_delay(GATHER)
            .build();
        let processor = BatchSpanProcessor::builder(exporter)
            .with_batch_config(batches)
            .build();
        let mut provider = SdkTracerProvider::builder()
            .with_resource(resource(otlp))
            .with_span_processor(processor);
        if let Some(share) = otlp.and_then(|otlp| otlp.sample) {
            provider = provider.with_sampler(Sampler::ParentBased(Box::new(
                Sampler::TraceIdRatioBased(share.fraction()),
            )));
        }
        Ok(Some(Self {
            provider: provider.build(),
            runtime,
        }))
    }

    pub(super) fn tracer(&self) -> SdkTracer {
        self.provider.tracer("walproof")
    }

    /// Sends what is left, for at most three seconds, and ends.
    pub fn finish(self) {
        if let Err(error) = self.provider.shutdown_with_timeout(FLUSH) {
            tracing::debug!(%error, "the last traces were not exported");
        }
        self.runtime.shutdown_background();
    }
}

/// A client of our own, which trusts what the configuration says and follows nobody.
fn client(otlp: Option<&Otlp>, limit: Duration) -> Result<reqwest::Client, TracesError> {
    // reqwest comes without a TLS provider; a second installation is refused and harmless.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("walproof/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_secs(5).min(limit))
        .timeout(limit);
    if let Some(path) = otlp.and_then(|otlp| otlp.ca_file.as_ref()) {
        let wrong =
            |words: String| TracesError::Setting(format!("CA file {}: {words}", path.display()));
        let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
        let certificates = reqwest::Certificate::from_pem_bundle(&pem)
            .ok()
            .filter(|certificates| !certificates.is_empty())
            .ok_or_else(|| wrong("it holds no PEM certificate".to_owned()))?;
        builder = builder.tls_certs_merge(certificates);
    }
    builder
        .build()
        .map_err(|error| TracesError::Setting(error.to_string()))
}

/// What all spans share. `OTEL_RESOURCE_ATTRIBUTES` is read too.
fn resource(otlp: Option<&Otlp>) -> Resource {
    let mut builder = Resource::builder()
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    if variable("OTEL_SERVICE_NAME").is_none() {
        let name = otlp.and_then(|otlp| otlp.service_name.clone());
        builder = builder.with_service_name(name.unwrap_or_else(|| "walproof".to_owned()));
    }
    let attributes = otlp.into_iter().flat_map(|otlp| &otlp.attributes);
    builder
        .with_attributes(attributes.map(|(name, value)| KeyValue::new(name.clone(), value.clone())))
        .build()
}
