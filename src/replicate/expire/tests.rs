//! What goes and what stays, both ways, and every plan against a naive look at what remains.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{Duration, Utc};
use proptest::prelude::*;

use super::decide::{Marks, PlannedBackup, Reason, decide};
use super::judge::Usability;
use super::policy::ExpirePolicy;
use super::remaining::{objection, remaining};
use super::wal_cut::WalCut;
use crate::finding::Severity;
use crate::postgres::{Lsn, SegmentNumber, SegmentSize, TimelineId};
use crate::repository::{BackupMethod, BackupStatus, Catalog, Keep};
use crate::verify::listed::Survey;
use crate::verify::testing::{CatalogBuilder, backup, now, options};

const DAY: i64 = 24;

fn policy(days: u64, minimum: u32) -> ExpirePolicy {
    ExpirePolicy {
        keep: crate::config::Period::from_secs(days * 86_400).unwrap(),
        minimum_redundancy: minimum,
    }
}

/// Usable is what names and sizes say.
fn usability(catalog: &Catalog) -> Usability {
    Survey::of(catalog, &options())
        .backups
        .iter()
        .map(|found| (found.id.clone(), found.reasons.first().cloned()))
        .collect()
}

fn plan_with(
    catalog: &Catalog,
    policy: ExpirePolicy,
    marks: &Marks,
) -> (Vec<PlannedBackup>, WalCut) {
    let usability = usability(catalog);
    let ages = (now(), Duration::hours(24));
    let planned = decide(catalog, &usability, marks, &policy, ages);
    let cut = WalCut::of(catalog, &planned);
    (planned, cut)
}

fn plan(catalog: &Catalog, policy: ExpirePolicy) -> (Vec<PlannedBackup>, WalCut) {
    plan_with(catalog, policy, &Marks::default())
}

fn reasons(planned: &[PlannedBackup]) -> Vec<(&str, Reason)> {
    planned
        .iter()
        .map(|one| (one.id.as_str(), one.reason))
        .collect()
}

/// A backup every ten days, the oldest 50 days ago, and all WAL.
fn decades() -> CatalogBuilder {
    CatalogBuilder::new()
        .segments(1, 1..=60)
        .backup(backup("a50", 1, 5, 6, 50 * DAY))
        .backup(backup("b40", 1, 15, 16, 40 * DAY))
        .backup(backup("c30", 1, 25, 26, 30 * DAY))
        .backup(backup("d20", 1, 35, 36, 20 * DAY))
        .backup(backup("e10", 1, 45, 46, 10 * DAY))
}

fn change(
    catalog: CatalogBuilder,
    id: &str,
    change: impl Fn(&mut crate::repository::BaseBackup),
) -> CatalogBuilder {
    catalog.with(|catalog| {
        let found = catalog.backups.iter_mut().find(|backup| backup.id == id);
        change(found.unwrap());
    })
}

#[test]
fn the_newest_backup_before_the_window_stays_and_what_is_older_goes() {
    let catalog = decades().build();
    let (planned, cut) = plan(&catalog, policy(25, 1));
    assert_eq!(
        reasons(&planned),
        [
            ("a50", Reason::Obsolete),
            ("b40", Reason::Obsolete),
            ("c30", Reason::GivesWindow),
            ("d20", Reason::WithinWindow),
            ("e10", Reason::WithinWindow),
        ]
    );
    assert_eq!(cut.before, Some(SegmentNumber(25)));
    assert!(cut.takes(SegmentNumber(24)) && !cut.takes(SegmentNumber(25)));
    assert_eq!(objection(&catalog, &planned, &cut, &options()), None);
}

#[test]
fn nothing_goes_while_everything_is_needed() {
    for days in [50, 60, 3_650] {
        let catalog = decades().build();
        let (planned, cut) = plan(&catalog, policy(days, 1));
        assert!(planned.iter().all(|one| one.stays), "{days}");
        assert_eq!(cut.before, Some(SegmentNumber(5)));
    }
}

