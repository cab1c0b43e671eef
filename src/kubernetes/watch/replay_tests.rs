//! What was recorded of real recoveries (CloudNativePG 1.30.0, Barman Cloud plugin 0.14.0,
//! Kubernetes 1.34.4, PostgreSQL 15) is judged again: `tests/fixtures/kubernetes/watch`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use super::judge::{Change, Graces, Input, Judge};
use super::observation::{PodLine, What};
use super::trouble::{Trouble, TroubleClass};
use crate::kubernetes::time;

struct Replay {
    /// Seconds after the Cluster was created.
    seen: Vec<(f64, What)>,
}

fn text(value: &Value, pointer: &str) -> String {
    let found = value.pointer(pointer).and_then(Value::as_str);
    found.unwrap_or_default().to_owned()
}

fn replay(name: &str, newest_wal: Option<&str>) -> Replay {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/kubernetes/watch")
        .join(format!("{name}.jsonl"));
    let recorded = std::fs::read_to_string(&path).unwrap();
    let mut judge = Judge::new("drill", Graces::default());
    judge.set_newest_wal(newest_wal.map(str::to_owned));
    let mut seen: Vec<(DateTime<Utc>, What)> = Vec::new();
    let mut clock: Option<DateTime<Utc>> = None;
    let mut created = None;
    let mut logs = BTreeSet::new();
    for line in recorded.lines() {
        let value: Value = serde_json::from_str(line).unwrap();
        let at = time::parse(&text(&value, "/at")).unwrap();
        // The clock is looked at every second, as by the thin part.
        let mut tick = clock.unwrap_or(at);
        while tick + TimeDelta::seconds(1) < at {
            tick += TimeDelta::seconds(1);
            take(&mut judge, tick, Input::Tick, &mut seen);
        }
        clock = Some(at);
        let input = if let Some(object) = value.get("object") {
            if text(object, "/kind") == "Cluster" {
                created.get_or_insert(at);
            }
            if text(object, "/kind") == "Pod" {
                for (container, restarts) in judge.logs_of(object) {
                    let pod = text(object, "/metadata/name");
                    let key = (pod.clone(), container.clone(), restarts);
                    if logs.insert(key) {
                        judge.log_opened(&pod, &container);
                    }
                }
            }
            if text(object, "/kind") == "Namespace" {
                if text(object, "/status/phase") != "Terminating" {
                    continue;
                }
                Input::NamespaceGone("the namespace is being deleted".to_owned())
            } else {
                let change = match text(&value, "/type").as_str() {
                    "DELETED" => Change::Deleted,
                    _ => Change::Seen,
                };
                Input::Object(change, Box::new(object.clone()))
            }
        } else if let Some(log) = value.get("log") {
            Input::Line(PodLine {
                pod: text(log, "/pod"),
                container: text(log, "/container"),
                time: time::parse(&text(log, "/time")),
                text: text(log, "/text"),
            })
        } else {
            Input::LogEnded {
                pod: text(&value, "/logend/pod"),
                container: text(&value, "/logend/container"),
            }
        };
        take(&mut judge, at, input, &mut seen);
    }
    // Nothing more happens: what waits for the clock comes now.
    let mut tick = clock.unwrap();
    for _ in 0..400 {
        tick += TimeDelta::seconds(1);
        take(&mut judge, tick, Input::Tick, &mut seen);
    }
    let created = created.unwrap();
    let since = |at: DateTime<Utc>| at.signed_duration_since(created).as_seconds_f64();
    Replay {
        seen: seen
            .into_iter()
            .map(|(at, what)| (since(at), what))
            .collect(),
    }
}

fn take(judge: &mut Judge, at: DateTime<Utc>, input: Input, seen: &mut Vec<(DateTime<Utc>, What)>) {
    for (_, what) in judge.take(at, input) {
        seen.push((at, what));
    }
}

impl Replay {
    fn troubles(&self) -> Vec<(f64, &Trouble)> {
        self.seen
            .iter()
            .filter_map(|(at, what)| match what {
                What::Trouble(trouble) => Some((*at, trouble)),
                _ => None,
            })
            .collect()
    }

    fn fatal(&self) -> Vec<(f64, &Trouble)> {
        let mut troubles = self.troubles();
        troubles.retain(|(_, trouble)| trouble.fatal);
        troubles
    }
}

/// Fixture, the newest segment known, class, words that have to be in it, and the latest
/// second after the Cluster's creation at which it has to be known.
type Expected = (
    &'static str,
    Option<&'static str>,
    TroubleClass,
    &'static str,
    f64,
);

