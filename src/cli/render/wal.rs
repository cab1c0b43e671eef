//! What the archive's WAL tells, for people.

use std::fmt::Write as _;

use super::style::{Style, Tone};
use crate::cli::wal_range::Walked;
use crate::verify::wal_range::StopReason;
use crate::verify::wal_story::{Hit, HitKind, SearchReport, WalStatistics, Wanted};
use crate::verify::words::{bytes, count, utc, utc_milliseconds};

/// Rows of the drawing of commits over time.
const ROWS: usize = 24;
/// Columns of its longest bar.
const BAR: u64 = 40;
/// Names of relations in one line.
const NAMES: usize = 8;

/// `wal show`.
pub(crate) fn show(walked: &Walked, statistics: &WalStatistics, style: Style) -> String {
    let mut out = stretches(walked, style);
    if !statistics.managers.is_empty() {
        out.push('\n');
        out.push_str(&managers(statistics, style));
    }
    if statistics.commits > 0 {
        out.push('\n');
        out.push_str(&over_time(statistics, style));
    }
    if !statistics.restore_points.is_empty() {
        let _ = writeln!(out, "\n{}", style.paint(Tone::Strong, "Restore points"));
        for point in &statistics.restore_points {
            let _ = writeln!(
                out,
                "  {}  {}  {}",
                utc_milliseconds(point.time),
                point.lsn,
                point.name
            );
        }
    }
    out
}

/// What was read, and where it breaks.
fn stretches(walked: &Walked, style: Style) -> String {
    let mut out = String::new();
    let read = &walked.report;
    let _ = writeln!(
        out,
        "{}  timeline {}",
        style.paint(Tone::Strong, &walked.source),
        walked.timeline
    );
    let _ = writeln!(
        out,
        "  {} read, {}, {}",
        count(read.segments, "segment"),
        bytes(read.bytes),
        count(read.records, "record")
    );
    for stretch in &read.stretches {
        let _ = writeln!(
            out,
            "  {} to {}  from {}",
            stretch.begin, stretch.end, stretch.first_segment
        );
        let why = match &stretch.stopped_by {
            StopReason::ArchiveEnd | StopReason::Requested | StopReason::Visitor => continue,
            StopReason::MissingSegment { segment } => format!("{segment} is missing"),
            StopReason::Fault { key, fault } => format!("{key}: {fault}"),
            StopReason::Unreadable { key, reason } => format!("{key} cannot be read: {reason}"),
        };
        for line in style.wrap(&why, 4) {
            let _ = writeln!(out, "    {}", style.paint(Tone::Bad, &line));
        }
    }
    if read.missing_segments > 0 {
        let line = format!(
            "{} missing in between",
            count(read.missing_segments, "segment")
        );
        let _ = writeln!(out, "  {}", style.paint(Tone::Bad, &line));
    }
    out
}

fn managers(statistics: &WalStatistics, style: Style) -> String {
    let mut out = String::new();
    let heading = format!(
        "  {:<18} {:>12} {:>12} {:>12} {:>12}",
        "written by", "records", "bytes", "page images", "image bytes"
    );
    let _ = writeln!(out, "{}", style.paint(Tone::Quiet, &heading));
    let mut managers: Vec<_> = statistics.managers.values().collect();
    managers.sort_by_key(|manager| std::cmp::Reverse(manager.bytes));
    for manager in managers {
        let _ = writeln!(
            out,
            "  {:<18} {:>12} {:>12} {:>12} {:>12}",
            manager.name,
            manager.records,
            bytes(manager.bytes),
            manager.images,
            bytes(manager.image_bytes)
        );
    }
    let _ = writeln!(
        out,
        "  {}, {}, {}, {}",
        count(statistics.commits, "commit"),
        count(statistics.aborts, "rollback"),
        count(statistics.checkpoints, "checkpoint"),
        match statistics.switches {
            1 => "1 segment ended early".to_owned(),
            number => format!("{number} segments ended early"),
        }
    );
    out
}

fn over_time(statistics: &WalStatistics, style: Style) -> String {
    let mut out = String::new();
    let (width, buckets) = statistics.over_time(ROWS);
    let per = match width {
        60 => "minute".to_owned(),
        3_600 => "hour".to_owned(),
        86_400 => "day".to_owned(),
        width if width % 86_400 == 0 => format!("{} days", width / 86_400),
        width if width % 3_600 == 0 => format!("{} hours", width / 3_600),
        width => format!("{} minutes", width / 60),
    };
    let _ = writeln!(
        out,
        "{}",
        style.paint(Tone::Strong, &format!("Commits per {per}"))
    );
    let most = buckets
        .iter()
        .map(|bucket| bucket.commits)
        .max()
        .unwrap_or(1)
        .max(1);
    let digits = most.to_string().len();
    for bucket in &buckets {
        let columns = bucket.commits.saturating_mul(BAR).div_ceil(most).min(BAR);
        let bar = style
            .pick("█", "#")
            .repeat(usize::try_from(columns).unwrap_or_default());
        let _ = writeln!(
            out,
            "  {}  {:>digits$}  {bar}",
            utc(bucket.begin),
            bucket.commits
        );
    }
    if let (Some(first), Some(last)) = (statistics.first_commit, statistics.last_commit) {
        let _ = writeln!(
            out,
            "  first {} at {}, last {} at {}",
            utc_milliseconds(first.time),
            first.lsn,
            utc_milliseconds(last.time),
            last.lsn
        );
    }
    out
}

