use schemars::JsonSchema as _;
use serde_json::{Value, json};

use super::*;
use crate::config::{Config, DrillDefinition, Schedule, Tier};
use crate::controller::resources::{CLEANUP, Mirrored, RecoveryDrillSpec, TierSpec, Timetable};
use crate::daemon::merge;

const OWN: &str = "walproof";

fn cluster(place: &str) -> SeenCluster {
    SeenCluster {
        labels: [("tier".to_owned(), "gold".to_owned())].into(),
        archive: Archive::InTree {
            configuration: json!({
                "destinationPath": format!("s3://backups/{place}"),
                "endpointURL": "http://s3:9000",
                "s3Credentials": {
                    "accessKeyId": {"name": "s3", "key": "ID"},
                    "secretAccessKey": {"name": "s3", "key": "SECRET"},
                },
            }),
            server_name: "orders".to_owned(),
        },
    }
}

fn key(namespace: &str, name: &str) -> Key {
    (namespace.to_owned(), name.to_owned())
}

fn protected(namespace: &str, name: &str, spec: Value) -> (Key, ProtectedCluster) {
    let mut resource = json!({
        "apiVersion": "walproof.dev/v1alpha1", "kind": "ProtectedCluster",
        "metadata": {"namespace": namespace, "name": name},
    });
    resource["spec"] = spec;
    let resource = serde_json::from_value(resource).unwrap();
    (key(namespace, name), resource)
}

fn drill(namespace: &str, name: &str, spec: Value) -> (Key, RecoveryDrill) {
    let mut resource = json!({
        "apiVersion": "walproof.dev/v1alpha1", "kind": "RecoveryDrill",
        "metadata": {"namespace": namespace, "name": name, "finalizers": [CLEANUP]},
    });
    resource["spec"] = spec;
    let resource = serde_json::from_value(resource).unwrap();
    (key(namespace, name), resource)
}

/// A Cluster `orders` in `shop` and in `bank`.
fn seen() -> Seen {
    Seen {
        own_namespace: OWN.to_owned(),
        clusters: [
            (key("shop", "orders"), cluster("shop")),
            (key("bank", "orders"), cluster("bank")),
        ]
        .into(),
        ..Seen::default()
    }
}

fn guarded(compiled: &Compiled) -> Vec<&str> {
    let clusters = compiled.overlay.clusters.iter();
    clusters.map(|one| one.what.name.as_str()).collect()
}

#[track_caller]
fn refused<'a>(compiled: &'a Compiled, reason: &str) -> &'a str {
    let refusal = compiled.refusals.iter().find(|one| one.reason == reason);
    &refusal
        .unwrap_or_else(|| panic!("{reason}: {:?}", compiled.refusals))
        .message
}

