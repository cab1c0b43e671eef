//! Drills as people read them.

use std::fmt::Write as _;

use chrono::{DateTime, SecondsFormat, Utc};

use crate::cli::Palette;
use crate::drill::checks::CheckOutcome;
use crate::drill::verdict::{Objective, ObjectiveState};
use crate::drill::{DrillPlan, DrillReport, PhaseTiming, SweepReport, Verdict};
use crate::finding::{Finding, Severity};

/// Milliseconds as people say them.
pub fn duration(milliseconds: u64) -> String {
    let seconds = milliseconds / 1_000;
    match seconds {
        0..=59 => format!("{seconds}.{:01} s", milliseconds % 1_000 / 100),
        60..=3_599 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        3_600..=86_399 => format!("{} h {:02} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} d {:02} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// Bytes as people say them.
pub fn bytes(number: u64) -> String {
    let units = [
        (1_u64 << 40, "TiB"),
        (1 << 30, "GiB"),
        (1 << 20, "MiB"),
        (1 << 10, "KiB"),
    ];
    for (size, unit) in units {
        if number >= size {
            let tenths = u128::from(number) * 10 / u128::from(size);
            return format!("{}.{} {unit}", tenths / 10, tenths % 10);
        }
    }
    format!("{number} bytes")
}

fn utc(moment: DateTime<Utc>) -> String {
    moment.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// One line for a phase that has ended.
pub fn phase_line(timing: &PhaseTiming) -> String {
    let mark = if timing.completed { "✓" } else { "✗" };
    format!(
        "  {mark} {:<18} {:>12}\n",
        timing.phase.words(),
        duration(timing.milliseconds)
    )
}

fn row(text: &mut String, name: &str, value: impl std::fmt::Display) {
    let _ = writeln!(text, "  {name:<22} {value}");
}

fn finding_lines(text: &mut String, findings: &[Finding], palette: Palette) {
    for finding in findings {
        let code = match finding.severity {
            Severity::Critical => palette.red(finding.code),
            Severity::Warning => palette.yellow(finding.code),
            Severity::Info => palette.dim(finding.code),
        };
        let _ = writeln!(text, "  {code}  {}", finding.object);
        let _ = writeln!(text, "      {}", finding.message);
        if finding.severity != Severity::Info {
            let _ = writeln!(text, "      {}", finding.consequence);
            let _ = writeln!(text, "      {}", palette.cyan(&finding.action));
        }
    }
}

/// A drill in one line, for the history.
pub fn summary(report: &DrillReport) -> String {
    let target = &report.target;
    match (report.reasons.first(), report.measurements.time_to_verified) {
        (Some(reason), _) => format!("{target}: {}", reason.text),
        (None, Some(time)) => format!("{target}: verified in {}", duration(time)),
        (None, None) => target.clone(),
    }
}

/// A plan.
pub fn plan(plan: &DrillPlan, palette: Palette) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{}",
        palette.bold(format!("Drill of {}", plan.repository))
    );
    plan_rows(&mut text, plan);
    let environment = &plan.environment;
    row(
        &mut text,
        "PostgreSQL",
        format!(
            "{} in {}",
            environment.version,
            environment.binaries.display()
        ),
    );
    row(&mut text, "scratch", environment.scratch.display());
    row(
        &mut text,
        "room",
        format!(
            "{} needed, {} free",
            bytes(environment.room_needed),
            bytes(environment.room_available)
        ),
    );
    row(&mut text, "runs as", &environment.run_as);
    if !plan.checks.is_empty() {
        row(&mut text, "checks", plan.checks.join(", "));
    }
    if !plan.holes.is_empty() {
        let _ = writeln!(
            text,
            "\n{}",
            palette.red("The archive does not reach its end: this drill cannot be proven.")
        );
        finding_lines(&mut text, &plan.holes, palette);
    }
    if !plan.findings.is_empty() {
        let _ = writeln!(text, "\n{}", palette.bold("Findings"));
        finding_lines(&mut text, &plan.findings, palette);
    }
    text
}

fn plan_rows(text: &mut String, plan: &DrillPlan) {
    let taken = plan
        .backup
        .end_time
        .map_or_else(String::new, |time| format!(", finished {}", utc(time)));
    row(
        text,
        "base backup",
        format!(
            "{}{taken}, {}",
            plan.backup.id,
            bytes(plan.backup.stored_bytes)
        ),
    );
    let end = &plan.expected_end;
    row(text, "target", &plan.target);
    row(
        text,
        "must end at",
        format!("{} on timeline {}", end.end, end.timeline),
    );
    if let Some(commit) = end.recovery_point {
        row(
            text,
            "last commit",
            format!("{} (transaction {})", utc(commit.time), commit.xid),
        );
    }
    row(
        text,
        "WAL to replay",
        format!(
            "{} in {} segments, {} commits",
            bytes(plan.wal.bytes),
            plan.wal.segments,
            plan.wal.commits
        ),
    );
}

fn objective(name: &str, objective: &Objective, palette: Palette) -> Option<String> {
    let limit = objective.limit_milliseconds.map(duration)?;
    let actual = objective
        .actual_milliseconds
        .map_or_else(|| "not measured".to_owned(), duration);
    let state = match objective.state {
        ObjectiveState::Met => palette.green("met"),
        ObjectiveState::Missed => palette.red("missed"),
        ObjectiveState::NotMeasured => palette.yellow("not measured"),
        ObjectiveState::NotApplicable => palette.dim("says nothing about this target"),
        ObjectiveState::NotSet => return None,
    };
    Some(format!("{name} {state}: {actual} of {limit}"))
}

/// A report.
pub fn report(report: &DrillReport, palette: Palette) -> String {
    let mut text = String::new();
    let verdict = match report.verdict {
        Verdict::Proven => palette.green("PROVEN"),
        Verdict::Failed => palette.red("FAILED"),
        Verdict::Unproven => palette.yellow("UNPROVEN"),
    };
    let cluster = report.cluster.as_deref().unwrap_or("repository");
    let _ = writeln!(
        text,
        "\n{verdict}  {}  {}",
        palette.bold(cluster),
        palette.dim(&report.repository)
    );
    for reason in &report.reasons {
        let code = reason
            .code
            .map_or_else(String::new, |code| format!("{code}: "));
        let _ = writeln!(text, "  {code}{}", reason.text);
    }
    let _ = writeln!(text);
    if let Some(plan) = &report.plan {
        plan_rows(&mut text, plan);
    }
    measurement_rows(&mut text, report, palette);
    if !report.checks.is_empty() {
        let _ = writeln!(text, "\n{}", palette.bold("Checks"));
    }
    for check in &report.checks {
        let outcome = match check.outcome {
            CheckOutcome::Passed => palette.green("passed  "),
            CheckOutcome::Failed => palette.red("failed  "),
            CheckOutcome::Unproven => palette.yellow("unproven"),
        };
        let seen = check.observed.as_deref().unwrap_or("");
        let _ = writeln!(
            text,
            "  {outcome} {}  {}",
            check.name,
            palette.dim(first_line(seen))
        );
        if let Some(message) = &check.message {
            let _ = writeln!(text, "           {message}");
        }
    }
    if !report.findings.is_empty() {
        let _ = writeln!(text, "\n{}", palette.bold("Findings"));
        finding_lines(&mut text, &report.findings, palette);
    }
    if report.verdict != Verdict::Proven && !report.log_tail.is_empty() {
        let _ = writeln!(text, "\n{}", palette.bold("The server's last lines"));
        let lines: Vec<&str> = report.log_tail.lines().collect();
        for line in lines.iter().skip(lines.len().saturating_sub(8)) {
            let _ = writeln!(text, "  {}", palette.dim(line));
        }
    }
    for kept in &report.environment.kept {
        row(&mut text, "kept", palette.dim(kept.display()));
    }
    row(&mut text, "drill", palette.dim(report.id));
    text
}

fn first_line(value: &str) -> String {
    let line = value.lines().next().unwrap_or_default();
    if line.chars().count() > 80 {
        format!("{}…", line.chars().take(79).collect::<String>())
    } else {
        line.to_owned()
    }
}

fn measurement_rows(text: &mut String, report: &DrillReport, palette: Palette) {
    let measured = &report.measurements;
    if let Some(end) = report.proof.observed_end {
        let holds = match report.verdict {
            _ if report
                .proof
                .items
                .iter()
                .any(|item| item.holds == Some(false)) =>
            {
                palette.red("not where it must")
            }
            _ => palette.green("as the bytes say"),
        };
        row(text, "recovery ended at", format!("{end}, {holds}"));
    }
    if let Some(lost) = measured.recovery_point_achieved {
        row(text, "would be lost", duration(lost));
    }
    if let Some(time) = measured.time_to_service {
        row(text, "time to service", duration(time));
    }
    if let Some(time) = measured.time_to_verified {
        row(text, "time to verified", duration(time));
    }
    row(
        text,
        "fetched, replayed",
        format!(
            "{}, {}",
            bytes(measured.base_bytes_fetched),
            bytes(measured.wal_bytes_replayed)
        ),
    );
    for line in [
        objective("RPO", &report.rpo, palette),
        objective("RTO", &report.rto, palette),
    ]
    .into_iter()
    .flatten()
    {
        row(text, "objective", line);
    }
    if let Some(isolated) = report.environment.network_isolated {
        let words = if isolated {
            "none"
        } else {
            "the machine's own"
        };
        row(text, "server's network", words);
    }
}

/// What a sweep did, or would do.
pub fn sweep(report: &SweepReport, only_look: bool, palette: Palette) -> String {
    let mut text = String::new();
    let did = if only_look { "would remove" } else { "removed" };
    for path in &report.removed {
        let _ = writeln!(text, "{did} {}", path.display());
    }
    for pid in &report.ended {
        let _ = writeln!(text, "ended a server without owner, process {pid}");
    }
    for kept in &report.kept {
        let _ = writeln!(
            text,
            "{} {}: {}",
            palette.dim("left alone"),
            kept.path.display(),
            kept.reason
        );
    }
    for failed in &report.failed {
        let _ = writeln!(
            text,
            "{} {}: {}",
            palette.red("not removed"),
            failed.path.display(),
            failed.reason
        );
    }
    if text.is_empty() {
        text.push_str("nothing was left behind\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_well() {
        for (milliseconds, words) in [
            (0, "0.0 s"),
            (1_250, "1.2 s"),
            (61_000, "1 min 01 s"),
            (3_660_000, "1 h 01 min"),
            (90_000_000, "1 d 01 h"),
        ] {
            assert_eq!(duration(milliseconds), words);
        }
        for (number, words) in [
            (12, "12 bytes"),
            (1_536, "1.5 KiB"),
            (16 << 20, "16.0 MiB"),
            (u64::MAX, "16777215.9 TiB"),
        ] {
            assert_eq!(bytes(number), words);
        }
        assert_eq!(
            first_line(&format!("{}\nmore", "x".repeat(100)))
                .chars()
                .count(),
            80
        );
    }
}
