//! Runs and recorded drills as people read them. Writing to a `String` cannot fail.

use std::fmt::Write as _;

use super::style::{Style, Tone};
use super::verify::one_finding;
use crate::cli::{Output, Palette};
use crate::evidence::{DrillRecord, ObjectiveOutcome, PhaseOutcome, Verdict};
use crate::finding::Finding;
use crate::state::{Run, RunStatus, StoredDrill};
use crate::verify::words::{measured, utc};

/// Runs as a table, newest first.
pub fn table(runs: &[Run], palette: Palette) -> String {
    if runs.is_empty() {
        return "Nothing yet. `walproof verify URL` and `walproof drill run URL` leave a line here.\n"
            .to_owned();
    }
    let width = |cell: fn(&Run) -> String, heading: &str| {
        runs.iter()
            .map(|run| cell(run).chars().count())
            .chain([heading.len()])
            .max()
            .unwrap_or(0)
    };
    let source = width(source_of, "SOURCE");
    let took = width(took_of, "TOOK");
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{}",
        palette.dim(format_args!(
            "{:<19}  {:<13}  {:<7}  {:<source$}  {:<11}  {:>took$}  SUMMARY",
            "STARTED (UTC)", "ID", "KIND", "SOURCE", "VERDICT", "TOOK"
        ))
    );
    for run in runs {
        // The first thirteen characters of a UUID of version 7 are its time in milliseconds.
        let id = run.id.to_string();
        let _ = writeln!(
            text,
            "{:<19}  {}  {:<7}  {:<source$}  {}  {:>took$}  {}",
            run.started_at.format("%Y-%m-%d %H:%M:%S"),
            palette.dim(id.get(..13).unwrap_or(&id)),
            run.kind.as_str(),
            source_of(run),
            verdict_cell(run, palette),
            took_of(run),
            run.summary,
        );
    }
    text
}

fn source_of(run: &Run) -> String {
    if run.copy.is_empty() {
        run.location.clone()
    } else {
        format!("{}/{}", run.cluster, run.copy)
    }
}

fn took_of(run: &Run) -> String {
    match (run.status, run.finished_at) {
        (RunStatus::Finished, Some(end)) => {
            let took = (end - run.started_at).num_milliseconds();
            measured(u64::try_from(took).unwrap_or_default())
        }
        _ => "-".to_owned(),
    }
}

/// Padded before it is coloured, because colours have no width.
fn verdict_cell(run: &Run, palette: Palette) -> String {
    match (run.status, run.verdict) {
        (RunStatus::Running, _) => palette.cyan(format_args!("{:<11}", "running")),
        (RunStatus::Interrupted, _) => palette.yellow(format_args!("{:<11}", "interrupted")),
        (RunStatus::Finished, Some(verdict)) => {
            colored(verdict, palette, format_args!("{:<11}", verdict.as_str()))
        }
        (RunStatus::Finished, None) => {
            let code = run.exit_code.map_or_else(String::new, |code| match code {
                0 => "done".to_owned(),
                code => format!("exit {code}"),
            });
            format!("{code:<11}")
        }
    }
}

fn colored(verdict: Verdict, palette: Palette, text: impl std::fmt::Display) -> String {
    match verdict {
        Verdict::Proven => palette.green(text),
        Verdict::Failed => palette.red(text),
        Verdict::Unproven => palette.yellow(text),
    }
}

/// A recorded drill.
pub fn drill(drill: &StoredDrill, output: Output) -> String {
    let palette = output.palette;
    let run = &drill.run;
    let mut text = String::new();
    let _ = writeln!(
        text,
        "drill {}  {}",
        palette.bold(run.id),
        verdict_cell(run, palette).trim_end()
    );
    let _ = writeln!(text, "  source    {} ({})", source_of(run), run.location);
    let _ = writeln!(text, "  started   {}", utc(run.started_at));
    if !run.summary.is_empty() {
        let _ = writeln!(text, "  summary   {}", run.summary);
    }
    match &drill.record {
        Some(record) => describe(&mut text, record, output),
        None => {
            let _ = writeln!(text, "  It did not come as far as a record.");
        }
    }
    findings(&mut text, &drill.findings, output.style());
    if let Some(sha256) = &drill.record_sha256 {
        let _ = writeln!(text, "\nrecord SHA-256 {}", palette.dim(sha256));
    }
    text
}

