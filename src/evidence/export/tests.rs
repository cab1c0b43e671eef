//! An export as a whole: its numbers against a count done another way, its files, its page.

use std::collections::BTreeMap;
use std::path::Path;

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use serde_json::Value;
use uuid::Uuid;

use super::*;
use crate::evidence::ledger::*;
use crate::evidence::{ObjectiveOutcome, ObjectiveRecord, Trigger, Verdict};
use crate::finding::{Code, Finding};

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
                    [usize::try_from(dice.below(3)).unwrap()];
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

#[test]
fn an_extract_holds_one_cluster_and_says_so() {
    let temporary = tempfile::tempdir().unwrap();
    let directory = temporary.path().join("orders");
    let exported = export(&directory, scope(Some("orders")), &chain(&month()));
    assert!(!exported.manifest.entries.complete);
    let check = check_file(&directory.join(ENTRIES_FILE), None, |_| {}).unwrap();
    assert!(check.holds(), "{check:?}");
    assert!(!check.complete);
    assert_eq!(check.entries, exported.manifest.entries.count);
    let text = std::fs::read_to_string(directory.join(ENTRIES_FILE)).unwrap();
    let mut others = 0;
    for line in text.lines() {
        let entry: Value = serde_json::from_str(line).unwrap();
        match entry["cluster"].as_str() {
            Some(cluster) => assert_eq!(cluster, "orders"),
            None => others += 1,
        }
    }
    assert!(
        others > 0,
        "changes of the configuration are about every cluster"
    );
    let population = std::fs::read_to_string(directory.join("population.csv")).unwrap();
    assert!(
        population
            .lines()
            .skip(1)
            .all(|line| line.starts_with("orders,"))
    );
}

/// What one run of the model comes to.
#[derive(Clone, Debug)]
enum Step {
    /// Attempts at one due moment, the last of them late or not.
    Runs(Vec<(Verdict, Option<u64>)>, bool),
    Missed(u64),
    Skipped,
    ByHand(Verdict, Option<u64>),
    Overdue,
}

fn any_step() -> impl Strategy<Value = Step> {
    let verdict = prop_oneof![
        4 => Just(Verdict::Proven),
        1 => Just(Verdict::Failed),
        1 => Just(Verdict::Unproven),
    ];
    let value = proptest::option::weighted(0.9, 0..200_u64);
    let attempt = (verdict.clone(), value.clone());
    prop_oneof![
        6 => (prop::collection::vec(attempt, 1..4), any::<bool>())
            .prop_map(|(attempts, late)| Step::Runs(attempts, late)),
        1 => (1..4_u64).prop_map(Step::Missed),
        1 => Just(Step::Skipped),
        1 => (verdict, value).prop_map(|(verdict, value)| Step::ByHand(verdict, value)),
        1 => Just(Step::Overdue),
    ]
}

const LIMIT: u64 = 100;

/// The verdict as a drill has it: a value beyond the objective is a failure.
fn judged(verdict: Verdict, value: Option<u64>) -> Verdict {
    match (verdict, value) {
        (Verdict::Proven, Some(value)) if value > LIMIT => Verdict::Failed,
        (Verdict::Proven, None) => Verdict::Unproven,
        (verdict, _) => verdict,
    }
}

fn entry_of(body: &Body, at: DateTime<Utc>, cluster: &str) -> NewEntry {
    NewEntry::new(at, body).unwrap().about(cluster, "primary")
}

fn drill_of(asked: Asked, at: DateTime<Utc>, verdict: Verdict, value: Option<u64>) -> Body {
    let body = drill(
        asked,
        at,
        judged(verdict, value),
        (Some(1), value),
        (LIMIT, LIMIT),
    );
    Body::Drill(Box::new(body))
}

