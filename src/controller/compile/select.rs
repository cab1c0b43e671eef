//! Which Clusters a ProtectedCluster selects.

use std::collections::BTreeMap;

use super::{Fault, Key, Seen};
use crate::controller::resources::{ClusterSelector, ProtectedClusterSpec, Requirement};

/// The Clusters that are selected, by namespace and name.
pub(super) fn select<'a>(
    seen: &'a Seen,
    namespace: &str,
    spec: &ProtectedClusterSpec,
) -> Result<Vec<&'a Key>, Fault> {
    if spec.name.is_none() && spec.selector.is_none() {
        return Err((
            "Invalid",
            "name a Cluster (`name`), or select some (`selector`)".to_owned(),
        ));
    }
    let at_home = namespace == seen.own_namespace;
    let other = spec.namespaces.iter().find(|one| *one != namespace);
    if let Some(other) = other.filter(|_| !at_home) {
        return Err((
            "NamespaceNotAllowed",
            format!(
                "it selects in namespace `{other}`: only a ProtectedCluster in the controller's own namespace ({}) may speak of other namespaces",
                seen.own_namespace
            ),
        ));
    }
    let everywhere = spec.namespaces.iter().any(|one| one == "*");
    let selected = seen.clusters.iter().filter(|((place, name), cluster)| {
        let in_place = everywhere
            || if spec.namespaces.is_empty() {
                place == namespace
            } else {
                spec.namespaces.contains(place)
            };
        in_place
            && spec.name.as_ref().is_none_or(|wanted| wanted == name)
            && spec
                .selector
                .as_ref()
                .is_none_or(|selector| matches(selector, &cluster.labels))
    });
    Ok(selected.map(|(key, _)| key).collect())
}

fn matches(selector: &ClusterSelector, labels: &BTreeMap<String, String>) -> bool {
    selector
        .match_labels
        .iter()
        .all(|(key, value)| labels.get(key) == Some(value))
        && selector
            .match_expressions
            .iter()
            .all(|requirement| meets(requirement, labels))
}

/// As the API has it: `NotIn` holds for what has no such label.
fn meets(requirement: &Requirement, labels: &BTreeMap<String, String>) -> bool {
    let value = labels.get(&requirement.key);
    match requirement.operator.as_str() {
        "In" => value.is_some_and(|value| requirement.values.contains(value)),
        "NotIn" => value.is_none_or(|value| !requirement.values.contains(value)),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        _ => false,
    }
}
