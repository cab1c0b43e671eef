//! What is written is what is listed and documented, and there is a bound to it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};

use super::super::facts::{
    ClusterFacts, CopyFacts, CopyRole, DrillFacts, FindingFacts, FleetFacts, JobFacts,
    NotificationFacts, ObjectiveFacts, ProofFacts, RecordFacts, ReplicaFacts, RunFacts,
    VerificationFacts,
};
use super::super::health::Health;
use super::super::process::ProcessFacts;
use super::super::tally::Tally;
use super::{CATALOGUE, MetricKind, Scene, ScrapeFacts, render};
use crate::drill::Phase;
use crate::evidence::Verdict;
use crate::finding::Severity;
use crate::kubernetes::calls::Count;

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

fn ago(seconds: i64) -> DateTime<Utc> {
    now() - TimeDelta::seconds(seconds)
}

/// A copy about which everything is known that can be.
fn copy(name: &str, role: CopyRole) -> CopyFacts {
    CopyFacts {
        name: name.to_owned(),
        role,
        lag_limit: Some(900),
        verification: Some(VerificationFacts {
            at: ago(60),
            depth: 1,
            tip_at: Some(ago(90)),
            tip_known: true,
            tip_lsn: Some(0x0300_0028),
            archive_end_at: Some(ago(80)),
            archive_end_lsn: Some(0x0400_0000),
            oldest_begin: Some(ago(86_400)),
            window_begin: Some(ago(7200)),
            window_end: Some(ago(90)),
            gaps: 1,
            missing_segments: 2,
            usable_backups: 3,
            backup_at: Some(ago(3600)),
            failed_backup_at: Some(ago(1800)),
            segments: 4,
            wal_bytes: 5,
            base_bytes: 6,
            read_bytes: 7,
        }),
        replica: Some(ReplicaFacts {
            lag_ms: Some(1500),
            missing: Some(1),
            failures: Some(2),
            compared_at: Some(ago(30)),
            complete_at: Some(ago(40)),
            copied_bytes: Some(9),
        }),
        drill: Some(DrillFacts {
            phases: Phase::ALL.map(|phase| (phase, 2500)).to_vec(),
            time_to_service_ms: Some(10_000),
            time_to_verified_ms: Some(20_000),
            recovery_point_ms: Some(30_000),
            rpo_met: Some(true),
            rto_met: Some(false),
        }),
        proofs: ["verify", "replicate", "compare", "drill"]
            .map(|kind| ProofFacts {
                kind,
                answered_at: Some(ago(60)),
                verdict: Some(Verdict::Failed),
                exit_code: 1,
            })
            .to_vec(),
        findings: vec![FindingFacts {
            code: "wal-gap".to_owned(),
            severity: Severity::Critical,
            count: 2,
            opened_at: ago(600),
        }],
        unanswered: vec![("verify", 1), ("replicate", 2), ("drill", 3)],
    }
}

fn cluster(name: &str) -> ClusterFacts {
    ClusterFacts {
        name: name.to_owned(),
        tier: "gold".to_owned(),
        owner: "team \"orders\"\\\n".to_owned(),
        objectives: ObjectiveFacts {
            rpo: Some(300),
            rto: Some(3600),
            retention: Some(86_400),
            backup_age: Some(90_000),
            verify_due: Some(3600),
            replicate_due: Some(3600),
            drill_due: Some(86_400),
        },
        copies: vec![
            copy("primary", CopyRole::Primary),
            copy("far", CopyRole::Replica),
        ],
        findings: Vec::new(),
        missed: 1,
        late: 2,
        skipped: 3,
    }
}

fn scene(clusters: Vec<ClusterFacts>) -> Scene {
    let health = Health::new(ago(1000), TimeDelta::seconds(60));
    health.ticked(ago(1));
    health.lease_seen(ago(1));
    health.configuration_loaded(ago(999));
    health.configuration_refused(ago(998));
    let controller = health.controller();
    controller.began(ago(999));
    let names = [
        ("RecoveryDrill", "shop/nightly"),
        ("ProtectedCluster", "shop/orders"),
    ];
    let ready = || names.map(|(kind, name)| ((kind, name.to_owned()), kind == "RecoveryDrill"));
    // A round in which a watch was broken, and one in which all worked.
    controller.went_round(None, false, ready().into());
    controller.went_round(Some(ago(3)), true, ready().into());
    let mut tally = Tally::default();
    tally.phase("gold", Phase::Replay, 2500);
    Scene {
        now: now(),
        clusters: clusters.len() as u64,
        fleet: Some(Arc::new(FleetFacts {
            at: ago(2),
            clusters,
            findings: vec![FindingFacts {
                code: "configuration-refused".to_owned(),
                severity: Severity::Warning,
                count: 1,
                opened_at: ago(998),
            }],
            jobs: vec![JobFacts {
                kind: "drill",
                status: "waiting",
                count: 4,
            }],
            runs: vec![RunFacts {
                kind: "drill",
                outcome: "proven".to_owned(),
                count: 5,
            }],
            records: RecordFacts {
                head: 77,
                broken: Some(false),
                followed_at: Some(ago(3600)),
            },
            notifications: NotificationFacts {
                waiting: 1,
                given_up: 2,
            },
        })),
        tally: Arc::new(tally),
        health: Arc::new(health),
        process: ProcessFacts::read(),
        requests: vec![Count {
            verb: "get",
            group: String::new(),
            resource: "pods/log".to_owned(),
            code: 200,
            number: 3,
        }],
        scrape: ScrapeFacts {
            up: true,
            took_ms: 12,
            answered: 3,
            failed: 1,
            timed_out: 0,
        },
    }
}

