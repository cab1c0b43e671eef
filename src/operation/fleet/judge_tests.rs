//! The truth table of a cluster's verdict.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::judge::{CopyProofs, LOOK_COUNTS, PROOF_COUNTS, judge};
use super::report::CopyRole;
use crate::config::{Due, Period};
use crate::drill::Ending;
use crate::evidence::Verdict;
use crate::finding::Severity;
use crate::operation::standing::{
    DrillStanding, FindingTally, ObjectiveStanding, ProofStanding, ReplicateStanding,
    VerifyStanding,
};
use crate::state::{DepthRank, Incident, IncidentKind, RunKind};
use crate::verify::Depth;

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

fn period(text: &str) -> Period {
    text.parse().unwrap()
}

const HOURLY: fn() -> Due = || Due {
    verify: Some(period("1h")),
    replicate: Some(period("2h")),
    drill: Some(period("1d")),
    capture: None,
};

/// What the newest look at a copy may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Never,
    /// That old, with the gravest finding.
    Aged(TimeDelta, Option<Severity>),
}

fn look(look: Look) -> Option<VerifyStanding> {
    let Look::Aged(age, worst) = look else {
        return None;
    };
    let findings: BTreeMap<String, FindingTally> = worst
        .map(|severity| ("wal-gap".to_owned(), FindingTally { severity, count: 2 }))
        .into_iter()
        .collect();
    let body = serde_json::json!({
        "depth": Depth::Listed,
        "checked_at": now() - age,
        "findings": findings,
    });
    Some(VerifyStanding::read(body).unwrap())
}

/// What the newest drill may have come to, and what was proven before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Restore {
    Never,
    /// The verdict of the newest, and how old the newest proof is.
    Came(Verdict, Option<TimeDelta>),
}

fn restore(restore: Restore) -> Option<DrillStanding> {
    let Restore::Came(verdict, proof) = restore else {
        return None;
    };
    Some(DrillStanding {
        verdict,
        ending: Ending::Complete,
        reasons: if verdict == Verdict::Proven {
            Vec::new()
        } else {
            vec!["the heartbeat is old".to_owned()]
        },
        definition: Some("nightly".to_owned()),
        target: "tip".to_owned(),
        backup_id: None,
        started_at: now(),
        finished_at: now(),
        phases: Vec::new(),
        total_ms: 0,
        time_to_service_ms: None,
        time_to_verified_ms: None,
        recovered_to: None,
        recovery_point_ms: None,
        rpo: ObjectiveStanding::default(),
        rto: ObjectiveStanding::default(),
        base_bytes: 0,
        wal_bytes: 0,
        scratch_bytes: None,
        alone: None,
        findings: BTreeMap::new(),
        last_proven: proof.map(|age| ProofStanding {
            location: "s3://backups/orders".to_owned(),
            at: now() - age,
            run_id: Uuid::nil(),
        }),
    })
}

/// What the newest replication may have come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Copied {
    Never,
    /// That old; complete; so many things wrong.
    Aged(TimeDelta, bool, u64),
}

fn copied(copied: Copied) -> Option<ReplicateStanding> {
    let Copied::Aged(age, complete, differs) = copied else {
        return None;
    };
    let body = serde_json::json!({
        "compared_at": now() - age,
        "finished_at": now() - age,
        "ended": if complete { "complete" } else { "window-closed" },
        "complete": complete,
        "missing_objects": u64::from(!complete) * 3,
        "differs": differs,
    });
    Some(ReplicateStanding::read(body).unwrap())
}

fn incident(kind: IncidentKind, code: &str, severity: Severity) -> Incident {
    Incident {
        id: Uuid::nil(),
        cluster: "orders".into(),
        copy: "primary".into(),
        kind,
        scope: String::new(),
        code: code.into(),
        severity,
        object: "000000010000000000000007".into(),
        message: "it is missing".into(),
        count: 1,
        depth: DepthRank::LISTED,
        opened_at: now() - TimeDelta::hours(5),
        last_seen_at: now(),
        closed_at: None,
        opened_by: Some(1),
        closed_by: None,
    }
}

const FRESH: TimeDelta = TimeDelta::minutes(10);
const CLEAN: Look = Look::Aged(FRESH, None);
const PROVEN: Restore = Restore::Came(Verdict::Proven, Some(TimeDelta::hours(6)));

/// One cluster with a primary, and a replica where something is said of it.
fn verdict_of(
    due: Due,
    seen: Look,
    drilled: Restore,
    replica: Option<(Look, Copied)>,
    incidents: &[Incident],
) -> super::Judged {
    let (verify, drill) = (look(seen), restore(drilled));
    let (replica_verify, replicate) =
        replica.map_or((None, None), |(seen, done)| (look(seen), copied(done)));
    let mut copies = vec![CopyProofs {
        copy: "primary",
        role: CopyRole::Primary,
        verify: verify.as_ref(),
        replicate: None,
        drill: drill.as_ref(),
    }];
    if replica.is_some() {
        copies.push(CopyProofs {
            copy: "far",
            role: CopyRole::Replica,
            verify: replica_verify.as_ref(),
            replicate: replicate.as_ref(),
            drill: None,
        });
    }
    judge(due, &copies, incidents, now())
}

