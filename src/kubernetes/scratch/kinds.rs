//! The kinds of objects that a scratch namespace is made of, as the API names them.

use kube::api::{Api, ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use serde_json::Value;

use crate::kubernetes::Kube;

/// One kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_field_names, reason = "the API calls it so")]
pub(crate) struct Kind {
    group: &'static str,
    version: &'static str,
    pub(crate) kind: &'static str,
    plural: &'static str,
    namespaced: bool,
}

const fn kind(
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
    namespaced: bool,
) -> Kind {
    Kind {
        group,
        version,
        kind,
        plural,
        namespaced,
    }
}

const CNPG: &str = "postgresql.cnpg.io";
const SNAPSHOT: &str = "snapshot.storage.k8s.io";

pub(crate) const NAMESPACE: Kind = kind("", "v1", "Namespace", "namespaces", false);
pub(crate) const CLAIM: Kind = kind(
    "",
    "v1",
    "PersistentVolumeClaim",
    "persistentvolumeclaims",
    true,
);
pub(crate) const POD: Kind = kind("", "v1", "Pod", "pods", true);
pub(crate) const SERVICE: Kind = kind("", "v1", "Service", "services", true);
pub(crate) const CLUSTER: Kind = kind(CNPG, "v1", "Cluster", "clusters", true);
pub(crate) const VOLUME_SNAPSHOT: Kind =
    kind(SNAPSHOT, "v1", "VolumeSnapshot", "volumesnapshots", true);
pub(crate) const CONTENT: Kind = kind(
    SNAPSHOT,
    "v1",
    "VolumeSnapshotContent",
    "volumesnapshotcontents",
    false,
);

/// All kinds that are made.
const MADE: &[Kind] = &[
    NAMESPACE,
    kind(
        "networking.k8s.io",
        "v1",
        "NetworkPolicy",
        "networkpolicies",
        true,
    ),
    ROLE_BINDING,
    kind("", "v1", "ResourceQuota", "resourcequotas", true),
    kind("", "v1", "LimitRange", "limitranges", true),
    SECRET,
    OBJECT_STORE,
    CONTENT,
    VOLUME_SNAPSHOT,
    CLUSTER,
];
pub(crate) const ROLE_BINDING: Kind = kind(
    "rbac.authorization.k8s.io",
    "v1",
    "RoleBinding",
    "rolebindings",
    true,
);
const SECRET: Kind = kind("", "v1", "Secret", "secrets", true);
const OBJECT_STORE: Kind = kind(
    "barmancloud.cnpg.io",
    "v1",
    "ObjectStore",
    "objectstores",
    true,
);

/// Kinds whose finalizers can hold a scratch namespace, in the order in which they are
/// looked through.
pub(crate) const HOLDING: &[Kind] = &[
    CLUSTER,
    kind("batch", "v1", "Job", "jobs", true),
    POD,
    CLAIM,
    VOLUME_SNAPSHOT,
    OBJECT_STORE,
    SERVICE,
    SECRET,
    kind("", "v1", "ConfigMap", "configmaps", true),
];

impl Kind {
    /// The kind of a manifest, if it is one that is made.
    pub(crate) fn of(manifest: &Value) -> Option<Self> {
        let name = manifest.get("kind")?.as_str()?;
        MADE.iter().find(|known| known.kind == name).copied()
    }

    fn resource(&self) -> ApiResource {
        let kind = GroupVersionKind::gvk(self.group, self.version, self.kind);
        ApiResource::from_gvk_with_plural(&kind, self.plural)
    }

    /// Its objects, in a namespace where it has them in namespaces.
    pub(crate) fn api(&self, kube: &Kube, namespace: &str) -> Api<DynamicObject> {
        if self.namespaced {
            Api::namespaced_with(kube.client(), namespace, &self.resource())
        } else {
            Api::all_with(kube.client(), &self.resource())
        }
    }
}
