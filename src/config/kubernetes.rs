//! Which Kubernetes the configuration speaks of, and where in it a cluster lives.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
}

/// Where a guarded cluster lives in Kubernetes: a `Cluster` of CloudNativePG.
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
