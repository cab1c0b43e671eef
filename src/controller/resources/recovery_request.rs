//! RecoveryRequest: a person's restore to a moment, beside production, for as long as it is
//! leased.

use chrono::{DateTime, Utc};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ClusterRef, Condition, Mirrored, conditions};
use crate::config::{Check, CnpgDrill, Period, TargetText};
use crate::drill::environments::cnpg::LoginRole;
use crate::operation::request::Approval;

/// A restore to a moment beside production: what, how far, for whom, for how long.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "walproof.dev",
    version = "v1alpha1",
    kind = "RecoveryRequest",
    plural = "recoveryrequests",
    shortname = "rreq",
    category = "walproof",
    namespaced,
    status = "RecoveryRequestStatus",
    derive = "PartialEq",
    doc = "A restore to a moment beside production, for as long as it is leased.",
    validation = Rule::new("self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')").message("the name of a RecoveryRequest has no dots"),
    printcolumn(name = "Cluster", type_ = "string", json_path = ".spec.clusterRef.name", description = "What is restored"),
    printcolumn(name = "Target", type_ = "string", json_path = ".spec.target", description = "How far"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase", description = "Where it stands"),
    printcolumn(name = "Verdict", type_ = "string", json_path = ".status.verdict", description = "What the restore came to"),
    printcolumn(name = "Expires", type_ = "string", json_path = ".status.expiresAt", description = "When its lease ends"),
    printcolumn(name = "Host", type_ = "string", json_path = ".status.connection.host", priority = 1),
    printcolumn(name = "Secret", type_ = "string", json_path = ".status.connection.secretName", priority = 1),
    printcolumn(name = "Recovered-To", type_ = "string", json_path = ".status.recoveredTo", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.clusterRef == oldSelf.clusterRef && self.target == oldSelf.target && self.backup == oldSelf.backup && has(self.copy) == has(oldSelf.copy) && (!has(self.copy) || self.copy == oldSelf.copy) && has(self.timeline) == has(oldSelf.timeline) && (!has(self.timeline) || self.timeline == oldSelf.timeline)").message("what is restored cannot be changed: make another RecoveryRequest"),
    validation = Rule::new("has(self.access) == has(oldSelf.access) && (!has(self.access) || self.access == oldSelf.access)").message("who reaches it cannot be changed: make another RecoveryRequest"),
    validation = Rule::new("has(self.maxLease) == has(oldSelf.maxLease) && (!has(self.maxLease) || self.maxLease == oldSelf.maxLease)").message("the longest lease cannot be changed: make another RecoveryRequest")
)]
pub struct RecoveryRequestSpec {
    /// The Cluster that is restored; a ProtectedCluster or the file must guard it.
    pub cluster_ref: ClusterRef,
    /// How far: `time:2026-11-21T02:40:00Z`, `time:-1h`, `lsn:16/B374D848`, `xid:4711`,
    /// `name:POINT`, `immediate` or `tip`.
    pub target: Mirrored<TargetText>,
    /// The timeline to follow. Default: the current one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub timeline: Option<u32>,
    /// The base backup: `auto` takes the newest that reaches the target.
    #[serde(default = "auto")]
    #[schemars(length(min = 1, max = 253))]
    pub backup: String,
    /// Which copy it is restored from: `primary`, `replica-1` or the copy's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub copy: Option<String>,
    /// Stays for so long, from when it is ready. May be edited, up to `maxLease`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Mirrored<Period>")]
    pub lease: Option<Mirrored<Period>>,
    /// To how long the lease may be extended. Default: what the controller's configuration says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Mirrored<Period>")]
    pub max_lease: Option<Mirrored<Period>>,
    /// Who reaches it. Default: the pods of this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<RequestAccessSpec>,
    /// What for: an incident's number, a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 500))]
    pub reason: Option<String>,
    /// Questions that it must answer rightly before it is handed over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 200))]
    pub checks: Vec<Mirrored<Check>>,
    /// How it is restored. Default: as the only drill of the cluster in Kubernetes is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Mirrored<CnpgDrill>")]
    pub cnpg: Option<Mirrored<CnpgDrill>>,
    /// The restore is given up after this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Mirrored<Period>")]
    pub timeout: Option<Mirrored<Period>>,
    /// Who must agree before it is restored.
    #[serde(default)]
    pub approval: Approval,
}

fn auto() -> String {
    "auto".to_owned()
}

/// Who reaches the restored database.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestAccessSpec {
    /// The namespaces whose pods are let in, to port 5432. Default: that of this resource.
    /// Others only in the namespace of the controller itself. An empty list lets nobody in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub namespaces: Option<Vec<String>>,
    /// As whom people log in.
    #[serde(default)]
    pub role: LoginRole,
    /// Whether their transactions only read, unless a session says otherwise.
    #[serde(default)]
    pub read_only: bool,
    /// Whether a Secret `<name>-connection` with all that is needed is put beside this
    /// resource, too.
    #[serde(default)]
    pub secret_in_own_namespace: bool,
}

/// Where a RecoveryRequest stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecoveryRequestStatus {
    /// The generation of the spec that this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where it stands, in a word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<RequestPhase>,
    /// In one line how it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The request, as `walproof request show` takes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The run that restored it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    /// What the restore came to: `proven`, `failed`, `unproven`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    /// How it is reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<ConnectionStatus>,
    /// The base backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<String>,
    /// The commit time of the newest transaction that is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovered_to: Option<DateTime<Utc>>,
    /// When it was handed over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_at: Option<DateTime<Utc>>,
    /// When its lease ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
    /// Since when nothing of it is left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone_at: Option<DateTime<Utc>>,
    /// Where it stands, in the terms of the API's conventions: `Ready`, `Proven`, `Refused`,
    /// `LeaseAccepted`.
    #[serde(default)]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
}

/// Where a RecoveryRequest stands, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RequestPhase {
    /// It was seen, and is not yet taken up.
    Pending,
    /// It cannot be had: the message says why, and what can instead.
    Refused,
    /// It waits in the queue.
    Queued,
    /// It is being restored.
    Restoring,
    /// It is there, proven, and open to those who asked.
    Ready,
    /// It was restored, and something is wrong with what came of it.
    Failed,
    /// It could not be restored, or not be proven.
    Unproven,
    /// It is being removed.
    Expiring,
    /// It is gone.
    Expired,
}

/// How the restored database is reached. Names of Secrets, never what is in them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionStatus {
    /// Its Service's name in the cluster's DNS.
    pub host: String,
    /// Its port.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// The application's database.
    pub database: String,
    /// Who logs in.
    pub user: String,
    /// The Secret with `username` and `password`.
    pub secret_name: String,
    /// The scratch namespace, in which that Secret lies.
    pub namespace: String,
    /// The Secret with all of it beside this resource, where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_secret_name: Option<String>,
    /// Whether walproof logged in with these very credentials.
    pub tried: bool,
}
