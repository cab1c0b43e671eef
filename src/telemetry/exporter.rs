//! Sends spans on a runtime of its own, so that nobody waits for a collector.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use tokio::runtime::Handle;

/// The exporter of OTLP over HTTP, whose client needs a runtime under it.
#[derive(Debug)]
pub(super) struct OnRuntime {
    inner: Arc<opentelemetry_otlp::SpanExporter>,
    runtime: Handle,
    limit: Duration,
    /// Whether the last export failed: once is enough to say so.
    failing: Arc<AtomicBool>,
}

impl OnRuntime {
    pub(super) fn new(
        inner: opentelemetry_otlp::SpanExporter,
        runtime: Handle,
        limit: Duration,
    ) -> Self {
        Self {
            inner: Arc::new(inner),
            runtime,
            limit,
            failing: Arc::default(),
        }
    }
}

impl SpanExporter for OnRuntime {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let (inner, limit) = (Arc::clone(&self.inner), self.limit);
        let failing = Arc::clone(&self.failing);
        let count = batch.len();
        let sending = self.runtime.spawn(async move {
            let result = tokio::time::timeout(limit, inner.export(batch))
                .await
                .unwrap_or(Err(OTelSdkError::Timeout(limit)));
            match &result {
                Ok(()) if failing.swap(false, Ordering::Relaxed) => {
                    tracing::info!("the collector takes traces again");
                }
                Err(error) if !failing.swap(true, Ordering::Relaxed) => {
                    tracing::warn!(
                        spans = count,
                        %error,
                        "traces cannot be exported and are left out until they can"
                    );
                }
                _ => {}
            }
            result
        });
        sending
            .await
            .unwrap_or_else(|error| Err(OTelSdkError::InternalFailure(error.to_string())))
    }

    fn set_resource(&mut self, resource: &Resource) {
        // Called before anything is exported, while nobody else has it.
        if let Some(inner) = Arc::get_mut(&mut self.inner) {
            inner.set_resource(resource);
        }
    }
}
