//! Recoveries that are watched on a real cluster: a healthy one through a connection that
//! breaks, and failures with their classes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use chrono::TimeDelta;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use walproof::kubernetes::watch::{Graces, LogBook, Recovery, Trouble, TroubleClass, What};
use walproof::kubernetes::{Access, Kube};

use crate::common::kubernetes::cluster;
use crate::common::kubernetes::source::Source;
use crate::common::kubernetes::store::secret;
use crate::common::kubernetes::{Lab, Namespace};
use crate::common::s3::{READER, STRANGER};
use crate::common::scratch;

/// A generous limit for a recovery on a busy machine.
const LIMIT: Duration = Duration::from_mins(8);

/// A way to the API that can be closed and opened.
struct Gate {
    open: watch::Sender<bool>,
    kubeconfig: PathBuf,
    _keep: tempfile::TempDir,
}

impl Gate {
    async fn new(lab: &'static Lab) -> Self {
        let text = lab.ask(&[
            "config",
            "view",
            "--raw",
            "--minify",
            "--flatten",
            "-o",
            "json",
        ]);
        let mut config: Value = serde_json::from_str(&text).unwrap();
        let cluster = &mut config["clusters"][0]["cluster"];
        let server = cluster["server"].as_str().unwrap().to_owned();
        let address = server
            .strip_prefix("https://")
            .unwrap()
            .trim_end_matches('/')
            .to_owned();
        let address = if address.contains(':') {
            address
        } else {
            format!("{address}:443")
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        cluster["tls-server-name"] = json!(address.rsplit_once(':').unwrap().0);
        cluster["server"] = json!(format!("https://127.0.0.1:{port}"));
        let keep = scratch::directory();
        let kubeconfig = keep.path().join("kubeconfig");
        std::fs::write(&kubeconfig, config.to_string()).unwrap();
        let (open, wanted) = watch::channel(true);
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let (address, mut wanted) = (address.clone(), wanted.clone());
                tokio::spawn(async move {
                    if !*wanted.borrow_and_update() {
                        return;
                    }
                    let mut far = TcpStream::connect(&address).await.unwrap();
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        _ = wanted.wait_for(|open| !open) => {}
                    }
                });
            }
        });
        Self {
            open,
            kubeconfig,
            _keep: keep,
        }
    }

    async fn kube(&self) -> Kube {
        connect(self.kubeconfig.clone()).await
    }
}

async fn connect(kubeconfig: PathBuf) -> Kube {
    let access = Access {
        kubeconfig: Some(kubeconfig),
        context: None,
    };
    Kube::connect(&access).await.unwrap()
}

/// What recovers the source's newest backup, up to where it becomes consistent.
fn recovery(lab: &Lab, source: &Source, namespace: &Namespace) -> Vec<Value> {
    let namespace = &namespace.name;
    let backups = lab.list(source.name(), "backups.postgresql.cnpg.io", "");
    let id = backups
        .iter()
        .filter_map(|backup| backup["status"]["backupId"].as_str())
        .max()
        .unwrap();
    let mut store = source.configuration();
    for key in ["accessKeyId", "secretAccessKey"] {
        store["s3Credentials"][key]["name"] = json!(Source::READER);
    }
    store["wal"] = json!({"maxParallel": 1});
    store.as_object_mut().unwrap().remove("data");
    vec![
        secret(namespace, Source::READER, READER),
        json!({"apiVersion": "barmancloud.cnpg.io/v1", "kind": "ObjectStore",
            "metadata": {"name": "store", "namespace": namespace},
            "spec": {"configuration": store}}),
        json!({"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster",
        "metadata": {"name": "drill", "namespace": namespace,
            "annotations": {"cnpg.io/skipWalArchiving": "enabled"}},
        "spec": {
            "instances": 1,
            "imageName": lab.postgres_image,
            "storage": {"size": "1Gi"},
            "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}},
            "postgresql": {"parameters": {"max_connections": "80"}},
            "bootstrap": {"recovery": {
                "source": "origin", "database": Source::DATABASE, "owner": Source::DATABASE,
                "recoveryTarget": {"backupID": id, "targetImmediate": true}}},
            "externalClusters": [{"name": "origin", "plugin": {
                "name": "barman-cloud.cloudnative-pg.io",
                "parameters": {"barmanObjectName": "store", "serverName": Source::CLUSTER}}}],
        }}),
    ]
}

/// Observes until the recovery is ready or over.
async fn outcome(recovery: &mut Recovery, mut on: impl FnMut(&What)) -> Result<String, Trouble> {
    let watched = async {
        loop {
            let seen = recovery.next().await;
            on(&seen.what);
            match seen.what {
                What::Ready { primary, .. } => return Ok(primary),
                What::Trouble(trouble) if trouble.fatal => return Err(trouble),
                _ => {}
            }
        }
    };
    tokio::time::timeout(LIMIT, watched)
        .await
        .expect("no outcome in time")
}

