//! Leaving a scratch namespace to a person for a while.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use k8s_openapi::api::core::v1::{Namespace, Pod, ResourceQuota};
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use serde_json::json;
use uuid::Uuid;

use super::create::drill;
use crate::kubernetes::{Kube, KubeError, KubeErrorKind, names};

/// The ResourceQuota that lets no further pod begin.
pub const CLOSED: &str = "walproof-closed";
/// How long a quota may take to be known to whoever admits pods.
const SETTLE: Duration = Duration::from_secs(1);

/// Lets no further pod begin in the namespace: a recovery that has failed is not tried again,
/// and no server comes up that nobody has looked at. Returns whether one may be running
/// already: any pod that is neither a recovery's Job's nor over.
///
/// # Errors
///
/// The API does not take the quota, or does not show the pods.
pub async fn close(kube: &Kube, namespace: &str) -> Result<bool, KubeError> {
    let action = format!("create ResourceQuota {namespace}/{CLOSED}");
    let quotas: Api<ResourceQuota> = Api::namespaced(kube.client(), namespace);
    let quota: ResourceQuota = serde_json::from_value(json!({
        "metadata": {"name": CLOSED, "namespace": namespace},
        "spec": {"hard": {"pods": "0"}},
    }))
    .map_err(|error| KubeError::new(KubeErrorKind::Other, &action, error.to_string()))?;
    let params = PostParams::default();
    match kube.call(action, quotas.create(&params, &quota)).await {
        Err(error) if error.kind != KubeErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    tokio::time::sleep(SETTLE).await;
    let pods: Api<Pod> = Api::namespaced(kube.client(), namespace);
    let action = format!("list Pods in {namespace}");
    let list = kube.call(action, pods.list(&ListParams::default())).await?;
    Ok(list.items.iter().any(may_serve))
}

fn may_serve(pod: &Pod) -> bool {
    let labels = pod.metadata.labels.as_ref();
    let of_job = labels.is_some_and(|labels| labels.contains_key("cnpg.io/jobRole"));
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    !of_job && !matches!(phase, Some("Succeeded" | "Failed"))
}

/// Keeps the namespace until `until`; then a sweep removes it.
///
/// # Errors
///
/// It is not the drill's, or the API does not take the change.
pub async fn keep(
    kube: &Kube,
    namespace: &str,
    id: Uuid,
    until: DateTime<Utc>,
) -> Result<(), KubeError> {
    let action = format!("keep namespace {namespace}");
    let namespaces: Api<Namespace> = Api::all(kube.client());
    let found = kube
        .call(action.as_str(), namespaces.get(namespace))
        .await?;
    if drill(found.metadata.labels.as_ref()) != Some(id.to_string().as_str()) {
        let message = "it is not this drill's";
        return Err(KubeError::new(KubeErrorKind::Conflict, action, message));
    }
    let patch = json!({"metadata": {"annotations": {
        names::KEPT: "true",
        names::EXPIRES_AT: until.to_rfc3339_opts(SecondsFormat::Secs, true),
    }}});
    let params = PatchParams::default();
    let patch = Patch::Merge(&patch);
    kube.call(action, namespaces.patch(namespace, &params, &patch))
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_that_may_serve_is_told_from_a_recovery() {
        let pod = |labels: serde_json::Value, phase: &str| -> Pod {
            serde_json::from_value(json!({
                "metadata": {"labels": labels}, "status": {"phase": phase},
            }))
            .unwrap()
        };
        let job = json!({"cnpg.io/jobRole": "full-recovery", "cnpg.io/cluster": "drill"});
        let instance = json!({"cnpg.io/podRole": "instance", "cnpg.io/cluster": "drill"});
        for (labels, phase, expected) in [
            (&job, "Running", false),
            (&job, "Failed", false),
            (&instance, "Running", true),
            (&instance, "Pending", true),
            (&instance, "Failed", false),
            (&json!({}), "Running", true),
        ] {
            assert_eq!(may_serve(&pod(labels.clone(), phase)), expected, "{labels}");
        }
        assert!(may_serve(&Pod::default()));
    }
}
