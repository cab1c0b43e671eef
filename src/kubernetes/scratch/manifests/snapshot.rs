//! Second names, in the scratch namespace, for the source's volume snapshots.

use serde_json::{Map, Value, json};

use super::meta;
use crate::kubernetes::scratch::{ScratchPlan, SnapshotSet, SnapshotSource};

/// The name of the data directory's snapshot in the scratch namespace.
const DATA: &str = "drill-data";
/// The WAL volume's.
const WAL: &str = "drill-wal";

/// The role of a volume by CloudNativePG's annotation `cnpg.io/pvcRole`.
const ROLE: &str = "cnpg.io/pvcRole";
/// The only annotations that are taken over: the backup label and the tablespace map of an
/// online backup. The operator gives them to the recovery.
const CARRIED: [&str; 2] = ["cnpg.io/backupLabelFile", "cnpg.io/backupTablespaceMapFile"];

/// The name of a tablespace's snapshot. By number, because names of tablespaces are no
/// names of objects.
pub(super) fn tablespace_name(index: usize) -> String {
    format!("drill-tablespace-{index}")
}

/// The name of a VolumeSnapshotContent: like the namespace, it holds the drill's id.
pub(crate) fn content_name(plan: &ScratchPlan, name: &str) -> String {
    format!("walproof-{}-{name}", plan.id.simple())
}

/// The objects: for each snapshot a content, which stands for the snapshot in the storage,
/// and a VolumeSnapshot bound to it.
pub(super) fn manifests(plan: &ScratchPlan, set: &SnapshotSet) -> Vec<Value> {
    let mut all = both(plan, &set.data, DATA, "PG_DATA");
    if let Some(wal) = &set.wal {
        all.extend(both(plan, wal, WAL, "PG_WAL"));
    }
    for (index, snapshot) in set.tablespaces.values().enumerate() {
        let name = tablespace_name(index);
        all.extend(both(plan, snapshot, &name, "PG_TABLESPACE"));
    }
    all
}

/// `bootstrap.recovery.volumeSnapshots`.
pub(super) fn recovery(set: &SnapshotSet) -> Value {
    let reference = |name: &str| {
        json!({
            "apiGroup": "snapshot.storage.k8s.io",
            "kind": "VolumeSnapshot",
            "name": name,
        })
    };
    let mut recovery = Map::new();
    recovery.insert("storage".to_owned(), reference(DATA));
    if set.wal.is_some() {
        recovery.insert("walStorage".to_owned(), reference(WAL));
    }
    if !set.tablespaces.is_empty() {
        let tablespaces: Map<String, Value> = set
            .tablespaces
            .keys()
            .enumerate()
            .map(|(index, name)| (name.clone(), reference(&tablespace_name(index))))
            .collect();
        recovery.insert("tablespaceStorage".to_owned(), Value::Object(tablespaces));
    }
    Value::Object(recovery)
}

fn both(plan: &ScratchPlan, snapshot: &SnapshotSource, name: &str, role: &str) -> Vec<Value> {
    let content = content_name(plan, name);
    let mut spec = json!({
        // The snapshot itself is the source's: it stays when its second name goes.
        "deletionPolicy": "Retain",
        "driver": snapshot.driver,
        "source": { "snapshotHandle": snapshot.handle },
        "volumeSnapshotRef": { "namespace": plan.namespace, "name": name },
    });
    let mut metadata = meta::in_namespace(plan, name);
    let mut annotations: Map<String, Value> = CARRIED
        .iter()
        .filter_map(|carried| {
            let value = snapshot.annotations.get(*carried)?;
            Some(((*carried).to_owned(), json!(value)))
        })
        .collect();
    annotations.insert(ROLE.to_owned(), json!(role));
    if let Some(spec) = spec.as_object_mut() {
        if let Some(class) = &snapshot.class {
            spec.insert("volumeSnapshotClassName".to_owned(), json!(class));
        }
        if let Some(mode) = &snapshot.volume_mode {
            spec.insert("sourceVolumeMode".to_owned(), json!(mode));
        }
    }
    if let Some(metadata) = metadata.as_object_mut() {
        metadata.insert("annotations".to_owned(), Value::Object(annotations));
    }
    let mut request = json!({ "source": { "volumeSnapshotContentName": content } });
    if let (Some(request), Some(class)) = (request.as_object_mut(), &snapshot.class) {
        request.insert("volumeSnapshotClassName".to_owned(), json!(class));
    }
    vec![
        json!({
            "apiVersion": "snapshot.storage.k8s.io/v1",
            "kind": "VolumeSnapshotContent",
            "metadata": meta::cluster_wide(plan, &content),
            "spec": spec,
        }),
        json!({
            "apiVersion": "snapshot.storage.k8s.io/v1",
            "kind": "VolumeSnapshot",
            "metadata": metadata,
            "spec": request,
        }),
    ]
}
