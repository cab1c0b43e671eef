//! Every finding at depth `listed`, both ways, and the chain against a naive model.

use chrono::Duration;
use proptest::prelude::*;

use super::chain::ChainStop;
use super::listed::Survey;
use super::testing::*;
use super::timelines::TimelineRole;
use super::{VerifyOptions, wal};
use crate::codec::Codec;
use crate::finding::{Code, Finding, Severity};
use crate::postgres::{SegmentNumber, SegmentSize, SystemId, TimelineId};
use crate::repository::{
    ArchiveContents, BackupMethod, BackupStatus, BaseBackup, Catalog, DuplicateSegment, Keep,
    OddSegment,
};

/// Two backups and contiguous WAL on timeline 1.
fn healthy() -> CatalogBuilder {
    CatalogBuilder::new()
        .segments(1, 1..=20)
        .backup(backup("20261119T120000", 1, 3, 3, 48))
        .backup(backup("20261120T120000", 1, 9, 10, 24))
}

fn look(catalog: &Catalog) -> (Survey, Vec<Finding>) {
    look_with(catalog, &options())
}

fn look_with(catalog: &Catalog, options: &VerifyOptions) -> (Survey, Vec<Finding>) {
    let survey = Survey::of(catalog, options);
    let mut findings = survey.findings.clone();
    for hole in &survey.holes {
        findings.extend(wal::hole_findings(survey.way(catalog), hole));
    }
    (survey, super::report::settle(findings))
}

/// The findings of the healthy catalog after a change to its newest backup.
fn with_newest(change: impl FnOnce(&mut BaseBackup)) -> (Survey, Vec<Finding>) {
    look(
        &healthy()
            .with(|catalog| change(catalog.backups.last_mut().unwrap()))
            .build(),
    )
}

fn only(findings: &[Finding]) -> &Finding {
    assert_eq!(findings.len(), 1, "{findings:#?}");
    &findings[0]
}

#[test]
fn a_healthy_repository_has_no_finding() {
    let (survey, findings) = look(&healthy().build());
    assert_eq!(findings, []);
    assert_eq!(survey.chains.len(), 2);
    for chain in &survey.chains {
        assert_eq!(chain.end, SegmentNumber(20));
        assert_eq!(chain.stopped_by, ChainStop::ArchiveEnd);
    }
}

#[test]
fn a_normal_failover_has_no_finding() {
    // The old primary left its last segment as .partial, the new one, and one in full.
    for remains in [9, 10, 11] {
        let catalog = CatalogBuilder::new()
            .segments(1, 1..=remains)
            .partial(1, 10)
            .segments(2, 10..=20)
            .history(2, &[(1, 10, 0x148)])
            .backup(backup("20261119T120000", 1, 3, 3, 48))
            .backup(backup("20261120T120000", 2, 12, 12, 24))
            .build();
        let (survey, findings) = look(&catalog);
        assert_eq!(findings, [], "parent up to {remains}");
        let chain = &survey.chains[0];
        assert_eq!(
            chain.segments,
            [
                (TimelineId(1), SegmentNumber(3), SegmentNumber(9)),
                (TimelineId(2), SegmentNumber(10), SegmentNumber(20))
            ]
        );
        assert_eq!(survey.timelines.current.timeline, TimelineId(2));
        assert_eq!(survey.timelines.all[0].role, TimelineRole::Ancestor);
    }
}

#[test]
fn a_switch_on_a_segment_border_needs_the_parents_last_segment() {
    let at = |parent_end: u64| {
        CatalogBuilder::new()
            .segments(1, 1..=parent_end)
            .segments(2, 10..=20)
            .history(2, &[(1, 10, 0)])
            .backup(backup("20261119T120000", 1, 3, 3, 48))
            .build()
    };
    assert_eq!(look(&at(9)).1, []);
    let (_, findings) = look(&at(8));
    let gap = only(&findings);
    assert_eq!(
        (gap.code, gap.object.as_str()),
        (Code::WalGap, "000000010000000000000009")
    );
    assert!(gap.message.contains("before the switch"), "{}", gap.message);
}

