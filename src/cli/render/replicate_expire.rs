//! What goes from a copy and what stays, as people read it. Writing to a `String` cannot fail.

use std::fmt::Write as _;

use super::style::{Style, Tone};
use crate::replicate::expire::{ExpireOutcome, ExpirePlan, ExpireReport, PlannedBackup};
use crate::repository::BackupStatus;
use crate::verify::words::{bytes, count, utc};

/// A plan, and what came of it.
pub fn render(report: &ExpireReport, style: Style, limit: usize) -> String {
    let (plan, done) = (&report.plan, report.outcome.as_ref());
    let mut text = String::new();
    heading(&mut text, plan, style);
    let (staying, going): (Vec<&PlannedBackup>, Vec<&PlannedBackup>) =
        plan.backups.iter().partition(|backup| backup.stays);
    backups(&mut text, "Stays", &staying, Tone::Good, (style, limit));
    backups(&mut text, "Goes", &going, Tone::Warning, (style, limit));
    wal(&mut text, plan, style);
    for note in &plan.notes {
        for (index, line) in style.wrap(note, 6).iter().enumerate() {
            let lead = if index == 0 { "note: " } else { "      " };
            let _ = writeln!(
                text,
                "{}",
                style.paint(Tone::Warning, &format!("{lead}{line}"))
            );
        }
    }
    match (&plan.objection, done) {
        (Some(objection), _) => {
            for line in style.wrap(&format!("Nothing is removed: {objection}."), 0) {
                let _ = writeln!(text, "\n{}", style.paint(Tone::Bad, &line));
            }
        }
        (None, Some(done)) => outcome(&mut text, done, style),
        (None, None) => ending(&mut text, plan, style),
    }
    text
}

fn heading(text: &mut String, plan: &ExpirePlan, style: Style) {
    let name = match (&plan.cluster, &plan.copy) {
        (Some(cluster), Some(copy)) => format!("{cluster}/{copy}  "),
        _ => String::new(),
    };
    let _ = writeln!(
        text,
        "{}{}",
        style.paint(Tone::Strong, &name),
        plan.location
    );
    let _ = writeln!(
        text,
        "keeps {}: every moment since {}, and at least {}",
        plan.policy.keep,
        utc(plan.since),
        count(
            u64::from(plan.policy.minimum_redundancy),
            "usable base backup"
        )
    );
}

fn backups(
    text: &mut String,
    title: &str,
    backups: &[&PlannedBackup],
    tone: Tone,
    (style, limit): (Style, usize),
) {
    let size: u64 = backups.iter().map(|backup| backup.bytes).sum();
    let _ = writeln!(
        text,
        "\n{}",
        style.paint(
            Tone::Strong,
            &match backups.len() {
                0 => format!("{title}: no base backup"),
                number => format!(
                    "{title}: {}, {}",
                    count(number as u64, "base backup"),
                    bytes(size)
                ),
            }
        )
    );
    let hidden = backups.len().saturating_sub(limit);
    // The youngest of those that go are the ones to look at twice, the oldest of those that
    // stay too: both lie at the border.
    let shown: Vec<&&PlannedBackup> = if title == "Goes" {
        backups.iter().skip(hidden).collect()
    } else {
        backups.iter().take(limit).collect()
    };
    for backup in shown {
        let ended = backup
            .end_time
            .map_or_else(|| format!("{:<23}", status(backup)), utc);
        let objects = count(backup.objects, "object");
        let _ = writeln!(
            text,
            "  {}  {ended}  {:>9}  {objects}",
            style.paint(tone, &backup.id),
            bytes(backup.bytes),
        );
        for line in style.wrap(&backup.because, 6) {
            let _ = writeln!(text, "      {}", style.paint(Tone::Quiet, &line));
        }
        if let Some(trouble) = backup.trouble.as_ref().filter(|_| backup.stays) {
            for line in style.wrap(&format!("cannot be used: {trouble}"), 6) {
                let _ = writeln!(text, "      {}", style.paint(Tone::Warning, &line));
            }
        }
    }
    if hidden > 0 {
        let line = format!("  {hidden} more; --limit or --output json shows them");
        let _ = writeln!(text, "{}", style.paint(Tone::Quiet, &line));
    }
}

fn status(backup: &PlannedBackup) -> String {
    match &backup.status {
        BackupStatus::Done => "no end told".to_owned(),
        BackupStatus::Started => "STARTED".to_owned(),
        BackupStatus::Failed => "FAILED".to_owned(),
        BackupStatus::Other(word) => word.clone(),
        BackupStatus::Unknown => "no description".to_owned(),
    }
}

fn wal(text: &mut String, plan: &ExpirePlan, style: Style) {
    let words = match (&plan.wal.before, &plan.wal.stays_because) {
        (_, Some(reason)) => format!("all of it stays: {reason}"),
        (Some(_), None) if plan.wal.objects == 0 => "none goes".to_owned(),
        (Some(before), None) => format!(
            "{} before ........{before} on any timeline, {}",
            count(plan.wal.objects, "object"),
            bytes(plan.wal.bytes)
        ),
        (None, None) => "none goes".to_owned(),
    };
    let _ = writeln!(text, "\n{}", style.paint(Tone::Strong, "WAL that goes"));
    for line in style.wrap(&words, 2) {
        let _ = writeln!(text, "  {line}");
    }
    let _ = writeln!(text);
}

fn ending(text: &mut String, plan: &ExpirePlan, style: Style) {
    if plan.is_empty() {
        let _ = writeln!(
            text,
            "{}",
            style.paint(Tone::Good, "Nothing goes: all of it is kept.")
        );
        return;
    }
    let _ = writeln!(
        text,
        "{} {}, {}. Nothing has been removed. To remove exactly this:",
        count(plan.objects.len() as u64, "object"),
        if plan.objects.len() == 1 {
            "goes"
        } else {
            "go"
        },
        bytes(plan.bytes)
    );
    let digest = plan.digest.get(..16).unwrap_or(&plan.digest);
    let _ = writeln!(
        text,
        "  the same command with {}",
        style.paint(Tone::Strong, &format!("--confirm {digest}"))
    );
}

fn outcome(text: &mut String, done: &ExpireOutcome, style: Style) {
    let tone = if done.is_complete() {
        Tone::Good
    } else {
        Tone::Warning
    };
    let _ = writeln!(
        text,
        "{}",
        style.paint(
            tone,
            &format!(
                "Removed {}, {}.",
                count(done.removed, "object"),
                bytes(done.removed_bytes)
            )
        )
    );
    for (number, words) in [
        (done.absent, "gone already"),
        (done.refused, "refused by the store"),
        (done.changed, "left alone: another object than was planned"),
        (done.failed, "not removed: the store failed"),
        (done.spared, "not tried, because others of theirs stayed"),
    ] {
        if number > 0 {
            let _ = writeln!(text, "  {number} {words}");
        }
    }
    for left in done.left.iter().take(10) {
        let _ = writeln!(text, "  {}", style.paint(Tone::Strong, &left.key));
        for line in style.wrap(&left.because, 6) {
            let _ = writeln!(text, "      {line}");
        }
    }
}
