//! The fleet as text: made-up clusters, one of each kind.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};

use super::status::{cluster, fleet};
use super::style::Style;
use crate::evidence::Verdict;
use crate::finding::Severity;
use crate::operation::fleet::{
    ClusterStatus, CopyRole, CopyStatus, DrillStatus, ExposureStatus, Fleet, FleetCounts,
    IncidentStatus, JobUnderWay, LastProof, NextRun, Overdue, ReasonWhy, ReplicationStatus,
    VerificationStatus,
};
use crate::operation::standing::{DrillStanding, FindingTally, ReplicateStanding, VerifyStanding};
use crate::state::{IncidentKind, JobKind, JobProgress, JobStatus, RunKind};
use crate::verify::TimeSource;

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

const fn minutes(number: i64) -> TimeDelta {
    TimeDelta::minutes(number)
}

fn verification(age: TimeDelta, gaps: u64) -> VerificationStatus {
    let at = now() - age;
    let findings: BTreeMap<String, FindingTally> = (gaps > 0)
        .then(|| {
            let severity = Severity::Critical;
            (
                "wal-gap".to_owned(),
                FindingTally {
                    severity,
                    count: gaps,
                },
            )
        })
        .into_iter()
        .collect();
    let standing = serde_json::json!({
        "depth": "sampled",
        "checked_at": at,
        "tip_commit_at": at - minutes(2),
        "tip_source": "commit",
        "exposure_known": true,
        "window_end": at - minutes(2),
        "oldest_begin": at - TimeDelta::days(30),
        "windows": 1 + gaps,
        "gaps": gaps,
        "missing_segments": gaps * 3,
        "newest_backup_at": at - minutes(300),
        "newest_backup_id": "20270115T020000",
        "usable_backups": 7,
        "backups": 8,
        "segments": 4_711,
        "base_bytes": 7_000_000_000_u64,
        "wal_bytes": 12_000_000_000_u64,
        "findings": findings,
        "rpo_ms": 300_000,
    });
    VerificationStatus {
        at,
        age_seconds: age.num_seconds(),
        due_seconds: Some(3_600),
        run_id: "0199c1f2-0000-7000-8000-000000000001".into(),
        exit_code: u8::from(gaps > 0),
        standing: VerifyStanding::read(standing).unwrap(),
    }
}

fn copy(name: &str, role: CopyRole, seen: Option<VerificationStatus>, stale: bool) -> CopyStatus {
    CopyStatus {
        copy: name.into(),
        role,
        location: format!("s3://backups-{name}/pg"),
        exposure: seen.as_ref().map(|seen| ExposureStatus {
            seconds: seen.age_seconds + 120,
            since: seen.at - minutes(2),
            source: Some(TimeSource::Commit),
            looked_at: seen.at,
            look_age_seconds: seen.age_seconds,
            stale,
            rpo_seconds: Some(300),
        }),
        lag_seconds: None,
        verification: seen,
        replication: None,
        drill: None,
    }
}

fn drill(verdict: Verdict, age: TimeDelta) -> DrillStatus {
    let at = now() - age;
    let reasons = match verdict {
        Verdict::Proven => serde_json::json!([]),
        _ => serde_json::json!(["check `heartbeat`: the newest beat is 3h old"]),
    };
    let standing = serde_json::json!({
        "verdict": verdict,
        "ending": "complete",
        "reasons": reasons,
        "definition": "nightly",
        "target": "tip",
        "started_at": at,
        "finished_at": at + minutes(12),
        "time_to_verified_ms": 725_000,
        "time_to_service_ms": 184_000,
        "recovery_point_ms": 61_000,
        "rto": {"limit_ms": 3_600_000, "actual_ms": 725_000, "state": "met"},
        "rpo": {"limit_ms": 300_000, "actual_ms": 61_000, "state": "met"},
    });
    DrillStatus {
        at,
        age_seconds: age.num_seconds(),
        run_id: "0199c1f2-0000-7000-8000-000000000002".into(),
        exit_code: 0,
        standing: DrillStanding::read(standing).unwrap(),
    }
}