#[test]
fn a_switch_without_wal_on_the_child_yet_is_healthy() {
    let catalog = CatalogBuilder::new()
        .segments(1, 1..=9)
        .partial(1, 10)
        .history(2, &[(1, 10, 0x148)])
        .backup(backup("20261119T120000", 1, 3, 3, 48))
        .build();
    let (survey, findings) = look(&catalog);
    assert_eq!(findings, []);
    assert_eq!(survey.chains[0].end, SegmentNumber(9));
    assert_eq!(survey.chains[0].stopped_by, ChainStop::ArchiveEnd);
}

#[test]
fn a_history_file_alone_does_not_speak_for_its_timeline() {
    // Production goes on on timeline 1; somebody's copy left a history file.
    let orphan = || {
        CatalogBuilder::new()
            .segments(1, 1..=20)
            .history(2, &[(1, 10, 0x148)])
            .backup(backup("20261119T120000", 1, 3, 3, 48))
    };
    let (survey, findings) = look(&orphan().build());
    assert_eq!(survey.timelines.contested_by, Some(TimelineId(1)));
    let side = only(&findings);
    assert_eq!(
        (side.code, side.severity),
        (Code::TimelineAbandoned, Severity::Warning)
    );
    // WAL or a backup of its own speaks for it, and so does the parent's silence.
    for catalog in [
        orphan().segments(2, 10..=10).build(),
        orphan()
            .backup(backup("20261121T110000", 2, 10, 10, 1))
            .build(),
        CatalogBuilder::new()
            .segments(1, 1..=11)
            .history(2, &[(1, 10, 0x148)])
            .backup(backup("20261119T120000", 1, 3, 3, 48))
            .build(),
    ] {
        assert_eq!(
            Survey::of(&catalog, &options()).timelines.contested_by,
            None
        );
    }
}

#[test]
fn what_the_old_primary_never_archived_is_a_gap_although_nothing_follows() {
    let catalog = CatalogBuilder::new()
        .segments(1, 1..=7)
        .history(2, &[(1, 10, 0x148)])
        .backup(backup("20261119T120000", 1, 3, 3, 48))
        .build();
    let (survey, findings) = look(&catalog);
    let gap = only(&findings);
    assert_eq!(gap.code, Code::WalGap);
    assert!(
        gap.message
            .contains("000000010000000000000008 to 000000010000000000000009")
    );
    assert!(matches!(
        survey.chains[0].stopped_by,
        ChainStop::Hole { .. }
    ));
}

#[test]
fn the_childs_first_segment_missing_is_a_gap_at_the_switch() {
    let catalog = CatalogBuilder::new()
        .segments(1, 1..=10)
        .segments(2, 11..=20)
        .history(2, &[(1, 10, 0x148)])
        .backup(backup("20261119T120000", 1, 3, 3, 48))
        .build();
    let (_, findings) = look(&catalog);
    let gap = only(&findings);
    assert_eq!(gap.object, "00000002000000000000000A");
    assert!(
        gap.message.contains("switch to timeline 2"),
        "{}",
        gap.message
    );
}

#[test]
fn a_gap_is_named_with_its_range() {
    let catalog = CatalogBuilder::new()
        .segments(1, 1..=11)
        .segments(1, 14..=20)
        .backup(backup("20261119T120000", 1, 3, 3, 48))
        .build();
    let (survey, findings) = look(&catalog);
    let gap = only(&findings);
    assert_eq!((gap.code, gap.severity), (Code::WalGap, Severity::Critical));
    assert_eq!(gap.object, "00000001000000000000000C");
    let range = gap.wal.unwrap();
    assert_eq!((range.begin, range.end), (lsn(12, 0), lsn(14, 0)));
    assert_eq!(
        survey.chains[0].stopped_by,
        ChainStop::Hole {
            first: SegmentNumber(12),
            last: SegmentNumber(13)
        }
    );
}

#[test]
fn a_gap_before_the_oldest_usable_backup_is_expired_wal() {
    let catalog = CatalogBuilder::new()
        .segments(1, 1..=4)
        .segments(1, 9..=20)
        .backup(backup("20261120T120000", 1, 9, 10, 24))
        .build();
    assert_eq!(look(&catalog).1, []);
}

