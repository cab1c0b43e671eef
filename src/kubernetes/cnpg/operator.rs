//! Which operator serves a Kubernetes cluster, and with which plugin.

use std::collections::BTreeMap;

use serde_json::Value;

use super::fields::{list, text, text_map, texts};

/// The Barman Cloud plugin's name.
pub const PLUGIN: &str = "barman-cloud.cloudnative-pg.io";

/// The operator's Deployment carries this label (its manifest and its chart alike).
pub(super) const OPERATOR_LABEL: &str = "app.kubernetes.io/name=cloudnative-pg";
/// The plugin's Service carries this label (CNPG-I's discovery).
pub(super) const PLUGIN_LABEL: &str = "cnpg.io/pluginName=barman-cloud.cloudnative-pg.io";

/// The operator of a Kubernetes cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// The namespace that it runs in.
    pub namespace: String,
    /// Its Deployment.
    pub deployment: String,
    /// Its version, from its image's tag or its labels.
    pub version: Option<String>,
    /// How many of its pods are ready.
    pub ready: u32,
    /// The labels of its pods, for a network policy.
    pub pod_labels: BTreeMap<String, String>,
    /// The namespaces that it watches; empty means all of them.
    pub watches: Vec<String>,
    /// The Barman Cloud plugin, where it is installed.
    pub plugin: Option<Plugin>,
}

/// The Barman Cloud plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plugin {
    /// Its Service, in the operator's namespace; `None` where Services may not be listed.
    pub service: Option<String>,
    /// Its version, where its Deployment could be read.
    pub version: Option<String>,
    /// The labels of its pods.
    pub pod_labels: BTreeMap<String, String>,
}

impl Operator {
    /// Reads the operator's Deployment.
    pub fn of_deployment(deployment: &Value) -> Option<Self> {
        Some(Self {
            namespace: text(deployment, "/metadata/namespace")?,
            deployment: text(deployment, "/metadata/name")?,
            version: version(deployment),
            ready: super::fields::number(deployment, "/status/readyReplicas").unwrap_or(0),
            pod_labels: text_map(deployment, "/spec/selector/matchLabels"),
            watches: watches(deployment),
            plugin: None,
        })
    }

    /// Whether it acts on a namespace.
    pub fn watches(&self, namespace: &str) -> bool {
        self.watches.is_empty() || self.watches.iter().any(|watched| watched == namespace)
    }
}

impl Plugin {
    /// Reads the plugin's Service, and the Deployment behind it among those of its
    /// namespace.
    pub fn of_service(service: &Value, deployments: &[Value]) -> Option<Self> {
        let pod_labels = text_map(service, "/spec/selector");
        let behind = deployments.iter().find(|deployment| {
            let labels = text_map(deployment, "/spec/template/metadata/labels");
            !pod_labels.is_empty()
                && pod_labels
                    .iter()
                    .all(|(name, value)| labels.get(name) == Some(value))
        });
        Some(Self {
            service: Some(text(service, "/metadata/name")?),
            version: behind.and_then(version),
            pod_labels,
        })
    }

    /// Reads the plugin's Deployment, known by its image; `None` for any other.
    pub fn of_deployment(deployment: &Value) -> Option<Self> {
        let image = text(deployment, "/spec/template/spec/containers/0/image")?;
        let name = image.rsplit('/').next()?;
        name.starts_with("plugin-barman-cloud").then(|| Self {
            service: None,
            version: version(deployment),
            pod_labels: text_map(deployment, "/spec/selector/matchLabels"),
        })
    }
}

/// The version of a Deployment's first container: its image's tag, else what its labels say.
fn version(deployment: &Value) -> Option<String> {
    let image = text(deployment, "/spec/template/spec/containers/0/image");
    image
        .as_deref()
        .and_then(tag)
        .filter(|tag| tag.starts_with(|c: char| c.is_ascii_digit()))
        .or_else(|| text(deployment, "/metadata/labels/app.kubernetes.io~1version"))
}

/// An image's tag, without a leading `v`.
fn tag(image: &str) -> Option<String> {
    let without_digest = image.split('@').next()?;
    let tag = without_digest.rsplit('/').next()?.split_once(':')?.1;
    Some(tag.strip_prefix('v').unwrap_or(tag).to_owned())
}

/// `WATCH_NAMESPACE` of the operator's container.
fn watches(deployment: &Value) -> Vec<String> {
    let containers = list(deployment, "/spec/template/spec/containers");
    let variables = containers.iter().flat_map(|one| list(one, "/env"));
    let named = variables
        .filter(|variable| text(variable, "/name").as_deref() == Some("WATCH_NAMESPACE"))
        .find_map(|variable| text(variable, "/value"));
    // Given as an argument by some charts.
    let argued = containers
        .iter()
        .flat_map(|one| texts(one, "/args"))
        .find_map(|argument| {
            argument
                .strip_prefix("--watch-namespace=")
                .map(str::to_owned)
        });
    named
        .or(argued)
        .unwrap_or_default()
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}
