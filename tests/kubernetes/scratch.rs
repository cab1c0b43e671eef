//! Scratch namespaces on a real cluster: recoveries in every form that archive nothing and
//! reach only what they need, and their complete removal.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, PostParams};
use serde_json::{Value, json};
use uuid::Uuid;
use walproof::kubernetes::cnpg::{self, SourceCluster};
use walproof::kubernetes::scratch::{
    self, Form, NetworkPlan, Overrides, Quota, RecoveryTarget, ScratchPlan, SecretBytes, Stop,
    StoreAccess, StoreKeys, network, snapshots,
};
use walproof::kubernetes::{Access, Kube, KubeErrorKind, holder, names};

use crate::common::kubernetes::source::{self, Source};
use crate::common::kubernetes::{Lab, cluster};
use crate::common::process::wait_until;
use crate::common::s3::READER;
use crate::kit::Place;

const PATIENCE: Duration = Duration::from_mins(3);

fn run<T>(work: impl Future<Output = T>) -> T {
    let _ = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Runtime::new().unwrap().block_on(work)
}

async fn connect(lab: &Lab) -> Kube {
    let access = Access {
        kubeconfig: Some(lab.kubeconfig.clone()),
        context: None,
    };
    Kube::connect(&access).await.unwrap()
}

fn reader() -> StoreKeys {
    StoreKeys::S3 {
        access_key_id: SecretBytes::new(READER.key),
        secret_access_key: SecretBytes::new(READER.secret),
        session_token: None,
        region: None,
    }
}

pub(crate) fn plan(lab: &Lab, cluster: Value, form: Form) -> ScratchPlan {
    let id = Uuid::now_v7();
    let source = SourceCluster::parse(cluster).unwrap();
    ScratchPlan {
        id,
        namespace: scratch::namespace_name(&lab.prefix, &source.name, id),
        cluster_label: source.name.clone(),
        owner: Some("Team Orders <o@example.com>".to_owned()),
        cost_centre: Some("4711".to_owned()),
        expires_at: Utc::now() + TimeDelta::hours(1),
        holder: holder::this_process(),
        form,
        server_name: source.archive.server_name().unwrap_or("orders").to_owned(),
        source,
        store: StoreAccess::new("s3://backups/x/", None, None, reader(), None),
        target: RecoveryTarget {
            backup_id: (form != Form::Snapshot).then(|| "20260101T000000".to_owned()),
            stop: Stop::Immediate,
            timeline: 1,
            exclusive: false,
        },
        snapshots: None,
        overrides: Overrides {
            // The lab's node is small.
            cpu: Some("50m".to_owned()),
            memory: Some("256Mi".to_owned()),
            ..Overrides::default()
        },
        quota: Quota::default(),
        network: NetworkPlan::default(),
        pull_secrets: BTreeMap::new(),
        grant: None,
    }
}

/// A plan without a real source, for what needs no recovery.
fn small(lab: &Lab) -> ScratchPlan {
    let spec = json!({"instances": 1, "imageName": lab.postgres_image, "storage": {"size": "1Gi"}});
    plan(
        lab,
        json!({"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster",
            "metadata": {"name": "orders", "namespace": "prod"}, "spec": spec}),
        Form::Plugin,
    )
}

/// The plan's namespace, and nothing in it.
fn only_namespace(plan: &ScratchPlan) -> Vec<Value> {
    let all = scratch::manifests(plan).unwrap();
    all.into_iter().take(1).collect()
}

fn exec(lab: &Lab, namespace: &str, pod: &str, command: &[&str]) -> String {
    let head = ["-n", namespace, "exec", pod, "-c", "postgres", "--"];
    lab.ask(&[&head[..], command].concat())
}

fn sql(lab: &Lab, namespace: &str, query: &str) -> String {
    let database = Source::DATABASE;
    let psql = [
        "psql",
        "-X",
        "-qAt",
        "-v",
        "ON_ERROR_STOP=1",
        "-d",
        database,
        "-c",
        query,
    ];
    exec(lab, namespace, "drill-1", &psql)
}

