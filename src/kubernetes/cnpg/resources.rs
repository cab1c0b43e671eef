//! The kinds of CloudNativePG and of volume snapshots, as the API names them.

use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use serde_json::Value;

use crate::kubernetes::{Kube, KubeError, KubeErrorKind};

fn resource(group: &str, version: &str, kind: &str, plural: &str) -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
}

/// `Cluster`.
pub fn cluster() -> ApiResource {
    resource("postgresql.cnpg.io", "v1", "Cluster", "clusters")
}

/// `Backup`.
pub fn backup() -> ApiResource {
    resource("postgresql.cnpg.io", "v1", "Backup", "backups")
}

/// `ScheduledBackup`.
pub fn scheduled_backup() -> ApiResource {
    resource(
        "postgresql.cnpg.io",
        "v1",
        "ScheduledBackup",
        "scheduledbackups",
    )
}

/// The Barman Cloud plugin's `ObjectStore`.
pub fn object_store() -> ApiResource {
    resource("barmancloud.cnpg.io", "v1", "ObjectStore", "objectstores")
}

/// `Pooler`.
pub fn pooler() -> ApiResource {
    resource("postgresql.cnpg.io", "v1", "Pooler", "poolers")
}

/// `Database`.
pub fn database() -> ApiResource {
    resource("postgresql.cnpg.io", "v1", "Database", "databases")
}

/// `Publication`.
pub fn publication() -> ApiResource {
    resource("postgresql.cnpg.io", "v1", "Publication", "publications")
}

/// `Subscription`.
pub fn subscription() -> ApiResource {
    resource("postgresql.cnpg.io", "v1", "Subscription", "subscriptions")
}

/// `ImageCatalog`.
pub fn image_catalog() -> ApiResource {
    resource("postgresql.cnpg.io", "v1", "ImageCatalog", "imagecatalogs")
}

/// `ClusterImageCatalog`, which belongs to no namespace.
pub fn cluster_image_catalog() -> ApiResource {
    resource(
        "postgresql.cnpg.io",
        "v1",
        "ClusterImageCatalog",
        "clusterimagecatalogs",
    )
}

/// `VolumeSnapshot`.
pub fn volume_snapshot() -> ApiResource {
    resource(
        "snapshot.storage.k8s.io",
        "v1",
        "VolumeSnapshot",
        "volumesnapshots",
    )
}

/// `VolumeSnapshotContent`, which belongs to no namespace.
pub fn volume_snapshot_content() -> ApiResource {
    resource(
        "snapshot.storage.k8s.io",
        "v1",
        "VolumeSnapshotContent",
        "volumesnapshotcontents",
    )
}

/// Reads one object as the API has it; `None` when there is none of that name.
pub async fn read(
    kube: &Kube,
    resource: &ApiResource,
    namespace: &str,
    name: &str,
) -> Result<Option<Value>, KubeError> {
    let api: Api<DynamicObject> = Api::namespaced_with(kube.client(), namespace, resource);
    let kind = resource.kind.to_lowercase();
    let action = format!("read {kind} {namespace}/{name}");
    let found = kube.call(action.as_str(), api.get_opt(name)).await?;
    found
        .map(|object| {
            serde_json::to_value(object)
                .map_err(|error| KubeError::new(KubeErrorKind::Other, &action, error.to_string()))
        })
        .transpose()
}