/// Steps as entries: each due moment an hour after the one before.
fn entries_of(steps: &[(usize, Step)]) -> Vec<NewEntry> {
    let begin = at("2026-11-01T00:00:00Z");
    let mut entries = Vec::new();
    for ((cluster, step), hour) in steps.iter().zip(0..) {
        let cluster = CLUSTERS[*cluster];
        let due = begin + TimeDelta::hours(hour);
        match step {
            Step::Runs(attempts, late) => {
                for (attempt, (verdict, value)) in attempts.iter().enumerate() {
                    let end = due + TimeDelta::minutes(i64::try_from(attempt).unwrap());
                    let asked = Asked {
                        late: *late,
                        ..asked("nightly", due)
                    };
                    entries.push(entry_of(
                        &drill_of(asked, end, *verdict, *value),
                        end,
                        cluster,
                    ));
                }
            }
            Step::ByHand(verdict, value) => {
                let body = drill_of(Asked::default(), due, *verdict, *value);
                entries.push(entry_of(&body, due, cluster));
            }
            Step::Missed(moments) => {
                let body = missed(due, *moments, MissedReason::Down);
                entries.push(entry_of(&body, due, cluster));
            }
            Step::Overdue => {
                let body = missed(due, 1, MissedReason::Overdue);
                entries.push(entry_of(&body, due, cluster));
            }
            Step::Skipped => {
                let body = Body::Skipped(Box::new(SkippedBody {
                    job: EntryKind::Drill,
                    schedule: Some("nightly".to_owned()),
                    key: None,
                    due_at: due,
                    moments: 1,
                    reason: SkippedReason::Overlap,
                    earlier: None,
                }));
                entries.push(entry_of(&body, due, cluster));
            }
        }
    }
    entries
}

fn missed(due_at: DateTime<Utc>, moments: u64, reason: MissedReason) -> Body {
    Body::Missed(Box::new(MissedBody {
        job: EntryKind::Drill,
        schedule: Some("nightly".to_owned()),
        key: None,
        due_at,
        first_due_at: None,
        moments,
        reason,
        newest_at: None,
        opened: vec![],
        closed: vec![],
    }))
}

/// The place of a percentile in a sorted list, by the definition: the smallest value that at
/// least so many per cent of all values do not exceed.
#[expect(
    clippy::option_option,
    reason = "no place in the list, or the place of one that failed"
)]
fn by_definition(values: &[Option<u64>], percent: u64) -> Option<Option<u64>> {
    let beyond = |value: &Option<u64>| value.unwrap_or(u64::MAX);
    let mut sorted = values.to_vec();
    sorted.sort_by_key(beyond);
    sorted
        .iter()
        .find(|candidate| {
            let within = values
                .iter()
                .filter(|v| beyond(v) <= beyond(candidate))
                .count() as u64;
            within * 100 >= percent * values.len() as u64
        })
        .copied()
}

