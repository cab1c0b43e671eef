//! Which Kubernetes the configuration speaks of, and where in it a cluster lives.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Period;

/// How the API of Kubernetes is reached. What is left out is as kubectl has it: `KUBECONFIG`
/// or `~/.kube/config` with its current context; in a pod its ServiceAccount.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KubernetesConfig {
    /// A kubeconfig file, relative to this file.
    #[serde(default)]
    pub kubeconfig: Option<PathBuf>,
    /// The context in it; without it the current one.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub context: Option<String>,
    /// Makes `walproof daemon` the controller of the custom resources of `walproof.dev`:
    /// ProtectedCluster, RecoveryDrill and RecoveryRequest. They are further configuration
    /// beside this file. Without it they are not looked at; `{}` is enough.
    #[serde(default)]
    pub controller: Option<ControllerConfig>,
    /// The ClusterRole with what a drill does inside its scratch namespace. walproof binds
    /// itself to it there, with a RoleBinding, right after it has made the namespace, so that
    /// nothing of it need be granted elsewhere. Without it those rights are expected to be
    /// there already, in all namespaces.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub scratch_role: Option<String>,
}

/// Which custom resources the daemon takes up, and where it itself lives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ControllerConfig {
    /// Only resources in these namespaces. Default: all.
    #[serde(default)]
    pub namespaces: Vec<String>,
    /// The controller's own namespace: a resource there may speak of other namespaces, and
    /// use secrets of the controller's own environment and files. Default: the pod's, or that
    /// of the kubeconfig's context.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub namespace: Option<String>,
}

/// A `Cluster` of CloudNativePG.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KubernetesCluster {
    /// Its namespace.
    #[schemars(length(min = 1))]
    pub namespace: String,
    /// Its name there.
    #[schemars(length(min = 1))]
    pub name: String,
}

/// Where a guarded cluster lives in Kubernetes, and what the daemon may ask for there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GuardedCluster {
    /// Its namespace.
    #[schemars(length(min = 1))]
    pub namespace: String,
    /// Its name there.
    #[schemars(length(min = 1))]
    pub name: String,
    /// When the daemon asks CloudNativePG for a base backup by itself.
    #[serde(default)]
    pub fresh_backup: FreshBackup,
    /// It asks for at most one in this time, whatever becomes of it. Default: 6h.
    #[serde(default)]
    pub fresh_backup_every: Option<Period>,
    /// Where the cluster would be built anew if its own site were lost: there, a capture looks
    /// for the Secrets that a rebuild needs.
    #[serde(default)]
    pub disaster_site: Option<DisasterSite>,
}

/// The place in which a cluster would be built anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DisasterSite {
    /// A kubeconfig file, relative to this file. Default: the one of the whole configuration.
    #[serde(default)]
    pub kubeconfig: Option<PathBuf>,
    /// The context in it; without it the current one, or that of the whole configuration where
    /// no kubeconfig is named here.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub context: Option<String>,
    /// The namespace there. Default: the cluster's own.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub namespace: Option<String>,
}

impl GuardedCluster {
    /// A `Cluster` for which nothing is asked.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
            fresh_backup: FreshBackup::Never,
            fresh_backup_every: None,
            disaster_site: None,
        }
    }

    /// Which `Cluster` it is.
    pub fn resource(&self) -> KubernetesCluster {
        KubernetesCluster {
            namespace: self.namespace.clone(),
            name: self.name.clone(),
        }
    }
}

/// When the daemon asks for a base backup by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FreshBackup {
    /// Never.
    #[default]
    Never,
    /// When a verification of the primary copy found no base backup that can be used.
    WhenNoneUsable,
}
