//! Resources and discovered Clusters compiled to configuration: pure, and all at once.
//!
//! Each resource becomes a document of the shape of walproof.yaml and goes through the very
//! checks that the file goes through ([`read_fragment`](crate::config::read_fragment)). A
//! resource that is refused keeps no other out.

mod drill;
pub(super) mod limits;
mod protected;
mod select;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde_json::Value;

use super::resources::{ProtectedCluster, RecoveryDrill};
use crate::config::{Mistake, SecretReference};
use crate::daemon::{Origin, Overlay, Refusal};
use crate::evidence::Digest;
use crate::kubernetes::cnpg::{Archive, StoreConfiguration};

/// Sets a key of a mapping; anything else has no keys and stays as it is.
fn put(document: &mut Value, key: &str, value: Value) {
    if let Some(members) = document.as_object_mut() {
        members.insert(key.to_owned(), value);
    }
}

/// A Cluster of CloudNativePG as far as it matters here.
#[derive(Clone, Debug, PartialEq)]
pub struct SeenCluster {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Where it archives.
    pub archive: Archive,
}

/// A namespace and a name in it.
pub type Key = (String, String);

/// What is known. The resources are those that can be read and are not being deleted.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The controller's own namespace.
    pub own_namespace: String,
    /// Clusters that are no scratch of ours.
    pub clusters: BTreeMap<Key, SeenCluster>,
    /// ObjectStores.
    pub stores: BTreeMap<Key, StoreConfiguration>,
    /// Regions that stand in Secrets, as far as they were read; or why they could not be.
    pub regions: BTreeMap<SecretReference, Result<String, String>>,
    /// ProtectedClusters.
    pub protected: BTreeMap<Key, ProtectedCluster>,
    /// RecoveryDrills.
    pub drills: BTreeMap<Key, RecoveryDrill>,
}

/// What it comes to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Compiled {
    /// The further configuration.
    pub overlay: Overlay,
    /// What is refused, and why.
    pub refusals: Vec<Refusal>,
    /// The Clusters of each ProtectedCluster.
    pub found: BTreeMap<Key, Vec<Found>>,
    /// The clusters of each RecoveryDrill, by their names in the configuration.
    pub drilled: BTreeMap<Key, Vec<String>>,
    /// Regions that must be read.
    pub regions: Vec<SecretReference>,
}

/// A Cluster that a ProtectedCluster selects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its name in the configuration.
    pub config_name: String,
    /// Why it is not guarded.
    pub left_out: Option<String>,
}

/// Why a resource does not hold: a word and a message.
pub(super) type Fault = (&'static str, String);

/// The kinds, as they are told.
pub(super) const PROTECTED: &str = "ProtectedCluster";
pub(super) const DRILL: &str = "RecoveryDrill";

/// Compiles.
pub fn compile(seen: &Seen) -> Compiled {
    let mut compiled = Compiled::default();
    protected::compile(seen, &mut compiled);
    drill::compile(seen, &mut compiled);
    compiled.overlay.digests = digests(seen, &compiled);
    compiled
}

pub(super) fn origin(kind: &'static str, (namespace, name): &Key) -> Origin {
    Origin {
        kind: kind.into(),
        namespace: namespace.clone(),
        name: name.clone(),
    }
}

/// Every mistake in a line each, and in the terms of the resource: `schedules[0]` of the
/// document is `names[0]` there.
pub(super) fn in_words(mistakes: &[Mistake], names: &[&str]) -> String {
    let mut words: Vec<String> = mistakes
        .iter()
        .map(|mistake| match &mistake.help {
            Some(help) => format!("{} ({help})", mistake.message),
            None => mistake.message.clone(),
        })
        .collect();
    words.truncate(10);
    let mut text = words.join("; ");
    for (index, name) in names.iter().enumerate() {
        text = text.replace(&format!("schedules[{index}]"), name);
    }
    text
}

/// What the overlay is made of: one digest for each kind, over what the resources ask for.
fn digests(seen: &Seen, compiled: &Compiled) -> Vec<Digest> {
    let specs = |kind: &str, specs: Vec<(&Key, Value)>| {
        let list: Vec<Value> = specs
            .into_iter()
            .map(|((namespace, name), spec)| {
                serde_json::json!({"namespace": namespace, "name": name, "spec": spec})
            })
            .collect();
        let bytes = Value::Array(list).to_string();
        Digest::of(format!("walproof.dev/v1alpha1 {kind}"), bytes.as_bytes())
    };
    let value = |spec: &dyn erased::Spec| spec.value();
    let mut digests = Vec::new();
    if !seen.protected.is_empty() {
        let all = seen.protected.iter();
        let all = all.map(|(key, one)| (key, value(&one.spec))).collect();
        digests.push(specs(PROTECTED, all));
    }
    if !seen.drills.is_empty() {
        let all = seen.drills.iter();
        let all = all.map(|(key, one)| (key, value(&one.spec))).collect();
        digests.push(specs(DRILL, all));
    }
    if !compiled.overlay.clusters.is_empty() {
        let clusters: Vec<Value> = compiled
            .overlay
            .clusters
            .iter()
            .map(|cluster| serde_json::to_value(&cluster.what).unwrap_or_default())
            .collect();
        let bytes = Value::Array(clusters).to_string();
        digests.push(Digest::of(
            "postgresql.cnpg.io/v1 Cluster",
            bytes.as_bytes(),
        ));
    }
    digests
}

/// Specs of any kind as JSON.
mod erased {
    use serde_json::Value;

    pub(super) trait Spec {
        fn value(&self) -> Value;
    }

    impl<T: serde::Serialize> Spec for T {
        fn value(&self) -> Value {
            serde_json::to_value(self).unwrap_or_default()
        }
    }
}
