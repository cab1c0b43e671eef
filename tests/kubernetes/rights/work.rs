//! Everything that walproof does in a cluster, as the chart's account.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Done, form, state_url};
use crate::common::kubernetes::Lab;
use crate::common::kubernetes::source::Source;
use crate::common::process::wait_until;
use crate::controller::{install, only_one, resource};
use crate::inside::Inside;
use crate::kit::Drilled;

/// A volume class of which nothing goes by itself.
pub(super) struct Retaining(&'static Lab, pub(super) String);

impl Retaining {
    pub(super) fn new(lab: &'static Lab) -> Self {
        let classes = lab.list("", "storageclasses", "");
        let default = classes
            .iter()
            .find(|class| {
                class["metadata"]["annotations"]["storageclass.kubernetes.io/is-default-class"]
                    == "true"
            })
            .unwrap();
        let name = format!("{}-retain", lab.prefix);
        lab.apply(&[json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
            "metadata": {"name": name}, "provisioner": default["provisioner"],
            "parameters": default["parameters"], "reclaimPolicy": "Retain",
            "volumeBindingMode": default["volumeBindingMode"],
        })]);
        Self(lab, name)
    }
}

impl Drop for Retaining {
    fn drop(&mut self) {
        let _ = self.0.try_ask(&["delete", "storageclass", &self.1]);
    }
}

