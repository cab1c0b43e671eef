//! `walproof restore` for people.

use std::fmt::Write as _;

use super::style::{Style, Tone};
use super::verify::one_finding;
use crate::restore::{RestorePlan, RestoreReport};
use crate::verify::words;

/// What would be restored.
pub fn plan(plan: &RestorePlan, style: Style) -> String {
    let mut text = format!(
        "{}  {} into {}\n",
        style.paint(Tone::Strong, "would restore"),
        plan.repository,
        plan.into.display()
    );
    facts(&mut text, plan);
    for passed in &plan.passed_over {
        row(
            &mut text,
            "passed over",
            &format!("{}: {}", passed.id, passed.reason),
        );
    }
    row(&mut text, "restore_command", &plan.restore_command);
    for finding in &plan.target.findings {
        push_lines(&mut text, &one_finding(finding, style));
    }
    text
}

/// What was restored, and what to do next.
pub fn report(report: &RestoreReport, style: Style) -> String {
    let plan = &report.plan;
    let mut text = format!(
        "{}  {} into {}\n",
        style.paint(Tone::Good, "restored"),
        plan.repository,
        plan.into.display()
    );
    facts(&mut text, plan);
    row(
        &mut text,
        "fetched",
        &format!(
            "{} in {}; {} in {} written",
            words::bytes(report.extracted.stored_bytes()),
            words::count(report.extracted.archives.len() as u64, "archive"),
            words::bytes(report.extracted.extracted.bytes),
            words::count(report.extracted.extracted.files, "file"),
        ),
    );
    if !report.preload_set_aside.is_empty() {
        row(
            &mut text,
            "not preloaded",
            &format!("{} (--preload)", report.preload_set_aside.join(", ")),
        );
    }
    if !report.findings.is_empty() {
        let _ = writeln!(text, "\n{}", style.paint(Tone::Strong, "Findings"));
        for finding in &report.findings {
            push_lines(&mut text, &one_finding(finding, style));
        }
    }
    let _ = writeln!(
        text,
        "\n{}\n  {}\n  PostgreSQL replays up to {} and then does as --then says ({}).\n  Prove it there: SELECT pg_last_wal_replay_lsn(); must show {}.",
        style.paint(Tone::Strong, "Next"),
        report.next_step,
        report.expected_end,
        plan.action.as_str(),
        report.expected_end,
    );
    text
}

fn facts(text: &mut String, plan: &RestorePlan) {
    let ended = plan.backup_end_time.map_or_else(String::new, |time| {
        format!(", finished {}", words::utc(time))
    });
    row(
        text,
        "base backup",
        &format!(
            "{}{ended}, {}",
            plan.backup_id,
            words::bytes(plan.stored_bytes)
        ),
    );
    row(text, "target", &plan.target.target.to_string());
    row(
        text,
        "ends at",
        &format!("{} on timeline {}", plan.target.end, plan.target.timeline),
    );
    if let Some(commit) = &plan.target.recovery_point {
        row(
            text,
            "last commit",
            &format!(
                "{} (transaction {})",
                words::utc_milliseconds(commit.time),
                commit.xid
            ),
        );
    }
    row(
        text,
        "WAL to replay",
        &format!(
            "{} in {}",
            words::bytes(plan.target.end.saturating_since(plan.target.begin)),
            words::count(plan.target.plan.count(), "segment")
        ),
    );
    for tablespace in &plan.tablespaces {
        row(
            text,
            "tablespace",
            &format!(
                "{} ({}) into {}",
                tablespace.name,
                tablespace.oid,
                tablespace.path.display()
            ),
        );
    }
    if let Some(owner) = &plan.owner {
        row(text, "files belong to", owner);
    }
}

fn row(text: &mut String, name: &str, value: &str) {
    let _ = writeln!(text, "  {name:<16}  {value}");
}

fn push_lines(text: &mut String, lines: &[String]) {
    for line in lines {
        let _ = writeln!(text, "{line}");
    }
}