fn bare(name: &str, verdict: Verdict, copies: Vec<CopyStatus>) -> ClusterStatus {
    ClusterStatus {
        name: name.into(),
        description: None,
        tier: Some("gold".into()),
        owner: Some("team-shop".into()),
        verdict,
        reasons: Vec::new(),
        copies,
        last_proof: None,
        overdue: Vec::new(),
        incidents: Vec::new(),
        next_runs: vec![NextRun {
            schedule: "verify-often".into(),
            kind: JobKind::Verify,
            at: now() + minutes(3),
            last_due: None,
        }],
        jobs: Vec::new(),
    }
}

fn proof(age: TimeDelta) -> LastProof {
    LastProof {
        at: now() - age,
        age_seconds: age.num_seconds(),
        due_seconds: Some(86_400),
        run_id: "0199c1f2-0000-7000-8000-000000000002".into(),
        copy: "primary".into(),
    }
}

fn reason(verdict: Verdict, text: &str) -> ReasonWhy {
    ReasonWhy {
        verdict,
        copy: Some("primary".into()),
        text: text.into(),
    }
}

fn failed() -> ClusterStatus {
    let mut primary = copy(
        "primary",
        CopyRole::Primary,
        Some(verification(minutes(3), 1)),
        false,
    );
    primary.drill = Some(drill(Verdict::Failed, minutes(300)));
    let mut far = copy(
        "far",
        CopyRole::Replica,
        Some(verification(minutes(2), 0)),
        false,
    );
    far.lag_seconds = Some(4_000);
    far.replication = Some(ReplicationStatus {
        at: now() - minutes(30),
        age_seconds: 1_800,
        due_seconds: None,
        run_id: "0199c1f2-0000-7000-8000-000000000003".into(),
        exit_code: 1,
        standing: ReplicateStanding::read(serde_json::json!({
            "compared_at": now() - minutes(31),
            "finished_at": now() - minutes(30),
            "ended": "failed",
            "missing_objects": 12,
            "missing_bytes": 50_000_000,
            "copied_objects": 3,
            "copied_bytes": 48_000_000,
            "differs": 1,
        }))
        .unwrap(),
    });
    ClusterStatus {
        description: Some("what was ordered and paid".into()),
        reasons: vec![
            reason(Verdict::Failed, "the verification of primary found wal-gap"),
            reason(
                Verdict::Failed,
                "the newest drill from primary failed: check `heartbeat`: the newest beat is 3h old",
            ),
            reason(Verdict::Unproven, "no drill has ever proven a copy"),
        ],
        incidents: vec![IncidentStatus {
            id: "0199c1f2-0000-7000-8000-000000000004".into(),
            code: "wal-gap".into(),
            severity: Severity::Critical,
            kind: IncidentKind::Verify,
            copy: "primary".into(),
            object: "000000010000000000000007".into(),
            message: "3 segments are missing between 0/6000000 and 0/9000000".into(),
            count: 1,
            opened_at: now() - minutes(500),
            last_seen_at: now() - minutes(3),
            runbook: "https://wiki.example/walproof/wal-gap.md".into(),
        }],
        jobs: vec![JobUnderWay {
            id: "0199c1f2-0000-7000-8000-000000000005".into(),
            kind: JobKind::Drill,
            copy: "primary".into(),
            status: JobStatus::Running,
            due_at: now() - minutes(20),
            started_at: Some(now() - minutes(15)),
            attempts: 2,
            progress: Some(JobProgress {
                phase: "fetch-base".into(),
                done: 3 << 30,
                total: Some(7 << 30),
                unit: "bytes".into(),
                at: now(),
            }),
            error: Some("read s3://backups-primary/pg: connection reset".into()),
        }],
        ..bare("orders", Verdict::Failed, vec![primary, far])
    }
}

