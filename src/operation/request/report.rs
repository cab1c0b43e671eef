//! What is shown of a request: the plan, the request as it stands, the list.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::spec::{RequestAccess, RequestSpec, Wanted};
use crate::drill::environments::cnpg::{Connection, HandedOver};
use crate::drill::{DrillPlan, DrillReport};
use crate::evidence::Verdict;
use crate::restore::Nearest;
use crate::state::{Request, RequestChange, RequestStatus};
use crate::verify::CommitPoint;

/// The contract of the list.
pub const LIST_SCHEMA: &str = "walproof.request-list/v1";

/// At most so many reasons are kept.
const REASONS: usize = 10;
/// A reason is cut to so many characters: with all else it must stay within what a row may hold.
const REASON: usize = 2000;

/// What came of a restore, as it is kept with the request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RequestResult {
    /// The base backup.
    #[serde(default)]
    pub backup: Option<String>,
    /// The newest transaction that was recovered.
    #[serde(default)]
    pub recovered_to: Option<CommitPoint>,
    /// The first transaction that was left out, where one was found near.
    #[serde(default)]
    pub left_out: Option<CommitPoint>,
    /// How it is reached.
    #[serde(default)]
    pub connection: Option<Connection>,
    /// What can be had where this cannot.
    #[serde(default)]
    pub nearest: Option<Nearest>,
    /// Why it was not handed over.
    #[serde(default)]
    pub reasons: Vec<String>,
    /// Milliseconds from the begin of the restore until it was proven.
    #[serde(default)]
    pub time_to_verified: Option<u64>,
}

impl RequestResult {
    pub(super) fn of(
        report: &DrillReport,
        handed: Option<&HandedOver>,
        nearest: Option<Nearest>,
    ) -> Self {
        let end = report.plan.as_ref().map(|plan| plan.expected_end);
        Self {
            backup: report.plan.as_ref().map(|plan| plan.backup.id.clone()),
            recovered_to: end.and_then(|end| end.recovery_point),
            left_out: end.and_then(|end| end.next_commit),
            connection: handed.map(|handed| handed.connection.clone()),
            nearest,
            reasons: report
                .reasons
                .iter()
                .take(REASONS)
                .map(|reason| reason.text.chars().take(REASON).collect())
                .collect(),
            time_to_verified: report.measurements.time_to_verified,
        }
    }
}

/// A request as it stands: `walproof.request/v1`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RequestReport {
    /// The contract, `walproof.request/v1`.
    pub schema: String,
    /// The version of walproof that wrote it.
    pub version: String,
    /// Its identity.
    #[schemars(with = "String")]
    pub id: Uuid,
    /// The cluster.
    pub cluster: String,
    /// Which copy.
    pub copy: String,
    /// Who asked.
    pub asked_by: String,
    /// When.
    pub asked_at: DateTime<Utc>,
    /// What for.
    pub reason: String,
    /// How far.
    pub target: String,
    /// Who reaches it.
    pub access: RequestAccess,
    /// Where it stands.
    pub status: RequestStatus,
    /// In one line how it stands.
    pub message: String,
    /// The verdict of its restore.
    pub verdict: Option<Verdict>,
    /// The run that restored it.
    #[schemars(with = "Option<String>")]
    pub run_id: Option<Uuid>,
    /// That run's scratch namespace.
    pub namespace: Option<String>,
    /// For how long, in seconds from when it is ready.
    pub lease_seconds: u64,
    /// To how long that may be extended.
    pub max_lease_seconds: u64,
    /// When it was handed over.
    pub ready_at: Option<DateTime<Utc>>,
    /// When its lease ends.
    pub expires_at: Option<DateTime<Utc>>,
    /// When somebody asked for its end.
    pub end_asked_at: Option<DateTime<Utc>>,
    /// Why.
    pub end_reason: Option<String>,
    /// Since when nothing of it is left.
    pub gone_at: Option<DateTime<Utc>>,
    /// What came of it.
    #[serde(flatten)]
    pub result: RequestResult,
    /// Everything that its restore did, saw and concluded, where it was just made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restore: Option<Box<DrillReport>>,
}

impl RequestReport {
    /// The contract.
    pub const SCHEMA: &'static str = "walproof.request/v1";

