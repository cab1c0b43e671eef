//! The page of an export: one file, no script, no network, for screen and paper.
//!
//! Writing to a `String` cannot fail.

mod chart;
mod method;
mod sections;
mod style;
mod text;

use std::fmt::Write as _;

use super::{Manifest, MeasuredBy, Summary};
use crate::evidence::Digest;
use crate::evidence::ledger::EntryKind;
use style::STYLE;
use text::{Escaped, count, grouped, minute};

/// The page. `files` are those that were written before it.
pub(super) fn page(summary: &mut Summary, manifest: &Manifest, files: &[Digest]) -> String {
    let measured = summary.measured();
    let scope = summary.scope().clone();
    let title = scope.cluster.as_ref().map_or_else(
        || "Evidence of recoverability".to_owned(),
        |cluster| format!("Evidence of recoverability: {}", Escaped(cluster)),
    );
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"generator\" content=\"walproof {}\">\n<title>{title}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n",
        Escaped(&manifest.tool.version)
    );
    let _ = writeln!(
        page,
        "<p class=\"dim\">{} to {} UTC · {} · made {} UTC by walproof {}</p>",
        minute(scope.from),
        minute(scope.to),
        count(to_u64(summary.clusters().len()), "cluster"),
        minute(manifest.made_at),
        Escaped(&manifest.tool.version),
    );
    tiles(&mut page, summary, &measured, manifest);
    sections::population(&mut page, summary);
    sections::drills(&mut page, summary);
    sections::objectives(&mut page, summary, &measured);
    sections::misses(&mut page, summary);
    sections::findings(&mut page, summary);
    sections::configurations(&mut page, summary);
    method::limits(&mut page, summary);
    method::integrity(&mut page, manifest, files);
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

fn to_u64(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

fn tile(page: &mut String, class: &str, big: &str, small: &str) {
    let _ = writeln!(
        page,
        "<div class=\"tile {class}\"><b>{big}</b><span>{small}</span></div>"
    );
}

fn tiles(page: &mut String, summary: &Summary, measured: &sections::Measured, manifest: &Manifest) {
    page.push_str("<div class=\"tiles\">\n");
    let drills = summary
        .by_kind()
        .remove(&EntryKind::Drill)
        .unwrap_or_default();
    let (due, ran) = (drills.due(), &drills.scheduled);
    if due == 0 {
        let small = if drills.by_hand.run == 0 {
            "no drill was due or run: nothing was proven".to_owned()
        } else {
            format!(
                "drills by hand proven; none was due by a schedule ({} failed, {} unproven)",
                drills.by_hand.failed, drills.by_hand.unproven
            )
        };
        let big = format!("{} of {}", drills.by_hand.proven, drills.by_hand.run);
        tile(page, "warn", &big, &small);
    } else {
        let class = match (ran.proven == due, ran.failed) {
            (true, _) => "good",
            (false, 0) => "warn",
            _ => "bad",
        };
        tile(
            page,
            class,
            &format!("{} of {}", grouped(ran.proven), grouped(due)),
            "due drills proven",
        );
        tile(
            page,
            if ran.failed > 0 { "bad" } else { class },
            &format!(
                "{} · {} · {}",
                grouped(ran.failed),
                grouped(ran.unproven),
                grouped(drills.missed)
            ),
            "drills failed · unproven · missed",
        );
    }
    for objective in ["rpo", "rto"] {
        let (mut met, mut missed) = (0_u64, 0_u64);
        for (key, row) in measured {
            if key.objective == objective && key.by == MeasuredBy::Drill {
                met = met.saturating_add(row.met);
                missed = missed.saturating_add(row.missed);
            }
        }
        let all = met.saturating_add(missed);
        let name = objective.to_uppercase();
        if all == 0 {
            tile(page, "", "not measured", &format!("{name} in drills"));
        } else {
            tile(
                page,
                if missed == 0 { "good" } else { "bad" },
                &format!("{} of {}", grouped(met), grouped(all)),
                &format!("drills with a measured {name} met it"),
            );
        }
    }
    let findings = summary.finding_totals();
    tile(
        page,
        match (findings.open, findings.open_critical) {
            (0, _) => "good",
            (_, 0) => "warn",
            _ => "bad",
        },
        &grouped(findings.open),
        &format!(
            "findings open at the end, {} of them critical; {} opened, {} closed",
            findings.open_critical,
            grouped(findings.opened),
            grouped(findings.closed)
        ),
    );
    let ledger = &manifest.ledger;
    match &ledger.first_break {
        None => tile(
            page,
            "good",
            &grouped(ledger.entries),
            "records followed from the first: no break",
        ),
        Some(broken) => tile(
            page,
            "bad",
            "records broken",
            &format!("at entry {}: see Integrity", broken.sequence),
        ),
    }
    page.push_str("</div>\n");
}
