//! The invariant over sources of every kind, and what it refuses.

#![allow(
    clippy::needless_pass_by_value,
    clippy::semicolon_if_nothing_returned,
    reason = "values are written where they are used"
)]

use std::collections::{BTreeMap, BTreeSet};

use chrono::DateTime;
use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::kubernetes::Identity;
use crate::kubernetes::cnpg::SourceCluster;

/// A plan that recovers a source.
pub(super) fn plan(source: Value, form: Form) -> ScratchPlan {
    let source = SourceCluster::parse(source).unwrap();
    let id = Uuid::parse_str("01936d2e-7c1a-7f00-8000-0123456789ab").unwrap();
    let keys = StoreKeys::S3 {
        access_key_id: "reader".into(),
        secret_access_key: "word".into(),
        session_token: None,
        region: None,
    };
    let snapshot = |name: &str| SnapshotSource {
        namespace: source.namespace.clone(),
        name: name.to_owned(),
        driver: "csi.example".to_owned(),
        handle: format!("handle-{name}"),
        class: Some("fast".to_owned()),
        volume_mode: Some("Filesystem".to_owned()),
        restore_size: Some("3Gi".to_owned()),
        annotations: BTreeMap::from([
            ("cnpg.io/backupLabelFile".to_owned(), "bGFiZWw=".to_owned()),
            ("cnpg.io/clusterManifest".to_owned(), "{}".to_owned()),
            (
                "cnpg.io/skipEmptyWalArchiveCheck".to_owned(),
                "enabled".to_owned(),
            ),
        ]),
    };
    let tablespaces = source.tablespaces.iter().map(|one| &one.name);
    let snapshots = (form == Form::Snapshot).then(|| SnapshotSet {
        data: snapshot("data"),
        wal: source.wal_storage.as_ref().map(|_| snapshot("wal")),
        tablespaces: tablespaces
            .map(|name| (name.clone(), snapshot("t")))
            .collect(),
    });
    let peer = |port| Peer {
        side: Side::Addresses(vec!["192.0.2.1/32".to_owned()]),
        ports: vec![Port::tcp(port)],
    };
    ScratchPlan {
        id,
        namespace: namespace_name("walproof-drill", &source.name, id),
        cluster_label: source.name.clone(),
        owner: Some("team <a@b>".to_owned()),
        cost_centre: Some("42".to_owned()),
        expires_at: DateTime::from_timestamp(1_800_000_000, 0).unwrap(),
        holder: "host/boot/1/2".to_owned(),
        form,
        server_name: "orders".to_owned(),
        store: StoreAccess::new("s3://b/p", Some("https://s3.example"), None, keys, None),
        target: RecoveryTarget {
            backup_id: (form != Form::Snapshot).then(|| "20261121T133159".to_owned()),
            stop: Stop::Lsn("0/3000060".to_owned()),
            timeline: 1,
            exclusive: false,
        },
        snapshots,
        overrides: Overrides {
            image: Some("registry.example/postgresql:17".to_owned()),
            ..Overrides::default()
        },
        quota: Quota::default(),
        network: NetworkPlan {
            store: vec![peer(443)],
            api_server: vec![peer(6443)],
            dns: vec![peer(53)],
            operator: Some(peer(8000)),
            walproof: None,
        },
        pull_secrets: BTreeMap::new(),
        grant: None,
        source,
    }
}

fn source(spec: Value) -> Value {
    json!({
        "apiVersion": "postgresql.cnpg.io/v1",
        "kind": "Cluster",
        "metadata": {"name": "orders", "namespace": "prod"},
        "spec": spec,
    })
}