/// Whether a TCP connection opens from a pod.
fn opens(lab: &Lab, namespace: &str, pod: &str, host: &str, port: &str) -> bool {
    // A name that does not resolve in time counts as shut too.
    let try_it = format!(
        "timeout 5 bash -c 'exec 3<>/dev/tcp/{host}/{port}' 2>&1 && echo open || echo shut"
    );
    let said = exec(lab, namespace, pod, &["bash", "-c", &try_it]);
    said.lines().last() == Some("open")
}

#[test]
fn plugin_recovery_archives_nothing_and_reaches_only_what_it_needs() {
    let lab = cluster!();
    let _peace = lab.beside();
    recovers(lab, Source::plugin(lab), Form::Plugin);
}

#[test]
fn in_tree_recovery_archives_nothing_and_reaches_only_what_it_needs() {
    let lab = cluster!();
    let _peace = lab.beside();
    let Some(source) = Source::in_tree(lab) else {
        return;
    };
    recovers(lab, source, Form::InTree);
}

#[test]
fn snapshot_recovery_in_another_namespace_leaves_the_snapshot_alone() {
    let lab = cluster!();
    let _peace = lab.beside();
    let Some(source) = Source::snapshot(lab) else {
        return;
    };
    recovers(lab, source, Form::Snapshot);
}

fn recovers(lab: &'static Lab, source: &Source, form: Form) {
    let cluster = format!("cluster/{}", Source::CLUSTER);
    let mut plan = plan(lab, lab.get(source.name(), &cluster).unwrap(), form);
    let moment = if form == Form::Snapshot {
        // A moment after the snapshot.
        source.backup("scratch-snapshot", source::Form::Snapshot);
        source.moment(0.3)
    } else {
        source.moment(0.5)
    };
    let backups = lab.list(source.name(), "backups", "");
    let newest = backups
        .iter()
        .filter(|backup| (backup["spec"]["method"] == "volumeSnapshot") == (form == Form::Snapshot))
        .filter(|backup| backup["status"]["phase"] == "completed")
        .filter(|backup| ended(backup) < moment.at)
        .max_by_key(|backup| ended(backup))
        .expect("a backup before the moment");
    let endpoint = source.store.endpoint();
    let destination = source.configuration()["destinationPath"]
        .as_str()
        .unwrap()
        .to_owned();
    plan.store = StoreAccess::new(&destination, Some(&endpoint), None, reader(), None);
    plan.target.stop = Stop::Time(moment.at);
    if form != Form::Snapshot {
        plan.target.backup_id = Some(newest["status"]["backupId"].as_str().unwrap().to_owned());
    }
    let before = source.store.keys(
        crate::common::kubernetes::store::Store::BUCKET,
        source.folder(),
    );
    let (namespace, id) = (plan.namespace.clone(), plan.id);
    run(async {
        let kube = connect(lab).await;
        let operator = cnpg::operator(&kube).await.unwrap().expect("an operator");
        plan.network = network::plan(&kube, &endpoint, &[], &operator)
            .await
            .unwrap();
        if form == Form::Snapshot {
            let backup = cnpg::Backup::parse(newest.clone()).unwrap();
            plan.snapshots = Some(snapshots::of_backup(&kube, &backup).await.unwrap());
        }
        let manifests = scratch::manifests(&plan).unwrap();
        let mut made = Vec::new();
        scratch::create(&kube, &manifests, |one| made.push(one["kind"].clone()))
            .await
            .unwrap();
        assert_eq!(made.len(), manifests.len());
        // As after an answer that was lost.
        scratch::create(&kube, &manifests, |_| {}).await.unwrap();
    });
    lab.wait(
        &namespace,
        "cluster/drill",
        "condition=Ready",
        Duration::from_mins(8),
    );
    // What was committed before the moment, and nothing after it.
    assert_eq!(
        sql(lab, &namespace, "select count(*), max(n) from history").trim(),
        format!("{0}|{0}", moment.rows)
    );
    assert_eq!(sql(lab, &namespace, "show archive_mode").trim(), "off");
    assert_eq!(
        sql(lab, &namespace, "show max_logical_replication_workers").trim(),
        "0"
    );
    assert_eq!(
        sql(lab, &namespace, "select pg_is_in_recovery()").trim(),
        "f"
    );
    network_is_closed(lab, source, &plan);
    quota_refuses_more(lab, &namespace);
    // Segments of a new timeline, which an archiver would have to take away.
    sql(
        lab,
        &namespace,
        "create table written as select generate_series(1, 1000)",
    );
    sql(lab, &namespace, "select pg_switch_wal()");
    let after = source.store.keys(
        crate::common::kubernetes::store::Store::BUCKET,
        source.folder(),
    );
    let own = format!("{}/{}/wals/00000001", source.folder(), Source::CLUSTER);
    for key in after.iter().filter(|key| !before.contains(key)) {
        assert!(key.starts_with(&own), "{key} is not the source's");
    }
    assert_eq!(
        sql(
            lab,
            &namespace,
            "select archived_count + failed_count from pg_stat_archiver"
        )
        .trim(),
        "0"
    );
    let volumes: Vec<String> = lab
        .list(&namespace, "pvc", "")
        .iter()
        .map(|claim| claim["spec"]["volumeName"].as_str().unwrap().to_owned())
        .collect();
    assert!(!volumes.is_empty());
    run(async {
        let kube = connect(lab).await;
        let another = scratch::remove(&kube, &namespace, Uuid::now_v7(), PATIENCE).await;
        assert!(another.unwrap_err().message.contains("nothing was touched"));
        assert!(
            lab.get("default", &format!("namespace/{namespace}"))
                .is_some()
        );
        let removal = scratch::remove(&kube, &namespace, id, PATIENCE)
            .await
            .unwrap();
        assert!(removal.is_whole(), "{removal:?}");
    });
    assert!(
        lab.get("default", &format!("namespace/{namespace}"))
            .is_none()
    );
    for volume in volumes {
        assert!(
            lab.get("default", &format!("persistentvolume/{volume}"))
                .is_none()
        );
    }
    if form == Form::Snapshot {
        let selector = format!("{}={id}", names::DRILL);
        assert!(lab.list("", "volumesnapshotcontents", &selector).is_empty());
        for snapshot in lab.list(source.name(), "volumesnapshots", "") {
            assert_eq!(snapshot["status"]["readyToUse"], true);
        }
    }
}