#[test]
fn a_backup_that_ends_just_within_the_window_does_not_give_it() {
    // It ends a minute after it began, and a moment before its end cannot be had from it.
    let exact = backup("c30", 1, 25, 26, 30 * DAY).end_time.unwrap();
    let seconds = (now() - exact).num_seconds();
    let keep = |seconds: i64| ExpirePolicy {
        keep: crate::config::Period::from_secs(u64::try_from(seconds).unwrap()).unwrap(),
        minimum_redundancy: 1,
    };
    let catalog = decades().build();
    let (planned, _) = plan(&catalog, keep(seconds));
    assert_eq!(planned[2].reason, Reason::GivesWindow);
    assert_eq!(planned[1].reason, Reason::Obsolete);
    let (planned, _) = plan(&catalog, keep(seconds + 1));
    assert_eq!(planned[2].reason, Reason::WithinWindow);
    assert_eq!(planned[1].reason, Reason::GivesWindow);
}

#[test]
fn one_that_cannot_be_used_gives_nothing() {
    // c30 would be the one; its WAL has a hole.
    let catalog = CatalogBuilder::new()
        .segments(1, 1..=25)
        .segments(1, 27..=60)
        .with(|catalog| catalog.backups = decades().build().backups)
        .build();
    let (planned, cut) = plan(&catalog, policy(25, 1));
    assert_eq!(planned[1].reason, Reason::GivesWindow);
    assert_eq!(planned[2].reason, Reason::NotReplaced);
    assert!(planned[2].trouble.as_deref().unwrap().contains("WAL"));
    assert_eq!(cut.before, Some(SegmentNumber(15)));
    assert_eq!(objection(&catalog, &planned, &cut, &options()), None);
}

#[test]
fn minimum_redundancy_keeps_the_newest_usable_ones() {
    let catalog = decades().build();
    let (planned, cut) = plan(&catalog, policy(1, 4));
    assert_eq!(
        reasons(&planned),
        [
            ("a50", Reason::Obsolete),
            ("b40", Reason::MinimumRedundancy),
            ("c30", Reason::MinimumRedundancy),
            ("d20", Reason::MinimumRedundancy),
            ("e10", Reason::GivesWindow),
        ]
    );
    assert_eq!(cut.before, Some(SegmentNumber(15)));
    // One that cannot be used does not count.
    let failed = change(decades(), "c30", |backup| {
        backup.status = BackupStatus::Failed;
    })
    .build();
    let (planned, _) = plan(&failed, policy(1, 4));
    assert_eq!(planned[0].reason, Reason::MinimumRedundancy);
    assert_eq!(planned[2].reason, Reason::Unusable);
    // Nor one that is kept standalone.
    let standalone = change(decades(), "e10", |backup| {
        backup.keep = Some(Keep::Standalone);
    })
    .build();
    let (planned, _) = plan(&standalone, policy(1, 4));
    assert!(planned.iter().all(|one| one.stays));
}

#[test]
fn annotated_backups_stay_with_the_wal_that_they_mean() {
    let full = change(decades(), "a50", |backup| backup.keep = Some(Keep::Full)).build();
    let (planned, cut) = plan(&full, policy(25, 1));
    assert_eq!(planned[0].reason, Reason::KeptFull);
    assert_eq!(planned[1].reason, Reason::Obsolete);
    assert_eq!(cut.before, Some(SegmentNumber(5)));

    let standalone = change(decades(), "a50", |backup| {
        backup.keep = Some(Keep::Standalone);
    })
    .build();
    let (planned, cut) = plan(&standalone, policy(25, 1));
    assert_eq!(planned[0].reason, Reason::KeptStandalone);
    assert_eq!(cut.before, Some(SegmentNumber(25)));
    let stays: Vec<u64> = (1..25).filter(|n| !cut.takes(SegmentNumber(*n))).collect();
    assert_eq!(stays, [5, 6]);
    assert_eq!(objection(&standalone, &planned, &cut, &options()), None);
    let left = remaining(&standalone, &planned, &cut);
    let runs: Vec<(u64, u64)> = left.wal.timelines[&TimelineId(1)]
        .runs
        .iter()
        .map(|run| (run.first.0, run.last.0))
        .collect();
    assert_eq!(runs, [(5, 6), (25, 60)]);

    let marks = Marks {
        annotated: BTreeSet::from(["a50".to_owned()]),
        begun: BTreeSet::new(),
    };
    let (planned, cut) = plan_with(&decades().build(), policy(25, 1), &marks);
    assert_eq!(planned[0].reason, Reason::AnnotationUnknown);
    assert_eq!(cut.before, Some(SegmentNumber(5)));
}

#[test]
fn a_standalone_backup_does_not_give_the_window() {
    let catalog = change(decades(), "c30", |backup| {
        backup.keep = Some(Keep::Standalone);
    })
    .build();
    let (planned, cut) = plan(&catalog, policy(25, 1));
    assert_eq!(planned[1].reason, Reason::GivesWindow);
    assert_eq!(cut.before, Some(SegmentNumber(15)));
}