#[test]
fn wal_after_a_standalone_backup_is_deleted_on_purpose() {
    let with_keep = |keep| {
        CatalogBuilder::new()
            .segments(1, 3..=3)
            .segments(1, 9..=20)
            .backup(BaseBackup {
                keep,
                ..backup("20261119T120000", 1, 3, 3, 48)
            })
            .backup(backup("20261120T120000", 1, 9, 10, 24))
            .build()
    };
    assert_eq!(look(&with_keep(Some(Keep::Standalone))).1, []);
    let full = look(&with_keep(Some(Keep::Full))).1;
    assert_eq!(codes(&full), [Code::WalGap]);
}

#[test]
fn a_gap_on_a_side_branch_is_no_alarm() {
    let catalog = CatalogBuilder::new()
        .segments(1, 1..=12)
        .segments(1, 15..=18)
        .segments(2, 10..=20)
        .history(2, &[(1, 10, 0x148)])
        .backup(backup("20261119T120000", 1, 3, 3, 48))
        .build();
    let (_, findings) = look(&catalog);
    let side = only(&findings);
    assert_eq!(
        (side.code, side.severity),
        (Code::TimelineAbandoned, Severity::Info)
    );
    assert_eq!(side.object, "000000010000000000000012");
}

#[test]
fn a_side_branch_that_is_written_last_is_a_warning() {
    let catalog = CatalogBuilder::new()
        .segments(1, 1..=18)
        .segments(2, 10..=20)
        .history(2, &[(1, 10, 0x148)])
        .backup(backup("20261119T120000", 1, 3, 3, 48))
        .with(|catalog| {
            let parent = catalog.wal.timelines.get_mut(&TimelineId(1)).unwrap();
            parent.newest_stored = Some(now());
        })
        .build();
    let (_, findings) = look(&catalog);
    let side = only(&findings);
    assert_eq!(
        (side.code, side.severity),
        (Code::TimelineAbandoned, Severity::Warning)
    );
}

#[test]
fn a_lost_history_file_is_named_and_its_timeline_not_followed() {
    let catalog = CatalogBuilder::new()
        .segments(1, 1..=9)
        .segments(2, 10..=20)
        .backup(backup("20261119T120000", 1, 3, 3, 48))
        .backup(backup("20261120T120000", 2, 12, 12, 24))
        .build();
    let (survey, findings) = look(&catalog);
    let missing = only(&findings);
    assert_eq!(
        (missing.code, missing.object.as_str(), missing.severity),
        (Code::HistoryMissing, "00000002.history", Severity::Critical)
    );
    assert_eq!(survey.timelines.current.timeline, TimelineId(1));
    assert_eq!(
        survey.chains[0].stopped_by,
        ChainStop::MissingHistory(TimelineId(2))
    );
    assert!(!survey.backups[1].usable);
    assert!(survey.backups[1].reasons[0].contains("history file"));
}

#[test]
fn an_ancestors_lost_history_matters_while_an_older_backup_needs_it() {
    let with_oldest = |timeline, first| {
        CatalogBuilder::new()
            .segments(1, 1..=9)
            .segments(2, 10..=14)
            .segments(3, 15..=20)
            .history(3, &[(1, 10, 0x148), (2, 15, 0x148)])
            .backup(backup("20261119T120000", timeline, first, first, 48))
            .build()
    };
    let (_, findings) = look(&with_oldest(1, 3));
    let missing = only(&findings);
    assert_eq!(
        (missing.code, missing.object.as_str()),
        (Code::HistoryMissing, "00000002.history")
    );
    assert!(
        missing
            .consequence
            .contains("recovery_target_timeline = '3'")
    );
    assert_eq!(look(&with_oldest(2, 12)).1, []);
}

#[test]
fn a_skipped_timeline_number_is_a_warning() {
    let catalog = CatalogBuilder::new()
        .segments(1, 1..=9)
        .segments(3, 10..=20)
        .history(3, &[(1, 10, 0x148)])
        .backup(backup("20261119T120000", 1, 3, 3, 48))
        .build();
    let (_, findings) = look(&catalog);
    let missing = only(&findings);
    assert_eq!(
        (missing.code, missing.object.as_str(), missing.severity),
        (Code::HistoryMissing, "00000002.history", Severity::Warning)
    );
}

