//! ProtectedClusters: clusters, tiers, and what is done for them again and again.

use std::collections::BTreeMap;

use kube::ResourceExt as _;
use serde_json::{Map, Value, json};

use super::select::select;
use super::{Compiled, DRILL, Fault, Found, Key, PROTECTED, Seen, in_words, limits, origin, put};
use crate::config::{Fragment, RepositoryConfig, Schedule, Tier, read_fragment};
use crate::controller::names;
use crate::controller::resources::{Mirrored, ProtectedCluster, ProtectedClusterSpec, Timetable};
use crate::daemon::{Declared, Refusal};
use crate::operation::scan::{locate, object_store_of};

/// Compiles every ProtectedCluster, the oldest first: a Cluster belongs to the first that
/// selects it.
pub(super) fn compile(seen: &Seen, compiled: &mut Compiled) {
    let mut all: Vec<(&Key, &ProtectedCluster)> = seen.protected.iter().collect();
    all.sort_by_key(|(key, one)| (one.creation_timestamp().map(|time| time.0), *key));
    let mut guarded: BTreeMap<Key, Key> = BTreeMap::new();
    for (key, resource) in all {
        let by = origin(PROTECTED, key);
        if let Err((reason, message)) = one(seen, key, &resource.spec, &mut guarded, compiled) {
            compiled.refusals.push(Refusal {
                what: key.1.clone(),
                by,
                reason,
                message,
            });
        }
    }
}

fn one(
    seen: &Seen,
    key: &Key,
    spec: &ProtectedClusterSpec,
    guarded: &mut BTreeMap<Key, Key>,
    compiled: &mut Compiled,
) -> Result<(), Fault> {
    let (namespace, name) = key;
    let by = origin(PROTECTED, key);
    let selected = select(seen, namespace, spec)?;
    let mut found = Vec::new();
    let mut clusters: Vec<Value> = Vec::new();
    for cluster in selected {
        let mut entry = Found {
            namespace: cluster.0.clone(),
            name: cluster.1.clone(),
            config_name: names::config_name(&cluster.0, &cluster.1),
            left_out: None,
        };
        let made = match guarded.get(cluster) {
            Some((namespace, name)) => {
                Err(format!("{PROTECTED} {namespace}/{name} guards it already"))
            }
            None => primary(seen, key, spec, cluster, compiled),
        };
        match made {
            Ok(primary) => {
                clusters.push(document(key, spec, cluster, &entry.config_name, &primary)?);
            }
            Err(words) => entry.left_out = Some(words),
        }
        found.push(entry);
    }
    let main = main(key, spec, clusters, &found);
    let drills: Vec<Value> = main.drill.into_iter().collect();
    let read = read_fragment(&main.document, &drills)
        .map_err(|mistakes| ("Invalid", in_words(&mistakes, &main.schedules)))?;
    let own_namespace = *namespace == seen.own_namespace;
    if !own_namespace {
        for cluster in &read.clusters {
            if spec.credentials.is_some() {
                limits::copy(&cluster.primary, namespace, "credentials")?;
            }
            for replica in &cluster.replicas {
                limits::copy(replica, namespace, "replicas")?;
            }
        }
    }
    for entry in found.iter().filter(|entry| entry.left_out.is_none()) {
        let cluster = (entry.namespace.clone(), entry.name.clone());
        guarded.insert(cluster, key.clone());
    }
    compiled.found.insert(key.clone(), found);
    declare(
        compiled,
        &by,
        spec,
        &names::config_name(namespace, name),
        read,
    );
    Ok(())
}

/// Enters what was read, with the tier that a fragment alone cannot know.
fn declare(
    compiled: &mut Compiled,
    by: &crate::daemon::Origin,
    spec: &ProtectedClusterSpec,
    own_tier: &str,
    read: Fragment,
) {
    let overlay = &mut compiled.overlay;
    let before = overlay.clusters.len();
    let named = spec.tier.as_ref().and_then(|tier| tier.name.clone());
    let tier = named.or_else(|| {
        read.tiers
            .contains_key(own_tier)
            .then(|| own_tier.to_owned())
    });
    let tier = tier.filter(|_| !spec.suspend);
    if !read.clusters.is_empty() && !spec.suspend {
        let tiers = read.tiers.into_iter();
        overlay.tiers.extend(tiers.map(|tier| declared(by, tier)));
    }
    for mut cluster in read.clusters {
        cluster.tier.clone_from(&tier);
        overlay.clusters.push(declared(by, cluster));
    }
    // Nothing is done for nobody.
    if overlay.clusters.len() == before || spec.suspend {
        return;
    }
    let drills = read.drills.into_iter();
    overlay
        .drills
        .extend(drills.map(|drill| declared(by, drill)));
    let schedules = read.schedules.into_iter();
    overlay
        .schedules
        .extend(schedules.map(|schedule| declared(by, schedule)));
}

