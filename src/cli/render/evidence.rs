//! The records as people read of them. Writing to a `String` cannot fail.

use std::fmt::Write as _;

use super::verify::one_finding;
use crate::cli::Output;
use crate::cli::command::evidence::EvidenceVerifyReport;
use crate::evidence::export::Exported;
use crate::evidence::ledger::EntryKind;
use crate::verify::words::{count, utc};

/// What a check came to.
pub fn verified(report: &EvidenceVerifyReport, output: Output) -> String {
    let palette = output.palette;
    let mut text = String::new();
    let heading = if report.holds {
        palette.green("The records hold.")
    } else {
        palette.red("The records are broken.")
    };
    let _ = writeln!(text, "{heading}");
    let range = match (report.first, &report.head) {
        (Some(first), Some(head)) => format!(" ({first} to {})", head.sequence),
        _ => String::new(),
    };
    let _ = writeln!(
        text,
        "  records   {} followed{range}{}",
        report.entries,
        if report.complete {
            ""
        } else {
            ", an extract: links are checked between neighbours only"
        }
    );
    if let Some(head) = &report.head {
        let _ = writeln!(text, "  head      {}", palette.bold(head));
    }
    match (&report.noted, report.noted_met) {
        (Some(noted), true) => {
            let _ = writeln!(text, "  noted     {noted}: met, everything up to it holds");
        }
        (Some(noted), false) if report.holds => {
            let _ = writeln!(
                text,
                "  noted     {noted}: {}",
                palette.yellow("not among these records, so nothing is known of it")
            );
        }
        (Some(noted), false) => {
            let _ = writeln!(text, "  noted     {noted}");
        }
        (None, _) => {}
    }
    if let Some(records) = report.records {
        let _ = writeln!(
            text,
            "  drills    {} in the database, {} as files here{}",
            count(records.rows, "drill record"),
            records.files,
            match records.files_elsewhere {
                0 => String::new(),
                elsewhere => format!(", {elsewhere} without a file on this machine"),
            }
        );
    }
    if let Some(files) = report.files {
        let _ = writeln!(
            text,
            "  files     {files} as the manifest says{}",
            if report.differing_files.is_empty() {
                String::new()
            } else {
                format!(
                    "; {}",
                    palette.red(format_args!(
                        "not so: {}",
                        report.differing_files.join(", ")
                    ))
                )
            }
        );
    } else if report.file.is_some() {
        let _ = writeln!(
            text,
            "  files     no manifest beside it: what was cut off at the end shows only with --head"
        );
    }
    if report.holds && report.noted.is_none() && report.file.is_none() && report.head.is_some() {
        let _ = writeln!(
            text,
            "\n{}",
            palette.dim(
                "What was removed from the end shows only against a head kept elsewhere: note the one above,\nand give it with --head next time."
            )
        );
    }
    if !report.findings.is_empty() {
        text.push('\n');
    }
    for finding in &report.findings {
        for line in one_finding(finding, output.style()) {
            let _ = writeln!(text, "{line}");
        }
    }
    text
}

/// What was exported.
pub fn exported(exported: &Exported, output: Output) -> String {
    let palette = output.palette;
    let manifest = &exported.manifest;
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{} {}",
        palette.bold("Written:"),
        exported.directory.display()
    );
    let _ = writeln!(
        text,
        "  period    {} to {}",
        utc(manifest.from),
        utc(manifest.to)
    );
    let range = match (manifest.entries.first, &manifest.entries.head) {
        (Some(first), Some(head)) => format!(" ({first} to {})", head.sequence),
        _ => String::new(),
    };
    let _ = writeln!(
        text,
        "  records   {}{range} of {} in all{}",
        manifest.entries.count,
        manifest.ledger.entries,
        if manifest.entries.complete {
            ""
        } else {
            ", an extract"
        }
    );
    let kinds = exported.summary.by_kind();
    for kind in [EntryKind::Verify, EntryKind::Replicate, EntryKind::Drill] {
        let Some(population) = kinds.get(&kind) else {
            continue;
        };
        let ran = &population.scheduled;
        let good = if kind == EntryKind::Drill {
            format!("{} proven", ran.proven)
        } else {
            format!("{} passed", ran.passed)
        };
        let _ = writeln!(
            text,
            "  {:<9} {} due: {good}, {} failed, {} unproven, {} missed, {} skipped; {} by hand",
            kind.as_str(),
            population.due(),
            ran.failed,
            ran.unproven,
            population.missed,
            population.skipped,
            population.by_hand.run
        );
    }
    let findings = exported.summary.finding_totals();
    let _ = writeln!(
        text,
        "  findings  {} opened, {} closed, {} open at the end",
        findings.opened, findings.closed, findings.open
    );
    if let Some(head) = &manifest.ledger.head {
        let _ = writeln!(text, "  head      {head}");
    }
    let _ = writeln!(
        text,
        "  manifest  SHA-256 {}",
        palette.bold(&exported.manifest_sha256)
    );
    match &manifest.ledger.first_break {
        None => {
            let _ = writeln!(
                text,
                "\nHand out the directory, and the manifest's SHA-256 by another way. To check it:\n  {}",
                palette.cyan("walproof evidence verify --file entries.jsonl")
            );
        }
        Some(broken) => {
            let _ = writeln!(
                text,
                "\n{} {broken}. See {}.",
                palette.red("The records are broken:"),
                palette.cyan("walproof evidence verify")
            );
        }
    }
    text
}
