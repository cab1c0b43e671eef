//! `walproof kubernetes scan` with nothing of ours installed: the fleet, what is broken in
//! it, and a configuration that works as it is written.

use std::path::Path;

use serde_json::{Value, json};

use crate::common::json_schema::assert_valid;
use crate::common::kubernetes::source::Source;
use crate::common::kubernetes::store::secret;
use crate::common::kubernetes::{Lab, Namespace, cluster};
use crate::common::s3::{READER, STRANGER};
use crate::common::scratch;
use crate::common::walproof::{self, Run};
use crate::kit;

fn scan(kubeconfig: &Path, namespace: &str, words: &[&str]) -> Run {
    let mut all = vec![
        "kubernetes",
        "scan",
        "--namespace",
        namespace,
        "--kubeconfig",
    ];
    all.push(kubeconfig.to_str().unwrap());
    all.extend(words);
    let mut command = walproof::command(&all, &[]);
    command.env_remove("KUBECONFIG");
    walproof::run_command(command)
}

fn document(run: &Run) -> Value {
    let document = run.json();
    let schema =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schema/kubernetes-scan.v1.schema.json");
    let schema: Value = serde_json::from_slice(&std::fs::read(schema).unwrap()).unwrap();
    assert_valid(&schema, &document);
    document
}

fn found<'a>(document: &'a Value, name: &str) -> &'a Value {
    let clusters = document["clusters"].as_array().unwrap();
    let cluster = clusters.iter().find(|cluster| cluster["name"] == name);
    cluster.unwrap_or_else(|| panic!("{name} is not there: {document:#}"))
}

fn need<'a>(cluster: &'a Value, kind: &str) -> &'a Value {
    let needs = cluster["needs"].as_array().unwrap();
    let need = needs.iter().find(|need| need["kind"] == kind);
    need.unwrap_or_else(|| panic!("{kind}: {cluster:#}"))
}

/// A source is shown with its worth, and the configuration that is written works as printed:
/// from here, where no name of the cluster resolves.
fn shown_and_written(lab: &'static Lab, source: &Source, form: &str) {
    let run = scan(&lab.kubeconfig, source.name(), &["--output", "json"]);
    let document = document(&run.expect_code(0));
    let cluster = found(&document, Source::CLUSTER);
    assert_eq!(cluster["form"], form);
    assert_eq!(cluster["outcome"], "quiet", "{cluster:#}");
    assert_eq!(cluster["location"], source.url());
    assert!(cluster["standing"]["usable_backups"].as_u64().unwrap() >= 1);
    assert_eq!(cluster["standing"]["depth"], "listed");
    assert!(cluster["exposure"]["seconds"].as_i64().is_some());
    for kind in ["backup", "operator", "plugin", "permission", "storage"] {
        assert_eq!(need(cluster, kind)["met"], true, "{kind}: {cluster:#}");
    }
    let credentials = need(cluster, "credentials")["text"].as_str().unwrap();
    assert!(credentials.contains(Source::WRITER), "{credentials}");

    let place = scratch::directory();
    let file = place.path().join("walproof.yaml");
    let file = file.to_str().unwrap();
    let text = scan(&lab.kubeconfig, source.name(), &["--write-config", file]);
    let text = text.expect_code(0).stdout;
    assert!(text.contains(Source::CLUSTER), "{text}");
    let words = ["--config", file, "verify", "--no-state", Source::CLUSTER];
    let mut verify = walproof::command(&words, &[]);
    verify.env_remove("KUBECONFIG");
    walproof::run_command(verify).expect_code(0);
    // Nothing is written over.
    let again = scan(&lab.kubeconfig, source.name(), &["--write-config", file]);
    assert!(again.expect_code(2).stderr.contains("exists already"));
}

#[test]
fn the_plugin_form_is_shown_and_written() {
    let lab = cluster!();
    let _peace = lab.beside();
    shown_and_written(lab, Source::plugin(lab), "plugin");
}

