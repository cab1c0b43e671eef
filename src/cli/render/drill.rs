//! Drills as people read them: the verdict first, then what it rests on, then what is wrong,
//! then what was kept.

use std::fmt::Write as _;
use std::path::Path;

use super::style::{Style, Tone};
use super::verify::one_finding;
use crate::cli::Palette;
use crate::drill::checks::{CheckOutcome, CheckResult};
use crate::drill::environments::cnpg::KubernetesReport;
use crate::drill::plan::PlannedEnvironment;
use crate::drill::verdict::{Objective, ObjectiveState};
use crate::drill::{DrillPlan, DrillReport, PhaseTiming, Verdict};
use crate::finding::Finding;
use crate::operation::sweep::Swept;
use crate::verify::words::{bytes, count, measured, utc, utc_milliseconds};

/// Columns before a row's value.
const VALUE: usize = 24;
/// Lines of the server's log that a drill without proof shows.
const LOG_LINES: usize = 8;

/// One line for a phase that has ended.
pub fn phase_line(timing: &PhaseTiming, style: Style) -> String {
    let mark = if timing.completed {
        style.pick("✓", "+")
    } else {
        style.pick("✗", "x")
    };
    format!(
        "  {mark} {:<18} {:>9}\n",
        timing.phase.words(),
        measured(timing.milliseconds)
    )
}

/// Lines that fit.
struct Page {
    text: String,
    style: Style,
}

impl Page {
    const fn new(style: Style) -> Self {
        Self {
            text: String::new(),
            style,
        }
    }

    /// A line as it is. Writing to a `String` cannot fail.
    fn line(&mut self, line: &str) {
        let _ = writeln!(self.text, "{}", line.trim_end());
    }

    /// An empty line and a heading.
    fn heading(&mut self, text: &str) {
        self.line("");
        let heading = self.style.paint(Tone::Strong, text);
        self.line(&heading);
    }

    /// A name and what there is to say, broken at the width.
    fn row(&mut self, name: &str, tone: Tone, value: &str) {
        for (index, line) in self.style.wrap(value, VALUE).iter().enumerate() {
            let name = if index == 0 { name } else { "" };
            let line = self.style.paint(tone, line);
            self.line(&format!("  {name:<20}  {line}"));
        }
    }

    /// Text broken at the width, all of it behind `indent`.
    fn paragraph(&mut self, indent: usize, tone: Tone, text: &str) {
        for line in self.style.wrap(text, indent) {
            let line = self.style.paint(tone, &line);
            self.line(&format!("{:indent$}{line}", ""));
        }
    }

    fn findings(&mut self, findings: &[Finding]) {
        for finding in findings {
            for line in one_finding(finding, self.style) {
                self.line(&line);
            }
        }
    }
}

/// Where the drill will run.
fn environment_rows(page: &mut Page, environment: &PlannedEnvironment) {
    match environment {
        PlannedEnvironment::Local(local) => {
            page.row(
                "PostgreSQL",
                Tone::Plain,
                &format!("{} in {}", local.version, local.binaries.display()),
            );
            page.row("scratch", Tone::Plain, &local.scratch.display().to_string());
            page.row(
                "room",
                Tone::Plain,
                &format!(
                    "{} needed, {} free",
                    bytes(local.room_needed),
                    bytes(local.room_available)
                ),
            );
            page.row("runs as", Tone::Plain, &local.run_as);
        }
        PlannedEnvironment::Cnpg(cnpg) => {
            page.row(
                "namespace",
                Tone::Plain,
                &format!("{} (made for this drill)", cnpg.namespace),
            );
            page.row(
                "takes after",
                Tone::Plain,
                &format!("{}, form {}", cnpg.source, cnpg.form),
            );
            page.row(
                "image",
                Tone::Plain,
                cnpg.image
                    .as_deref()
                    .unwrap_or("that of the source's catalog"),
            );
            page.row(
                "volume",
                Tone::Plain,
                &format!(
                    "{} of class {}; about {} needed",
                    cnpg.storage_size.as_deref().unwrap_or("the source's size"),
                    cnpg.storage_class
                        .as_deref()
                        .unwrap_or("the cluster's default"),
                    bytes(cnpg.room_needed)
                ),
            );
            page.row("makes", Tone::Plain, &cnpg.objects.join(", "));
        }
    }
}

