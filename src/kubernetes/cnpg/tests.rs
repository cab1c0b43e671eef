//! The views of objects that a real operator made (CloudNativePG 1.30.0 with the Barman
//! Cloud plugin 0.14.0), and of shapes that only older ones or other stores give.

#![allow(
    clippy::needless_pass_by_value,
    clippy::unnecessary_wraps,
    reason = "values are written where they are compared"
)]

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::*;
use crate::postgres::SystemId;

fn fixture(name: &str) -> Value {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/kubernetes/cnpg")
        .join(format!("{name}.json"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn cluster(name: &str) -> SourceCluster {
    SourceCluster::parse(fixture(name)).unwrap()
}

fn spec(spec: Value) -> SourceCluster {
    SourceCluster::parse(json!({
        "metadata": {"namespace": "shop", "name": "orders"}, "spec": spec,
    }))
    .unwrap()
}

fn at(text: &str) -> Option<DateTime<Utc>> {
    Some(text.parse().unwrap())
}

#[test]
fn a_cluster_of_the_plugin_form() {
    let view = cluster("cluster-plugin");
    assert_eq!((&*view.namespace, &*view.name), ("k2-shop", "orders"));
    assert!(!view.uid.is_empty() && !view.resource_version.is_empty());
    assert_eq!(view.image.as_deref(), Some("lab.local/postgresql:15"));
    assert_eq!((view.major, view.catalog.clone()), (Some(15), None));
    assert_eq!((view.instances, view.ready_instances), (1, 1));
    assert_eq!(view.system_id, Some(SystemId(7_710_910_071_975_874_581)));
    assert_eq!(view.timeline, Some(1));
    assert_eq!(view.storage.size.as_deref(), Some("1Gi"));
    assert_eq!(view.storage.class.as_deref(), Some("local-path"));
    assert_eq!(view.wal_storage, None);
    assert_eq!(view.parameters["max_connections"], "40");
    assert_eq!(view.parameters["shared_preload_libraries"], "");
    assert!(view.preload.is_empty() && view.tablespaces.is_empty());
    assert_eq!((&*view.database, &*view.owner), ("orders", "orders"));
    assert_eq!(
        view.archive,
        Archive::Plugin {
            store: "store".to_owned(),
            server_name: "orders".to_owned(),
            wal: true,
        }
    );
    assert!(view.is_healthy() && !view.hibernated);
    assert_eq!(view.archiving, Some(true));
    assert_eq!(view.archiving_problem, None);
    assert_eq!(view.manifest, fixture("cluster-plugin"));
}

#[test]
fn a_cluster_of_the_in_tree_form() {
    let view = cluster("cluster-in-tree");
    let Archive::InTree {
        configuration,
        server_name,
    } = &view.archive
    else {
        panic!("{:?}", view.archive);
    };
    assert_eq!(server_name, "invoices");
    let store = StoreConfiguration::parse("Cluster", configuration).unwrap();
    assert!(store.destination_path.starts_with("s3://k2-billing/"));
    assert_eq!(
        store.endpoint_url.as_deref(),
        Some("http://s3.lab-s3.svc:7070")
    );
    assert_eq!(view.retention.as_deref(), Some("30d"));
}

#[test]
fn a_cluster_with_snapshots_tablespaces_and_a_name_of_its_own_in_the_store() {
    let view = cluster("cluster-snapshots");
    assert_eq!(view.archive.server_name(), Some("ledger-2026"));
    assert_eq!(view.snapshot_class.as_deref(), Some("lab-csi"));
    assert_eq!(view.wal_storage.unwrap().size.as_deref(), Some("1Gi"));
    assert_eq!(
        view.tablespaces,
        [Tablespace {
            name: "archive".to_owned(),
            storage: Storage {
                size: Some("512Mi".to_owned()),
                class: Some("lab-csi".to_owned()),
            },
            owner: Some("ledger".to_owned()),
            temporary: false,
        }]
    );
    assert_eq!(view.preload, ["pg_stat_statements"]);
    assert_eq!(view.node_selector["kubernetes.io/os"], "linux");
    assert_eq!(view.tolerations[0]["key"], "database");
}

#[test]
fn a_cluster_without_an_archive_and_one_whose_archiving_fails() {
    assert_eq!(cluster("cluster-without-archive").archive, Archive::None);
    let failing = cluster("cluster-archiving-fails");
    assert_eq!(failing.archiving, Some(false));
    assert_eq!(
        failing.archiving_problem.as_deref(),
        Some("unexpected failure invoking barman-cloud-wal-archive: exit status 4")
    );
    assert!(failing.is_healthy(), "the operator calls it healthy");
}

#[test]
fn which_archive_counts() {
    let plugin = |name: &str, archiver: bool, enabled: bool| {
        json!({"name": name, "isWALArchiver": archiver, "enabled": enabled,
               "parameters": {"barmanObjectName": "s", "serverName": "other"}})
    };
    let form = |plugins: Vec<Value>, backup: Value| {
        spec(json!({"plugins": plugins, "backup": backup}))
            .archive
            .form()
            .to_owned()
    };
    let in_tree = || json!({"barmanObjectStore": {"destinationPath": "s3://b"}});
    assert_eq!(form(vec![plugin(PLUGIN, true, true)], in_tree()), "plugin");
    assert_eq!(
        form(vec![plugin(PLUGIN, true, false)], in_tree()),
        "in-tree"
    );
    // A migration half-way: base backups by the plugin, WAL still by the operator.
    assert_eq!(
        form(vec![plugin(PLUGIN, false, true)], in_tree()),
        "in-tree"
    );
    assert_eq!(
        form(vec![plugin(PLUGIN, false, true)], Value::Null),
        "plugin"
    );
    assert_eq!(
        form(
            vec![plugin("klio.enterprisedb.io", true, true)],
            Value::Null
        ),
        "klio.enterprisedb.io"
    );
    assert_eq!(form(vec![], json!({"volumeSnapshot": {}})), "none");
    let named = spec(json!({"plugins": [plugin(PLUGIN, true, true)]}));
    assert_eq!(named.archive.server_name(), Some("other"));
}

#[test]
fn what_is_left_out_is_as_the_operator_takes_it() {
    let bare = spec(json!({}));
    assert_eq!((&*bare.database, &*bare.owner), ("app", "app"));
    assert_eq!(bare.instances, 1);
    let recovered = spec(json!({"bootstrap": {"recovery": {"database": "shop"}}}));
    assert_eq!((&*recovered.database, &*recovered.owner), ("shop", "shop"));
    let catalog = spec(json!({"imageCatalogRef": {
        "apiGroup": "postgresql.cnpg.io", "kind": "ClusterImageCatalog", "name": "pg", "major": 17,
    }}));
    assert_eq!(catalog.major, Some(17));
    assert_eq!(catalog.catalog.unwrap().kind, "ClusterImageCatalog");
    let template = spec(json!({"storage": {"pvcTemplate": {
        "storageClassName": "fast", "resources": {"requests": {"storage": "5Gi"}},
    }}}));
    assert_eq!(template.storage.size.as_deref(), Some("5Gi"));
    assert_eq!(template.storage.class.as_deref(), Some("fast"));
}

#[test]
fn the_major_version_from_an_image() {
    for (image, major) in [
        ("ghcr.io/cloudnative-pg/postgresql:17.2-bookworm", Some(17)),
        ("registry:5000/pg:16@sha256:abc", Some(16)),
        ("registry:5000/pg", None),
        ("pg@sha256:abc", None),
        ("pg:latest", None),
        ("pg:20261122", None),
    ] {
        assert_eq!(spec(json!({"imageName": image})).major, major, "{image}");
    }
}

#[test]
fn what_is_no_cluster_is_refused_by_name() {
    for (value, words) in [
        (json!({}), "metadata.namespace is missing"),
        (
            json!({"metadata": {"namespace": "a", "name": "b"}}),
            "read Cluster a/b: spec is missing",
        ),
    ] {
        let error = SourceCluster::parse(value).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn an_object_store_with_its_credentials_and_windows() {
    let store = ObjectStore::parse(fixture("object-store")).unwrap();
    assert_eq!(store.retention.as_deref(), Some("30d"));
    let window = store.windows["orders"];
    assert_eq!(
        window.first_recoverability_point,
        at("2026-11-22T08:29:48Z")
    );
    assert_eq!(window.last_successful_backup, at("2026-11-22T08:29:48Z"));
    assert_eq!(window.last_failed_backup, None);
    let references: Vec<String> = store
        .configuration
        .credentials
        .references()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(references, ["s3[ACCESS_KEY_ID]", "s3[ACCESS_SECRET_KEY]"]);
    assert!(!store.configuration.credentials.is_ambient());
    // As older plugins spell it.
    let mut older = fixture("object-store");
    older["status"]["serverRecoveryWindow"]["orders"] =
        json!({"lastSuccussfulBackupTime": "2026-11-22T08:29:48Z"});
    let older = ObjectStore::parse(older).unwrap();
    assert_eq!(
        older.windows["orders"].last_successful_backup,
        at("2026-11-22T08:29:48Z")
    );
    let mut without = fixture("object-store");
    without["spec"]["configuration"]["destinationPath"] = json!("");
    let error = ObjectStore::parse(without).unwrap_err().to_string();
    assert_eq!(
        error,
        "read ObjectStore k2-shop/store: destinationPath is missing"
    );
}

#[test]
fn backups_of_every_method() {
    let plugin = Backup::parse(fixture("backup-plugin")).unwrap();
    assert!(plugin.is_completed() && !plugin.is_failed());
    assert_eq!(plugin.method, BackupMethod::Plugin);
    assert_eq!(plugin.backup_id.as_deref(), Some("20261122T082938"));
    assert_eq!(
        plugin.begin_wal.as_deref(),
        Some("000000010000000000000004")
    );
    assert_eq!(plugin.end_lsn.as_deref(), Some("0/4000138"));
    assert_eq!(plugin.stopped_at, at("2026-11-22T08:29:48Z"));
    let in_tree = Backup::parse(fixture("backup-in-tree")).unwrap();
    assert_eq!(in_tree.method, BackupMethod::InTree);
    assert_eq!(in_tree.cluster, "invoices");
    let snapshots = Backup::parse(fixture("backup-snapshots")).unwrap();
    assert_eq!(snapshots.method, BackupMethod::VolumeSnapshot);
    let roles: BTreeMap<&str, &str> = snapshots
        .snapshots
        .iter()
        .map(|one| (&*one.role, &*one.name))
        .collect();
    assert_eq!(roles["PG_DATA"], "s1");
    assert_eq!(roles["PG_WAL"], "s1-wal");
    assert_eq!(roles["PG_TABLESPACE"], "s1-tbs-archive");
    assert!(snapshots.tablespace_map.is_some());
    let scheduled = ScheduledBackup::parse(fixture("scheduled-backup")).unwrap();
    assert_eq!(scheduled.schedule, "0 0 2 * * *");
    assert!(!scheduled.suspended);
    // The operator says it only after the first run.
    assert_eq!(scheduled.next_schedule, None);
    let mut later = fixture("scheduled-backup");
    later["status"]["nextScheduleTime"] = json!("2026-11-23T02:00:00Z");
    let later = ScheduledBackup::parse(later).unwrap();
    assert_eq!(later.next_schedule, at("2026-11-23T02:00:00Z"));
}

#[test]
fn volume_snapshots_say_what_they_hold() {
    let all = fixture("volume-snapshots");
    let views: Vec<VolumeSnapshot> = all["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| VolumeSnapshot::parse(one.clone()).unwrap())
        .collect();
    let roles: Vec<&SnapshotRole> = views.iter().map(|view| &view.role).collect();
    assert_eq!(
        roles,
        [
            &SnapshotRole::Data,
            &SnapshotRole::Tablespace("archive".to_owned()),
            &SnapshotRole::Wal
        ]
    );
    for view in &views {
        assert_eq!(view.cluster.as_deref(), Some("ledger"));
        assert_eq!(view.backup.as_deref(), Some("s1"));
        assert!(view.ready && view.content.is_some() && view.error.is_none());
        assert_eq!(view.class.as_deref(), Some("lab-csi"));
    }
}

#[test]
fn the_operator_and_its_plugin() {
    let mut operator = Operator::of_deployment(&fixture("operator-deployment")).unwrap();
    assert_eq!(operator.namespace, "cnpg-system");
    assert_eq!(operator.version.as_deref(), Some("1.30.0"));
    assert_eq!(operator.ready, 1);
    assert_eq!(
        operator.pod_labels["app.kubernetes.io/name"],
        "cloudnative-pg"
    );
    assert!(operator.watches("any"));
    operator.watches = vec!["shop".to_owned()];
    assert!(operator.watches("shop") && !operator.watches("walproof-drill-x"));

    let deployments = [fixture("operator-deployment"), fixture("plugin-deployment")];
    let plugin = Plugin::of_service(&fixture("plugin-service"), &deployments).unwrap();
    assert_eq!(plugin.version.as_deref(), Some("0.14.0"));
    assert_eq!(plugin.service.as_deref(), Some("barman-cloud"));
    assert_eq!(plugin.pod_labels["app"], "barman-cloud");
    // Where Services may not be listed.
    let by_image: Vec<Plugin> = deployments
        .iter()
        .filter_map(Plugin::of_deployment)
        .collect();
    assert_eq!(by_image.len(), 1);
    assert_eq!(by_image[0].version.as_deref(), Some("0.14.0"));
}

#[test]
fn an_operator_that_watches_a_few_namespaces() {
    let mut deployment = fixture("operator-deployment");
    deployment["spec"]["template"]["spec"]["containers"][0]["env"] =
        json!([{"name": "WATCH_NAMESPACE", "value": "shop, billing"}]);
    let operator = Operator::of_deployment(&deployment).unwrap();
    assert_eq!(operator.watches, ["shop", "billing"]);
}

/// A Backup stays when its snapshots are deleted: then nothing can be restored from it.
#[test]
fn a_backup_outlives_its_snapshots() {
    let backup = Backup::parse(json!({
        "metadata": {"namespace": "shop", "name": "b"},
        "spec": {"cluster": {"name": "orders"}, "method": "volumeSnapshot"},
        "status": {"phase": "completed", "snapshotBackupStatus": {"elements": [
            {"name": "b", "type": "PG_DATA"}, {"name": "b-wal", "type": "PG_WAL"},
        ]}},
    }))
    .unwrap();
    let snapshot = |namespace: &str, name: &str, ready: bool| {
        VolumeSnapshot::parse(json!({
            "metadata": {"namespace": namespace, "name": name},
            "spec": {}, "status": {"readyToUse": ready},
        }))
        .unwrap()
    };
    let faults = |there: &[VolumeSnapshot]| snapshot_faults(&backup, there);
    let both = [snapshot("shop", "b", true), snapshot("shop", "b-wal", true)];
    assert_eq!(faults(&both), Vec::<String>::new());
    let gone = [
        snapshot("shop", "b", true),
        snapshot("other", "b-wal", true),
    ];
    assert_eq!(faults(&gone), ["volume snapshot b-wal is gone"]);
    let unready = [
        snapshot("shop", "b", false),
        snapshot("shop", "b-wal", true),
    ];
    let said = faults(&unready);
    assert!(
        said.len() == 1 && said[0].contains("b is not ready"),
        "{said:?}"
    );
    let mut without = backup.clone();
    without.snapshots.remove(0);
    assert_eq!(
        snapshot_faults(&without, &both),
        ["it has no snapshot of the data directory"]
    );
}
