//! The recovery Cluster, derived from the source so that it cannot drift from it.

use chrono::SecondsFormat;
use serde_json::{Map, Value, json};

use super::{CLUSTER_SOURCE, OBJECT_STORE, meta, snapshot};
use crate::kubernetes::cnpg::PLUGIN;
use crate::kubernetes::names;
use crate::kubernetes::scratch::resources::{self, Resources};
use crate::kubernetes::scratch::settings::{self, Settings};
use crate::kubernetes::scratch::{Form, ManifestError, ScratchPlan, Stop};

/// Turns archiving off in the instance itself (`archive_mode = off`).
pub(crate) const SKIP_ARCHIVING: &str = "cnpg.io/skipWalArchiving";

/// Seconds that a tear-down waits for clients and for the server. The data is thrown away.
const STOP_SECONDS: u32 = 30;
const SMART_SHUTDOWN_SECONDS: u32 = 5;

/// What a toleration holds.
const TOLERATION: &[&str] = &["effect", "key", "operator", "tolerationSeconds", "value"];

/// Parameters and libraries of the recovery Cluster, and those that stay behind.
pub fn settings_of(plan: &ScratchPlan) -> Settings {
    let memory = Resources::of_instance(plan).memory.to_string();
    settings::settings(
        &plan.source.parameters,
        &plan.overrides.parameters,
        &plan.source.preload,
        &plan.overrides.preload,
        Some(&memory),
    )
}

/// The Cluster.
pub(super) fn manifest(plan: &ScratchPlan) -> Result<Value, ManifestError> {
    let mut metadata = meta::in_namespace(plan, names::SCRATCH_CLUSTER);
    if let Some(metadata) = metadata.as_object_mut() {
        metadata.insert(
            "annotations".to_owned(),
            json!({ SKIP_ARCHIVING: "enabled" }),
        );
    }
    let mut spec = Map::new();
    let mut put = |name: &str, value: Value| {
        spec.insert(name.to_owned(), value);
    };
    put("instances", json!(1));
    let (key, image) = image(plan)?;
    put(key, image);
    if !plan.pull_secrets.is_empty() {
        let secrets = plan.pull_secrets.keys().map(|name| json!({ "name": name }));
        put("imagePullSecrets", secrets.collect());
    }
    put("enableSuperuserAccess", json!(true));
    put("enablePDB", json!(false));
    put(
        "inheritedMetadata",
        json!({ "labels": meta::inherited(plan) }),
    );
    put("stopDelay", json!(STOP_SECONDS));
    put("smartShutdownTimeout", json!(SMART_SHUTDOWN_SECONDS));
    put("monitoring", json!({ "disableDefaultQueries": true }));
    put("resources", Resources::of_instance(plan).to_value());
    put("affinity", affinity(plan));
    if !plan.overrides.service_account_annotations.is_empty() {
        let annotations = &plan.overrides.service_account_annotations;
        put(
            "serviceAccountTemplate",
            json!({ "metadata": { "annotations": annotations } }),
        );
    }
    for name in ["postgresUID", "postgresGID"] {
        let id = plan.source.manifest.pointer(&format!("/spec/{name}"));
        if let Some(id) = id.filter(|id| id.as_u64().is_some_and(|id| id > 0)) {
            put(name, id.clone());
        }
    }
    put("postgresql", postgresql(plan));
    put(
        "storage",
        volume(
            plan,
            &resources::data_size(plan),
            plan.source.storage.class.as_deref(),
        ),
    );
    if let Some(size) = resources::wal_size(plan) {
        let source = plan.source.wal_storage.as_ref();
        let class = source.map_or(plan.source.storage.class.as_deref(), |storage| {
            storage.class.as_deref()
        });
        put("walStorage", volume(plan, &size, class));
    }
    if !plan.source.tablespaces.is_empty() {
        put("tablespaces", tablespaces(plan));
    }
    put("bootstrap", json!({ "recovery": recovery(plan)? }));
    put("externalClusters", json!([origin(plan)?]));
    Ok(json!({
        "apiVersion": "postgresql.cnpg.io/v1",
        "kind": "Cluster",
        "metadata": metadata,
        "spec": spec,
    }))
}