#[test]
fn a_cluster_that_is_found_is_guarded_as_it_archives() {
    let mut seen = seen();
    seen.protected.extend([protected(
        "shop",
        "all",
        json!({
            "selector": {"matchLabels": {"tier": "gold"}},
            "owner": "team shop",
            "tier": {"rpo": "5m", "maxBackupAge": "26h", "due": {"drill": "8d"}},
            "replicas": [{"name": "far", "url": "s3://far/{namespace}/{cluster}",
                "credentials": {"accessKeyId": {"kubernetes": {"name": "far", "key": "ID"}},
                    "secretAccessKey": {"kubernetes": {"name": "far", "key": "SECRET"}}},
                "replication": {"readBack": "5%", "minimumRedundancy": 2}}],
            "verify": {"cron": "0 * * * *", "jitter": "10m"},
            "replicate": {"cron": "30 * * * *"},
            "drill": {"cron": "0 3 * * *", "timeZone": "Europe/Berlin"},
        }),
    )]);
    let compiled = compile(&seen);
    assert_eq!(compiled.refusals, []);
    assert_eq!(guarded(&compiled), ["shop.orders"], "not that of bank");
    let cluster = &compiled.overlay.clusters[0].what;
    assert_eq!(cluster.primary.url.to_string(), "s3://backups/shop/orders");
    let place = cluster.kubernetes.as_ref().unwrap();
    assert_eq!(
        (place.namespace.as_str(), place.name.as_str()),
        ("shop", "orders")
    );
    let far = &cluster.replicas[0];
    assert_eq!(far.url.to_string(), "s3://far/shop/orders");
    let secret = far.credentials.as_ref().unwrap().access_key_id.as_ref();
    assert_eq!(
        secret.unwrap().kubernetes.as_ref().unwrap().to_string(),
        "Secret shop/far[ID]"
    );
    let merged = merge(&Config::default(), &compiled.overlay);
    assert_eq!(merged.refusals, []);
    let config = merged.config;
    let tier = config.tier_of(config.cluster("shop.orders").unwrap());
    assert_eq!(tier.rpo.unwrap().to_string(), "5m");
    assert_eq!(tier.due.unwrap().drill.unwrap().to_string(), "8d");
    let names: Vec<&str> = config
        .schedules
        .iter()
        .map(|one| one.name.as_str())
        .collect();
    assert_eq!(
        names,
        ["shop.all.verify", "shop.all.replicate", "shop.all.drill"]
    );
    // The plain drill runs in a scratch namespace.
    let drill = &config.drill("shop.all.drill").unwrap().definition;
    assert_eq!(drill.environment, crate::config::Environment::Cnpg);
    assert_eq!(drill.clusters, ["shop.orders"]);
}

#[test]
fn a_namespace_of_others_belongs_to_the_controllers_own() {
    let everywhere = json!({"selector": {}, "namespaces": ["*"]});
    for (namespace, spec, expected) in [
        ("shop", json!({"selector": {}}), vec!["shop.orders"]),
        (OWN, json!({"selector": {}}), vec![]),
        (OWN, everywhere.clone(), vec!["bank.orders", "shop.orders"]),
        (
            OWN,
            json!({"name": "orders", "namespaces": ["bank"]}),
            vec!["bank.orders"],
        ),
        (
            "shop",
            json!({"name": "orders", "namespaces": ["shop"]}),
            vec!["shop.orders"],
        ),
        ("shop", json!({"name": "other"}), vec![]),
    ] {
        let mut seen = seen();
        seen.protected.extend([protected(namespace, "all", spec)]);
        let compiled = compile(&seen);
        assert_eq!(guarded(&compiled), expected);
        assert_eq!(compiled.refusals, []);
    }
    for namespaces in [json!(["*"]), json!(["bank"]), json!(["shop", "bank"])] {
        let mut seen = seen();
        let spec = json!({"selector": {}, "namespaces": namespaces});
        seen.protected.extend([protected("shop", "all", spec)]);
        let compiled = compile(&seen);
        assert_eq!(guarded(&compiled), Vec::<&str>::new());
        assert!(refused(&compiled, "NamespaceNotAllowed").contains("(walproof)"));
    }
    // A drill, too.
    let mut seen = seen();
    seen.protected.extend([protected(OWN, "all", everywhere)]);
    let foreign = json!({"clusterRef": {"name": "orders", "namespace": "bank"}});
    seen.drills.extend([
        drill("shop", "theirs", foreign.clone()),
        drill(OWN, "ours", foreign),
    ]);
    let compiled = compile(&seen);
    refused(&compiled, "NamespaceNotAllowed");
    assert_eq!(compiled.refusals.len(), 1);
    assert_eq!(compiled.overlay.drills[0].what.clusters, ["bank.orders"]);
}

