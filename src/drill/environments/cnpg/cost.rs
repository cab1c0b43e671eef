//! What a drill reserved, as the objects say that really ran.

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::Api;
use kube::api::ListParams;

use super::report::Cost;
use crate::kubernetes::{Kube, quantity};

/// What the pods and volumes of a namespace reserve. What cannot be read counts as nothing:
/// a drill's verdict does not depend on it.
pub(super) async fn reserved(kube: &Kube, namespace: &str) -> Cost {
    let params = ListParams::default();
    let pods: Api<Pod> = Api::namespaced(kube.client(), namespace);
    let pods = kube
        .call(format!("list pods in {namespace}"), pods.list(&params))
        .await
        .map(|list| list.items);
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(kube.client(), namespace);
    let claims = kube
        .call(
            format!("list persistentvolumeclaims in {namespace}"),
            claims.list(&params),
        )
        .await
        .map(|list| list.items);
    let mut cost = Cost::default();
    for pod in pods.unwrap_or_default() {
        for (name, quantity) in requests_of(&pod) {
            match name.as_str() {
                "cpu" => {
                    let millis = quantity::millis(&quantity).unwrap_or(0);
                    cost.cpu_millis = cost.cpu_millis.saturating_add(millis);
                }
                "memory" => {
                    let bytes = quantity::bytes(&quantity).unwrap_or(0);
                    cost.memory_bytes = cost.memory_bytes.saturating_add(bytes);
                }
                _ => {}
            }
        }
    }
    for claim in claims.unwrap_or_default() {
        let size = claim
            .spec
            .and_then(|spec| spec.resources)
            .and_then(|resources| resources.requests)
            .and_then(|requests| requests.get("storage").map(|size| size.0.clone()));
        let bytes = size.as_deref().and_then(quantity::bytes).unwrap_or(0);
        cost.volume_bytes = cost.volume_bytes.saturating_add(bytes);
    }
    cost
}

/// The image that the restored server runs, by its digest where the node tells it.
pub(super) async fn image_of(kube: &Kube, namespace: &str, pod: &str) -> Option<String> {
    let pods: Api<Pod> = Api::namespaced(kube.client(), namespace);
    let found = kube.call(format!("get pod {namespace}/{pod}"), pods.get(pod));
    let statuses = found.await.ok()?.status?.container_statuses?;
    let postgres = statuses
        .into_iter()
        .find(|container| container.name == "postgres")?;
    // `docker-pullable://` and the like say how, not what.
    let id = postgres.image_id;
    let id = id.rsplit_once("://").map_or(id.as_str(), |(_, id)| id);
    Some(if id.contains('@') {
        id.to_owned()
    } else {
        postgres.image
    })
}

/// The requests of a pod's containers that run side by side: the main ones, and init
/// containers that stay (native sidecars).
fn requests_of(pod: &Pod) -> Vec<(String, String)> {
    let Some(spec) = &pod.spec else {
        return Vec::new();
    };
    let staying = spec
        .init_containers
        .iter()
        .flatten()
        .filter(|container| container.restart_policy.as_deref() == Some("Always"));
    spec.containers
        .iter()
        .chain(staying)
        .filter_map(|container| container.resources.as_ref()?.requests.as_ref())
        .flatten()
        .map(|(name, quantity)| (name.clone(), quantity.0.clone()))
        .collect()
}