fn ended(backup: &Value) -> DateTime<Utc> {
    backup["status"]["stoppedAt"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap()
}

/// Probes in both directions: what must be open is, and what is shut for the drill is open
/// for the source.
fn network_is_closed(lab: &Lab, source: &Source, plan: &ScratchPlan) {
    let address = |namespace: &str, service: &str| {
        let service = lab.get(namespace, &format!("service/{service}")).unwrap();
        service["spec"]["clusterIP"].as_str().unwrap().to_owned()
    };
    let drill = |host: &str, port: &str| opens(lab, &plan.namespace, "drill-1", host, port);
    let api = address("default", "kubernetes");
    let store = format!("s3.{}.svc", source.store.namespace());
    assert!(drill(&api, "443"), "the API server");
    assert!(drill(&store, "7070"), "names, and the object store");
    let rw = format!("{}-rw", Source::CLUSTER);
    let production = address(source.name(), &rw);
    let origin = format!("{}-1", Source::CLUSTER);
    assert!(
        opens(lab, source.name(), &origin, &production, "5432"),
        "the source, from itself"
    );
    assert!(!drill(&production, "5432"), "the source");
    let pod = lab.get(source.name(), &format!("pod/{origin}")).unwrap();
    let pod = pod["status"]["podIP"].as_str().unwrap().to_owned();
    assert!(!drill(&pod, "5432"), "the source's pod");
    assert!(!drill(&pod, "8000"), "the source's status");
    for (host, port) in [
        ("192.0.2.1", "443"),
        ("1.1.1.1", "53"),
        ("169.254.169.254", "80"),
    ] {
        assert!(!drill(host, port), "{host}:{port}");
    }
    let node = lab.list("", "nodes", "")[0]["status"]["addresses"][0]["address"].clone();
    assert!(!drill(node.as_str().unwrap(), "10250"), "the kubelet");
    let recovered = address(&plan.namespace, "drill-rw");
    assert!(
        !opens(lab, source.name(), &origin, &recovered, "5432"),
        "from the source to the drill"
    );
}

fn quota_refuses_more(lab: &Lab, namespace: &str) {
    let refused = |object: Value, words: &str| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), object.to_string()).unwrap();
        let path = file.path().to_str().unwrap();
        let said = lab
            .try_ask(&["create", "--dry-run=server", "-f", path])
            .unwrap_err();
        assert!(said.contains(words), "{said}");
    };
    let metadata = json!({"name": "more", "namespace": namespace});
    refused(
        json!({"apiVersion": "postgresql.cnpg.io/v1", "kind": "Backup", "metadata": metadata,
            "spec": {"cluster": {"name": "drill"}, "method": "volumeSnapshot"}}),
        "exceeded quota",
    );
    refused(
        json!({"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster", "metadata": metadata,
            "spec": {"instances": 1, "storage": {"size": "1Gi"}}}),
        "exceeded quota",
    );
    refused(
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata,
            "spec": {"containers": [{"name": "x", "image": lab.postgres_image,
                "securityContext": {"privileged": true}}]}}),
        "violates PodSecurity",
    );
    refused(
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata,
            "spec": {"accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1Gi"}}}}),
        "exceeded quota",
    );
}