/// PostgreSQL numbers the lines of each of its processes: a line that is missing or that
/// came twice shows.
fn assert_complete(log: &LogBook) {
    let mut numbers: BTreeMap<(String, String), Vec<u64>> = BTreeMap::new();
    for line in log.lines().filter(|line| line.pod.contains("recovery")) {
        let Ok(value) = serde_json::from_str::<Value>(&line.text) else {
            continue;
        };
        let record = &value["record"];
        if let (Some(session), Some(number)) = (
            record["session_id"].as_str(),
            record["session_line_num"].as_str(),
        ) {
            let key = (line.pod.clone(), session.to_owned());
            numbers
                .entry(key)
                .or_default()
                .push(number.parse().unwrap());
        }
    }
    assert!(numbers.len() > 2, "{numbers:?}");
    for (session, numbers) in numbers {
        let unique: BTreeSet<u64> = numbers.iter().copied().collect();
        assert_eq!(
            unique.len(),
            numbers.len(),
            "twice in {session:?}: {numbers:?}"
        );
        let last = u64::try_from(numbers.len()).unwrap();
        assert!(
            unique.iter().copied().eq(1..=last),
            "gaps in {session:?}: {numbers:?}"
        );
    }
    assert_eq!(log.dropped(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_is_watched_through_a_connection_that_breaks() {
    let lab = cluster!();
    let _beside = lab.beside();
    let source = tokio::task::spawn_blocking(|| Source::plugin(lab))
        .await
        .unwrap();
    let namespace = lab.namespace("watch-gate");
    let gate = Gate::new(lab).await;
    let mut watched = Recovery::start(&gate.kube().await, &namespace.name, "drill");
    lab.apply(&recovery(lab, source, &namespace));
    let mut seen = Vec::new();
    let mut broken = false;
    let ready = outcome(&mut watched, |what| {
        match what {
            What::Postgres(line) if !broken && line.message.starts_with("restored log file") => {
                broken = true;
                let open = gate.open.clone();
                open.send_replace(false);
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_secs(6)).await;
                    open.send_replace(true);
                });
            }
            What::Log(_) | What::Postgres(_) | What::Event(_) => return,
            _ => {}
        }
        seen.push(format!("{what:?}"));
    })
    .await;
    assert!(broken, "{seen:#?}");
    assert_eq!(ready, Ok("drill-1".to_owned()), "{seen:#?}");
    assert_complete(watched.log());
    for milestone in [
        "JobCreated",
        "JobRunning",
        "BackupFound",
        "RestoreStarted",
        "BaseRestored",
        "JobSucceeded",
        "InstanceStarted",
        "Ready",
    ] {
        let times = seen
            .iter()
            .filter(|what| what.starts_with(milestone))
            .count();
        assert_eq!(times, 1, "{milestone}: {seen:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_have_their_class_and_are_not_the_backups_fault_unless_they_are() {
    let lab = cluster!();
    let _beside = lab.beside();
    let source = tokio::task::spawn_blocking(|| Source::plugin(lab))
        .await
        .unwrap();
    let kube = connect(lab.kubeconfig.clone()).await;
    let graces = Graces {
        schedule: TimeDelta::seconds(8),
        ..Graces::default()
    };
    let spec = |objects: &mut Vec<Value>, place: &str, value: Value| {
        *objects.last_mut().unwrap().pointer_mut(place).unwrap() = value;
    };
    type Change<'a> = &'a dyn Fn(&mut Vec<Value>);
    let cases: [(&str, TroubleClass, bool, Change<'_>); 5] = [
        ("creds", TroubleClass::Credentials, false, &|objects| {
            let name = objects[0]["metadata"]["namespace"]
                .as_str()
                .unwrap()
                .to_owned();
            objects[0] = secret(&name, Source::READER, STRANGER);
        }),
        ("noid", TroubleClass::BackupNotFound, true, &|objects| {
            let place = "/spec/bootstrap/recovery/recoveryTarget/backupID";
            spec(objects, place, json!("20200101T000000"));
        }),
        ("room", TroubleClass::Unschedulable, false, &|objects| {
            spec(objects, "/spec/resources/requests/cpu", json!("1000"));
        }),
        ("class", TroubleClass::PvcPending, false, &|objects| {
            spec(
                objects,
                "/spec/storage",
                json!({"size": "1Gi", "storageClass": "wpt-nothing"}),
            );
        }),
        ("quota", TroubleClass::Quota, false, &|objects| {
            let namespace = objects[0]["metadata"]["namespace"].clone();
            objects.insert(
                0,
                json!({"apiVersion": "v1", "kind": "ResourceQuota",
                "metadata": {"name": "small", "namespace": namespace},
                "spec": {"hard": {"requests.storage": "512Mi"}}}),
            );
        }),
    ];
    for (name, class, blamed, change) in cases {
        let namespace = lab.namespace(&format!("watch-{name}"));
        let mut objects = recovery(lab, source, &namespace);
        change(&mut objects);
        let mut watched = Recovery::start_with(&kube, &namespace.name, "drill", graces);
        lab.apply(&objects);
        let trouble = outcome(&mut watched, |_| {}).await.unwrap_err();
        assert_eq!(trouble.class, class, "{name}: {trouble:?}");
        assert_eq!(trouble.backup(), blamed, "{name}: {trouble:?}");
        assert!(
            !trouble.words.is_empty() && !trouble.hint.is_empty(),
            "{trouble:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_stays_away_and_a_namespace_that_goes_end_the_watching() {
    let lab = cluster!();
    let _beside = lab.beside();
    let namespace = lab.namespace("watch-away");
    let gate = Gate::new(lab).await;
    let kube = gate.kube().await;
    let graces = Graces {
        api: TimeDelta::seconds(5),
        ..Graces::default()
    };
    let mut away = Recovery::start_with(&kube, &namespace.name, "drill", graces);
    gate.open.send_replace(false);
    let trouble = outcome(&mut away, |_| {}).await.unwrap_err();
    assert_eq!(trouble.class, TroubleClass::ApiUnreachable, "{trouble:?}");
    gate.open.send_replace(true);
    let mut gone = Recovery::start(&kube, &namespace.name, "drill");
    lab.ask(&["delete", "namespace", &namespace.name, "--wait=false"]);
    let trouble = outcome(&mut gone, |_| {}).await.unwrap_err();
    assert_eq!(trouble.class, TroubleClass::NamespaceGone, "{trouble:?}");
}