    /// A request as it is kept; `result` is newer than what is kept, if given.
    pub fn of(request: &Request, result: Option<&RequestResult>) -> Self {
        let spec = RequestSpec::of(request).ok();
        let kept = || {
            let kept = request.result.clone();
            kept.and_then(|kept| serde_json::from_value(kept).ok())
                .unwrap_or_default()
        };
        Self {
            schema: Self::SCHEMA.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            id: request.id,
            cluster: request.cluster.clone(),
            copy: request.copy.clone(),
            asked_by: request.asked_by.clone(),
            asked_at: request.asked_at,
            reason: spec
                .as_ref()
                .map(|spec| spec.reason.clone())
                .unwrap_or_default(),
            target: spec
                .as_ref()
                .map(|spec| spec.target.to_string())
                .unwrap_or_default(),
            access: spec.map(|spec| spec.access).unwrap_or_default(),
            status: request.status,
            message: request.message.clone(),
            verdict: request.verdict,
            run_id: request.run_id,
            namespace: request.namespace.clone(),
            lease_seconds: request.lease_seconds,
            max_lease_seconds: request.most_seconds,
            ready_at: request.ready_at,
            expires_at: request.expires_at,
            end_asked_at: request.end_asked_at,
            end_reason: request.end_reason.clone(),
            gone_at: request.gone_at,
            result: result.cloned().unwrap_or_else(kept),
            restore: None,
        }
    }

    /// With what is about to be kept of it.
    #[must_use]
    pub(super) fn with(mut self, change: &RequestChange, restore: Option<DrillReport>) -> Self {
        self.status = change.status.unwrap_or(self.status);
        self.message = change.message.clone().unwrap_or(self.message);
        self.verdict = change.verdict.or(self.verdict);
        self.gone_at = change.gone_at.or(self.gone_at);
        self.ready_at = change.ready_at.or(self.ready_at);
        self.restore = restore.map(Box::new);
        self
    }

    /// With the restore that an earlier form of it showed.
    #[must_use]
    pub(super) fn over(mut self, earlier: Self) -> Self {
        self.restore = earlier.restore;
        self
    }

    /// The exit code of a command that shows it: of what was not to be had 1, of what could
    /// not be proven 3.
    pub const fn exit_code(&self) -> u8 {
        match self.status {
            RequestStatus::Refused | RequestStatus::Failed => 1,
            RequestStatus::Unproven => 3,
            _ => 0,
        }
    }

    /// How a person connects from a machine outside of the cluster: two lines.
    pub fn by_hand(&self) -> Option<(String, String)> {
        let connection = self.result.connection.as_ref()?;
        let Connection {
            namespace,
            secret,
            user,
            database,
            port,
            ..
        } = connection;
        let service = connection.host.split('.').next().unwrap_or_default();
        Some((
            format!("kubectl -n {namespace} port-forward service/{service} 15432:{port}"),
            format!(
                "PGPASSWORD=$(kubectl -n {namespace} get secret {secret} \
                 -o jsonpath='{{.data.password}}' | base64 -d) \
                 psql 'host=127.0.0.1 port=15432 dbname={database} user={user} sslmode=require'"
            ),
        ))
    }

    /// How a pod of a namespace that is let in connects.
    pub fn from_a_pod(&self) -> Option<String> {
        let connection = self.result.connection.as_ref()?;
        (!connection.namespaces.is_empty()).then(|| {
            format!(
                "psql 'host={} port={} dbname={} user={} sslmode=require'",
                connection.host, connection.port, connection.database, connection.user
            )
        })
    }
}

/// Requests, newest first: `walproof.request-list/v1`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RequestList {
    /// Always [`LIST_SCHEMA`].
    pub schema: String,
    /// The requests.
    pub requests: Vec<RequestReport>,
}

/// What a request would do: `walproof.request-plan/v1`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RequestPlan {
    /// The contract, `walproof.request-plan/v1`.
    pub schema: String,
    /// The cluster.
    pub cluster: String,
    /// Which copy.
    pub copy: String,
    /// Who asks.
    pub asked_by: String,
    /// What for.
    pub reason: String,
    /// How far.
    pub target: String,
    /// Who reaches it.
    pub access: RequestAccess,
    /// For how long, in seconds from when it is ready.
    pub lease_seconds: u64,
    /// To how long that may be extended.
    pub max_lease_seconds: u64,
    /// Why it cannot be had.
    pub refused: Option<String>,
    /// What can be had instead.
    pub nearest: Option<Nearest>,
    /// The restore.
    pub restore: Option<DrillPlan>,
}

impl RequestPlan {
    /// The contract.
    pub const SCHEMA: &'static str = "walproof.request-plan/v1";

    pub(super) fn new(
        wanted: &Wanted,
        spec: &RequestSpec,
        copy: &str,
        (lease_seconds, max_lease_seconds): (u64, u64),
    ) -> Self {
        Self {
            schema: Self::SCHEMA.to_owned(),
            cluster: wanted.cluster.clone(),
            copy: copy.to_owned(),
            asked_by: wanted.by.clone(),
            reason: spec.reason.clone(),
            target: spec.target.to_string(),
            access: spec.access.clone(),
            lease_seconds,
            max_lease_seconds,
            refused: None,
            nearest: None,
            restore: None,
        }
    }

    #[must_use]
    pub(super) fn with(mut self, restore: DrillPlan) -> Self {
        self.restore = Some(restore);
        self
    }

    #[must_use]
    pub(super) fn refused(mut self, words: String, nearest: Nearest) -> Self {
        self.refused = Some(words);
        self.nearest = Some(nearest);
        self
    }
}