#[test]
fn an_unreadable_history_is_named_by_its_key() {
    let catalog = CatalogBuilder::new()
        .segments(1, 1..=9)
        .segments(2, 10..=20)
        .history(2, &[(1, 10, 0x148)])
        .backup(backup("20261119T120000", 1, 3, 3, 48))
        .with(|catalog| {
            let object = catalog.wal.histories.get_mut(&TimelineId(2)).unwrap();
            object.history = Err("not UTF-8 text".to_owned());
        })
        .build();
    let (survey, findings) = look(&catalog);
    let unreadable = only(&findings);
    assert_eq!(
        (unreadable.code, unreadable.object.as_str()),
        (Code::HistoryUnreadable, "wals/00000002.history")
    );
    assert_eq!(
        survey.chains[0].stopped_by,
        ChainStop::MissingHistory(TimelineId(2))
    );
}

#[test]
fn histories_that_contradict_each_other_or_the_segments() {
    let catalog = CatalogBuilder::new()
        .segments(1, 1..=9)
        .segments(2, 10..=14)
        .segments(3, 15..=20)
        .history(2, &[(1, 10, 0x148)])
        .history(3, &[(1, 11, 0x148), (2, 15, 0x148)])
        .backup(backup("20261119T120000", 1, 3, 3, 48))
        .build();
    let (survey, findings) = look(&catalog);
    assert_eq!(codes(&findings), [Code::HistoryContradictory]);
    assert_eq!(findings[0].object, "wals/00000003.history");
    assert_eq!(survey.timelines.current.timeline, TimelineId(2));

    let catalog = CatalogBuilder::new()
        .segments(1, 1..=9)
        .segments(2, 8..=20)
        .history(2, &[(1, 10, 0x148)])
        .backup(backup("20261119T120000", 1, 3, 3, 48))
        .build();
    let (_, findings) = look(&catalog);
    let contradiction = only(&findings);
    assert_eq!(contradiction.code, Code::HistoryContradictory);
    assert!(contradiction.message.contains("000000020000000000000008"));
}

#[test]
fn backups_past_the_switch_are_not_usable() {
    let catalog = CatalogBuilder::new()
        .segments(1, 1..=11)
        .segments(2, 10..=20)
        .history(2, &[(1, 10, 0x148)])
        .backup(backup("20261119T120000", 1, 3, 3, 48))
        .backup(backup("20261120T120000", 1, 9, 11, 24))
        .build();
    let (survey, findings) = look(&catalog);
    let abandoned = only(&findings);
    assert_eq!(
        (
            abandoned.code,
            abandoned.object.as_str(),
            abandoned.severity
        ),
        (Code::BackupAbandoned, "20261120T120000", Severity::Info)
    );
    assert!(survey.backups[0].usable && !survey.backups[1].usable);
}

#[test]
fn a_backup_of_another_branch_is_not_usable() {
    let catalog = CatalogBuilder::new()
        .segments(1, 1..=12)
        .segments(2, 10..=13)
        .segments(3, 11..=20)
        .history(2, &[(1, 10, 0x148)])
        .history(3, &[(1, 11, 0x148)])
        .backup(backup("20261119T120000", 1, 3, 3, 48))
        .backup(backup("20261120T120000", 2, 11, 11, 24))
        .build();
    let (survey, findings) = look(&catalog);
    assert_eq!(
        codes(&findings),
        [Code::BackupAbandoned, Code::TimelineAbandoned]
    );
    assert!(survey.backups[1].reasons[0].contains("does not lead to the current timeline 3"));
}

#[test]
fn failed_and_unfinished_backups() {
    let (survey, findings) = with_newest(|backup| {
        backup.status = BackupStatus::Failed;
        backup.error = Some("failure uploading data".to_owned());
    });
    let failed = only(&findings);
    assert_eq!(
        (failed.code, failed.object.as_str()),
        (Code::BackupFailed, "20261120T120000")
    );
    assert!(failed.message.contains("failure uploading data"));
    assert!(!survey.backups[1].usable);

    let started = |hours: i64| {
        with_newest(|backup| {
            backup.status = BackupStatus::Started;
            backup.begin_time = Some(now() - Duration::hours(hours));
            backup.end_time = None;
            backup.end_lsn = None;
        })
    };
    let (survey, findings) = started(2);
    assert_eq!(findings, []);
    assert!(!survey.backups[1].usable);
    let (_, findings) = started(25);
    assert_eq!(only(&findings).code, Code::BackupUnfinished);
}