proptest! {
    /// The numbers against a count over the steps themselves, done another way.
    #[test]
    fn the_numbers_are_those_of_a_count_by_hand(steps in prop::collection::vec((0..3_usize, any_step()), 0..60)) {
        let mut summary = Summary::new(scope(None));
        for entry in chain(&entries_of(&steps)) {
            summary.feed(&entry.content().unwrap());
        }
        let measured = summary.measured();
        for (index, name) in CLUSTERS.iter().enumerate().take(3) {
            let own: Vec<&Step> = steps.iter().filter(|(cluster, _)| *cluster == index).map(|(_, step)| step).collect();
            let key = PopulationKey { cluster: (*name).to_owned(), kind: EntryKind::Drill, copy: "primary".to_owned() };
            let population = summary.population().get(&key).copied().unwrap_or_default();
            let finals: Vec<Verdict> = own.iter().filter_map(|step| match step {
                Step::Runs(attempts, _) => attempts.last().map(|(verdict, value)| judged(*verdict, *value)),
                _ => None,
            }).collect();
            let of = |wanted: Verdict| finals.iter().filter(|verdict| **verdict == wanted).count() as u64;
            prop_assert_eq!(population.scheduled.run, finals.len() as u64);
            prop_assert_eq!(population.scheduled.proven, of(Verdict::Proven));
            prop_assert_eq!(population.scheduled.failed, of(Verdict::Failed));
            prop_assert_eq!(population.scheduled.unproven, of(Verdict::Unproven));
            prop_assert_eq!(population.scheduled.passed, 0);
            let total = |count: fn(&Step) -> u64| own.iter().map(|step| count(step)).sum::<u64>();
            prop_assert_eq!(population.missed, total(|step| if let Step::Missed(n) = step { *n } else { 0 }));
            prop_assert_eq!(population.skipped, total(|step| u64::from(matches!(step, Step::Skipped))));
            prop_assert_eq!(population.overdue, total(|step| u64::from(matches!(step, Step::Overdue))));
            prop_assert_eq!(population.late, total(|step| u64::from(matches!(step, Step::Runs(_, true)))));
            prop_assert_eq!(population.by_hand.run, total(|step| u64::from(matches!(step, Step::ByHand(..)))));
            prop_assert_eq!(population.retries, total(|step| if let Step::Runs(attempts, _) = step { attempts.len() as u64 - 1 } else { 0 }));
            prop_assert_eq!(population.due(), finals.len() as u64 + population.missed + population.skipped);

            // Every attempt measures, by hand or not.
            let attempts: Vec<(Verdict, Option<u64>)> = own.iter().flat_map(|step| match step {
                Step::Runs(attempts, _) => attempts.clone(),
                Step::ByHand(verdict, value) => vec![(*verdict, *value)],
                _ => vec![],
            }).collect();
            let mut values: Vec<Option<u64>> = Vec::new();
            let (mut met, mut none) = (0, 0);
            for (verdict, value) in attempts {
                match (judged(verdict, value), value) {
                    (Verdict::Unproven, _) => none += 1,
                    (Verdict::Proven, Some(value)) => { values.push(Some(value)); met += 1; }
                    // Beyond the objective and whole otherwise: the value counts.
                    (Verdict::Failed, Some(value)) if value > LIMIT => values.push(Some(value)),
                    (Verdict::Failed, _) => values.push(None),
                    (Verdict::Proven, None) => unreachable!(),
                }
            }
            let key = MeasuredKey { cluster: (*name).to_owned(), objective: "rto", by: MeasuredBy::Drill, copy: "primary".to_owned() };
            let Some(row) = measured.get(&key) else {
                prop_assert!(values.is_empty() && none == 0);
                continue;
            };
            prop_assert_eq!(row.n, values.len() as u64);
            prop_assert_eq!((row.met, row.missed, row.not_measured), (met, values.len() as u64 - met, none));
            for (percent, rank) in [(50, row.p50), (95, row.p95), (100, row.max)] {
                let expected = by_definition(&values, percent).map(|value| value.map_or(Rank::Beyond, Rank::Milliseconds));
                prop_assert_eq!(rank, expected, "p{}", percent);
            }
        }
    }
}

#[test]
fn a_killed_attempt_does_not_take_the_place_of_the_proof() {
    let due = at("2026-11-02T02:00:00Z");
    let interrupted = |again| {
        Body::Interrupted(Box::new(InterruptedBody {
            job: EntryKind::Drill,
            asked: asked("nightly", due),
            started_at: due,
            noticed_at: due,
            again,
        }))
    };
    let population = |bodies: &[Body]| {
        let mut summary = Summary::new(scope(None));
        let new: Vec<NewEntry> = bodies
            .iter()
            .map(|body| entry_of(body, due, "orders"))
            .collect();
        for entry in chain(&new) {
            summary.feed(&entry.content().unwrap());
        }
        summary.by_kind()[&EntryKind::Drill]
    };
    let proof = drill_of(asked("nightly", due), due, Verdict::Proven, Some(1));
    for bodies in [
        [interrupted(true), proof.clone()],
        [proof.clone(), interrupted(true)],
    ] {
        let found = population(&bodies);
        assert_eq!(
            (found.due(), found.scheduled.proven, found.retries),
            (1, 1, 1)
        );
    }
    let found = population(&[interrupted(false)]);
    assert_eq!((found.due(), found.scheduled.unproven), (1, 1));
    // Given up after attempts: the moment was tried, so it is not missed besides.
    let given_up = missed(due, 1, MissedReason::Exhausted);
    let failed = drill_of(asked("nightly", due), due, Verdict::Unproven, None);
    let found = population(&[failed, given_up.clone()]);
    assert_eq!((found.due(), found.missed), (1, 0));
    let found = population(&[given_up]);
    assert_eq!((found.due(), found.missed), (1, 1));
    // Cancelled, after an attempt and before any.
    let cancelled = Body::Skipped(Box::new(SkippedBody {
        job: EntryKind::Drill,
        schedule: Some("nightly".to_owned()),
        key: None,
        due_at: due,
        moments: 1,
        reason: SkippedReason::Cancelled,
        earlier: None,
    }));
    let failed = drill_of(asked("nightly", due), due, Verdict::Unproven, None);
    let found = population(&[failed, cancelled.clone()]);
    assert_eq!((found.due(), found.skipped), (1, 0));
    let found = population(&[cancelled]);
    assert_eq!((found.due(), found.skipped), (1, 1));
}

