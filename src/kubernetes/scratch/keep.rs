//! Leaving a scratch namespace to a person for a while.

use chrono::{DateTime, SecondsFormat, Utc};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use uuid::Uuid;

use super::create::drill;
use crate::kubernetes::{Kube, KubeError, KubeErrorKind, names};

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