#[test]
fn missing_parts_and_tablespaces() {
    let parts = |numbers: &[u32]| {
        let numbers = numbers.to_vec();
        with_newest(move |backup| {
            backup.archives = numbers
                .iter()
                .map(|part| {
                    archive(
                        &backup.id,
                        ArchiveContents::Data,
                        *part,
                        Codec::Gzip,
                        20 << 20,
                    )
                })
                .collect();
        })
        .1
    };
    assert_eq!(parts(&[0, 1, 2]), []);
    let findings = parts(&[0, 1, 3]);
    let part = only(&findings);
    assert_eq!(
        (part.code, part.object.as_str()),
        (
            Code::BackupPartMissing,
            "base/20261120T120000/data_0002.tar.gz"
        )
    );
    assert_eq!(
        only(&parts(&[1])).object,
        "base/20261120T120000/data.tar.gz"
    );
    assert_eq!(only(&parts(&[])).code, Code::BackupPartMissing);

    let spaces = |with_archive: bool, described: bool| {
        with_newest(move |backup| {
            if described {
                backup.tablespaces.push(tablespace(16_384));
            }
            if with_archive {
                let contents = ArchiveContents::Tablespace(16_384);
                backup
                    .archives
                    .push(archive(&backup.id, contents, 0, Codec::None, 10_240));
            }
        })
        .1
    };
    assert_eq!(spaces(true, true), []);
    let findings = spaces(false, true);
    let space = only(&findings);
    assert_eq!(
        (space.code, space.object.as_str()),
        (
            Code::BackupTablespaceMissing,
            "base/20261120T120000/16384.tar"
        )
    );
    assert_eq!(
        only(&spaces(true, false)).code,
        Code::BackupInfoContradictory
    );
}

#[test]
fn archives_of_several_codecs_or_impossible_sizes() {
    let (_, findings) = with_newest(|backup| {
        backup.archives.push(archive(
            &backup.id,
            ArchiveContents::Data,
            1,
            Codec::Gzip,
            1 << 20,
        ));
    });
    assert_eq!(only(&findings).code, Code::BackupPartMixed);
    assert_eq!(
        only(&findings).object,
        "base/20261120T120000/data_0001.tar.gz"
    );
    for (size, code) in [
        (0, Code::ObjectEmpty),
        (100, Code::ObjectTooSmall),
        (100 << 10, Code::ObjectTooSmall),
        (2 << 20, Code::ObjectTooSmall),
    ] {
        let (survey, findings) = with_newest(|backup| backup.archives[0].size = size);
        assert!(
            codes(&findings).iter().all(|found| *found == code),
            "{size}: {findings:#?}"
        );
        assert_eq!(findings[0].object, "base/20261120T120000/data.tar");
        assert!(!survey.backups[1].usable);
    }
}

#[test]
fn descriptions_that_contradict_themselves() {
    let changes: [fn(&mut BaseBackup); 5] = [
        |backup| backup.end_lsn = None,
        |backup| backup.end_lsn = backup.begin_lsn,
        |backup| backup.end_time = Some(now() - Duration::days(9)),
        |backup| backup.segment_size = SegmentSize::new(1 << 20).unwrap(),
        |backup| {
            backup.backup_label =
                Some("START WAL LOCATION: 0/2000028 (file 000000010000000000000002)\n".to_owned());
        },
    ];
    for change in changes {
        let (survey, findings) = with_newest(change);
        assert!(
            codes(&findings).contains(&Code::BackupInfoContradictory),
            "{findings:#?}"
        );
        assert!(!survey.backups[1].usable);
    }
    let (_, findings) = with_newest(|backup| {
        backup.backup_label = Some(format!(
            "START WAL LOCATION: {} (file x)\n",
            backup.begin_lsn.unwrap()
        ));
    });
    assert_eq!(findings, []);
}

