//! What was declared, without what the API server and operators wrote into it.
//!
//! Only what is known to be theirs goes. Keys that nobody here knows stay, and so do fields
//! that a webhook filled with defaults: they are what the cluster runs with.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// What the API server keeps in `metadata` (`k8s.io/apimachinery`, `ObjectMeta`).
const METADATA: [&str; 9] = [
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generation",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
];

/// Annotations that are not anybody's declaration: kubectl's memory, moments of a restart, and
/// what CloudNativePG writes for itself (`pkg/utils/labels_annotations.go`).
const ANNOTATIONS: [&str; 12] = [
    "cnpg.io/clusterManifest",
    "cnpg.io/fencedInstances",
    "cnpg.io/hash",
    "cnpg.io/lastAppliedSpec",
    "cnpg.io/nodeSerial",
    "cnpg.io/operatorVersion",
    "cnpg.io/pgControldata",
    "cnpg.io/podEnvHash",
    "cnpg.io/podSpec",
    "cnpg.io/reloadedAt",
    "kubectl.kubernetes.io/last-applied-configuration",
    "kubectl.kubernetes.io/restartedAt",
];

/// Labels that CloudNativePG writes for itself.
const LABELS: [&str; 2] = ["cnpg.io/operatorVersion", "cnpg.io/instanceName"];

/// What a Service was given by the cluster that it was in.
const SERVICE: [&str; 4] = ["clusterIP", "clusterIPs", "healthCheckNodePort", "nodePort"];

/// What binds a claim to a volume of the cluster that it was in.
const CLAIM: [&str; 1] = ["volumeName"];

/// The object as it was declared: applied to another cluster, it asks for the same.
pub fn clean(manifest: &Value) -> Value {
    let mut manifest = manifest.clone();
    if let Some(members) = manifest.as_object_mut() {
        members.remove("status");
        if let Some(metadata) = members.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("uid");
            for key in METADATA {
                metadata.remove(key);
            }
            without(metadata, "annotations", &ANNOTATIONS);
            without(metadata, "labels", &LABELS);
        }
        for value in members.values_mut() {
            descend(value, Place::Anywhere);
        }
    }
    canonical(&manifest)
}

/// Removes entries of a map of texts, and the map when nothing is left of it.
fn without(metadata: &mut Map<String, Value>, map: &str, keys: &[&str]) {
    let Some(texts) = metadata.get_mut(map).and_then(Value::as_object_mut) else {
        return;
    };
    texts.retain(|key, _| !keys.contains(&key.as_str()));
    if texts.is_empty() {
        metadata.remove(map);
    }
}

/// Below what a value stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Anywhere,
    Service,
    Claim,
}

fn descend(value: &mut Value, place: Place) {
    match value {
        Value::Object(members) => {
            // Go writes the empty moment of a template as null.
            if members.get("creationTimestamp").is_some_and(Value::is_null) {
                members.remove("creationTimestamp");
            }
            let theirs: &[&str] = match place {
                Place::Anywhere => &[],
                Place::Service => &SERVICE,
                Place::Claim => &CLAIM,
            };
            for key in theirs {
                members.remove(*key);
            }
            for (key, value) in members.iter_mut() {
                let place = match key.as_str() {
                    "serviceTemplate" => Place::Service,
                    "pvcTemplate" => Place::Claim,
                    _ => place,
                };
                descend(value, place);
            }
        }
        Value::Array(items) => {
            for item in items {
                descend(item, place);
            }
        }
        _ => {}
    }
}

/// The same value with the keys of every object in the order of their bytes, whatever the
/// order in which they came.
pub fn canonical(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let sorted: BTreeMap<&String, &Value> = members.iter().collect();
            Value::Object(
                sorted
                    .into_iter()
                    .map(|(key, value)| (key.clone(), canonical(value)))
                    .collect(),
            )
        }
        Value::Array(items) => Value::Array(items.iter().map(canonical).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_declared_stays_and_what_servers_wrote_goes() {
        let live = json!({
            "apiVersion": "postgresql.cnpg.io/v1",
            "kind": "Cluster",
            "metadata": {
                "name": "orders", "namespace": "shop", "uid": "1", "resourceVersion": "7",
                "generation": 3, "creationTimestamp": "2026-01-01T00:00:00Z",
                "managedFields": [{}], "finalizers": ["x"], "ownerReferences": [{}],
                "labels": {"team": "shop", "cnpg.io/operatorVersion": "1"},
                "annotations": {
                    "kubectl.kubernetes.io/last-applied-configuration": "{}",
                    "cnpg.io/fencedInstances": "[\"*\"]",
                },
            },
            "spec": {
                "instances": 3,
                "somethingNew": {"nodePort": 5, "volumeName": "v"},
                "managed": {"services": {"additional": [{
                    "serviceTemplate": {
                        "metadata": {"name": "lb", "creationTimestamp": null},
                        "spec": {"type": "NodePort", "clusterIP": "10.0.0.1",
                                 "ports": [{"port": 5432, "nodePort": 30001}]},
                    },
                }]}},
                "storage": {"pvcTemplate": {"volumeName": "pvc-1", "storageClassName": "fast"}},
            },
            "status": {"phase": "x"},
        });
        assert_eq!(
            clean(&live),
            json!({
                "apiVersion": "postgresql.cnpg.io/v1",
                "kind": "Cluster",
                "metadata": {"name": "orders", "namespace": "shop", "labels": {"team": "shop"}},
                "spec": {
                    "instances": 3,
                    "somethingNew": {"nodePort": 5, "volumeName": "v"},
                    "managed": {"services": {"additional": [{
                        "serviceTemplate": {
                            "metadata": {"name": "lb"},
                            "spec": {"type": "NodePort", "ports": [{"port": 5432}]},
                        },
                    }]}},
                    "storage": {"pvcTemplate": {"storageClassName": "fast"}},
                },
            })
        );
        assert_eq!(clean(&clean(&live)), clean(&live));
    }

    #[test]
    fn the_order_of_keys_does_not_matter() {
        let text = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let (one, other) = (
            text(r#"{"b": {"z": 1, "y": [{"d": 1, "c": 2}]}, "a": 0}"#),
            text(r#"{"a": 0, "b": {"y": [{"c": 2, "d": 1}], "z": 1}}"#),
        );
        assert_eq!(canonical(&one).to_string(), canonical(&other).to_string());
        assert!(canonical(&one).to_string().starts_with(r#"{"a":0,"#));
    }
}
