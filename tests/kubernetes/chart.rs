//! The chart's rights, held against the real API server: every one that is given is used by
//! something that walproof does, and every other call is refused. `target/kubernetes-rights.md`
//! is the table of both.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use ::walproof::kubernetes::{Access, Kube};
use futures::{StreamExt as _, stream};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::api::{Api, PostParams};
use serde_json::{Value, json};

use crate::common::deploy::{documents, helm_template, missing, rules_of};
use crate::common::kubernetes::source::Source;
use crate::common::kubernetes::{Lab, cluster};
use crate::common::process::{try_run, wait_until};
use crate::common::scratch;
use crate::controller::{install, only_one, resource};
use crate::inside::Inside;
use crate::kit::{Drilled, kubeconfig_of};

/// The chart's objects, applied; what belongs to no namespace goes with the value.
pub(crate) struct Applied {
    lab: &'static Lab,
    pub(crate) release: String,
    pub(crate) objects: Vec<Value>,
}

impl Applied {
    fn new(lab: &'static Lab, namespace: &str, values: &Value, directory: &Path) -> Self {
        let release = format!("{}-walproof", lab.prefix);
        let file = directory.join("values.json");
        std::fs::write(&file, values.to_string()).unwrap();
        let text = helm_template(&release, namespace, &["--values", file.to_str().unwrap()]);
        let objects = documents(&text.unwrap());
        let applied = Self {
            lab,
            release,
            objects,
        };
        lab.apply(&applied.objects);
        applied
    }
}

/// Kinds without a namespace that the chart makes.
pub(crate) const CLUSTER_WIDE: &str = "clusterroles,clusterrolebindings,\
    validatingadmissionpolicies,validatingadmissionpolicybindings";

impl Drop for Applied {
    fn drop(&mut self) {
        let label = format!("app.kubernetes.io/instance={}", self.release);
        let _ = self.lab.try_ask(&["delete", CLUSTER_WIDE, "-l", &label]);
    }
}

/// One right, as the chart's roles spell it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Right {
    role: String,
    verb: String,
    /// `pods/exec`, `clusters.postgresql.cnpg.io`
    object: String,
    name: Option<String>,
    namespace: Option<String>,
}

impl Right {
    /// `ROLE: VERB OBJECT[ NAME][ in NAMESPACE]`
    fn read(text: &str) -> Self {
        let (role, rest) = text.split_once(": ").unwrap();
        let (rest, namespace) = match rest.split_once(" in ") {
            Some((rest, namespace)) => (rest, Some(namespace.to_owned())),
            None => (rest, None),
        };
        let mut words = rest.split(' ');
        let mut word = || words.next().map(str::to_owned);
        Self {
            role: role.to_owned(),
            verb: word().unwrap(),
            object: word().unwrap(),
            name: word(),
            namespace,
        }
    }

    /// Whether a call needed it. `scratch`: how the names of scratch namespaces begin.
    fn is_used_by(&self, call: &Value, scratch: &str) -> bool {
        let text = |key: &str| call[key].as_str().unwrap_or_default();
        let object = object_of(call);
        let namespace = call["namespace"].as_str();
        let there = namespace.is_some_and(|name| name.starts_with(scratch));
        let place = if self.role.ends_with("-scratch") {
            there
        } else {
            match &self.namespace {
                Some(own) => namespace == Some(own),
                // Bindings are made in scratch namespaces, by a right that holds outside of them.
                None => !there || self.object.starts_with("rolebindings"),
            }
        };
        let named = match &self.name {
            // The name of an object that is made is not in its path.
            Some(name) => text("name") == name,
            None => true,
        };
        place && named && self.verb == text("verb") && self.object == object
    }
}

fn object_of(call: &Value) -> String {
    let text = |key: &str| call[key].as_str().unwrap_or_default();
    let mut object = text("resource").to_owned();
    if let Some(subresource) = call["subresource"].as_str() {
        object = format!("{object}/{subresource}");
    }
    if !text("group").is_empty() {
        object = format!("{object}.{}", text("group"));
    }
    object
}

