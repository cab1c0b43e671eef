//! Asking the API server to make a drill's parts without making them.
//!
//! A permission may be there and the wish still be refused: by a webhook, a policy, an
//! operator that is not installed or does not answer. `dryRun=All` goes the whole way but
//! for the last step.

use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, PostParams};
use serde::Serialize;
use serde_json::{Value, json};

use super::DrillForm;
use crate::kubernetes::names::{DRILL, MANAGED_BY, WALPROOF};
use crate::kubernetes::scratch::namespace_name;
use crate::kubernetes::{Kube, KubeError, KubeErrorKind};

/// What came of asking for one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trial {
    /// The kind of the object.
    pub kind: &'static str,
    /// The namespace that it was asked for in; none for a namespace itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Whether it would be made.
    pub ok: bool,
    /// The API's or the webhook's words when it would not be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Whether a scratch namespace would fare no better. A quota or a policy of the
    /// namespace that was tried need not hold there.
    pub decisive: bool,
}

impl Trial {
    /// Whether a drill would fail at it.
    pub fn is_refused(&self) -> bool {
        !self.ok && self.decisive
    }
}

/// Asks for a namespace and for what stands in it, with `dryRun=All`. A namespace that is
/// not made has nothing in it, so its parts are asked for in `namespace`, which must exist.
/// Nothing is made or changed. An API that does not answer is an error.
pub async fn try_out(
    kube: &Kube,
    form: DrillForm,
    namespace: &str,
) -> Result<Vec<Trial>, KubeError> {
    let mut trials = Vec::new();
    for part in parts(form) {
        trials.push(attempt(kube, &part, namespace).await?);
    }
    Ok(trials)
}

/// The same for the namespace alone, named and labelled as a drill's: where the rights in it are
/// given by a binding in it, nothing can be tried in any other.
pub async fn try_namespace(kube: &Kube, prefix: &str) -> Result<Vec<Trial>, KubeError> {
    let id = uuid::Uuid::now_v7();
    let mut all = parts(DrillForm::InTree);
    all.truncate(1);
    let mut trials = Vec::new();
    for mut part in all {
        if let Some(metadata) = part
            .manifest
            .get_mut("metadata")
            .and_then(Value::as_object_mut)
        {
            metadata.remove("generateName");
            let name = namespace_name(prefix, "trial", id);
            metadata.insert("name".to_owned(), name.into());
            if let Some(labels) = metadata.get_mut("labels").and_then(Value::as_object_mut) {
                labels.insert(DRILL.to_owned(), id.to_string().into());
            }
        }
        trials.push(attempt(kube, &part, "").await?);
    }
    Ok(trials)
}

struct Part {
    kind: &'static str,
    resource: ApiResource,
    namespaced: bool,
    manifest: Value,
}

async fn attempt(kube: &Kube, part: &Part, namespace: &str) -> Result<Trial, KubeError> {
    let api: Api<DynamicObject> = if part.namespaced {
        Api::namespaced_with(kube.client(), namespace, &part.resource)
    } else {
        Api::all_with(kube.client(), &part.resource)
    };
    let action = format!("try to make a {}", part.kind);
    let object: DynamicObject = serde_json::from_value(part.manifest.clone())
        .map_err(|error| KubeError::new(KubeErrorKind::Other, &action, error.to_string()))?;
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let error = kube.call(action, api.create(&dry, &object)).await.err();
    let decisive = match &error {
        Some(error) => match error.kind {
            KubeErrorKind::Unauthorized | KubeErrorKind::Timeout => return Err(error.clone()),
            KubeErrorKind::Quota | KubeErrorKind::Invalid => !part.namespaced,
            _ => true,
        },
        None => true,
    };
    Ok(Trial {
        kind: part.kind,
        namespace: part.namespaced.then(|| namespace.to_owned()),
        ok: error.is_none(),
        message: error.map(|error| error.message),
        decisive,
    })
}

/// What a drill makes, as small as it can be.
fn parts(form: DrillForm) -> Vec<Part> {
    let mut parts = vec![
        part(
            "Namespace",
            "",
            "v1",
            false,
            json!({ "metadata": { "labels": {
                "pod-security.kubernetes.io/enforce": "restricted",
            } } }),
        ),
        part(
            "ResourceQuota",
            "",
            "v1",
            true,
            json!({ "spec": { "hard": { "requests.cpu": "1" } } }),
        ),
        part(
            "LimitRange",
            "",
            "v1",
            true,
            json!({ "spec": { "limits": [{ "type": "Container", "default": { "cpu": "1" } }] } }),
        ),
        part(
            "NetworkPolicy",
            "networking.k8s.io",
            "v1",
            true,
            json!({ "spec": { "podSelector": {}, "policyTypes": ["Ingress", "Egress"] } }),
        ),
        part(
            "Secret",
            "",
            "v1",
            true,
            json!({ "stringData": { "trial": "" } }),
        ),
    ];
    if form == DrillForm::Plugin {
        let store = json!({ "destinationPath": "s3://trial/" });
        parts.push(part(
            "ObjectStore",
            "barmancloud.cnpg.io",
            "v1",
            true,
            json!({ "spec": { "configuration": store } }),
        ));
    }
    // Without anything to recover from: the operator's webhooks look at it all the same.
    parts.push(part(
        "Cluster",
        "postgresql.cnpg.io",
        "v1",
        true,
        json!({ "spec": { "instances": 1, "storage": { "size": "1Gi" } } }),
    ));
    parts
}

fn part(
    kind: &'static str,
    group: &str,
    version: &str,
    namespaced: bool,
    mut manifest: Value,
) -> Part {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    if let Some(object) = manifest.as_object_mut() {
        object.insert("apiVersion".to_owned(), resource.api_version.clone().into());
        object.insert("kind".to_owned(), kind.into());
        let metadata = object.entry("metadata").or_insert_with(|| json!({}));
        if let Some(metadata) = metadata.as_object_mut() {
            metadata.insert("generateName".to_owned(), "walproof-trial-".into());
            let labels = metadata.entry("labels").or_insert_with(|| json!({}));
            if let Some(labels) = labels.as_object_mut() {
                labels.insert(MANAGED_BY.to_owned(), WALPROOF.into());
            }
        }
    }
    Part {
        kind,
        resource,
        namespaced,
        manifest,
    }
}
