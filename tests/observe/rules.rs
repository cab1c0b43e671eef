//! The files in `deploy/prometheus` as Prometheus's and Alertmanager's own tools see them, and
//! the alerts beside their run books.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::common::http;
use crate::common::process::wait_until;
use crate::common::prometheus::{Alertmanager, passes, tool};
use crate::common::require;
use crate::file;

/// The rules, as data.
pub(crate) fn rules() -> Value {
    let text = std::fs::read_to_string(file("deploy/prometheus/walproof.rules.yaml")).unwrap();
    serde_saphyr::from_str(&text).unwrap()
}

/// Every alerting rule.
pub(crate) fn alerts(rules: &Value) -> Vec<&Value> {
    let groups = rules["groups"].as_array().unwrap();
    groups
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap())
        .filter(|rule| rule["alert"].is_string())
        .collect()
}

#[test]
fn the_tools_accept_rules_and_examples() {
    require!(Prometheus);
    let directory = file("deploy/prometheus");
    passes(tool("promtool").current_dir(&directory).args([
        "check",
        "rules",
        "walproof.rules.yaml",
    ]));
    passes(
        tool("promtool")
            .current_dir(&directory)
            .args(["check", "config", "prometheus.yaml"]),
    );
    passes(
        tool("amtool")
            .current_dir(&directory)
            .args(["check-config", "alertmanager.yaml"]),
    );
}

#[test]
fn the_unit_tests_of_the_rules_pass_and_know_every_alert() {
    require!(Prometheus);
    let directory = file("deploy/prometheus/tests");
    let mut texts = String::new();
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        texts.push_str(&std::fs::read_to_string(&path).unwrap());
        names.push(path);
    }
    passes(tool("promtool").args(["test", "rules"]).args(&names));
    for alert in alerts(&rules()) {
        let name = alert["alert"].as_str().unwrap();
        let asked = format!("alertname=\"{name}\"");
        assert!(texts.contains(&asked), "no unit test of {name}");
    }
}

/// The other way: a rule that never fires is noticed by its unit test.
#[test]
fn a_rule_that_does_not_fire_fails_its_unit_test() {
    require!(Prometheus);
    let directory = crate::common::scratch::directory();
    std::fs::create_dir(directory.path().join("tests")).unwrap();
    let text = std::fs::read_to_string(file("deploy/prometheus/walproof.rules.yaml")).unwrap();
    let broken = text.replace("(walproof_wal_gaps) > 0", "(walproof_wal_gaps) > 99");
    assert_ne!(text, broken);
    std::fs::write(directory.path().join("walproof.rules.yaml"), broken).unwrap();
    let test = directory.path().join("tests/archive.yaml");
    std::fs::copy(file("deploy/prometheus/tests/archive.yaml"), &test).unwrap();
    let output = tool("promtool")
        .args(["test", "rules"])
        .arg(&test)
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("WalGap"));
}

#[test]
fn critical_ones_page_and_warnings_are_read() {
    require!(Prometheus);
    let example = file("deploy/prometheus/alertmanager.yaml");
    for (labels, receiver) in [
        (
            &["alertname=WalGap", "severity=critical", "tier=gold"][..],
            "pager",
        ),
        (
            &["alertname=BackupFailed", "severity=warning", "tier=gold"],
            "chat",
        ),
        (&["alertname=DaemonDown", "severity=critical"], "pager"),
        (&["alertname=DaemonDown", "severity=warning"], "chat"),
    ] {
        let mut command = tool("amtool");
        command
            .args(["config", "routes", "test", "--config.file"])
            .arg(&example)
            .args(labels);
        let said = passes(&mut command);
        assert_eq!(said.lines().next(), Some(receiver), "{labels:?}: {said}");
    }
}

