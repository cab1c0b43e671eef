//! Scanning all the WAL that a restore will replay.

use std::ops::ControlFlow;

use walproof::postgres::Lsn;
use walproof::verify::wal_range::{RangeReport, RangeRequest, StopReason, Until, scan};

use super::*;
use crate::common::require;

fn scan_tree(fixture: &Fixture, tree: &Tree, until: Until) -> RangeReport {
    let repository = repository(tree);
    runtime().block_on(async {
        let catalog = repository.catalog().await.unwrap();
        let timelines = walproof::verify::Timelines::of(&catalog);
        let request = RangeRequest {
            history: timelines.current,
            start: fixture.facts.backups[0].begin_xlog.parse().unwrap(),
            until,
            system_id: catalog.backups[0].system_id,
        };
        let quiet = |_| {};
        scan(&repository, &catalog, &request, &quiet, &mut |_| {
            ControlFlow::Continue(())
        })
        .await
        .unwrap()
    })
}

#[test]
fn the_whole_range_ends_where_the_server_says_and_names_its_moments() {
    require!(Postgres, S3, Barman);
    for switch in [TimelineSwitch::None, TimelineSwitch::Promotion] {
        let fixture = fixture(switch);
        let report = scan_tree(&fixture, &fixture.tree(), Until::End);
        let tip = fixture.facts.tip();
        let commit = report.last_commit.unwrap();
        assert_eq!((commit.time, commit.xid), (tip.time, tip.xid));
        assert_eq!(commit.end.to_string(), tip.lsn);
        assert_eq!(report.stopped_by, StopReason::ArchiveEnd);
        assert_eq!(report.findings, []);
        let names: Vec<&str> = report
            .restore_points
            .iter()
            .map(|point| point.name.as_str())
            .collect();
        for moment in &fixture.facts.moments {
            if moment.name != "tip" {
                assert!(
                    names.contains(&moment.name.as_str()),
                    "{} in {names:?}",
                    moment.name
                );
            }
        }
        assert!(report.commits > 40 && report.last_commits.len() <= 64);
        assert_eq!(report.major, Some(fixture.facts.major));
    }
}

#[test]
fn it_stops_at_holes_and_damage_and_says_where() {
    require!(Postgres, S3, Barman);
    let fixture = fixture(TimelineSwitch::None);
    let segment = later(&fixture.facts.backups[0].end_wal, 2);
    let tree = fixture.tree();
    let key = tree.wal_key(&segment);
    tree.delete_wal(&segment);
    let report = scan_tree(&fixture, &tree, Until::End);
    assert_eq!(
        report.stopped_by,
        StopReason::MissingSegment {
            segment: segment.clone()
        }
    );
    assert_eq!(report.findings[0].code, Code::WalGap);
    let end: Lsn = report.end;

    let tree = fixture.tree();
    tree.halve(&key);
    let report = scan_tree(&fixture, &tree, Until::End);
    assert!(
        matches!(&report.stopped_by, StopReason::Unreadable { key: found, .. } if *found == key)
    );
    assert_eq!(report.end, end);

    let tree = fixture.tree();
    tree.change_inside(&key, |bytes| bytes[9000] ^= 1);
    let report = scan_tree(&fixture, &tree, Until::End);
    assert!(matches!(&report.stopped_by, StopReason::Fault { key: found, .. } if *found == key));
    assert_eq!(report.findings[0].code, Code::WalCorrupt);
    assert!(report.end >= end);

    let before = scan_tree(&fixture, &fixture.tree(), Until::End);
    assert!(before.end > report.end);
}

#[test]
fn a_visitor_can_stop_it() {
    require!(Postgres, S3, Barman);
    let fixture = fixture(TimelineSwitch::None);
    let tree = fixture.tree();
    let repository = repository(&tree);
    let report = runtime().block_on(async {
        let catalog = repository.catalog().await.unwrap();
        let request = RangeRequest {
            history: walproof::verify::Timelines::of(&catalog).current,
            start: fixture.facts.backups[0].begin_xlog.parse().unwrap(),
            until: Until::End,
            system_id: None,
        };
        let mut left = 10;
        scan(&repository, &catalog, &request, &|_| {}, &mut |_| {
            left -= 1;
            if left == 0 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })
        .await
        .unwrap()
    });
    assert_eq!(report.stopped_by, StopReason::Visitor);
    assert_eq!(report.records, 10);
}