/// The API server, its webhooks and its admission take every manifest of a source with all
/// that a source can have.
#[test]
fn a_hostile_source_passes_real_admission() {
    let lab = cluster!();
    let spec = json!({
        "instances": 3,
        "imageName": lab.postgres_image,
        "storage": {"size": "2Gi"},
        "walStorage": {"size": "2Gi"},
        "tablespaces": [{"name": "Archive_1", "storage": {"size": "1Gi"}, "owner": {"name": "app"}}],
        "backup": {"barmanObjectStore": {"destinationPath": "s3://prod"}, "retentionPolicy": "7d"},
        "plugins": [{"name": "barman-cloud.cloudnative-pg.io", "isWALArchiver": true,
            "parameters": {"barmanObjectName": "store"}}],
        "managed": {"roles": [{"name": "r", "superuser": true}]},
        "replica": {"enabled": true, "source": "prod"},
        "monitoring": {"enablePodMonitor": true},
        "affinity": {"nodeSelector": {"kubernetes.io/os": "linux"},
            "tolerations": [{"key": "db", "operator": "Exists", "effect": "NoSchedule"}]},
        "postgresUID": 26,
        "postgresGID": 26,
        "postgresql": {
            "shared_preload_libraries": ["pg_cron", "pg_prewarm"],
            "parameters": {
                "archive_command": "cp", "restore_command": "cp", "primary_conninfo": "host=prod",
                "include": "/x", "cron.launch_active_jobs": "on", "shared_buffers": "8GB",
                "max_connections": "500", "wal_level": "logical", "timezone": "Europe/Berlin",
                "archive_mode": "on", "shared_preload_libraries": "pg_cron",
            },
        },
    });
    let name = "o".repeat(60);
    for (form, stop) in [
        (Form::Plugin, Stop::Lsn("0/3000060".to_owned())),
        (Form::InTree, Stop::Time(Utc::now())),
        (Form::Plugin, Stop::Immediate),
    ] {
        if form == Form::InTree && !lab.in_tree {
            continue;
        }
        let manifest = json!({"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster",
            "metadata": {"name": name, "namespace": "prod"}, "spec": spec});
        let mut plan = plan(lab, manifest, form);
        plan.target.stop = stop;
        plan.overrides.cpu = None;
        plan.pull_secrets = BTreeMap::from([("pull".to_owned(), "{\"auths\":{}}".into())]);
        let all = scratch::manifests(&plan).unwrap();
        let cluster = all.len() - 1;
        run(async {
            let kube = connect(lab).await;
            plan.network = NetworkPlan {
                api_server: network::api_server(&kube).await.unwrap(),
                dns: network::dns(&kube).await.unwrap(),
                ..NetworkPlan::default()
            };
            let all = scratch::manifests(&plan).unwrap();
            scratch::create(&kube, &all[..cluster], |_| {})
                .await
                .unwrap();
            let taken = scratch::dry_run(&kube, &all[cluster..]).await;
            let removal = scratch::remove(&kube, &plan.namespace, plan.id, PATIENCE).await;
            taken.unwrap();
            assert!(removal.unwrap().is_whole());
        });
    }
}

