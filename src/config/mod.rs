//! The configuration: `walproof.yaml` and the drill definitions beside it.
//!
//! Strict by design. [`load()`] reports every mistake at once, each with file, line, column
//! and what is allowed; the JSON Schemas that editors use ([`schema`]) are generated from
//! the same types that drive the check. Secrets never stand in these files: credentials
//! name environment variables, files or Secrets of Kubernetes, which are read when a
//! repository is opened.

mod addressee;
mod alone;
mod byte_size;
mod check;
mod cluster;
mod cnpg;
mod credentials;
mod cron;
mod cross;
mod cross_schedule;
mod daemon;
mod document;
mod drill;
mod error;
mod executor;
mod expectation;
mod extract;
mod fragment;
mod kubernetes;
mod load;
mod mailbox;
mod name;
mod notification;
mod notification_check;
mod paths;
mod period;
mod rate;
mod replication;
mod requests;
mod schedule;
pub mod schema;
mod secret_reference;
mod share;
mod span;
mod starter;
mod state_url;
mod suggest;
mod target;
mod telemetry;
mod template;
#[cfg(test)]
mod tests;
mod tree;
mod window;
mod zone;

pub use addressee::{Addressee, ParseAddresseeError, Role};
pub use alone::{AloneSetting, AloneSettingError};
pub use byte_size::{ByteSize, ParseByteSizeError};
pub use cluster::{
    Cluster, Heartbeat, Raci, RepositoryConfig, Tier, Verification, VerificationDepth,
};
pub use cnpg::{CnpgDrill, DefinitionSource, Quota, RecoveryForm};
pub use credentials::{Credentials, SecretError, SecretSource};
pub use cron::{CronExpression, ParseCronError};
pub use daemon::{DaemonConfig, ListenAddress, ParseListenAddressError};
pub use document::{ConfigFile, Endpoint, ParseEndpointError};
pub use drill::{Amcheck, Cell, Check, DrillDefinition, Environment, SettingValue};
pub use error::{ConfigErrors, Mistake};
pub use executor::{ExecutorKind, KubernetesExecutor};
pub use expectation::{Comparison, Expectation};
pub use extract::{ExtractError, Extracted};
pub use fragment::{Fragment, read_fragment};
pub use kubernetes::{
    ControllerConfig, DisasterSite, FreshBackup, GuardedCluster, KubernetesCluster,
    KubernetesConfig,
};
pub use load::{Config, LoadedDrill, files, load, load_drill};
pub use mailbox::{Mailbox, ParseMailboxError};
pub use notification::{
    Alertmanager, Email, MailTls, Means, NoticeKind, Notifications, Receiver, Route, Slack, Webhook,
};
pub use paths::default_state_directory;
pub use period::{ParsePeriodError, Period};
pub use rate::{Bandwidth, ParseBandwidthError};
pub use replication::{LockMode, Replication, Retention};
pub use requests::RequestsConfig;
pub use schedule::{CatchUp, Due, Schedule, ScheduledJob};
pub use secret_reference::{NoSecretReader, SecretFault, SecretReader, SecretReference};
pub use share::{ParseShareError, Share};
pub use span::{CalendarSpan, ParseCalendarSpanError};
pub use starter::{STARTER_CONFIG, STARTER_DRILL};
pub use state_url::{ParseStateUrlError, PostgresState, StateDatabase, StateTls, StateUrl};
pub use target::TargetText;
pub use telemetry::{Otlp, Telemetry};
pub use template::{ParseTemplateError, TEMPLATE_FIELDS, Template};
pub use window::{ParseTimeWindowError, TimeWindow};
pub use zone::{ParseZoneError, Zone};
