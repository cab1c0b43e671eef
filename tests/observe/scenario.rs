//! Each alert fires and resolves in a real Prometheus that scrapes the real server over a
//! real state, and a real Alertmanager is told of them.
//!
//! The rules are those of `deploy/`, hastened by the test: what an alert waits for (`for`) is
//! left out, windows of hours are seconds ([`hastened`]). Everything else is theirs.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use serde_json::Value;
use tokio::runtime::Runtime;
use walproof::evidence::ledger::{Body, MissedBody};
use walproof::evidence::{EntryKind, NewEntry, Verdict};
use walproof::finding::{Code, Severity};
use walproof::server::{Health, Limits};
use walproof::state::{IncidentKey, IncidentKind, NewIncident, State};

use crate::common::process::wait_until;
use crate::common::prometheus::{Alertmanager, Prometheus};
use crate::common::require;
use crate::fleet::{ago, configured, drilled, replicated, verified, verified_at, well};
use crate::rules::rules;
use crate::{Place, Serving, file};

/// The rules without waiting times, and with windows of seconds.
fn hastened() -> String {
    let mut rules = rules();
    for group in rules["groups"].as_array_mut().unwrap() {
        for rule in group["rules"].as_array_mut().unwrap() {
            rule.as_object_mut().unwrap().remove("for");
            let mut expression = rule["expr"].as_str().unwrap().to_owned();
            for window in ["5m", "30m", "1h", "2h", "6h", "1d", "3d", "7d"] {
                expression = expression.replace(&format!("[{window}]"), "[10s]");
            }
            rule["expr"] = Value::String(expression);
        }
    }
    // JSON is YAML.
    rules.to_string()
}

fn configuration(ports: &[u16], alertmanager: u16) -> String {
    let targets: Vec<String> = ports
        .iter()
        .map(|port| format!("\"127.0.0.1:{port}\""))
        .collect();
    format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\n\
         rule_files: [rules.json]\n\
         scrape_configs:\n  - job_name: walproof\n    static_configs: [{{targets: [{}]}}]\n\
         alerting:\n  alertmanagers:\n    - static_configs: [{{targets: [\"127.0.0.1:{alertmanager}\"]}}]\n",
        targets.join(", ")
    )
}

/// Alerts that fire: name, cluster (or the cause), severity.
type Firing = BTreeSet<(String, String, String)>;

fn firing(prometheus: &Prometheus) -> Firing {
    prometheus
        .firing()
        .iter()
        .map(|labels| {
            let text = |name: &str| labels[name].as_str().unwrap_or_default().to_owned();
            let about = match labels["cluster"].as_str() {
                Some(cluster) => cluster.to_owned(),
                None => text("cause"),
            };
            (text("alertname"), about, text("severity"))
        })
        .collect()
}

fn expected(alerts: &[(&str, &str, &str)]) -> Firing {
    alerts
        .iter()
        .map(|(name, about, severity)| {
            (
                (*name).to_owned(),
                (*about).to_owned(),
                (*severity).to_owned(),
            )
        })
        .collect()
}

/// Waits until exactly these fire.
fn wait_for(prometheus: &Prometheus, alerts: &Firing) {
    let mut last = Firing::new();
    let met = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        wait_until(Duration::from_mins(2), "the alerts", || {
            std::thread::sleep(Duration::from_millis(200));
            last = firing(prometheus);
            last == *alerts
        });
    }));
    assert!(
        met.is_ok(),
        "too few: {:#?}\ntoo many: {:#?}\n{}",
        alerts.difference(&last).collect::<Vec<_>>(),
        last.difference(alerts).collect::<Vec<_>>(),
        prometheus.log()
    );
}

/// The alerts about the controller of custom resources.
fn controlled(prometheus: &Prometheus, health: &Health) {
    let controller = health.controller();
    let resource = |ready| [(("ProtectedCluster", "shop/orders".to_owned()), ready)].into();
    controller.began(ago(1));
    controller.went_round(Some(Utc::now()), true, resource(false));
    wait_for(
        prometheus,
        &expected(&[("ResourceNotReady", "", "warning")]),
    );
    controller.went_round(Some(ago(20)), true, resource(true));
    wait_for(
        prometheus,
        &expected(&[("ResourcesNotFollowed", "", "warning")]),
    );
    controller.went_round(Some(Utc::now()), true, resource(true));
    wait_for(prometheus, &Firing::new());
}

