//! The configuration: `walproof.yaml` and the drill definitions beside it.
//!
//! Strict by design. [`load()`] reports every mistake at once, each with file, line, column
//! and what is allowed; the JSON Schemas that editors use ([`schema`]) are generated from
//! the same types that drive the check. Secrets never stand in these files: credentials
//! name environment variables or files, which are read when a repository is opened.

mod alone;
mod byte_size;
mod check;
mod cluster;
mod credentials;
mod cross;
mod document;
mod drill;
mod error;
mod expectation;
mod load;
mod name;
mod paths;
mod period;
mod rate;
mod replication;
pub mod schema;
mod share;
mod starter;
mod state_url;
mod suggest;
mod target;
#[cfg(test)]
mod tests;
mod tree;
mod window;

pub use alone::{AloneSetting, AloneSettingError};
pub use byte_size::{ByteSize, ParseByteSizeError};
pub use cluster::{
    Cluster, Heartbeat, Raci, RepositoryConfig, Tier, Verification, VerificationDepth,
};
pub use credentials::{Credentials, SecretError, SecretSource};
pub use document::{ConfigFile, Endpoint, ParseEndpointError};
pub use drill::{Amcheck, Cell, Check, DrillDefinition, Environment, SettingValue};
pub use error::{ConfigErrors, Mistake};
pub use expectation::{Comparison, Expectation};
pub use load::{Config, LoadedDrill, load, load_drill};
pub use paths::default_state_directory;
pub use period::{ParsePeriodError, Period};
pub use rate::{Bandwidth, ParseBandwidthError};
pub use replication::{LockMode, Replication, Retention};
pub use share::{ParseShareError, Share};
pub use starter::{STARTER_CONFIG, STARTER_DRILL};
pub use state_url::{ParseStateUrlError, PostgresState, StateDatabase, StateTls, StateUrl};
pub use target::TargetText;
pub use window::{ParseTimeWindowError, TimeWindow};
