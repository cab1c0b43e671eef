//! Requests as the state keeps them: what a person asked to have back, until when, and what
//! became of it.

use chrono::{DateTime, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::words::words;
use crate::evidence::Verdict;

/// How long a request's spec or result may be as JSON text, in bytes.
pub const REQUEST_LIMIT: usize = 64 * 1024;

words! {
    /// Where a request stands.
    RequestStatus {
        /// It waits for somebody to begin with it.
        Queued = "queued",
        /// It is being restored.
        Restoring = "restoring",
        /// The restored database is there, proven, and open to those who asked.
        Ready = "ready",
        /// It was not begun: what is asked for cannot be had.
        Refused = "refused",
        /// It was restored, and something is wrong with what came of it.
        Failed = "failed",
        /// It could not be restored, or not be proven.
        Unproven = "unproven",
        /// It is being removed.
        Ending = "ending",
        /// It is gone.
        Ended = "ended",
    }
}

impl RequestStatus {
    /// Whether nothing comes of it any more.
    pub const fn is_over(self) -> bool {
        matches!(
            self,
            Self::Refused | Self::Failed | Self::Unproven | Self::Ended
        )
    }
}

/// A request that is made.
#[derive(Clone, Debug, PartialEq)]
pub struct NewRequest {
    /// Its identity.
    pub id: Uuid,
    /// What makes it one of its kind: the same key again does nothing.
    pub key: String,
    /// The cluster's name.
    pub cluster: String,
    /// Which copy; empty for the primary one.
    pub copy: String,
    /// Who asked: a person, a role or a service.
    pub asked_by: String,
    /// When.
    pub asked_at: DateTime<Utc>,
    /// What is asked for; at most [`REQUEST_LIMIT`].
    pub spec: Value,
    /// For how long, in seconds from when it is ready.
    pub lease_seconds: u64,
    /// To how long the lease may be extended, in seconds from when it is ready.
    pub most_seconds: u64,
}

/// A request as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Request {
    /// Its identity, a UUID version 7.
    #[schemars(with = "String")]
    pub id: Uuid,
    /// What makes it one of its kind.
    pub key: String,
    /// The cluster's name.
    pub cluster: String,
    /// Which copy; empty for the primary one.
    pub copy: String,
    /// Who asked.
    pub asked_by: String,
    /// When.
    pub asked_at: DateTime<Utc>,
    /// What is asked for.
    pub spec: Value,
    /// Where it stands.
    pub status: RequestStatus,
    /// For how long, in seconds from when it is ready.
    pub lease_seconds: u64,
    /// To how long that may be extended.
    pub most_seconds: u64,
    /// The job that restores it, where a daemon does.
    #[schemars(with = "Option<String>")]
    pub job_id: Option<Uuid>,
    /// The newest run that restored it.
    #[schemars(with = "Option<String>")]
    pub run_id: Option<Uuid>,
    /// That run's scratch namespace.
    pub namespace: Option<String>,
    /// That run's verdict.
    pub verdict: Option<Verdict>,
    /// In one line how it stands.
    pub message: String,
    /// What came of it. Never a secret.
    pub result: Option<Value>,
    /// What was made outside of the scratch namespace.
    pub traces: Option<Value>,
    /// When it was handed over.
    pub ready_at: Option<DateTime<Utc>>,
    /// When its lease ends.
    pub expires_at: Option<DateTime<Utc>>,
    /// When somebody asked for its end.
    pub end_asked_at: Option<DateTime<Utc>>,
    /// Why it ends before its lease does.
    pub end_reason: Option<String>,
    /// Since when nothing of it is left.
    pub gone_at: Option<DateTime<Utc>>,
    /// When any of this changed last.
    pub changed_at: DateTime<Utc>,
}

impl Request {
    /// For how long it stays, from when it is ready.
    pub fn lease(&self) -> TimeDelta {
        let seconds = i64::try_from(self.lease_seconds).unwrap_or(i64::MAX);
        TimeDelta::try_seconds(seconds).unwrap_or(TimeDelta::MAX)
    }
}

/// What changes in a request. What is left out stays as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RequestChange {
    /// It stands here by now.
    pub status: Option<RequestStatus>,
    /// The job that restores it.
    pub job_id: Option<Uuid>,
    /// The run that restores it.
    pub run_id: Option<Uuid>,
    /// That run's scratch namespace.
    pub namespace: Option<String>,
    /// The verdict.
    pub verdict: Option<Verdict>,
    /// In one line how it stands.
    pub message: Option<String>,
    /// What came of it; at most [`REQUEST_LIMIT`].
    pub result: Option<Value>,
    /// What was made outside of the scratch namespace.
    pub traces: Option<Value>,
    /// When it was handed over. Its lease, whatever it is by then, begins.
    pub ready_at: Option<DateTime<Utc>>,
    /// Another lease, in seconds from when it is ready.
    pub lease_seconds: Option<u64>,
    /// Somebody asks for its end: when, and why. The first to ask is remembered.
    pub end: Option<(DateTime<Utc>, String)>,
    /// Since when nothing of it is left.
    pub gone_at: Option<DateTime<Utc>>,
}

/// What to show of the requests. Everything that is left out does not narrow it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestFilter {
    /// This cluster.
    pub cluster: Option<String>,
    /// This key.
    pub key: Option<String>,
    /// Those whose id begins so.
    pub id: Option<String>,
    /// Only those of which something is or may be left.
    pub open: bool,
    /// At most this many, newest first; 1,000 when 0.
    pub limit: u32,
}