fn text(scene: Scene) -> String {
    let mut text = String::new();
    render(scene, &mut text).unwrap();
    text
}

/// The samples of a page, without the comments.
fn samples(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.starts_with('#')).collect()
}

fn value<'a>(text: &'a str, series: &str) -> &'a str {
    text.lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))
        .unwrap_or_else(|| panic!("no {series} in\n{text}"))
}

/// Everything that is listed is written, with its kind, unit and labels; and nothing else.
#[test]
fn what_is_written_is_what_is_listed() {
    let text = text(scene(vec![cluster("orders")]));
    let mut written = Vec::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            written.push(rest.to_owned());
        }
    }
    let listed: Vec<String> = CATALOGUE
        .iter()
        .map(|metric| format!("{} {}", metric.family(), metric.kind().as_str()))
        .collect();
    assert_eq!(written, listed);
    for metric in CATALOGUE {
        let suffix = match metric.kind() {
            MetricKind::Histogram => "_count",
            _ => "",
        };
        let name = format!("{}{suffix}", metric.name());
        let labels: BTreeSet<Vec<&str>> = samples(&text)
            .into_iter()
            .filter_map(|line| {
                let rest = line.strip_prefix(&name)?;
                match rest.strip_prefix('{') {
                    Some(rest) => Some(
                        rest.split("=\"")
                            .map(|part| part.rsplit([',', '{']).next().unwrap_or_default())
                            .filter(|label| label.bytes().all(|it| it.is_ascii_lowercase()))
                            .collect(),
                    ),
                    None => rest.starts_with(' ').then(Vec::new),
                }
            })
            .collect();
        assert_eq!(
            labels.into_iter().collect::<Vec<_>>(),
            [metric.labels().to_vec()],
            "{name}"
        );
        let unit = format!("# UNIT {} {}", metric.family(), metric.unit());
        assert_eq!(text.contains(&unit), !metric.unit().is_empty(), "{unit}");
    }
}

#[test]
fn values_are_in_their_units() {
    let text = text(scene(vec![cluster("orders")]));
    let copy = r#"{cluster="orders",copy="far"}"#;
    for (name, expected) in [
        ("walproof_exposure_seconds", "90.0"),
        ("walproof_exposure_measured_seconds", "30.0"),
        ("walproof_archive_tip_timestamp_seconds", "1799999910.0"),
        ("walproof_archive_tip_position_bytes", "50331688"),
        ("walproof_backup_newest_age_seconds", "3600.0"),
        ("walproof_replica_lag_seconds", "1.5"),
        ("walproof_objective_replica_lag_seconds", "900"),
        ("walproof_drill_time_to_service_seconds", "10.0"),
        ("walproof_wal_gaps", "1"),
    ] {
        assert_eq!(value(&text, &format!("{name}{copy}")), expected, "{name}");
    }
    for (series, expected) in [
        ("controller_followed_timestamp_seconds", "1799999997.0"),
        ("controller_writes", "1"),
        (
            r#"resource_ready{kind="RecoveryDrill",resource="shop/nightly"}"#,
            "1",
        ),
        (
            r#"resource_ready{kind="ProtectedCluster",resource="shop/orders"}"#,
            "0",
        ),
    ] {
        assert_eq!(value(&text, &format!("walproof_{series}")), expected);
    }
    let proof = r#"{cluster="orders",copy="primary",kind="drill"}"#;
    assert_eq!(
        value(&text, &format!("walproof_proof_verdict{proof}")),
        "-1"
    );
    let met = r#"walproof_drill_objective_met{cluster="orders",copy="far",objective="rto"}"#;
    assert_eq!(value(&text, met), "0");
    let bucket = r#"walproof_drill_phase_seconds_bucket{le="1.0",tier="gold",phase="replay"}"#;
    let wider = bucket.replace("1.0", "5.0");
    let all = bucket.replace("1.0", "+Inf");
    assert_eq!(
        [bucket, &wider, &all].map(|series| value(&text, series)),
        ["0", "1", "1"]
    );
    assert_eq!(value(&text, "walproof_configuration_refused"), "1");
    let owner =
        r#"walproof_cluster_info{cluster="orders",tier="gold",owner="team \"orders\"\\\n"}"#;
    assert_eq!(value(&text, owner), "1");
}