/// A plan.
pub fn plan(plan: &DrillPlan, style: Style) -> String {
    let mut page = Page::new(style);
    let heading = style.paint(Tone::Strong, &format!("Drill of {}", plan.repository));
    page.line(&heading);
    if !plan.holes.is_empty() {
        page.paragraph(
            2,
            Tone::Bad,
            "The archive does not reach its end: this drill cannot be proven.",
        );
    }
    page.line("");
    plan_rows(&mut page, plan);
    environment_rows(&mut page, &plan.environment);
    if !plan.checks.is_empty() {
        page.row("checks", Tone::Plain, &plan.checks.join(", "));
    }
    for passed in &plan.passed_over {
        page.row(
            "passed over",
            Tone::Quiet,
            &format!("{}: {}", passed.id, passed.reason),
        );
    }
    if !plan.holes.is_empty() {
        page.heading("Holes");
        page.findings(&plan.holes);
    }
    if !plan.findings.is_empty() {
        page.heading("Findings");
        page.findings(&plan.findings);
    }
    page.text
}

fn plan_rows(page: &mut Page, plan: &DrillPlan) {
    let taken = plan
        .backup
        .end_time
        .map_or_else(String::new, |time| format!(", finished {}", utc(time)));
    page.row(
        "base backup",
        Tone::Plain,
        &format!(
            "{}{taken}, {}",
            plan.backup.id,
            bytes(plan.backup.stored_bytes)
        ),
    );
    let end = &plan.expected_end;
    page.row("target", Tone::Plain, &plan.target);
    page.row(
        "must end at",
        Tone::Plain,
        &format!("{} on timeline {}", end.end, end.timeline),
    );
    if let Some(commit) = end.recovery_point {
        page.row(
            "last commit",
            Tone::Plain,
            &format!(
                "{} (transaction {})",
                utc_milliseconds(commit.time),
                commit.xid
            ),
        );
    }
    page.row(
        "WAL to replay",
        Tone::Plain,
        &format!(
            "{} in {}, {}",
            bytes(plan.wal.bytes),
            count(plan.wal.segments, "segment"),
            count(plan.wal.commits, "commit")
        ),
    );
}

/// A report; `record` is the file that keeps it as evidence.
pub fn report(report: &DrillReport, record: &Path, style: Style) -> String {
    let mut page = Page::new(style);
    let (tone, verdict) = match report.verdict {
        Verdict::Proven => (Tone::Good, "PROVEN"),
        Verdict::Failed => (Tone::Bad, "FAILED"),
        Verdict::Unproven => (Tone::Warning, "UNPROVEN"),
    };
    let cluster = report.cluster.as_deref().unwrap_or("repository");
    page.line(&format!(
        "\n{}  {}  {}",
        style.paint(tone, verdict),
        style.paint(Tone::Strong, cluster),
        style.paint(Tone::Quiet, &report.repository)
    ));
    for reason in &report.reasons {
        let code = reason
            .code
            .map_or_else(String::new, |code| format!("{code}: "));
        page.paragraph(2, tone, &format!("{code}{}", reason.text));
    }
    if report.verdict == Verdict::Proven && !report.environment.is_cleaned_up() {
        page.paragraph(
            2,
            Tone::Warning,
            "Something of the drill is left that should be gone: cleanup-failed below says what.",
        );
    }
    page.line("");
    if let Some(plan) = &report.plan {
        plan_rows(&mut page, plan);
    }
    measurements(&mut page, report);
    if !report.checks.is_empty() {
        page.heading("Checks");
        let width = report.checks.iter().map(|check| check.name.chars().count());
        let width = width.max().unwrap_or(0);
        for check in &report.checks {
            check_lines(&mut page, check, width);
        }
        if report.checks.iter().all(|check| check.kind == "connect") {
            page.paragraph(
                2,
                Tone::Quiet,
                "Nothing was asked about the contents: --amcheck reads every page, a drill definition asks more.",
            );
        }
    }
    if !report.findings.is_empty() {
        page.heading("Findings");
        page.findings(&report.findings);
    }
    if report.verdict != Verdict::Proven && !report.log_tail.is_empty() {
        page.heading("The server's last lines");
        let lines: Vec<&str> = report.log_tail.lines().collect();
        for line in lines.iter().skip(lines.len().saturating_sub(LOG_LINES)) {
            page.paragraph(2, Tone::Quiet, line);
        }
    }
    page.heading("Kept");
    page.row("drill", Tone::Quiet, &report.id.to_string());
    page.row("record", Tone::Quiet, &record.display().to_string());
    for kept in &report.environment.kept {
        let name = match kept.to_str() {
            Some(name) if name.ends_with(".server.log") => "server log",
            Some(name) if name.ends_with(".plan.json") => "plan",
            _ => "file",
        };
        page.row(name, Tone::Quiet, &kept.display().to_string());
    }
    page.text
}