/// The repository of a Cluster, or why it cannot be guarded.
fn primary(
    seen: &Seen,
    key: &Key,
    spec: &ProtectedClusterSpec,
    cluster: &Key,
    compiled: &mut Compiled,
) -> Result<RepositoryConfig, String> {
    let (namespace, name) = cluster;
    let known = seen.clusters.get(cluster);
    let archive = &known.ok_or("it is gone")?.archive;
    let store = object_store_of(archive)
        .and_then(|store| seen.stores.get(&(namespace.clone(), store.to_owned())));
    let located = locate(namespace, name, archive, store).map_err(|trouble| {
        let hint = trouble.hint.map(|hint| format!(" ({hint})"));
        format!("{}{}", trouble.message, hint.unwrap_or_default())
    })?;
    let mut located = located.ok_or("it archives nowhere: there is nothing to prove")?;
    if let Some(reference) = located.region {
        match seen.regions.get(&reference) {
            Some(Ok(region)) => located.repository.region = Some(region.clone()),
            Some(Err(words)) => return Err(format!("read the region from {reference}: {words}")),
            None => {
                compiled.regions.push(reference);
                return Err("its region is being read from a Secret".to_owned());
            }
        }
    }
    // What the resource itself says is checked as a whole below.
    let own = spec.credentials.is_some();
    if !own && key.0 != seen.own_namespace && !limits::has_credentials(&located.repository) {
        return Err(format!(
            "its repository is reached without credentials, by the identity of pods: a {PROTECTED} in the controller's own namespace ({}) may guard it",
            seen.own_namespace
        ));
    }
    Ok(located.repository)
}

fn declared<T>(by: &crate::daemon::Origin, what: T) -> Declared<T> {
    Declared {
        by: by.clone(),
        what,
    }
}

/// The cluster as walproof.yaml would have it.
fn document(
    (own, _): &Key,
    spec: &ProtectedClusterSpec,
    (namespace, name): &Key,
    config_name: &str,
    primary: &RepositoryConfig,
) -> Result<Value, Fault> {
    let mut place = json!({"namespace": namespace, "name": name});
    if let Some(fresh) = spec.fresh_backup.as_ref().filter(|_| !spec.suspend) {
        if let Some(when) = &fresh.when {
            put(&mut place, "fresh_backup", when.snake());
        }
        if let Some(every) = &fresh.every {
            put(&mut place, "fresh_backup_every", every.snake());
        }
    }
    let primary = serde_json::to_value(primary)
        .map_err(|error| ("Invalid", format!("the repository of {name}: {error}")))?;
    let mut primary = without_nulls(primary);
    if let Some(credentials) = &spec.credentials {
        let mut credentials = credentials.snake();
        limits::fill_namespace(&mut credentials, own);
        put(&mut primary, "credentials", credentials);
    }
    let mut cluster = json!({"name": config_name, "kubernetes": place, "primary": primary});
    let replicas: Vec<Value> = spec
        .replicas
        .iter()
        .map(|replica| {
            let mut replica = replica.snake();
            limits::fill_namespace(&mut replica, own);
            if let Some(Value::String(url)) = replica.get_mut("url") {
                *url = url
                    .replace("{namespace}", namespace)
                    .replace("{cluster}", name);
            }
            replica
        })
        .collect();
    put(&mut cluster, "replicas", Value::Array(replicas));
    for (key, value) in [
        ("description", spec.description.clone().map(Value::String)),
        ("owner", spec.owner.clone().map(Value::String)),
        ("raci", spec.raci.as_ref().map(Mirrored::snake)),
        ("heartbeat", spec.heartbeat.as_ref().map(Mirrored::snake)),
    ] {
        if let Some(value) = value {
            put(&mut cluster, key, value);
        }
    }
    Ok(cluster)
}

/// A document of the shape of walproof.yaml, the definition of the plain drill, and what the
/// schedules of the document are called in the resource.
struct Main {
    document: Value,
    drill: Option<Value>,
    schedules: Vec<&'static str>,
}

fn main(
    (namespace, name): &Key,
    spec: &ProtectedClusterSpec,
    clusters: Vec<Value>,
    found: &[Found],
) -> Main {
    let guarded: Vec<&str> = found
        .iter()
        .filter(|entry| entry.left_out.is_none())
        .map(|entry| entry.config_name.as_str())
        .collect();
    let mut tiers = Map::new();
    if let Some(tier) = spec.tier.as_ref().filter(|tier| tier.name.is_none()) {
        let written = serde_json::to_value(tier).unwrap_or_default();
        let tier = Mirrored::<Tier>::new(written).snake();
        tiers.insert(names::config_name(namespace, name), tier);
    }
    let mut schedules = Vec::new();
    let mut words = Vec::new();
    let mut drill = None;
    for (what, timetable) in [
        ("verify", &spec.verify),
        ("replicate", &spec.replicate),
        ("drill", &spec.drill),
        ("capture", &spec.capture),
    ] {
        let Some(timetable) = timetable else { continue };
        let schedule_name = names::part_name(namespace, name, what);
        let mut schedule = schedule(timetable, &schedule_name, what, &guarded);
        if what == "drill" {
            put(&mut schedule, "drill", schedule_name.clone().into());
            drill = Some(json!({
                "version": 1, "name": schedule_name, "environment": "cnpg", "clusters": guarded,
                "description": format!("The plain drill of {PROTECTED} {namespace}/{name}; a {DRILL} says more."),
            }));
        }
        schedules.push(schedule);
        words.push(what);
    }
    let mut document = json!({"version": 1, "tiers": tiers});
    put(&mut document, "clusters", Value::Array(clusters));
    put(&mut document, "schedules", Value::Array(schedules));
    Main {
        document,
        drill,
        schedules: words,
    }
}

/// A schedule as walproof.yaml would have it.
pub(super) fn schedule(timetable: &Timetable, name: &str, job: &str, clusters: &[&str]) -> Value {
    let written = serde_json::to_value(timetable).unwrap_or_default();
    let mut schedule = Mirrored::<Schedule>::new(written).snake();
    put(&mut schedule, "name", name.into());
    put(&mut schedule, "job", job.into());
    put(
        &mut schedule,
        "clusters",
        clusters.iter().copied().collect(),
    );
    schedule
}

/// What was left out is no key.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => members
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key, without_nulls(value)))
            .collect(),
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        other => other,
    }
}
