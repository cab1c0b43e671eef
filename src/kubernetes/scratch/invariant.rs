//! What must hold of every manifest, whatever the source looked like.
//!
//! The makers of manifests and this check do not share code: a slip in one is caught by the
//! other. The check lists what may be there, so that a field that nobody thought of is
//! refused too.

use serde_json::{Map, Value};

use super::manifests::{SKIP_ARCHIVING, uses_plugin};
use super::{
    CLUSTER_SOURCE, Form, ManifestError, OBJECT_STORE, STORE_SECRET, ScratchPlan, settings, store,
};
use crate::kubernetes::cnpg::PLUGIN;
use crate::kubernetes::names;

/// The ways to say where a recovery ends that walproof uses.
const STOPS: [&str; 3] = ["targetLSN", "targetTime", "targetImmediate"];

/// What a recovery Cluster's `spec` may hold. `backup`, `plugins`, `managed`, `replica`,
/// `certificates`, `env`, `projectedVolumeTemplate`, … are not among it.
const SPEC: &[&str] = &[
    "affinity",
    "bootstrap",
    "enablePDB",
    "enableSuperuserAccess",
    "externalClusters",
    "imageCatalogRef",
    "imageName",
    "imagePullSecrets",
    "inheritedMetadata",
    "instances",
    "monitoring",
    "postgresGID",
    "postgresUID",
    "postgresql",
    "resources",
    "serviceAccountTemplate",
    "smartShutdownTimeout",
    "stopDelay",
    "storage",
    "tablespaces",
    "walStorage",
];

/// What the way to an object store may hold.
const STORE: &[&str] = &[
    "azureCredentials",
    "data",
    "destinationPath",
    "endpointCA",
    "endpointURL",
    "googleCredentials",
    "s3Credentials",
    "serverName",
    "wal",
];

/// Keys that mean archiving, backing up, or a connection to another server, wherever they
/// stand.
const NOWHERE: &[&str] = &[
    "archiveAdditionalCommandArgs",
    "connectionParameters",
    "cnpg.io/skipEmptyWalArchiveCheck",
    "isWALArchiver",
    "pg_basebackup",
    "retentionPolicy",
];

type Check = Result<(), String>;

/// Checks manifests against the rules that no plan and no source turns off: nothing is
/// archived, nothing of the source runs, the recovery has an explicit end, the namespace is
/// closed, and everything carries the drill's name.
///
/// # Errors
///
/// The first rule that is broken.
pub fn check(plan: &ScratchPlan, manifests: &[Value]) -> Result<(), ManifestError> {
    for manifest in manifests {
        one(plan, manifest).map_err(|rule| refusal(manifest, rule))?;
    }
    together(plan, manifests).map_err(|rule| ManifestError::Unsafe {
        object: format!("namespace {}", plan.namespace),
        rule,
    })
}

fn refusal(manifest: &Value, rule: String) -> ManifestError {
    let text = |pointer: &str| manifest.pointer(pointer).and_then(Value::as_str);
    ManifestError::Unsafe {
        object: format!(
            "{} {}",
            text("/kind").unwrap_or("object"),
            text("/metadata/name").unwrap_or("without a name")
        ),
        rule,
    }
}

fn one(plan: &ScratchPlan, manifest: &Value) -> Check {
    let kind = manifest
        .get("kind")
        .and_then(Value::as_str)
        .unwrap_or_default();
    named(plan, kind, manifest)?;
    if let Some(key) = first_key(manifest, NOWHERE) {
        return Err(format!("{key} must not be anywhere"));
    }
    match kind {
        "Namespace" => equal(
            manifest,
            "/metadata/labels/pod-security.kubernetes.io~1enforce",
            "restricted",
        ),
        "Cluster" => cluster(plan, manifest),
        "ObjectStore" => {
            only(
                manifest.get("spec"),
                &["configuration", "instanceSidecarConfiguration"],
            )?;
            only(
                manifest.pointer("/spec/instanceSidecarConfiguration"),
                &["resources"],
            )?;
            none_of(manifest.pointer("/spec/configuration"), "serverName")?;
            way(manifest.pointer("/spec/configuration"))
        }
        "VolumeSnapshotContent" => {
            equal(manifest, "/spec/deletionPolicy", "Retain")?;
            equal(
                manifest,
                "/spec/volumeSnapshotRef/namespace",
                &plan.namespace,
            )
        }
        "NetworkPolicy" => policy(manifest),
        "Secret" => {
            let name = manifest.pointer("/metadata/name").and_then(Value::as_str);
            let known = |name: &str| name == STORE_SECRET || plan.pull_secrets.contains_key(name);
            demand(name.is_some_and(known), "is a Secret that nothing needs")
        }
        "RoleBinding" => binding(plan, manifest),
        "ResourceQuota" | "LimitRange" | "VolumeSnapshot" => Ok(()),
        _ => Err("is of a kind that a recovery does not need".to_owned()),
    }
}