#[test]
fn what_is_not_the_drills_own_is_never_removed() {
    let lab = cluster!();
    let foreign = lab.namespace("foreign");
    let plan = small(lab);
    run(async {
        let kube = connect(lab).await;
        let refused = scratch::remove(&kube, &foreign.name, plan.id, PATIENCE).await;
        assert!(refused.unwrap_err().message.contains("walproof's labels"));
        // A namespace that is another's is not taken over either.
        let mut taken = only_namespace(&plan);
        taken[0]["metadata"]["name"] = json!(foreign.name);
        let error = scratch::create(&kube, &taken, |_| {}).await.unwrap_err();
        assert_eq!(error.kind, KubeErrorKind::AlreadyExists);
        let gone = scratch::remove(&kube, &plan.namespace, plan.id, PATIENCE).await;
        assert!(gone.unwrap().is_whole(), "what is not there is gone");
    });
    let there = lab
        .get("default", &format!("namespace/{}", foreign.name))
        .unwrap();
    assert!(there["metadata"]["deletionTimestamp"].is_null());
}

#[test]
fn a_namespace_that_is_held_names_its_holder() {
    let lab = cluster!();
    let plan = small(lab);
    let held = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
        "name": "held", "namespace": plan.namespace, "finalizers": ["example.com/hold"]}});
    run(async {
        let kube = connect(lab).await;
        scratch::create(&kube, &only_namespace(&plan), |_| {})
            .await
            .unwrap();
        lab.apply(&[held]);
        let stuck = scratch::remove(&kube, &plan.namespace, plan.id, Duration::from_secs(5)).await;
        let stuck = stuck.unwrap();
        assert!(!stuck.gone && !stuck.is_whole());
        let words = stuck.left.join("\n");
        assert!(
            words.contains("ConfigMap held (finalizers example.com/hold)"),
            "{words}"
        );
        let patch = "{\"metadata\":{\"finalizers\":null}}";
        lab.ask(&[
            "-n",
            &plan.namespace,
            "patch",
            "configmap",
            "held",
            "--type",
            "merge",
            "-p",
            patch,
        ]);
        let removal = scratch::remove(&kube, &plan.namespace, plan.id, PATIENCE)
            .await
            .unwrap();
        assert!(removal.is_whole(), "{removal:?}");
    });
}

#[test]
fn a_sweep_removes_what_is_past_its_time_and_what_nobody_holds() {
    let lab = cluster!();
    let mut plans: Vec<ScratchPlan> = (0..5).map(|_| small(lab)).collect();
    const DEAD: &str = "a-holder-of-this-test-that-is-no-more";
    plans[0].expires_at = Utc::now() - TimeDelta::minutes(1);
    plans[1].holder = DEAD.to_owned();
    plans[2].holder = DEAD.to_owned();
    run(async {
        let kube = connect(lab).await;
        for (index, plan) in plans.iter().enumerate() {
            let mut made = only_namespace(plan);
            if index == 2 {
                made[0]["metadata"]["annotations"][names::KEPT] = json!("true");
            }
            if index == 4 {
                made[0]["metadata"]["annotations"] = json!({});
            }
            scratch::create(&kube, &made, |_| {}).await.unwrap();
        }
        // Namespaces of others in this cluster are theirs to judge.
        // A clock that is ahead makes nothing expire.
        let alive: scratch::Alive = |holder| (holder == DEAD).then_some(false);
        let ahead = Utc::now() + TimeDelta::days(30);
        let swept = scratch::sweep(&kube, ahead, alive).await.unwrap();
        let of = |list: &[scratch::Swept], plan: &ScratchPlan| {
            list.iter().any(|one| one.name == plan.namespace)
        };
        for (index, plan) in plans.iter().enumerate() {
            let (removed, kept) = (of(&swept.removed, plan), of(&swept.kept, plan));
            assert_eq!(
                (removed, kept),
                (index < 2, index >= 2),
                "{index}: {swept:?}"
            );
            let there = lab.get("default", &format!("namespace/{}", plan.namespace));
            assert_eq!(there.is_none(), index < 2, "{index}");
        }
        for plan in &plans[2..] {
            let removal = scratch::remove(&kube, &plan.namespace, plan.id, PATIENCE).await;
            assert!(removal.unwrap().is_whole());
        }
    });
}

