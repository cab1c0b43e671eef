//! How to reach a store.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// How to reach a store. Everything has a default; credentials come from the environment,
/// from files or from the platform, never from a configuration's text.
#[derive(Clone)]
pub struct StorageOptions {
    /// The endpoint's URL, for S3-compatible servers and emulators.
    pub endpoint: Option<String>,
    /// The region.
    pub region: Option<String>,
    /// Whether the bucket is part of the host name instead of the path.
    pub virtual_hosted: Option<bool>,
    /// Whether plain http is allowed. An endpoint that begins with `http://` implies it.
    pub allow_http: bool,
    /// A file with additional CA certificates, PEM.
    pub ca_file: Option<PathBuf>,
    /// Further CA certificates by themselves, PEM.
    pub ca_pem: Option<String>,
    /// Credentials and settings by the store's usual environment names
    /// (`AWS_ACCESS_KEY_ID`, …), already resolved; they win over the process environment.
    /// As soon as they hold any kind of credentials, the process's are not looked at.
    pub environment: Vec<(String, String)>,
    /// How long a connection may stay silent, before an answer and while a body is read.
    pub read_timeout: Duration,
    /// For how long a failing request is repeated, with growing pauses and jitter; also how
    /// long a broken download may go without progress. A store that has never answered is
    /// given up after 5 s, a TLS failure at once.
    pub retry_time: Duration,
    /// How many requests may wait for the store at once, over all clones of a
    /// [`Store`](super::Store).
    pub concurrency: usize,
}

impl Default for StorageOptions {
    fn default() -> Self {
        Self {
            endpoint: None,
            region: None,
            virtual_hosted: None,
            allow_http: false,
            ca_file: None,
            ca_pem: None,
            environment: Vec::new(),
            read_timeout: Duration::from_mins(1),
            retry_time: Duration::from_mins(1),
            concurrency: 16,
        }
    }
}

impl fmt::Debug for StorageOptions {
    /// Shows the names in the environment, never their values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.environment.iter().map(|(name, _)| &**name).collect();
        f.debug_struct("StorageOptions")
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .field("virtual_hosted", &self.virtual_hosted)
            .field("allow_http", &self.allow_http)
            .field("ca_file", &self.ca_file)
            .field("ca_pem", &self.ca_pem.as_ref().map(String::len))
            .field("environment", &names)
            .field("read_timeout", &self.read_timeout)
            .field("retry_time", &self.retry_time)
            .field("concurrency", &self.concurrency)
            .finish()
    }
}
