//! Finding the volume snapshots of a backup, and what the storage calls them.

use std::collections::BTreeMap;

use kube::api::ListParams;
use serde_json::Value;

use super::kinds;
use super::{SnapshotSet, SnapshotSource};
use crate::kubernetes::cnpg::{Backup, SnapshotRole, VolumeSnapshot};
use crate::kubernetes::{Kube, KubeError, KubeErrorKind};

/// The snapshots that a CloudNativePG `Backup` made, with what is needed to name them again
/// in another namespace.
///
/// # Errors
///
/// They cannot be read, are not ready, or there is none of the data directory.
pub async fn of_backup(kube: &Kube, backup: &Backup) -> Result<SnapshotSet, KubeError> {
    let (namespace, name) = (backup.namespace.as_str(), backup.name.as_str());
    let action = format!("list the VolumeSnapshots of Backup {namespace}/{name}");
    let wrong = |message: String| KubeError::new(KubeErrorKind::Other, action.clone(), message);
    let parameters = ListParams::default().labels(&format!("cnpg.io/backupName={name}"));
    let snapshots = kinds::VOLUME_SNAPSHOT.api(kube, namespace);
    let list = kube
        .call(action.as_str(), snapshots.list(&parameters))
        .await?;
    let (mut data, mut wal, mut tablespaces) = (None, None, BTreeMap::new());
    for object in list.items {
        let value = serde_json::to_value(&object).map_err(|error| wrong(error.to_string()))?;
        let name = object.metadata.name.clone().unwrap_or_default();
        // A Backup that was made again under its name has two sets by this label.
        if !backup.snapshots.iter().any(|one| one.name == name) {
            continue;
        }
        let role =
            role(&value).ok_or_else(|| wrong(format!("{name} does not say what it holds")))?;
        let view = VolumeSnapshot::parse(value).map_err(|error| wrong(error.to_string()))?;
        let source = source(kube, &view).await?;
        match role {
            SnapshotRole::Data => data = Some(source),
            SnapshotRole::Wal => wal = Some(source),
            SnapshotRole::Tablespace(tablespace) => {
                tablespaces.insert(tablespace, source);
            }
            SnapshotRole::Other(_) => {}
        }
    }
    let data = data.ok_or_else(|| wrong("there is none of the data directory".to_owned()))?;
    Ok(SnapshotSet {
        data,
        wal,
        tablespaces,
    })
}

/// What a snapshot holds. CloudNativePG says it in a label or, where the snapshot takes over
/// those of the volume's claim, in an annotation.
fn role(manifest: &Value) -> Option<SnapshotRole> {
    let said = |name: &str| {
        ["labels", "annotations"].into_iter().find_map(|place| {
            let place = manifest.pointer(&format!("/metadata/{place}"))?;
            place.get(name)?.as_str().filter(|text| !text.is_empty())
        })
    };
    Some(match said("cnpg.io/pvcRole")? {
        "PG_DATA" => SnapshotRole::Data,
        "PG_WAL" => SnapshotRole::Wal,
        "PG_TABLESPACE" => SnapshotRole::Tablespace(said("cnpg.io/tablespaceName")?.to_owned()),
        other => SnapshotRole::Other(other.to_owned()),
    })
}

async fn source(kube: &Kube, view: &VolumeSnapshot) -> Result<SnapshotSource, KubeError> {
    let (namespace, name) = (&view.namespace, &view.name);
    let action = format!("read VolumeSnapshot {namespace}/{name}");
    let wrong = |message: &str| KubeError::new(KubeErrorKind::Other, action.clone(), message);
    if !view.ready {
        let why = view
            .error
            .as_deref()
            .unwrap_or("the storage has not finished it");
        return Err(wrong(&format!("it is not ready: {why}")));
    }
    let content = view.content.as_deref();
    let content = content.ok_or_else(|| wrong("it is not bound to a content"))?;
    let contents = kinds::CONTENT.api(kube, "");
    let found = kube
        .call(
            format!("get VolumeSnapshotContent {content}"),
            contents.get(content),
        )
        .await?;
    let text = |pointer: &str| {
        let value = found.data.pointer(pointer)?;
        value.as_str().map(str::to_owned)
    };
    let annotations = view.manifest.pointer("/metadata/annotations");
    let annotations = annotations.and_then(Value::as_object);
    let annotations = annotations
        .into_iter()
        .flatten()
        .filter(|(name, _)| name.starts_with("cnpg.io/"))
        .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
        .collect();
    Ok(SnapshotSource {
        namespace: namespace.clone(),
        name: name.clone(),
        driver: text("/spec/driver").ok_or_else(|| wrong("its content names no driver"))?,
        handle: text("/status/snapshotHandle")
            .ok_or_else(|| wrong("its content has no handle of the storage"))?,
        class: view.class.clone(),
        volume_mode: text("/spec/sourceVolumeMode"),
        restore_size: view.restore_size.clone(),
        annotations,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_snapshot_says_what_it_holds() {
        let of = |labels: Value, annotations: Value| {
            role(&json!({ "metadata": { "labels": labels, "annotations": annotations } }))
        };
        let data = json!({ "cnpg.io/pvcRole": "PG_DATA" });
        assert_eq!(of(data.clone(), json!({})), Some(SnapshotRole::Data));
        assert_eq!(of(json!({}), data), Some(SnapshotRole::Data));
        let tablespace = json!({
            "cnpg.io/pvcRole": "PG_TABLESPACE",
            "cnpg.io/tablespaceName": "archive",
        });
        assert_eq!(
            of(json!({}), tablespace),
            Some(SnapshotRole::Tablespace("archive".to_owned()))
        );
        assert_eq!(of(json!({}), json!({})), None);
    }
}