#[test]
fn whether_the_records_hold_is_told_once_somebody_looked() {
    let page = |broken, followed_at| {
        let mut scene = scene(Vec::new());
        let fleet = Arc::make_mut(scene.fleet.as_mut().unwrap());
        fleet.records = RecordFacts {
            head: 7,
            broken,
            followed_at,
        };
        text(scene)
    };
    let never = page(None, None);
    assert!(!never.contains("\nwalproof_records_broken "), "{never}");
    assert!(!never.contains("\nwalproof_records_followed_timestamp_seconds "));
    for (broken, number) in [(false, "0"), (true, "1")] {
        let page = page(Some(broken), Some(ago(9)));
        assert_eq!(value(&page, "walproof_records_broken"), number);
        let at = value(&page, "walproof_records_followed_timestamp_seconds");
        assert_eq!(at, "1799999991.0");
    }
}

/// Nothing that is not known is shown as a number.
#[test]
fn what_is_not_known_is_absent() {
    let bare = ClusterFacts {
        name: "new".to_owned(),
        copies: vec![CopyFacts {
            name: "primary".to_owned(),
            ..CopyFacts::default()
        }],
        ..ClusterFacts::default()
    };
    let text = text(scene(vec![bare]));
    let of_new: Vec<&str> = samples(&text)
        .into_iter()
        .filter(|line| line.contains("\"new\""))
        .map(|line| line.split('{').next().unwrap_or_default())
        .collect();
    assert_eq!(
        of_new,
        [
            "walproof_cluster_info",
            "walproof_copy_info",
            "walproof_runs_missed_total",
            "walproof_runs_late_total",
            "walproof_runs_skipped_total",
        ]
    );
}

#[test]
fn without_a_fleet_the_process_is_told() {
    let mut scene = scene(Vec::new());
    scene.fleet = None;
    scene.scrape.up = false;
    let text = text(scene);
    assert_eq!(value(&text, "walproof_state_up"), "0");
    assert!(text.contains("process_resident_memory_bytes "));
    assert!(!text.contains("walproof_records_head"));
    assert!(text.ends_with("# EOF\n"));
}

/// At most this many series per cluster and per copy, and per open finding one.
const PER_CLUSTER: usize = 11;
const PER_COPY: usize = 58;

#[test]
fn the_number_of_series_grows_with_the_configuration_alone() {
    let count = |number: usize| {
        let clusters = (0..number).map(|n| cluster(&format!("cluster-{n}")));
        samples(&text(scene(clusters.collect()))).len()
    };
    let (none, one, three) = (count(0), count(1), count(3));
    // The first brings its tier's histograms, which others of the tier share.
    let own = (three - one) / 2;
    let findings = 2;
    assert_eq!(own, PER_CLUSTER + 2 * PER_COPY + findings);
    assert_eq!(
        one - none,
        own,
        "the tally has the tier's histograms already"
    );
}

#[test]
fn a_thousand_clusters_are_written_quickly() {
    let clusters: Vec<ClusterFacts> = (0..1000)
        .map(|n| cluster(&format!("cluster-{n:04}")))
        .collect();
    let scene = scene(clusters);
    let begun = Instant::now();
    let text = text(scene);
    let took = begun.elapsed();
    let series = samples(&text).len();
    let unique: BTreeSet<&str> = samples(&text)
        .into_iter()
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(series, _)| series)
        .collect();
    println!("{series} series, {} bytes, {took:?}", text.len());
    assert_eq!(unique.len(), series, "each series once");
    assert!(series < 1000 * (PER_CLUSTER + 2 * (PER_COPY + 1)) + 1000);
}

/// `docs/metrics.md` lists each metric, and no other.
#[test]
fn the_document_lists_each_metric_and_no_other() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
    let document = std::fs::read_to_string(path).unwrap();
    let documented: BTreeMap<String, String> = document
        .lines()
        .filter(|line| line.starts_with("| `walproof_") || line.starts_with("| `process_"))
        .map(|line| {
            let name = line.split('`').nth(1).unwrap_or_default();
            (name.to_owned(), line.to_owned())
        })
        .collect();
    let listed: BTreeMap<String, String> = CATALOGUE
        .iter()
        .map(|metric| {
            let labels: Vec<String> = metric.labels().iter().map(|it| format!("`{it}`")).collect();
            let line = format!(
                "| `{}` | {} | {} | {} | {} |",
                metric.name(),
                metric.kind().as_str(),
                metric.unit(),
                labels.join(", "),
                metric.help()
            );
            (metric.name(), line)
        })
        .collect();
    for (name, line) in &listed {
        assert_eq!(documented.get(name), Some(line), "docs/metrics.md, {name}");
    }
    for name in documented.keys() {
        assert!(
            listed.contains_key(name),
            "docs/metrics.md lists {name}, which does not exist"
        );
    }
    let bound = format!("{PER_CLUSTER} series per cluster and {PER_COPY} per copy");
    assert!(document.contains(&bound), "docs/metrics.md lacks: {bound}");
}