/// A source with all that must not come along.
fn hostile() -> Value {
    source(json!({
        "instances": 3,
        "imageCatalogRef": {"apiGroup": "postgresql.cnpg.io", "kind": "ImageCatalog", "name": "c", "major": 17},
        "storage": {"size": "50Gi", "storageClass": "fast"},
        "walStorage": {"size": "5Gi"},
        "tablespaces": [{"name": "archive", "storage": {"size": "1Gi"}, "owner": {"name": "o"}}],
        "backup": {
            "barmanObjectStore": {"destinationPath": "s3://prod", "serverName": "orders"},
            "retentionPolicy": "7d",
            "volumeSnapshot": {"className": "fast"},
        },
        "plugins": [{"name": "barman-cloud.cloudnative-pg.io", "isWALArchiver": true,
            "parameters": {"barmanObjectName": "store"}}],
        "managed": {"roles": [{"name": "r", "superuser": true}], "services": {"additional": []}},
        "replica": {"enabled": true, "source": "prod"},
        "externalClusters": [{"name": "prod", "connectionParameters": {"host": "prod"}}],
        "monitoring": {"enablePodMonitor": true, "customQueriesConfigMap": [{"name": "q", "key": "k"}]},
        "env": [{"name": "AWS_PROFILE", "value": "prod"}],
        "projectedVolumeTemplate": {"sources": [{"secret": {"name": "prod"}}]},
        "serviceAccountTemplate": {"metadata": {"annotations": {"role": "prod"}}},
        "certificates": {"serverCASecret": "prod-ca"},
        "superuserSecret": {"name": "prod"},
        "postgresql": {
            "shared_preload_libraries": ["pg_cron", "pglogical", "timescaledb", "../evil"],
            "pg_hba": ["host all all 0.0.0.0/0 trust"],
            "synchronous": {"method": "any", "number": 1},
            "ldap": {"server": "ldap.prod"},
            "parameters": {
                "archive_command": "cp %p /archive", "archive_mode": "on",
                "restore_command": "cp", "primary_conninfo": "host=prod",
                "include": "/x", "cron.launch_active_jobs": "on",
                "max_logical_replication_workers": "99", "max_connections": "500",
                "session_preload_libraries": "evil", "ssl_ca_file": "/x",
                "work_mem": "8MB\nrestore_command='x'",
            },
        },
        "bootstrap": {"initdb": {"database": "shop", "owner": "keeper",
            "postInitSQL": ["drop database x"]}},
    }))
}

fn of_kind<'a>(manifests: &'a [Value], kind: &str) -> &'a Value {
    manifests.iter().find(|one| one["kind"] == kind).unwrap()
}

#[test]
fn a_hostile_source_becomes_a_harmless_recovery() {
    for form in [Form::Plugin, Form::InTree, Form::Snapshot] {
        let manifests = manifests(&plan(hostile(), form)).unwrap();
        let cluster = of_kind(&manifests, "Cluster");
        let spec = &cluster["spec"];
        for absent in [
            "backup",
            "plugins",
            "managed",
            "replica",
            "env",
            "certificates",
        ] {
            assert!(spec[absent].is_null(), "{absent}");
        }
        assert_eq!(
            cluster["metadata"]["annotations"],
            json!({"cnpg.io/skipWalArchiving": "enabled"})
        );
        assert_eq!(spec["bootstrap"]["recovery"]["database"], "shop");
        assert_eq!(spec["bootstrap"]["recovery"]["owner"], "keeper");
        assert_eq!(
            spec["postgresql"]["shared_preload_libraries"],
            json!(["timescaledb"])
        );
        assert_eq!(spec["postgresql"]["parameters"]["max_connections"], "500");
        assert_eq!(
            spec["postgresql"]["parameters"]["cron.launch_active_jobs"],
            "off"
        );
        assert!(spec["postgresql"]["parameters"]["work_mem"].is_null());
        assert_eq!(spec["tablespaces"][0]["name"], "archive");
        let text = serde_json::to_string(&manifests).unwrap();
        for word in [
            "retentionPolicy",
            "isWALArchiver",
            "ldap",
            "0.0.0.0",
            "postInitSQL",
            "clusterManifest",
            "skipEmpty",
        ] {
            assert!(!text.contains(word), "{word} in {text}");
        }
    }
}

#[test]
fn of_extensions_and_tolerations_only_what_is_known_comes_along() {
    let spec = json!({
        "affinity": {"tolerations": [
            {"key": "db", "operator": "Exists", "isWALArchiver": true, "value": {"a": 1}},
            [{"archive_command": "x"}],
        ]},
        "postgresql": {"extensions": [
            {"name": "vector", "image": {"reference": "x/vector:1", "retentionPolicy": "1d"},
                "ld_library_path": ["lib", {"archive_command": "x"}], "else": 1},
            [{"archive_command": "x"}],
        ]},
    });
    let manifests = manifests(&plan(source(spec), Form::Plugin)).unwrap();
    let spec = &of_kind(&manifests, "Cluster")["spec"];
    assert_eq!(
        spec["affinity"]["tolerations"],
        json!([{"key": "db", "operator": "Exists"}])
    );
    assert_eq!(
        spec["postgresql"]["extensions"],
        json!([{"name": "vector", "image": {"reference": "x/vector:1"}, "ld_library_path": ["lib"]}])
    );
}

