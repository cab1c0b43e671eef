//! Copies as people read them.

use std::fmt::Write as _;

use super::style::{Style, Tone};
use super::verify::one_finding;
use crate::finding::{Finding, Severity};
use crate::replicate::{
    CompareReport, Compared, Ended, Failure, ReplicatePlan, ReplicateReport, Tallies, Tally,
    Waiting,
};
use crate::verify::words;

/// What a run did.
pub fn run(report: &ReplicateReport, style: Style, limit: usize) -> String {
    let mut out = Lines::new(style);
    out.heading(
        report.copy.as_deref(),
        report.cluster.as_deref(),
        &report.source,
        &report.target,
    );
    let (tone, mark, words) = verdict(report, style);
    out.marked(tone, mark, &words);
    let took = report.finished_at - report.started_at;
    let copied = report.copied.by_kind.total();
    if copied.is_empty() {
        out.field(
            "copied",
            "nothing: the target lacks nothing that could be copied",
        );
    } else {
        let took = u64::try_from(took.num_milliseconds()).unwrap_or_default();
        out.field(
            "copied",
            &format!(
                "{} in {}, {}/s",
                tally(copied),
                words::measured(took),
                words::bytes(report.rate())
            ),
        );
        out.kinds(&report.copied.by_kind);
        let told = report.copied.acknowledged;
        let read_back = report.copied.read_back;
        out.field(
            "proof",
            &format!(
                "{} acknowledged with a checksum that is ours, {} read back and the same",
                if told == copied.objects {
                    "all".to_owned()
                } else {
                    format!("{told} of {}", copied.objects)
                },
                read_back.objects,
            ),
        );
    }
    if let Some(incremental) = &report.incremental {
        out.field(
            "looked",
            &format!(
                "only where new objects appear, at {}; both sides were compared as a whole {}",
                words::count(incremental.looked_at.objects, "object"),
                words::utc(incremental.compared_at)
            ),
        );
    }
    out.compared(&report.compared);
    let left = report.left.total();
    if !left.is_empty() {
        out.field("left", &tally(left));
    }
    if report.copied.gone > 0 {
        out.field(
            "gone",
            &format!(
                "{} left the source before they could be copied",
                words::count(report.copied.gone, "object")
            ),
        );
    }
    out.waiting(&report.waiting);
    out.failures(&report.failures);
    out.findings(&report.findings, limit);
    out.text
}

fn verdict(report: &ReplicateReport, style: Style) -> (Tone, &'static str, String) {
    let bad = style.pick("✗", "x");
    let good = style.pick("✓", "ok");
    match &report.ended {
        Ended::Failed { error } => {
            return (Tone::Bad, bad, format!("ended by a failure: {error}"));
        }
        Ended::Interrupted => {
            return (
                Tone::Warning,
                "!",
                "interrupted; the next run goes on where this one ended".to_owned(),
            );
        }
        Ended::WindowClosed => {
            return (
                Tone::Warning,
                "!",
                "the time of day is over; the next run goes on".to_owned(),
            );
        }
        Ended::Limited => {
            return (
                Tone::Warning,
                "!",
                "as many objects as asked for were copied".to_owned(),
            );
        }
        Ended::Complete | Ended::Stopped => {}
    }
    if !report.failures.is_empty() {
        return (
            Tone::Bad,
            bad,
            "some objects could not be copied".to_owned(),
        );
    }
    match report.findings.iter().map(|finding| finding.severity).max() {
        Some(Severity::Critical) => (
            Tone::Bad,
            bad,
            "something is wrong with the copy or its source".to_owned(),
        ),
        Some(Severity::Warning) => (
            Tone::Warning,
            "!",
            "the copy is complete, with a warning".to_owned(),
        ),
        _ if report.waiting.is_empty() => (
            Tone::Good,
            good,
            "the copy holds everything that the source holds".to_owned(),
        ),
        _ => (
            Tone::Good,
            good,
            "the copy holds everything that is finished at the source".to_owned(),
        ),
    }
}