#[test]
fn a_clean_look_and_a_proof_within_their_due_are_proven() {
    let judged = verdict_of(HOURLY(), CLEAN, PROVEN, None, &[]);
    assert_eq!(judged.verdict, Verdict::Proven);
    assert_eq!(judged.reasons, []);
    assert_eq!(judged.overdue, []);
    let proof = judged.last_proof.unwrap();
    assert_eq!((&*proof.copy, proof.age_seconds), ("primary", 6 * 3600));
    assert_eq!(proof.due_seconds, Some(86_400));
}

/// Every combination of what is known of one copy, judged a second time by plain rules.
#[test]
fn every_row_of_the_table_without_replicas() {
    let ages = [
        -TimeDelta::hours(1),
        FRESH,
        TimeDelta::hours(2),
        TimeDelta::days(2),
        TimeDelta::days(40),
    ];
    let severities = [
        None,
        Some(Severity::Info),
        Some(Severity::Warning),
        Some(Severity::Critical),
    ];
    let mut looks = vec![Look::Never];
    for age in ages {
        looks.extend(severities.map(|worst| Look::Aged(age, worst)));
    }
    let mut drills = vec![Restore::Never];
    for verdict in [Verdict::Proven, Verdict::Failed, Verdict::Unproven] {
        for age in ages {
            drills.push(Restore::Came(verdict, Some(age)));
        }
        if verdict != Verdict::Proven {
            drills.push(Restore::Came(verdict, None));
        }
    }
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for due in [Due::default(), HOURLY()] {
        let look_counts = due.verify.map_or(LOOK_COUNTS, Period::as_chrono);
        let proof_counts = due.drill.map_or(PROOF_COUNTS, Period::as_chrono);
        for &seen in &looks {
            for &drilled in &drills {
                let judged = verdict_of(due, seen, drilled, None, &[]);
                let found =
                    matches!(seen, Look::Aged(_, Some(worst)) if worst >= Severity::Warning);
                let broke = matches!(drilled, Restore::Came(Verdict::Failed, _));
                let looked = matches!(seen, Look::Aged(age, _) if age >= -TimeDelta::minutes(5) && age <= look_counts);
                let proven = matches!(drilled, Restore::Came(_, Some(age)) if age >= -TimeDelta::minutes(5) && age <= proof_counts);
                let expected = if found || broke {
                    Verdict::Failed
                } else if looked && proven {
                    Verdict::Proven
                } else {
                    Verdict::Unproven
                };
                let row = format!("{due:?} {seen:?} {drilled:?}: {:?}", judged.reasons);
                assert_eq!(judged.verdict, expected, "{row}");
                assert_eq!(
                    judged.reasons.is_empty(),
                    expected == Verdict::Proven,
                    "{row}"
                );
                let set = due.verify.is_some();
                let late = |kind| judged.overdue.iter().any(|late| late.kind == kind);
                assert_eq!(late(RunKind::Verify), set && !looked, "{row}");
                assert_eq!(late(RunKind::Drill), set && !proven, "{row}");
                *counts.entry(expected.as_str()).or_default() += 1;
            }
        }
    }
    // Both ways: the table has rows of each kind.
    assert_eq!(counts.len(), 3, "{counts:?}");
    assert!(counts["proven"] > 10, "{counts:?}");
}

#[test]
fn every_row_of_the_table_with_a_replica() {
    let day = TimeDelta::days(1);
    let copies = [
        Copied::Never,
        Copied::Aged(FRESH, true, 0),
        Copied::Aged(FRESH, false, 0),
        Copied::Aged(FRESH, true, 2),
        Copied::Aged(FRESH, false, 2),
        Copied::Aged(day, true, 0),
        Copied::Aged(-day, true, 0),
        Copied::Aged(day, false, 2),
    ];
    let looks = [
        Look::Never,
        CLEAN,
        Look::Aged(day * 3, None),
        Look::Aged(FRESH, Some(Severity::Info)),
        Look::Aged(FRESH, Some(Severity::Warning)),
    ];
    for due in [Due::default(), HOURLY()] {
        for done in copies {
            for seen in looks {
                let judged = verdict_of(due, CLEAN, PROVEN, Some((seen, done)), &[]);
                let set = due.replicate.is_some();
                let wrong = matches!(done, Copied::Aged(_, _, differs) if differs > 0)
                    || seen == Look::Aged(FRESH, Some(Severity::Warning));
                let kept = match done {
                    Copied::Never => !set,
                    Copied::Aged(age, complete, _) => complete && (!set || age == FRESH),
                };
                let looked = matches!(seen, Look::Aged(age, _) if age == FRESH);
                let expected = match (wrong, kept && looked) {
                    (true, _) => Verdict::Failed,
                    (false, true) => Verdict::Proven,
                    (false, false) => Verdict::Unproven,
                };
                let row = format!("{due:?} {done:?} {seen:?}: {:?}", judged.reasons);
                assert_eq!(judged.verdict, expected, "{row}");
                let late = judged
                    .overdue
                    .iter()
                    .any(|late| late.kind == RunKind::Replicate);
                let old = match done {
                    Copied::Never => true,
                    Copied::Aged(age, ..) => age != FRESH,
                };
                assert_eq!(late, set && old, "{row}");
            }
        }
    }
}