/// Clusters that nobody runs, whose images come from catalogs.
pub(super) struct Catalogs(&'static Lab, String);

impl Catalogs {
    pub(super) fn new(lab: &'static Lab, source: &Source) -> Self {
        let (name, namespace) = (format!("{}-catalog", lab.prefix), source.name());
        let major = lab
            .postgres_image
            .rsplit_once(':')
            .and_then(|(_, tag)| tag.split('.').next()?.parse::<u32>().ok())
            .unwrap();
        let images = json!({"images": [{"major": major, "image": lab.postgres_image}]});
        let mut objects = vec![
            json!({"apiVersion": "postgresql.cnpg.io/v1", "kind": "ImageCatalog",
                "metadata": {"name": name, "namespace": namespace}, "spec": images}),
            json!({"apiVersion": "postgresql.cnpg.io/v1", "kind": "ClusterImageCatalog",
                "metadata": {"name": name}, "spec": images}),
        ];
        for kind in ["ImageCatalog", "ClusterImageCatalog"] {
            objects.push(json!({"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster",
                "metadata": {"name": Self::cluster(kind), "namespace": namespace,
                    "annotations": {"cnpg.io/reconciliationLoop": "disabled"}},
                "spec": {"instances": 1, "storage": {"size": "1Gi"}, "imageCatalogRef": {
                    "apiGroup": "postgresql.cnpg.io", "kind": kind, "name": name, "major": major}}}));
        }
        lab.apply(&objects);
        Self(lab, namespace.to_owned())
    }

    fn cluster(kind: &str) -> String {
        format!("of-{}", kind.to_lowercase())
    }
}

impl Drop for Catalogs {
    fn drop(&mut self) {
        let name = format!("{}-catalog", self.0.prefix);
        let _ = self.0.try_ask(&["delete", "clusterimagecatalog", &name]);
        for kind in ["ImageCatalog", "ClusterImageCatalog"] {
            let cluster = format!("cluster/{}", Self::cluster(kind));
            let _ = self.0.try_ask(&["-n", &self.1, "delete", &cluster]);
        }
    }
}

/// Everything that walproof does in a cluster, as the chart's account.
pub(super) fn work(
    lab: &'static Lab,
    inside: &Inside,
    sources: &[&Source],
    prefix: &str,
    role: &str,
    class: &str,
) -> Vec<Done> {
    let mut done: Vec<Done> = Vec::new();
    let mut seen = 0;
    let mut note = |what: &'static str, done: &mut Vec<Done>| {
        let calls = inside.calls();
        let new = calls[seen..].to_vec();
        seen = calls.len();
        done.push(Done { what, calls: new });
    };
    let clusters: Vec<Value> = sources
        .iter()
        .map(|source| {
            let credential = |key: &str| json!({"kubernetes": {"namespace": source.name(), "name": Source::READER, "key": key}});
            json!({
                "name": form(source),
                "kubernetes": {"namespace": source.name(), "name": Source::CLUSTER},
                "primary": {
                    "url": source.url(), "endpoint": source.store.endpoint(),
                    "region": "us-east-1", "path_style": true,
                    "credentials": {
                        "access_key_id": credential("ACCESS_KEY_ID"),
                        "secret_access_key": credential("SECRET_ACCESS_KEY"),
                    },
                },
            })
        })
        .collect();
    let mut clusters = clusters;
    clusters[0]["replicas"] = json!([{"name": "here", "url": "file:///work/copy"}]);
    for kind in ["ImageCatalog", "ClusterImageCatalog"] {
        let name = Catalogs::cluster(kind);
        clusters.push(json!({
            "name": name, "kubernetes": {"namespace": sources[0].name(), "name": name},
            "primary": {"url": format!("file:///work/{name}")},
            "replicas": [{"name": "here", "url": format!("file:///work/{name}-copy")}],
        }));
    }
    let config = json!({
        "version": 1, "state": "sqlite:///work/state.sqlite",
        "kubernetes": {"scratch_role": role}, "clusters": clusters,
    });
    inside.write("walproof.yaml", &config.to_string());
    let run = |words: &[&str]| {
        let all = [&["--config", "/work/walproof.yaml"][..], words].concat();
        inside.run(&all)
    };
    // The API server learns of new roles by itself.
    let check = |form: &str| {
        let words = [
            "kubernetes",
            "check",
            "--form",
            form,
            "--namespace-prefix",
            prefix,
            "--output",
            "json",
        ];
        let until = Instant::now() + Duration::from_mins(1);
        loop {
            let last = run(&words);
            if last.code == Some(0) {
                return;
            }
            if Instant::now() > until {
                last.expect_code(0);
                return;
            }
            std::thread::sleep(Duration::from_secs(1));
        }
    };
    for source in sources {
        check(form(source));
    }
    note("kubernetes check", &mut done);
    // The Secrets of the Clusters themselves are not granted: it says so, and goes on.
    run(&["kubernetes", "scan", "--output", "json"]);
    note("kubernetes scan", &mut done);
    for source in sources {
        let name = form(source);
        let mut cnpg = json!({"namespace_prefix": prefix, "form": name});
        // With everything that a drill can do beside.
        let mut more = json!({});
        match name {
            "plugin" => more = json!({"checksums": true, "amcheck": {}}),
            "in-tree" => cnpg["storage_class"] = json!(class),
            _ => {}
        }
        let mut definition = json!({
            "version": 1, "name": name, "environment": "cnpg", "cnpg": cnpg,
            "checks": [{"name": "rows", "database": Source::DATABASE,
                "sql": "select count(*) from history", "expect": "> 0"}],
        });
        definition
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let file = format!("{name}.yaml");
        inside.write(&file, &definition.to_string());
        let path = format!("/work/{file}");
        let words = [
            "drill",
            "run",
            name,
            "--definition",
            &path,
            "--output",
            "json",
        ];
        let drilled = Drilled::of(run(&words)).expect(0);
        assert_eq!(drilled.report["verdict"], "proven", "{:#}", drilled.report);
        drilled.print_phases();
        drilled.assert_nothing_left(lab);
        note(
            match name {
                "plugin" => "drill, plugin form, checksums and amcheck",
                "in-tree" => "drill, in-tree form, a class that retains volumes",
                _ => "drill, snapshot form",
            },
            &mut done,
        );
    }
    let kept = run(&[
        "drill",
        "run",
        "plugin",
        "--definition",
        "/work/plugin.yaml",
        "--keep-for",
        "2h",
        "--output",
        "json",
    ]);
    let kept = Drilled::of(kept).expect(0);
    let scratch = kept.kubernetes()["namespace"].as_str().unwrap().to_owned();
    assert!(!kept.kubernetes()["kept_until"].is_null());
    note("drill kept for a person", &mut done);
    lab.remove_namespace(&scratch);
    let moment = sources[0]
        .moment(0.5)
        .at
        .format("%Y-%m-%dT%H:%M:%S%.6fZ")
        .to_string();
    let words = [
        "request",
        "create",
        "plugin",
        "--definition",
        "/work/plugin-request.yaml",
        "--target-time",
        &moment,
        "--access",
        inside.name(),
        "--secret-in",
        inside.name(),
        "--lease",
        "20m",
        "--max-lease",
        "30m",
        "--reason",
        "INC-4711",
        "--output",
        "json",
    ];
    let definition = json!({"version": 1, "name": "request", "environment": "cnpg",
        "cnpg": {"namespace_prefix": prefix, "form": "plugin"}});
    inside.write("plugin-request.yaml", &definition.to_string());
    let lent = run(&words).expect_code(0).json();
    assert_eq!(lent["status"], "ready", "{lent:#}");
    let id = lent["id"].as_str().unwrap();
    run(&["request", "end", id, "--output", "json"]).expect_code(0);
    // Where it may not place the Secret it says so before it restores anything.
    let theirs = sources[0].name();
    let elsewhere = words.map(|word| if word == inside.name() { theirs } else { word });
    let refused = run(&elsewhere).expect_code(3);
    let words = format!("{}{}", refused.stdout, refused.stderr);
    assert!(words.contains("may not create secrets"), "{words}");
    assert!(words.contains(theirs), "{words}");
    note("request for a restore, and its end", &mut done);
    run(&["drill", "sweep", "--output", "json"]).expect_code(0);
    note("drill sweep", &mut done);
    run(&["backup", "request", "plugin", "--output", "json"]).expect_code(0);
    note("backup request", &mut done);
    for cluster in ["plugin", "of-imagecatalog", "of-clusterimagecatalog"] {
        let captured = run(&["definition", "capture", cluster, "--output", "json"]).json();
        assert_eq!(captured["outcome"], "stored", "{captured:#}");
    }
    note("definition capture", &mut done);
    done
}

