//! An export as a whole: its numbers against a count done another way, its files, its page.

use std::collections::BTreeMap;
use std::path::Path;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::evidence::ledger::*;
use crate::evidence::{ObjectiveOutcome, ObjectiveRecord, Trigger, Verdict};
use crate::finding::{Code, Finding, Severity};

pub(super) fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// Numbers that look random and are the same every time (xorshift).
#[derive(Clone, Debug)]
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn uuid(&mut self) -> Uuid {
        Uuid::from_u64_pair(self.0 ^ 0x1234, self.below(u64::MAX))
    }
}

pub(super) fn chain(entries: &[NewEntry]) -> Vec<LedgerEntry> {
    let mut sealed: Vec<LedgerEntry> = Vec::new();
    for entry in entries {
        let previous = sealed
            .last()
            .map_or(FIRST_PREVIOUS, |entry| entry.sha256.as_str());
        let sequence = sealed.len() as u64 + 1;
        sealed.push(seal(entry, sequence, previous).unwrap());
    }
    sealed
}

fn asked(schedule: &str, due_at: DateTime<Utc>) -> Asked {
    Asked {
        trigger: Trigger::Schedule,
        initiator: "walproof daemon".to_owned(),
        schedule: Some(schedule.to_owned()),
        due_at: Some(due_at),
        ..Asked::default()
    }
}

pub(super) fn drill(
    asked: Asked,
    end: DateTime<Utc>,
    verdict: Verdict,
    (rpo, rto): (Option<u64>, Option<u64>),
    (rpo_limit, rto_limit): (u64, u64),
) -> DrillBody {
    let objective = |name: &str, actual: Option<u64>, limit: u64| ObjectiveRecord {
        name: name.to_owned(),
        limit_ms: limit,
        set_by: "tier gold".to_owned(),
        actual_ms: actual,
        method: "measured".to_owned(),
        outcome: match actual {
            Some(actual) if actual <= limit => ObjectiveOutcome::Met,
            Some(_) => ObjectiveOutcome::Missed,
            None => ObjectiveOutcome::NotMeasured,
        },
    };
    let mut findings = Vec::new();
    for (value, limit, code) in [
        (rpo, rpo_limit, Code::ObjectiveMissedRpo),
        (rto, rto_limit, Code::ObjectiveMissedRto),
    ] {
        if value.is_some_and(|value| value > limit) {
            findings.push(Finding::new(code, "objective", "beyond"));
        }
    }
    if verdict == Verdict::Failed && findings.is_empty() {
        findings.push(Finding::new(
            Code::RecoveryFailed,
            "server",
            "did not start",
        ));
    }
    let exit_code = match verdict {
        Verdict::Proven => 0,
        Verdict::Failed => 1,
        Verdict::Unproven => 3,
    };
    let run = RunBody::new(
        asked,
        (end - TimeDelta::minutes(5), end),
        Some(verdict),
        exit_code,
        "tip",
        &findings,
    );
    DrillBody {
        target: "tip".to_owned(),
        time_to_verified_ms: rto,
        recovery_point_ms: rpo,
        objectives: vec![
            objective("rpo", rpo, rpo_limit),
            objective("rto", rto, rto_limit),
        ],
        ..DrillBody::without_record(run, "s3://backups/x".to_owned(), "nightly".to_owned())
    }
}

const CLUSTERS: [&str; 12] = [
    "orders",
    "payments",
    "ledger",
    "catalog",
    "customers",
    "search",
    "billing",
    "shipping",
    "sessions",
    "reports",
    "warehouse",
    "identity",
];

