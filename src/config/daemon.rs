//! How the daemon works: its budgets and its rhythm.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Bandwidth, ByteSize, CalendarSpan, ExecutorKind, KubernetesExecutor, Period};

/// How `walproof daemon` works: its budgets and its rhythm.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DaemonConfig {
    /// Where health, readiness and metrics are served. Default: `127.0.0.1:9188`.
    #[serde(default)]
    pub listen: Option<ListenAddress>,
    /// Who performs the jobs: the daemon's own process (`in-process`, the default), or a Job
    /// of Kubernetes for each (`kubernetes`).
    #[serde(default)]
    pub executor: ExecutorKind,
    /// How jobs are performed as Jobs of Kubernetes.
    #[serde(default)]
    pub kubernetes: Option<KubernetesExecutor>,
    /// Jobs at once in one process. Default: 4.
    #[serde(default)]
    #[schemars(range(min = 1, max = 64))]
    pub jobs: Option<u32>,
    /// Drills at once, over all daemons of one state. Default: 1.
    #[serde(default)]
    #[schemars(range(min = 1, max = 64))]
    pub drills: Option<u32>,
    /// Jobs at once of one cluster, over all daemons of one state. Default: 1.
    #[serde(default)]
    #[schemars(range(min = 1, max = 64))]
    pub per_cluster: Option<u32>,
    /// Jobs at once that read one bucket, over all daemons of one state. Default: 4.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1024))]
    pub per_bucket: Option<u32>,
    /// All replications of one process together read at most this much.
    #[serde(default)]
    pub bandwidth: Option<Bandwidth>,
    /// Disk that drills may fill at once, over all daemons of one state.
    #[serde(default)]
    pub scratch: Option<ByteSize>,
    /// Jobs are started within these only. Default: always.
    #[serde(default)]
    pub windows: Vec<CalendarSpan>,
    /// No job is started within these.
    #[serde(default)]
    pub blackout: Vec<CalendarSpan>,
    /// A job whose daemon was not heard of for this long is given to another. Default: 60s.
    #[serde(default)]
    pub lease: Option<Period>,
    /// Jobs that run when the daemon is stopped have this long to end. Default: 90s.
    #[serde(default)]
    pub stop_within: Option<Period>,
    /// How often the configuration's files are looked at for changes. Default: 10s.
    #[serde(default)]
    pub reload: Option<Period>,
}

impl DaemonConfig {
    /// Where health, readiness and metrics are served.
    pub fn listen(&self) -> SocketAddr {
        self.listen.map_or_else(
            || SocketAddr::from(([127, 0, 0, 1], 9188)),
            |listen| listen.0,
        )
    }

    /// Jobs at once in one process, at least one.
    pub fn jobs(&self) -> usize {
        usize::try_from(self.jobs.unwrap_or(4)).unwrap_or(1).max(1)
    }

    /// Drills at once, over all daemons.
    pub fn drills(&self) -> u32 {
        self.drills.unwrap_or(1)
    }

    /// Jobs at once of one cluster, over all daemons.
    pub fn per_cluster(&self) -> u32 {
        self.per_cluster.unwrap_or(1)
    }

    /// Jobs at once that read one bucket, over all daemons.
    pub fn per_bucket(&self) -> u32 {
        self.per_bucket.unwrap_or(4)
    }

    /// How long a job stays with a daemon that is not heard of; at least three seconds.
    pub fn lease(&self) -> Duration {
        self.lease
            .map_or(Duration::from_mins(1), Period::as_std)
            .max(Self::LEAST_LEASE)
    }

    /// How long jobs have to end when the daemon is stopped.
    pub fn stop_within(&self) -> Duration {
        self.stop_within
            .map_or(Duration::from_secs(90), Period::as_std)
    }

    /// How often the configuration's files are looked at.
    pub fn reload(&self) -> Duration {
        self.reload.map_or(Duration::from_secs(10), Period::as_std)
    }

    /// Shorter leases would be lost over a slow answer of the state.
    pub const LEAST_LEASE: Duration = Duration::from_secs(3);
}

/// An address to listen on: `127.0.0.1:9188`, `[::1]:9188`, `0.0.0.0:9188`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ListenAddress(pub SocketAddr);

/// A text that is no address to listen on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an address to listen on (write 127.0.0.1:9188 or [::1]:9188)")]
pub struct ParseListenAddressError(String);

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for ListenAddress {
    type Err = ParseListenAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse()
            .map(Self)
            .map_err(|_| ParseListenAddressError(text.to_owned()))
    }
}

impl TryFrom<String> for ListenAddress {
    type Error = ParseListenAddressError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ListenAddress> for String {
    fn from(address: ListenAddress) -> Self {
        address.to_string()
    }
}

impl JsonSchema for ListenAddress {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ListenAddress".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": r"^(\[[0-9a-fA-F:.]+\]|[0-9.]+):[0-9]{1,5}$",
            "description": "An address and a port to listen on: 127.0.0.1:9188, [::1]:9188.",
            "examples": ["127.0.0.1:9188"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_has_its_default() {
        let daemon = DaemonConfig::default();
        assert_eq!(daemon.listen().to_string(), "127.0.0.1:9188");
        assert_eq!((daemon.jobs(), daemon.drills()), (4, 1));
        assert_eq!(daemon.lease(), Duration::from_mins(1));
        let short = DaemonConfig {
            lease: Some("1s".parse().unwrap()),
            ..DaemonConfig::default()
        };
        assert_eq!(short.lease(), DaemonConfig::LEAST_LEASE);
    }

    #[test]
    fn addresses_have_a_port() {
        for good in ["127.0.0.1:9188", "[::1]:9188", "0.0.0.0:80"] {
            assert_eq!(good.parse::<ListenAddress>().unwrap().to_string(), good);
        }
        for bad in ["", "9188", "localhost:9188", "127.0.0.1", "::1:x"] {
            assert!(bad.parse::<ListenAddress>().is_err(), "{bad}");
        }
    }
}
