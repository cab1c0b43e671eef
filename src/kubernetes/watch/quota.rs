//! A quota that has no room for the recovery's volumes. Pure.
//!
//! The operator makes the volume claims itself, and when a quota refuses one it says so
//! only in its own log (1.30.0): no event, no Job, and the phase stays what it was before.
//! So the room is counted here.

use serde_json::Value;

use super::objects::{list, text};
use crate::kubernetes::quantity;

/// What a Cluster's volumes ask for, by the names that quotas use.
fn asked(cluster: &Value) -> Vec<(String, u64)> {
    let mut sizes = Vec::new();
    let mut add = |storage: &Value| {
        if let Some(size) = quantity::bytes(text(storage, "/size")) {
            sizes.push((text(storage, "/storageClass").to_owned(), size));
        }
    };
    for place in ["/spec/storage", "/spec/walStorage"] {
        if let Some(storage) = cluster.pointer(place) {
            add(storage);
        }
    }
    for tablespace in list(cluster, "/spec/tablespaces") {
        if let Some(storage) = tablespace.get("storage") {
            add(storage);
        }
    }
    let mut asked = vec![
        (
            "persistentvolumeclaims".to_owned(),
            u64::try_from(sizes.len()).unwrap_or(u64::MAX),
        ),
        (
            "requests.storage".to_owned(),
            sizes
                .iter()
                .fold(0, |sum: u64, (_, size)| sum.saturating_add(*size)),
        ),
    ];
    for (class, size) in sizes {
        if !class.is_empty() {
            let name = format!("{class}.storageclass.storage.k8s.io/requests.storage");
            match asked.iter_mut().find(|(known, _)| *known == name) {
                Some((_, sum)) => *sum = sum.saturating_add(size),
                None => asked.push((name, size)),
            }
        }
    }
    asked
}

/// The first thing that a quota has too little of for a Cluster's volumes, in words. Only
/// right while none of them was made.
pub(super) fn shortage(quota: &Value, cluster: &Value) -> Option<String> {
    let field = |place: &str, name: &str| {
        quota
            .pointer(place)
            .and_then(|all| all.get(name))
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    for (name, wanted) in asked(cluster) {
        let Some(hard) = field("/spec/hard", &name) else {
            continue;
        };
        let used = field("/status/used", &name).unwrap_or_else(|| "0".to_owned());
        let (Some(limit), Some(taken)) = (quantity::bytes(&hard), quantity::bytes(&used)) else {
            continue;
        };
        if taken.saturating_add(wanted) > limit {
            let sizes = ["/spec/storage/size", "/spec/walStorage/size"]
                .into_iter()
                .map(|place| text(cluster, place))
                .filter(|size| !size.is_empty())
                .collect::<Vec<_>>()
                .join(" and ");
            return Some(format!(
                "exceeded quota: {}, the volumes ask for {sizes}; {name} is limited to {hard}, used: {used}",
                text(quota, "/metadata/name"),
            ));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_quota_without_room_is_named_and_one_with_room_is_not() {
        let cluster = json!({"spec": {
            "storage": {"size": "1Gi", "storageClass": "fast"},
            "walStorage": {"size": "512Mi"},
        }});
        let quota = |hard: Value, used: Value| json!({"metadata": {"name": "q"}, "spec": {"hard": hard}, "status": {"used": used}});
        let fits = quota(
            json!({"requests.storage": "1536Mi", "pods": "1"}),
            json!({"requests.storage": "0"}),
        );
        assert_eq!(shortage(&fits, &cluster), None);
        for (hard, used) in [
            (json!({"requests.storage": "1500Mi"}), json!({})),
            (
                json!({"requests.storage": "2Gi"}),
                json!({"requests.storage": "600Mi"}),
            ),
            (json!({"persistentvolumeclaims": "1"}), json!({})),
            (
                json!({"fast.storageclass.storage.k8s.io/requests.storage": "1Mi"}),
                json!({}),
            ),
        ] {
            let words = shortage(&quota(hard.clone(), used), &cluster);
            assert!(
                words
                    .as_deref()
                    .is_some_and(|words| words.contains("exceeded quota: q")),
                "{hard}"
            );
        }
    }
}
