//! The resources of a Kubernetes cluster, asked of its API with `get` and `list` only.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, ListParams};
use serde::Serialize;
use serde_json::Value;

use super::operator::{OPERATOR_LABEL, PLUGIN_LABEL, Plugin};
use super::{Backup, ObjectStore, Operator, ScheduledBackup, SourceCluster, ViewError};
use super::{VolumeSnapshot, resources};
use crate::kubernetes::{Kube, KubeError, KubeErrorKind};

/// How many objects the API gives at a time.
const PAGE: u32 = 200;

/// What a listing gave. Bounded by what there is; an object is a few kilobytes, as what only
/// the API server itself needs is left out.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed<T> {
    /// What was understood.
    pub items: Vec<T>,
    /// What was not.
    pub unreadable: Vec<ViewError>,
}

/// Every Cluster of a namespace, or of all.
pub async fn clusters(
    kube: &Kube,
    namespace: Option<&str>,
) -> Result<Listed<SourceCluster>, KubeError> {
    list(
        kube,
        namespace,
        &resources::cluster(),
        None,
        SourceCluster::parse,
    )
    .await
}

/// An ObjectStore; `None` when there is none of that name.
pub async fn object_store(
    kube: &Kube,
    namespace: &str,
    name: &str,
) -> Result<Option<ObjectStore>, KubeError> {
    let found = resources::read(kube, &resources::object_store(), namespace, name).await?;
    found
        .map(|manifest| {
            ObjectStore::parse(manifest).map_err(|error| {
                let action = format!("read {}", error.object);
                KubeError::new(KubeErrorKind::Invalid, action, error.problem)
            })
        })
        .transpose()
}

/// The Backups of a namespace, or of all.
pub async fn backups(kube: &Kube, namespace: Option<&str>) -> Result<Listed<Backup>, KubeError> {
    list(kube, namespace, &resources::backup(), None, Backup::parse).await
}

/// The ScheduledBackups of a namespace, or of all.
pub async fn scheduled_backups(
    kube: &Kube,
    namespace: Option<&str>,
) -> Result<Listed<ScheduledBackup>, KubeError> {
    let kind = resources::scheduled_backup();
    list(kube, namespace, &kind, None, ScheduledBackup::parse).await
}

/// The volume snapshots that the operator made, in a namespace or in all.
pub async fn volume_snapshots(
    kube: &Kube,
    namespace: Option<&str>,
) -> Result<Listed<VolumeSnapshot>, KubeError> {
    let kind = resources::volume_snapshot();
    let label = Some("cnpg.io/cluster");
    list(kube, namespace, &kind, label, VolumeSnapshot::parse).await
}

/// The operator with its plugin; `None` when there is none that carries the usual label.
pub async fn operator(kube: &Kube) -> Result<Option<Operator>, KubeError> {
    let deployments: Api<Deployment> = Api::all(kube.client());
    let labelled = ListParams::default().labels(OPERATOR_LABEL);
    let action = "list the operator's deployments";
    let found = kube.call(action, deployments.list(&labelled)).await?;
    // The one that works, when an older one was left behind.
    let Some(mut operator) = found
        .items
        .iter()
        .filter_map(|deployment| Operator::of_deployment(&value(deployment)))
        .max_by_key(|operator| operator.ready)
    else {
        return Ok(None);
    };
    operator.plugin = plugin(kube, &operator.namespace).await?;
    Ok(Some(operator))
}

/// The plugin beside the operator. Where Services may not be listed it is known by its
/// image.
async fn plugin(kube: &Kube, namespace: &str) -> Result<Option<Plugin>, KubeError> {
    let deployments: Api<Deployment> = Api::namespaced(kube.client(), namespace);
    let action = format!("list deployments in {namespace}");
    let all = kube
        .call(action, deployments.list(&ListParams::default()))
        .await?;
    let all: Vec<Value> = all.items.iter().map(value).collect();
    let services: Api<Service> = Api::namespaced(kube.client(), namespace);
    let labelled = ListParams::default().labels(PLUGIN_LABEL);
    let action = format!("list services in {namespace}");
    match kube.call(action, services.list(&labelled)).await {
        Ok(services) => Ok(services
            .items
            .first()
            .and_then(|service| Plugin::of_service(&value(service), &all))),
        Err(error) if error.kind == KubeErrorKind::Forbidden => {
            Ok(all.iter().find_map(Plugin::of_deployment))
        }
        Err(error) => Err(error),
    }
}

/// A class of volumes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeClass {
    /// Its name.
    pub name: String,
    /// Whether volumes that name no class are of it.
    pub is_default: bool,
    /// Who makes its volumes.
    pub provisioner: String,
}

/// The storage classes.
pub async fn storage_classes(kube: &Kube) -> Result<Vec<VolumeClass>, KubeError> {
    let classes: Api<StorageClass> = Api::all(kube.client());
    let action = "list storage classes";
    let found = kube
        .call(action, classes.list(&ListParams::default()))
        .await?;
    Ok(found
        .items
        .into_iter()
        .map(|class| {
            let annotations: BTreeMap<String, String> =
                class.metadata.annotations.unwrap_or_default();
            let marked = annotations.get("storageclass.kubernetes.io/is-default-class");
            VolumeClass {
                name: class.metadata.name.unwrap_or_default(),
                is_default: marked.is_some_and(|value| value == "true"),
                provisioner: class.provisioner,
            }
        })
        .collect())
}

fn value(object: &impl Serialize) -> Value {
    // Types of the API can always be written.
    serde_json::to_value(object).unwrap_or_default()
}

/// Lists page by page and reads each object as it comes.
async fn list<T>(
    kube: &Kube,
    namespace: Option<&str>,
    resource: &ApiResource,
    labels: Option<&str>,
    parse: fn(Value) -> Result<T, ViewError>,
) -> Result<Listed<T>, KubeError> {
    let api: Api<DynamicObject> = match namespace {
        Some(namespace) => Api::namespaced_with(kube.client(), namespace, resource),
        None => Api::all_with(kube.client(), resource),
    };
    let place = namespace.map_or_else(
        || "in all namespaces".to_owned(),
        |namespace| format!("in namespace {namespace}"),
    );
    let action = format!("list {}.{} {place}", resource.plural, resource.group);
    let mut parameters = ListParams::default().limit(PAGE);
    if let Some(labels) = labels {
        parameters = parameters.labels(labels);
    }
    let mut listed = Listed {
        items: Vec::new(),
        unreadable: Vec::new(),
    };
    loop {
        let page = kube.call(action.clone(), api.list(&parameters)).await?;
        for mut object in page.items {
            object.metadata.managed_fields = None;
            let mut manifest = value(&object);
            // A list's items come without kind and version.
            if let Some(members) = manifest.as_object_mut() {
                let kind = |text: &str| Value::String(text.to_owned());
                members.insert("apiVersion".to_owned(), kind(&resource.api_version));
                members.insert("kind".to_owned(), kind(&resource.kind));
            }
            match parse(manifest) {
                Ok(item) => listed.items.push(item),
                Err(error) => listed.unreadable.push(error),
            }
        }
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => parameters.continue_token = Some(token),
            None => return Ok(listed),
        }
    }
}