/// What explains an alert silences it, of the same copy alone.
#[test]
fn only_what_the_same_copy_explains_is_inhibited() {
    require!(Prometheus);
    let alertmanager = Alertmanager::start(&file("deploy/prometheus/alertmanager.yaml"));
    let alert = |name: &str, severity: &str, cluster: &str, copy: &str| {
        let mut labels = json!({
            "alertname": name, "severity": severity, "cluster": cluster, "job": "walproof",
            "tier": "gold",
        });
        if !copy.is_empty() {
            labels["copy"] = json!(copy);
        }
        json!({"labels": labels})
    };
    let alerts = json!([
        alert("BackupStale", "critical", "orders", "far"),
        alert("BackupStale", "warning", "orders", "far"),
        alert("BackupStale", "warning", "orders", "primary"),
        alert("DrillOverdue", "critical", "orders", ""),
        alert("DrillOverdue", "warning", "orders", ""),
        alert("WalGap", "critical", "orders", "far"),
        alert("ExposureHigh", "critical", "orders", "primary"),
        alert("WalGap", "critical", "billing", "primary"),
        alert("ExposureHigh", "critical", "billing", "primary"),
        alert("RpoBurnRate", "critical", "billing", "primary"),
    ]);
    let headers = [("Content-Type".to_owned(), "application/json".to_owned())];
    let host = format!("127.0.0.1:{}", alertmanager.port);
    let body = alerts.to_string();
    http::request(&host, "POST", "/api/v2/alerts", &headers, body.as_bytes())
        .unwrap()
        .expect_success();
    let expected: BTreeSet<(String, String, String, String)> = [
        ("BackupStale", "warning", "orders", "far"),
        ("DrillOverdue", "warning", "orders", ""),
        ("ExposureHigh", "critical", "billing", "primary"),
        ("RpoBurnRate", "critical", "billing", "primary"),
    ]
    .map(|(name, severity, cluster, copy)| {
        (
            name.to_owned(),
            severity.to_owned(),
            cluster.to_owned(),
            copy.to_owned(),
        )
    })
    .into();
    let mut last = BTreeSet::new();
    wait_until(Duration::from_mins(1), "what is inhibited", || {
        let all = alertmanager.active();
        last = all
            .iter()
            .filter(|alert| {
                let by = alert["status"]["inhibitedBy"].as_array();
                by.is_some_and(|by| !by.is_empty())
            })
            .map(|alert| {
                let text = |name: &str| {
                    let label = alert["labels"][name].as_str();
                    label.unwrap_or_default().to_owned()
                };
                (
                    text("alertname"),
                    text("severity"),
                    text("cluster"),
                    text("copy"),
                )
            })
            .collect();
        all.len() == 10 && last.len() >= expected.len()
    });
    assert_eq!(last, expected);
}

/// Each alert says how grave it is, whom it is about, what it means, and where its run book
/// is, which exists; every metric that it asks for exists.
#[test]
fn every_alert_has_what_a_person_needs() {
    let rules = rules();
    let alerts = alerts(&rules);
    assert!(alerts.len() > 25);
    let mut names = BTreeSet::new();
    for alert in &alerts {
        let name = alert["alert"].as_str().unwrap();
        names.insert(name);
        let severity = alert["labels"]["severity"].as_str().unwrap();
        assert!(["critical", "warning"].contains(&severity), "{name}");
        let notes = &alert["annotations"];
        for note in ["summary", "description"] {
            assert!(
                notes[note].as_str().is_some_and(|text| text.len() > 20),
                "{name}: {note}"
            );
        }
        let url = format!("https://walproof.dev/runbooks/{name}.md");
        assert_eq!(notes["runbook_url"], Value::String(url), "{name}");
        assert!(file(&format!("runbooks/{name}.md")).is_file(), "{name}");
    }
    for name in [
        "BackupFailed",
        "BackupStale",
        "WalGap",
        "ExposureHigh",
        "ArchiveLagging",
        "ReplicaLagging",
        "ReplicaDiverged",
        "DrillFailed",
        "DrillOverdue",
        "RpoObjectiveMissed",
        "RtoObjectiveMissed",
        "VerificationOverdue",
        "ObjectChanged",
        "RecordsBroken",
        "DaemonDown",
        "RpoBurnRate",
    ] {
        assert!(names.contains(name), "{name}");
    }
}

#[test]
fn rules_ask_only_for_what_exists() {
    let rules = rules();
    let mut known: BTreeSet<String> = crate::dashboard::metrics();
    let all: Vec<&Value> = rules["groups"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap())
        .collect();
    known.extend(
        all.iter()
            .filter_map(|rule| Some(rule["record"].as_str()?.to_owned())),
    );
    for rule in all {
        for name in crate::dashboard::names_in(rule["expr"].as_str().unwrap()) {
            assert!(known.contains(&name), "{name} in {rule}");
        }
    }
}
