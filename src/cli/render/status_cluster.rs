//! Everything about one cluster as people read it. Writing to a `String` cannot fail.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};

use super::status::{exposure_tone, exposure_words, from_now, short, verdict};
use super::style::{Style, Tone};
use crate::drill::verdict::ObjectiveState;
use crate::evidence::Verdict;
use crate::finding::Severity;
use crate::operation::fleet::{
    ClusterStatus, CopyStatus, DrillStatus, ReplicationStatus, VerificationStatus,
};
use crate::operation::standing::ObjectiveStanding;
use crate::state::{JobProgress, RunKind};
use crate::verify::TimeSource;
use crate::verify::words::{bytes, count, measured, utc};

/// Columns before a field's text.
const INDENT: usize = 13;

/// Everything about one cluster.
pub fn cluster(status: &ClusterStatus, now: DateTime<Utc>, style: Style) -> String {
    let mut page = Page {
        text: String::new(),
        style,
        now,
    };
    page.head(status);
    for copy in &status.copies {
        page.copy(copy, status);
    }
    page.incidents(status);
    page.next(status);
    page.jobs(status);
    page.text
}

struct Page {
    text: String,
    style: Style,
    now: DateTime<Utc>,
}

impl Page {
    /// A name and what there is to say of it, broken to the width.
    fn field(&mut self, name: &str, tone: Tone, words: &str) {
        for (index, line) in self.style.wrap(words, INDENT).iter().enumerate() {
            let name = if index == 0 { name } else { "" };
            let line = self.style.paint(tone, line);
            let _ = writeln!(self.text, "  {name:<10} {line}");
        }
    }

    fn heading(&mut self, text: &str, quiet: &str) {
        let text = self.style.paint(Tone::Strong, text);
        let quiet = self.style.paint(Tone::Quiet, quiet);
        let _ = writeln!(self.text, "\n{}", format!("{text}  {quiet}").trim_end());
    }

    fn head(&mut self, status: &ClusterStatus) {
        let (tone, mark) = verdict(status.verdict, self.style);
        let name = self.style.paint(Tone::Strong, &status.name);
        let word = format!("{mark} {}", status.verdict);
        let word = self.style.paint(tone, &word);
        let _ = writeln!(self.text, "{name}  {word}");
        let about: Vec<String> = [
            status.tier.as_ref().map(|tier| format!("tier {tier}")),
            status.owner.as_ref().map(|owner| format!("owner {owner}")),
            status.description.clone(),
        ]
        .into_iter()
        .flatten()
        .collect();
        if !about.is_empty() {
            self.field("about", Tone::Plain, &about.join("; "));
        }
        for (index, reason) in status.reasons.iter().enumerate() {
            let (tone, _) = verdict(reason.verdict, self.style);
            self.field(if index == 0 { "why" } else { "" }, tone, &reason.text);
        }
        match &status.last_proof {
            None => self.field("last proof", Tone::Warning, "never"),
            Some(proof) => {
                let late = status
                    .overdue
                    .iter()
                    .any(|overdue| overdue.kind == RunKind::Drill);
                let due = due_words(proof.due_seconds);
                let words = format!(
                    "{} ({} ago{due}) by a drill from {}",
                    utc(proof.at),
                    short(proof.age_seconds),
                    proof.copy
                );
                let tone = if late { Tone::Warning } else { Tone::Plain };
                self.field("last proof", tone, &words);
            }
        }
    }

    fn copy(&mut self, copy: &CopyStatus, status: &ClusterStatus) {
        self.heading(&copy.copy, &copy.location);
        let late = |kind: RunKind| {
            status.overdue.iter().any(|overdue| {
                overdue.kind == kind && overdue.copy.as_deref() == Some(copy.copy.as_str())
            })
        };
        match &copy.verification {
            None => self.field("verified", Tone::Warning, "never"),
            Some(seen) => {
                self.exposure(copy);
                self.window(seen);
                self.backups(seen);
                self.verified(seen, late(RunKind::Verify));
            }
        }
        if let Some(lag) = copy.lag_seconds {
            let words = if lag == 0 {
                "not behind the primary at the newest looks at both".to_owned()
            } else {
                format!("{} of commits behind the primary", short(lag))
            };
            self.field("lag", Tone::Plain, &words);
        }
        match &copy.replication {
            Some(done) => self.replication(done, late(RunKind::Replicate)),
            None if late(RunKind::Replicate) => self.field("copied", Tone::Warning, "never"),
            None => {}
        }
        if let Some(drill) = &copy.drill {
            self.drill(drill);
        }
    }

