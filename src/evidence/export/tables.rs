//! The tables of an export.

use std::io::{self, Write};

use super::csv::{Cell, headings, row};
use super::{FindingRow, Rank, Summary};
use chrono::{DateTime, Utc};

const COUNTS: [&str; 5] = ["run", "proven", "passed", "failed", "unproven"];

/// `population.csv`.
pub(super) fn population(summary: &Summary, out: &mut impl Write) -> io::Result<()> {
    let mut names = vec!["cluster", "copy", "kind", "due"];
    names.extend(COUNTS);
    names.extend(["missed", "skipped", "late", "retries", "overdue"]);
    let by_hand = COUNTS.map(|name| format!("by_hand_{name}"));
    names.extend(by_hand.iter().map(String::as_str));
    headings(out, &names)?;
    for (key, population) in summary.population() {
        let (ran, hand) = (&population.scheduled, &population.by_hand);
        let mut cells = vec![
            Cell::Text(&key.cluster),
            Cell::Text(&key.copy),
            Cell::Text(key.kind.as_str()),
        ];
        cells.extend(
            [
                population.due(),
                ran.run,
                ran.proven,
                ran.passed,
                ran.failed,
                ran.unproven,
                population.missed,
                population.skipped,
                population.late,
                population.retries,
                population.overdue,
                hand.run,
                hand.proven,
                hand.passed,
                hand.failed,
                hand.unproven,
            ]
            .map(Cell::Number),
        );
        row(out, &cells)?;
    }
    Ok(())
}

/// `objectives.csv`. A percentile that falls on a failed run is `beyond`.
pub(super) fn objectives(summary: &mut Summary, out: &mut impl Write) -> io::Result<()> {
    headings(
        out,
        &[
            "cluster",
            "copy",
            "objective",
            "measured_by",
            "limit_ms",
            "limit_changed",
            "n",
            "met",
            "missed",
            "failed",
            "not_measured",
            "by_hand",
            "p50_ms",
            "p95_ms",
            "max_ms",
        ],
    )?;
    for (key, measured) in summary.measured() {
        let rank = |rank: Option<Rank>| rank.map_or_else(String::new, |rank| rank.to_string());
        let ranks = [measured.p50, measured.p95, measured.max].map(rank);
        let mut cells = vec![
            Cell::Text(&key.cluster),
            Cell::Text(&key.copy),
            Cell::Text(key.objective),
            Cell::Text(key.by.as_str()),
            Cell::Known(measured.limit_ms),
            Cell::Text(if measured.limit_changed { "yes" } else { "no" }),
            Cell::Number(measured.n),
            Cell::Number(measured.met),
            Cell::Number(measured.missed),
            Cell::Number(measured.beyond),
            Cell::Number(measured.not_measured),
            Cell::Number(measured.by_hand),
        ];
        cells.extend(ranks.iter().map(|rank| Cell::Text(rank)));
        row(out, &cells)?;
    }
    Ok(())
}

/// The first line of `findings.csv`.
pub(super) fn findings_begin(out: &mut impl Write) -> io::Result<()> {
    headings(
        out,
        &[
            "id",
            "cluster",
            "copy",
            "code",
            "severity",
            "object",
            "opened_at",
            "opened_by_entry",
            "closed_at",
            "closed_by_entry",
            "age_ms",
        ],
    )
}

/// A line of `findings.csv`; the age of an open finding is that at the end of the period.
pub(super) fn finding(
    finding: &FindingRow,
    end: DateTime<Utc>,
    out: &mut impl Write,
) -> io::Result<()> {
    row(
        out,
        &[
            Cell::Text(&finding.id.to_string()),
            Cell::Text(&finding.cluster),
            Cell::Text(&finding.copy),
            Cell::Text(&finding.code),
            Cell::Text(finding.severity.as_str()),
            Cell::Text(&finding.object),
            Cell::Moment(Some(finding.opened_at)),
            Cell::Known(finding.opened_by),
            Cell::Moment(finding.closed_at),
            Cell::Known(finding.closed_by),
            Cell::Number(finding.age_ms(end)),
        ],
    )
}
