//! Depth `read`: healthy repositories have no finding and the same end as by names; what
//! is wrong in the bytes ends the window there.

use walproof::finding::Severity;
use walproof::postgres::Lsn;
use walproof::verify::Depth;
use walproof::verify::read::WalStop;

use super::*;
use crate::common::barman::{BaseCodec, WalCodec};
use crate::common::{codec, require};

/// What both depths must agree on.
#[track_caller]
fn assert_same_end(fixture: &Fixture, listed: &VerifyReport, read: &VerifyReport) {
    assert_eq!(listed.findings, read.findings);
    let end = |report: &VerifyReport| {
        let tip = report.tip.clone().unwrap();
        (tip.timeline, tip.lsn, tip.last_record, tip.commit, tip.key)
    };
    assert_eq!(end(listed), end(read));
    let source = |report: &VerifyReport| report.exposure.map(|found| (found.since, found.source));
    assert_eq!(source(listed), source(read));
    let windows = |report: &VerifyReport| {
        let windows = report.windows.iter();
        let shown = windows.map(|window| {
            let mut window = window.clone();
            window.depth = Depth::Listed;
            window
        });
        shown.collect::<Vec<_>>()
    };
    assert_eq!(windows(listed), windows(read));
    assert!(
        read.windows
            .iter()
            .all(|window| window.depth == Depth::Read)
    );
    let tip = fixture.facts.tip();
    let commit = read.tip.as_ref().unwrap().commit.unwrap();
    assert_eq!((commit.time, commit.xid), (tip.time, tip.xid));
    assert_eq!(commit.end.to_string(), tip.lsn);
}

/// Half of a segment's bytes are gone, whatever its object's size says.
fn cut(tree: &Tree, key: &str) {
    tree.change_inside(key, |bytes| bytes.truncate(bytes.len() / 2));
}

#[test]
fn healthy_repositories_of_all_codecs_have_no_finding_and_the_same_end() {
    require!(Postgres, S3, Barman);
    for (base, wal, segment_size_mb) in [
        (BaseCodec::Lz4, WalCodec::Gzip, 1),
        (BaseCodec::None, WalCodec::None, 1),
        (BaseCodec::Gzip, WalCodec::Bzip2, 1),
        (BaseCodec::Bzip2, WalCodec::Xz, 1),
        (BaseCodec::Snappy, WalCodec::Snappy, 1),
        (BaseCodec::Lz4, WalCodec::Zstd, 16),
        (BaseCodec::Lz4, WalCodec::Lz4, 1),
    ] {
        let fixture = Fixture::get(&RepositoryOptions {
            base,
            wal,
            segment_size_mb,
            ..RepositoryOptions::default()
        });
        let tree = fixture.tree();
        let (listed, read) = (verify(&tree), verify_read(&tree));
        assert_eq!(read.findings, [], "{base:?} {wal:?}");
        assert_same_end(&fixture, &listed, &read);
        assert_eq!(read.depth, Depth::Read);
        let found = read.wal.as_ref().unwrap();
        assert_eq!(found.segments, read.counts.wal_segments);
        assert_eq!(found.objects, read.counts.wal_segments);
        assert_eq!(found.bytes, found.segments * fixture.facts.segment_size);
        assert_eq!(found.stretches.len(), 1);
        assert_eq!(found.stretches[0].stopped_by, WalStop::ArchiveEnd);
        let names: Vec<&str> = found
            .restore_points
            .iter()
            .map(|point| point.name.as_str())
            .collect();
        for moment in &fixture.facts.moments {
            if moment.name != "tip" {
                assert!(names.contains(&moment.name.as_str()), "{names:?}");
            }
        }
        assert_eq!(read.bases.len(), 2);
        for base in &read.bases {
            println!("{base:#?}");
            assert!(base.pages.read > 1000 && base.pages.suspect == 0);
            assert_eq!((base.pages.corrupt, base.pages.stale), (0, 0));
        }
        assert!(
            read.backups
                .iter()
                .all(|backup| backup.depth == Depth::Read)
        );
        let rows = found.by_segment.as_ref().unwrap();
        assert_eq!(rows.len() as u64, found.segments);
        assert!(rows.iter().all(|row| row.sound));
        let sum = |count: fn(&walproof::verify::read::SegmentReading) -> u64| {
            rows.iter().map(count).sum::<u64>()
        };
        assert_eq!(sum(|row| row.records), found.records);
        assert_eq!(sum(|row| row.commits), found.commits);
        assert!(found.commits > 40 && found.records > 10 * found.commits);
    }
}