#[test]
fn requirements_are_those_of_the_api() {
    for (operator, values, expected) in [
        ("In", json!(["gold", "silver"]), true),
        ("In", json!(["silver"]), false),
        ("NotIn", json!(["silver"]), true),
        ("NotIn", json!(["gold"]), false),
        ("Exists", json!([]), true),
        ("DoesNotExist", json!([]), false),
    ] {
        let mut seen = seen();
        let one = json!({"key": "tier", "operator": operator, "values": values});
        let spec = json!({"selector": {"matchExpressions": [one]}});
        seen.protected.extend([protected("shop", "all", spec)]);
        assert_eq!(
            guarded(&compile(&seen)).len(),
            usize::from(expected),
            "{operator} {values}"
        );
    }
}

#[test]
fn secrets_and_paths_of_the_controller_are_not_anybodys() {
    let by = |name: &str| json!({"kubernetes": {"name": name, "key": "K"}});
    let keys = json!({"accessKeyId": by("s3"), "secretAccessKey": by("s3")});
    let with =
        |credentials: Value| json!({"url": "s3://far/{namespace}", "credentials": credentials});
    let mut foreign = keys.clone();
    foreign["accessKeyId"]["kubernetes"]["namespace"] = json!("bank");
    let mut own = keys.clone();
    own["accessKeyId"]["kubernetes"]["namespace"] = json!("shop");
    let mut half = keys.clone();
    half["secretAccessKey"] = Value::Null;
    for (replica, reason) in [
        (with(keys.clone()), ""),
        (with(own), ""),
        (with(foreign), "SecretNotAllowed"),
        (
            with(json!({"accessKeyId": {"env": "A"}, "secretAccessKey": {"env": "B"}})),
            "SecretNotAllowed",
        ),
        (
            with(json!({"accessKeyId": {"file": "/a"}, "secretAccessKey": by("s3")})),
            "SecretNotAllowed",
        ),
        (with(half), "CredentialsMissing"),
        (json!({"url": "s3://far/x"}), "CredentialsMissing"),
        (
            json!({"url": "file:///srv/{cluster}"}),
            "LocalPathNotAllowed",
        ),
    ] {
        for namespace in ["shop", OWN] {
            let mut seen = seen();
            let spec = json!({"selector": {}, "namespaces": ["shop"], "replicas": [replica]});
            seen.protected.extend([protected(namespace, "all", spec)]);
            let compiled = compile(&seen);
            if reason.is_empty() || namespace == OWN {
                assert_eq!(compiled.refusals, [], "{namespace} {replica}");
                assert_eq!(guarded(&compiled), ["shop.orders"]);
            } else {
                refused(&compiled, reason);
                assert_eq!(guarded(&compiled), Vec::<&str>::new());
            }
        }
    }
    // Credentials for the primary are held to the same.
    for (credentials, reason) in [
        (keys, ""),
        (
            json!({"accessKeyId": {"env": "A"}, "secretAccessKey": {"env": "B"}}),
            "SecretNotAllowed",
        ),
        (json!({"accessKeyId": by("s3")}), "CredentialsMissing"),
    ] {
        let mut seen = seen();
        let spec = json!({"selector": {}, "credentials": credentials});
        seen.protected.extend([protected("shop", "all", spec)]);
        let compiled = compile(&seen);
        if reason.is_empty() {
            assert_eq!(guarded(&compiled), ["shop.orders"]);
        } else {
            refused(&compiled, reason);
        }
    }
    // A Cluster that is reached by the identity of pods would be reached as the controller.
    let mut seen = seen();
    let by_role = Archive::InTree {
        configuration: json!({"destinationPath": "s3://others", "s3Credentials": {"inheritFromIAMRole": true}}),
        server_name: "orders".to_owned(),
    };
    seen.clusters
        .get_mut(&key("shop", "orders"))
        .unwrap()
        .archive = by_role;
    seen.protected
        .extend([protected("shop", "all", json!({"selector": {}}))]);
    let compiled = compile(&seen);
    let why = compiled.found[&key("shop", "all")][0].left_out.as_ref();
    assert!(why.unwrap().contains("without credentials"));
    let spec = json!({"selector": {}, "namespaces": ["shop"]});
    seen.protected = [protected(OWN, "all", spec)].into();
    assert_eq!(guarded(&compile(&seen)), ["shop.orders"]);
}