/// Without a job that says so.
#[test]
fn a_daemon_sweeps_kubernetes_when_it_starts() {
    let lab = cluster!();
    let place = Place::new(lab);
    let url = json!(format!("file://{}", place.path().display()));
    place.configure_with(&format!("- name: orders\n  primary: {{url: {url}}}\n"));
    let (mut expired, mut needed) = (small(lab), small(lab));
    expired.expires_at = Utc::now() - TimeDelta::minutes(1);
    for plan in [&mut expired, &mut needed] {
        // It has this machine's name, and is another.
        plan.holder = plan.holder.replacen("machine-", "machine-0", 1);
    }
    run(async {
        let kube = connect(lab).await;
        for plan in [&expired, &needed] {
            scratch::create(&kube, &only_namespace(plan), |_| {})
                .await
                .unwrap();
        }
        let is_there = |plan: &ScratchPlan| {
            let name = format!("namespace/{}", plan.namespace);
            lab.get("default", &name).is_some()
        };
        let daemon = place.start_daemon();
        let begun = Instant::now();
        while is_there(&expired) && begun.elapsed() < PATIENCE {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        let left = (is_there(&expired), is_there(&needed));
        daemon.kill();
        assert_eq!(left, (false, true));
        for plan in [&expired, &needed] {
            let removal = scratch::remove(&kube, &plan.namespace, plan.id, PATIENCE).await;
            assert!(removal.unwrap().is_whole());
        }
    });
}

/// A drill begins it and goes its way.
#[test]
fn a_sweep_that_is_only_begun_does_not_wait() {
    let lab = cluster!();
    const DEAD: &str = "a-second-holder-of-this-test-that-is-no-more";
    let mut plan = small(lab);
    plan.holder = DEAD.to_owned();
    run(async {
        let kube = connect(lab).await;
        scratch::create(&kube, &only_namespace(&plan), |_| {})
            .await
            .unwrap();
        // It would hold a sweep that waits for as long as that has patience.
        lab.apply(&[
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
            "name": "held", "namespace": plan.namespace, "finalizers": ["example.com/hold"]}}),
        ]);
        let alive: scratch::Alive = |holder| (holder == DEAD).then_some(false);
        let begun = scratch::begin_sweep(&kube, Utc::now(), alive)
            .await
            .unwrap();
        assert!(
            begun.iter().any(|one| one.name == plan.namespace),
            "{begun:?}"
        );
        let namespace = lab
            .get("default", &format!("namespace/{}", plan.namespace))
            .unwrap();
        assert!(namespace["metadata"]["deletionTimestamp"].is_string());
        let patch = "{\"metadata\":{\"finalizers\":null}}";
        let target = ["-n", &plan.namespace, "patch", "configmap", "held"];
        lab.ask(&[&target[..], &["--type", "merge", "-p", patch]].concat());
        let removal = scratch::remove(&kube, &plan.namespace, plan.id, PATIENCE).await;
        assert!(removal.unwrap().is_whole());
    });
}

