//! All copies of a cluster as people read them. Writing to a `String` cannot fail.

use std::fmt::Write as _;

use chrono::TimeDelta;

use super::style::{Style, Tone};
use super::verify::one_finding;
use crate::finding::Severity;
use crate::replicate::lock_trial::{Attempt, LockTrial};
use crate::replicate::statement::StatusReport;
use crate::replicate::status::{CopyStatus, Lag, ProofRun, Role};
use crate::storage::{Known, LockMode, Posture, Public};
use crate::verify::TimeSource;
use crate::verify::words::{bytes, count, length, utc};

/// Columns before a field's text.
const INDENT: usize = 13;

/// The statement, every copy, and what is wrong.
pub fn render(report: &StatusReport, style: Style, limit: usize) -> String {
    let mut out = Page {
        text: String::new(),
        style,
    };
    out.statement(report);
    for copy in &report.copies {
        out.copy(copy, report);
    }
    out.findings(report, limit);
    out.text
}

struct Page {
    text: String,
    style: Style,
}

impl Page {
    fn line(&mut self, tone: Tone, line: &str) {
        let _ = writeln!(self.text, "{}", self.style.paint(tone, line));
    }

    /// A name and what there is to say of it, broken to the width.
    fn field(&mut self, name: &str, tone: Tone, words: &str) {
        for (index, line) in self.style.wrap(words, INDENT).iter().enumerate() {
            let name = if index == 0 { name } else { "" };
            let line = self.style.paint(tone, line);
            let _ = writeln!(self.text, "  {name:<10} {line}");
        }
    }

    fn statement(&mut self, report: &StatusReport) {
        let statement = &report.statement;
        let unproven = unproven(report);
        let (tone, mark, words) = if !statement.holds {
            (Tone::Bad, self.style.pick("✗", "x"), "3-2-1 does not hold")
        } else if unproven.is_empty() {
            (Tone::Good, self.style.pick("✓", "ok"), "3-2-1 holds")
        } else {
            // Counting copies proves none of them.
            (Tone::Warning, "!", "3-2-1 holds by count, unproven")
        };
        let name = self.style.paint(Tone::Strong, &report.cluster);
        let verdict = self.style.paint(tone, &format!("{mark} {words}"));
        let _ = writeln!(self.text, "{name}  {verdict}");
        let copies = format!("{}: {}", statement.copies, statement.counted.join(", "));
        self.field("copies", Tone::Plain, &copies);
        let media = format!("{}: {}", statement.media.len(), statement.media.join(", "));
        self.field("media", Tone::Plain, &media);
        let elsewhere = if statement.elsewhere.is_empty() {
            "none".to_owned()
        } else {
            statement.elsewhere.join(", ")
        };
        self.field("elsewhere", Tone::Plain, &elsewhere);
        for (index, missing) in statement.missing.iter().enumerate() {
            let name = if index == 0 { "missing" } else { "" };
            self.field(name, Tone::Warning, missing);
        }
        if !unproven.is_empty() {
            let words = format!(
                "{}: the newest drill did not prove it, or there was none",
                unproven.join(", ")
            );
            self.field("unproven", Tone::Warning, &words);
        }
    }

    fn copy(&mut self, copy: &CopyStatus, report: &StatusReport) {
        let role = match copy.role {
            Role::Primary => "primary",
            Role::Replica => "replica",
        };
        let mut about = vec![role.to_owned()];
        if copy.copy == role {
            about.clear();
        }
        about.push(
            copy.place
                .clone()
                .unwrap_or_else(|| "place not told".to_owned()),
        );
        about.push(copy.media.clone());
        let name = self.style.paint(Tone::Strong, &copy.copy);
        let _ = writeln!(
            self.text,
            "\n{name}  {}  {}",
            copy.location,
            self.style
                .paint(Tone::Quiet, &format!("({})", about.join(", ")))
        );
        if let Some(error) = &copy.error {
            self.field("reached", Tone::Bad, &format!("no: {error}"));
        }
        self.holds(copy);
        if let Some(lag) = &copy.lag {
            let late = copy
                .findings
                .iter()
                .any(|finding| finding.code == crate::finding::Code::CopyLag);
            let tone = if late { Tone::Warning } else { Tone::Plain };
            self.field("lag", tone, &behind(lag, copy, report));
        } else if copy.role == Role::Replica {
            self.field("lag", Tone::Warning, "not known");
        }
        self.field("proof", Tone::Plain, &proofs(copy));
        self.bucket(copy);
        self.lock(copy);
    }

