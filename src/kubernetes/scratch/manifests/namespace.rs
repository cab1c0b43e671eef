//! The namespace itself.

use serde_json::{Value, json};

use super::meta;
use crate::kubernetes::scratch::ScratchPlan;

/// The level of the Pod Security standards that is enforced.
const POD_SECURITY: &str = "restricted";

/// The Namespace: its labels say whose it is, its annotations until when.
pub(super) fn manifest(plan: &ScratchPlan) -> Value {
    let mut metadata = meta::cluster_wide(plan, &plan.namespace);
    if let Some(labels) = metadata.get_mut("labels").and_then(Value::as_object_mut) {
        for mode in ["enforce", "audit", "warn"] {
            labels.insert(
                format!("pod-security.kubernetes.io/{mode}"),
                json!(POD_SECURITY),
            );
        }
    }
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata })
}