/// `wal find`, the newest `limit` hits.
pub(crate) fn find(
    walked: &Walked,
    wanted: &Wanted,
    found: &SearchReport,
    limit: usize,
    style: Style,
) -> String {
    let mut out = String::new();
    let timeline = if walked.timeline_given {
        format!(" --target-timeline {}", walked.timeline)
    } else {
        String::new()
    };
    let restore = |lsn: &dyn std::fmt::Display, exclusive: bool| {
        format!(
            "walproof restore {} --target-lsn {lsn}{}{timeline} --into DIRECTORY",
            walked.source,
            if exclusive { " --exclusive" } else { "" },
        )
    };
    let left_out = found.hits.len().saturating_sub(limit);
    for hit in found.hits.iter().skip(left_out) {
        out.push_str(&one(hit, style));
        let exclusive = hit.kind != HitKind::RestorePoint;
        let command = restore(&hit.lsn, exclusive);
        let words = if exclusive { "just before" } else { "to it" };
        let _ = writeln!(
            out,
            "    {words:<12} {}\n",
            style.paint(Tone::Strong, &command)
        );
    }
    let more = found
        .count
        .saturating_sub((found.hits.len() - left_out) as u64);
    if more > 0 {
        let _ = writeln!(
            out,
            "{more} more; --limit and --output json show them, --from and --to narrow the search\n"
        );
    }
    if found.count == 0 {
        let _ = writeln!(out, "{}", style.paint(Tone::Warning, nothing(wanted)));
        for (words, commit) in [
            ("last before", found.nearest_before),
            ("first after", found.nearest_after),
        ] {
            if let Some(commit) = commit {
                let _ = writeln!(
                    out,
                    "  {words}  {}  transaction {}  {}",
                    utc_milliseconds(commit.time),
                    commit.xid,
                    commit.lsn
                );
            }
        }
        out.push('\n');
    }
    out.push_str(&stretches(walked, style));
    if !walked.report.whole {
        let line = "WAL is missing or damaged in this range: what happened there is not shown.";
        let _ = writeln!(out, "  {}", style.paint(Tone::Bad, line));
    }
    out
}

fn nothing(wanted: &Wanted) -> &'static str {
    match wanted {
        Wanted::Drops(files) if files.is_empty() => "No relation was dropped here.",
        Wanted::Drops(_) => "That relation's file was not dropped here.",
        Wanted::RestorePoints(_) => "There is no such restore point here.",
        Wanted::Around { .. } => "No commit is that near.",
        Wanted::Transaction(_) => "That transaction did not end here.",
    }
}

fn one(hit: &Hit, style: Style) -> String {
    let mut out = String::new();
    let what = match hit.kind {
        HitKind::Commit => format!("transaction {} committed", hit.xid),
        HitKind::Abort => format!("transaction {} was rolled back", hit.xid),
        HitKind::RestorePoint => {
            format!("restore point {}", hit.name.as_deref().unwrap_or_default())
        }
    };
    let _ = writeln!(
        out,
        "{}  {what}  at {}",
        style.paint(Tone::Strong, &utc_milliseconds(hit.time)),
        hit.lsn
    );
    if hit.dropped_files > 0 {
        let words = if hit.created_files > 0 {
            "replaced"
        } else {
            "dropped"
        };
        let mut names: Vec<String> = hit
            .dropped
            .iter()
            .take(NAMES)
            .map(|relation| {
                let file = format!("{}/{}", relation.file.database, relation.file.relation);
                match &relation.name {
                    Some(name) => format!("{name} ({file})"),
                    None => file,
                }
            })
            .collect();
        let more = hit.dropped_files.saturating_sub(names.len() as u64);
        if more > 0 {
            names.push(format!("and {more} more"));
        }
        for (index, line) in style.wrap(&names.join(", "), 17).iter().enumerate() {
            let lead = if index == 0 { words } else { "" };
            let _ = writeln!(out, "    {lead:<12} {line}");
        }
    }
    if let Some(commit) = hit.commit_before {
        let _ = writeln!(
            out,
            "    {:<12} {}  transaction {}",
            "commit before",
            utc_milliseconds(commit.time),
            commit.xid
        );
    }
    out
}
