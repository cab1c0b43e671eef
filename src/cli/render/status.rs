//! The fleet as people read it: one line per cluster, and why those that are not proven are
//! not. Writing to a `String` cannot fail.

use std::fmt::Write as _;

use chrono::{DateTime, TimeDelta, Utc};

use super::style::{Style, Tone};
use super::table::{Cell, table, width};
use crate::evidence::Verdict;
use crate::operation::fleet::{ClusterStatus, CopyStatus, ExposureStatus, Fleet};
use crate::state::RunKind;
use crate::verify::TimeSource;
use crate::verify::words::{count, length};

pub use super::status_cluster::cluster;

/// How many clusters have their reasons told below the table.
const EXPLAINED: usize = 20;

/// A length in a few letters: `45s`, `2h10m`, `40d`.
pub(super) fn short(seconds: i64) -> String {
    const DAYS: i64 = 10 * 86_400;
    if seconds >= DAYS {
        return format!("{}d", seconds / 86_400);
    }
    length(TimeDelta::try_seconds(seconds).unwrap_or(TimeDelta::MAX)).replace(' ', "")
}

/// A moment seen from now: `in 12m`, `3h ago`, `now`.
pub(super) fn from_now(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let seconds = at.signed_duration_since(now).num_seconds();
    match seconds {
        0 => "now".to_owned(),
        1.. => format!("in {}", short(seconds)),
        _ => format!("{} ago", short(-seconds)),
    }
}

/// The tone and the mark of a verdict. Only what is proven is green.
pub(super) const fn verdict(verdict: Verdict, style: Style) -> (Tone, &'static str) {
    match verdict {
        Verdict::Proven => (Tone::Good, style.pick("✓", "ok")),
        Verdict::Failed => (Tone::Bad, style.pick("✗", "x")),
        Verdict::Unproven => (Tone::Warning, "!"),
    }
}

/// Every cluster in a line. `idle` when the configuration has no schedules at all.
pub fn fleet(report: &Fleet, idle: bool, style: Style) -> String {
    let mut text = String::new();
    if report.clusters.is_empty() {
        text.push_str(
            "no clusters are configured; `walproof init` writes a configuration to begin with\n",
        );
        return text;
    }
    let counts = &report.counts;
    let mut parts = Vec::new();
    for (number, tone, word) in [
        (counts.failed, Tone::Bad, "failed"),
        (counts.unproven, Tone::Warning, "unproven"),
        (counts.proven, Tone::Good, "proven"),
    ] {
        if number > 0 {
            parts.push(style.paint(tone, &format!("{number} {word}")));
        }
    }
    let clusters = style.paint(Tone::Strong, &count(counts.clusters, "cluster"));
    let _ = writeln!(text, "{clusters}: {}\n", parts.join(", "));
    for line in lines(report, style) {
        let _ = writeln!(text, "{line}");
    }
    reasons(&mut text, report, style);
    if idle {
        let words = "nothing runs by itself: the configuration has no `schedules`";
        let _ = writeln!(text, "\n{}", style.paint(Tone::Quiet, words));
    }
    text
}

/// The table, with as many columns as fit: the tier goes before a name is cut.
fn lines(report: &Fleet, style: Style) -> Vec<String> {
    let tiers = report.clusters.iter().any(|cluster| cluster.tier.is_some());
    let boundless = Style {
        width: usize::MAX,
        color: false,
        ..style
    };
    let fits = columns(report, true, boundless)
        .iter()
        .all(|line| width(line) <= style.width);
    columns(report, tiers && fits, style)
}

fn columns(report: &Fleet, tier: bool, style: Style) -> Vec<String> {
    let mut heading = vec!["", "CLUSTER"];
    if tier {
        heading.push("TIER");
    }
    heading.extend([
        "VERDICT",
        "EXPOSURE",
        "LOOK AGE",
        "WINDOW",
        "PROOF AGE",
        "NEXT RUN",
    ]);
    let rows: Vec<Vec<Cell>> = report
        .clusters
        .iter()
        .map(|cluster| row(cluster, tier, report.at, style))
        .collect();
    table(&heading, &rows, 1, style)
}

fn row(cluster: &ClusterStatus, tier: bool, now: DateTime<Utc>, style: Style) -> Vec<Cell> {
    let (tone, mark) = verdict(cluster.verdict, style);
    // One column, whatever the terminal can show.
    let mark = if mark == "ok" { "+" } else { mark };
    let primary = cluster.primary();
    let mut cells = vec![
        Cell::new(tone, mark),
        Cell::new(Tone::Strong, &cluster.name),
    ];
    if tier {
        cells.push(cluster.tier.as_ref().map_or_else(Cell::none, Cell::plain));
    }
    cells.push(Cell::new(tone, cluster.verdict.as_str()));
    cells.extend(exposure(primary));
    cells.push(window(primary));
    cells.push(proof(cluster));
    cells.push(cluster.next_runs.first().map_or_else(Cell::none, |next| {
        let when = from_now(next.at, now);
        let when = when.strip_prefix("in ").unwrap_or(&when);
        Cell::plain(format!("{} {when}", next.kind.as_str()))
    }));
    cells
}