#[test]
fn snapshots_keep_their_label_and_outlive_their_second_name() {
    let manifests = manifests(&plan(hostile(), Form::Snapshot)).unwrap();
    let content = of_kind(&manifests, "VolumeSnapshotContent");
    assert_eq!(content["spec"]["deletionPolicy"], "Retain");
    assert_eq!(
        content["spec"]["source"],
        json!({"snapshotHandle": "handle-data"})
    );
    let snapshot = of_kind(&manifests, "VolumeSnapshot");
    assert_eq!(
        snapshot["metadata"]["annotations"],
        json!({"cnpg.io/backupLabelFile": "bGFiZWw=", "cnpg.io/pvcRole": "PG_DATA"})
    );
    let recovery = &of_kind(&manifests, "Cluster")["spec"]["bootstrap"]["recovery"];
    assert!(recovery["recoveryTarget"]["backupID"].is_null());
    assert_eq!(
        recovery["volumeSnapshots"]["walStorage"]["name"],
        "drill-wal"
    );
    assert_eq!(
        recovery["volumeSnapshots"]["tablespaceStorage"]["archive"]["name"],
        "drill-tablespace-0"
    );
    // A volume must be as large as its snapshot wants it.
    let cluster = of_kind(&manifests, "Cluster");
    assert_eq!(cluster["spec"]["tablespaces"][0]["storage"]["size"], "3Gi");
    assert_eq!(cluster["spec"]["storage"]["size"], "50Gi");
}

#[test]
fn what_a_plan_lacks_is_named() {
    let lacking = |change: &dyn Fn(&mut ScratchPlan), words: &str| {
        let mut plan = plan(hostile(), Form::Plugin);
        change(&mut plan);
        let error = manifests(&plan).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    };
    lacking(
        &|plan| plan.target.backup_id = None,
        "base backup is missing",
    );
    lacking(&|plan| plan.target.timeline = 0, "timeline is missing");
    lacking(&|plan| plan.server_name.clear(), "server name is missing");
    lacking(&|plan| plan.overrides.image = None, "image is missing");
    lacking(
        &|plan| plan.form = Form::Snapshot,
        "volume snapshots is missing",
    );
    lacking(
        &|plan| plan.network.dns[0].ports.clear(),
        "ports of a network peer",
    );
    lacking(
        &|plan| plan.overrides.cpu = Some("lots".to_owned()),
        "cpu is \"lots\"",
    );
    lacking(
        &|plan| plan.quota.storage = Some("0".to_owned()),
        "quota.storage is \"0\"",
    );
    for wide in ["0.0.0.0/0", "0.0.0.0/1", "::/0", "2000::/3", "10.0.0.1"] {
        lacking(
            &|plan| plan.network.store[0].side = Side::Addresses(vec![wide.to_owned()]),
            "must not reach every address",
        );
    }
    lacking(
        &|plan| {
            plan.network.store[0].side = Side::Pods {
                namespace: "s3".to_owned(),
                labels: BTreeMap::new(),
            };
        },
        "labels of a network peer",
    );
}

