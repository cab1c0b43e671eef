//! The LimitRange: what a container has that asks for nothing, and the most that one may.

use serde_json::{Value, json};

use super::meta;
use crate::kubernetes::scratch::ScratchPlan;
use crate::kubernetes::scratch::resources::Resources;

/// The LimitRange. Without its defaults, the quota would refuse every container that does
/// not say what it needs.
pub(super) fn manifest(plan: &ScratchPlan) -> Value {
    let instance = Resources::of_instance(plan);
    let sidecar = Resources::of_sidecar(instance);
    let most = instance.memory_limit.max(sidecar.memory_limit);
    json!({
        "apiVersion": "v1",
        "kind": "LimitRange",
        "metadata": meta::in_namespace(plan, super::POLICY),
        "spec": { "limits": [{
            "type": "Container",
            "defaultRequest": {
                "cpu": sidecar.cpu.to_string(),
                "memory": sidecar.memory.to_string(),
            },
            "default": { "memory": sidecar.memory_limit.to_string() },
            "max": { "memory": most.to_string() },
        }] },
    })
}