#[test]
fn a_running_backup_stays_and_a_dead_one_goes() {
    let started = |hours: i64| {
        let mut started = backup("s", 1, 50, 50, hours);
        started.status = BackupStatus::Started;
        started.end_time = None;
        started.end_lsn = None;
        decades().backup(started).build()
    };
    // Within the limit of 24 hours, though older than what is kept.
    let keep = ExpirePolicy {
        keep: "2h".parse().unwrap(),
        minimum_redundancy: 1,
    };
    let (planned, cut) = plan(&started(5), keep);
    assert_eq!(reasons(&planned)[5], ("s", Reason::Young));
    assert_eq!(cut.before, Some(SegmentNumber(45)));
    // Dead, but nothing newer has come.
    let (planned, _) = plan(&started(30), keep);
    assert_eq!(reasons(&planned)[5], ("s", Reason::NotReplaced));
    let (planned, _) = plan(&started(12 * DAY), keep);
    assert_eq!(reasons(&planned)[4], ("s", Reason::Unusable));
}

#[test]
fn what_is_on_its_way_here_stops_the_wal_from_going_until_there_is_an_anchor() {
    let coming = || {
        let mut coming = backup("x", 1, 2, 2, 1);
        coming.status = BackupStatus::Unknown;
        (coming.begin_time, coming.end_time) = (None, None);
        (coming.begin_lsn, coming.end_lsn, coming.timeline) = (None, None, None);
        coming
    };
    let catalog = decades().backup(coming()).build();
    let (planned, cut) = plan(&catalog, policy(60, 1));
    assert_eq!(planned[5].reason, Reason::WithinWindow);
    assert_eq!(cut.before, None);
    assert!(cut.stays_because.unwrap().contains("backup x"));
    let (planned, cut) = plan(&catalog, policy(25, 1));
    assert_eq!(planned[5].reason, Reason::WithinWindow);
    assert_eq!(cut.before, Some(SegmentNumber(25)));
    // Stored long ago, it was never finished.
    let mut old = coming();
    old.archives[0].last_modified = now() - Duration::days(45);
    let (planned, _) = plan(&decades().backup(old).build(), policy(25, 1));
    assert_eq!(reasons(&planned)[1], ("x", Reason::Unusable));
    // And what an earlier run began to remove goes at once.
    let marks = Marks {
        annotated: BTreeSet::new(),
        begun: BTreeSet::from(["x".to_owned()]),
    };
    let (planned, _) = plan_with(&catalog, policy(60, 1), &marks);
    assert_eq!(planned[5].reason, Reason::Begun);
    // Without any object nothing tells its age.
    let mut bare = coming();
    bare.archives.clear();
    let (planned, _) = plan(&decades().backup(bare).build(), policy(25, 1));
    let bare = planned.iter().find(|one| one.id == "x").unwrap();
    assert_eq!(bare.reason, Reason::AgeUnknown);
}

#[test]
fn no_usable_backup_is_an_objection() {
    let failed = decades()
        .with(|catalog| {
            for backup in &mut catalog.backups {
                backup.status = BackupStatus::Failed;
            }
        })
        .build();
    let (planned, cut) = plan(&failed, policy(25, 1));
    let words = objection(&failed, &planned, &cut, &options()).unwrap();
    assert!(words.contains("no usable base backup"), "{words}");
    let snapshots = decades()
        .with(|catalog| {
            for backup in &mut catalog.backups {
                backup.method = BackupMethod::Snapshot;
            }
        })
        .build();
    let (planned, cut) = plan(&snapshots, policy(25, 1));
    assert!(objection(&snapshots, &planned, &cut, &options()).is_some());
}

#[test]
fn a_plan_that_would_break_what_stays_is_objected_to() {
    // As if the cut had been computed wrongly.
    let catalog = decades().build();
    let (planned, _) = plan(&catalog, policy(25, 1));
    let wrong = WalCut {
        before: Some(SegmentNumber(26)),
        ..WalCut::default()
    };
    let words = objection(&catalog, &planned, &wrong, &options()).unwrap();
    assert!(words.contains("c30"), "{words}");
}

