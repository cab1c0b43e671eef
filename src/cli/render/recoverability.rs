//! The recoverability of one copy as a line of characters: backups, covered time, holes.

use chrono::{DateTime, Duration, Utc};

use super::style::{Style, Tone};
use crate::verify::{Hole, VerifyReport};

/// What one character of the line stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Cell {
    /// Not recoverable.
    Lost,
    /// After the tip: not archived yet, so it would be lost now.
    Exposed,
    /// Every moment can be recovered.
    Covered,
    /// A base backup that cannot be used.
    Unusable,
    /// A usable base backup.
    Backup,
    /// WAL is missing here. Never hidden by anything else.
    Hole,
}

impl Cell {
    const fn character(self, style: Style) -> &'static str {
        match self {
            Self::Lost => style.pick("─", "-"),
            Self::Exposed => style.pick("·", "."),
            Self::Covered => style.pick("━", "="),
            Self::Unusable => "b",
            Self::Backup => "B",
            Self::Hole => style.pick("╳", "X"),
        }
    }

    const fn tone(self) -> Tone {
        match self {
            Self::Lost | Self::Hole => Tone::Bad,
            Self::Exposed | Self::Unusable => Tone::Quiet,
            Self::Covered => Tone::Good,
            Self::Backup => Tone::Strong,
        }
    }

    const fn meaning(self) -> &'static str {
        match self {
            Self::Lost => "not recoverable",
            Self::Exposed => "not archived yet",
            Self::Covered => "recoverable",
            Self::Unusable => "unusable backup",
            Self::Backup => "base backup",
            Self::Hole => "WAL missing",
        }
    }
}

/// The line, its time axis and its legend, ready to print; empty when the repository
/// holds nothing with a time.
pub fn draw(report: &VerifyReport, style: Style) -> Vec<String> {
    let Some(scale) = Scale::of(report, style) else {
        return Vec::new();
    };
    let cells = cells(report, &scale);
    let edge = style.pick("│", "|");
    let mut line = edge.to_owned();
    // Equal neighbours are painted at once.
    let mut rest = cells.as_slice();
    while let Some(first) = rest.first() {
        let run = rest.iter().take_while(|cell| *cell == first).count();
        let text = first.character(style).repeat(run);
        line.push_str(&style.paint(first.tone(), &text));
        rest = rest.get(run..).unwrap_or_default();
    }
    line.push_str(edge);
    let mut lines = vec![line, axis(report, &scale, style)];
    lines.extend(legend(&cells, style));
    lines
}

/// Time to columns.
struct Scale {
    begin: DateTime<Utc>,
    end: DateTime<Utc>,
    columns: usize,
}

impl Scale {
    fn of(report: &VerifyReport, style: Style) -> Option<Self> {
        let backups = report
            .backups
            .iter()
            .filter_map(|backup| backup.end_time.or(backup.begin_time));
        let windows = report.windows.iter().filter_map(|window| window.begin_time);
        let holes = report.holes.iter().filter_map(|hole| hole.last_before);
        let begin = backups.chain(windows).chain(holes).min()?;
        // A clock ahead of ours must not turn the axis round.
        let end = report.checked_at.max(begin + Duration::seconds(1));
        Some(Self {
            begin,
            end,
            columns: style.width.max(40) - 2,
        })
    }

    /// The column of a moment, within the line.
    fn column(&self, moment: DateTime<Utc>) -> usize {
        let span = (self.end - self.begin).num_milliseconds().max(1);
        let within = (moment - self.begin).num_milliseconds().clamp(0, span);
        let last = i64::try_from(self.columns).unwrap_or(i64::MAX) - 1;
        let column = i128::from(within) * i128::from(last) / i128::from(span);
        usize::try_from(column).unwrap_or(0)
    }
}