#[test]
fn a_drill_of_others_stays_within_its_bounds() {
    for (more, word) in [
        (json!({}), ""),
        (json!({"cnpg": {"definition": "captured"}}), ""),
        (
            json!({"cnpg": {"source": {"namespace": "shop", "name": "x"}}}),
            "",
        ),
        (json!({"environment": "local"}), "environment: local"),
        (json!({"scratch": "/srv"}), "scratch"),
        (json!({"cnpg": {"definition": "/etc/x.yaml"}}), "definition"),
        (
            json!({"cnpg": {"source": {"namespace": "bank", "name": "x"}}}),
            "source",
        ),
        (json!({"cnpg": {"storeCidrs": ["0.0.0.0/0"]}}), "storeCidrs"),
        (
            json!({"cnpg": {"serviceAccountAnnotations": {"role": "x"}}}),
            "serviceAccountAnnotations",
        ),
    ] {
        let mut spec = json!({"clusterRef": {"name": "orders", "namespace": "shop"}});
        spec.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        for namespace in ["shop", OWN] {
            let mut seen = seen();
            seen.drills.extend([drill(namespace, "d", spec.clone())]);
            let compiled = compile(&seen);
            if word.is_empty() || namespace == OWN {
                assert_eq!(compiled.refusals, [], "{namespace} {spec}");
            } else {
                assert!(refused(&compiled, "NotAllowed").contains(word));
                assert!(compiled.overlay.drills.is_empty());
            }
        }
    }
}

#[test]
fn the_same_drill_as_a_file_and_as_a_resource() {
    let file = "version: 1
name: shop.nightly
description: every night
clusters: [shop.orders]
environment: cnpg
cnpg: {form: plugin, storage_size: 2GiB, wal_storage_size: 1GiB, quota: {memory: 1GiB}, parameters: {work_mem: 4MB}, node_selector: {disk_type: ssd}}
target: time:-1h
timeout: 30m
alone: report
settings: {shared_buffers: 256MB, max_connections: 50}
checks:
- {name: rows, database: app, sql: select 1, expect: '> 0', timeout: 1m}
- {name: cells, database: app, sql: 'select 1, null', rows: [[1, null, true]]}
amcheck: {heapallindexed: true, tables: [public.orders]}
checksums: true
probe_write: true
";
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("nightly.yaml");
    std::fs::write(&path, file).unwrap();
    let from_file = crate::config::load_drill(&path).unwrap().definition;
    let mut seen = seen();
    seen.protected
        .extend([protected("shop", "all", json!({"selector": {}}))]);
    seen.drills.extend([drill(
        "shop",
        "nightly",
        json!({
            "clusterRef": {"name": "orders"},
            "schedule": {"cron": "0 3 * * *", "timeZone": "Europe/Berlin", "jitter": "30m",
                "blackout": ["Sat,Sun"], "deadline": "2h", "catchUp": "none", "priority": 7},
            "description": "every night",
            "cnpg": {"form": "plugin", "storageSize": "2GiB", "walStorageSize": "1GiB",
                "quota": {"memory": "1GiB"}, "parameters": {"work_mem": "4MB"},
                "nodeSelector": {"disk_type": "ssd"}},
            "target": "time:-1h",
            "timeout": "30m",
            "alone": "report",
            "settings": {"shared_buffers": "256MB", "max_connections": 50},
            "checks": [
                {"name": "rows", "database": "app", "sql": "select 1", "expect": "> 0", "timeout": "1m"},
                {"name": "cells", "database": "app", "sql": "select 1, null", "rows": [[1, null, true]]},
            ],
            "amcheck": {"heapallindexed": true, "tables": ["public.orders"]},
            "checksums": true,
            "probeWrite": true,
        }),
    )]);
    let compiled = compile(&seen);
    assert_eq!(compiled.refusals, []);
    assert_eq!(compiled.overlay.drills[0].what, from_file);
    let main = "version: 1
clusters: [{name: shop.orders, primary: {url: 's3://b/x'}, replicas: [{url: 's3://c/x'}]}]
drills: []
schedules:
- {name: shop.nightly, job: drill, cron: '0 3 * * *', time_zone: Europe/Berlin, jitter: 30m, blackout: ['Sat,Sun'], deadline: 2h, catch_up: none, priority: 7, clusters: [shop.orders], drill: shop.nightly}
";
    let main = main.replace("drills: []", "drills: [nightly.yaml]");
    let path = directory.path().join("walproof.yaml");
    std::fs::write(&path, main).unwrap();
    let schedules = crate::config::load(&path).unwrap().schedules;
    let compiled: Vec<&Schedule> = compiled
        .overlay
        .schedules
        .iter()
        .map(|one| &one.what)
        .collect();
    assert_eq!(compiled, schedules.iter().collect::<Vec<_>>());
}

