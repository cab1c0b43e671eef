//! RecoveryDrills: definitions, and schedules where they have one.

use serde_json::{Value, json};

use super::protected::schedule;
use super::{Compiled, DRILL, Fault, Key, PROTECTED, Seen, in_words, limits, origin, put};
use crate::config::read_fragment;
use crate::controller::names;
use crate::controller::resources::RecoveryDrillSpec;
use crate::daemon::{Declared, Refusal};

pub(super) fn compile(seen: &Seen, compiled: &mut Compiled) {
    for (key, resource) in &seen.drills {
        if let Err((reason, message)) = one(seen, key, &resource.spec, compiled) {
            compiled.refusals.push(Refusal {
                what: names::config_name(&key.0, &key.1),
                by: origin(DRILL, key),
                reason,
                message,
            });
        }
    }
}

fn one(
    seen: &Seen,
    key: &Key,
    spec: &RecoveryDrillSpec,
    compiled: &mut Compiled,
) -> Result<(), Fault> {
    let (namespace, name) = key;
    let at_home = *namespace == seen.own_namespace;
    let clusters = clusters(namespace, at_home, spec, compiled)?;
    compiled.drilled.insert(key.clone(), clusters.clone());
    let mut definition = spec.definition();
    if !at_home {
        limits::drill(&definition, namespace)?;
    }
    let name = names::config_name(namespace, name);
    put(&mut definition, "version", 1.into());
    put(&mut definition, "name", name.clone().into());
    let mut main = json!({"version": 1});
    if let Some(timetable) = &spec.schedule {
        // The clusters are somebody else's: they come in behind the checks.
        let mut schedule = schedule(timetable, &name, "drill", &[]);
        put(&mut schedule, "drill", name.into());
        if let Some(members) = schedule.as_object_mut() {
            members.remove("clusters");
        }
        put(&mut main, "schedules", Value::Array(vec![schedule]));
    }
    let read = read_fragment(&main, &[definition])
        .map_err(|mistakes| ("Invalid", in_words(&mistakes, &["schedule"])))?;
    let by = origin(DRILL, key);
    for mut drill in read.drills {
        drill.clusters.clone_from(&clusters);
        compiled.overlay.drills.push(Declared {
            by: by.clone(),
            what: drill,
        });
    }
    for mut schedule in read.schedules {
        if spec.suspend {
            continue;
        }
        schedule.clusters = Some(clusters.clone());
        compiled.overlay.schedules.push(Declared {
            by: by.clone(),
            what: schedule,
        });
    }
    Ok(())
}

/// The clusters, by their names in the configuration.
fn clusters(
    namespace: &str,
    at_home: bool,
    spec: &RecoveryDrillSpec,
    compiled: &Compiled,
) -> Result<Vec<String>, Fault> {
    match (&spec.cluster_ref, &spec.protected_cluster) {
        (Some(reference), None) => {
            let other = reference.namespace(namespace);
            if other != namespace && !at_home {
                return Err((
                    "NamespaceNotAllowed",
                    format!(
                        "it names a Cluster in namespace `{other}`: only a {DRILL} in the controller's own namespace may speak of other namespaces"
                    ),
                ));
            }
            Ok(vec![reference.config_name(namespace)])
        }
        (None, Some(protected)) => {
            let key = (namespace.to_owned(), protected.clone());
            let Some(found) = compiled.found.get(&key) else {
                return Err((
                    "ClusterNotGuarded",
                    format!("there is no {PROTECTED} {namespace}/{protected} that holds"),
                ));
            };
            let guarded: Vec<String> = found
                .iter()
                .filter(|entry| entry.left_out.is_none())
                .map(|entry| entry.config_name.clone())
                .collect();
            if guarded.is_empty() {
                return Err((
                    "ClusterNotGuarded",
                    format!("{PROTECTED} {namespace}/{protected} guards no Cluster"),
                ));
            }
            Ok(guarded)
        }
        _ => Err((
            "Invalid",
            "name either `clusterRef` or `protectedCluster`".to_owned(),
        )),
    }
}
