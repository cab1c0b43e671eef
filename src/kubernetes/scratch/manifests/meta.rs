//! Labels and annotations of everything that is made.

use chrono::SecondsFormat;
use serde_json::{Map, Value, json};

use crate::kubernetes::names;
use crate::kubernetes::scratch::ScratchPlan;

/// The labels by which everything of the drill is known.
pub(super) fn labels(plan: &ScratchPlan) -> Map<String, Value> {
    let mut labels = Map::new();
    let mut put = |name: &str, value: &str| {
        let value = names::label_value(value);
        if !value.is_empty() {
            labels.insert(name.to_owned(), Value::String(value));
        }
    };
    put(names::MANAGED_BY, names::WALPROOF);
    put(names::DRILL, &plan.id.to_string());
    put(names::CLUSTER, &plan.cluster_label);
    if let Some(owner) = &plan.owner {
        put(names::OWNER, owner);
    }
    if let Some(cost_centre) = &plan.cost_centre {
        put(names::COST_CENTRE, cost_centre);
    }
    labels
}

/// The labels that the operator hands on to all that it makes: not those that are its own.
pub(super) fn inherited(plan: &ScratchPlan) -> Map<String, Value> {
    let mut labels = labels(plan);
    labels.remove(names::MANAGED_BY);
    labels
}

/// The annotations that a sweep reads.
pub(super) fn annotations(plan: &ScratchPlan) -> Map<String, Value> {
    let expires = plan.expires_at.to_rfc3339_opts(SecondsFormat::Secs, true);
    let mut annotations = Map::new();
    annotations.insert(names::EXPIRES_AT.to_owned(), json!(expires));
    annotations.insert(names::HOLDER.to_owned(), json!(plan.holder));
    annotations
}

/// The metadata of an object in the namespace.
pub(super) fn in_namespace(plan: &ScratchPlan, name: &str) -> Value {
    json!({
        "name": name,
        "namespace": plan.namespace,
        "labels": labels(plan),
    })
}

/// The metadata of an object outside namespaces.
pub(super) fn cluster_wide(plan: &ScratchPlan, name: &str) -> Value {
    json!({
        "name": name,
        "labels": labels(plan),
        "annotations": annotations(plan),
    })
}