#[test]
fn timeline_switches_have_no_finding_and_abandoned_wal_is_read_too() {
    require!(Postgres, S3, Barman);
    for switch in [TimelineSwitch::Promotion, TimelineSwitch::AbandonedBranch] {
        let fixture = fixture(switch);
        let tree = fixture.tree();
        let (listed, read) = (verify(&tree), verify_read(&tree));
        assert_same_end(&fixture, &listed, &read);
        let found = read.wal.as_ref().unwrap();
        // The promoted server leaves its parent's last segment as `.partial`.
        let keys = tree.keys();
        let partials = keys.iter().filter(|key| key.contains(".partial")).count() as u64;
        assert!(partials > 0);
        assert_eq!(
            found.segments + found.segments_beside,
            read.counts.wal_segments + partials,
        );
        assert_eq!(found.objects, found.segments + found.segments_beside);
        assert_eq!(
            found.segments_beside > partials,
            switch == TimelineSwitch::AbandonedBranch
        );
        assert!(
            read.findings
                .iter()
                .all(|finding| finding.severity == Severity::Info)
        );
    }
}

#[test]
fn a_fault_between_two_backups_ends_the_first_window_at_its_lsn() {
    require!(Postgres, S3, Barman);
    let fixture = fixture(TimelineSwitch::None);
    let segment = later(&fixture.facts.backups[0].end_wal, 1);
    let tree = fixture.tree();
    let key = tree.wal_key(&segment);
    let mut at = 0;
    tree.change_inside(&key, |bytes| {
        at = 9000;
        bytes[at..at + 64].iter_mut().for_each(|byte| *byte ^= 0x5A);
    });
    let healthy = verify_read(&fixture.tree());
    let report = verify_read(&tree);
    let fault = only(&report);
    assert_eq!((fault.code, &fault.object), (Code::WalCorrupt, &key));
    assert_eq!(fault.severity, Severity::Critical);
    let lsn = fault.wal.unwrap().begin;
    let begin = u64::from_str_radix(&segment[16..24], 16).unwrap() * fixture.facts.segment_size;
    let damaged = Lsn::new(begin + at as u64);
    assert!(lsn <= damaged.checked_add(64).unwrap(), "{lsn} {damaged}");
    assert_eq!(report.windows.len(), 2);
    let (first, second) = (&report.windows[0], &report.windows[1]);
    assert_eq!(
        first.end_lsn, lsn,
        "the record before the damaged one ends there"
    );
    assert!(
        first.ends_because.contains(&segment),
        "{}",
        first.ends_because
    );
    assert_eq!(second.backups, [fixture.facts.backups[1].id.clone()]);
    assert_eq!(second.end_lsn, healthy.windows[0].end_lsn);
    assert_eq!(report.counts.usable_backups, 2);
    let hole = &report.holes[0];
    assert_eq!(hole.first_segment, segment);
    assert_eq!((hole.begin_lsn, hole.segments), (lsn, 1));
    assert!(hole.last_before < hole.first_after, "{hole:?}");
    assert_eq!(
        hole.next_backup.as_ref(),
        Some(&fixture.facts.backups[1].id)
    );
    let end = |report: &VerifyReport| report.tip.clone().map(|tip| (tip.lsn, tip.commit));
    assert_eq!(end(&report), end(&healthy));
    let rows = report.wal.unwrap().by_segment.unwrap();
    let bad: Vec<&str> = rows
        .iter()
        .filter(|row| !row.sound)
        .map(|row| row.segment.as_str())
        .collect();
    assert_eq!(bad, [segment]);
}

#[test]
fn a_fault_behind_the_newest_backup_moves_tip_and_exposure() {
    require!(Postgres, S3, Barman);
    let fixture = fixture(TimelineSwitch::None);
    let tree = fixture.tree();
    let segments = tree.segments();
    let segment = segments[segments.len() - 2].clone();
    let key = tree.wal_key(&segment);
    cut(&tree, &key);
    let (healthy, report) = (verify_read(&fixture.tree()), verify_read(&tree));
    let fault = only(&report);
    assert_eq!((fault.code, &fault.object), (Code::WalUnreadable, &key));
    assert!(
        fault.consequence.starts_with("Nothing after"),
        "{}",
        fault.consequence
    );
    let (tip, whole) = (report.tip.unwrap(), healthy.tip.unwrap());
    assert!(tip.commit.unwrap().time < whole.commit.unwrap().time);
    assert!(tip.lsn < whole.lsn && tip.lsn < report.archive_end.unwrap().lsn);
    assert_eq!(report.windows[0].end_lsn, tip.lsn);
    assert_eq!(report.exposure.unwrap().since, tip.commit.unwrap().time);
    assert_eq!(report.holes.len(), 1);
}