/// Why a right is given that no request shows.
fn silent(right: &Right, calls: &[Value]) -> Option<&'static str> {
    match (right.verb.as_str(), right.object.as_str()) {
        // The authorizer asks for it when a binding is made.
        ("bind", "clusterroles.rbac.authorization.k8s.io") => calls
            .iter()
            .any(|call| {
                call["verb"] == "create"
                    && call["resource"] == "rolebindings"
                    && call["code"] == 201
            })
            .then_some("asked for by the API server when a binding is made"),
        ("create", "pods/exec" | "pods/portforward") => {
            Some("asked for by the API server beside `get`, from Kubernetes 1.35 on")
        }
        _ => None,
    }
}

/// What walproof did, and the calls that it made for it.
struct Done {
    what: &'static str,
    calls: Vec<Value>,
}

/// A volume class of which nothing goes by itself.
struct Retaining(&'static Lab, String);

impl Retaining {
    fn new(lab: &'static Lab) -> Self {
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

#[tokio::test(flavor = "multi_thread")]
async fn every_right_of_the_chart_is_used_and_every_other_call_refused() {
    let lab = cluster!();
    if missing() {
        return;
    }
    let _peace = lab.beside();
    let sources: Vec<&Source> = [
        Some(Source::plugin(lab)),
        Source::in_tree(lab),
        Source::snapshot(lab),
    ]
    .into_iter()
    .flatten()
    .collect();
    let forms: Vec<&str> = sources.iter().map(|source| form(source)).collect();
    let directory = scratch::directory();
    let namespace = lab.namespace("rights");
    let name = namespace.name.clone();
    let prefix = format!("{}-rights", lab.prefix);
    let secrets: Vec<Value> = sources
        .iter()
        .map(|source| json!({"namespace": source.name(), "names": [Source::READER]}))
        .collect();
    let (repository, tag) = lab.walproof_image().rsplit_once(':').unwrap();
    let values = json!({
        "replicas": 0,
        "serviceAccount": {"name": Inside::ACCOUNT},
        "scratch": {"namespacePrefixes": [prefix]},
        "state": {"kind": "postgres", "postgres": {
            "url": state_url(&name), "passwordSecret": {"name": "state-app", "key": "password"},
        }},
        // The policy of Jobs lets in pods of this image only.
        "image": {"repository": repository, "tag": tag},
        "executor": {"kind": "kubernetes"},
        "env": [{"name": "PGPASSWORD",
            "valueFrom": {"secretKeyRef": {"name": "state-app", "key": "password"}}}],
        "controller": {"enabled": true, "namespaces": [sources[0].name()]},
        "rbac": {"forms": forms, "backups": [sources[0].name()], "secrets": secrets,
            "requests": [name], "definitions": [sources[0].name()]},
        "networkPolicy": {"enabled": false},
        "crds": {"install": false},
    });
    let applied = Applied::new(lab, &name, &values, directory.path());
    let role = format!("{}-scratch", applied.release);
    let retaining = Retaining::new(lab);
    let catalogs = Catalogs::new(lab, sources[0]);
    lab.apply(&[
        json!({"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster",
        "metadata": {"name": "state", "namespace": name},
        "spec": {"instances": 1, "imageName": lab.postgres_image, "storage": {"size": "1Gi"},
            "bootstrap": {"initdb": {"database": "walproof", "owner": "walproof"}}}}),
    ]);
    let inside = Inside::with_account(lab, namespace);

    let mut done = work(lab, &inside, &sources, &prefix, &role, &retaining.1);
    drop(catalogs);
    let mut seen = done.iter().map(|done| done.calls.len()).sum();
    let mut note = |what: &'static str| {
        let calls = inside.calls();
        let new = calls[seen..].to_vec();
        seen = calls.len();
        done.push(Done { what, calls: new });
    };
    declare(lab, &inside, sources[0], &prefix, &role);
    note("the controller of custom resources");
    in_pods(lab, &inside, sources[0], &applied.objects);
    note("jobs in pods");
    let rights: Vec<Right> = rules_of(&applied.objects)
        .iter()
        .map(|text| Right::read(text))
        .collect();
    let mut table = String::from("# The rights of the chart, and what uses them\n\n");
    let unused = used(&rights, &done, (&name, &prefix), &mut table);
    let kubeconfig = kubeconfig_of(lab, &name, Inside::ACCOUNT, directory.path());
    let wrong = tempt(
        lab,
        &kubeconfig,
        &name,
        &sources,
        &applied.release,
        &mut table,
    );
    let more = ask_for_everything(&kubeconfig, &name, sources[0].name(), &rights, &mut table).await;

    println!("{table}");
    let file = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .unwrap()
        .join("kubernetes-rights.md");
    std::fs::write(&file, &table).unwrap();
    assert_eq!(unused, Vec::<String>::new(), "granted, and used by nothing");
    assert_eq!(wrong, Vec::<String>::new(), "not refused");
    assert_eq!(
        more,
        Vec::<String>::new(),
        "allowed, and not granted by the chart"
    );
}

fn form(source: &Source) -> &'static str {
    use crate::common::kubernetes::source::Form;
    match source.form {
        Form::Plugin => "plugin",
        Form::InTree => "in-tree",
        Form::Snapshot => "snapshot",
    }
}

/// The database of the chart's state, in the chart's own namespace.
fn state_url(namespace: &str) -> String {
    format!("postgres://walproof@state-rw.{namespace}.svc:5432/walproof?sslmode=require")
}

/// Clusters that nobody runs, whose images come from catalogs.
struct Catalogs(&'static Lab, String);

impl Catalogs {
    fn new(lab: &'static Lab, source: &Source) -> Self {
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

/// What the controller does: it takes up resources, and lets one go in the middle.
fn declare(lab: &'static Lab, inside: &Inside, source: &Source, prefix: &str, role: &str) {
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
fn in_pods(lab: &'static Lab, inside: &Inside, source: &Source, chart: &[Value]) {
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

/// Everything that walproof does in a cluster, as the chart's account.
fn work(
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

/// Which rights are used by what; returns those that nothing uses.
fn used(
    rights: &[Right],
    done: &[Done],
    (own, scratch): (&str, &str),
    table: &mut String,
) -> Vec<String> {
    let calls: Vec<Value> = done.iter().flat_map(|done| done.calls.clone()).collect();
    let mut unused = Vec::new();
    table.push_str("| Role | Right | Calls | Used by |\n|---|---|---|---|\n");
    for right in rights {
        let mut number = 0;
        let mut by = BTreeSet::new();
        for done in done {
            let found = done
                .calls
                .iter()
                .filter(|call| right.is_used_by(call, scratch))
                .count();
            if found > 0 {
                by.insert(done.what);
                number += found;
            }
        }
        let mut by = by.into_iter().collect::<Vec<_>>().join("; ");
        if number == 0 {
            if let Some(why) = silent(right, &calls) {
                why.clone_into(&mut by);
            } else {
                unused.push(format!("{right:?}"));
                "**nothing**".clone_into(&mut by);
            }
        }
        let role = right.role.rsplit('-').next().unwrap();
        let _ = writeln!(
            table,
            "| {} | {} {}{}{} | {number} | {by} |",
            if matches!(role, "discovery" | "scratch") {
                role
            } else {
                "namespace"
            },
            right.verb,
            right.object,
            right
                .name
                .as_ref()
                .map(|name| format!(" `{}`", shorn(name)))
                .unwrap_or_default(),
            match right.namespace.as_deref() {
                Some(namespace) if namespace == own => " in its own namespace",
                Some(_) => " in the source's namespace",
                None => "",
            },
        );
    }
    let refused: BTreeMap<String, usize> = calls
        .iter()
        .filter(|call| call["code"] == 403)
        .map(|call| format!("{} {}", call["verb"].as_str().unwrap(), object_of(call)))
        .fold(BTreeMap::new(), |mut all, call| {
            *all.entry(call).or_default() += 1;
            all
        });
    table.push_str("\nTried by walproof and refused, which it does without:\n\n");
    for (call, number) in refused {
        let _ = writeln!(table, "- {call}: {number}");
    }
    unused
}

/// A name without what is this run's own.
fn shorn(name: &str) -> &str {
    name.rsplit_once("-walproof-")
        .map_or(name, |(_, tail)| tail)
}

/// What somebody with walproof's token would try. Each is asked of the real API server, changes
/// as a dry run, which goes through authorization and admission all the same. Returns what was
/// not refused.
fn tempt(
    lab: &Lab,
    kubeconfig: &Path,
    own: &str,
    sources: &[&Source],
    release: &str,
    table: &mut String,
) -> Vec<String> {
    let source = sources[0].name();
    let pod = format!("{}-1", Source::CLUSTER);
    let metadata = |name: &str, namespace: &str| json!({"name": name, "namespace": namespace});
    let rbac = "rbac.authorization.k8s.io";
    let account = json!([{"kind": "ServiceAccount", "name": Inside::ACCOUNT, "namespace": own}]);
    let binding = |name: &str, namespace: &str, role: &str, subjects: &Value| {
        json!({"apiVersion": format!("{rbac}/v1"), "kind": "RoleBinding",
            "metadata": metadata(name, namespace), "subjects": subjects,
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": role}})
    };
    let scratch = format!("{release}-scratch");
    let simple_pod = |namespace: &str| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata("thief", namespace),
            "spec": {"containers": [{"name": "c", "image": "x"}]}})
    };
    let labelled = |name: &str, labels: &Value| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
    let drill_labels = json!({"app.kubernetes.io/managed-by": "walproof",
        "walproof.dev/drill": "01936d2e-7c1a-7f00-8000-0123456789ab",
        "pod-security.kubernetes.io/enforce": "restricted"});
    let orders = format!("cluster/{}", Source::CLUSTER);
    let as_admin = [
        "get",
        "secrets",
        "-n",
        "kube-system",
        "--as",
        "system:admin",
        "--as-group",
        "system:masters",
    ];
    let policy = format!("{release}-namespaces");
    let scratch_role = format!("clusterrole/{scratch}");
    let writer = format!("secret/{}", Source::WRITER);
    let exec = ["exec", "-n", source, &pod, "-c", "postgres", "--", "true"];
    let mut cases: Vec<(&str, Vec<&str>, Option<Value>)> = vec![
        (
            "read a Secret beside the one that is named",
            vec!["get", "-n", source, &writer],
            None,
        ),
        (
            "list the Secrets of a source",
            vec!["get", "secrets", "-n", source],
            None,
        ),
        ("list all Secrets", vec!["get", "secrets", "-A"], None),
        (
            "read Secrets of its own namespace",
            vec!["get", "secrets", "-n", own],
            None,
        ),
        (
            "read ConfigMaps of a source",
            vec!["get", "configmaps", "-n", source],
            None,
        ),
        (
            "delete a source's namespace",
            vec!["delete", "namespace", source, "--dry-run=server"],
            None,
        ),
        (
            "take a source's namespace for a scratch one",
            vec![
                "label",
                "namespace",
                source,
                "walproof.dev/drill=01936d2e-7c1a-7f00-8000-0123456789ab",
                "app.kubernetes.io/managed-by=walproof",
                "--dry-run=server",
            ],
            None,
        ),
        (
            "relax kube-system's Pod Security",
            vec![
                "label",
                "namespace",
                "kube-system",
                "pod-security.kubernetes.io/enforce=privileged",
                "--overwrite",
                "--dry-run=server",
            ],
            None,
        ),
        (
            "make a namespace of any name",
            vec!["create", "namespace", "harmless", "--dry-run=server"],
            None,
        ),
        (
            "make a scratch namespace under a foreign prefix",
            vec!["create", "--dry-run=server"],
            Some(labelled("shop-456789ab", &drill_labels)),
        ),
        (
            "delete a pod of a source",
            vec!["delete", "pod", &pod, "-n", source, "--dry-run=server"],
            None,
        ),
        (
            "make a pod in a source's namespace",
            vec!["create", "--dry-run=server"],
            Some(simple_pod(source)),
        ),
        (
            "make a pod in its own namespace",
            vec!["create", "--dry-run=server"],
            Some(simple_pod(own)),
        ),
        (
            "change a source's Cluster",
            vec![
                "patch",
                "-n",
                source,
                &orders,
                "--type=merge",
                "-p",
                "{\"spec\":{\"instances\":0}}",
                "--dry-run=server",
            ],
            None,
        ),
        (
            "delete a source's Cluster",
            vec!["delete", "-n", source, &orders, "--dry-run=server"],
            None,
        ),
        (
            "make a Cluster in a source's namespace",
            vec!["create", "--dry-run=server"],
            Some(
                json!({"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster", "metadata": metadata("thief", source), "spec": {"instances": 1, "storage": {"size": "1Gi"}}}),
            ),
        ),
        (
            "ask for a Backup where it was not granted",
            vec!["create", "--dry-run=server"],
            Some(
                json!({"apiVersion": "postgresql.cnpg.io/v1", "kind": "Backup", "metadata": metadata("thief", own), "spec": {"cluster": {"name": "x"}}}),
            ),
        ),
        (
            "delete a source's Backups",
            vec![
                "delete",
                "backups.postgresql.cnpg.io",
                "--all",
                "-n",
                source,
                "--dry-run=server",
            ],
            None,
        ),
        ("run a program in a source's pod", exec.to_vec(), None),
        (
            "attach to a source's pod",
            vec!["attach", "-n", source, &pod, "-c", "postgres"],
            None,
        ),
        (
            "forward a port of a source's pod",
            vec!["port-forward", "-n", source, &pod, "0:5432"],
            None,
        ),
        (
            "read the logs of a source",
            vec!["logs", "-n", source, &pod, "-c", "postgres"],
            None,
        ),
        (
            "delete a source's volume claims",
            vec!["delete", "pvc", "--all", "-n", source, "--dry-run=server"],
            None,
        ),
        (
            "become cluster-admin",
            vec![
                "create",
                "clusterrolebinding",
                "thief",
                "--clusterrole=cluster-admin",
                "--user=thief",
                "--dry-run=server",
            ],
            None,
        ),
        (
            "bind cluster-admin in kube-system",
            vec!["create", "--dry-run=server"],
            Some(binding("thief", "kube-system", "cluster-admin", &account)),
        ),
        (
            "bind its scratch role in kube-system",
            vec!["create", "--dry-run=server"],
            Some(binding("thief", "kube-system", &scratch, &account)),
        ),
        (
            "bind its scratch role in a source's namespace",
            vec!["create", "--dry-run=server"],
            Some(binding("thief", source, &scratch, &account)),
        ),
        (
            "bind cluster-admin in its own namespace",
            vec!["create", "--dry-run=server"],
            Some(binding("thief", own, "cluster-admin", &account)),
        ),
        (
            "widen its scratch role",
            vec![
                "patch",
                &scratch_role,
                "--type=json",
                "-p",
                "[{\"op\":\"add\",\"path\":\"/rules/-\",\"value\":{\"apiGroups\":[\"*\"],\"resources\":[\"*\"],\"verbs\":[\"*\"]}}]",
                "--dry-run=server",
            ],
            None,
        ),
        (
            "make a ClusterRole",
            vec![
                "create",
                "clusterrole",
                "thief",
                "--verb=get",
                "--resource=secrets",
                "--dry-run=server",
            ],
            None,
        ),
        (
            "read another role",
            vec!["get", "clusterrole", "cluster-admin"],
            None,
        ),
        (
            "remove the policy that confines it",
            vec![
                "delete",
                "validatingadmissionpolicy",
                &policy,
                "--dry-run=server",
            ],
            None,
        ),
        (
            "remove that policy's binding",
            vec![
                "delete",
                "validatingadmissionpolicybinding",
                &policy,
                "--dry-run=server",
            ],
            None,
        ),
        ("impersonate an administrator", as_admin.to_vec(), None),
        (
            "make a token of another account",
            vec!["create", "token", "default", "-n", "kube-system"],
            None,
        ),
        ("list the nodes", vec!["get", "nodes"], None),
        (
            "read the API server's metrics",
            vec!["get", "--raw", "/metrics"],
            None,
        ),
        (
            "read custom resource definitions",
            vec!["get", "crds"],
            None,
        ),
        (
            "stop the operator",
            vec![
                "scale",
                "-n",
                "cnpg-system",
                "deployment",
                "--all",
                "--replicas=0",
                "--dry-run=server",
            ],
            None,
        ),
        (
            "run a Job in a source's namespace",
            vec![
                "create",
                "job",
                "thief",
                "--image=x",
                "-n",
                source,
                "--dry-run=server",
            ],
            None,
        ),
        (
            "delete all volumes",
            vec!["delete", "persistentvolumes", "--all", "--dry-run=server"],
            None,
        ),
    ];
    let volumes = lab.list("", "persistentvolumes", "");
    let volume = volumes
        .iter()
        .find(|volume| volume["spec"]["claimRef"]["namespace"] == json!(source))
        .map(|volume| volume["metadata"]["name"].as_str().unwrap().to_owned())
        .unwrap();
    cases.push((
        "let a source's volume go with its claim",
        vec!["patch", "persistentvolume", &volume, "--type=merge", "-p", "{\"spec\":{\"persistentVolumeReclaimPolicy\":\"Delete\"},\"metadata\":{\"labels\":{\"a\":\"b\"}}}", "--dry-run=server"],
        None,
    ));
    let contents = if lab.snapshots.is_some() {
        lab.list("", "volumesnapshotcontents", "")
    } else {
        Vec::new()
    };
    let content = contents
        .first()
        .map(|one| one["metadata"]["name"].as_str().unwrap().to_owned());
    if let Some(content) = &content {
        cases.push((
            "delete a source's snapshot",
            vec![
                "delete",
                "volumesnapshotcontent",
                content,
                "--dry-run=server",
            ],
            None,
        ));
    }
    let mut open = Vec::new();
    table.push_str("\n# What is refused\n\n| Tried | The API server's answer |\n|---|---|\n");
    for (what, arguments, input) in cases {
        let mut command = std::process::Command::new(&lab.kubectl);
        command
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .args(["--request-timeout", "20s"])
            .args(arguments);
        if let Some(object) = input {
            let file = kubeconfig.with_file_name("tried.json");
            std::fs::write(&file, object.to_string()).unwrap();
            command.arg("-f").arg(file);
        }
        let answer = try_run(&mut command);
        let refused = match &answer {
            Ok(_) => false,
            Err(words) => {
                let words = words.to_lowercase();
                words.contains("forbidden") || words.contains("denied request")
            }
        };
        let words = answer.unwrap_or_else(|words| words);
        let by = if words.contains("ValidatingAdmissionPolicy") {
            let said = words.rsplit("denied request: ").next().unwrap_or_default();
            format!("policy: {}", said.lines().next().unwrap_or_default())
        } else if words.contains("attempting to grant") {
            "RBAC: it may not grant what it does not hold".to_owned()
        } else {
            "RBAC".to_owned()
        };
        let _ = writeln!(
            table,
            "| {what} | {} |",
            if refused { &by } else { "**allowed**" }
        );
        if !refused {
            open.push(format!("{what}: {words}"));
        }
    }
    open
}

/// Asks the API server for every verb on every resource that it has, in the chart's own
/// namespace, a source's, kube-system and for all of them. Returns what is allowed and not among
/// the chart's rights.
async fn ask_for_everything(
    kubeconfig: &Path,
    own: &str,
    source: &str,
    rights: &[Right],
    table: &mut String,
) -> Vec<String> {
    let access = Access {
        kubeconfig: Some(kubeconfig.to_owned()),
        context: None,
    };
    let kube = Kube::connect(&access).await.unwrap();
    let client = kube.client();
    let mut resources: BTreeSet<(String, String)> = BTreeSet::new();
    let core = client.list_core_api_resources("v1").await.unwrap();
    resources.extend(
        core.resources
            .into_iter()
            .map(|one| (String::new(), one.name)),
    );
    for group in client.list_api_groups().await.unwrap().groups {
        for version in &group.versions {
            let listed = client
                .list_api_group_resources(&version.group_version)
                .await;
            let listed = listed.map(|list| list.resources).unwrap_or_default();
            resources.extend(listed.into_iter().map(|one| (group.name.clone(), one.name)));
        }
    }
    let verbs = [
        "get",
        "list",
        "watch",
        "create",
        "update",
        "patch",
        "delete",
        "deletecollection",
        "bind",
        "escalate",
        "impersonate",
        "use",
        "approve",
        "sign",
    ];
    let places = [None, Some(own), Some(source), Some("kube-system")];
    let mut questions = Vec::new();
    for (group, resource) in &resources {
        for verb in verbs {
            for place in places {
                questions.push((group.clone(), resource.clone(), verb, place));
            }
        }
    }
    let asked = questions.len();
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client);
    let answers: Vec<Option<String>> = stream::iter(questions)
        .map(|(group, resource, verb, place)| {
            let reviews = reviews.clone();
            async move {
                let (name, subresource) = match resource.split_once('/') {
                    Some((name, sub)) => (name.to_owned(), Some(sub.to_owned())),
                    None => (resource.clone(), None),
                };
                let question = SelfSubjectAccessReview {
                    spec: SelfSubjectAccessReviewSpec {
                        resource_attributes: Some(ResourceAttributes {
                            group: Some(group.clone()),
                            resource: Some(name),
                            subresource,
                            verb: Some(verb.to_owned()),
                            namespace: place.map(str::to_owned),
                            ..ResourceAttributes::default()
                        }),
                        ..SelfSubjectAccessReviewSpec::default()
                    },
                    ..SelfSubjectAccessReview::default()
                };
                let answer = reviews
                    .create(&PostParams::default(), &question)
                    .await
                    .unwrap();
                let allowed = answer.status.is_some_and(|status| status.allowed);
                let object = if group.is_empty() {
                    resource
                } else {
                    // `pods/exec` has its group behind the subresource, as the rights spell it.
                    format!("{resource}.{group}")
                };
                let place = place.unwrap_or("all");
                allowed.then(|| format!("{verb} {object} in {place}"))
            }
        })
        .buffer_unordered(16)
        .collect()
        .await;
    let allowed: BTreeSet<String> = answers.into_iter().flatten().collect();
    let granted = |text: &str| {
        let (what, place) = text.rsplit_once(" in ").unwrap();
        let (verb, object) = what.split_once(' ').unwrap();
        // What everybody may do who is known to the API.
        let everybody = verb == "create"
            && matches!(
                object,
                "selfsubjectaccessreviews.authorization.k8s.io"
                    | "selfsubjectrulesreviews.authorization.k8s.io"
                    | "selfsubjectreviews.authentication.k8s.io"
            );
        everybody
            || rights.iter().any(|right| {
                !right.role.ends_with("-scratch")
                    && right.name.is_none()
                    && right.verb == verb
                    && right.object == object
                    && right.namespace.as_deref().is_none_or(|own| own == place)
            })
    };
    let more: Vec<String> = allowed
        .iter()
        .filter(|text| !granted(text))
        .cloned()
        .collect();
    let _ = writeln!(
        table,
        "\n# Every verb on every resource\n\n{asked} questions ({} resources and subresources, {} \
         verbs; its own namespace, a source's, kube-system and all): {} allowed, {} of them not \
         granted by the chart.",
        resources.len(),
        verbs.len(),
        allowed.len(),
        more.len()
    );
    more
}