    fn exposure(&mut self, copy: &CopyStatus) {
        let Some(exposure) = &copy.exposure else {
            let words = "unknown: nothing that was looked at tells to which moment it reaches";
            self.field("exposure", Tone::Bad, words);
            return;
        };
        let source = match exposure.source {
            Some(TimeSource::Commit) | None => "the newest commit",
            Some(TimeSource::Record) => "the newest record with a time",
            Some(TimeSource::Backup) => "the begin of the newest base backup",
            Some(TimeSource::Object) => "when the newest object was stored, a bound only,",
        };
        let limit = exposure.rpo_seconds.map_or_else(String::new, |limit| {
            format!(
                ", limit {}",
                short(i64::try_from(limit).unwrap_or(i64::MAX))
            )
        });
        let doubt = if exposure.stale {
            "; that is too long ago to be believed"
        } else {
            ""
        };
        let words = format!(
            "{}{limit}: {source} is of {}, seen {} ago{doubt}",
            exposure_words(exposure),
            utc(exposure.since),
            short(exposure.look_age_seconds)
        );
        self.field("exposure", exposure_tone(exposure), &words);
    }

    fn window(&mut self, seen: &VerificationStatus) {
        let standing = &seen.standing;
        let end = standing.window_end.or(standing.tip_commit_at);
        let (Some(begin), Some(end)) = (standing.oldest_begin, end) else {
            self.field("window", Tone::Bad, "none: nothing can be recovered");
            return;
        };
        let (tone, gaps) = if standing.gaps == 0 {
            (Tone::Plain, String::new())
        } else {
            let words = format!(
                ", {} of {}",
                count(standing.gaps, "gap"),
                count(standing.missing_segments, "segment")
            );
            (Tone::Bad, words)
        };
        self.field(
            "window",
            tone,
            &format!("{} to {}{gaps}", utc(begin), utc(end)),
        );
    }

    fn backups(&mut self, seen: &VerificationStatus) {
        let standing = &seen.standing;
        let newest = match (&standing.newest_backup_id, standing.newest_backup_at) {
            (Some(id), Some(at)) => format!(", newest {id}, {}", from_now(at, self.now)),
            _ => String::new(),
        };
        let failed = standing.failed_backup_at.map_or_else(String::new, |at| {
            format!("; a newer one failed, {}", from_now(at, self.now))
        });
        let tone = match (standing.usable_backups, standing.failed_backup_at) {
            (0, _) => Tone::Bad,
            (_, Some(_)) => Tone::Warning,
            _ => Tone::Plain,
        };
        let words = format!(
            "{} of {} usable{newest}{failed}",
            standing.usable_backups, standing.backups
        );
        self.field("backups", tone, &words);
        let holds = format!(
            "{} of base backups, {} of WAL in {}",
            bytes(standing.base_bytes),
            bytes(standing.wal_bytes),
            count(standing.segments, "segment")
        );
        self.field("holds", Tone::Plain, &holds);
    }

    fn verified(&mut self, seen: &VerificationStatus, late: bool) {
        let standing = &seen.standing;
        let found: Vec<String> = standing
            .findings
            .iter()
            .map(|(code, tally)| {
                let times = if tally.count > 1 {
                    format!(" ({})", tally.count)
                } else {
                    String::new()
                };
                format!("{} {code}{times}", tally.severity.as_str())
            })
            .collect();
        let found = if found.is_empty() {
            "nothing found".to_owned()
        } else {
            found.join(", ")
        };
        let tone = match standing.worst() {
            Some(Severity::Critical) => Tone::Bad,
            Some(Severity::Warning) => Tone::Warning,
            _ if late => Tone::Warning,
            _ => Tone::Plain,
        };
        let words = format!(
            "{} ago at depth {}{}: {found}",
            short(seen.age_seconds),
            standing.depth.as_str(),
            due_words(seen.due_seconds)
        );
        self.field("verified", tone, &words);
    }

    fn replication(&mut self, done: &ReplicationStatus, late: bool) {
        let standing = &done.standing;
        let left = if standing.missing_objects > 0 {
            format!(
                ", {} left ({})",
                count(standing.missing_objects, "object"),
                bytes(standing.missing_bytes)
            )
        } else {
            String::new()
        };
        let wrong = if standing.differs > 0 {
            format!(", {} wrong with the copy", count(standing.differs, "thing"))
        } else {
            String::new()
        };
        let tone = if standing.differs > 0 {
            Tone::Bad
        } else if late || !standing.complete {
            Tone::Warning
        } else {
            Tone::Plain
        };
        let words = format!(
            "{} ago{}: {}, {} copied ({}){left}{wrong}",
            short(done.age_seconds),
            due_words(done.due_seconds),
            standing.ended,
            count(standing.copied_objects, "object"),
            bytes(standing.copied_bytes),
        );
        self.field("copied", tone, &words);
    }