/// A recovery that failed may be kept, and comes to no server while nobody looks.
#[test]
fn in_a_closed_namespace_no_pod_begins() {
    let lab = cluster!();
    let (closed, serving) = (small(lab), small(lab));
    let pod = |plan: &ScratchPlan| {
        json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "x", "namespace": plan.namespace}, "spec": {
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": false,
            "securityContext": {"runAsNonRoot": true, "runAsUser": 26,
                "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{"name": "x", "image": lab.postgres_image, "command": ["sleep", "600"],
                "securityContext": {"allowPrivilegeEscalation": false,
                    "capabilities": {"drop": ["ALL"]}}}]}})
    };
    run(async {
        let kube = connect(lab).await;
        for plan in [&closed, &serving] {
            scratch::create(&kube, &only_namespace(plan), |_| {})
                .await
                .unwrap();
        }
        wait_until(PATIENCE, "the ServiceAccount that pods want", || {
            [&closed, &serving]
                .iter()
                .all(|plan| lab.get(&plan.namespace, "serviceaccount/default").is_some())
        });
        lab.apply(&[pod(&serving)]);
        assert_eq!(scratch::close(&kube, &serving.namespace).await, Ok(true));
        for _ in 0..2 {
            assert_eq!(scratch::close(&kube, &closed.namespace).await, Ok(false));
        }
        let pods: Api<Pod> = Api::namespaced(kube.client(), &closed.namespace);
        let pod: Pod = serde_json::from_value(pod(&closed)).unwrap();
        let refused = pods.create(&PostParams::default(), &pod).await.unwrap_err();
        assert!(refused.to_string().contains(scratch::CLOSED), "{refused}");
        for plan in [&closed, &serving] {
            let removal = scratch::remove(&kube, &plan.namespace, plan.id, PATIENCE).await;
            assert!(removal.unwrap().is_whole());
        }
    });
}

/// A class that retains volumes would leave a copy of production behind.
#[test]
fn a_retained_volume_goes_with_its_drill() {
    let lab = cluster!();
    let plan = small(lab);
    let classes = lab.list("", "storageclasses", "");
    let default = classes
        .iter()
        .find(|class| {
            class["metadata"]["annotations"]["storageclass.kubernetes.io/is-default-class"]
                == "true"
        })
        .expect("a default storage class");
    let class = format!("{}-retain", lab.prefix);
    let metadata = json!({"name": "data", "namespace": plan.namespace});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {
        "terminationGracePeriodSeconds": 1,
        "automountServiceAccountToken": false,
        "securityContext": {"runAsNonRoot": true, "runAsUser": 26,
            "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "x", "image": lab.postgres_image, "command": ["sleep", "600"],
            "volumeMounts": [{"name": "data", "mountPath": "/data"}],
            "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]}});
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata,
        "spec": {"storageClassName": class, "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Mi"}}}});
    run(async {
        let kube = connect(lab).await;
        scratch::create(&kube, &only_namespace(&plan), |_| {})
            .await
            .unwrap();
        lab.apply(&[
            json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
                "metadata": {"name": class}, "provisioner": default["provisioner"],
                "parameters": default["parameters"], "reclaimPolicy": "Retain",
                "volumeBindingMode": "WaitForFirstConsumer"}),
            claim,
            pod,
        ]);
        let mut volume = String::new();
        wait_until(PATIENCE, "the claim to be bound", || {
            let claim = lab.get(&plan.namespace, "pvc/data").unwrap();
            volume = claim["spec"]["volumeName"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            claim["status"]["phase"] == "Bound"
        });
        let found = lab
            .get("default", &format!("persistentvolume/{volume}"))
            .unwrap();
        assert_eq!(found["spec"]["persistentVolumeReclaimPolicy"], "Retain");
        let removal = scratch::remove(&kube, &plan.namespace, plan.id, PATIENCE).await;
        lab.ask(&["delete", "storageclass", &class]);
        assert!(
            removal.as_ref().is_ok_and(scratch::Removal::is_whole),
            "{removal:?}"
        );
        assert!(
            lab.get("default", &format!("persistentvolume/{volume}"))
                .is_none()
        );
    });
}