#[test]
fn wal_of_other_timelines_goes_by_its_number() {
    let catalog = CatalogBuilder::new()
        .segments(1, 1..=40)
        .segments(2, 31..=60)
        .history(2, &[(1, 31, 0x148)])
        .partial(1, 31)
        .backup(backup("a50", 1, 5, 6, 50 * DAY))
        .backup(backup("c30", 1, 25, 26, 30 * DAY))
        .backup(backup("d20", 2, 35, 36, 20 * DAY))
        .backup(backup("e10", 2, 45, 46, 10 * DAY))
        .build();
    let (planned, cut) = plan(&catalog, policy(15, 1));
    assert_eq!(planned[2].reason, Reason::GivesWindow);
    assert_eq!(cut.before, Some(SegmentNumber(35)));
    assert_eq!(objection(&catalog, &planned, &cut, &options()), None);
    let name = |text: &str| text.parse::<crate::postgres::WalFileName>().unwrap();
    for (file, goes) in [
        ("000000010000000000000022", true),
        ("000000010000000000000023", false),
        ("000000020000000000000022", true),
        ("000000020000000000000023", false),
        ("00000001000000000000001F.partial", true),
        ("000000010000000000000019.00000028.backup", true),
        ("000000020000000000000023.00000028.backup", false),
        ("00000002.history", false),
        // No segment of 16 MiB has this name.
        ("000000010000000000000A22", false),
    ] {
        let taken = cut.takes_file(&catalog, name(file));
        assert_eq!(taken.is_some(), goes, "{file}");
    }
}

#[test]
fn another_segment_size_stops_the_wal_from_going() {
    let catalog = change(decades(), "d20", |backup| {
        backup.segment_size = SegmentSize::new(64 << 20).unwrap();
    })
    .build();
    let (_, cut) = plan(&catalog, policy(25, 1));
    assert_eq!(cut.before, None);
    assert!(cut.stays_because.unwrap().contains("d20"));
}

#[test]
fn remembered_damage_makes_a_backup_unusable() {
    use crate::finding::{Code, Finding};
    use crate::storage::Store;
    let directory = tempfile::tempdir().unwrap();
    let location = format!("file://{}", directory.path().display());
    let store = Store::open(
        &location.parse().unwrap(),
        &crate::storage::StorageOptions::default(),
    )
    .unwrap();
    let repository = crate::repository::open(store);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let catalog = decades().build();
    let mut report = runtime
        .block_on(crate::verify::verify(&repository, &options()))
        .unwrap();
    report.findings.clear();
    report.backups = catalog.backups.iter().map(told).collect();
    let judged =
        |findings: &[Finding]| super::judge::judge(&repository, &catalog, &report, findings);
    assert!(judged(&[]).values().all(Option::is_none));
    for (object, damaged) in [
        ("base/c30/data.tar", Some("c30")),
        ("base/c30/backup.info", Some("c30")),
        (
            "wals/0000000100000000/00000001000000000000001A.gz",
            Some("c30"),
        ),
        ("wals/0000000100000000/00000001000000000000001B.gz", None),
        ("base/other/data.tar", None),
    ] {
        let finding = Finding::new(Code::WalCorrupt, object, "x");
        let found = judged(std::slice::from_ref(&finding));
        let unusable: Vec<&str> = found
            .iter()
            .filter(|(_, trouble)| trouble.is_some())
            .map(|(id, _)| id.as_str())
            .collect();
        assert_eq!(
            unusable,
            damaged.into_iter().collect::<Vec<_>>(),
            "{object}"
        );
        let mild = finding.with_severity(Severity::Warning);
        assert!(judged(&[mild]).values().all(Option::is_none));
    }
}

fn told(backup: &crate::repository::BaseBackup) -> crate::verify::BackupReport {
    crate::verify::BackupReport {
        id: backup.id.clone(),
        name: None,
        status: backup.status.clone(),
        method: backup.method,
        usable: true,
        reasons: Vec::new(),
        timeline: backup.timeline,
        begin_lsn: backup.begin_lsn,
        end_lsn: backup.end_lsn,
        begin_time: backup.begin_time,
        end_time: backup.end_time,
        stored_bytes: 0,
        archives: 1,
        keep: None,
        server_version: None,
        depth: crate::verify::Depth::Listed,
    }
}