/// Each of these changes to good manifests breaks a rule.
#[test]
fn every_rule_is_held() {
    type Change = fn(&mut Value);
    let cluster: &[Change] = &[
        |c| c["spec"]["backup"] = json!({"barmanObjectStore": {"destinationPath": "s3://x"}}),
        |c| c["spec"]["plugins"] = json!([{"name": "x"}]),
        |c| c["spec"]["replica"] = json!({"enabled": true, "source": "origin"}),
        |c| c["spec"]["managed"] = json!({"roles": []}),
        |c| c["spec"]["env"] = json!([]),
        |c| c["spec"]["instances"] = json!(2),
        |c| c["spec"]["enableSuperuserAccess"] = json!(false),
        |c| c["metadata"]["annotations"] = json!({}),
        |c| c["metadata"]["annotations"]["cnpg.io/skipWalArchiving"] = json!("disabled"),
        |c| c["metadata"]["annotations"]["cnpg.io/skipEmptyWalArchiveCheck"] = json!("enabled"),
        |c| c["metadata"]["labels"]["walproof.dev/drill"] = json!("other"),
        |c| c["metadata"]["namespace"] = json!("prod"),
        |c| c["metadata"]["name"] = json!("orders"),
        |c| c["spec"]["bootstrap"]["recovery"]["recoveryTarget"] = json!({}),
        |c| c["spec"]["bootstrap"]["recovery"]["recoveryTarget"]["targetTime"] = json!("x"),
        |c| c["spec"]["bootstrap"]["recovery"]["recoveryTarget"]["targetTLI"] = json!(null),
        |c| c["spec"]["bootstrap"]["recovery"]["recoveryTarget"]["targetName"] = json!("x"),
        |c| c["spec"]["bootstrap"]["recovery"]["backup"] = json!({"name": "b"}),
        |c| c["spec"]["bootstrap"]["pg_basebackup"] = json!({"source": "origin"}),
        |c| c["spec"]["externalClusters"][0]["connectionParameters"] = json!({"host": "prod"}),
        |c| c["spec"]["externalClusters"][0]["barmanObjectStore"] = json!({}),
        |c| c["spec"]["externalClusters"][0]["plugin"]["parameters"]["serverName"] = json!("x"),
        |c| c["spec"]["externalClusters"][0]["plugin"]["isWALArchiver"] = json!(true),
        |c| c["spec"]["externalClusters"] = json!([]),
        |c| c["spec"]["postgresql"]["parameters"]["archive_command"] = json!("cp"),
        |c| c["spec"]["postgresql"]["parameters"]["max_logical_replication_workers"] = json!("4"),
        |c| c["spec"]["postgresql"]["parameters"]["cron.launch_active_jobs"] = json!("on"),
        |c| c["spec"]["postgresql"]["shared_preload_libraries"] = json!(["pg_cron"]),
        |c| c["spec"]["postgresql"]["pg_hba"] = json!([]),
        |c| c["spec"]["monitoring"]["enablePodMonitor"] = json!(true),
    ];
    let store: &[Change] = &[
        |s| s["spec"]["retentionPolicy"] = json!("1d"),
        |s| s["spec"]["configuration"]["wal"]["maxParallel"] = json!(8),
        |s| s["spec"]["configuration"]["wal"]["restoreAdditionalCommandArgs"] = json!([]),
        |s| s["spec"]["configuration"]["wal"]["archiveAdditionalCommandArgs"] = json!([]),
        |s| s["spec"]["configuration"]["data"] = json!({"jobs": 4}),
        |s| s["spec"]["configuration"]["serverName"] = json!("x"),
        |s| s["spec"]["configuration"]["s3Credentials"]["accessKeyId"]["name"] = json!("prod"),
        |s| s["spec"]["instanceSidecarConfiguration"]["env"] = json!([]),
    ];
    let others: &[(&str, Change)] = &[
        ("Namespace", |n| {
            n["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] = json!("privileged")
        }),
        ("Namespace", |n| n["metadata"]["name"] = json!("prod")),
        ("NetworkPolicy", |p| {
            p["spec"]["podSelector"] = json!({"matchLabels": {"a": "b"}})
        }),
        ("NetworkPolicy", |p| p["spec"]["egress"] = json!([{}])),
        ("NetworkPolicy", |p| {
            p["spec"]["policyTypes"] = json!(["Ingress"])
        }),
        ("Secret", |s| s["metadata"]["name"] = json!("else")),
        ("LimitRange", |l| l["kind"] = json!("Backup")),
        ("ResourceQuota", |q| q["metadata"]["labels"] = json!({})),
    ];
    let changes = cluster
        .iter()
        .map(|change| ("Cluster", change))
        .chain(store.iter().map(|change| ("ObjectStore", change)))
        .chain(others.iter().map(|(kind, change)| (*kind, change)));
    let plan = plan(hostile(), Form::Plugin);
    let good = manifests(&plan).unwrap();
    for (index, (kind, change)) in changes.enumerate() {
        let mut changed = good.clone();
        change(changed.iter_mut().find(|one| one["kind"] == kind).unwrap());
        let refused = invariant::check(&plan, &changed);
        assert!(refused.is_err(), "change {index}, of the {kind}, passed");
    }
    let mut reordered = good.clone();
    reordered.swap(0, 1);
    assert!(invariant::check(&plan, &reordered).is_err());
    let last = good.len() - 1;
    assert!(invariant::check(&plan, &good[..last]).is_err());
    // A way in the in-tree form, and content that its deletion would delete.
    let plan = self::plan(hostile(), Form::InTree);
    let mut changed = manifests(&plan).unwrap();
    let cluster = changed.last_mut().unwrap();
    cluster["spec"]["externalClusters"][0]["barmanObjectStore"]["wal"]["maxParallel"] = json!(2);
    assert!(invariant::check(&plan, &changed).is_err());
    let plan = self::plan(hostile(), Form::Snapshot);
    let mut changed = manifests(&plan).unwrap();
    let content = changed
        .iter_mut()
        .find(|one| one["kind"] == "VolumeSnapshotContent");
    content.unwrap()["spec"]["deletionPolicy"] = json!("Delete");
    assert!(invariant::check(&plan, &changed).is_err());
}

/// Any JSON.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        word().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(word(), inner, 0..4)
                .prop_map(|map| map.into_iter().collect::<Value>()),
        ]
    })
}