/// A month of twelve clusters, with what goes wrong in a month.
fn month() -> Vec<NewEntry> {
    let mut dice = Dice(0x5eed);
    let begin = at("2026-10-20T00:00:00Z");
    let mut entries: Vec<NewEntry> = Vec::new();
    let new = |at, body: &Body| NewEntry::new(at, body).unwrap();
    let daemon = |reason: Option<&str>| {
        Box::new(DaemonBody {
            daemon: Uuid::from_u128(7),
            host: "backup-1".to_owned(),
            version: "0.1.0".to_owned(),
            build_sha256: None,
            configuration_sha256: Some("ab".repeat(32)),
            reason: reason.map(str::to_owned),
        })
    };
    entries.push(new(begin, &Body::Started(daemon(None))));
    let mut open: BTreeMap<(usize, Code), (Uuid, DateTime<Utc>)> = BTreeMap::new();
    for day in 0..42 {
        let midnight = begin + TimeDelta::days(day);
        if day % 13 == 4 {
            let body = ConfigurationBody::accepted(
                format!("{day:02}").repeat(32),
                Some("ab".repeat(32)),
                &[
                    format!("cluster shipping: rpo of tier silver 1h → {}m", 30 + day),
                    "schedule nightly: cron \"0 2 * * *\" → \"30 2 * * *\"".to_owned(),
                ],
            );
            entries.push(new(
                midnight + TimeDelta::hours(9),
                &Body::Configuration(Box::new(body)),
            ));
        }
        if day == 20 {
            let body = ConfigurationBody::refused(
                "cd".repeat(32),
                None,
                "walproof.yaml:14:5: unknown key `teir` in `clusters[3]` (did you mean `tier`?)",
            );
            entries.push(new(
                midnight + TimeDelta::hours(10),
                &Body::Configuration(Box::new(body)),
            ));
        }
        for (index, cluster) in CLUSTERS.iter().enumerate() {
            let gold = index < 4;
            let limits = if gold {
                (300_000, 900_000)
            } else {
                (3_600_000, 7_200_000)
            };
            for quarter in 0..4 {
                let due = midnight + TimeDelta::hours(quarter * 6);
                let end = due + TimeDelta::seconds(40 + dice.below(60).cast_signed());
                if day == 17 && quarter > 1 {
                    continue;
                }
                let failed = dice.chance(1);
                let code = [Code::WalGap, Code::BackupStale, Code::ArchiveTipUnknown]
                    [dice.below(3) as usize];
                let findings = if failed {
                    vec![Finding::new(code, "0000000100000012000000A4", "seen")]
                } else {
                    vec![]
                };
                let run = RunBody::new(
                    asked("verify-often", due),
                    (due, end),
                    failed.then_some(Verdict::Failed),
                    u8::from(failed),
                    "verified",
                    &findings,
                );
                let mut body = VerifyBody {
                    exposure_ms: Some(
                        20_000 + dice.below(if index == 5 { 6_000_000 } else { 250_000 }),
                    ),
                    rpo_ms: Some(limits.0),
                    ..VerifyBody::new(run, format!("s3://backups/{cluster}"), "sampled".to_owned())
                };
                if failed && !open.contains_key(&(index, code)) {
                    let id = dice.uuid();
                    open.insert((index, code), (id, end));
                    body.opened.push(OpenedIncident::new(
                        id,
                        code.as_str(),
                        code.severity(),
                        "0000000100000012000000A4",
                    ));
                } else if !failed && dice.chance(12) {
                    let key = open.keys().find(|(cluster, _)| *cluster == index).copied();
                    if let Some((id, opened_at)) = key.and_then(|key| open.remove(&key)) {
                        let code = key.unwrap().1;
                        body.closed.push(ClosedIncident {
                            id,
                            code: code.as_str().to_owned(),
                            severity: code.severity(),
                            opened_at,
                            opened_by: None,
                        });
                    }
                }
                entries.push(
                    new(end, &Body::Verify(Box::new(body)))
                        .about(cluster, "primary")
                        .of_run(dice.uuid()),
                );
            }
            let due = midnight + TimeDelta::hours(2);
            let end = due + TimeDelta::minutes(7);
            if day == 17 {
                let missed = MissedBody {
                    job: EntryKind::Drill,
                    schedule: Some("nightly".to_owned()),
                    key: None,
                    due_at: due,
                    first_due_at: None,
                    moments: 1,
                    reason: MissedReason::Down,
                    newest_at: None,
                    opened: vec![],
                    closed: vec![],
                };
                entries.push(new(end, &Body::Missed(Box::new(missed))).about(cluster, "primary"));
                continue;
            }
            if dice.chance(2) {
                let skipped = SkippedBody {
                    job: EntryKind::Drill,
                    schedule: Some("nightly".to_owned()),
                    key: None,
                    due_at: due,
                    moments: 1,
                    reason: SkippedReason::Overlap,
                    earlier: None,
                };
                entries.push(new(end, &Body::Skipped(Box::new(skipped))).about(cluster, "primary"));
                continue;
            }
            let slow = if index == 6 {
                8_000_000
            } else {
                limits.1 * 2 / 3
            };
            let rto = limits.1 / 5 + dice.below(slow);
            let rpo = 5_000 + dice.below(limits.0);
            let verdict = if rto > limits.1 || rpo > limits.0 || dice.chance(2) {
                Verdict::Failed
            } else if dice.chance(2) {
                Verdict::Unproven
            } else {
                Verdict::Proven
            };
            let values = match verdict {
                Verdict::Unproven => (None, None),
                _ => (Some(rpo), Some(rto)),
            };
            let late = day == 18;
            let body = drill(
                Asked {
                    late,
                    ..asked("nightly", due)
                },
                end,
                verdict,
                values,
                limits,
            );
            entries.push(
                new(end, &Body::Drill(Box::new(body)))
                    .about(cluster, "primary")
                    .of_run(dice.uuid()),
            );
            if gold {
                let run = RunBody::new(asked("replicate", due), (due, end), None, 0, "copied", &[]);
                let body = ReplicateBody::new(run, "s3://a".to_owned(), "s3://b".to_owned());
                entries.push(
                    new(end, &Body::Replicate(Box::new(body))).about(cluster, "second-region"),
                );
            }
        }
        if day % 10 == 3 {
            let end = midnight + TimeDelta::hours(15);
            let by_hand = Asked {
                initiator: "k.ono".to_owned(),
                ..Asked::default()
            };
            let body = drill(
                by_hand,
                end,
                Verdict::Proven,
                (Some(9_000), Some(400_000)),
                (300_000, 900_000),
            );
            entries.push(new(end, &Body::Drill(Box::new(body))).about("orders", "second-region"));
        }
    }
    entries.sort_by_key(|entry| entry.at);
    entries
}

