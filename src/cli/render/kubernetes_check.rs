//! `walproof kubernetes check` for people.

use std::fmt::Write as _;

use super::style::{Style, Tone};
use super::table::{Cell, table};
use crate::cli::command::kubernetes::CheckReport;
use crate::kubernetes::access::{Answer, Trial};
use crate::verify::words;

/// The report as text.
pub(in crate::cli) fn render(report: &CheckReport, style: Style) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{} Kubernetes {}, as {}",
        report.server,
        report.version,
        style.paint(Tone::Strong, &report.username)
    );
    let way = match (&report.context, report.in_cluster) {
        (Some(context), _) => format!("context {context} of the kubeconfig"),
        (None, true) => "the pod's ServiceAccount".to_owned(),
        (None, false) => "the kubeconfig".to_owned(),
    };
    let _ = writeln!(text, "by {way}\n");
    let rows: Vec<Vec<Cell>> = gathered(&report.permissions).iter().map(row).collect();
    for line in table(&["", "PERMISSION", "WHAT FOR"], &rows, 2, style) {
        let _ = writeln!(text, "{line}");
    }
    let spared = |answer: &Answer| !answer.allowed && answer.permission.optional;
    if report.permissions.iter().any(spared) {
        text.push_str("(no): not everybody needs it\n");
    }
    if let Some(role) = &report.scratch_role {
        let _ = writeln!(
            text,
            "What is done inside scratch namespaces is held by ClusterRole {role}, to which walproof\n\
             binds itself there and nowhere else."
        );
    }
    text.push('\n');
    match &report.trials {
        Some(trials) => tried(&mut text, trials, style),
        None if report.work == "drill" => {
            text.push_str("No dry run was made: permissions are missing.\n");
        }
        None => {}
    }
    end(&mut text, report, style);
    text
}

/// Answers about the same object for the same purpose, together.
struct Line<'a> {
    answer: &'a Answer,
    verbs: Vec<&'static str>,
}

fn gathered(answers: &[Answer]) -> Vec<Line<'_>> {
    let mut lines: Vec<Line<'_>> = Vec::new();
    for answer in answers {
        let permission = &answer.permission;
        let same = lines.iter_mut().find(|line| {
            let known = &line.answer.permission;
            line.answer.allowed == answer.allowed
                && known.object() == permission.object()
                && known.name == permission.name
                && known.namespace == permission.namespace
                && known.purpose == permission.purpose
        });
        match same {
            Some(line) => line.verbs.push(permission.verb),
            None => lines.push(Line {
                answer,
                verbs: vec![permission.verb],
            }),
        }
    }
    lines
}

fn row(line: &Line<'_>) -> Vec<Cell> {
    let permission = &line.answer.permission;
    let mark = match (line.answer.allowed, permission.optional) {
        (true, _) => Cell::new(Tone::Good, "yes"),
        (false, false) => Cell::new(Tone::Bad, "no"),
        (false, true) => Cell::new(Tone::Warning, "(no)"),
    };
    let mut what = format!("{} {}", line.verbs.join(","), permission.object());
    if let Some(name) = &permission.name {
        let _ = write!(what, " {name}");
    }
    if let Some(namespace) = &permission.namespace {
        let _ = write!(what, " in {namespace}");
    }
    let purpose = Cell::new(Tone::Quiet, permission.purpose);
    vec![mark, Cell::plain(what), purpose]
}

fn tried(text: &mut String, trials: &[Trial], style: Style) {
    text.push_str("Dry run, nothing was made:\n");
    for trial in trials {
        let (tone, mark) = match (trial.ok, trial.decisive) {
            (true, _) => (Tone::Good, "yes"),
            (false, true) => (Tone::Bad, "no "),
            (false, false) => (Tone::Warning, "no "),
        };
        let place = match &trial.namespace {
            Some(namespace) => format!(" in {namespace}"),
            None => String::new(),
        };
        let _ = writeln!(text, "{}  {}{place}", style.paint(tone, mark), trial.kind);
        let Some(message) = &trial.message else {
            continue;
        };
        for line in style.wrap(message, 5) {
            let _ = writeln!(text, "     {line}");
        }
        if !trial.decisive {
            text.push_str("     a scratch namespace may fare better: it has its own quota\n");
        }
    }
    text.push('\n');
}

fn end(text: &mut String, report: &CheckReport, style: Style) {
    if report.missing == 0 && report.refused == 0 {
        let _ = writeln!(
            text,
            "{} for `{}` is there",
            style.paint(Tone::Good, "everything"),
            report.work
        );
        return;
    }
    if report.missing > 0 {
        let _ = writeln!(
            text,
            "{}; `walproof kubernetes check --for {} --print-role` prints the role to grant",
            style.paint(
                Tone::Bad,
                &format!(
                    "{} missing",
                    words::count(report.missing as u64, "permission")
                )
            ),
            report.work
        );
    }
    if report.refused > 0 {
        let _ = writeln!(
            text,
            "{}",
            style.paint(
                Tone::Bad,
                &format!(
                    "{} of a scratch namespace would be refused",
                    words::count(report.refused as u64, "part")
                )
            )
        );
    }
}