#[test]
fn damage_within_a_backups_own_wal_makes_it_unusable() {
    require!(Postgres, S3, Barman);
    let fixture = fixture(TimelineSwitch::None);
    let newest = &fixture.facts.backups[1];
    let tree = fixture.tree();
    let key = tree.wal_key(&newest.end_wal);
    cut(&tree, &key);
    let report = verify_read(&tree);
    assert_eq!(only(&report).code, Code::WalUnreadable);
    assert!(report.backups[0].usable && !report.backups[1].usable);
    assert_eq!(report.counts.usable_backups, 1);
    assert_eq!(report.windows.len(), 1);
}

#[test]
fn a_damaged_side_branch_is_told_and_no_alarm() {
    require!(Postgres, S3, Barman);
    let fixture = fixture(TimelineSwitch::AbandonedBranch);
    let tree = fixture.tree();
    let last = tree.segments_of(1).last().unwrap().clone();
    let key = tree.wal_key(&last);
    tree.change_inside(&key, |bytes| bytes[9000] ^= 1);
    let report = verify_read(&tree);
    let found = report
        .findings
        .iter()
        .find(|finding| finding.code == Code::WalCorrupt)
        .unwrap();
    assert_eq!((&found.object, found.severity), (&key, Severity::Info));
    assert!(
        found.consequence.contains("no recovery"),
        "{}",
        found.consequence
    );
    assert_eq!(report.windows, verify_read(&fixture.tree()).windows);
}

#[test]
fn copies_and_unfinished_segments_are_read_too() {
    require!(Postgres, S3, Barman);
    let fixture = fixture(TimelineSwitch::None);
    let segment = later(&fixture.facts.backups[0].end_wal, 1);
    let key = fixture.tree().wal_key(&segment);
    let tree = fixture.tree();
    tree.duplicate(&key, ".zst", |_| {});
    let report = verify_read(&tree);
    assert_eq!(report.findings, []);
    let wal = report.wal.unwrap();
    assert_eq!(wal.objects, wal.segments + 1);

    tree.duplicate(&key, ".zst", |bytes| bytes[5000] ^= 1);
    let report = verify_read(&tree);
    assert_eq!(only(&report).code, Code::WalDuplicateDiffers);

    // An unfinished segment may end anywhere, but not with a broken codec.
    let tree = fixture.tree();
    let partial = key.replace(".gz", ".partial.gz");
    let bytes = codec::decode(".gz", &tree.read(&key));
    let mut unfinished = bytes.clone();
    unfinished[300_000..].fill(0);
    tree.write(&partial, &codec::encode(".gz", &unfinished));
    assert_eq!(verify_read(&tree).findings, []);
    tree.halve(&partial);
    let report = verify_read(&tree);
    let found = only(&report);
    assert_eq!(
        (found.code, &found.object, found.severity),
        (Code::WalUnreadable, &partial, Severity::Info)
    );
}

#[test]
fn a_damaged_base_backup_gives_no_window() {
    require!(Postgres, S3, Barman);
    let fixture = fixture(TimelineSwitch::None);
    let (oldest, newest) = (&fixture.facts.backups[0], &fixture.facts.backups[1]);
    let healthy = verify_read(&fixture.tree());
    let tree = fixture.tree();
    let data = |id: &str| {
        let archives = tree.archives(id).into_iter();
        archives
            .filter(|key| key.contains("/data.tar"))
            .collect::<Vec<_>>()
            .remove(0)
    };
    tree.halve(&data(&oldest.id));
    let report = verify_read(&tree);
    assert!(codes(&report).contains(&Code::BackupDamaged));
    assert!(!report.backups[0].usable && report.backups[1].usable);
    assert_eq!(report.windows.len(), 1);
    assert_eq!(report.windows[0].backup_id, newest.id);
    assert_eq!(report.windows[0].end_lsn, healthy.windows[0].end_lsn);
    assert_eq!(report.counts.usable_backups, 1);

    tree.halve(&data(&newest.id));
    let report = verify_read(&tree);
    assert!(codes(&report).contains(&Code::RepositoryWithoutBackup));
    assert!(report.windows.is_empty() && report.tip.is_none());
}

