//! The ObjectStore that the plugin reads: the source's place, under another name, for
//! recovery only.

use serde_json::{Value, json};

use super::{OBJECT_STORE, meta};
use crate::kubernetes::scratch::ScratchPlan;
use crate::kubernetes::scratch::resources::Resources;

/// The ObjectStore. It has no retention policy: with one the plugin deletes backups.
pub(super) fn manifest(plan: &ScratchPlan) -> Value {
    let sidecar = Resources::of_sidecar(Resources::of_instance(plan));
    json!({
        "apiVersion": "barmancloud.cnpg.io/v1",
        "kind": "ObjectStore",
        "metadata": meta::in_namespace(plan, OBJECT_STORE),
        "spec": {
            "configuration": plan.store.configuration,
            "instanceSidecarConfiguration": { "resources": sidecar.to_value() },
        },
    })
}
