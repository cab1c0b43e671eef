//! Definitions: captured from a running Cluster, stored beside a replica, compared, and enough
//! for a rebuild when nothing else is left.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::access::{account, with_token};
use crate::common::kubernetes::source::{Form, Source};
use crate::common::kubernetes::store::{Store, secret};
use crate::common::kubernetes::{Lab, cluster};
use crate::common::process::wait_until;
use crate::common::s3::ADMIN;
use crate::common::scratch;
use crate::common::walproof::{Run, run_command};
use crate::kit::{Drilled, Place};

/// What the Cluster has besides itself.
fn furnish(lab: &'static Lab, source: &Source) {
    let namespace = source.name();
    let of = json!({"name": Source::CLUSTER});
    lab.apply(&[
        json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "queries", "namespace": namespace},
            "data": {"queries": "shop_rows:\n  query: \"SELECT 1 AS one\"\n  metrics:\n  - one:\n      usage: GAUGE\n"}}),
        login(namespace),
        json!({"apiVersion": "postgresql.cnpg.io/v1", "kind": "ScheduledBackup",
            "metadata": {"name": "nightly", "namespace": namespace},
            "spec": {"schedule": "0 0 3 * * *", "suspend": true, "cluster": of,
                "method": "plugin", "pluginConfiguration": {"name": "barman-cloud.cloudnative-pg.io"}}}),
        json!({"apiVersion": "postgresql.cnpg.io/v1", "kind": "ScheduledBackup",
            "metadata": {"name": "of-another", "namespace": namespace},
            "spec": {"schedule": "0 0 3 * * *", "suspend": true, "cluster": {"name": "another"}}}),
    ]);
    let patch = json!({"spec": {
        "monitoring": {"customQueriesConfigMap": [{"name": "queries", "key": "queries"}]},
        "managed": {"roles": [{"name": "reader", "ensure": "present", "login": true,
            "passwordSecret": {"name": "reader-login"}}]},
    }});
    let cluster = format!("cluster/{}", Source::CLUSTER);
    let patch = patch.to_string();
    lab.ask(&[
        "-n", namespace, "patch", &cluster, "--type", "merge", "-p", &patch,
    ]);
}

/// The password of a role that the Cluster manages.
fn login(namespace: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/basic-auth",
        "metadata": {"name": "reader-login", "namespace": namespace},
        "stringData": {"username": "reader", "password": PASSWORD}})
}

/// A password that must not be found anywhere.
const PASSWORD: &str = "not-to-be-seen-4711";

/// Configures `orders` with a replica at the second store, by credentials that nothing in the
/// source's namespace holds.
fn configure(place: &Place, source: &Source, second: &Store, site: Option<&Value>) {
    let credential = |key: &str| json!({"env": format!("KEPT_{key}")});
    let replica = json!({
        "name": "second", "url": source.url(), "endpoint": second.endpoint(),
        "region": "us-east-1", "path_style": true,
        "credentials": {
            "access_key_id": credential("ACCESS_KEY_ID"),
            "secret_access_key": credential("SECRET_ACCESS_KEY"),
        },
    });
    place.configure(source, &format!("  replicas: [{replica}]\n"));
    if let Some(site) = site {
        let text = std::fs::read_to_string(place.config()).unwrap();
        let resource = json!({"namespace": source.name(), "name": Source::CLUSTER});
        let mut guarded = resource.clone();
        guarded["disaster_site"] = site.clone();
        let changed = text.replace(&resource.to_string(), &guarded.to_string());
        assert_ne!(changed, text);
        std::fs::write(place.config(), changed).unwrap();
    }
}

fn command(place: &Place, words: &[&str]) -> Command {
    let mut command = place.command(words);
    command.env("KEPT_ACCESS_KEY_ID", ADMIN.key);
    command.env("KEPT_SECRET_ACCESS_KEY", ADMIN.secret);
    command
}

#[track_caller]
fn run(place: &Place, words: &[&str]) -> Run {
    run_command(command(place, words))
}

