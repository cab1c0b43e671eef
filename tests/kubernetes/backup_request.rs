//! `walproof backup request` with the real operator: backups that it takes, backups that
//! fail, hang, or are refused.

use std::time::Duration;

use serde_json::json;

use crate::common::kubernetes::source::{Form, Source};
use crate::common::kubernetes::store::secret;
use crate::common::kubernetes::{Lab, cluster};
use crate::common::process::wait_until;
use crate::common::s3::Credentials;
use crate::common::walproof::Run;
use crate::kit::{Place, identity};

fn ask(place: &Place, more: &[&str]) -> Run {
    let mut words = vec!["backup", "request", "orders", "--output", "json"];
    words.extend(more);
    place.run(&words)
}

/// Asks for a backup of a source and holds what is said against the Backup itself.
#[track_caller]
fn assert_verified(lab: &'static Lab, source: &Source, more: &[&str]) -> serde_json::Value {
    let place = Place::new(lab);
    place.configure(source, "");
    let run = ask(&place, more).expect_code(0);
    let report = run.json();
    assert_eq!(report["schema"], "walproof.backup-request/v1");
    assert_eq!(report["state"], "verified", "{report:#}");
    assert_eq!(report["phase"], "completed");
    assert_eq!(report["reasons"], json!([]));
    let object = format!("backup/{}", report["backup"].as_str().unwrap());
    let backup = lab.get(source.name(), &object).unwrap();
    assert_eq!(backup["status"]["phase"], "completed");
    assert_eq!(backup["status"]["backupId"], report["backup_id"]);
    assert_eq!(backup["spec"]["method"], report["method"]);
    let completed = report["completed_milliseconds"].as_u64().unwrap();
    assert!(report["verified_milliseconds"].as_u64().unwrap() >= completed);
    println!(
        "{}: completed in {completed} ms, verified in {} ms",
        report["method"], report["verified_milliseconds"]
    );
    // It is in the history.
    let history = place
        .run(&["history", "orders", "--output", "json"])
        .expect_code(0);
    assert!(
        history.stdout.contains("walproof.backup-request/v1")
            || history.stdout.contains("\"backup\"")
    );
    report
}

#[test]
fn a_plugin_backup_is_verified() {
    let lab = cluster!();
    let _peace = lab.beside();
    let source = Source::plugin(lab);
    let report = assert_verified(lab, source, &[]);
    assert_eq!(report["method"], "plugin");
    // The archives and the last segment lie where they are said to lie.
    let id = report["backup_id"].as_str().unwrap();
    let folder = format!("{}/{}", source.folder(), Source::CLUSTER);
    let keys = source
        .store
        .keys("backups", &format!("{folder}/base/{id}/"));
    assert!(
        keys.iter().any(|key| key.ends_with("backup.info")),
        "{keys:?}"
    );
    assert!(report["stored_bytes"].as_u64().unwrap() > 1_000_000);
    let last = report["end_wal"].as_str().unwrap();
    let wal = source
        .store
        .keys("backups", &format!("{folder}/wals/{}/{last}", &last[..16]));
    assert!(!wal.is_empty());
}

#[test]
fn an_in_tree_backup_is_verified() {
    let lab = cluster!();
    let _peace = lab.beside();
    let Some(source) = Source::in_tree(lab) else {
        return;
    };
    let report = assert_verified(lab, source, &["--method", "barman"]);
    assert_eq!(report["method"], "barmanObjectStore");
}

#[test]
fn a_backup_by_snapshots_is_verified() {
    let lab = cluster!();
    let _peace = lab.beside();
    let Some(source) = Source::snapshot(lab) else {
        return;
    };
    let report = assert_verified(lab, source, &["--method", "snapshot"]);
    assert_eq!(report["method"], "volumeSnapshot");
    assert!(report["stored_bytes"].is_null());
}

/// The operator's own words come through, and the exit code says that the backup is bad, not
/// that it could not be looked at.
#[test]
fn a_backup_with_wrong_credentials_fails_with_its_cause() {
    let lab = cluster!();
    let _peace = lab.beside();
    let source = Source::idle(lab, Form::Plugin);
    let wrong = Credentials {
        key: "nobody",
        secret: "wrong-secret",
    };
    let place = Place::new(lab);
    place.configure(&source, "");
    lab.apply(&[secret(source.name(), Source::WRITER, wrong)]);
    let run = ask(&place, &["--wait", "4m"]);
    let report = run.json();
    println!("{report:#}");
    assert_eq!(run.code, Some(1), "{report:#}\n{}", run.stderr);
    assert_eq!(report["state"], "failed");
    let reasons = report["reasons"].to_string();
    assert!(reasons.contains("the operator says"), "{reasons}");
    assert!(!run.stdout.contains("wrong-secret") && !run.stderr.contains("wrong-secret"));
    // People read it, too.
    let text = place.run(&["history", "orders"]).expect_code(0);
    assert!(text.stdout.contains("failed"), "{}", text.stdout);
}