/// One ClusterRole, the one that was asked for, for one subject: walproof itself.
fn binding(plan: &ScratchPlan, manifest: &Value) -> Check {
    let Some(grant) = &plan.grant else {
        return Err("binds a role that nothing asked for".to_owned());
    };
    only(
        Some(manifest),
        &["apiVersion", "kind", "metadata", "roleRef", "subjects"],
    )?;
    equal(manifest, "/roleRef/kind", "ClusterRole")?;
    equal(manifest, "/roleRef/name", &grant.role)?;
    let subjects = manifest.get("subjects").and_then(Value::as_array);
    let Some([subject]) = subjects.map(Vec::as_slice) else {
        return Err("must have one subject".to_owned());
    };
    let text = |key: &str| subject.get(key).and_then(Value::as_str).unwrap_or_default();
    let name = match text("kind") {
        "ServiceAccount" => format!(
            "system:serviceaccount:{}:{}",
            text("namespace"),
            text("name")
        ),
        _ => text("name").to_owned(),
    };
    demand(
        name == grant.identity.username,
        "must be for walproof itself and nobody else",
    )
}

/// In the namespace, and with the drill's labels.
fn named(plan: &ScratchPlan, kind: &str, manifest: &Value) -> Check {
    match kind {
        "Namespace" => equal(manifest, "/metadata/name", &plan.namespace)?,
        "VolumeSnapshotContent" => {}
        _ => equal(manifest, "/metadata/namespace", &plan.namespace)?,
    }
    equal(
        manifest,
        "/metadata/labels/app.kubernetes.io~1managed-by",
        names::WALPROOF,
    )?;
    equal(
        manifest,
        "/metadata/labels/walproof.dev~1drill",
        &plan.id.to_string(),
    )
}

fn cluster(plan: &ScratchPlan, manifest: &Value) -> Check {
    equal(manifest, "/metadata/name", names::SCRATCH_CLUSTER)?;
    only(manifest.pointer("/metadata/annotations"), &[SKIP_ARCHIVING])?;
    equal(
        manifest,
        "/metadata/annotations/cnpg.io~1skipWalArchiving",
        "enabled",
    )?;
    let spec = manifest.get("spec");
    only(spec, SPEC)?;
    let at = |pointer: &str| spec.and_then(|spec| spec.pointer(pointer));
    demand(
        at("/instances").and_then(Value::as_u64) == Some(1),
        "spec.instances must be 1",
    )?;
    demand(
        at("/enableSuperuserAccess") == Some(&Value::Bool(true)),
        "spec.enableSuperuserAccess must be true, or the checks cannot ask",
    )?;
    only(at("/monitoring"), &["disableDefaultQueries"])?;
    only(
        at("/affinity"),
        &["enablePodAntiAffinity", "nodeSelector", "tolerations"],
    )?;
    only(at("/serviceAccountTemplate"), &["metadata"])?;
    only(at("/serviceAccountTemplate/metadata"), &["annotations"])?;
    postgresql(plan, at("/postgresql"))?;
    only(at("/bootstrap"), &["recovery"])?;
    recovery(plan, at("/bootstrap/recovery"))?;
    let origins = at("/externalClusters").and_then(Value::as_array);
    match origins.map(Vec::as_slice) {
        Some([one]) => origin(plan, one),
        _ => Err("spec.externalClusters must hold the source and nothing else".to_owned()),
    }
}

fn postgresql(plan: &ScratchPlan, section: Option<&Value>) -> Check {
    only(
        section,
        &["parameters", "shared_preload_libraries", "extensions"],
    )?;
    let parameters = object(section.and_then(|section| section.get("parameters")));
    for (name, value) in parameters.into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        if !settings::may_set(name, value) {
            return Err(format!("the parameter {name} must stay behind"));
        }
    }
    for (name, value) in settings::QUIET {
        let set = parameters
            .and_then(|all| all.get(*name))
            .and_then(Value::as_str);
        if set != Some(value) {
            return Err(format!("the parameter {name} must be {value}"));
        }
    }
    let libraries = section.and_then(|section| section.get("shared_preload_libraries"));
    for library in libraries.and_then(Value::as_array).into_iter().flatten() {
        let library = library.as_str().unwrap_or_default();
        if !settings::may_load(library, &plan.overrides.preload) {
            return Err(format!("the library {library} must stay behind"));
        }
    }
    Ok(())
}