/// What the controller does: it takes up resources, and lets one go in the middle.
pub(super) fn declare(
    lab: &'static Lab,
    inside: &Inside,
    source: &Source,
    prefix: &str,
    role: &str,
) {
    let _one = only_one();
    install(lab);
    let config = json!({
        "version": 1, "state": "sqlite:///work/declared.sqlite",
        "kubernetes": {"scratch_role": role,
            "controller": {"namespaces": [source.name()], "namespace": inside.name()}},
        "daemon": {"listen": "127.0.0.1:0", "lease": "5s", "reload": "1s"},
    });
    inside.write("declared.yaml", &config.to_string());
    inside.begin("", &["--config", "declared.yaml", "daemon"]);
    let by = |key: &str| json!({"kubernetes": {"name": Source::READER, "key": key}});
    let of = |kind: &str, spec: Value| resource(kind, source.name(), "rights", &spec);
    let target = "time:2001-01-01T00:00:00Z";
    lab.apply(&[
        of("ProtectedCluster", json!({
            "name": Source::CLUSTER,
            "credentials": {"accessKeyId": by("ACCESS_KEY_ID"), "secretAccessKey": by("SECRET_ACCESS_KEY")},
        })),
        of("RecoveryDrill", json!({
            "clusterRef": {"name": Source::CLUSTER}, "cnpg": {"namespacePrefix": prefix},
        })),
        of("RecoveryRequest", json!({"clusterRef": {"name": Source::CLUSTER}, "target": target})),
    ]);
    let phase = |kind: &str, phase: &str| {
        let object = format!("{kind}.walproof.dev/rights");
        wait_until(Duration::from_mins(4), phase, || {
            let there = lab.get(source.name(), &object).unwrap();
            there["status"]["phase"] == phase
        });
    };
    phase("recoveryrequest", "Refused");
    phase("recoverydrill", "Running");
    for kind in ["recoveryrequest", "recoverydrill", "protectedcluster"] {
        let object = format!("{kind}.walproof.dev/rights");
        let words = ["-n", source.name(), "delete", &object, "--timeout", "240s"];
        lab.ask(&words);
    }
    inside.end();
}

