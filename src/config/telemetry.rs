//! Where traces of the work go.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::document::Endpoint;
use super::{Period, SecretSource, Share};

/// Where traces of the work go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Telemetry {
    /// A collector of OpenTelemetry.
    #[serde(default)]
    pub otlp: Option<Otlp>,
}

/// A collector of OpenTelemetry that takes OTLP over HTTP as protobuf.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Otlp {
    /// Its base URL: `http://127.0.0.1:4318`; traces go to `/v1/traces` below it. The
    /// environment variable `OTEL_EXPORTER_OTLP_ENDPOINT` wins.
    pub endpoint: Endpoint,
    /// Further headers, such as one with a token; their values are secrets.
    #[serde(default)]
    pub headers: BTreeMap<String, SecretSource>,
    /// What this walproof is called there; `walproof` if it is left out.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub service_name: Option<String>,
    /// Further attributes of all that is sent: `deployment.environment.name: production`.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
    /// The share of traces that is sent; all if it is left out.
    #[serde(default)]
    pub sample: Option<Share>,
    /// How long an export may take; 10 seconds if it is left out.
    #[serde(default)]
    pub timeout: Option<Period>,
    /// A PEM file with further certificate authorities to trust, relative to this file.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
}

impl Telemetry {
    /// Makes the paths of files absolute, below `base`.
    pub(super) fn resolve_paths(&mut self, base: &std::path::Path) {
        let Some(otlp) = &mut self.otlp else { return };
        let secrets = otlp.headers.values_mut();
        let files = secrets
            .filter_map(|secret| secret.file.as_mut())
            .chain(otlp.ca_file.as_mut());
        for file in files {
            *file = base.join(&*file);
        }
    }
}