/// What `kubectl apply` says of a stream.
fn apply(lab: &'static Lab, stream: &str, more: &[&str]) -> Result<String, String> {
    let mut child = lab
        .kubectl(&[&["apply", "-f", "-"], more].concat())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(stream.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let words = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        Ok(words)
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// Production is lost with its namespace: what was captured beside the replica is enough, for
/// a drill and for a person.
#[test]
fn a_cluster_is_rebuilt_from_the_captured_definition_alone() {
    let lab = cluster!();
    let _peace = lab.beside();
    let source = Source::under_load(lab, Form::Plugin);
    furnish(lab, &source);
    source.stop_load();
    source.archive();
    let rows = source.rows();
    let second = Store::second(lab);
    let place = Place::new(lab);
    let site = lab.namespace("site");
    configure(
        &place,
        &source,
        second,
        Some(&json!({"namespace": site.name})),
    );
    run(&place, &["replicate", "run", "orders"]).expect_code(0);

    // Nothing is there yet, and that is said.
    let none = run(
        &place,
        &["definition", "list", "orders", "--output", "json"],
    )
    .expect_code(1);
    assert_eq!(none.finding_codes(), ["definition-not-captured"]);
    let captured = place.definition("early", &json!({"definition": "captured"}), "");
    let mut early = place.drill_command(&captured, &["--copy", "second"]);
    early.env("KEPT_ACCESS_KEY_ID", ADMIN.key);
    early.env("KEPT_SECRET_ACCESS_KEY", ADMIN.secret);
    let early = Drilled::of(run_command(early)).expect(3);
    let words = early.report["reasons"].to_string();
    assert!(words.contains("walproof definition capture"), "{words}");

    // The disaster site has no Secret yet.
    let capture = ["definition", "capture", "orders", "--output", "json"];
    let first = run(&place, &capture).expect_code(1);
    assert_eq!(first.finding_codes(), ["definition-secret-missing"]);
    assert_eq!(first.json()["findings"].as_array().unwrap().len(), 2);
    let report = first.json();
    assert_eq!(report["outcome"], "stored", "{report:#}");
    let namespace = source.name();
    assert_eq!(
        report["objects"],
        json!([
            format!("ConfigMap {namespace}/cnpg-default-monitoring"),
            format!("ConfigMap {namespace}/queries"),
            format!("ObjectStore {namespace}/store"),
            format!("Cluster {namespace}/orders"),
            format!("ScheduledBackup {namespace}/nightly"),
        ])
    );
    assert_eq!(report["unread"], json!([]));
    let writer = report["secrets"].as_array().unwrap().iter();
    let writer = writer.filter(|secret| secret["name"] == Source::WRITER);
    let writer: Vec<&Value> = writer.collect();
    assert_eq!(
        writer[0]["missing_keys"],
        json!(["ACCESS_KEY_ID", "SECRET_ACCESS_KEY"])
    );
    // No value of a Secret is anywhere in what was stored.
    let shown = run(
        &place,
        &["definition", "show", "orders", "--output", "json"],
    )
    .expect_code(0);
    for hidden in [ADMIN.secret, PASSWORD] {
        assert!(!shown.stdout.contains(hidden));
    }

    // With a copy of it nothing is wrong, and nothing is written again.
    lab.apply(&[secret(&site.name, Source::WRITER, ADMIN), login(&site.name)]);
    let again = run(&place, &capture).expect_code(0).json();
    assert_eq!(again["outcome"], "unchanged", "{again:#}");
    assert_eq!(again["definition"], report["definition"]);
    let keys = second.keys(Store::BUCKET, &format!("{namespace}/orders/walproof/"));
    assert_eq!(keys.len(), 6, "{keys:?}");
    let first_store = source
        .store
        .keys(Store::BUCKET, &format!("{namespace}/orders/walproof/"));
    assert_eq!(
        first_store,
        Vec::<String>::new(),
        "the primary was written to"
    );

    // No reader of the repository sees it, and nothing removes it.
    let verified = run(
        &place,
        &["verify", "orders", "--copy", "second", "--output", "json"],
    );
    let codes = verified.finding_codes();
    assert!(
        !codes.iter().any(|code| code == "object-unknown"),
        "{codes:?}"
    );
    run(&place, &["replicate", "compare", "orders", "--read"]).expect_code(0);
    run(&place, &["replicate", "run", "orders"]).expect_code(0);
    assert_eq!(
        second.keys(Store::BUCKET, &format!("{namespace}/orders/walproof/")),
        keys
    );

    // The API server takes it as it is, and the live one is the same until it changes.
    let yaml = run(&place, &["definition", "show", "orders", "--to-yaml"]).expect_code(0);
    let said = apply(lab, &yaml.stdout, &["--dry-run=server"]).unwrap();
    assert_eq!(said.matches("dry run").count(), 5, "{said}");
    run(&place, &["definition", "diff", "orders"]).expect_code(0);
    let patch = json!({"spec": {"postgresql": {"parameters": {"work_mem": "5MB"}}}}).to_string();
    let cluster = format!("cluster/{}", Source::CLUSTER);
    lab.ask(&[
        "-n", namespace, "patch", &cluster, "--type", "merge", "-p", &patch,
    ]);
    let differs = run(&place, &["definition", "diff", "orders"]).expect_code(1);
    assert!(
        differs
            .stdout
            .contains("spec.postgresql.parameters.work_mem\n    + \"5MB\""),
        "{}",
        differs.stdout
    );
    let changed = run(&place, &capture).expect_code(0).json();
    assert_eq!(changed["outcome"], "stored");
    run(&place, &["definition", "diff", "orders"]).expect_code(0);

    // Then the whole namespace goes, with the Cluster, the ObjectStore and the Secrets.
    lab.ask(&["-n", namespace, "delete", &cluster, "--wait=false"]);
    lab.remove_namespace(namespace);
    wait_until(Duration::from_mins(3), "the end of the namespace", || {
        lab.namespaces(namespace).is_empty()
    });
    run(&place, &["definition", "list", "orders"]).expect_code(0);
    run(&place, &["definition", "diff", "orders"]).expect_code(3);
    let lines = format!(
        "checks:\n- {{name: rows, database: {}, sql: 'select count(*) from history', expect: '= {rows}'}}\n",
        Source::DATABASE
    );
    let captured = place.definition("alone", &json!({"definition": "captured"}), &lines);
    let mut drill = place.drill_command(&captured, &["--copy", "second"]);
    drill.env("KEPT_ACCESS_KEY_ID", ADMIN.key);
    drill.env("KEPT_SECRET_ACCESS_KEY", ADMIN.secret);
    let drilled = Drilled::of(run_command(drill)).expect(0);
    assert_eq!(drilled.report["verdict"], "proven", "{:#}", drilled.report);
    assert_eq!(drilled.check("rows")["observed"], json!(rows.to_string()));
    assert_eq!(
        drilled.kubernetes()["source"],
        json!("the captured definition of orders")
    );
    drilled.assert_nothing_left(lab);

    rebuild_by_hand(lab, &place, &site.name, rows);
}

/// What a person does: bring the Secrets, apply the stream, wait.
fn rebuild_by_hand(lab: &'static Lab, place: &Place, site: &str, rows: u64) {
    let made = run(place, &["definition", "show", "orders", "--rebuild"]).expect_code(0);
    let stream = made.stdout;
    assert!(
        stream.contains(&format!("{site}/walproof-replica: keys access-key-id")),
        "{stream}"
    );
    lab.apply(&[json!({"apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "walproof-replica", "namespace": site},
        "stringData": {"access-key-id": ADMIN.key, "secret-access-key": ADMIN.secret,
            "region": "us-east-1"}})]);
    apply(lab, &stream, &[]).unwrap();
    let cluster = format!("cluster/{}", Source::CLUSTER);
    lab.wait(site, &cluster, "condition=Ready", Duration::from_mins(10));
    let pod = format!("{}-1", Source::CLUSTER);
    let query = [
        "-n",
        site,
        "exec",
        &pod,
        "-c",
        "postgres",
        "--",
        "psql",
        "-qAt",
        "-d",
        Source::DATABASE,
        "-c",
        "select count(*) from history",
    ];
    assert_eq!(lab.ask(&query).trim(), rows.to_string());
    lab.ask(&["-n", site, "delete", &cluster, "--wait=true"]);
}

/// Whoever may not read a part is told which, and the capture is unproven.
#[test]
fn what_may_not_be_read_is_said() {
    let lab = cluster!();
    let _peace = lab.beside();
    let source = Source::plugin(lab);
    let narrow = lab.namespace("narrow");
    let namespace = source.name();
    lab.apply(&[
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": {"name": "narrow", "namespace": namespace},
        "rules": [
            {"apiGroups": ["postgresql.cnpg.io"], "resources": ["clusters"], "verbs": ["get"]},
            {"apiGroups": ["postgresql.cnpg.io"],
             "resources": ["scheduledbackups", "databases", "publications", "subscriptions"],
             "verbs": ["list"]},
            {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]},
        ]}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": "narrow", "namespace": namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "narrow"},
            "subjects": [{"kind": "ServiceAccount", "name": "narrow", "namespace": narrow.name}]}),
    ]);
    let token = account(lab, &narrow.name, "narrow");
    let directory = scratch::directory();
    let place = Place::of(lab, &with_token(lab, directory.path(), &token));
    let copy = directory.path().join("copy");
    let replica = json!({"name": "here", "url": format!("file://{}", copy.display())});
    place.configure(source, &format!("  replicas: [{replica}]\n"));
    let captured = run(
        &place,
        &["definition", "capture", "orders", "--output", "json"],
    );
    let report = captured.expect_code(3).json();
    let unread: Vec<&str> = report["unread"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["object"].as_str().unwrap())
        .collect();
    for named in [
        format!("poolers in {namespace}"),
        format!("ObjectStore {namespace}/{}", Source::OBJECT_STORE),
    ] {
        assert!(unread.contains(&named.as_str()), "{unread:?}");
    }
    assert!(
        !unread.iter().any(|one| one.contains("databases")),
        "{unread:?}"
    );
    let shown = run(&place, &["definition", "show", "orders"]).expect_code(0);
    assert!(
        shown
            .stdout
            .contains(&format!("missing: poolers in {namespace}"))
    );
    // A primary, by name, is refused.
    run(
        &place,
        &["definition", "capture", "orders", "--copy", "primary"],
    )
    .expect_code(4);
}