fn describe(text: &mut String, record: &DrillRecord, output: Output) {
    let (palette, style) = (output.palette, output.style());
    if let Some(backup) = &record.source.backup {
        let _ = writeln!(text, "  backup    {}", backup.id);
    }
    if let Some(wal) = &record.source.wal {
        let _ = writeln!(
            text,
            "  WAL       {} to {} ({} segments, timeline {})",
            wal.begin_lsn, wal.end_lsn, wal.segments, wal.timeline
        );
    }
    let _ = writeln!(text, "  target    {}", record.target.asked);
    for (name, _, words) in record.alone.iter().flat_map(super::alone::rows) {
        let _ = writeln!(text, "  {name:<9} {words}");
    }
    if let Some(end) = &record.end_of_recovery {
        let reached = end
            .reached_lsn
            .map_or_else(|| "unknown".to_owned(), |lsn| lsn.to_string());
        let agrees = if end.agrees {
            palette.green("as the archive's bytes say")
        } else {
            palette.red(format_args!("expected {}", end.expected_lsn))
        };
        let _ = writeln!(text, "  ended at  {reached}, {agrees}");
    }
    for reason in &record.reasons {
        let _ = writeln!(text, "  because   {reason}");
    }
    if !record.phases.is_empty() {
        let _ = writeln!(text, "\n{}", palette.bold("Phases"));
    }
    for phase in &record.phases {
        let mark = match phase.outcome {
            PhaseOutcome::Done => String::new(),
            PhaseOutcome::Failed => palette.red("failed"),
            PhaseOutcome::NotReached => palette.dim("not reached"),
        };
        let line = format!(
            "  {:<20} {:>8}  {mark}",
            phase.name.replace('-', " "),
            measured(phase.duration_ms)
        );
        let _ = writeln!(text, "{}", line.trim_end());
    }
    if !record.checks.is_empty() {
        let _ = writeln!(text, "\n{}", palette.bold("Checks"));
    }
    for check in &record.checks {
        let _ = writeln!(
            text,
            "  {}  {}: {}",
            colored(
                check.verdict,
                palette,
                format_args!("{:<8}", check.verdict.as_str())
            ),
            check.name,
            check.message
        );
    }
    if !record.objectives.is_empty() {
        let _ = writeln!(text, "\n{}", palette.bold("Objectives"));
    }
    for objective in &record.objectives {
        let outcome = match objective.outcome {
            ObjectiveOutcome::Met => palette.green("met"),
            ObjectiveOutcome::Missed => palette.red("missed"),
            ObjectiveOutcome::NotMeasured => palette.yellow("not measured"),
        };
        let _ = writeln!(
            text,
            "  {}  {outcome}: {} of {} ({})",
            objective.name.to_uppercase(),
            objective.actual_ms.map_or_else(|| "-".to_owned(), measured),
            measured(objective.limit_ms),
            objective.set_by
        );
    }
    if !record.limits.is_empty() {
        let _ = writeln!(text, "\n{}", palette.bold("What this does not prove"));
    }
    for limit in &record.limits {
        for (index, line) in style.wrap(limit, 4).iter().enumerate() {
            let lead = if index == 0 { "- " } else { "  " };
            let _ = writeln!(text, "  {lead}{line}");
        }
    }
}

fn findings(text: &mut String, findings: &[Finding], style: Style) {
    if !findings.is_empty() {
        let _ = writeln!(text, "\n{}", style.paint(Tone::Strong, "Findings"));
    }
    for finding in findings {
        for line in one_finding(finding, style) {
            let _ = writeln!(text, "{line}");
        }
    }
}