#[test]
fn wal_that_a_backup_needs() {
    // Only in the backup's own range, with no older backup: not a gap but an unusable backup.
    let at = |change: fn(CatalogBuilder) -> CatalogBuilder| {
        look(
            &change(CatalogBuilder::new().segments(1, 1..=9))
                .backup(backup("20261120T120000", 1, 9, 10, 24))
                .build(),
        )
    };
    let (survey, findings) = at(|builder| builder);
    assert_eq!(
        codes(&findings),
        [Code::RepositoryWithoutBackup, Code::BackupWalMissing]
    );
    assert!(
        findings[1].message.contains("00000001000000000000000A"),
        "{}",
        findings[1].message
    );
    assert!(survey.chains.is_empty());
    let (_, findings) = at(|builder| builder.partial(1, 10));
    assert_eq!(
        codes(&findings),
        [Code::RepositoryWithoutBackup, Code::BackupWalPartial]
    );
    let (_, findings) = at(|builder| builder.segments(1, 10..=10));
    assert_eq!(findings, []);
    // An end exactly on the border does not need the next segment.
    let catalog = CatalogBuilder::new()
        .segments(1, 1..=9)
        .backup(BaseBackup {
            end_lsn: Some(lsn(10, 0)),
            ..backup("20261120T120000", 1, 9, 9, 24)
        })
        .build();
    assert_eq!(look(&catalog).1, []);
}

#[test]
fn a_finished_backup_proves_that_its_wal_existed() {
    // The newest backup's WAL is gone: the older one's chain ends in a hole, although
    // nothing follows.
    let built = |hours| {
        CatalogBuilder::new()
            .segments(1, 1..=9)
            .backup(backup("20261119T120000", 1, 3, 3, 48))
            .backup(backup("20261120T120000", 1, 10, 12, hours))
            .build()
    };
    let (survey, findings) = look(&built(24));
    assert_eq!(codes(&findings), [Code::BackupWalMissing, Code::WalGap]);
    assert!(
        findings[1]
            .message
            .contains("00000001000000000000000A to 00000001000000000000000C"),
        "{}",
        findings[1].message
    );
    let hole = ChainStop::Hole {
        first: SegmentNumber(10),
        last: SegmentNumber(12),
    };
    assert_eq!(survey.chains[0].stopped_by, hole);
    // One that ended a minute ago may still be archiving.
    let (survey, _) = look(&built(0));
    assert_eq!(survey.chains[0].stopped_by, ChainStop::ArchiveEnd);
    // Another system's backup says nothing of this way.
    let other = BaseBackup {
        system_id: Some(SystemId(7)),
        ..backup("20261118T120000", 1, 30, 30, 72)
    };
    let catalog = healthy()
        .with(|catalog| catalog.backups.insert(0, other))
        .build();
    let (survey, _) = look(&catalog);
    assert_eq!(survey.chains[0].stopped_by, ChainStop::ArchiveEnd);
}

#[test]
fn snapshots_are_named_and_not_usable_from_here() {
    let (survey, findings) = with_newest(|backup| {
        backup.method = BackupMethod::Snapshot;
        backup.archives.clear();
    });
    assert_eq!(codes(&findings), [Code::BackupOnSnapshot]);
    assert!(!survey.backups[1].usable);
}

#[test]
fn several_systems_in_one_place() {
    let catalog = healthy()
        .with(|catalog| catalog.backups[0].system_id = Some(SystemId(42)))
        .build();
    let (survey, findings) = look(&catalog);
    let mixed = only(&findings);
    assert_eq!(
        (mixed.code, mixed.object.as_str()),
        (Code::SystemIdMixed, "20261119T120000")
    );
    assert!(!survey.backups[0].usable && survey.backups[1].usable);
}

#[test]
fn backups_beside_the_repository_count_and_are_told() {
    let snapshot = |first, last| BaseBackup {
        method: BackupMethod::VolumeSnapshot,
        archives: Vec::new(),
        ..backup("orders-snapshot", 1, first, last, 24)
    };
    let with = |beside: BaseBackup| {
        let catalog = CatalogBuilder::new()
            .segments(1, 1..=20)
            .backup(beside.clone())
            .build();
        let options = VerifyOptions {
            beside: vec![beside],
            ..options()
        };
        codes(&look_with(&catalog, &options).1)
    };
    assert_eq!(with(snapshot(9, 10)), [Code::BackupsBesideOnly]);
    // One whose WAL is not here makes nothing usable.
    assert_eq!(
        with(snapshot(30, 31)),
        [Code::RepositoryWithoutBackup, Code::BackupWalMissing]
    );
}

#[test]
fn nothing_and_no_backup() {
    let (_, findings) = look(
        &CatalogBuilder::new()
            .with(|catalog| catalog.objects = 0)
            .build(),
    );
    assert_eq!(codes(&findings), [Code::RepositoryEmpty]);
    let (_, findings) = look(&CatalogBuilder::new().segments(1, 1..=5).build());
    assert_eq!(codes(&findings), [Code::RepositoryWithoutBackup]);
}