#[test]
fn every_field_of_the_configuration_has_its_place() {
    fn properties<T: schemars::JsonSchema>() -> Vec<String> {
        let schema = Mirrored::<T>::json_schema(&mut schemars::SchemaGenerator::default());
        let schema = schema.to_value();
        schema["properties"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect()
    }
    fn spec<T: schemars::JsonSchema>() -> Vec<String> {
        let schema = schemars::schema_for!(T).to_value();
        schema["properties"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect()
    }
    for (here, there, elsewhere) in [
        (
            spec::<RecoveryDrillSpec>(),
            properties::<DrillDefinition>(),
            &["version", "name", "clusters"][..],
        ),
        (spec::<TierSpec>(), properties::<Tier>(), &[]),
        (
            spec::<Timetable>(),
            properties::<Schedule>(),
            &["name", "job", "clusters", "tiers", "drill", "period"],
        ),
        (
            spec::<crate::controller::resources::ProtectedClusterSpec>(),
            properties::<crate::config::Cluster>(),
            &["kubernetes", "primary", "name"],
        ),
    ] {
        for field in there {
            assert!(
                here.contains(&field) || elsewhere.contains(&field.as_str()),
                "{field} is in none of {here:?}"
            );
        }
    }
}

#[test]
fn one_with_a_mistake_keeps_no_other_out() {
    let mut seen = seen();
    seen.protected.extend([
        protected(
            "shop",
            "all",
            json!({"selector": {}, "verify": {"cron": "99 * * * *"}}),
        ),
        protected("bank", "all", json!({"selector": {}})),
    ]);
    seen.drills.extend([
        drill("bank", "good", json!({"clusterRef": {"name": "orders"}})),
        drill(
            "bank",
            "bad",
            json!({"clusterRef": {"name": "orders"}, "target": "yesterday"}),
        ),
        drill(
            "bank",
            "blind",
            json!({"clusterRef": {"name": "orders"},
            "checks": [{"name": "a", "database": "app", "sql": "select 1"}]}),
        ),
        drill("shop", "orphan", json!({"protectedCluster": "all"})),
    ]);
    let compiled = compile(&seen);
    assert_eq!(guarded(&compiled), ["bank.orders"]);
    let words: Vec<String> = compiled
        .refusals
        .iter()
        .map(|one| format!("{}: {} {}", one.by, one.reason, one.message))
        .collect();
    assert_eq!(words.len(), 4, "{words:#?}");
    assert!(words[0].contains("`verify.cron`"), "{words:#?}");
    assert!(
        words
            .iter()
            .any(|one| one.contains("bank/bad") && one.contains("`target`"))
    );
    assert!(
        words
            .iter()
            .any(|one| one.contains("bank/blind") && one.contains("expects nothing"))
    );
    assert!(
        words
            .iter()
            .any(|one| one.contains("shop/orphan") && one.contains("ClusterNotGuarded"))
    );
    let merged = merge(&Config::default(), &compiled.overlay);
    assert!(merged.config.drill("bank.good").is_some());
    assert!(merged.config.drill("bank.bad").is_none());
}

#[test]
fn what_rests_is_known_and_does_nothing() {
    for suspend in [false, true] {
        let mut seen = seen();
        let spec = json!({"selector": {}, "suspend": suspend, "tier": {"rpo": "5m"},
            "verify": {"cron": "0 * * * *"}, "drill": {"cron": "0 3 * * *"}});
        seen.protected.extend([protected("shop", "all", spec)]);
        seen.drills.extend([drill("shop", "d", json!({
            "clusterRef": {"name": "orders"}, "suspend": suspend, "schedule": {"cron": "0 4 * * *"},
        }))]);
        let compiled = compile(&seen);
        assert_eq!(guarded(&compiled), ["shop.orders"]);
        assert_eq!(compiled.overlay.schedules.is_empty(), suspend);
        assert_eq!(compiled.overlay.clusters[0].what.tier.is_none(), suspend);
        assert_eq!(compiled.overlay.drills.len(), if suspend { 1 } else { 2 });
    }
}

#[test]
fn a_cluster_belongs_to_the_first_that_selects_it() {
    let mut seen = seen();
    seen.protected.extend([
        protected("shop", "a", json!({"selector": {}})),
        protected("shop", "b", json!({"name": "orders"})),
    ]);
    let compiled = compile(&seen);
    assert_eq!(guarded(&compiled), ["shop.orders"]);
    let second = &compiled.found[&key("shop", "b")][0];
    assert_eq!(
        second.left_out.as_deref(),
        Some("ProtectedCluster shop/a guards it already")
    );
}

#[test]
fn a_region_in_a_secret_is_read_first() {
    let mut seen = seen();
    let one = seen.clusters.get_mut(&key("shop", "orders")).unwrap();
    let Archive::InTree { configuration, .. } = &mut one.archive else {
        panic!()
    };
    configuration["s3Credentials"]["region"] = json!({"name": "s3", "key": "REGION"});
    seen.protected
        .extend([protected("shop", "all", json!({"selector": {}}))]);
    let compiled = compile(&seen);
    assert_eq!(guarded(&compiled), Vec::<&str>::new());
    let wanted = compiled.regions[0].clone();
    assert_eq!(wanted.to_string(), "Secret shop/s3[REGION]");
    seen.regions.insert(wanted.clone(), Ok("eu-1".to_owned()));
    let compiled = compile(&seen);
    let region = compiled.overlay.clusters[0].what.primary.region.as_deref();
    assert_eq!(region, Some("eu-1"));
    seen.regions.insert(wanted, Err("no".to_owned()));
    let compiled = compile(&seen);
    let why = &compiled.found[&key("shop", "all")][0].left_out;
    assert!(why.as_ref().unwrap().contains("REGION"));
    assert_eq!(compiled.regions, []);
}

#[test]
fn two_hundred_compile_at_once() {
    let mut seen = Seen {
        own_namespace: OWN.to_owned(),
        ..Seen::default()
    };
    for number in 0..200 {
        let namespace = format!("n{number}");
        seen.clusters
            .insert(key(&namespace, "orders"), cluster(&namespace));
        let spec = json!({"selector": {}, "verify": {"cron": "0 * * * *"}});
        seen.protected.extend([protected(&namespace, "all", spec)]);
    }
    let compiled = compile(&seen);
    assert_eq!(guarded(&compiled).len(), 200);
    assert_eq!(compiled.overlay.digests.len(), 2);
    let again = compile(&seen);
    assert_eq!(again, compiled, "the same every time");
    let merged = merge(&Config::default(), &compiled.overlay);
    assert_eq!(
        (merged.config.clusters.len(), merged.refusals.len()),
        (200, 0)
    );
}