/// The image: what the drill says, else what the source runs, else its catalog.
fn image(plan: &ScratchPlan) -> Result<(&'static str, Value), ManifestError> {
    let source = &plan.source;
    if let Some(image) = plan.overrides.image.as_ref().or(source.image.as_ref()) {
        return Ok(("imageName", json!(image)));
    }
    let missing = |hint| ManifestError::Missing {
        what: "image",
        hint,
    };
    match &source.catalog {
        // The other kind lies in the source's namespace, where nobody here can see it.
        Some(catalog) if catalog.kind == "ClusterImageCatalog" => {
            let major = catalog
                .major
                .or(source.major)
                .ok_or_else(|| missing("the catalog's major version is not said; give an image"))?;
            let reference = json!({
                "apiGroup": catalog.api_group,
                "kind": catalog.kind,
                "name": catalog.name,
                "major": major,
            });
            Ok(("imageCatalogRef", reference))
        }
        Some(_) => Err(missing(
            "the source takes it from an ImageCatalog of its own namespace and its status does \
             not say which it runs; give an image",
        )),
        None => Err(missing(
            "neither the source's status nor its definition says it; give an image",
        )),
    }
}

fn affinity(plan: &ScratchPlan) -> Value {
    let mut affinity = Map::new();
    affinity.insert("enablePodAntiAffinity".to_owned(), json!(false));
    let own = &plan.overrides.node_selector;
    let selector = if own.is_empty() {
        &plan.source.node_selector
    } else {
        own
    };
    if !selector.is_empty() {
        affinity.insert("nodeSelector".to_owned(), json!(selector));
    }
    let own = &plan.overrides.tolerations;
    let tolerations = if own.is_empty() {
        &plan.source.tolerations
    } else {
        own
    };
    let tolerations: Vec<Value> = tolerations
        .iter()
        .map(|one| Value::Object(members(one, TOLERATION)))
        .filter(|one| one.as_object().is_some_and(|one| !one.is_empty()))
        .collect();
    if !tolerations.is_empty() {
        affinity.insert("tolerations".to_owned(), Value::Array(tolerations));
    }
    Value::Object(affinity)
}

fn postgresql(plan: &ScratchPlan) -> Value {
    let settings = settings_of(plan);
    let mut postgresql = Map::new();
    postgresql.insert("parameters".to_owned(), json!(settings.parameters));
    if !settings.preload.is_empty() {
        postgresql.insert(
            "shared_preload_libraries".to_owned(),
            json!(settings.preload),
        );
    }
    // Images of extensions: without them their libraries are not there.
    let extensions = plan.source.manifest.pointer("/spec/postgresql/extensions");
    let extensions: Vec<Value> = extensions
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(extension)
        .collect();
    if !extensions.is_empty() {
        postgresql.insert("extensions".to_owned(), Value::Array(extensions));
    }
    Value::Object(postgresql)
}

/// The image of an extension (`ExtensionConfiguration`), as far as it is known.
fn extension(source: &Value) -> Option<Value> {
    let texts = |list: &Value| -> Vec<Value> {
        let list = list.as_array().into_iter().flatten();
        list.filter(|one| one.is_string()).cloned().collect()
    };
    let mut extension = members(source, &["name"]);
    extension.get("name")?;
    if let Some(image) = source.get("image") {
        let image = members(image, &["reference", "pullPolicy"]);
        extension.insert("image".to_owned(), Value::Object(image));
    }
    for name in [
        "dynamic_library_path",
        "extension_control_path",
        "ld_library_path",
    ] {
        if let Some(paths) = source.get(name) {
            extension.insert(name.to_owned(), Value::Array(texts(paths)));
        }
    }
    Some(Value::Object(extension))
}