#[test]
fn limits_of_the_tier() {
    let catalog = healthy().build();
    let limited = |age: i64, retention: i64| VerifyOptions {
        max_backup_age: Some(Duration::hours(age)),
        retention: Some(Duration::days(retention)),
        ..options()
    };
    assert_eq!(look_with(&catalog, &limited(25, 1)).1, []);
    let (_, findings) = look_with(&catalog, &limited(12, 1));
    assert_eq!(codes(&findings), [Code::BackupStale]);
    assert_eq!(findings[0].object, "20261120T120000");

    // The cluster's first segment is still there: nothing was ever deleted.
    assert_eq!(look_with(&catalog, &limited(25, 7)).1, []);
    let expired = CatalogBuilder::new()
        .segments(1, 3..=20)
        .backup(backup("20261120T120000", 1, 9, 10, 24))
        .build();
    let (_, findings) = look_with(&expired, &limited(25, 7));
    assert_eq!(codes(&findings), [Code::RetentionTooShort]);
    let kept = VerifyOptions {
        retention: Some(Duration::hours(20)),
        ..options()
    };
    assert_eq!(look_with(&expired, &kept).1, []);
}

fn odd(number: u64, key: &str, size: u64) -> OddSegment {
    OddSegment {
        timeline: TimelineId(1),
        number: Some(SegmentNumber(number)),
        key: key.to_owned(),
        size,
    }
}

#[test]
fn impossible_segment_objects_end_the_chain_like_missing_ones() {
    let key = "wals/0000000100000000/00000001000000000000000C.gz";
    let base = || {
        CatalogBuilder::new()
            .segments(1, 1..=11)
            .segments(1, 13..=20)
            .backup(backup("20261119T120000", 1, 3, 3, 48))
    };
    for (code, size) in [
        (Code::ObjectEmpty, 0),
        (Code::ObjectTooSmall, 10),
        (Code::WalTooLarge, 20 << 20),
    ] {
        let catalog = base()
            .with(|catalog| {
                let odd = odd(12, key, size);
                match code {
                    Code::ObjectEmpty => catalog.wal.empty.push(odd),
                    Code::ObjectTooSmall => catalog.wal.too_small.push(odd),
                    _ => catalog.wal.too_large.push(odd),
                }
            })
            .build();
        let (survey, findings) = look(&catalog);
        let bad = only(&findings);
        assert_eq!((bad.code, bad.object.as_str()), (code, key));
        assert_eq!(bad.severity, Severity::Critical);
        assert_eq!(bad.wal.unwrap().begin, lsn(12, 0));
        assert_eq!(survey.chains[0].end, SegmentNumber(11));
    }
}

#[test]
fn an_empty_object_beside_a_whole_one_is_told_but_breaks_no_chain() {
    let key = "wals/0000000100000000/00000001000000000000000C";
    let catalog = healthy()
        .with(|catalog| {
            catalog.wal.empty.push(odd(12, key, 0));
            catalog.wal.duplicates.push(DuplicateSegment {
                timeline: TimelineId(1),
                number: SegmentNumber(12),
                objects: vec![(key.to_owned(), 0), (format!("{key}.gz"), 5 << 20)],
            });
        })
        .build();
    let (survey, findings) = look(&catalog);
    assert_eq!(codes(&findings), [Code::ObjectEmpty]);
    assert_eq!(survey.chains[0].end, SegmentNumber(20));
}

#[test]
fn an_empty_object_that_nothing_needs_is_info() {
    let catalog = CatalogBuilder::new()
        .segments(1, 9..=20)
        .backup(backup("20261120T120000", 1, 9, 10, 24))
        .with(|catalog| catalog.wal.empty.push(odd(2, "wals/x", 0)))
        .build();
    let (_, findings) = look(&catalog);
    assert_eq!(only(&findings).severity, Severity::Info);
}