/// What is not done in time is unknown, not failed, and goes on.
#[test]
fn the_deadline_is_told_and_the_backup_goes_on() {
    let lab = cluster!();
    let _peace = lab.beside();
    let source = Source::plugin(lab);
    let place = Place::new(lab);
    place.configure(source, "");
    let run = ask(&place, &["--wait", "1s"]).expect_code(3);
    let report = run.json();
    assert_eq!(report["state"], "unfinished");
    let reasons = report["reasons"].to_string();
    assert!(reasons.contains("goes on without us"), "{reasons}");
    let object = format!("backup/{}", report["backup"].as_str().unwrap());
    wait_until(Duration::from_mins(4), "the end of the backup", || {
        let backup = lab.get(source.name(), &object).unwrap();
        backup["status"]["phase"] == "completed"
    });
}

/// The operator takes no backup of a Cluster that rests, and says so at once.
#[test]
fn a_backup_of_a_hibernated_cluster_fails_with_its_cause() {
    let lab = cluster!();
    let _peace = lab.beside();
    let source = Source::idle(lab, Form::Plugin);
    let place = Place::new(lab);
    place.configure(&source, "");
    let cluster = format!("cluster/{}", Source::CLUSTER);
    lab.ask(&[
        "-n",
        source.name(),
        "annotate",
        &cluster,
        "cnpg.io/hibernation=on",
    ]);
    wait_until(Duration::from_mins(3), "hibernation", || {
        lab.list(source.name(), "pods", "cnpg.io/cluster=orders")
            .is_empty()
    });
    let run = ask(&place, &["--wait", "2m"]);
    let report = run.json();
    println!("{report:#}");
    let run = run.expect_code(1);
    assert_eq!(report["state"], "failed");
    assert!(
        run.stdout.contains("the Cluster is hibernated"),
        "{report:#}"
    );
}

#[test]
fn asking_only_does_not_wait() {
    let lab = cluster!();
    let _peace = lab.beside();
    let source = Source::plugin(lab);
    let place = Place::new(lab);
    place.configure(source, "");
    let report = ask(&place, &["--no-wait"]).expect_code(0).json();
    assert_eq!(report["state"], "asked");
    assert!(report["completed_milliseconds"].is_null());
    let object = format!("backup/{}", report["backup"].as_str().unwrap());
    let backup = lab.get(source.name(), &object).unwrap();
    assert_eq!(
        backup["metadata"]["labels"]["app.kubernetes.io/managed-by"],
        "walproof"
    );
}

#[test]
fn what_cannot_be_asked_for_makes_nothing() {
    let lab = cluster!();
    let _peace = lab.beside();
    let source = Source::plugin(lab);
    // A method that the Cluster has not.
    let place = Place::new(lab);
    place.configure(source, "");
    for method in ["barman", "snapshot"] {
        let run = ask(&place, &["--method", method]).expect_code(2);
        assert!(run.stderr.contains("hint:"), "{}", run.stderr);
    }

    // A Cluster that is not there.
    let absent = format!("{}-absent", source.name());
    place.configure_with(&format!(
        "- name: orders\n  kubernetes: {{namespace: {absent}, name: orders}}\n  primary: {{url: 'file:///nowhere/orders'}}\n"
    ));
    let run = ask(&place, &[]).expect_code(3);
    assert!(
        run.stderr.contains("there is no such Cluster"),
        "{}",
        run.stderr
    );

    // A cluster of which the configuration says nothing.
    place.configure_with("- name: orders\n  primary: {url: 'file:///nowhere/orders'}\n");
    let run = ask(&place, &[]).expect_code(2);
    assert!(run.stderr.contains("does not say where"), "{}", run.stderr);

    let methods: Vec<String> = lab
        .list(
            source.name(),
            "backups",
            "app.kubernetes.io/managed-by=walproof",
        )
        .iter()
        .map(|backup| backup["spec"]["method"].as_str().unwrap().to_owned())
        .filter(|method| method != "plugin")
        .collect();
    assert_eq!(methods, Vec::<String>::new());
}

#[test]
fn who_may_not_ask_is_told_which_permission_is_missing() {
    let lab = cluster!();
    let _peace = lab.beside();
    let source = Source::plugin(lab);
    let keep = Place::new(lab);
    let rules = json!([{"apiGroups": ["postgresql.cnpg.io"], "resources": ["clusters"],
        "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]);
    let kubeconfig = identity(lab, &source.namespace, "looker", &rules, keep.path());
    let place = Place::of(lab, &kubeconfig);
    place.configure(source, "");
    let run = ask(&place, &[]).expect_code(3);
    assert!(
        run.stderr.contains("create backup") && run.stderr.contains("forbidden"),
        "{}",
        run.stderr
    );
    assert!(run.stderr.contains("--print-role"), "{}", run.stderr);

    // And of who may not even look.
    let kubeconfig = identity(lab, &source.namespace, "stranger", &json!([]), keep.path());
    let place = Place::of(lab, &kubeconfig);
    place.configure(source, "");
    let run = ask(&place, &[]).expect_code(3);
    assert!(run.stderr.contains("forbidden"), "{}", run.stderr);
}