/// What is wrong with each cluster, by its name, and what fires for it.
const CLUSTERS: &[(&str, &[(&str, &str)])] = &[
    ("healthy", &[]),
    ("failed-backup", &[("BackupFailed", "warning")]),
    ("old-backup", &[("BackupStale", "warning")]),
    ("no-backup", &[("BackupStale", "critical")]),
    ("changed", &[("ObjectChanged", "critical")]),
    ("corrupt", &[("FindingCritical", "critical")]),
    ("gap", &[("WalGap", "critical")]),
    (
        "exposed",
        &[
            ("ExposureHigh", "critical"),
            ("RpoBurnRate", "critical"),
            ("RpoBurnRate", "warning"),
        ],
    ),
    ("slow-archive", &[("ArchiveLagging", "warning")]),
    ("lagging", &[("ReplicaLagging", "warning")]),
    ("diverged", &[("ReplicaDiverged", "critical")]),
    ("unreplicated", &[("ReplicationOverdue", "warning")]),
    ("unverified", &[("VerificationOverdue", "warning")]),
    ("undrilled", &[("DrillOverdue", "warning")]),
    (
        "long-undrilled",
        &[("DrillOverdue", "warning"), ("DrillOverdue", "critical")],
    ),
    ("drill-failed", &[("DrillFailed", "critical")]),
    (
        "rpo-missed",
        &[
            ("DrillFailed", "critical"),
            ("RpoObjectiveMissed", "critical"),
        ],
    ),
    (
        "rto-missed",
        &[
            ("DrillFailed", "critical"),
            ("RtoObjectiveMissed", "critical"),
        ],
    ),
];

/// What only shows as an increase, which a short window forgets: with these clusters it is
/// made anew until it is seen.
const PASSING: &[(&str, &str)] = &[("unanswered", "ProofImpossible"), ("missed", "RunMissed")];

fn go_wrong(runtime: &Runtime, state: &State, cluster: &str) {
    let now = Utc::now();
    let tell = |said: crate::fleet::Said| said.tell(runtime, state, cluster);
    match cluster {
        "healthy" => {}
        "failed-backup" => tell(verified("primary").with("failed_backup_at", ago(10))),
        "old-backup" => tell(verified("primary").with("newest_backup_at", ago(60 * 48))),
        "no-backup" => tell(
            verified("primary")
                .with("usable_backups", 0)
                .with("newest_backup_at", Value::Null),
        ),
        "changed" => tell(
            verified("primary")
                .finding(Code::ObjectChanged)
                .verdict(Verdict::Failed, 1),
        ),
        "corrupt" => tell(
            verified("primary")
                .finding(Code::PageCorrupt)
                .verdict(Verdict::Failed, 1),
        ),
        "gap" => tell(verified("primary").with("gaps", 1).finding(Code::WalGap)),
        "exposed" => tell(verified("primary").with("tip_commit_at", ago(20))),
        "slow-archive" => {
            tell(verified("primary").with("archive_end_at", now - TimeDelta::seconds(200)));
        }
        "lagging" => {
            tell(verified("far").with("tip_commit_at", ago(60)));
            tell(
                replicated()
                    .with("complete", false)
                    .with("lag_ms", Value::Null)
                    .with("ended", "limited")
                    .with("missing_objects", 9),
            );
        }
        "diverged" => tell(
            replicated()
                .finding(Code::CopyDiffers)
                .verdict(Verdict::Failed, 1),
        ),
        "drill-failed" => tell(drilled().verdict(Verdict::Failed, 1)),
        "rpo-missed" => tell(
            drilled()
                .verdict(Verdict::Failed, 1)
                .with("rpo", serde_json::json!({"state": "missed"})),
        ),
        "rto-missed" => tell(
            drilled()
                .verdict(Verdict::Failed, 1)
                .with("rto", serde_json::json!({"state": "missed"})),
        ),
        other => panic!("nothing goes wrong with {other}"),
    }
}