/// Words that mean something somewhere, long ones, and any text.
fn word() -> impl Strategy<Value = String> {
    const KNOWN: &[&str] = &[
        "archive_command",
        "restore_command",
        "primary_conninfo",
        "include",
        "archive_mode",
        "shared_preload_libraries",
        "pg_cron",
        "$libdir/pg_cron.so",
        "cron.launch_active_jobs",
        "max_connections",
        "Max_Connections",
        "max_logical_replication_workers",
        "100",
        "1Gi",
        "isWALArchiver",
        "retentionPolicy",
        "barmanObjectStore",
        "destinationPath",
        "name",
        "size",
        "connectionParameters",
        "cnpg.io/skipEmptyWalArchiveCheck",
        "recovery_target",
        "shared_buffers",
        "pg_basebackup",
        "wal",
        "maxParallel",
        "parameters",
        "ImageCatalog",
        "timescaledb",
    ];
    prop_oneof![
        4 => prop::sample::select(KNOWN).prop_map(str::to_owned),
        1 => "\\PC{0,12}",
        1 => "[a-z-]{60,300}",
    ]
}

/// A source's spec: every section that matters, each sensible, hostile or nonsense.
fn spec() -> impl Strategy<Value = Value> {
    const SECTIONS: &[&str] = &[
        "backup",
        "plugins",
        "managed",
        "replica",
        "monitoring",
        "externalClusters",
        "bootstrap",
        "env",
        "affinity",
        "resources",
        "storage",
        "walStorage",
        "tablespaces",
        "imageCatalogRef",
        "imageName",
        "imagePullSecrets",
        "serviceAccountTemplate",
        "postgresUID",
        "certificates",
        "inheritedMetadata",
        "superuserSecret",
        "probes",
    ];
    let sections = prop::collection::btree_map(
        prop::sample::select(SECTIONS).prop_map(str::to_owned),
        anything(),
        0..8,
    );
    let parameters = prop::collection::btree_map(word(), word(), 0..10);
    let libraries = prop::collection::vec(word(), 0..5);
    let extensions = prop::collection::vec(anything(), 0..3);
    let names = prop::collection::btree_set(word(), 0..4);
    (
        sections,
        parameters,
        libraries,
        extensions,
        names,
        any::<bool>(),
    )
        .prop_map(
            |(sections, parameters, libraries, extensions, names, from_hostile)| {
                let mut spec = if from_hostile {
                    hostile()["spec"].clone()
                } else {
                    json!({})
                };
                for (name, value) in sections {
                    spec[name] = value;
                }
                let tablespaces: Vec<Value> = names
                    .iter()
                    .map(|name| json!({"name": name, "storage": {"size": name}}))
                    .collect();
                if !tablespaces.is_empty() {
                    spec["tablespaces"] = Value::from(tablespaces);
                }
                spec["postgresql"] = json!({
                    "parameters": parameters,
                    "shared_preload_libraries": libraries,
                    "extensions": extensions,
                });
                spec
            },
        )
}