fn recovery(plan: &ScratchPlan, section: Option<&Value>) -> Check {
    only(
        section,
        &[
            "source",
            "database",
            "owner",
            "recoveryTarget",
            "volumeSnapshots",
        ],
    )?;
    let target = section.and_then(|section| section.get("recoveryTarget"));
    only(
        target,
        &[
            "backupID",
            "exclusive",
            "targetTLI",
            "targetLSN",
            "targetTime",
            "targetImmediate",
        ],
    )?;
    let keys = object(target);
    let has = |name: &str| keys.is_some_and(|keys| keys.get(name).is_some_and(|v| !v.is_null()));
    demand(
        STOPS.into_iter().filter(|name| has(name)).count() == 1,
        "the recovery must have exactly one explicit target",
    )?;
    demand(has("targetTLI"), "the recovery must name its timeline")?;
    let snapshots = section.and_then(|section| section.get("volumeSnapshots"));
    demand(
        has("backupID") != snapshots.is_some(),
        "the recovery must name its base backup, or the snapshots that it starts from",
    )?;
    demand(
        snapshots.is_some() == (plan.form == Form::Snapshot),
        "the recovery must be of the form that was asked for",
    )?;
    let source = section
        .and_then(|section| section.get("source"))
        .and_then(Value::as_str);
    demand(
        source == Some(CLUSTER_SOURCE),
        "the recovery must read the source",
    )
}

fn origin(plan: &ScratchPlan, origin: &Value) -> Check {
    only(Some(origin), &["name", "plugin", "barmanObjectStore"])?;
    equal(origin, "/name", CLUSTER_SOURCE)?;
    demand(!plan.server_name.is_empty(), "serverName must be set")?;
    if uses_plugin(plan) {
        none_of(Some(origin), "barmanObjectStore")?;
        only(origin.get("plugin"), &["name", "parameters"])?;
        only(
            origin.pointer("/plugin/parameters"),
            &["barmanObjectName", "serverName"],
        )?;
        equal(origin, "/plugin/name", PLUGIN)?;
        equal(origin, "/plugin/parameters/barmanObjectName", OBJECT_STORE)?;
        return equal(origin, "/plugin/parameters/serverName", &plan.server_name);
    }
    none_of(Some(origin), "plugin")?;
    equal(origin, "/barmanObjectStore/serverName", &plan.server_name)?;
    way(origin.get("barmanObjectStore"))
}

/// A way to an object store that can only be read along.
fn way(store: Option<&Value>) -> Check {
    let Some(store) = store else {
        return Err("the object store's configuration is missing".to_owned());
    };
    only(Some(store), STORE)?;
    let destination = store.get("destinationPath").and_then(Value::as_str);
    demand(
        destination.is_some_and(|path| !path.is_empty()),
        "destinationPath must be set",
    )?;
    only(
        store.get("wal"),
        &["maxParallel", "restoreAdditionalCommandArgs"],
    )?;
    only(store.get("data"), &["restoreAdditionalCommandArgs"])?;
    demand(
        store.pointer("/wal/maxParallel").and_then(Value::as_u64) == Some(1),
        "wal.maxParallel must be 1",
    )?;
    let arguments = |pointer: &str| {
        let list = store.pointer(pointer).and_then(Value::as_array);
        list.into_iter()
            .flatten()
            .map(|one| one.as_str().unwrap_or_default())
    };
    demand(
        arguments("/wal/restoreAdditionalCommandArgs").any(|one| one == "--no-partial"),
        "wal.restoreAdditionalCommandArgs must hold --no-partial",
    )?;
    let strange = arguments("/wal/restoreAdditionalCommandArgs")
        .filter(|one| *one != "--no-partial")
        .chain(arguments("/data/restoreAdditionalCommandArgs"))
        .find(|one| !store::may_pass(one));
    if let Some(strange) = strange {
        return Err(format!("the argument {strange} must stay behind"));
    }
    for section in [
        "s3Credentials",
        "azureCredentials",
        "googleCredentials",
        "endpointCA",
    ] {
        let references = all_values(store.get(section), "name");
        for name in references {
            demand(
                name.as_str() == Some(STORE_SECRET),
                "credentials must come from the drill's own Secret",
            )?;
        }
    }
    Ok(())
}

fn policy(manifest: &Value) -> Check {
    let selector = manifest.pointer("/spec/podSelector");
    demand(
        object(selector).is_some_and(Map::is_empty),
        "must select every pod",
    )?;
    for (direction, side) in [("ingress", "from"), ("egress", "to")] {
        let rules = manifest.pointer(&format!("/spec/{direction}"));
        for rule in rules.and_then(Value::as_array).into_iter().flatten() {
            let filled = |name: &str| {
                let list = rule.get(name).and_then(Value::as_array);
                list.is_some_and(|list| !list.is_empty())
            };
            demand(
                filled(side) && filled("ports"),
                "has a rule without sides or ports, which allows all",
            )?;
            demand(
                !all_values(Some(rule), "cidr")
                    .iter()
                    .any(|block| block.as_str().is_none_or(is_too_wide)),
                "opens the way to a large part of all addresses",
            )?;
        }
    }
    Ok(())
}