fn cells(report: &VerifyReport, scale: &Scale) -> Vec<Cell> {
    let tip = report
        .windows
        .iter()
        .filter_map(|window| window.end_time)
        .max();
    let exposed = tip.map_or(scale.columns, |tip| scale.column(tip));
    let at_hole = report.tip.as_ref().zip(report.archive_end.as_ref());
    let cut = at_hole.is_some_and(|(tip, end)| {
        report
            .holes
            .iter()
            .any(|hole| hole.begin_lsn >= tip.lsn && hole.begin_lsn < end.lsn)
    });
    let mut cells: Vec<Cell> = (0..scale.columns)
        .map(|column| {
            if column > exposed && !cut {
                Cell::Exposed
            } else {
                Cell::Lost
            }
        })
        .collect();
    let mut put = |from: usize, to: usize, cell: Cell| {
        for place in cells.iter_mut().take(to + 1).skip(from) {
            *place = cell.max(*place);
        }
    };
    for window in &report.windows {
        if let Some((begin, end)) = window.begin_time.zip(window.end_time) {
            put(scale.column(begin), scale.column(end), Cell::Covered);
        }
    }
    for backup in &report.backups {
        if let Some(time) = backup.end_time.or(backup.begin_time) {
            let cell = if backup.usable {
                Cell::Backup
            } else {
                Cell::Unusable
            };
            put(scale.column(time), scale.column(time), cell);
        }
    }
    for hole in &report.holes {
        if let Some((from, to)) = hole_span(report, hole) {
            // A hole never covers the moments that are known on its two sides, unless
            // they fall into the same column.
            let (from, to) = (scale.column(from), scale.column(to));
            let from = if to > from + 1 { from + 1 } else { from };
            let to = if to > from + 1 { to - 1 } else { to };
            put(from, to, Cell::Hole);
        }
    }
    cells
}

/// From when to when a hole reaches, as far as that is known.
fn hole_span(report: &VerifyReport, hole: &Hole) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
    let from = hole.last_before.or_else(|| {
        let before = report
            .windows
            .iter()
            .filter(|window| window.end_lsn <= hole.begin_lsn);
        before.filter_map(|window| window.end_time).max()
    });
    let to = hole.first_after.or(hole.recoverable_again).or(from);
    let from = from.or(to)?;
    to.map(|to| (from, to.max(from)))
}

/// Times beneath the line: its begin, the first hole where there is room, and now.
fn axis(report: &VerifyReport, scale: &Scale, style: Style) -> String {
    let span = scale.end - scale.begin;
    let long = span > Duration::hours(20);
    // Seconds only where minutes would show the same label twice.
    let clock = if span < Duration::hours(1) {
        "%H:%M:%S"
    } else {
        "%H:%M"
    };
    let left = scale.begin.format(&format!("%Y-%m-%d {clock}")).to_string();
    let date = if long { "%Y-%m-%d " } else { "" };
    let right = scale.end.format(&format!("{date}{clock} UTC")).to_string();
    let width = scale.columns + 2;
    let mut text = left.clone();
    let hole = report
        .holes
        .first()
        .and_then(|hole| hole_span(report, hole));
    if let Some((from, _)) = hole {
        let label = from
            .format(if long { "%m-%d %H:%M" } else { "%H:%M:%S" })
            .to_string();
        let at = scale.column(from) + 1;
        let room = width.saturating_sub(right.len() + 2);
        if at > left.len() + 1 && at + label.len() + 2 <= room {
            let mark = style.pick("↑", "^");
            text.push_str(&" ".repeat(at - left.len()));
            text.push_str(mark);
            text.push_str(&label);
        }
    }
    let used = text.chars().count();
    text.push_str(&" ".repeat(width.saturating_sub(used + right.len()).max(1)));
    text.push_str(&right);
    style.paint(Tone::Quiet, &text)
}

/// The characters that occur, explained.
fn legend(cells: &[Cell], style: Style) -> Vec<String> {
    let order = [
        Cell::Backup,
        Cell::Unusable,
        Cell::Covered,
        Cell::Hole,
        Cell::Lost,
        Cell::Exposed,
    ];
    let mut lines: Vec<String> = Vec::new();
    for cell in order.into_iter().filter(|cell| cells.contains(cell)) {
        let words = format!("{} {}", cell.character(style), cell.meaning());
        match lines.last_mut() {
            Some(line) if line.chars().count() + 3 + words.chars().count() <= style.width => {
                line.push_str("   ");
                line.push_str(&words);
            }
            _ => lines.push(words),
        }
    }
    lines
        .iter()
        .map(|line| style.paint(Tone::Quiet, line))
        .collect()
}