/// What the executor does: Jobs that cannot start, for want of an image and of room, and one that
/// does its work.
pub(super) fn in_pods(lab: &'static Lab, inside: &Inside, source: &Source, chart: &[Value]) {
    let limit = Duration::from_mins(5);
    lab.wait(inside.name(), "cluster/state", "condition=Ready", limit);
    let secret = lab.get(inside.name(), "secret/state-app").unwrap();
    inside.write(
        "password.base64",
        secret["data"]["password"].as_str().unwrap(),
    );
    // The pod as the chart has it: its policy of Jobs lets in no other.
    let mut templates = chart
        .iter()
        .filter_map(|object| object["data"]["job-pod.yaml"].as_str());
    let template = templates.next().unwrap();
    inside.write("pod.yaml", template);
    let credential = |key: &str| json!({"kubernetes": {"namespace": source.name(), "name": Source::READER, "key": key}});
    let finished = |condition: &str| {
        lab.list(inside.name(), "jobs.batch", "walproof.dev/kind=verify")
            .iter()
            .any(|job| job["status"][condition] == json!(1))
    };
    let word = "PGPASSWORD=$(base64 -d password.base64)";
    let (repository, _) = lab.walproof_image().rsplit_once(':').unwrap();
    let absent = format!("{repository}:that-is-not-there");
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota",
        "metadata": {"name": "full", "namespace": inside.name()},
        "spec": {"hard": {"pods": "0"}}});
    // Each of another name: what could not start waits for a while.
    for (name, image, reason) in [
        ("held", Some(&absent), Some("that-is-not-there")),
        ("crowded", None, Some("exceeded quota")),
        ("orders", None, None),
    ] {
        if name == "crowded" {
            lab.apply(std::slice::from_ref(&quota));
        }
        let mut pods =
            json!({"template": "pod.yaml", "namespace": inside.name(), "start_within": "20s"});
        if let Some(image) = image {
            pods["image"] = json!(image);
        }
        let config = json!({
            "version": 1, "state": state_url(inside.name()),
            "clusters": [{"name": name, "primary": {
                "url": source.url(), "endpoint": source.store.endpoint(),
                "region": "us-east-1", "path_style": true,
                "credentials": {"access_key_id": credential("ACCESS_KEY_ID"),
                    "secret_access_key": credential("SECRET_ACCESS_KEY")},
            }}],
            "schedules": [{"name": "verify", "job": "verify", "cron": "*/30 * * * * *"}],
            "daemon": {"listen": "127.0.0.1:0", "lease": "10s", "executor": "kubernetes", "kubernetes": pods},
        });
        inside.write("pods.yaml", &config.to_string());
        inside.begin(word, &["--config", "pods.yaml", "daemon"]);
        if reason.is_some() {
            let before = inside.calls().len();
            wait_until(limit, "a Job that is removed", || {
                inside.calls()[before..]
                    .iter()
                    .any(|call| call["verb"] == "delete" && call["resource"] == "jobs")
            });
        } else {
            wait_until(limit, "a Job that is done", || finished("succeeded"));
        }
        let log = inside.end();
        println!("{log}");
        if let Some(reason) = reason {
            assert!(log.contains(reason), "{reason}");
        }
        if name == "crowded" {
            lab.ask(&["-n", inside.name(), "delete", "resourcequota/full"]);
        }
    }
}
