//! What a drill will ask of Kubernetes, known before anything is made.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::kubernetes::cnpg::SourceCluster;
use crate::kubernetes::quantity;
use crate::kubernetes::scratch::{self, ScratchPlan};

/// A recovery Cluster in a scratch namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PlannedCnpg {
    /// The namespace that is made.
    pub namespace: String,
    /// The form of recovery: `plugin`, `in-tree` or `snapshot`.
    pub form: String,
    /// The Cluster that it takes after, `namespace/name`.
    pub source: String,
    /// The image.
    pub image: Option<String>,
    /// PostgreSQL's version, as far as the image or the source tell.
    pub version: String,
    /// The data volume's size, as Kubernetes writes it.
    pub storage_size: Option<String>,
    /// The storage class; the cluster's default if not given.
    pub storage_class: Option<String>,
    /// What is made, in this order: `Namespace walproof-drill-…`.
    pub objects: Vec<String>,
    /// Bytes that the restored database is expected to need.
    pub room_needed: u64,
    /// Bytes of all its volumes together; `null` where a size is not known.
    pub volume_bytes: Option<u64>,
}

impl PlannedCnpg {
    /// What `plan` asks for. `manifests` are the objects made of it.
    pub(super) fn of(
        plan: &ScratchPlan,
        manifests: &[Value],
        source: &SourceCluster,
        room_needed: u64,
    ) -> Self {
        let text = |object: &Value, pointer: &str| {
            object
                .pointer(pointer)
                .and_then(Value::as_str)
                .map(str::to_owned)
        };
        let cluster = manifests
            .iter()
            .find(|object| object.get("kind").is_some_and(|kind| kind == "Cluster"));
        let of_cluster = |pointer: &str| cluster.and_then(|cluster| text(cluster, pointer));
        Self {
            namespace: plan.namespace.clone(),
            form: plan.form.as_str().to_owned(),
            source: format!("{}/{}", source.namespace, source.name),
            image: of_cluster("/spec/imageName"),
            version: source
                .major
                .map_or_else(|| "unknown".to_owned(), |major| major.to_string()),
            storage_size: of_cluster("/spec/storage/size"),
            storage_class: of_cluster("/spec/storage/storageClass"),
            objects: manifests
                .iter()
                .map(|object| {
                    let kind = text(object, "/kind").unwrap_or_default();
                    let name = text(object, "/metadata/name").unwrap_or_default();
                    format!("{kind} {name}")
                })
                .collect(),
            room_needed,
            volume_bytes: quantity::bytes(&scratch::resources::asked(plan).storage),
        }
    }
}