const EXPECTED: &[Expected] = &[
    (
        "creds-plugin",
        None,
        TroubleClass::Credentials,
        "InvalidAccessKeyId",
        14.0,
    ),
    (
        "creds-intree",
        None,
        TroubleClass::Credentials,
        "InvalidAccessKeyId",
        9.0,
    ),
    (
        "creds2-plugin",
        None,
        TroubleClass::Credentials,
        "InvalidAccessKeyId",
        40.0,
    ),
    (
        "nomid-plugin",
        Some("00000001000000000000000A"),
        TroubleClass::WalMissing,
        "000000010000000000000007",
        25.0,
    ),
    (
        "nomid-intree",
        Some("000000010000000000000009"),
        TroubleClass::WalMissing,
        "000000010000000000000006",
        22.0,
    ),
    (
        "nobegin-plugin",
        None,
        TroubleClass::WalMissing,
        "000000010000000000000004",
        25.0,
    ),
    (
        "nobegin-intree",
        None,
        TroubleClass::WalMissing,
        "000000010000000000000004",
        12.0,
    ),
    (
        "noend2-plugin",
        None,
        TroubleClass::WalMissing,
        "00000001000000000000001D",
        66.0,
    ),
    (
        "noid-plugin",
        None,
        TroubleClass::BackupNotFound,
        "no backup found with ID 20200101T000000",
        16.0,
    ),
    (
        "noid-intree",
        None,
        TroubleClass::BackupNotFound,
        "no backup found with ID 20200101T000000",
        16.0,
    ),
    (
        "past-plugin",
        Some("00000001000000000000000A"),
        TroubleClass::TargetNotReached,
        "recovery ended before",
        42.0,
    ),
    (
        "past-intree",
        Some("000000010000000000000009"),
        TroubleClass::TargetNotReached,
        "recovery ended before",
        42.0,
    ),
    (
        "badtar-plugin",
        None,
        TroubleClass::RecoveryFailed,
        "unexpected end of data",
        16.0,
    ),
    (
        "badtar-intree",
        None,
        TroubleClass::RecoveryFailed,
        "unexpected end of data",
        16.0,
    ),
    (
        "corrupt-plugin",
        None,
        TroubleClass::RecoveryFailed,
        "did not match calculated checksum",
        30.0,
    ),
    (
        "corrupt-intree",
        None,
        TroubleClass::RecoveryFailed,
        "did not match calculated checksum",
        30.0,
    ),
    (
        "damaged-plugin",
        Some("00000001000000000000000A"),
        TroubleClass::RecoveryFailed,
        "recovery ended before",
        60.0,
    ),
    (
        "image",
        None,
        TroubleClass::ImagePull,
        "lab.local/nothing:15",
        75.0,
    ),
    (
        "quotapods",
        None,
        TroubleClass::Quota,
        "must specify requests.memory for: plugin-barman-cloud",
        9.0,
    ),
    (
        "quotapvc",
        None,
        TroubleClass::Quota,
        "requests.storage is limited to 512Mi",
        12.0,
    ),
    (
        "pvc",
        None,
        TroubleClass::PvcPending,
        "storageclass.storage.k8s.io \"nothing\" not found",
        10.0,
    ),
    (
        "pvcnobody",
        None,
        TroubleClass::PvcPending,
        "nobody.example.org/volumes",
        124.0,
    ),
    (
        "unsched",
        None,
        TroubleClass::Unschedulable,
        "Insufficient cpu",
        125.0,
    ),
    (
        "plugin",
        None,
        TroubleClass::PluginUnknown,
        "Unknown plugin: 'nobody.example.org'",
        62.0,
    ),
    ("nsgone", None, TroubleClass::NamespaceGone, "", 16.0),
    (
        "netpol-plugin",
        None,
        TroubleClass::StoreUnreachable,
        "the catalog of backups",
        192.0,
    ),
    (
        "netpol-intree",
        None,
        TroubleClass::StoreUnreachable,
        "the catalog of backups",
        192.0,
    ),
    (
        "away-plugin",
        None,
        TroubleClass::StoreUnreachable,
        "000000010000000000000005",
        200.0,
    ),
    (
        "noname",
        None,
        TroubleClass::StoreUnreachable,
        "Could not connect to the endpoint URL",
        63.0,
    ),
    ("silent", None, TroubleClass::OperatorSilent, "", 62.0),
    (
        "disk",
        None,
        TroubleClass::OutOfDisk,
        "No space left on device",
        60.0,
    ),
    (
        "silent2",
        None,
        TroubleClass::OperatorSilent,
        "starts no instance",
        200.0,
    ),
    ("oom", None, TroubleClass::OutOfMemory, "OOMKilled", 40.0),
];