#[test]
fn unknown_objects_and_illegal_names_are_counted_and_sampled() {
    let catalog = healthy()
        .with(|catalog| {
            catalog.unknown.count = 7;
            catalog.unknown.sample = vec!["README".to_owned(), "tmp/x".to_owned()];
            catalog.wal.illegal.push(OddSegment {
                number: None,
                ..odd(
                    0,
                    "wals/0000000100000000/000000010000000000000140",
                    16 << 20,
                )
            });
        })
        .build();
    let (_, findings) = look(&catalog);
    assert_eq!(
        codes(&findings),
        [Code::WalNameIllegal, Code::ObjectUnknown]
    );
    assert!(findings[1].message.contains("7 objects") && findings[1].message.contains("tmp/x"));
}

#[test]
fn hostile_timeline_numbers_do_not_make_it_slow() {
    let catalog = healthy()
        .history(u32::MAX, &[(1, 30, 0)])
        .segments(u32::MAX - 1, 0..=u64::MAX >> 24)
        .build();
    let begun = std::time::Instant::now();
    let (survey, _) = look(&catalog);
    assert!(begun.elapsed().as_secs() < 2);
    assert_eq!(survey.timelines.current.timeline, TimelineId(u32::MAX));
}

/// What a person would do by hand: which file for each segment, one by one.
fn naive(
    on_parent: &[bool],
    on_child: &[bool],
    switch: Option<(u64, bool)>,
    begin: u64,
) -> (u64, Vec<u64>) {
    let has = |number: u64| {
        let index = usize::try_from(number).unwrap();
        match switch {
            Some((at, _)) if number >= at => on_child[index],
            _ => on_parent[index],
        }
    };
    let count = on_parent.len() as u64;
    let newest = (0..count).rev().find(|number| has(*number)).unwrap_or(0);
    let newest = switch.map_or(newest, |(at, _)| newest.max(at - 1));
    let end = (begin..count)
        .take_while(|number| has(*number))
        .last()
        .unwrap_or(0);
    let missing = (begin..=newest).filter(|number| !has(*number)).collect();
    (end, missing)
}

fn add_runs(mut builder: CatalogBuilder, timeline: u32, there: &[bool]) -> CatalogBuilder {
    for (number, there) in there.iter().enumerate() {
        if *there {
            let number = number as u64;
            // Codecs change now and then, so that runs are cut without a hole.
            let codec = if (number / 7).is_multiple_of(2) {
                Codec::Gzip
            } else {
                Codec::Zstd
            };
            builder = builder.segments_as(timeline, number..=number, codec);
        }
    }
    builder
}

proptest! {
    #[test]
    fn chains_and_holes_agree_with_a_naive_model(
        mut on_parent in prop::collection::vec(prop::bool::weighted(0.9), 40),
        on_child in prop::collection::vec(prop::bool::weighted(0.9), 40),
        switch in prop::option::of((5u64..40, any::<bool>())),
        begin in 1u64..4,
    ) {
        // The backup's own segment is always there, on the parent.
        on_parent[usize::try_from(begin).unwrap()] = true;
        let mut builder = add_runs(CatalogBuilder::new(), 1, &on_parent)
            .backup(backup("20261119T120000", 1, begin, begin, 48));
        if let Some((at, border)) = switch {
            let child: Vec<bool> =
                on_child.iter().enumerate().map(|(n, there)| *there && n as u64 >= at).collect();
            builder = add_runs(builder, 2, &child)
                .history(2, &[(1, at, if border { 0 } else { 0x148 })]);
        }
        let catalog = builder.build();
        let survey = Survey::of(&catalog, &options());
        let (end, missing) = naive(&on_parent, &on_child, switch, begin);
        prop_assert_eq!(survey.chains.len(), 1);
        prop_assert_eq!(survey.chains[0].end.0, end);
        let found: Vec<u64> = survey
            .holes
            .iter()
            .flat_map(|hole| hole.first.0..=hole.last.0)
            .collect();
        prop_assert_eq!(&found, &missing);
        let stopped_at_hole = matches!(survey.chains[0].stopped_by, ChainStop::Hole { .. });
        prop_assert_eq!(stopped_at_hole, !missing.is_empty());
        // The chain's stretches are what lies between its begin and end, without a gap.
        let mut expected = begin;
        for (timeline, first, last) in &survey.chains[0].segments {
            prop_assert_eq!(first.0, expected);
            for number in first.0..=last.0 {
                prop_assert_eq!(survey.path.timeline_of(SegmentNumber(number)), *timeline);
            }
            expected = last.0 + 1;
        }
        prop_assert_eq!(expected, end + 1);
    }
}
