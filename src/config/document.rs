//! The shape of `walproof.yaml`, and the URLs in it that are no repositories.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Cluster, DaemonConfig, KubernetesConfig, Notifications, RequestsConfig, Schedule, SecretSource,
    StateUrl, Telemetry, Tier, Zone,
};

/// walproof.yaml: which clusters are guarded, where their backups lie, what is promised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigFile {
    /// The version of this file's format.
    #[schemars(range(min = 1, max = 1))]
    pub version: u32,
    /// Where walproof keeps its runs, findings and evidence. Default: below
    /// `/var/lib/walproof` for root, else below `$XDG_STATE_HOME/walproof`.
    #[serde(default)]
    pub state: Option<StateUrl>,
    /// The zone in which schedules and blackouts are read. Default: UTC.
    #[serde(default)]
    pub time_zone: Option<Zone>,
    /// Where the password is found, when `state` is a database in PostgreSQL. `PGPASSWORD`
    /// and `~/.pgpass` work too.
    #[serde(default)]
    pub state_password: Option<SecretSource>,
    /// The directory on this machine for records as files, logs of drills and the like,
    /// when `state` is a database in PostgreSQL. Default: the directory where a state in
    /// SQLite would lie.
    #[serde(default)]
    pub state_directory: Option<PathBuf>,
    /// What groups of clusters promise, by name.
    #[serde(default)]
    pub tiers: BTreeMap<String, Tier>,
    /// The guarded clusters.
    #[serde(default)]
    pub clusters: Vec<Cluster>,
    /// What `walproof daemon` runs, and when.
    #[serde(default)]
    pub schedules: Vec<Schedule>,
    /// How `walproof daemon` works: its budgets and its rhythm.
    #[serde(default)]
    pub daemon: DaemonConfig,
    /// Files with drill definitions, relative to this file. `*` stands for any part of a
    /// file's name: `drills/*.yaml`, which is the default when the folder exists.
    #[serde(default)]
    pub drills: Option<Vec<String>>,
    /// Who is told when something is wrong, and by what means.
    #[serde(default)]
    pub notifications: Option<Notifications>,
    /// Where traces of the work go.
    #[serde(default)]
    pub telemetry: Option<Telemetry>,
    /// How the API of Kubernetes is reached.
    #[serde(default)]
    pub kubernetes: Option<KubernetesConfig>,
    /// For how long what people ask to have back stays.
    #[serde(default)]
    pub requests: RequestsConfig,
}

/// The URL of a server that speaks a store's protocol: `http` or `https`, without user and
/// password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Endpoint(String);

impl Endpoint {
    /// The URL as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is without TLS.
    pub fn is_plain_http(&self) -> bool {
        self.0.starts_with("http://")
    }
}

/// A text that is no endpoint. Never repeats the text, which may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} (expected https://host or https://host:port)")]
pub struct ParseEndpointError(&'static str);

impl FromStr for Endpoint {
    type Err = ParseEndpointError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url = url::Url::parse(text).map_err(|_| ParseEndpointError("not a URL"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(ParseEndpointError("an endpoint is http or https"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(ParseEndpointError(
                "credentials do not go into the endpoint; name them under `credentials`",
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for Endpoint {
    type Error = ParseEndpointError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Endpoint> for String {
    fn from(endpoint: Endpoint) -> Self {
        endpoint.0
    }
}

impl JsonSchema for Endpoint {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Endpoint".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^https?://[^@]+$",
            "description": "https://host or https://host:port, without credentials.",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_never_repeat_what_may_be_secret() {
        for text in ["http://me:hush@host", "ftp://hush", "hush"] {
            let error = text.parse::<Endpoint>().unwrap_err().to_string();
            assert!(!error.contains("hush"), "{error}");
        }
        assert!(
            "http://127.0.0.1:9000"
                .parse::<Endpoint>()
                .unwrap()
                .is_plain_http()
        );
        assert!(
            !"https://s3.example"
                .parse::<Endpoint>()
                .unwrap()
                .is_plain_http()
        );
    }
}
