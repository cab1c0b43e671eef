//! What `deploy/` installs, without any cluster: the chart and the kustomize overlays say the same,
//! walproof takes the configuration that they write, they grant what `walproof kubernetes check`
//! prints and nothing else, and contradictions are refused before anything is made.
//!
//! Needs helm and kustomize (`scripts/install`); without them it is said that nothing was tested.
//! With `CI=true` or `WALPROOF_DEPLOY=required` that is a failure.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

#[path = "common/mod.rs"]
mod common;
#[path = "deploy/jobs.rs"]
mod jobs;
#[path = "deploy/whole.rs"]
mod whole;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use common::deploy::{documents, helm, helm_template, kustomize, rules_of};
use common::process;
use common::scratch;
use common::walproof;

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn example(name: &str) -> PathBuf {
    root("deploy/chart/walproof/examples").join(format!("{name}.yaml"))
}

/// The chart as a release `walproof` in the namespace `walproof`.
#[track_caller]
fn chart(arguments: &[&str]) -> Vec<Value> {
    documents(&helm_template("walproof", "walproof", arguments).unwrap())
}

#[track_caller]
fn chart_of(name: &str) -> Vec<Value> {
    chart(&["--values", example(name).to_str().unwrap()])
}

/// Kind, namespace and name.
fn key(object: &Value) -> String {
    let text = |pointer: &str| {
        object
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or("")
    };
    format!(
        "{} {}/{}",
        text("/kind"),
        text("/metadata/namespace"),
        text("/metadata/name")
    )
}

/// An object without what names its tool, and its files as what they hold.
fn normal(mut object: Value) -> Value {
    for pointer in ["/metadata/labels", "/metadata/annotations"] {
        if let Some(map) = object.pointer_mut(pointer).and_then(Value::as_object_mut) {
            map.retain(|key, value| !key.starts_with("helm.sh/") && value != "Helm");
        }
    }
    let empty = object["metadata"]["annotations"]
        .as_object()
        .is_some_and(serde_json::Map::is_empty);
    if empty {
        object["metadata"]
            .as_object_mut()
            .unwrap()
            .remove("annotations");
    }
    if object["kind"] == "ConfigMap" {
        for text in object["data"].as_object_mut().unwrap().values_mut() {
            let parsed: Value = serde_saphyr::from_str(text.as_str().unwrap()).unwrap();
            *text = parsed;
        }
        // kustomize's generated ones carry no labels but those of the patch.
        object["metadata"].as_object_mut().unwrap().remove("labels");
    }
    for list in ["volumes", "containers"] {
        let pointer = format!("/spec/template/spec/{list}");
        if let Some(list) = object.pointer_mut(&pointer).and_then(Value::as_array_mut) {
            list.sort_by_key(|one| one["name"].as_str().unwrap().to_owned());
        }
    }
    let mounts = "/spec/template/spec/containers/0/volumeMounts";
    if let Some(list) = object.pointer_mut(mounts).and_then(Value::as_array_mut) {
        list.sort_by_key(|one| one["name"].as_str().unwrap().to_owned());
    }
    object
}

fn by_key(objects: Vec<Value>) -> BTreeMap<String, Value> {
    let number = objects.len();
    let all: BTreeMap<String, Value> = objects
        .into_iter()
        .map(|object| (key(&object), normal(object)))
        .collect();
    assert_eq!(all.len(), number, "one object twice");
    all
}

#[track_caller]
fn assert_same(ours: Vec<Value>, theirs: Vec<Value>) {
    let (ours, theirs) = (by_key(ours), by_key(theirs));
    let names = |all: &BTreeMap<String, Value>| all.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&ours), names(&theirs));
    for (name, object) in &ours {
        assert_eq!(object, &theirs[name], "{name}");
    }
}

#[test]
fn kustomize_and_helm_give_the_same_objects() {
    if common::deploy::missing() {
        return;
    }
    for name in ["stage", "prod"] {
        let overlay = root("deploy/kustomize/overlays").join(name);
        let built = process::run(kustomize().arg("build").arg(&overlay));
        assert_same(documents(&built), chart_of(name));
    }
}