#[test]
fn only_a_drill_is_proven() {
    let end = at("2026-11-02T02:00:00Z");
    let run =
        |verdict, exit_code| RunBody::new(asked("x", end), (end, end), verdict, exit_code, "", &[]);
    for (kind, verdict, exit_code, outcome) in [
        (EntryKind::Verify, None, 0, Outcome::Passed),
        (EntryKind::Verify, Some(Verdict::Proven), 0, Outcome::Passed),
        (EntryKind::Verify, None, 1, Outcome::Failed),
        (EntryKind::Replicate, None, 3, Outcome::Unproven),
        (EntryKind::Replicate, None, 130, Outcome::Unproven),
        (EntryKind::Drill, None, 0, Outcome::Unproven),
        (EntryKind::Drill, Some(Verdict::Proven), 0, Outcome::Proven),
        (EntryKind::Drill, Some(Verdict::Failed), 1, Outcome::Failed),
    ] {
        assert_eq!(
            Outcome::of(kind, &run(verdict, exit_code)),
            outcome,
            "{kind} {exit_code}"
        );
    }
}

#[test]
fn findings_are_followed_from_before_the_period_to_its_end() {
    let code = Code::WalGap;
    let (a, b, c) = (Uuid::from_u128(1), Uuid::from_u128(2), Uuid::from_u128(3));
    let verify = |when: &str, opened: &[Uuid], closed: &[Uuid]| {
        let end = at(when);
        let run = RunBody::new(asked("x", end), (end, end), None, 0, "", &[]);
        let body = VerifyBody {
            opened: opened
                .iter()
                .map(|id| OpenedIncident::new(*id, code.as_str(), code.severity(), "=1+1"))
                .collect(),
            closed: closed
                .iter()
                .map(|id| ClosedIncident {
                    id: *id,
                    code: code.as_str().to_owned(),
                    severity: code.severity(),
                    opened_at: at("2026-10-30T00:00:00Z"),
                    opened_by: None,
                })
                .collect(),
            ..VerifyBody::new(run, String::new(), "listed".to_owned())
        };
        entry_of(&Body::Verify(Box::new(body)), end, "orders")
    };
    let entries = chain(&[
        verify("2026-10-30T00:00:00Z", &[a, c], &[]),
        verify("2026-10-31T00:00:00Z", &[], &[c]),
        verify("2026-11-03T00:00:00Z", &[b], &[]),
        verify("2026-11-04T00:00:00Z", &[], &[a]),
        verify("2026-12-02T00:00:00Z", &[], &[b]),
    ]);
    let temporary = tempfile::tempdir().unwrap();
    let exported = export(&temporary.path().join("x"), scope(None), &entries);
    let totals = exported.summary.finding_totals();
    assert_eq!(
        (
            totals.carried,
            totals.opened,
            totals.closed,
            totals.open,
            totals.open_critical
        ),
        (1, 1, 1, 1, 1)
    );
    let table = std::fs::read_to_string(temporary.path().join("x/findings.csv")).unwrap();
    let lines: Vec<&str> = table.split_terminator("\r\n").collect();
    assert_eq!(lines.len(), 3);
    let day = 86_400_000_u64;
    assert!(lines[1].starts_with(&a.to_string()), "{}", lines[1]);
    assert!(lines[1].ends_with(&format!(
        ",2026-10-30T00:00:00.000Z,1,2026-11-04T00:00:00.000Z,4,{}",
        5 * day
    )));
    assert!(lines[1].contains(",\"'=1+1\","));
    assert!(lines[2].starts_with(&b.to_string()));
    assert!(
        lines[2].ends_with(&format!(",2026-11-03T00:00:00.000Z,3,,,{}", 28 * day)),
        "{}",
        lines[2]
    );
}