/// The members of an object that are known, where they are texts or numbers.
fn members(source: &Value, known: &[&str]) -> Map<String, Value> {
    let members = source.as_object().into_iter().flatten();
    members
        .filter(|(name, value)| {
            known.contains(&name.as_str()) && (value.is_string() || value.is_number())
        })
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn volume(plan: &ScratchPlan, size: &str, class: Option<&str>) -> Value {
    let mut volume = Map::new();
    volume.insert("size".to_owned(), json!(size));
    if let Some(class) = plan.overrides.storage_class.as_deref().or(class) {
        volume.insert("storageClass".to_owned(), json!(class));
    }
    Value::Object(volume)
}

/// Exactly the source's: a recovery with fewer or more of them fails.
fn tablespaces(plan: &ScratchPlan) -> Value {
    let of = |tablespace: &crate::kubernetes::cnpg::Tablespace| {
        let size = resources::tablespace_size(plan, &tablespace.name);
        let mut value = json!({
            "name": tablespace.name,
            "storage": volume(plan, &size, tablespace.storage.class.as_deref()),
        });
        if let Some(value) = value.as_object_mut() {
            if let Some(owner) = &tablespace.owner {
                value.insert("owner".to_owned(), json!({ "name": owner }));
            }
            if tablespace.temporary {
                value.insert("temporary".to_owned(), json!(true));
            }
        }
        value
    };
    plan.source.tablespaces.iter().map(of).collect()
}

fn recovery(plan: &ScratchPlan) -> Result<Value, ManifestError> {
    let mut recovery = json!({
        "source": CLUSTER_SOURCE,
        // Without them the operator makes a database and a role of its own.
        "database": plan.source.database,
        "owner": plan.source.owner,
        "recoveryTarget": target(plan)?,
    });
    match (plan.form, &plan.snapshots) {
        (Form::Snapshot, Some(set)) => {
            if let Some(recovery) = recovery.as_object_mut() {
                recovery.insert("volumeSnapshots".to_owned(), snapshot::recovery(set));
            }
        }
        (Form::Snapshot, None) => {
            return Err(ManifestError::Missing {
                what: "set of volume snapshots",
                hint: "the form `snapshot` starts from one",
            });
        }
        (Form::Plugin | Form::InTree, _) => {}
    }
    Ok(recovery)
}

/// The target: always an explicit one.
fn target(plan: &ScratchPlan) -> Result<Value, ManifestError> {
    let target = &plan.target;
    let mut value = Map::new();
    match (&target.backup_id, plan.form) {
        (None, Form::Plugin | Form::InTree) => {
            return Err(ManifestError::Missing {
                what: "base backup",
                hint: "left to itself, the operator takes one by its end time alone",
            });
        }
        (Some(id), Form::Plugin | Form::InTree) => {
            value.insert("backupID".to_owned(), json!(id));
        }
        // The operator refuses one beside snapshots.
        (_, Form::Snapshot) => {}
    }
    match &target.stop {
        Stop::Lsn(lsn) => value.insert("targetLSN".to_owned(), json!(lsn)),
        Stop::Time(time) => {
            // A number for the zone: `Z` was misread by CloudNativePG 1.27.
            let time = time.to_rfc3339_opts(SecondsFormat::Micros, false);
            value.insert("targetTime".to_owned(), json!(time))
        }
        Stop::Immediate => value.insert("targetImmediate".to_owned(), json!(true)),
    };
    if target.timeline == 0 {
        return Err(ManifestError::Missing {
            what: "timeline",
            hint: "they count from 1",
        });
    }
    value.insert("targetTLI".to_owned(), json!(target.timeline.to_string()));
    value.insert("exclusive".to_owned(), json!(target.exclusive));
    Ok(Value::Object(value))
}

/// The source as an external cluster: only ever read.
fn origin(plan: &ScratchPlan) -> Result<Value, ManifestError> {
    if plan.server_name.is_empty() {
        return Err(ManifestError::Missing {
            what: "server name",
            hint: "it is the folder in the object store; the operator's default is another's",
        });
    }
    if uses_plugin(plan) {
        return Ok(json!({
            "name": CLUSTER_SOURCE,
            "plugin": {
                "name": PLUGIN,
                "parameters": {
                    "barmanObjectName": OBJECT_STORE,
                    "serverName": plan.server_name,
                },
            },
        }));
    }
    let mut store = plan.store.configuration.clone();
    if let Some(store) = store.as_object_mut() {
        store.insert("serverName".to_owned(), json!(plan.server_name));
    }
    Ok(json!({ "name": CLUSTER_SOURCE, "barmanObjectStore": store }))
}

/// Whether the plugin fetches what the recovery needs from the object store.
pub(crate) fn uses_plugin(plan: &ScratchPlan) -> bool {
    match plan.form {
        Form::Plugin => true,
        Form::InTree => false,
        Form::Snapshot => !plan.store.in_tree_wal,
    }
}
