//! walproof's own rights in the namespace, where it does not have them anyway.

use serde_json::{Value, json};

use super::meta;
use crate::kubernetes::access::{RBAC, subject};
use crate::kubernetes::scratch::ScratchPlan;

/// The name of the RoleBinding.
pub const GRANT: &str = "walproof";

/// The RoleBinding. It comes right after the namespace: all else is made by its leave.
pub(super) fn manifest(plan: &ScratchPlan) -> Option<Value> {
    let grant = plan.grant.as_ref()?;
    Some(json!({
        "apiVersion": format!("{RBAC}/v1"),
        "kind": "RoleBinding",
        "metadata": meta::in_namespace(plan, GRANT),
        "roleRef": { "apiGroup": RBAC, "kind": "ClusterRole", "name": grant.role },
        "subjects": [subject(&grant.identity)],
    }))
}