/// The base is written by a script; whoever changes the chart runs it.
#[test]
fn the_base_is_that_of_the_chart() {
    if common::deploy::missing() {
        return;
    }
    let directory = scratch::directory();
    let to = directory.path().join("base");
    process::run(Command::new(root("scripts/render-kustomize")).arg(&to));
    let read = |directory: &Path| -> BTreeMap<String, String> {
        std::fs::read_dir(directory)
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let text = std::fs::read_to_string(entry.path()).unwrap();
                (entry.file_name().into_string().unwrap(), text)
            })
            .collect()
    };
    assert_eq!(
        read(&to),
        read(&root("deploy/kustomize/base")),
        "run scripts/render-kustomize"
    );
}

/// Whoever reads the diff of a change sees what it does to what is installed.
#[test]
fn the_chart_gives_what_it_gave() {
    if common::deploy::missing() {
        return;
    }
    let all: [(&str, Vec<&str>); 6] = [
        ("defaults", vec![]),
        ("stage", vec!["--values", "stage"]),
        ("prod", vec!["--values", "prod"]),
        ("both", vec!["--values", "both"]),
        (
            "reads-only",
            vec![
                "--set",
                "rbac.drills=false",
                "--set",
                "networkPolicy.enabled=false",
            ],
        ),
        (
            "everything",
            vec!["--values", "both", "--values", "everything"],
        ),
    ];
    for (name, arguments) in all {
        let given: Vec<String> = arguments
            .iter()
            .map(|word| match *word {
                "stage" | "prod" | "both" | "everything" => example(word).display().to_string(),
                word => word.to_owned(),
            })
            .collect();
        let given: Vec<&str> = given.iter().map(String::as_str).collect();
        let mut objects: Vec<Value> = chart(&given);
        // The definitions are generated, and held against their types elsewhere.
        objects.retain(|object| object["kind"] != "CustomResourceDefinition");
        for object in &mut objects {
            if object["kind"] == "PrometheusRule" || name_of(object).ends_with("-dashboards") {
                object
                    .as_object_mut()
                    .unwrap()
                    .retain(|key, _| key != "spec" && key != "data");
            }
        }
        let text: Vec<String> = by_key_plain(objects)
            .values()
            .map(|object| serde_saphyr::to_string(object).unwrap())
            .collect();
        insta::with_settings!({snapshot_path => "snapshots/deploy", prepend_module_to_snapshot => false, omit_expression => true}, {
            insta::assert_snapshot!(name, text.join("---\n"));
        });
    }
}

fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap()
}

fn by_key_plain(objects: Vec<Value>) -> BTreeMap<String, Value> {
    objects
        .into_iter()
        .map(|object| (key(&object), object))
        .collect()
}

/// helm itself finds nothing to say.
#[test]
fn helm_lints_the_chart() {
    if common::deploy::missing() {
        return;
    }
    for name in ["stage", "prod", "both"] {
        process::run(
            helm()
                .args(["lint", "--strict", "--quiet", "--kube-version", "1.34.0"])
                .arg(root("deploy/chart/walproof"))
                .arg("--values")
                .arg(example(name)),
        );
    }
}

/// walproof reads the configuration that the chart writes.
#[test]
fn the_configuration_is_one_that_walproof_takes() {
    if common::deploy::missing() {
        return;
    }
    let everything = example("everything");
    let everything = everything.to_str().unwrap();
    let both = example("both");
    let sets = [
        vec![],
        vec![
            "--values".to_owned(),
            example("stage").display().to_string(),
        ],
        vec!["--values".to_owned(), example("prod").display().to_string()],
        vec!["--values".to_owned(), both.display().to_string()],
        vec![
            "--values".to_owned(),
            both.display().to_string(),
            "--values".to_owned(),
            everything.to_owned(),
        ],
    ];
    for arguments in sets {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let objects = chart(&arguments);
        let map = objects
            .iter()
            .find(|object| object["kind"] == "ConfigMap" && name_of(object) == "walproof")
            .unwrap();
        let directory = scratch::directory();
        for (name, text) in map["data"].as_object().unwrap() {
            std::fs::write(directory.path().join(name), text.as_str().unwrap()).unwrap();
        }
        let file = directory.path().join("walproof.yaml");
        let file = file.to_str().unwrap();
        let run = walproof::run(&["--config", file, "config", "check"], &[]);
        let run = run.expect_code(0);
        let drills = map["data"].as_object().unwrap().keys();
        for drill in drills.filter(|name| name.starts_with("drill-")) {
            assert!(run.stdout.contains(drill.as_str()) || !run.stdout.is_empty());
        }
    }
}