    fn holds(&mut self, copy: &CopyStatus) {
        let Some(holds) = &copy.holds else {
            return;
        };
        let recoverable = match (holds.recoverable_from, holds.recoverable_to) {
            (Some(from), Some(to)) => {
                let holes = match holds.holes {
                    0 => String::new(),
                    number => format!(", with {}", count(number, "hole")),
                };
                format!("{} to {}{holes}", utc(from), utc(to))
            }
            _ => "nothing".to_owned(),
        };
        let tone = if copy.restores() {
            Tone::Good
        } else {
            Tone::Bad
        };
        self.field("recovers", tone, &recoverable);
        if let Some(exposure) = &copy.exposure {
            let least = match exposure.source {
                TimeSource::Object => "at least ",
                _ => "",
            };
            self.field(
                "exposure",
                Tone::Plain,
                &format!("{least}{}", seconds(exposure.seconds)),
            );
        }
        let backups = if holds.usable_backups == holds.backups {
            count(holds.backups, "base backup")
        } else {
            format!(
                "{} of {} usable",
                holds.usable_backups,
                count(holds.backups, "base backup")
            )
        };
        let newest = holds
            .newest_backup_end
            .map_or_else(String::new, |end| format!(", the newest of {}", utc(end)));
        let all = format!(
            "{backups}{newest}; {} in {}",
            bytes(holds.bytes),
            count(holds.objects, "object")
        );
        self.field("holds", Tone::Plain, &all);
    }

    fn bucket(&mut self, copy: &CopyStatus) {
        let Some(posture) = &copy.posture else {
            if let Some(error) = &copy.posture_error {
                self.field("bucket", Tone::Warning, &format!("not told: {error}"));
            }
            return;
        };
        let (told, not_told) = settings(posture);
        if !told.is_empty() {
            self.field("bucket", Tone::Plain, &told.join(", "));
        }
        for (index, words) in not_told.iter().enumerate() {
            let name = if index == 0 && told.is_empty() {
                "bucket"
            } else {
                ""
            };
            self.field(name, Tone::Quiet, words);
        }
    }

    fn lock(&mut self, copy: &CopyStatus) {
        match (&copy.lock_trial, &copy.lock_trial_error) {
            (Some(trial), _) => {
                let tone = if trial.proven { Tone::Good } else { Tone::Bad };
                self.field("lock", tone, &lock(trial));
            }
            (None, Some(error)) => {
                self.field(
                    "lock",
                    Tone::Warning,
                    &format!("could not be tried: {error}"),
                );
            }
            (None, None) if copy.locked.is_some() => {
                self.field("lock", Tone::Quiet, "configured, not tried (--try-lock)");
            }
            _ => {}
        }
    }

    fn findings(&mut self, report: &StatusReport, limit: usize) {
        let mut all: Vec<(&str, &crate::finding::Finding)> = report
            .copies
            .iter()
            .flat_map(|copy| {
                let name = copy.copy.as_str();
                copy.findings.iter().map(move |finding| (name, finding))
            })
            .collect();
        all.sort_by_key(|(_, finding)| std::cmp::Reverse(finding.severity));
        let _ = writeln!(self.text);
        if all.is_empty() {
            self.line(Tone::Good, "No findings.");
            return;
        }
        let numbers: Vec<String> = [Severity::Critical, Severity::Warning, Severity::Info]
            .into_iter()
            .filter_map(|severity| {
                let of = all
                    .iter()
                    .filter(|(_, finding)| finding.severity == severity);
                let number = of.count();
                (number > 0).then(|| format!("{number} {}", severity.as_str()))
            })
            .collect();
        self.line(Tone::Strong, &format!("Findings: {}", numbers.join(", ")));
        for (name, finding) in all.iter().take(limit) {
            for (index, line) in one_finding(finding, self.style).iter().enumerate() {
                let copy = if index == 0 {
                    self.style.paint(Tone::Quiet, &format!("  [{name}]"))
                } else {
                    String::new()
                };
                let _ = writeln!(self.text, "{line}{copy}");
            }
        }
        let hidden = all.len().saturating_sub(limit);
        if hidden > 0 {
            let line = format!("  {hidden} more; --limit or --output json shows them");
            self.line(Tone::Quiet, &line);
        }
    }
}

fn seconds(seconds: i64) -> String {
    length(TimeDelta::try_seconds(seconds).unwrap_or_default())
}

fn behind(lag: &Lag, copy: &CopyStatus, report: &StatusReport) -> String {
    let mut words = Vec::new();
    if lag.bytes == 0 {
        words.push("none in WAL".to_owned());
    } else {
        let commits = lag.seconds.map_or_else(
            || "commits not known".to_owned(),
            |s| format!("{} of commits", seconds(s)),
        );
        words.push(format!(
            "{commits}, {}, {}",
            count(lag.segments, "segment"),
            bytes(lag.bytes)
        ));
    }
    if lag.backups > 0 {
        words.push(format!("{} missing", count(lag.backups, "base backup")));
    }
    if let Some(since) = lag.waiting_since {
        words.push(format!("waiting for {}", length(report.checked_at - since)));
    }
    if let Some(objective) = copy.lag_objective {
        words.push(format!("{} allowed", seconds(objective)));
    }
    words.join("; ")
}

