//! What entries of requests say: who asked for what to be back, when they had it, when it was
//! gone.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{ClosedIncident, OpenedIncident, RunBody};

/// What happened to a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RequestEvent {
    /// Somebody asked.
    Asked,
    /// It cannot be had, and nothing was made.
    Refused,
    /// It was restored, proven and handed over.
    Ready,
    /// It was restored, and something is wrong with what came of it: it was not handed over.
    Failed,
    /// It could not be restored or not be proven: it was not handed over.
    Unproven,
    /// An attempt was stopped, or came to nothing and is tried again.
    #[default]
    Attempted,
    /// Its lease became another.
    Extended,
    /// It is gone, with everything that was made for it.
    Ended,
}

/// What an entry of a request says. Never a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RequestBody {
    /// The request.
    #[serde(default)]
    #[schemars(with = "String")]
    pub request: Uuid,
    /// What happened.
    #[serde(default)]
    pub event: RequestEvent,
    /// Who asked for it: of a change of its lease or its end, who asked for that.
    #[serde(default)]
    pub by: String,
    /// What for, cut to 500 characters.
    #[serde(default)]
    pub reason: String,
    /// How far.
    #[serde(default)]
    pub target: String,
    /// The run that restored it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunBody>,
    /// Where the repository lies. Never with credentials.
    #[serde(default)]
    pub location: Option<String>,
    /// The base backup.
    #[serde(default)]
    pub backup: Option<String>,
    /// The commit time of the newest recovered transaction.
    #[serde(default)]
    pub recovered_to: Option<DateTime<Utc>>,
    /// The scratch namespace.
    #[serde(default)]
    pub namespace: Option<String>,
    /// The namespaces whose pods were let in.
    #[serde(default)]
    pub access: Vec<String>,
    /// The lease, from when it is ready, in milliseconds.
    #[serde(default)]
    pub lease_ms: Option<u64>,
    /// When it ends.
    #[serde(default)]
    pub expires_at: Option<DateTime<Utc>>,
    /// Incidents that it opened.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub opened: Vec<OpenedIncident>,
    /// Incidents that it closed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub closed: Vec<ClosedIncident>,
}