/// The exposure in words: with an object's time it is a bound only.
pub(super) fn exposure_words(exposure: &ExposureStatus) -> String {
    let bound = if exposure.source == Some(TimeSource::Object) {
        ">"
    } else {
        ""
    };
    format!("{bound}{}", short(exposure.seconds))
}

/// How an exposure is to be seen: it is never green, for it proves nothing.
pub(super) fn exposure_tone(exposure: &ExposureStatus) -> Tone {
    let over = |limit: u64| exposure.seconds.unsigned_abs() > limit;
    if exposure.rpo_seconds.is_some_and(over) {
        Tone::Bad
    } else if exposure.stale {
        Tone::Warning
    } else {
        Tone::Plain
    }
}

/// The exposure, and how old the look behind it is.
fn exposure(primary: Option<&CopyStatus>) -> [Cell; 2] {
    let Some(copy) = primary else {
        return [Cell::none(), Cell::none()];
    };
    let looked = |age: i64, stale: bool| {
        let tone = if stale { Tone::Warning } else { Tone::Quiet };
        let mark = if stale { "!" } else { "" };
        Cell::new(tone, format!("{}{mark}", short(age)))
    };
    match (&copy.exposure, &copy.verification) {
        (Some(exposure), _) => [
            Cell::new(exposure_tone(exposure), exposure_words(exposure)),
            looked(exposure.look_age_seconds, exposure.stale),
        ],
        // It was looked at, and there was nothing to be recovered.
        (None, Some(seen)) => [
            Cell::new(Tone::Bad, "unknown"),
            looked(seen.age_seconds, false),
        ],
        (None, None) => [Cell::none(), Cell::new(Tone::Warning, "never")],
    }
}

fn window(primary: Option<&CopyStatus>) -> Cell {
    let Some(seen) = primary.and_then(|copy| copy.verification.as_ref()) else {
        return Cell::none();
    };
    let standing = &seen.standing;
    let end = standing.window_end.or(standing.tip_commit_at);
    let (Some(begin), Some(end)) = (standing.oldest_begin, end) else {
        return Cell::new(Tone::Bad, "none");
    };
    let span = short(end.signed_duration_since(begin).num_seconds());
    if standing.gaps == 0 {
        Cell::plain(span)
    } else {
        Cell::new(
            Tone::Bad,
            format!("{span}, {}", count(standing.gaps, "gap")),
        )
    }
}

fn proof(cluster: &ClusterStatus) -> Cell {
    let late = cluster
        .overdue
        .iter()
        .any(|overdue| overdue.kind == RunKind::Drill);
    match &cluster.last_proof {
        None => Cell::new(Tone::Warning, "never"),
        Some(proof) => {
            let (tone, mark) = if late {
                (Tone::Warning, "!")
            } else {
                (Tone::Plain, "")
            };
            Cell::new(tone, format!("{}{mark}", short(proof.age_seconds)))
        }
    }
}

/// Why clusters are not proven, the worst first.
fn reasons(text: &mut String, report: &Fleet, style: Style) {
    let open: Vec<&ClusterStatus> = report
        .clusters
        .iter()
        .filter(|cluster| !cluster.reasons.is_empty())
        .collect();
    if open.is_empty() {
        return;
    }
    text.push('\n');
    for cluster in open.iter().take(EXPLAINED) {
        let (tone, mark) = verdict(cluster.verdict, style);
        let name = style.paint(Tone::Strong, &cluster.name);
        let _ = writeln!(text, "{} {name}", style.paint(tone, mark));
        let told: Vec<&str> = cluster
            .reasons
            .iter()
            .take(2)
            .map(|reason| reason.text.as_str())
            .collect();
        for reason in told {
            for (index, line) in style.wrap(reason, 6).iter().enumerate() {
                let lead = if index == 0 { "    " } else { "      " };
                let _ = writeln!(text, "{lead}{line}");
            }
        }
        let more = cluster.reasons.len().saturating_sub(2);
        if more > 0 {
            let words = format!("    and {more} more: walproof status {}", cluster.name);
            let _ = writeln!(text, "{}", style.paint(Tone::Quiet, &words));
        }
    }
    let more = open.len().saturating_sub(EXPLAINED);
    if more > 0 {
        let words = format!("and {}", count(more as u64, "more cluster"));
        let _ = writeln!(text, "{}", style.paint(Tone::Quiet, &words));
    }
}