#[test]
fn a_part_is_read_and_the_rest_counts_as_sound() {
    require!(Postgres, S3, Barman);
    let fixture = fixture(TimelineSwitch::None);
    let tree = fixture.tree();
    let newest = &fixture.facts.backups[1];
    // Damage that the selection leaves out, and damage that it holds.
    let before = tree.wal_key(&later(&fixture.facts.backups[0].end_wal, 1));
    cut(&tree, &before);
    let catalog = runtime().block_on(repository(&tree).catalog()).unwrap();
    let size = catalog.wal.segment_size;
    let begin: Lsn = newest.begin_xlog.parse().unwrap();
    let run = (
        size.segment_of(begin),
        walproof::postgres::SegmentNumber(u64::MAX),
    );
    let mut selection = walproof::verify::rotation::Selection::nothing();
    selection.add_segments(walproof::postgres::TimelineId::FIRST, run.0, run.1);
    selection.add_backup(&newest.id);
    let options = VerifyOptions {
        depth: RequestedDepth::Sampled,
        selection,
        ..VerifyOptions::default()
    };
    let report = verify_with(&tree, &options);
    assert_eq!(report.findings, []);
    assert_eq!(report.depth, Depth::Sampled);
    assert_eq!(report.windows.len(), 1);
    assert_eq!(report.windows[0].depth, Depth::Sampled);
    let depths: Vec<Depth> = report.backups.iter().map(|backup| backup.depth).collect();
    assert_eq!(depths, [Depth::Listed, Depth::Read]);
    assert_eq!(report.bases.len(), 1);
    let tip = report.tip.as_ref().unwrap().commit.unwrap();
    assert_eq!(tip.time, fixture.facts.tip().time);

    let last = tree.wal_key(tree.segments().last().unwrap());
    cut(&tree, &last);
    let report = verify_with(&tree, &options);
    assert_eq!(
        (only(&report).code, &only(&report).object),
        (Code::WalUnreadable, &last)
    );
}

#[test]
fn the_command_reads_tells_figures_and_leaves_the_right_status() {
    require!(Postgres, S3, Barman);
    let fixture = fixture(TimelineSwitch::None);
    let tree = fixture.tree();
    let home = tempfile::tempdir().unwrap();
    let verify = |more: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_walproof"))
            .env_clear()
            .env("HOME", home.path())
            .env(
                "WALPROOF_STATE",
                format!("sqlite://{}/state.sqlite", home.path().display()),
            )
            .current_dir(home.path())
            .args(["verify", &tree.url(), "--output", "json"])
            .args(more)
            .output()
            .unwrap();
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code(), json)
    };
    // With the place of a state in the environment, too.
    let (status, json) = verify(&["--depth", "read", "--no-state"]);
    assert_eq!((status, json["depth"].as_str()), (Some(0), Some("read")));
    assert!(json["ledger"].is_null(), "{}", json["ledger"]);
    assert!(json["bases"][0]["archives"][0]["sha256"].is_null());
    assert!(!home.path().join("state.sqlite").exists());

    let (status, json) = verify(&[]);
    assert_eq!((status, json["depth"].as_str()), (Some(0), Some("listed")));
    assert!(json["wal"].is_null() && json["bases"].is_null());

    let (status, json) = verify(&["--depth", "read"]);
    assert_eq!((status, json["depth"].as_str()), (Some(0), Some("read")));
    assert_eq!(json["findings"], serde_json::json!([]));
    assert!(json["wal"]["records"].as_u64().unwrap() > 1000);
    assert!(json["wal"]["by_segment"].is_null());
    assert_eq!(json["bases"].as_array().unwrap().len(), 2);

    let segment = later(&fixture.facts.backups[0].end_wal, 1);
    cut(&tree, &tree.wal_key(&segment));
    let (status, json) = verify(&["--depth", "read", "--segments"]);
    assert_eq!(status, Some(1));
    let codes: Vec<&str> = json["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| finding["code"].as_str().unwrap())
        .collect();
    assert!(codes.contains(&"wal-unreadable"), "{codes:?}");
    let rows = json["wal"]["by_segment"].as_array().unwrap();
    let bad: Vec<&str> = rows
        .iter()
        .filter(|row| row["sound"] == false)
        .map(|row| row["segment"].as_str().unwrap())
        .collect();
    assert_eq!(bad, [segment]);
}