/// Whether an address block is wider than any store's own, or none at all. Two halves of all
/// addresses are all of them.
pub(crate) fn is_too_wide(block: &str) -> bool {
    let narrowest = if block.contains(':') { 16 } else { 8 };
    let length = block
        .rsplit_once('/')
        .and_then(|(_, length)| length.parse::<u8>().ok());
    length.is_none_or(|length| length < narrowest)
}

/// What holds of all of them together.
fn together(plan: &ScratchPlan, manifests: &[Value]) -> Check {
    let of = |kind: &str| {
        let of_kind =
            |manifest: &&Value| manifest.get("kind").and_then(Value::as_str) == Some(kind);
        manifests.iter().filter(of_kind).collect::<Vec<_>>()
    };
    for (kind, wanted) in [
        ("Namespace", 1),
        ("Cluster", 1),
        ("RoleBinding", usize::from(plan.grant.is_some())),
        ("ResourceQuota", 1),
        ("LimitRange", 1),
        ("ObjectStore", usize::from(uses_plugin(plan))),
    ] {
        let found = of(kind).len();
        demand(
            found == wanted,
            &format!("{wanted} {kind} is wanted, {found} found"),
        )?;
    }
    let closes = |manifest: &&Value| {
        let types = manifest
            .pointer("/spec/policyTypes")
            .and_then(Value::as_array);
        let types = types.map(Vec::as_slice).unwrap_or_default();
        let spec = manifest.get("spec");
        types.iter().any(|one| one == "Ingress")
            && types.iter().any(|one| one == "Egress")
            && none_of(spec, "ingress").is_ok()
            && none_of(spec, "egress").is_ok()
    };
    demand(
        of("NetworkPolicy").iter().any(closes),
        "no policy refuses everything in both directions",
    )?;
    let place = |kind: &str| {
        let of_kind = |manifest: &Value| manifest.get("kind").and_then(Value::as_str) == Some(kind);
        manifests.iter().position(of_kind)
    };
    demand(
        place("Namespace") == Some(0),
        "the namespace must come first",
    )?;
    demand(
        place("Cluster").is_some_and(|place| place + 1 == manifests.len()),
        "the Cluster must come last",
    )
}

fn demand(holds: bool, rule: &str) -> Check {
    if holds { Ok(()) } else { Err(rule.to_owned()) }
}

fn equal(value: &Value, pointer: &str, wanted: &str) -> Check {
    let found = value.pointer(pointer).and_then(Value::as_str);
    if found == Some(wanted) {
        return Ok(());
    }
    Err(format!(
        "{pointer} must be {wanted}, not {}",
        found.unwrap_or("absent")
    ))
}

fn object(value: Option<&Value>) -> Option<&Map<String, Value>> {
    value.and_then(Value::as_object)
}

/// Refuses keys that are not among these. What is absent holds none.
fn only(value: Option<&Value>, known: &[&str]) -> Check {
    let Some(value) = value else { return Ok(()) };
    let Some(keys) = value.as_object() else {
        return Err(format!("{} expected as an object", known.join(", ")));
    };
    match keys.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(format!("{key} must not be there")),
        None => Ok(()),
    }
}

fn none_of(value: Option<&Value>, key: &str) -> Check {
    match value.and_then(|value| value.get(key)) {
        Some(_) => Err(format!("{key} must not be there")),
        None => Ok(()),
    }
}

/// The first of these keys, at any depth. The keys of `tablespaceStorage` are names that
/// somebody gave to tablespaces.
fn first_key<'a>(value: &'a Value, keys: &[&str]) -> Option<&'a str> {
    match value {
        Value::Object(members) => members.iter().find_map(|(key, member)| {
            if keys.contains(&key.as_str()) {
                return Some(key.as_str());
            }
            match member.as_object().filter(|_| key == "tablespaceStorage") {
                Some(named) => named.values().find_map(|member| first_key(member, keys)),
                None => first_key(member, keys),
            }
        }),
        Value::Array(members) => members.iter().find_map(|member| first_key(member, keys)),
        _ => None,
    }
}

/// All values of a key, at any depth.
fn all_values<'a>(value: Option<&'a Value>, key: &str) -> Vec<&'a Value> {
    match value {
        Some(Value::Object(members)) => members
            .iter()
            .flat_map(|(name, member)| {
                let own = (name == key).then_some(member);
                own.into_iter().chain(all_values(Some(member), key))
            })
            .collect(),
        Some(Value::Array(members)) => members
            .iter()
            .flat_map(|member| all_values(Some(member), key))
            .collect(),
        _ => Vec::new(),
    }
}