/// Contradictions and nonsense, each with a word that says what is meant.
/// Rights can be given by somebody else, the chart's policies holding all the same, and what a scan
/// prints can stand below `config` as it is.
#[test]
fn roles_can_be_made_apart() {
    if common::deploy::missing() {
        return;
    }
    let apart = "rbac.create=false,rbac.scratchRole=theirs,config.version=1";
    let objects = documents(&helm_template("walproof", "walproof", &["--set", apart]).unwrap());
    let of = |kind: &str| objects.iter().filter(|one| one["kind"] == kind).count();
    assert_eq!((of("ClusterRole"), of("Role")), (0, 0));
    assert!(of("ValidatingAdmissionPolicy") >= 3);
    let text = serde_json::to_string(&objects).unwrap();
    assert!(text.contains("scratch_role: theirs"), "{text}");
    assert!(text.contains("'theirs'"), "the policy of bindings: {text}");
    // With nothing said no binding is let through.
    let none = helm_template("walproof", "walproof", &["--set", "rbac.create=false"]).unwrap();
    assert!(none.contains("it was given no scratch role"), "{none}");
    assert!(!none.contains("scratch_role:"), "{none}");
}

#[test]
fn nonsense_is_refused_before_anything_is_made() {
    if common::deploy::missing() {
        return;
    }
    let postgres = "state.kind=postgres,state.postgres.url=postgres://w@db/w,state.postgres.passwordSecret.name=s";
    assert!(helm_template("walproof", "walproof", &["--set", postgres]).is_ok());
    for (set, words) in [
        ("replicas=2", "a SQLite state is for one daemon"),
        ("state.kind=postgres", "where is the database"),
        (
            "state.kind=postgres,state.postgres.url=postgres://w@db/w",
            "which Secret holds the password",
        ),
        (
            "state.kind=postgres,state.postgres.url=postgres://w:geheim@db/w",
            "a password does not stand in the URL",
        ),
        ("state.postgres.url=postgres://w@db/w", "which is meant"),
        (
            "state.files.enabled=true",
            "with sqlite the files lie on its volume",
        ),
        (
            format!("{postgres},replicas=2,state.files.enabled=true").as_str(),
            "ReadWriteMany",
        ),
        (
            format!("{postgres},config.schedules[0].name=week,config.schedules[0].job=report")
                .as_str(),
            "its reports would go with the pod",
        ),
        ("executor.kind=kubernetes", "needs state.kind: postgres"),
        ("config.state=sqlite:///x", "the chart writes that itself"),
        ("daemon.listen=0.0.0.0:1", "the chart writes that itself"),
        (
            "drills.nightly.environment=cnpg,drills.nightly.cnpg.namespace_prefix=prod",
            "would be refused",
        ),
        (
            "drills.nightly.environment=cnpg,rbac.drills=false",
            "needs rbac.drills",
        ),
        (
            "drills.nightly.environment=cnpg,drills.nightly.cnpg.form=snapshot",
            "not among rbac.forms",
        ),
        (
            "serviceAccount.create=false",
            "which one, if the chart makes none",
        ),
        ("rbac.scratchRole=x", "which is meant"),
        ("config.version=2", "version 1"),
        (
            "drills.nightly.environment=cnpg,scratch.namespacePrefixes={mine}",
            "walproof-drill",
        ),
        // The schema.
        ("replicas=-1", "replicas"),
        ("replicas=two", "replicas"),
        ("replica=2", "replica"),
        ("state.kind=mysql", "kind"),
        ("state.sqlite.size=viel", "size"),
        ("image.digest=latest", "digest"),
        ("podSecurityContext.runAsUser=0", "runAsUser"),
        ("rbac.forms={tape}", "forms"),
        ("scratch.namespacePrefixes={Kube}", "namespacePrefixes"),
        ("scratch.namespacePrefixes={}", "namespacePrefixes"),
        ("drills.Nightly.environment=cnpg", "Nightly"),
        ("log.format=text", "format"),
        ("networkPolicy.monitoring[0].everybody=true", "everybody"),
        ("volumes[0].name=x,volumes[0].hostPath.path=/", "volumes"),
        ("stopWithinSeconds=0", "stopWithinSeconds"),
    ] {
        let refused = helm_template("walproof", "walproof", &["--set", set]).unwrap_err();
        assert!(refused.contains(words), "{set}: {refused}");
        assert!(
            !refused.contains("geheim") || set.contains("geheim"),
            "{refused}"
        );
    }
}