fn stale() -> ClusterStatus {
    let primary = copy(
        "primary",
        CopyRole::Primary,
        Some(verification(minutes(3_000), 0)),
        true,
    );
    ClusterStatus {
        tier: None,
        reasons: vec![reason(
            Verdict::Unproven,
            "the newest look at primary is 2d 2h old, due every 1h",
        )],
        last_proof: Some(proof(minutes(2_000))),
        overdue: vec![
            Overdue {
                kind: RunKind::Verify,
                copy: Some("primary".into()),
                newest_at: Some(now() - minutes(3_000)),
                due_seconds: 3_600,
            },
            Overdue {
                kind: RunKind::Drill,
                copy: None,
                newest_at: Some(now() - minutes(2_000)),
                due_seconds: 86_400,
            },
        ],
        ..bare("warehouse-of-the-north", Verdict::Unproven, vec![primary])
    }
}

fn proven() -> ClusterStatus {
    let mut primary = copy(
        "primary",
        CopyRole::Primary,
        Some(verification(minutes(1), 0)),
        false,
    );
    primary.drill = Some(drill(Verdict::Proven, minutes(300)));
    ClusterStatus {
        last_proof: Some(proof(minutes(300))),
        ..bare("users", Verdict::Proven, vec![primary])
    }
}

fn never() -> ClusterStatus {
    ClusterStatus {
        reasons: vec![
            reason(Verdict::Unproven, "primary was never verified"),
            reason(Verdict::Unproven, "no drill has ever been run"),
        ],
        next_runs: Vec::new(),
        ..bare(
            "new",
            Verdict::Unproven,
            vec![copy("primary", CopyRole::Primary, None, false)],
        )
    }
}

fn all() -> Fleet {
    Fleet {
        schema: "walproof.status/v1".into(),
        version: "0".into(),
        at: now(),
        counts: FleetCounts {
            clusters: 4,
            proven: 1,
            failed: 1,
            unproven: 2,
        },
        ledger: None,
        clusters: vec![failed(), stale(), never(), proven()],
    }
}

fn at(width: usize) -> Style {
    Style {
        width,
        ..Style::PLAIN
    }
}

#[test]
fn the_fleet_in_eighty_and_in_a_hundred_and_twenty_columns() {
    for width in [80, 120] {
        let text = fleet(&all(), false, at(width));
        assert!(
            text.lines().all(|line| line.chars().count() <= width),
            "{text}"
        );
        insta::assert_snapshot!(format!("status_fleet_{width}"), text);
    }
}

#[test]
fn everything_about_one_cluster() {
    for (name, status) in [("failed", failed()), ("proven", proven()), ("new", never())] {
        let text = cluster(&status, now(), at(80));
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
        insta::assert_snapshot!(format!("status_cluster_{name}"), text);
    }
}

#[test]
fn only_what_is_proven_is_green() {
    const GREEN: &str = "\x1b[32m";
    let color = Style {
        color: true,
        ..at(120)
    };
    for status in [failed(), stale(), never()] {
        let report = Fleet {
            counts: FleetCounts {
                clusters: 1,
                proven: 0,
                failed: 1,
                unproven: 0,
            },
            clusters: vec![status.clone()],
            ..all()
        };
        assert!(!fleet(&report, false, color).contains(GREEN));
        assert!(!cluster(&status, now(), color).contains(GREEN));
    }
    let report = Fleet {
        clusters: vec![proven()],
        ..all()
    };
    assert!(fleet(&report, false, color).contains(GREEN));
    assert!(cluster(&proven(), now(), color).contains(GREEN));
}

#[test]
fn without_clusters_it_says_what_to_do() {
    let report = Fleet {
        clusters: Vec::new(),
        ..all()
    };
    let text = fleet(&report, true, Style::PLAIN);
    assert!(text.contains("walproof init"), "{text}");
}
