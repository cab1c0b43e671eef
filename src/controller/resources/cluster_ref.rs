//! Which Cluster a resource speaks of.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::controller::names;

/// A Cluster of CloudNativePG that a ProtectedCluster guards.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterRef {
    /// Its name.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Its namespace. Default: that of this resource. Another one only in the namespace of
    /// the controller itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
}

impl ClusterRef {
    /// Its namespace, for a resource in `own`.
    pub fn namespace<'a>(&'a self, own: &'a str) -> &'a str {
        self.namespace.as_deref().unwrap_or(own)
    }

    /// The name by which the configuration knows it.
    pub fn config_name(&self, own: &str) -> String {
        names::config_name(self.namespace(own), &self.name)
    }
}