    fn drill(&mut self, done: &DrillStatus) {
        let standing = &done.standing;
        let (tone, _) = verdict(standing.verdict, self.style);
        // A proof that is not the newest any more was green in its time; the head says
        // whether it still counts.
        let tone = if standing.verdict == Verdict::Proven {
            Tone::Plain
        } else {
            tone
        };
        let name = standing
            .definition
            .as_ref()
            .map_or_else(String::new, |name| format!(" `{name}`"));
        let words = format!(
            "{}{name} {} ago, to {}",
            standing.verdict,
            short(done.age_seconds),
            standing.target
        );
        self.field("drill", tone, &words);
        for reason in &standing.reasons {
            self.field("", tone, reason);
        }
        let mut figures = Vec::new();
        if let Some(time) = standing.time_to_verified_ms {
            let against = objective(&standing.rto);
            figures.push(format!("verified in {}{against}", measured(time)));
        }
        if let Some(time) = standing.time_to_service_ms {
            figures.push(format!("first query after {}", measured(time)));
        }
        if let Some(lost) = standing.recovery_point_ms {
            let against = objective(&standing.rpo);
            figures.push(format!("lost {}{against}", measured(lost)));
        }
        if !figures.is_empty() {
            self.field("", Tone::Plain, &figures.join(", "));
        }
        let id = format!("walproof drill show {}", done.run_id);
        self.field("", Tone::Quiet, &id);
    }

    fn incidents(&mut self, status: &ClusterStatus) {
        if status.incidents.is_empty() {
            return;
        }
        self.heading("open", "what is wrong now");
        for incident in &status.incidents {
            let tone = match incident.severity {
                Severity::Critical => Tone::Bad,
                Severity::Warning => Tone::Warning,
                Severity::Info => Tone::Plain,
            };
            let place = if incident.copy.is_empty() {
                String::new()
            } else {
                format!(" on {}", incident.copy)
            };
            let times = if incident.count > 1 {
                format!(" ({} findings)", incident.count)
            } else {
                String::new()
            };
            let head = format!(
                "{}{place}{times}, since {}",
                incident.code,
                utc(incident.opened_at)
            );
            self.field(incident.severity.as_str(), tone, &head);
            let words = format!("{}: {}", incident.object, incident.message);
            self.field("", Tone::Plain, &words);
            self.field("", Tone::Quiet, &incident.runbook);
        }
    }

    fn next(&mut self, status: &ClusterStatus) {
        if status.next_runs.is_empty() {
            return;
        }
        self.heading("next", "");
        for run in &status.next_runs {
            let words = format!(
                "{}, {} ({})",
                run.schedule,
                from_now(run.at, self.now),
                utc(run.at)
            );
            self.field(run.kind.as_str(), Tone::Plain, &words);
        }
    }

    fn jobs(&mut self, status: &ClusterStatus) {
        if status.jobs.is_empty() {
            return;
        }
        self.heading("jobs", "");
        for job in &status.jobs {
            let copy = if job.copy.is_empty() {
                String::new()
            } else {
                format!(" {}", job.copy)
            };
            let progress = job
                .progress
                .as_ref()
                .map_or_else(String::new, |progress| format!(": {}", far(progress)));
            let since = job.started_at.map_or_else(
                || format!("due {}", from_now(job.due_at, self.now)),
                |at| format!("begun {}", from_now(at, self.now)),
            );
            let id = job.id.split('-').next().unwrap_or_default();
            let words = format!("{}{copy}, {since}{progress} ({id}…)", job.status.as_str());
            self.field(job.kind.as_str(), Tone::Plain, &words);
            if let Some(error) = &job.error {
                self.field("", Tone::Warning, error);
            }
        }
    }
}

fn due_words(seconds: Option<u64>) -> String {
    seconds.map_or_else(String::new, |due| {
        format!(
            ", due every {}",
            short(i64::try_from(due).unwrap_or(i64::MAX))
        )
    })
}

fn objective(standing: &ObjectiveStanding) -> String {
    let Some(limit) = standing.limit_ms else {
        return String::new();
    };
    let word = match standing.state {
        ObjectiveState::Met => "limit",
        ObjectiveState::Missed => "missed the limit of",
        ObjectiveState::NotSet | ObjectiveState::NotApplicable | ObjectiveState::NotMeasured => {
            return String::new();
        }
    };
    format!(" ({word} {})", measured(limit))
}

/// How far a job is.
pub(super) fn far(progress: &JobProgress) -> String {
    let amount = |number: u64| {
        if progress.unit == "bytes" {
            bytes(number)
        } else {
            number.to_string()
        }
    };
    let unit = if progress.unit == "bytes" {
        String::new()
    } else {
        format!(" {}", progress.unit)
    };
    match progress.total {
        Some(total) => format!(
            "{}, {} of {}{unit}",
            progress.phase,
            amount(progress.done),
            amount(total)
        ),
        None => format!("{}, {}{unit}", progress.phase, amount(progress.done)),
    }
}