prop_compose! {
    /// Backups in any state over a WAL that may have holes.
    fn any_catalog()(
        backups in prop::collection::vec((2u64..90, 0u64..3, 0u8..8, 0u8..10), 1..9),
        holes in prop::collection::vec(1u64..100, 0..4),
        switch in prop::option::of(20u64..90),
    ) -> Catalog {
        let mut builder = CatalogBuilder::new();
        let mut from = 1;
        let mut holes = holes;
        holes.sort_unstable();
        let end = switch.unwrap_or(100);
        for hole in holes.iter().filter(|hole| **hole < end) {
            if from < *hole {
                builder = builder.segments(1, from..=hole - 1);
            }
            from = hole + 1;
        }
        if from <= end {
            builder = builder.segments(1, from..=end);
        }
        if let Some(switch) = switch {
            builder = builder.segments(2, switch..=100).history(2, &[(1, switch, 0x148)]);
        }
        let mut backups = backups;
        backups.sort_unstable();
        backups.dedup_by_key(|backup| backup.0);
        for (first, length, state, keep) in backups {
            let timeline = if switch.is_some_and(|switch| first > switch) { 2 } else { 1 };
            let hours = i64::try_from(100 - first).unwrap() * 12;
            let mut one = backup(&format!("b{first:03}"), timeline, first, first + length, hours);
            match state {
                0 => one.status = BackupStatus::Failed,
                1 => one.status = BackupStatus::Started,
                2 => one.archives.clear(),
                3 => one.end_time = None,
                _ => {}
            }
            one.keep = match keep {
                0 => Some(Keep::Full),
                1 => Some(Keep::Standalone),
                _ => None,
            };
            builder = builder.backup(one);
        }
        builder.build()
    }
}

/// The moments of a catalog that can be recovered to, by brute force: for every segment and
/// moment, whether some usable backup leads there without a hole.
fn reachable(catalog: &Catalog) -> BTreeMap<String, (Lsn, u64)> {
    let survey = Survey::of(catalog, &options());
    survey
        .usable(catalog)
        .filter_map(|backup| {
            let chain = survey
                .chains
                .iter()
                .find(|chain| chain.backup_id == backup.id)?;
            Some((backup.id.clone(), (backup.end_lsn?, chain.end.0)))
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn what_is_kept_stays_recoverable(catalog in any_catalog(), days in 1u64..60, minimum in 1u32..5) {
        let policy = policy(days, minimum);
        let (planned, cut) = plan(&catalog, policy);
        let since = policy.since(now());
        let before = reachable(&catalog);
        if planned.iter().any(|one| one.stays && one.usable && one.keep != Some(Keep::Standalone)) {
            prop_assert_eq!(objection(&catalog, &planned, &cut, &options()), None);
        }
        let left = remaining(&catalog, &planned, &cut);
        let after = reachable(&left);
        for one in &planned {
            prop_assert_eq!(one.stays, left.backup(&one.id).is_some());
            if one.keep.is_some() {
                prop_assert!(one.stays, "{} is annotated", one.id);
            }
            // From whatever stays one comes as far as before; standalone ones at least to
            // where they are consistent.
            match (one.stays, before.get(&one.id), after.get(&one.id)) {
                (true, Some(before), Some(after)) if one.keep != Some(Keep::Standalone) => {
                    prop_assert_eq!(before, after);
                }
                (true, Some(_), None) => prop_assert!(false, "{} was usable", one.id),
                _ => {}
            }
        }
        // Every moment that was reachable within the window still is: the newest usable
        // backup that ended before it is the same one.
        let best = |at: chrono::DateTime<Utc>, catalog: &Catalog, usable: &BTreeMap<String, (Lsn, u64)>| {
            catalog
                .backups
                .iter()
                .filter(|backup| usable.contains_key(&backup.id))
                .filter(|backup| backup.keep != Some(Keep::Standalone))
                .filter(|backup| backup.end_time.is_some_and(|end| end <= at))
                .max_by_key(|backup| backup.end_time)
                .map(|backup| backup.id.clone())
        };
        let mut at = since;
        while at <= now() {
            prop_assert_eq!(best(at, &catalog, &before), best(at, &left, &after), "{}", at);
            at += Duration::hours(6);
        }
        // Enough of them, if there were enough.
        let solid = |catalog: &Catalog, usable: &BTreeMap<String, (Lsn, u64)>| {
            catalog
                .backups
                .iter()
                .filter(|backup| usable.contains_key(&backup.id))
                .filter(|backup| backup.keep != Some(Keep::Standalone))
                .count()
        };
        let wanted = usize::try_from(minimum).unwrap().min(solid(&catalog, &before));
        prop_assert!(solid(&left, &after) >= wanted);
    }
}