#[test]
fn the_in_tree_form_is_shown_and_written() {
    let lab = cluster!();
    let _peace = lab.beside();
    if let Some(source) = Source::in_tree(lab) {
        shown_and_written(lab, source, "in-tree");
    }
}

/// A Cluster that the operator leaves alone: only what it says is looked at.
fn resting(namespace: &str, name: &str, image: &str, plugins: &Value) -> Value {
    json!({
        "apiVersion": "postgresql.cnpg.io/v1",
        "kind": "Cluster",
        "metadata": {"name": name, "namespace": namespace,
            "annotations": {"cnpg.io/reconciliationLoop": "disabled"}},
        "spec": {"instances": 1, "imageName": image, "storage": {"size": "1Gi"},
            "plugins": plugins},
    })
}

fn plugins(store: &str, server: &str) -> Value {
    json!([{
        "name": "barman-cloud.cloudnative-pg.io", "isWALArchiver": true,
        "parameters": {"barmanObjectName": store, "serverName": server},
    }])
}

/// An ObjectStore of the source's place with the credentials of a Secret of the same name.
fn object_store(namespace: &str, name: &str, source: &Source) -> Value {
    let mut configuration = source.configuration();
    configuration["s3Credentials"] = json!({
        "accessKeyId": {"name": name, "key": "ACCESS_KEY_ID"},
        "secretAccessKey": {"name": name, "key": "SECRET_ACCESS_KEY"},
    });
    json!({
        "apiVersion": "barmancloud.cnpg.io/v1", "kind": "ObjectStore",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"configuration": configuration},
    })
}

/// A namespace whose Clusters are sound and broken in every way.
fn broken(lab: &'static Lab, source: &Source) -> Namespace {
    let namespace = lab.namespace("broken");
    let name = &namespace.name;
    let mut objects = vec![
        secret(name, "reader", READER),
        secret(name, "stranger", STRANGER),
    ];
    for credentials in ["reader", "stranger", "missing"] {
        objects.push(object_store(name, credentials, source));
    }
    for (cluster, plugins) in [
        ("sound", plugins("reader", Source::CLUSTER)),
        ("empty", plugins("reader", "nobody")),
        ("denied", plugins("stranger", "other")),
        ("secretless", plugins("missing", "another")),
        ("storeless", plugins("nowhere", Source::CLUSTER)),
        ("twin", plugins("reader", "nobody")),
        ("bare", json!([])),
    ] {
        objects.push(resting(name, cluster, &lab.postgres_image, &plugins));
    }
    lab.apply(&objects);
    namespace
}

#[test]
fn what_is_broken_is_told_and_the_rest_goes_on() {
    let lab = cluster!();
    let _peace = lab.beside();
    let source = Source::plugin(lab);
    let namespace = broken(lab, source);
    let run = scan(&lab.kubeconfig, &namespace.name, &["--output", "json"]);
    let document = document(&run.expect_code(1));
    assert_eq!(document["counts"]["clusters"], 7);
    for (name, outcome, code) in [
        ("sound", "quiet", None),
        ("empty", "problem", Some("repository-empty")),
        ("twin", "problem", Some("system-id-mixed")),
        ("bare", "problem", Some("archive-not-configured")),
        ("denied", "unread", None),
        ("secretless", "unread", None),
        ("storeless", "unread", None),
    ] {
        let cluster = found(&document, name);
        assert_eq!(cluster["outcome"], outcome, "{cluster:#}");
        let findings = cluster["findings"].as_array().unwrap();
        let has = |code: &str| findings.iter().any(|finding| finding["code"] == code);
        assert!(code.is_none_or(has), "{cluster:#}");
    }
    let space = &namespace.name;
    for (name, class, words) in [
        ("denied", "credentials", "/other: ".to_owned()),
        (
            "secretless",
            "credentials",
            format!("Secret {space}/missing[ACCESS_KEY_ID]: there is no such Secret"),
        ),
        (
            "storeless",
            "configuration",
            format!("there is no ObjectStore {space}/nowhere"),
        ),
    ] {
        let trouble = &found(&document, name)["trouble"];
        assert_eq!(trouble["class"], class, "{trouble:#}");
        let message = trouble["message"].as_str().unwrap();
        assert!(message.contains(&words), "{name}: {message}");
    }

    // As text every one of them has its line, and as a configuration its place or its reason.
    let run = scan(&lab.kubeconfig, space, &["--write-config"]).expect_code(1);
    for name in ["sound", "empty", "denied", "secretless"] {
        let line = format!("- name: {name}\n");
        assert!(run.stdout.contains(&line), "{}", run.stdout);
    }
    for (name, why) in [
        ("bare", "it archives nowhere"),
        ("twin", "it shares the place of a cluster above"),
        ("storeless", "there is no ObjectStore"),
    ] {
        let line = format!("#   {space}/{name}: {why}");
        assert!(run.stdout.contains(&line), "{}", run.stdout);
    }
    assert!(run.stderr.contains(&format!("{space}/sound")));
    for hush in [READER.secret, STRANGER.secret] {
        assert!(!run.stdout.contains(hush) && !run.stderr.contains(hush));
    }
}