fn scope(cluster: Option<&str>) -> Scope {
    Scope {
        from: at("2026-11-01T00:00:00Z"),
        to: at("2026-12-01T00:00:00Z"),
        cluster: cluster.map(str::to_owned),
    }
}

pub(super) fn export(directory: &Path, scope: Scope, entries: &[LedgerEntry]) -> Exported {
    let mut exporter = Exporter::begin(directory, scope, at("2026-12-01T08:00:00Z")).unwrap();
    for entry in entries {
        exporter.entry(entry).unwrap();
    }
    exporter.finish().unwrap()
}

/// Writes the month for eyes and other tools, where `WALPROOF_EXPORT_TO` says.
#[test]
fn a_month_of_twelve_clusters_is_written_and_checks() {
    let temporary = tempfile::tempdir().unwrap();
    let directory = std::env::var_os("WALPROOF_EXPORT_TO")
        .map_or_else(|| temporary.path().join("month"), Into::into);
    let entries = chain(&month());
    let exported = export(&directory, scope(None), &entries);
    let manifest = &exported.manifest;
    assert!(manifest.entries.complete);
    assert_eq!(manifest.ledger.entries, entries.len() as u64);
    assert_eq!(manifest.ledger.first_break, None);
    let check = check_file(&directory.join(ENTRIES_FILE), None, |_| {}).unwrap();
    assert!(check.holds(), "{check:?}");
    assert_eq!(check.entries, manifest.entries.count);
    assert_eq!(check.files, 5);
    let drills = exported.summary.by_kind()[&EntryKind::Drill];
    assert_eq!(drills.due(), 30 * 12);
    assert!(drills.missed > 0 && drills.skipped > 0 && drills.late > 0);
    assert_eq!(drills.by_hand.run, 3);
}