/// The copies that count and whose newest drill is not a proof.
fn unproven(report: &StatusReport) -> Vec<&str> {
    let copies = report.copies.iter();
    copies
        .filter(|copy| report.statement.counted.contains(&copy.copy) && !copy.proofs.is_proven())
        .map(|copy| copy.copy.as_str())
        .collect()
}

fn proofs(copy: &CopyStatus) -> String {
    let proofs = &copy.proofs;
    let mut words = Vec::new();
    match (&proofs.proven, &proofs.drill) {
        (Some(proven), Some(newest)) if proven.id == newest.id => {
            words.push(format!("drill proven {}", utc(proven.at)));
        }
        (Some(proven), Some(newest)) => {
            words.push(format!(
                "drill proven {}, the newest {} {}",
                utc(proven.at),
                verdict(newest),
                utc(newest.at)
            ));
        }
        (None, Some(newest)) => {
            words.push(format!(
                "never proven; drill {} {}",
                verdict(newest),
                utc(newest.at)
            ));
        }
        (_, None) => words.push("never drilled".to_owned()),
    }
    match &proofs.verification {
        Some(run) => words.push(format!("verified {} ({})", utc(run.at), run.summary)),
        None => words.push("never verified".to_owned()),
    }
    if let Some(run) = &proofs.comparison {
        words.push(format!("compared {} ({})", utc(run.at), run.summary));
    }
    words.join("; ")
}

fn verdict(run: &ProofRun) -> &str {
    run.verdict.as_deref().unwrap_or("without a verdict")
}

/// What a bucket tells in few words, and what it does not tell.
fn settings(posture: &Posture) -> (Vec<String>, Vec<String>) {
    let mut told = Vec::new();
    let mut not_told: Vec<(String, String)> = Vec::new();
    let mut add = |what: &str, words: Known<String>| match words {
        Known::Told(words) => told.push(words),
        Known::NotTold { why } => match not_told.iter_mut().find(|(_, other)| *other == why) {
            Some((names, _)) => {
                let _ = write!(names, ", {what}");
            }
            None => not_told.push((what.to_owned(), why)),
        },
    };
    add(
        "versions",
        map(&posture.versioning, |on| {
            if *on { "versions kept" } else { "no versions" }.to_owned()
        }),
    );
    add(
        "object lock",
        map(&posture.object_lock, |lock| {
            match (lock.enabled, lock.default) {
                (false, _) => "no object lock".to_owned(),
                (true, None) => "object lock".to_owned(),
                (true, Some(default)) => {
                    format!(
                        "object lock ({} {}d for all)",
                        mode(default.mode),
                        default.days
                    )
                }
            }
        }),
    );
    add(
        "lifecycle rules",
        map(&posture.lifecycle, |rules| match rules.len() {
            0 => "no lifecycle rules".to_owned(),
            number => count(number as u64, "lifecycle rule"),
        }),
    );
    add(
        "public access",
        map(&posture.public, |public| {
            match public {
                Public::Blocked => "public access blocked",
                Public::No => "not public",
                Public::Yes { .. } => "PUBLIC",
            }
            .to_owned()
        }),
    );
    add(
        "encryption",
        map(&posture.encryption, |encryption| {
            match &encryption.algorithm {
                Some(algorithm) => format!("encrypted ({algorithm})"),
                None => "not encrypted by default".to_owned(),
            }
        }),
    );
    let not_told = not_told
        .into_iter()
        .map(|(what, why)| format!("{what} not told: {why}"))
        .collect();
    (told, not_told)
}

fn map<T>(known: &Known<T>, words: impl FnOnce(&T) -> String) -> Known<String> {
    match known {
        Known::Told(told) => Known::Told(words(told)),
        Known::NotTold { why } => Known::NotTold { why: why.clone() },
    }
}

const fn mode(mode: LockMode) -> &'static str {
    match mode {
        LockMode::Governance => "governance",
        LockMode::Compliance => "compliance",
    }
}

fn lock(trial: &LockTrial) -> String {
    let attempt = |attempt: &Attempt, past: &str| match attempt {
        Attempt::Refused { .. } => format!("{past} was refused"),
        Attempt::Survived => format!("{past} left the locked version readable"),
        Attempt::Succeeded => format!("{past} SUCCEEDED"),
        Attempt::NotTried { why } => format!("{past} was not tried ({why})"),
    };
    let verdict = if trial.proven {
        "proven by trying"
    } else {
        "NOT proven by trying"
    };
    let permission = match (trial.proven, trial.may_delete) {
        (true, Some(true)) => "; the same credentials could delete what was not locked",
        (true, _) => "; perhaps for lack of a permission only",
        (false, _) => "",
    };
    format!(
        "{verdict} ({}, {}): {}, {}{permission}",
        mode(trial.mode),
        utc(trial.tried_at),
        attempt(&trial.overwrite, "overwriting"),
        attempt(&trial.delete, "deleting"),
    )
}