/// What a pod of this chart is allowed on the node: as the Pod Security standard `restricted`
/// asks, and nothing to be written but what is named.
#[test]
fn pods_are_confined() {
    if common::deploy::missing() {
        return;
    }
    let objects = chart(&[
        "--values",
        example("both").to_str().unwrap(),
        "--values",
        example("everything").to_str().unwrap(),
    ]);
    let map = objects
        .iter()
        .find(|object| object["kind"] == "ConfigMap" && name_of(object) == "walproof")
        .unwrap();
    let job: Value = serde_saphyr::from_str(map["data"]["job-pod.yaml"].as_str().unwrap()).unwrap();
    let deployment = objects.iter().find(|object| object["kind"] == "Deployment");
    for pod in [&deployment.unwrap()["spec"]["template"], &job["template"]] {
        let spec = &pod["spec"];
        assert_eq!(spec["securityContext"]["runAsNonRoot"], true);
        assert_eq!(
            spec["securityContext"]["seccompProfile"]["type"],
            "RuntimeDefault"
        );
        for field in ["hostNetwork", "hostPID", "hostIPC"] {
            assert!(spec[field].is_null(), "{field}");
        }
        for container in spec["containers"].as_array().unwrap() {
            let security = &container["securityContext"];
            assert_eq!(security["readOnlyRootFilesystem"], true);
            assert_eq!(security["allowPrivilegeEscalation"], false);
            assert_eq!(security["capabilities"], json!({"drop": ["ALL"]}));
            assert!(!container["resources"]["limits"]["memory"].is_null());
        }
        for volume in spec["volumes"].as_array().unwrap() {
            let kinds: Vec<&String> = volume
                .as_object()
                .unwrap()
                .keys()
                .filter(|key| *key != "name")
                .collect();
            assert_eq!(kinds.len(), 1, "{volume}");
            assert!(
                ["emptyDir", "configMap", "secret", "persistentVolumeClaim"]
                    .contains(&kinds[0].as_str()),
                "{volume}"
            );
        }
    }
}