/// All keys, at any depth.
fn keys<'a>(value: &'a Value, into: &mut BTreeSet<&'a str>) {
    match value {
        Value::Object(members) => {
            for (key, member) in members {
                into.insert(key);
                // Its keys are names of tablespaces.
                if key != "tablespaceStorage" {
                    keys(member, into);
                }
            }
        }
        Value::Array(members) => members.iter().for_each(|member| keys(member, into)),
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever the source looks like, its recovery is made, and cannot archive. The
    /// assertions are written out here and share nothing with the invariant.
    #[test]
    fn no_source_makes_a_recovery_that_archives(
        spec in spec(),
        name in "[a-z]([a-z0-9-]{0,200}[a-z0-9])?",
        asked in prop::collection::vec(word(), 0..3),
        form in prop::sample::select(&[Form::Plugin, Form::InTree, Form::Snapshot][..]),
    ) {
        let mut manifest = source(spec);
        manifest["metadata"]["name"] = json!(name);
        manifest["metadata"]["annotations"] = json!({"cnpg.io/skipEmptyWalArchiveCheck": "enabled"});
        let mut plan = plan(manifest, form);
        plan.overrides.preload = asked;
        let manifests = manifests(&plan).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let cluster = of_kind(&manifests, "Cluster");
        let mut all = BTreeSet::new();
        for one in &manifests {
            keys(one, &mut all);
            let namespace = one["metadata"]["namespace"].as_str();
            prop_assert!(namespace.is_none_or(|namespace| namespace == plan.namespace));
            for (label, value) in one["metadata"]["labels"].as_object().unwrap() {
                let value = value.as_str().unwrap();
                prop_assert!(value.len() <= 63, "{}: {}", label, value);
            }
        }
        for key in ["archive_command", "archive_mode", "restore_command", "primary_conninfo",
            "include", "isWALArchiver", "retentionPolicy", "connectionParameters", "pg_basebackup",
            "cnpg.io/skipEmptyWalArchiveCheck", "archiveAdditionalCommandArgs", "shared_preload_library"] {
            prop_assert!(!all.contains(key), "{}", key);
        }
        prop_assert!(plan.namespace.len() <= 63);
        let spec = cluster["spec"].as_object().unwrap();
        for key in ["backup", "plugins", "managed", "replica", "certificates", "env"] {
            prop_assert!(!spec.contains_key(key));
        }
        prop_assert_eq!(&cluster["metadata"]["annotations"], &json!({"cnpg.io/skipWalArchiving": "enabled"}));
        prop_assert_eq!(&spec["instances"], &json!(1));
        let target = &spec["bootstrap"]["recovery"]["recoveryTarget"];
        prop_assert_eq!(&target["targetLSN"], "0/3000060");
        prop_assert_eq!(&target["targetTLI"], "1");
        prop_assert_eq!(target["backupID"].is_null(), form == Form::Snapshot);
        let parameters = &spec["postgresql"]["parameters"];
        prop_assert_eq!(&parameters["max_logical_replication_workers"], "0");
        prop_assert_eq!(&parameters["cron.launch_active_jobs"], "off");
        let libraries = spec["postgresql"]["shared_preload_libraries"].as_array().cloned();
        for library in libraries.unwrap_or_default() {
            let library = library.as_str().unwrap();
            prop_assert!(library != "pg_cron" && !library.contains('/'), "{}", library);
        }
    }
}

/// walproof binds one role, to itself, and only where it was asked for.
#[test]
fn a_binding_is_for_walproof_itself_and_comes_first() {
    let mut plan = plan(hostile(), Form::Plugin);
    let without = manifests(&plan).unwrap();
    assert!(without.iter().all(|one| one["kind"] != "RoleBinding"));
    plan.grant = Some(Grant {
        role: "walproof-scratch".to_owned(),
        identity: Identity {
            username: "system:serviceaccount:backups:walproof".to_owned(),
            groups: Vec::new(),
        },
    });
    let all = manifests(&plan).unwrap();
    assert_eq!(all.len(), without.len() + 1);
    assert_eq!(
        (&all[0]["kind"], &all[1]["kind"]),
        (&json!("Namespace"), &json!("RoleBinding"))
    );
    assert_eq!(
        all[1]["subjects"],
        json!([{"kind": "ServiceAccount", "namespace": "backups", "name": "walproof"}])
    );
    for (pointer, value) in [
        ("/roleRef/kind", json!("Role")),
        ("/roleRef/name", json!("cluster-admin")),
        ("/metadata/namespace", json!("kube-system")),
        ("/subjects/0/name", json!("default")),
        ("/subjects/0/namespace", json!("kube-system")),
        (
            "/subjects",
            json!([{"kind": "Group", "name": "system:authenticated"}]),
        ),
        (
            "/subjects",
            json!([all[1]["subjects"][0], all[1]["subjects"][0]]),
        ),
    ] {
        let mut changed = all.clone();
        *changed[1].pointer_mut(pointer).unwrap() = value;
        assert!(invariant::check(&plan, &changed).is_err(), "{pointer}");
    }
    // Nobody asked for one, and it is there; somebody did, and it is not.
    plan.grant = None;
    assert!(invariant::check(&plan, &all).is_err());
    plan.grant = Some(Grant {
        role: "walproof-scratch".to_owned(),
        identity: Identity::default(),
    });
    assert!(invariant::check(&plan, &without).is_err());
}