/// How clusters begin: well; those that only time brings into trouble with old proofs.
fn begin(runtime: &Runtime, state: &State, cluster: &str) {
    let tell = |said: crate::fleet::Said| said.tell(runtime, state, cluster);
    match cluster {
        "unreplicated" => {
            tell(verified("primary"));
            tell(verified("far"));
            tell(replicated().at(ago(180)));
            tell(drilled());
        }
        "unverified" => {
            tell(verified_at("primary", ago(180)));
            tell(verified("far"));
            tell(replicated());
            tell(drilled());
        }
        // Its newest drill is old; verifications give no answers.
        "undrilled" | "long-undrilled" => {
            tell(verified("primary"));
            tell(verified("far"));
            tell(replicated());
            let hours = if cluster == "undrilled" { 30 } else { 100 };
            tell(drilled().at(ago(60 * hours)));
        }
        "unanswered" => {
            tell(verified_at("primary", ago(90)));
            tell(verified_at("far", ago(90)));
            tell(replicated());
            tell(drilled());
        }
        _ => well(runtime, state, cluster),
    }
}

const OVERDUE: [&str; 4] = ["unreplicated", "unverified", "undrilled", "long-undrilled"];

fn of(clusters: impl Fn(&str) -> bool) -> Firing {
    CLUSTERS
        .iter()
        .filter(|(name, _)| clusters(name))
        .flat_map(|(name, alerts)| {
            alerts.iter().map(move |(alert, severity)| {
                (
                    (*alert).to_owned(),
                    (*name).to_owned(),
                    (*severity).to_owned(),
                )
            })
        })
        .collect()
}

/// One more notice that was given up.
const GIVE_UP: &str = "INSERT INTO delivery_outcomes (receiver, outcome, deliveries) \
     VALUES ('pager', 'given-up', 1) ON CONFLICT (receiver, outcome) \
     DO UPDATE SET deliveries = deliveries + 1";