#[test]
fn what_is_open_is_never_green() {
    use IncidentKind::{Backup, Compare, Drill, Expire, Replicate, Restore, Schedule, Verify};
    for (kind, verdict) in [
        (Verify, Verdict::Failed),
        (Drill, Verdict::Failed),
        (Backup, Verdict::Failed),
        (Replicate, Verdict::Failed),
        (Compare, Verdict::Failed),
        (Schedule, Verdict::Unproven),
        (Restore, Verdict::Proven),
        (Expire, Verdict::Proven),
    ] {
        for severity in [Severity::Info, Severity::Warning, Severity::Critical] {
            let open = incident(kind, "some-code", severity);
            let judged = verdict_of(HOURLY(), CLEAN, PROVEN, None, std::slice::from_ref(&open));
            let expected = if severity == Severity::Info {
                Verdict::Proven
            } else {
                verdict
            };
            assert_eq!(judged.verdict, expected, "{kind:?} {severity:?}");
            let closed = Incident {
                closed_at: Some(now()),
                ..open
            };
            let judged = verdict_of(HOURLY(), CLEAN, PROVEN, None, &[closed]);
            assert_eq!(judged.verdict, Verdict::Proven, "{kind:?} {severity:?}");
        }
    }
}

#[test]
fn one_thing_is_told_once() {
    let found = Look::Aged(FRESH, Some(Severity::Critical));
    let open = incident(IncidentKind::Verify, "wal-gap", Severity::Critical);
    let judged = verdict_of(HOURLY(), found, PROVEN, None, std::slice::from_ref(&open));
    assert_eq!(judged.reasons.len(), 1, "{:?}", judged.reasons);
    // Seen by a deeper look before, and not looked for by the newest.
    let judged = verdict_of(HOURLY(), CLEAN, PROVEN, None, &[open]);
    assert_eq!(judged.verdict, Verdict::Failed);
    assert!(
        judged.reasons[0]
            .text
            .starts_with("wal-gap is open since 5h")
    );
    // The weekly drill failed, and the nightly one proved the same copy since.
    let weekly = Incident {
        scope: "weekly".into(),
        ..incident(IncidentKind::Drill, "check-failed", Severity::Critical)
    };
    let judged = verdict_of(HOURLY(), CLEAN, PROVEN, None, &[weekly]);
    assert_eq!(judged.verdict, Verdict::Failed);
    let failed = Restore::Came(Verdict::Failed, None);
    let nightly = Incident {
        scope: "nightly".into(),
        ..incident(IncidentKind::Drill, "check-failed", Severity::Critical)
    };
    let judged = verdict_of(HOURLY(), CLEAN, failed, None, &[nightly]);
    let wrong = judged
        .reasons
        .iter()
        .filter(|r| r.verdict == Verdict::Failed);
    assert_eq!(wrong.count(), 1, "{:?}", judged.reasons);
    // Overdue, told by the figures and by the daemon's incident.
    let overdue = incident(IncidentKind::Schedule, "drill-overdue", Severity::Warning);
    let judged = verdict_of(HOURLY(), CLEAN, Restore::Never, None, &[overdue]);
    assert_eq!(judged.reasons.len(), 1, "{:?}", judged.reasons);
}

#[test]
fn a_failure_comes_before_what_is_not_known() {
    let judged = verdict_of(
        HOURLY(),
        Look::Never,
        Restore::Came(Verdict::Failed, None),
        None,
        &[],
    );
    let verdicts: Vec<Verdict> = judged.reasons.iter().map(|reason| reason.verdict).collect();
    assert_eq!(
        verdicts,
        [Verdict::Failed, Verdict::Unproven, Verdict::Unproven]
    );
    assert!(
        judged.reasons[0]
            .text
            .ends_with("failed: the heartbeat is old")
    );
}

#[test]
fn a_cluster_without_copies_is_not_proven() {
    assert_eq!(
        judge(Due::default(), &[], &[], now()).verdict,
        Verdict::Unproven
    );
}