/// Whoever may only `get` and `list` can scan; a Secret that it may not read is told by
/// name, and the rest goes on.
#[test]
fn get_and_list_suffice() {
    let lab = cluster!();
    let _peace = lab.beside();
    let source = Source::plugin(lab);
    let namespace = broken(lab, source);
    let place = scratch::directory();
    let read = |groups: &[&str], resources: &[&str]| json!({"apiGroups": groups, "resources": resources, "verbs": ["get", "list"]});
    let rules = json!([
        read(
            &["postgresql.cnpg.io"],
            &["clusters", "backups", "scheduledbackups"]
        ),
        read(&["barmancloud.cnpg.io"], &["objectstores"]),
        {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["reader"],
            "verbs": ["get"]},
    ]);
    let kubeconfig = kit::identity(lab, &namespace, "reading", &rules, place.path());
    // The way to the store, which is a Service in another namespace: a stream is a `get`,
    // and from Kubernetes 1.35 on a `create` as well.
    let metadata = json!({"name": "reading", "namespace": source.store.namespace()});
    lab.apply(&[
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": metadata,
        "rules": [
            read(&["", "discovery.k8s.io"], &["services", "endpointslices"]),
            {"apiGroups": [""], "resources": ["pods/portforward"],
                "verbs": ["get", "create"]},
        ]}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role",
                "name": "reading"},
            "subjects": [{"kind": "ServiceAccount", "name": "reading",
                "namespace": namespace.name}]}),
    ]);
    let run = scan(&kubeconfig, &namespace.name, &["--output", "json"]);
    let document = document(&run.expect_code(1));
    let sound = found(&document, "sound");
    assert_eq!(sound["outcome"], "quiet", "{sound:#}");
    assert_eq!(need(sound, "permission")["met"], false, "{sound:#}");
    // The operator's namespace is not its own: not seen, and no failure.
    assert_eq!(need(sound, "operator")["met"], Value::Null, "{sound:#}");
    let denied = found(&document, "denied");
    assert_eq!(need(denied, "credentials")["met"], false, "{denied:#}");
    let message = denied["trouble"]["message"].as_str().unwrap();
    let named = format!("Secret {}/stranger[", namespace.name);
    assert!(
        message.contains(&named) && message.contains("may not read it"),
        "{message}"
    );
    assert_eq!(found(&document, "bare")["outcome"], "problem");

    // In all namespaces it may not list, and is told what to do.
    let kubeconfig = kubeconfig.to_str().unwrap();
    let run = walproof::run(&["kubernetes", "scan", "--kubeconfig", kubeconfig], &[]);
    let told = run.expect_code(3).stderr;
    assert!(told.contains("--namespace NAME"), "{told}");
}

#[test]
fn nothing_there_is_no_success() {
    let lab = cluster!();
    let namespace = lab.namespace("nothing");
    let run = scan(&lab.kubeconfig, &namespace.name, &[]).expect_code(1);
    let place = format!("is in namespace {}", namespace.name);
    assert!(run.stderr.contains(&place), "{}", run.stderr);
}
