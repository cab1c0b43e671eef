//! What a scan found, for programs and people: `walproof.kubernetes-scan/v1`.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use crate::finding::{Finding, Severity};
use crate::operation::standing::VerifyStanding;
use crate::operation::{Failure, FailureClass};
use crate::postgres::SystemId;
use crate::verify::Exposure;

/// The contract of [`ScanReport`] as JSON. Fields are only added within a version.
pub const SCHEMA: &str = "walproof.kubernetes-scan/v1";

/// What a scan found.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ScanReport {
    /// The contract, `walproof.kubernetes-scan/v1`.
    pub schema: String,
    /// The version of walproof that wrote it.
    pub version: String,
    /// When the scan began.
    pub at: DateTime<Utc>,
    /// The API server's URL.
    pub server: String,
    /// The context of the kubeconfig; `null` in a pod.
    pub context: Option<String>,
    /// As whom the API knows walproof.
    pub identity: Option<String>,
    /// The version of Kubernetes.
    pub kubernetes: Option<String>,
    /// The namespace that was asked for; `null` for all of them.
    pub namespace: Option<String>,
    /// The operator, where it could be seen.
    pub operator: Option<OperatorReport>,
    /// The Clusters, counted.
    pub counts: ScanCounts,
    /// The Clusters, by namespace and name.
    pub clusters: Vec<ScannedCluster>,
    /// What could not be seen of the Kubernetes cluster itself, and what was left out.
    pub notes: Vec<String>,
}

/// The operator and its plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct OperatorReport {
    /// Its namespace.
    pub namespace: String,
    /// Its version.
    pub version: Option<String>,
    /// How many of its pods are ready.
    pub ready: u32,
    /// The namespaces that it watches; empty for all.
    pub watches: Vec<String>,
    /// Whether the Barman Cloud plugin is installed.
    pub plugin: bool,
    /// The plugin's version.
    pub plugin_version: Option<String>,
}

/// Clusters, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ScanCounts {
    /// All.
    pub clusters: u64,
    /// Nothing of at least a warning was found. That proves nothing yet.
    pub quiet: u64,
    /// Something of at least a warning was found.
    pub problem: u64,
    /// The repository could not be read.
    pub unread: u64,
}

/// How the look at one Cluster ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ScanOutcome {
    /// Nothing of at least a warning was found. That proves nothing yet.
    Quiet,
    /// Something of at least a warning was found.
    Problem,
    /// The repository could not be read.
    Unread,
}

/// One Cluster.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ScannedCluster {
    /// Its namespace.
    pub namespace: String,
    /// Its name there.
    pub name: String,
    /// Its name in the configuration that is written; `null` when it archives nowhere.
    pub written_as: Option<String>,
    /// How it archives: `plugin`, `in-tree`, the name of an unknown plugin, or `none`.
    pub form: String,
    /// The operator's phase.
    pub phase: Option<String>,
    /// Whether the operator says that it works.
    pub healthy: bool,
    /// PostgreSQL's major version.
    pub major: Option<u16>,
    /// How many instances it wants.
    pub instances: u32,
    /// Its image.
    pub image: Option<String>,
    /// Its system identifier.
    pub system_id: Option<SystemId>,
    /// The ObjectStore that it archives to.
    pub object_store: Option<String>,
    /// The folder below the store's destination.
    pub server_name: Option<String>,
    /// Where its backups lie.
    pub location: Option<String>,
    /// The endpoint as the cluster knows it.
    pub endpoint: Option<String>,
    /// How long its backups are kept, as the resource says it.
    pub retention: Option<String>,
    /// When the next scheduled backup is due; `null` when none is known.
    pub next_backup_at: Option<DateTime<Utc>>,
    /// Volume snapshots of it from which a volume can be made.
    pub snapshots: Option<u64>,
    /// How it ended.
    pub outcome: ScanOutcome,
    /// What would be lost if it vanished now.
    pub exposure: Option<Exposure>,
    /// Where its repository stands; `null` when it could not be read.
    pub standing: Option<VerifyStanding>,
    /// What is wrong, worst first.
    pub findings: Vec<Finding>,
    /// Why its repository could not be read.
    pub trouble: Option<ScanTrouble>,
    /// What a drill in a scratch namespace would need.
    pub needs: Vec<Need>,
}

impl ScannedCluster {
    /// `namespace/name`.
    pub fn title(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// The severity of the worst finding.
    pub fn worst(&self) -> Option<Severity> {
        self.findings.iter().map(|finding| finding.severity).max()
    }
}

/// Why something could not be read. Never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ScanTrouble {
    /// The class, such as `credentials` or `storage`.
    pub class: String,
    /// What was tried, and why it failed.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl From<Failure> for ScanTrouble {
    fn from(failure: Failure) -> Self {
        Self {
            class: failure.class.as_str().to_owned(),
            message: failure.message,
            hint: failure.hint,
        }
    }
}

impl ScanTrouble {
    /// Whether credentials are missing, refused, or may not be read.
    pub fn is_of_credentials(&self) -> bool {
        self.class == FailureClass::Credentials.as_str()
    }

    /// Something that the resources lack.
    pub(super) fn configuration(message: impl Into<String>, hint: &str) -> Self {
        Self {
            class: FailureClass::Configuration.as_str().to_owned(),
            message: message.into(),
            hint: Some(hint.to_owned()),
        }
    }
}

/// What a drill needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NeedKind {
    /// The operator, at work on any namespace.
    Operator,
    /// The Barman Cloud plugin, or an operator that still has the in-tree form.
    Plugin,
    /// Permissions.
    Permission,
    /// Volumes of the source's classes and sizes.
    Storage,
    /// The store's credentials.
    Credentials,
    /// A base backup that can be used.
    Backup,
    /// The image.
    Image,
}

impl NeedKind {
    /// The word used in output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Plugin => "plugin",
            Self::Permission => "permission",
            Self::Storage => "storage",
            Self::Credentials => "credentials",
            Self::Backup => "backup",
            Self::Image => "image",
        }
    }
}

/// One thing that a drill in a scratch namespace needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Need {
    /// What it is about.
    pub kind: NeedKind,
    /// Whether it is there; `null` when that could not be seen.
    pub met: Option<bool>,
    /// In words.
    pub text: String,
}