/// What a run would do.
pub fn plan(plan: &ReplicatePlan, style: Style) -> String {
    let mut out = Lines::new(style);
    out.heading(
        plan.copy.as_deref(),
        plan.cluster.as_deref(),
        &plan.source,
        &plan.target,
    );
    let total = plan.to_copy.total();
    if total.is_empty() {
        out.marked(Tone::Good, style.pick("✓", "ok"), "nothing to copy");
    } else {
        out.marked(Tone::Plain, "-", "this is a plan; nothing was copied");
        out.field("to copy", &tally(total));
        out.kinds(&plan.to_copy);
    }
    if let Some((first, last)) = &plan.wal {
        out.field("WAL", &format!("{first} to {last}"));
    }
    for (number, backup) in plan.backups.iter().enumerate() {
        let lead = if number == 0 { "backups" } else { "" };
        let marker = match (backup.marker, backup.data.is_empty()) {
            (true, true) => "its description".to_owned(),
            (true, false) => format!("{}, then its description", tally(backup.data)),
            (false, _) => tally(backup.data),
        };
        out.field(lead, &format!("{}  {marker}", backup.id));
    }
    out.compared(&plan.compared);
    if !plan.to_look_at.is_empty() {
        let shown: Vec<&str> = plan.to_look_at.iter().take(3).map(String::as_str).collect();
        out.field(
            "look at",
            &format!(
                "{} that look different than when they were copied: {}{}",
                words::count(plan.to_look_at.len() as u64, "object"),
                shown.join(", "),
                if plan.to_look_at.len() > 3 {
                    ", …"
                } else {
                    ""
                }
            ),
        );
    }
    out.waiting(&plan.waiting);
    out.text
}

/// How a copy compares with its source.
pub fn compare(report: &CompareReport, style: Style, limit: usize) -> String {
    let mut out = Lines::new(style);
    out.heading(
        report.copy.as_deref(),
        report.cluster.as_deref(),
        &report.source,
        &report.target,
    );
    let worst = report.findings.iter().map(|finding| finding.severity).max();
    let (tone, mark, words) = if report.interrupted {
        (Tone::Warning, "!", "interrupted before its end".to_owned())
    } else if !report.failures.is_empty() {
        (
            Tone::Bad,
            style.pick("✗", "x"),
            "not everything could be compared".to_owned(),
        )
    } else if worst >= Some(Severity::Warning) {
        (
            Tone::Bad,
            style.pick("✗", "x"),
            "the copy is not what it should be".to_owned(),
        )
    } else if report.compared.missing.is_empty() {
        (
            Tone::Good,
            style.pick("✓", "ok"),
            "the copy is what it should be".to_owned(),
        )
    } else {
        (
            Tone::Good,
            style.pick("✓", "ok"),
            "the copy is what it should be, and behind by what is new".to_owned(),
        )
    };
    out.marked(tone, mark, &words);
    let compared = &report.compared;
    out.field("source", &tally(compared.source));
    out.field("target", &tally(compared.target));
    if let Some(read) = &report.read {
        out.field(
            "read",
            &format!("{} are the same on both sides", tally(read.equal)),
        );
        if !read.different.is_empty() {
            out.field("", &format!("{} are not", tally(read.different)));
        }
    }
    if !compared.missing.is_empty() {
        let since = report.behind_since.map_or_else(String::new, |since| {
            format!(", the oldest since {}", words::utc(since))
        });
        out.field("missing", &format!("{}{since}", tally(compared.missing)));
    }
    out.compared(&Compared {
        // Where everything was read, that is told above; what could not be is a failure.
        not_compared: if report.read.is_some() {
            Tally::default()
        } else {
            compared.not_compared
        },
        ..compared.clone()
    });
    out.waiting(&report.waiting);
    out.failures(&report.failures);
    out.findings(&report.findings, limit);
    out.text
}

/// Objects and bytes in words.
pub fn tally(tally: Tally) -> String {
    format!(
        "{}, {}",
        words::count(tally.objects, "object"),
        words::bytes(tally.bytes)
    )
}

/// Text that grows by lines. Writing to a `String` cannot fail.
struct Lines {
    text: String,
    style: Style,
}