#[test]
fn each_alert_fires_and_resolves() {
    require!(Prometheus);
    let runtime = Runtime::new().unwrap();
    let place = Place::new(&runtime);
    let state = &place.state;
    let names: Vec<&str> = CLUSTERS
        .iter()
        .map(|(name, _)| *name)
        .chain(PASSING.iter().map(|(name, _)| *name))
        .collect();
    let config = configured(place.directory.path(), &names);
    for name in &names {
        begin(&runtime, state, name);
    }
    let limits = Limits {
        fresh: Duration::from_millis(500),
        stop: Duration::from_millis(200),
        ..Limits::default()
    };
    let start = |port| {
        let serving = Serving::start(&runtime, state, &config, port, limits);
        serving.well();
        serving
    };
    // Two daemons of one state: each alert comes once all the same.
    let (first, second) = (start(0), start(0));
    let alertmanager = Alertmanager::start(&file("deploy/prometheus/alertmanager.yaml"));
    let prometheus = Prometheus::start(
        &configuration(&[first.port, second.port], alertmanager.port),
        &[("rules.json", hastened())],
    );

    // Only what is overdue fires, and resolves when the proof is there.
    wait_for(&prometheus, &of(|name| OVERDUE.contains(&name)));
    for name in OVERDUE {
        well(&runtime, state, name);
    }
    wait_for(&prometheus, &Firing::new());

    // Everything that a run can find.
    let wrong = |name: &str| !OVERDUE.contains(&name);
    for (name, _) in CLUSTERS.iter().filter(|(name, _)| wrong(name)) {
        go_wrong(&runtime, state, name);
    }
    wait_for(&prometheus, &of(wrong));
    let told = |name: &str, cluster: &str| {
        alertmanager.active().iter().any(|alert| {
            alert["labels"]["alertname"] == name && alert["labels"]["cluster"] == cluster
        })
    };
    wait_until(Duration::from_mins(1), "Alertmanager to be told", || {
        told("WalGap", "gap")
    });
    let alerts = alertmanager.active();
    let gap = alerts
        .iter()
        .find(|alert| alert["labels"]["alertname"] == "WalGap")
        .unwrap();
    assert_eq!(gap["labels"]["tier"], "gold");
    assert_eq!(gap["labels"]["owner"], "team-gap");
    assert_eq!(gap["receivers"][0]["name"], "pager");
    let url = "https://walproof.dev/runbooks/WalGap.md";
    assert_eq!(gap["annotations"]["runbook_url"], url);
    for (name, _) in CLUSTERS.iter().filter(|(name, _)| wrong(name)) {
        well(&runtime, state, name);
    }
    wait_for(&prometheus, &Firing::new());
    wait_until(
        Duration::from_mins(1),
        "Alertmanager to be told that it is over",
        || !told("WalGap", "gap"),
    );

    // What shows as an increase.
    for (cluster, alert) in PASSING {
        let expected = (*alert).to_owned();
        wait_until(Duration::from_mins(2), alert, || {
            match *cluster {
                "unanswered" => verified("primary")
                    .verdict(Verdict::Unproven, 3)
                    .tell(&runtime, state, cluster),
                _ => miss(&runtime, state, cluster),
            }
            std::thread::sleep(Duration::from_secs(1));
            firing(&prometheus)
                .iter()
                .any(|(name, about, _)| *name == expected && about == cluster)
        });
    }
    wait_for(&prometheus, &Firing::new());

    // The daemon's own.
    first.health.configuration_refused(Utc::now());
    wait_for(
        &prometheus,
        &expected(&[("ConfigurationRefused", "", "warning")]),
    );
    first.health.configuration_loaded(Utc::now());
    wait_for(&prometheus, &Firing::new());

    controlled(&prometheus, &first.health);

    for serving in [&first, &second] {
        serving.health.ticked(ago(10));
    }
    wait_for(
        &prometheus,
        &expected(&[("DaemonDown", "hangs", "critical")]),
    );
    first.well();
    second.well();
    wait_for(&prometheus, &Firing::new());

    place.tamper(&runtime, "ALTER TABLE standings RENAME TO gone");
    wait_for(&prometheus, &expected(&[("StateAway", "", "critical")]));
    place.tamper(&runtime, "ALTER TABLE gone RENAME TO standings");
    wait_for(&prometheus, &Firing::new());

    broken(&runtime, state, true);
    wait_for(
        &prometheus,
        &expected(&[("RecordsBroken", "chain", "critical")]),
    );
    broken(&runtime, state, false);
    wait_for(&prometheus, &Firing::new());

    // A notice that nobody could be given, of an incident that was just closed.
    wait_until(Duration::from_mins(2), "NotificationsGivenUp", || {
        place.tamper(&runtime, GIVE_UP);
        std::thread::sleep(Duration::from_secs(1));
        firing(&prometheus)
            .iter()
            .any(|(name, ..)| name == "NotificationsGivenUp")
    });
    wait_for(&prometheus, &Firing::new());

    // One of two, then both; then one over a state with fewer records.
    let (one, other) = (first.port, second.port);
    second.stop(&runtime);
    wait_for(&prometheus, &expected(&[("DaemonDown", "one", "warning")]));
    first.stop(&runtime);
    wait_until(Duration::from_mins(1), "nobody to answer", || {
        firing(&prometheus).contains(&(
            "DaemonDown".to_owned(),
            "none".to_owned(),
            "critical".to_owned(),
        ))
    });
    let younger = Place::new(&runtime);
    for name in &names {
        well(&runtime, &younger.state, name);
    }
    let replaced = Serving::start(&runtime, &younger.state, &config, one, limits);
    let second = Serving::start(&runtime, &younger.state, &config, other, limits);
    replaced.well();
    second.well();
    wait_until(Duration::from_mins(1), "fewer records to be seen", || {
        firing(&prometheus).contains(&(
            "RecordsBroken".to_owned(),
            "shorter".to_owned(),
            "critical".to_owned(),
        ))
    });
    wait_for(&prometheus, &Firing::new());
    replaced.stop(&runtime);
    second.stop(&runtime);
}

fn miss(runtime: &Runtime, state: &State, cluster: &str) {
    let body: MissedBody = serde_json::from_value(serde_json::json!({
        "job": EntryKind::Verify, "schedule": "often", "due_at": Utc::now(), "reason": "down",
    }))
    .unwrap();
    let entry = NewEntry::new(Utc::now(), &Body::Missed(Box::new(body)))
        .unwrap()
        .about(cluster, "primary");
    runtime.block_on(state.append(&[entry])).unwrap();
}

fn broken(runtime: &Runtime, state: &State, broken: bool) {
    runtime.block_on(async {
        if broken {
            let incident = NewIncident {
                cluster: String::new(),
                copy: String::new(),
                kind: IncidentKind::Schedule,
                scope: String::new(),
                code: "records-broken".to_owned(),
                severity: Severity::Critical,
                object: "the ledger".to_owned(),
                message: "entry 7 is not what it was".to_owned(),
                by: None,
            };
            state.open_incident(&incident, Utc::now()).await.unwrap();
        } else {
            let key = IncidentKey {
                cluster: String::new(),
                copy: String::new(),
                scope: String::new(),
                code: "records-broken".to_owned(),
            };
            state.close_incident(&key, None, Utc::now()).await.unwrap();
        }
    });
}
