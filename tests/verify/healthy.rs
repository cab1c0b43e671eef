//! Healthy repositories: no finding, and the end that the server itself names.

use walproof::postgres::TimelineId;
use walproof::verify::{TimeSource, TimelineRole};

use super::*;
use crate::common::barman::{BarmanCloud, BaseCodec, WalCodec};
use crate::common::postgres::TestServer;
use crate::common::s3::S3Server;
use crate::common::{require, workload};

fn check_tip(fixture: &Fixture, report: &VerifyReport) {
    let tip = fixture.facts.tip();
    let found = report.tip.as_ref().unwrap();
    let commit = found.commit.unwrap();
    assert_eq!(commit.time, tip.time);
    assert_eq!(commit.xid, tip.xid);
    assert_eq!(commit.end.to_string(), tip.lsn);
    let exposure = report.exposure.unwrap();
    assert_eq!(
        (exposure.since, exposure.source),
        (tip.time, TimeSource::Commit)
    );
    let window = report.windows.last().unwrap();
    assert_eq!(window.end_time, Some(tip.time));
    assert_eq!(window.end_lsn, found.lsn);
    assert_eq!(
        report.archive_end.as_ref().unwrap().lsn,
        found.lsn,
        "the last segment was switched, so its end is the end of replay"
    );
}

#[test]
fn one_timeline_has_no_finding_and_the_servers_own_end() {
    require!(Postgres, S3, Barman);
    let fixture = fixture(TimelineSwitch::None);
    let report = verify(&fixture.tree());
    assert_eq!(report.findings, []);
    check_tip(&fixture, &report);
    assert_eq!(report.windows.len(), 1);
    assert_eq!(report.windows[0].backups.len(), 2);
    assert_eq!(report.windows[0].backup_id, fixture.facts.backups[0].id);
    assert_eq!(
        report.windows[0].begin_lsn.to_string(),
        fixture.facts.backups[0].end_xlog
    );
    assert_eq!(report.counts.usable_backups, 2);
    assert_eq!(report.system_id.unwrap().0, fixture.facts.system_id);
}

#[test]
fn a_promotion_has_no_finding() {
    require!(Postgres, S3, Barman);
    let fixture = fixture(TimelineSwitch::Promotion);
    let report = verify(&fixture.tree());
    assert_eq!(report.findings, []);
    check_tip(&fixture, &report);
    assert_eq!(report.current_timeline, TimelineId(2));
    let two = report.timelines.last().unwrap();
    assert_eq!(
        two.branched_at.unwrap().to_string(),
        fixture.facts.switch_lsn.clone().unwrap()
    );
}

#[test]
fn an_abandoned_branch_is_shown_beside_the_way_and_never_as_window() {
    require!(Postgres, S3, Barman);
    let fixture = fixture(TimelineSwitch::AbandonedBranch);
    let report = verify(&fixture.tree());
    assert!(
        report
            .findings
            .iter()
            .all(|finding| finding.code == Code::TimelineAbandoned),
        "{:#?}",
        report.findings
    );
    check_tip(&fixture, &report);
    assert_eq!(report.timelines[0].role, TimelineRole::Ancestor);
    assert_eq!(report.windows.len(), 1);
    assert_eq!(report.windows[0].timeline, TimelineId(2));
}

#[test]
fn the_reports_json_names_its_contract() {
    require!(Postgres, S3, Barman);
    let report = verify(&fixture(TimelineSwitch::None).tree());
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["schema"], "walproof.verify/v1");
    assert_eq!(json["depth"], "listed");
    assert_eq!(json["findings"], serde_json::json!([]));
    assert!(json["windows"][0]["end_time"].is_string());
}

#[test]
fn an_idle_database_has_no_finding_and_is_bounded_by_other_records() {
    require!(Postgres, S3, Barman);
    let s3 = S3Server::start();
    let barman = BarmanCloud::new(&s3, "", "idle");
    let server = TestServer::options().segment_size_mb(1).create();
    let _archiver = barman.archive(&server, WalCodec::Zstd);
    workload::create(&server, None);
    server.archive_all();
    barman.backup(&server, BaseCodec::Lz4, &[]);
    server.archive_all();
    let tree = Tree::copy_of(&s3.object("idle"), "idle");
    let report = verify(&tree);
    assert_eq!(report.findings, []);
    let tip = report.tip.unwrap();
    assert!(tip.commit.is_none() && tip.last_record.is_some());
    let exposure = report.exposure.unwrap();
    assert_ne!(exposure.source, TimeSource::Commit);
    assert!(exposure.since >= report.backups[0].begin_time.unwrap() - chrono::Duration::seconds(1));
    let window = &report.windows[0];
    assert!(window.begin_time <= window.end_time && window.begin_time.is_some());
}