#[test]
fn clocks_that_go_back_do_not_tear_the_chain() {
    let new = |when: &str| {
        let body = ConfigurationBody::accepted("0".repeat(64), None, &[]);
        NewEntry::new(at(when), &Body::Configuration(Box::new(body))).unwrap()
    };
    let entries = chain(&[
        new("2026-10-30T00:00:00Z"),
        new("2026-11-01T00:00:00Z"),
        new("2026-10-31T23:59:59Z"),
        new("2026-12-01T00:00:01Z"),
        new("2026-11-30T23:59:59Z"),
        new("2026-12-02T00:00:00Z"),
    ]);
    let temporary = tempfile::tempdir().unwrap();
    let exported = export(&temporary.path().join("x"), scope(None), &entries);
    let manifest = exported.manifest.entries;
    assert_eq!((manifest.first, manifest.count), (Some(2), 4));
    assert_eq!(
        manifest.previous.as_deref(),
        Some(entries[0].sha256.as_str())
    );
    assert_eq!(manifest.head.unwrap().sequence, 5);
    assert_eq!(exported.summary.totals().configurations, 2);
    let check = check_file(&temporary.path().join("x").join(ENTRIES_FILE), None, |_| {}).unwrap();
    assert!(check.holds());
    assert_eq!(check.entries, 4);
}

#[test]
fn names_from_outside_stay_names() {
    let hostile = [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "=HYPERLINK(\"http://evil\")",
        "@a,b\nc",
        "\u{202e}gnp.exe",
        "&lt;b&gt;",
    ];
    let end = at("2026-11-02T02:00:00Z");
    let mut new = Vec::new();
    for name in hostile {
        let mut body = drill(
            asked(name, end),
            end,
            Verdict::Failed,
            (Some(1), None),
            (9, 9),
        );
        body.opened.push(OpenedIncident::new(
            Uuid::from_u128(new.len() as u128),
            name,
            crate::finding::Severity::Critical,
            name,
        ));
        new.push(
            NewEntry::new(end, &Body::Drill(Box::new(body)))
                .unwrap()
                .about(name, name),
        );
        new.push(
            NewEntry::new(end, &missed(end, 1, MissedReason::Down))
                .unwrap()
                .about(name, name),
        );
        let body = ConfigurationBody::accepted(name.to_owned(), None, &[name.to_owned()]);
        new.push(NewEntry::new(end, &Body::Configuration(Box::new(body))).unwrap());
    }
    let temporary = tempfile::tempdir().unwrap();
    let directory = temporary.path().join("x");
    let exported = export(&directory, scope(None), &chain(&new));
    assert_eq!(exported.summary.clusters().len(), hostile.len());
    let page = std::fs::read_to_string(directory.join("report.html")).unwrap();
    for markup in [
        "<script",
        "<img",
        "onerror=alert(1)>",
        "\u{202e}",
        "&lt;b&gt;<",
    ] {
        assert!(!page.contains(markup), "{markup}");
    }
    // No network, no script: nothing on the page can load or run anything.
    for word in ["src=", "href=", "url(", "@import", "javascript:"] {
        let ours = page.replace("img src=x", "");
        assert!(!ours.contains(word), "{word}");
    }
    for tag in [
        "table", "tr", "td", "th", "svg", "div", "span", "tbody", "thead", "p", "h2", "h3", "pre",
        "ul", "li", "dl", "dt", "dd", "code",
    ] {
        let opened =
            page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
        assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
    }
    for table in ["population.csv", "objectives.csv", "findings.csv"] {
        let text = std::fs::read_to_string(directory.join(table)).unwrap();
        for cell in [",=", "\r\n=", "\"=", ",@", "\r\n@"] {
            assert!(!text.contains(cell), "{table}: {cell}");
        }
    }
    assert!(exported.directory.starts_with(temporary.path()));
    assert_eq!(
        directory_name(&scope(Some("../../etc"))),
        "walproof-evidence-2026-11-01-2026-12-01-______etc"
    );
}