/// What a Role grants, atom by atom, must be what walproof says that it needs: for each form of
/// drills, for the scan and for backups.
#[test]
fn the_chart_grants_what_walproof_prints() {
    if common::deploy::missing() {
        return;
    }
    for form in ["plugin", "in-tree", "snapshot"] {
        let forms = format!("rbac.forms={{{form}}}");
        let secrets = json!([{"namespace": "shop", "names": ["store"]}]).to_string();
        let objects = chart(&[
            "--set",
            &forms,
            "--set",
            "rbac.backups={shop}",
            "--set",
            "rbac.definitions={shop},rbac.requests={shop},controller.enabled=true,crds.install=false",
            "--set",
            "executor.kind=kubernetes,state.kind=postgres,state.postgres.url=postgres://w@db/w,state.postgres.passwordSecret.name=s",
            "--set-json",
            &format!("rbac.secrets={secrets}"),
        ]);
        let ours = rules_of(&objects);
        let place = ["--namespace", "shop", "--secret", "store"];
        let drill = printed(
            &[
                &[
                    "--for",
                    "drill",
                    "--form",
                    form,
                    "--scratch-role",
                    "walproof-scratch",
                ][..],
                &place,
            ]
            .concat(),
        );
        let scan = printed(&["--for", "scan", "--secret", "store", "--namespace", "shop"]);
        let backup = printed(&[&["--for", "backup"][..], &place].concat());

        // Inside scratch namespaces: exactly the same.
        let inside = |all: &BTreeSet<String>| -> BTreeSet<String> {
            all.iter()
                .filter(|one| one.starts_with("walproof-scratch: "))
                .cloned()
                .collect()
        };
        assert_eq!(inside(&ours), inside(&drill), "{form}");
        assert!(!inside(&ours).is_empty());

        // Elsewhere: all that is printed is there, at least as widely, but for the way to a store
        // from outside of the cluster, which a pod does not need; and nothing else is.
        let elsewhere = |all: &BTreeSet<String>| -> BTreeSet<String> {
            all.iter()
                .filter_map(|one| one.split_once(": "))
                .filter(|(role, _)| *role != "walproof-scratch")
                .map(|(_, right)| right.to_owned())
                .collect()
        };
        // A right in all namespaces is one in `shop` too.
        let wide = |right: &str| -> String { right.trim_end_matches(" in shop").to_owned() };
        let others = [
            printed(&["--for", "executor", "--namespace", "walproof"]),
            printed(&["--for", "controller"]),
            printed(&[&["--for", "definition"][..], &place].concat()),
            printed(&["--for", "request", "--namespace", "shop"]),
        ];
        let wanted: BTreeSet<String> = [&drill, &scan, &backup]
            .into_iter()
            .chain(&others)
            .flat_map(&elsewhere)
            .filter(|right| !right.contains("pods/portforward"))
            .collect();
        let given = elsewhere(&ours);
        for right in &wanted {
            assert!(
                given.contains(right) || given.contains(&wide(right)),
                "{form}: walproof needs {right}, the chart does not grant it"
            );
        }
        let wide_wanted: BTreeSet<String> = wanted.iter().map(|right| wide(right)).collect();
        for right in &given {
            assert!(
                wide_wanted.contains(&wide(right)),
                "{form}: the chart grants {right}, which walproof does not ask for"
            );
        }
        // What reads a Secret names it, and nothing of Secrets holds in all namespaces.
        for right in given.iter().filter(|right| right.contains(" secrets")) {
            assert!(
                right == "get secrets store in shop"
                    // Of a request: to make one shows nothing of those that are there.
                    || right == "create secrets in shop"
                    || right == "delete secrets in shop",
                "{right}"
            );
        }
    }
}

/// The rights of `walproof kubernetes check --print-role`.
#[track_caller]
fn printed(arguments: &[&str]) -> BTreeSet<String> {
    let words = [
        &[
            "kubernetes",
            "check",
            "--print-role",
            "--as",
            "system:serviceaccount:walproof:walproof",
        ][..],
        arguments,
    ]
    .concat();
    let run = walproof::run(&words, &[]).expect_code(0);
    rules_of(&documents(&run.stdout))
}

/// The definitions of the custom resources are those of `deploy/crds`, and stay when the chart
/// goes.
#[test]
fn the_chart_brings_the_definitions_and_leaves_them() {
    if common::deploy::missing() {
        return;
    }
    let brought: BTreeMap<String, Value> = chart(&["--set", "controller.enabled=true"])
        .into_iter()
        .filter(|object| object["kind"] == "CustomResourceDefinition")
        .map(|object| (name_of(&object).to_owned(), object))
        .collect();
    let generated: BTreeMap<String, Value> = std::fs::read_dir(root("deploy/crds"))
        .unwrap()
        .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap())
        .flat_map(|text| documents(&text))
        .map(|object| (name_of(&object).to_owned(), object))
        .collect();
    assert!(!generated.is_empty());
    assert_eq!(
        brought.keys().collect::<Vec<_>>(),
        generated.keys().collect::<Vec<_>>()
    );
    for (name, object) in &brought {
        assert_eq!(object["spec"], generated[name]["spec"], "{name}");
        let policy = &object["metadata"]["annotations"]["helm.sh/resource-policy"];
        assert_eq!(policy, "keep", "{name}");
    }
    for quiet in [
        &["--set", "crds.install=false,controller.enabled=true"][..],
        &[],
    ] {
        let objects = chart(quiet);
        assert!(
            objects
                .iter()
                .all(|object| object["kind"] != "CustomResourceDefinition")
        );
    }
}