#[test]
fn every_recorded_failure_has_its_class_and_its_words_in_time() {
    let mut wrong = Vec::new();
    for (name, newest, class, words, latest) in EXPECTED {
        let replay = replay(name, *newest);
        match replay.fatal().as_slice() {
            [(at, trouble)]
                if trouble.class == *class && trouble.words.contains(words) && at <= latest => {}
            other => wrong.push(format!(
                "{name}: {other:#?}, told: {:#?}",
                replay.troubles()
            )),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_may_come_back_is_told_and_tried_again_and_is_never_the_backup() {
    for (name, class, words) in [
        (
            "away3-plugin",
            TroubleClass::StoreUnreachable,
            "000000010000000000000005 could not be fetched",
        ),
        (
            "away3-intree",
            TroubleClass::StoreUnreachable,
            "Could not connect to the endpoint URL",
        ),
        (
            "noapi-plugin",
            TroubleClass::PolicyDenied,
            "dial tcp 198.19.0.1:443: i/o timeout",
        ),
    ] {
        let replay = replay(name, Some("000000010000000000000009"));
        let troubles = replay.troubles();
        let first = troubles.iter().find(|(_, trouble)| trouble.class == class);
        let (_, first) = first.unwrap();
        assert!(first.words.contains(words), "{name}: {first:?}");
        assert!(!first.fatal, "{name}");
        let retried = replay
            .seen
            .iter()
            .any(|(_, what)| matches!(what, What::Retried { attempt: 1, .. }));
        assert!(retried, "{name}");
        for (_, trouble) in troubles {
            assert!(!trouble.backup(), "{name}: {trouble:?}");
        }
    }
}

#[test]
fn a_healthy_recovery_is_told_step_by_step_and_without_trouble() {
    for (name, timeline) in [("ok-plugin", 2), ("ok-intree", 2)] {
        let replay = replay(name, None);
        assert_eq!(replay.troubles(), [], "{name}");
        let steps: Vec<&str> = replay
            .seen
            .iter()
            .filter_map(|(_, what)| match what {
                What::JobCreated { .. } => Some("job"),
                What::PodScheduled { .. } => Some("scheduled"),
                What::ImagePulled { .. } => Some("pulled"),
                What::JobRunning { .. } => Some("running"),
                What::BackupFound { id } => {
                    assert!(id.as_deref().is_some_and(|id| id.starts_with("20261122T")));
                    Some("found")
                }
                What::RestoreStarted => Some("restore"),
                What::BaseRestored => Some("restored"),
                What::JobSucceeded => Some("succeeded"),
                What::InstanceStarted { .. } => Some("instance"),
                What::Ready { .. } => Some("ready"),
                _ => None,
            })
            .collect();
        for step in [
            "job",
            "running",
            "found",
            "restore",
            "restored",
            "succeeded",
            "instance",
            "ready",
        ] {
            let times = steps.iter().filter(|seen| **seen == step).count();
            assert_eq!(times, 1, "{name}: {step} in {steps:?}");
        }
        assert_eq!(steps.last(), Some(&"ready"), "{name}: {steps:?}");
        let ready = replay.seen.iter().find_map(|(_, what)| match what {
            What::Ready {
                timeline,
                system_id,
                primary,
            } => Some((*timeline, system_id.clone(), primary.clone())),
            _ => None,
        });
        let (seen, system_id, primary) = ready.unwrap();
        assert_eq!(
            (seen, primary.as_str()),
            (Some(timeline), "drill-1"),
            "{name}"
        );
        assert!(system_id.is_some_and(|id| id.len() == 19), "{name}");
        let said = |words: &str| {
            replay.seen.iter().any(|(_, what)| {
                matches!(what, What::Postgres(line) if line.in_job && line.message.starts_with(words))
            })
        };
        for words in [
            "consistent recovery state",
            "redo done at",
            "selected new timeline ID: 2",
        ] {
            assert!(said(words), "{name}: {words}");
        }
    }
}

#[test]
fn blame_is_what_the_class_says() {
    let blamed: Vec<&str> = TroubleClass::ALL
        .iter()
        .filter(|class| class.backup())
        .map(|class| class.as_str())
        .collect();
    assert_eq!(
        blamed,
        [
            "backup-not-found",
            "wal-missing",
            "target-not-reached",
            "recovery-failed"
        ]
    );
}

#[test]
fn no_recording_is_left_out() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/kubernetes/watch");
    let tested = [
        "ok-plugin",
        "ok-intree",
        "away3-plugin",
        "away3-intree",
        "noapi-plugin",
    ];
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let Some(name) = name.strip_suffix(".jsonl") else {
            continue;
        };
        let known = tested.contains(&name) || EXPECTED.iter().any(|expected| expected.0 == name);
        assert!(known, "{name} is in no test");
    }
}