fn check_lines(page: &mut Page, check: &CheckResult, width: usize) {
    let (tone, outcome) = match check.outcome {
        CheckOutcome::Passed => (Tone::Good, "passed  "),
        CheckOutcome::Failed => (Tone::Bad, "failed  "),
        CheckOutcome::Unproven => (Tone::Warning, "unproven"),
    };
    let style = page.style;
    let room = style.width.saturating_sub(2 + 8 + 1 + width + 2);
    let seen = first_line(check.observed.as_deref().unwrap_or(""), room);
    page.line(&format!(
        "  {} {:<width$}  {}",
        style.paint(tone, outcome),
        check.name,
        style.paint(Tone::Quiet, &seen)
    ));
    if let Some(message) = &check.message {
        page.paragraph(11, Tone::Plain, message);
    }
}

/// The first line, cut to at most `room` columns (but never to less than twenty).
fn first_line(value: &str, room: usize) -> String {
    let line = value.lines().next().unwrap_or_default();
    let room = room.max(20);
    if line.chars().count() > room {
        format!("{}…", line.chars().take(room - 1).collect::<String>())
    } else {
        line.to_owned()
    }
}

fn objective(name: &str, objective: &Objective) -> Option<(Tone, String)> {
    let limit = objective.limit_milliseconds.map(measured)?;
    let actual = objective
        .actual_milliseconds
        .map_or_else(|| "not measured".to_owned(), measured);
    Some(match objective.state {
        ObjectiveState::Met => (Tone::Good, format!("{name} met: {actual} of {limit}")),
        ObjectiveState::Missed => (Tone::Bad, format!("{name} missed: {actual} of {limit}")),
        ObjectiveState::NotMeasured => (
            Tone::Warning,
            format!("{name} not measured: {}", objective.method),
        ),
        ObjectiveState::NotApplicable => (
            Tone::Quiet,
            format!("{name} of {limit} says nothing about this target"),
        ),
        ObjectiveState::NotSet => return None,
    })
}

fn measurements(page: &mut Page, report: &DrillReport) {
    let measurements = &report.measurements;
    if let Some(end) = report.proof.observed_end {
        let wrong = report
            .proof
            .items
            .iter()
            .any(|item| item.holds == Some(false));
        let (tone, words) = if wrong {
            (Tone::Bad, "not where the archive's bytes say")
        } else {
            (Tone::Good, "as the archive's bytes say")
        };
        page.row("recovery ended at", tone, &format!("{end}, {words}"));
    }
    if let Some(length) = measurements.recovery_point_achieved {
        // Only a drill to the tip assumes a loss. Back from a moment in the past to the
        // newest commit before it nothing was ever written, so nothing is lost.
        let (name, from) = if report.target == "tip" {
            (
                "would be lost",
                "from the newest recovered commit to the assumed loss",
            )
        } else {
            (
                "before the target",
                "from the newest recovered commit to it",
            )
        };
        page.row(name, Tone::Plain, &format!("{}, {from}", measured(length)));
    }
    if let Some(time) = measurements.time_to_service {
        page.row("time to service", Tone::Plain, &measured(time));
    }
    if let Some(time) = measurements.time_to_verified {
        page.row("time to verified", Tone::Plain, &measured(time));
    }
    page.row(
        "fetched, replayed",
        Tone::Plain,
        &format!(
            "{}, {}",
            bytes(measurements.base_bytes_fetched),
            bytes(measurements.wal_bytes_replayed)
        ),
    );
    for (tone, words) in [objective("RPO", &report.rpo), objective("RTO", &report.rto)]
        .into_iter()
        .flatten()
    {
        page.row("objective", tone, &words);
    }
    if let Some(kubernetes) = &report.environment.kubernetes {
        kubernetes_rows(page, kubernetes);
    }
    match report.environment.network_isolated {
        Some(true) => page.row("server's network", Tone::Plain, "none"),
        Some(false) => page.row("server's network", Tone::Warning, "the machine's own"),
        None => {}
    }
    for (name, tone, words) in super::alone::rows(&report.alone) {
        page.row(name, tone, &words);
    }
}

