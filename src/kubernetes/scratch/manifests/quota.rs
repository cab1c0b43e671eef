//! The ResourceQuota: room for this recovery, and none for anything else.

use serde_json::{Map, Value, json};

use super::meta;
use crate::kubernetes::scratch::ScratchPlan;
use crate::kubernetes::scratch::resources::{self, Resources};

/// What a recovery makes of each kind at most, with a little room for retries of the
/// operator. None may be made of what could act: backups, poolers, ways in from outside.
const COUNTS: &[(&str, &str)] = &[
    ("pods", "6"),
    ("services", "6"),
    ("services.loadbalancers", "0"),
    ("services.nodeports", "0"),
    ("count/jobs.batch", "6"),
    ("count/cronjobs.batch", "0"),
    ("count/deployments.apps", "0"),
    ("count/statefulsets.apps", "0"),
    ("count/daemonsets.apps", "0"),
    ("count/ingresses.networking.k8s.io", "0"),
    ("count/secrets", "20"),
    ("count/configmaps", "10"),
    ("count/clusters.postgresql.cnpg.io", "1"),
    ("count/backups.postgresql.cnpg.io", "0"),
    ("count/scheduledbackups.postgresql.cnpg.io", "0"),
    ("count/poolers.postgresql.cnpg.io", "0"),
];

/// The ResourceQuota.
pub(super) fn manifest(plan: &ScratchPlan) -> Value {
    let instance = Resources::of_instance(plan);
    let sidecar = Resources::of_sidecar(instance);
    let volumes = resources::volumes(plan);
    // The recovery's pod may still be counted when the instance's begins.
    let of = |value: Option<&String>, own: String| value.cloned().unwrap_or(own);
    let cpu = instance.cpu.plus(sidecar.cpu).times(2).to_string();
    let memory = instance.memory.plus(sidecar.memory).times(2).to_string();
    let limit = instance.memory_limit.plus(sidecar.memory_limit).times(2);
    let storage = resources::sum(&volumes).to_string();
    let mut hard = Map::new();
    let mut put = |name: &str, value: String| {
        hard.insert(name.to_owned(), json!(value));
    };
    put("requests.cpu", of(plan.quota.cpu.as_ref(), cpu));
    put("requests.memory", of(plan.quota.memory.as_ref(), memory));
    put(
        "limits.memory",
        of(plan.quota.memory.as_ref(), limit.to_string()),
    );
    put("requests.storage", of(plan.quota.storage.as_ref(), storage));
    put("persistentvolumeclaims", volumes.len().to_string());
    for (name, value) in COUNTS {
        put(name, (*value).to_owned());
    }
    json!({
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": meta::in_namespace(plan, super::POLICY),
        "spec": { "hard": hard },
    })
}
