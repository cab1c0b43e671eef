//! Small drawings within the tables: SVG, no script. What they show stands in words or
//! numbers beside them or in their titles.

use std::fmt::Write as _;

use super::super::days::Days;
use super::super::summary::{DayCounts, DrillDay};
use super::super::{Population, Rank};
use super::text::length;

/// What became of the due moments, as a bar.
pub(super) fn bar(population: &Population) -> String {
    const WIDTH: u64 = 150;
    let due = population.due();
    if due == 0 {
        return String::new();
    }
    let ran = &population.scheduled;
    let parts = [
        ("proven", ran.proven),
        ("passed", ran.passed),
        ("unproven", ran.unproven),
        ("failed", ran.failed),
        ("missed", population.missed),
        ("skipped", population.skipped),
    ];
    let words: Vec<String> = parts
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| format!("{count} {name}"))
        .collect();
    let mut svg = format!(
        "<svg class=\"bar\" viewBox=\"0 0 {WIDTH} 10\" width=\"{WIDTH}\" height=\"10\" role=\"img\"><title>{}</title>",
        words.join(", ")
    );
    // What is rare must still be seen: no part is thinner than three pixels.
    let shown: Vec<(&str, u64)> = parts
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| (name, (count.saturating_mul(WIDTH) / due).max(3)))
        .collect();
    let all: u64 = shown.iter().map(|(_, width)| width).sum();
    let widest = shown.iter().map(|(_, width)| *width).max().unwrap_or(0);
    let mut spare = WIDTH.cast_signed() - all.cast_signed();
    let mut x = 0;
    for (name, width) in shown {
        let width = if width == widest {
            width.saturating_add_signed(std::mem::take(&mut spare))
        } else {
            width
        };
        let _ = write!(
            svg,
            "<rect class=\"{name}\" x=\"{x}\" width=\"{width}\" height=\"10\"/>"
        );
        x += width;
    }
    svg.push_str("</svg>");
    svg
}

const fn word(came_to: Option<DrillDay>) -> (&'static str, &'static str) {
    match came_to {
        None => ("none", "no drill"),
        Some(DrillDay::Proven) => ("proven", "proven"),
        Some(DrillDay::Skipped) => ("skipped", "skipped"),
        Some(DrillDay::Missed) => ("missed", "missed"),
        Some(DrillDay::Unproven) => ("unproven", "unproven"),
        Some(DrillDay::Failed) => ("failed", "failed"),
    }
}

/// A cluster's drills day by day: the worst of each day.
pub(super) fn strip(counts: &[DayCounts], days: Days) -> String {
    const STEP: usize = 12;
    let width = counts.len() * STEP;
    let mut svg = format!(
        "<svg class=\"strip\" viewBox=\"0 0 {width} 16\" width=\"{width}\" height=\"16\" role=\"img\">"
    );
    for (day, counts) in counts.iter().enumerate() {
        let (class, words) = word(counts.worst());
        let x = day * STEP;
        let date = days.begin(day).format("%Y-%m-%d");
        let _ = write!(
            svg,
            "<rect class=\"{class}\" x=\"{x}\" y=\"1\" width=\"10\" height=\"14\" rx=\"2\"><title>{date}: {words}</title></rect>"
        );
        // Not by colour alone.
        let mark = match class {
            "failed" => Some(format!("M{} 5l6 6m0-6l-6 6", x + 2)),
            "missed" => Some(format!("M{} 8h6", x + 2)),
            "unproven" => Some(format!("M{} 5v3.5m0 2v.6", x + 5)),
            _ => None,
        };
        if let Some(path) = mark {
            let _ = write!(svg, "<path class=\"mark\" d=\"{path}\"/>");
        }
    }
    svg.push_str("</svg>");
    svg
}

/// The worst value of each stretch against the objective.
pub(super) fn spark(values: &[Option<Rank>], stretches: usize, limit: Option<u64>) -> String {
    const HEIGHT: u64 = 26;
    let values = values
        .get(..stretches.min(values.len()))
        .unwrap_or_default();
    let milliseconds = |rank: &Option<Rank>| match rank {
        Some(Rank::Milliseconds(value)) => Some(*value),
        _ => None,
    };
    let highest = values.iter().filter_map(milliseconds).max();
    let Some(top) = highest.max(limit) else {
        return String::new();
    };
    let top = top.max(1);
    let y = |value: u64| {
        let height = u128::from(value) * u128::from(HEIGHT - 2) / u128::from(top);
        u64::try_from(height).unwrap_or(HEIGHT).clamp(1, HEIGHT)
    };
    let width = values.len() * 4;
    let title = highest.map_or_else(
        || "no value".to_owned(),
        |highest| format!("highest value {}", length(highest)),
    );
    let mut svg = format!(
        "<svg class=\"spark\" viewBox=\"0 0 {width} {HEIGHT}\" width=\"{width}\" height=\"{HEIGHT}\" role=\"img\"><title>{title}</title>"
    );
    for (position, value) in values.iter().enumerate() {
        let x = position * 4;
        let (class, height) = match value {
            None => continue,
            Some(Rank::Beyond) => ("failed", HEIGHT),
            Some(Rank::Milliseconds(value)) if limit.is_some_and(|limit| *value > limit) => {
                ("failed", y(*value))
            }
            Some(Rank::Milliseconds(value)) => ("passed", y(*value)),
        };
        let _ = write!(
            svg,
            "<rect class=\"{class}\" x=\"{x}\" y=\"{}\" width=\"3\" height=\"{height}\"/>",
            HEIGHT - height
        );
    }
    if let Some(limit) = limit {
        let at = HEIGHT - y(limit);
        let _ = write!(svg, "<path class=\"limit\" d=\"M0 {at}.5h{width}\"/>");
    }
    svg.push_str("</svg>");
    svg
}