/// Where a drill in Kubernetes ran, what it could reach, and what it cost.
fn kubernetes_rows(page: &mut Page, report: &KubernetesReport) {
    page.row(
        "ran in",
        Tone::Plain,
        &format!(
            "namespace {}, form {}, after {}",
            report.namespace, report.form, report.source
        ),
    );
    let tried = report.probes.iter().filter(|item| item.holds.is_some());
    let (refused, open): (Vec<_>, Vec<_>) = tried.partition(|item| item.holds == Some(true));
    if !open.is_empty() {
        let names: Vec<&str> = open.iter().map(|item| item.name.as_str()).collect();
        page.row("not fenced", Tone::Bad, &names.join("; "));
    } else if !refused.is_empty() {
        page.row(
            "fenced",
            Tone::Plain,
            &format!(
                "{} of {} ways out were tried from its pod, and none is open",
                refused.len(),
                report.probes.len()
            ),
        );
    }
    let cost = &report.cost;
    if cost.volume_bytes > 0 {
        page.row(
            "cost",
            Tone::Plain,
            &format!(
                "{} processors, {} memory, {} volumes for {}; {} fetched",
                thousandths(cost.cpu_millis),
                bytes(cost.memory_bytes),
                bytes(cost.volume_bytes),
                measured(cost.held_milliseconds),
                bytes(cost.fetched_bytes)
            ),
        );
    }
    if let Some(until) = report.kept_until {
        page.row(
            "kept",
            Tone::Warning,
            &format!(
                "until {}; `kubectl --namespace {} get cluster` shows it, and a sweep removes it then",
                utc(until),
                report.namespace
            ),
        );
    }
    if let Some(why) = &report.not_kept {
        page.row(
            "not kept",
            Tone::Warning,
            &format!("{why}; everything is removed"),
        );
    }
}

/// A number of thousandths, `0.25`.
fn thousandths(number: u64) -> String {
    let text = format!("{}.{:03}", number / 1000, number % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// What a sweep did, or would do.
pub fn sweep(swept: &Swept, only_look: bool, palette: Palette) -> String {
    let mut text = String::new();
    let did = if only_look { "would remove" } else { "removed" };
    let here = &swept.here;
    for path in &here.removed {
        let _ = writeln!(text, "{did} {}", path.display());
    }
    for pid in &here.ended {
        let _ = writeln!(text, "ended a server without owner, process {pid}");
    }
    for namespace in swept.kubernetes.iter().flat_map(|swept| &swept.removed) {
        let _ = writeln!(
            text,
            "{did} namespace {}: {}",
            namespace.name, namespace.reason
        );
    }
    let of_here = here.kept.iter();
    let of_here = of_here.map(|kept| (kept.path.display().to_string(), &kept.reason));
    let of_there = swept.kubernetes.iter().flat_map(|swept| &swept.kept);
    let of_there = of_there.map(|kept| (format!("namespace {}", kept.name), &kept.reason));
    for (name, reason) in of_here.chain(of_there) {
        let _ = writeln!(text, "{} {name}: {reason}", palette.dim("left alone"));
    }
    for failed in swept.failed() {
        let _ = writeln!(text, "{} {failed}", palette.red("not removed"));
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
    fn a_row_fits_and_goes_on_below_its_value() {
        let mut page = Page::new(Style::PLAIN);
        page.row("note", Tone::Plain, &"word ".repeat(30));
        assert!(page.text.lines().count() > 1);
        for (index, line) in page.text.lines().enumerate() {
            assert!(line.len() <= Style::PLAIN.width, "{line}");
            let lead = line.get(..VALUE).unwrap_or_default().trim();
            assert_eq!(lead, if index == 0 { "note" } else { "" });
        }
    }

    #[test]
    fn what_a_query_gave_is_one_short_line() {
        let long = format!("{}\nmore", "x".repeat(100));
        assert_eq!(first_line(&long, 80).chars().count(), 80);
        assert_eq!(first_line(&long, 3).chars().count(), 20);
        assert_eq!(first_line("15500", 80), "15500");
    }
}
