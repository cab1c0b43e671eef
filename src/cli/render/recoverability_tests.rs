//! The line, character by character.

use chrono::{DateTime, Duration, TimeZone, Utc};

use super::recoverability::draw;
use super::style::Style;
use crate::postgres::{Lsn, SegmentSize, TimelineId};
use crate::repository::{BackupMethod, BackupStatus, Layout};
use crate::verify::{BackupReport, Counts, Depth, Hole, TimeSource, VerifyReport, Window};

/// 40 columns: 38 cells for 37 hours, so that a cell is an hour.
const NARROW: Style = Style {
    width: 40,
    ..Style::PLAIN
};

fn hour(hours: i64) -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 11, 20, 0, 0, 0).unwrap() + Duration::hours(hours)
}

fn backup(hours: i64, usable: bool) -> BackupReport {
    BackupReport {
        id: format!("b{hours}"),
        name: None,
        status: BackupStatus::Done,
        method: BackupMethod::Archives,
        usable,
        reasons: Vec::new(),
        timeline: Some(TimelineId(1)),
        begin_lsn: None,
        end_lsn: None,
        begin_time: Some(hour(hours)),
        end_time: Some(hour(hours)),
        stored_bytes: 0,
        archives: 1,
        keep: None,
        server_version: None,
        depth: Depth::Listed,
    }
}

fn window(from: i64, to: i64) -> Window {
    Window {
        begin_lsn: Lsn::new(from.unsigned_abs() + 1),
        begin_time: Some(hour(from)),
        end_lsn: Lsn::new(to.unsigned_abs() + 1),
        end_time: Some(hour(to)),
        end_time_source: Some(TimeSource::Commit),
        timeline: TimelineId(1),
        backup_id: String::new(),
        backups: Vec::new(),
        depth: Depth::Listed,
        ends_because: String::new(),
    }
}

fn hole(from: i64, to: Option<i64>) -> Hole {
    Hole {
        timeline: TimelineId(1),
        first_segment: String::new(),
        last_segment: String::new(),
        segments: 1,
        begin_lsn: Lsn::new(from.unsigned_abs() + 2),
        end_lsn: Lsn::new(from.unsigned_abs() + 3),
        last_before: Some(hour(from)),
        first_after: to.map(hour),
        time_source: Some(TimeSource::Commit),
        recoverable_again: None,
        next_backup: None,
    }
}

fn report() -> VerifyReport {
    VerifyReport {
        schema: String::new(),
        version: String::new(),
        cluster: None,
        location: String::new(),
        layout: Layout::BarmanCloud,
        depth: Depth::Listed,
        checked_at: hour(37),
        system_id: None,
        segment_size: SegmentSize::DEFAULT,
        counts: Counts::default(),
        current_timeline: TimelineId(1),
        timelines: Vec::new(),
        backups: Vec::new(),
        windows: Vec::new(),
        holes: Vec::new(),
        tip: None,
        archive_end: None,
        exposure: None,
        wal: None,
        bases: Vec::new(),
        rotation: None,
        ledger: None,
        alone: None,
        findings: Vec::new(),
    }
}

fn line(report: &VerifyReport) -> String {
    draw(report, NARROW).first().cloned().unwrap_or_default()
}

#[test]
fn nothing_is_drawn_of_nothing() {
    assert!(draw(&report(), NARROW).is_empty());
}

#[test]
fn a_healthy_copy_is_one_unbroken_line() {
    let report = VerifyReport {
        backups: vec![backup(0, true), backup(24, true)],
        windows: vec![window(0, 36)],
        ..report()
    };
    assert_eq!(line(&report), "|B=======================B============.|");
    let axis = &draw(&report, NARROW)[1];
    assert_eq!(axis, "2026-11-20 00:00    2026-11-21 13:00 UTC");
    assert_eq!(
        draw(&report, NARROW)[2..],
        ["B base backup   = recoverable", ". not archived yet"]
    );
}

#[test]
fn holes_and_what_they_make_unreachable_are_seen() {
    let report = VerifyReport {
        backups: vec![backup(0, true), backup(12, false), backup(24, true)],
        windows: vec![window(0, 8), window(24, 37)],
        holes: vec![hole(8, Some(12))],
        ..report()
    };
    assert_eq!(line(&report), "|B========XXXb-----------B=============|");
    let unicode = Style {
        unicode: true,
        ..NARROW
    };
    assert_eq!(
        draw(&report, unicode)[0],
        "│B━━━━━━━━╳╳╳b───────────B━━━━━━━━━━━━━│"
    );
}

#[test]
fn a_hole_shorter_than_a_column_is_not_hidden() {
    let report = VerifyReport {
        backups: vec![backup(0, true), backup(8, true)],
        windows: vec![window(0, 8), window(8, 37)],
        holes: vec![hole(8, Some(8))],
        ..report()
    };
    assert_eq!(line(&report), "|B=======X=============================|");
}

#[test]
fn a_clock_ahead_of_ours_draws_all_the_same() {
    let report = VerifyReport {
        backups: vec![backup(99, true)],
        windows: vec![window(99, 120)],
        ..report()
    };
    assert_eq!(line(&report).len(), 40);
}