#[test]
fn an_export_is_written_whole_or_not_at_all_and_never_over_another() {
    let temporary = tempfile::tempdir().unwrap();
    let directory = temporary.path().join("deep/down/month");
    let entries = chain(&entries_of(&[(0, Step::Missed(1))]));
    export(&directory, scope(None), &entries);
    let again = Exporter::begin(&directory, scope(None), Utc::now()).unwrap_err();
    assert!(again.to_string().contains("it exists already"), "{again}");

    // One that is given up leaves nothing; one that a crash left is taken over.
    let other = temporary.path().join("other");
    let mut exporter = Exporter::begin(&other, scope(None), Utc::now()).unwrap();
    exporter.entry(&entries[0]).unwrap();
    let busy = Exporter::begin(&other, scope(None), Utc::now()).unwrap_err();
    assert!(matches!(busy, ExportError::Busy(_)), "{busy}");
    drop(exporter);
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 1);
    let left = temporary.path().join(".other.partial");
    std::fs::create_dir(&left).unwrap();
    std::fs::write(left.join("entries.jsonl"), "half").unwrap();
    export(&other, scope(None), &entries);
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 2);
    assert_eq!(std::fs::read_dir(&other).unwrap().count(), 6);

    // An empty directory may be named; a file, or a period without length, may not.
    let empty = temporary.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    export(&empty, scope(None), &entries);
    let file = temporary.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert!(Exporter::begin(&file, scope(None), Utc::now()).is_err());
    let backwards = Scope {
        to: at("2026-10-01T00:00:00Z"),
        ..scope(None)
    };
    let refused = Exporter::begin(&temporary.path().join("b"), backwards, Utc::now()).unwrap_err();
    assert!(refused.to_string().contains("ends before it begins"));
}

#[test]
fn an_export_of_broken_records_says_where() {
    let temporary = tempfile::tempdir().unwrap();
    let mut entries = chain(&month());
    entries.remove(1500);
    let exported = export(&temporary.path().join("x"), scope(None), &entries);
    let broken = exported.manifest.ledger.first_break.unwrap();
    assert_eq!((broken.kind, broken.sequence), (BreakKind::Gap, 1502));
    let page = std::fs::read_to_string(temporary.path().join("x/report.html")).unwrap();
    assert!(page.contains("records broken"));
    let check = check_file(&temporary.path().join("x").join(ENTRIES_FILE), None, |_| {}).unwrap();
    assert_eq!(check.first_break.unwrap().kind, BreakKind::Gap);
}

#[test]
fn an_empty_period_is_an_export_too() {
    let temporary = tempfile::tempdir().unwrap();
    let exported = export(&temporary.path().join("x"), scope(None), &[]);
    assert_eq!(exported.manifest.entries.count, 0);
    let file = temporary.path().join("x").join(ENTRIES_FILE);
    let check = check_file(&file, None, |_| {}).unwrap();
    assert!(check.holds());
    let page = std::fs::read_to_string(temporary.path().join("x/report.html")).unwrap();
    assert!(page.contains("nothing was proven"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A file, with and without its manifest, and any byte of it changed or cut off.
    #[test]
    fn any_change_of_a_file_is_found(count in 2..8_usize, place in any::<prop::sample::Index>(), change in 0..=255_u8) {
        let temporary = tempfile::tempdir().unwrap();
        let steps: Vec<(usize, Step)> = (0..count).map(|n| (n % 3, Step::Missed(n as u64 + 1))).collect();
        let directory = temporary.path().join("x");
        let exported = export(&directory, scope(None), &chain(&entries_of(&steps)));
        let head = exported.manifest.entries.head.unwrap();
        let file = directory.join(ENTRIES_FILE);
        let untouched = check_file(&file, Some(&head), |_| {}).unwrap();
        prop_assert!(untouched.holds() && untouched.met_head);

        let mut bytes = std::fs::read(&file).unwrap();
        let place = place.index(bytes.len());
        let line = bytes[..place].split(|byte| *byte == b'\n').count() - 1;
        if change == 0 {
            bytes.truncate(place);
        } else {
            bytes[place] ^= change;
        }
        std::fs::write(&file, &bytes).unwrap();
        let with_manifest = check_file(&file, None, |_| {}).unwrap();
        prop_assert!(!with_manifest.holds());
        prop_assert_eq!(&with_manifest.differing_files, &[ENTRIES_FILE.to_owned()]);
        let broken = with_manifest.first_break.expect("a link or the head shows it");
        prop_assert!(with_manifest.entries <= line as u64 + 1, "{:?}", broken);

        std::fs::remove_file(directory.join(MANIFEST_FILE)).unwrap();
        let with_head = check_file(&file, Some(&head), |_| {}).unwrap();
        prop_assert!(!with_head.holds(), "{:?}", with_head);
    }
}