impl Lines {
    const fn new(style: Style) -> Self {
        Self {
            text: String::new(),
            style,
        }
    }

    fn heading(&mut self, copy: Option<&str>, cluster: Option<&str>, source: &str, target: &str) {
        let style = self.style;
        let arrow = style.pick("→", "->");
        if let (Some(cluster), Some(copy)) = (cluster, copy) {
            let name = style.paint(Tone::Strong, &format!("{cluster}/{copy}"));
            let places = style.paint(Tone::Quiet, &format!("{source} {arrow} {target}"));
            let _ = writeln!(self.text, "{name}  {places}");
        } else {
            let places = style.paint(Tone::Strong, &format!("{source} {arrow} {target}"));
            let _ = writeln!(self.text, "{places}");
        }
    }

    fn marked(&mut self, tone: Tone, mark: &str, words: &str) {
        let indent = mark.chars().count() + 1;
        for (index, line) in self.style.wrap(words, indent).iter().enumerate() {
            let lead = if index == 0 {
                mark.to_owned()
            } else {
                " ".repeat(mark.chars().count())
            };
            let line = self.style.paint(tone, &format!("{lead} {line}"));
            let _ = writeln!(self.text, "{line}");
        }
    }

    fn field(&mut self, name: &str, words: &str) {
        const INDENT: usize = 13;
        for (index, line) in self.style.wrap(words, INDENT).iter().enumerate() {
            let lead = if index == 0 { name } else { "" };
            let lead = self.style.paint(Tone::Quiet, &format!("{lead:<9}"));
            let _ = writeln!(self.text, "  {lead}  {line}");
        }
    }

    fn kinds(&mut self, kinds: &Tallies) {
        let parts: Vec<String> = [
            (kinds.wal, "WAL file"),
            (kinds.histories, "timeline history file"),
            (kinds.data, "base backup object"),
            (kinds.markers, "base backup description"),
            (kinds.other, "unknown object"),
        ]
        .into_iter()
        .filter(|(tally, _)| !tally.is_empty())
        .map(|(tally, noun)| {
            format!(
                "{} ({})",
                words::count(tally.objects, noun),
                words::bytes(tally.bytes)
            )
        })
        .collect();
        self.field("", &parts.join(", "));
    }

    fn compared(&mut self, compared: &Compared) {
        if !compared.same.is_empty() {
            self.field("the same", &tally(compared.same));
        }
        if !compared.not_compared.is_empty() {
            self.field(
                "unread",
                &format!(
                    "{} on both sides with the same sizes were not copied as far as is remembered; `walproof replicate compare --read` compares their bytes",
                    tally(compared.not_compared)
                ),
            );
        }
        if !compared.expired.is_empty() {
            self.field(
                "expired",
                &format!(
                    "{} removed from the target by its policy",
                    tally(compared.expired)
                ),
            );
        }
    }

    fn waiting(&mut self, waiting: &[Waiting]) {
        for (number, one) in waiting.iter().take(10).enumerate() {
            let lead = if number == 0 { "waiting" } else { "" };
            self.field(lead, &format!("{}: {}", one.object, one.reason));
        }
        if waiting.len() > 10 {
            self.field("", &format!("and {} more", waiting.len() - 10));
        }
    }

    fn failures(&mut self, failures: &[Failure]) {
        for (number, one) in failures.iter().take(10).enumerate() {
            let lead = if number == 0 { "failed" } else { "" };
            self.field(lead, &one.error);
        }
        if failures.len() > 10 {
            self.field("", &format!("and {} more", failures.len() - 10));
        }
    }

    fn findings(&mut self, findings: &[Finding], limit: usize) {
        if findings.is_empty() {
            return;
        }
        let _ = writeln!(self.text);
        for finding in findings.iter().take(limit) {
            for line in one_finding(finding, self.style) {
                let _ = writeln!(self.text, "{}", line.trim_end());
            }
        }
        if findings.len() > limit {
            let _ = writeln!(
                self.text,
                "  and {} more (--limit, or --output json)",
                findings.len() - limit
            );
        }
    }
}
