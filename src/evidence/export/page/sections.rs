//! The tables of the page.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::chart;
use super::text::{Escaped, Name, count, grouped, length, minute};
use crate::evidence::export::{
    FindingRow, MeasuredBy, MeasuredKey, MeasuredRow, Population, Ran, Rank, Summary,
};

pub(super) type Measured = BTreeMap<MeasuredKey, MeasuredRow>;

/// How many open findings and misses the page shows; the tables beside it have all.
const SHOWN: usize = 200;

/// A number's cell; zero steps back.
fn number(page: &mut String, value: u64, class: &str) {
    let _ = if value == 0 {
        write!(page, "<td class=\"n zero\">0</td>")
    } else {
        write!(page, "<td class=\"n {class}\">{}</td>", grouped(value))
    };
}

fn by_hand(ran: &Ran) -> String {
    if ran.run == 0 {
        return String::new();
    }
    let parts: Vec<String> = [
        (ran.proven, "proven"),
        (ran.passed, "passed"),
        (ran.failed, "failed"),
        (ran.unproven, "unproven"),
    ]
    .iter()
    .filter(|(number, _)| *number > 0)
    .map(|(number, word)| format!("{} {word}", grouped(*number)))
    .collect();
    parts.join(", ")
}

fn legend(page: &mut String, items: &[(&str, &str)]) {
    page.push_str("<div class=\"legend\">");
    for (class, words) in items {
        let _ = write!(page, "<span><i class=\"{class}\"></i>{words}</span>");
    }
    page.push_str("</div>\n");
}

fn population_cells(page: &mut String, population: &Population) {
    let ran = &population.scheduled;
    number(page, population.due(), "");
    number(page, ran.run, "");
    number(page, ran.proven, "t-proven");
    number(page, ran.passed, "");
    number(page, ran.failed, "t-failed");
    number(page, ran.unproven, "t-unproven");
    number(page, population.missed, "t-missed");
    number(page, population.skipped, "");
    number(page, population.late, "");
    number(page, population.overdue, "t-missed");
    let _ = writeln!(
        page,
        "<td>{}</td><td class=\"note\">{}</td></tr>",
        chart::bar(population),
        by_hand(&population.by_hand)
    );
}

const POPULATION_HEAD: &str = "<th class=\"n\">due</th><th class=\"n\">run</th><th class=\"n\">proven</th><th class=\"n\">passed</th><th class=\"n\">failed</th><th class=\"n\">unproven</th><th class=\"n\">missed</th><th class=\"n\">skipped</th><th class=\"n\">late</th><th class=\"n\">overdue</th><th>due moments</th><th>by hand</th></tr></thead>\n";

pub(super) fn population(page: &mut String, summary: &Summary) {
    page.push_str(
        "<h2>What was due, and what came of it</h2>\n\
         <p>Due moments of the schedules: run + missed + skipped. A run counts as what its last attempt came to. \
         Only a drill can be <b>proven</b>; a verification or replication that found nothing wrong has <b>passed</b>. \
         <b>Unproven</b> could not be checked. <b>Overdue</b> counts how often the newest proof was older than the tier allows; \
         it and what was run by hand are not part of what was due.</p>\n",
    );
    if summary.population().is_empty() {
        page.push_str("<p><b>Nothing was due and nothing was run.</b></p>\n");
        return;
    }
    legend(
        page,
        &[
            ("proven", "proven"),
            ("passed", "passed"),
            ("unproven", "unproven"),
            ("failed", "failed"),
            ("missed", "missed"),
            ("skipped", "skipped"),
        ],
    );
    page.push_str("<div class=\"wide\"><table><thead><tr><th>all clusters</th>");
    page.push_str(POPULATION_HEAD);
    page.push_str("<tbody>\n");
    for (kind, population) in summary.by_kind() {
        let _ = write!(page, "<tr><td class=\"name\">{kind}</td>");
        population_cells(page, &population);
    }
    page.push_str(
        "</tbody></table></div>\n<h3>By cluster</h3>\n<div class=\"wide\"><table><thead><tr><th>cluster</th><th>kind</th><th>copy</th>",
    );
    page.push_str(POPULATION_HEAD);
    let mut before: Option<&str> = None;
    for (key, population) in summary.population() {
        let new = before != Some(key.cluster.as_str());
        if new {
            if before.is_some() {
                page.push_str("</tbody>\n");
            }
            page.push_str("<tbody class=\"keep\">\n");
        }
        before = Some(&key.cluster);
        let name = match (new, key.cluster.as_str()) {
            (false, _) => "",
            (true, "") => "(all)",
            (true, name) => name,
        };
        let _ = write!(
            page,
            "<tr{}><td class=\"name\">{}</td><td>{}</td><td class=\"words\">{}</td>",
            if new { " class=\"group\"" } else { "" },
            Name(name),
            key.kind,
            Name(&key.copy),
        );
        population_cells(page, population);
    }
    page.push_str("</tbody></table></div>\n");
}

pub(super) fn drills(page: &mut String, summary: &Summary) {
    if summary.drill_days().is_empty() {
        return;
    }
    let days = summary.days();
    let each = match days.days_each() {
        1 => "Each field is a day".to_owned(),
        days => format!("Each field is {days} days"),
    };
    let _ = writeln!(
        page,
        "<h2>Drills over time</h2>\n<p>{each}, from the begin of the period on, with the worst that a drill came to. \
         A field without a drill is empty.</p>"
    );
    legend(
        page,
        &[
            ("proven", "proven"),
            ("unproven", "! unproven"),
            ("failed", "× failed"),
            ("missed", "– missed"),
            ("skipped", "skipped"),
            ("none", "no drill"),
        ],
    );
    page.push_str("<div class=\"wide\"><table><tbody>\n");
    for (cluster, counts) in summary.drill_days() {
        let _ = writeln!(
            page,
            "<tr><td class=\"name\">{}</td><td>{}</td></tr>",
            Name(cluster),
            chart::strip(counts, days)
        );
    }
    page.push_str("</tbody></table></div>\n");
}

fn rank(page: &mut String, rank: Option<Rank>, limit: Option<u64>) {
    let _ = match rank {
        None => write!(page, "<td class=\"n zero\">–</td>"),
        Some(Rank::Beyond) => write!(page, "<td class=\"n t-failed\">failed</td>"),
        Some(Rank::Milliseconds(value)) => {
            let class = if limit.is_some_and(|limit| value > limit) {
                " t-failed"
            } else {
                ""
            };
            write!(page, "<td class=\"n{class}\">{}</td>", length(value))
        }
    };
}

pub(super) fn objectives(page: &mut String, summary: &Summary, measured: &Measured) {
    page.push_str("<h2>Objectives and what was achieved</h2>\n");
    if measured.is_empty() {
        page.push_str("<p><b>Nothing was measured.</b></p>\n");
        return;
    }
    page.push_str(
        "<p>RPO in a drill: from the newest recovered commit to the declared moment of loss. RTO in a drill: from the start of \
         recovery until all required checks had passed. RPO by verification: exposure, from the newest commit in the archive to \
         the moment of the verification. Percentiles are nearest rank over n runs; with fewer than 20 the 95th is the worst. \
         Failed runs stay in the population, behind every value. What could not be measured is not part of n.</p>\n",
    );
    let each = match summary.days().days_each() {
        1 => "day",
        _ => "stretch",
    };
    for (objective, by, heading) in [
        ("rpo", MeasuredBy::Drill, "RPO, measured by drills"),
        ("rto", MeasuredBy::Drill, "RTO, measured by drills"),
        (
            "rpo",
            MeasuredBy::Verification,
            "Exposure, measured by verifications",
        ),
    ] {
        let rows: Vec<_> = measured
            .iter()
            .filter(|(key, _)| key.objective == objective && key.by == by)
            .collect();
        if rows.is_empty() {
            continue;
        }
        let _ = writeln!(
            page,
            "<h3>{heading}</h3>\n<div class=\"wide\"><table><thead><tr><th>cluster</th><th>copy</th><th class=\"n\">objective</th>\
             <th class=\"n\">n</th><th class=\"n\">met</th><th class=\"n\">not met</th><th class=\"n\">not measured</th>\
             <th class=\"n\">p50</th><th class=\"n\">p95</th><th class=\"n\">worst</th><th>worst of each {each}</th></tr></thead><tbody>"
        );
        for (key, row) in rows {
            let limit = row.limit_ms.map_or_else(
                || "none".to_owned(),
                |limit| {
                    let changed = if row.limit_changed { "*" } else { "" };
                    format!("{}{changed}", length(limit))
                },
            );
            let _ = write!(
                page,
                "<tr><td class=\"name\">{}</td><td class=\"words\">{}</td><td class=\"n\">{limit}</td>",
                Name(&key.cluster),
                Name(&key.copy)
            );
            number(page, row.n, "");
            number(page, row.met, "");
            number(page, row.missed, "t-failed");
            number(page, row.not_measured, "t-unproven");
            for value in [row.p50, row.p95, row.max] {
                rank(page, value, row.limit_ms);
            }
            let _ = writeln!(
                page,
                "<td>{}</td></tr>",
                chart::spark(&row.days, summary.days().count(), row.limit_ms)
            );
        }
        page.push_str("</tbody></table></div>\n");
    }
    page.push_str(
        "<p class=\"note\">The dashed line is the objective; bars beyond it, and failed runs, are red. \
         An objective with * was another one earlier in the period.</p>\n",
    );
}

pub(super) fn misses(page: &mut String, summary: &Summary) {
    page.push_str("<h2>Missed, skipped and overdue</h2>\n");
    let misses = summary.misses();
    if misses.is_empty() {
        page.push_str("<p>Everything that was due was run, and no proof became overdue.</p>\n");
        return;
    }
    page.push_str(
        "<div class=\"wide\"><table><thead><tr><th>cluster</th><th>kind</th><th>copy</th><th>schedule</th><th>what</th>\
         <th>why</th><th class=\"n\">moments</th><th>first (UTC)</th><th>last (UTC)</th></tr></thead><tbody>\n",
    );
    for (key, miss) in misses.iter().take(SHOWN) {
        let (what, why) = key.why;
        let why = match why {
            "down" => "no daemon ran",
            "deadline" => "its deadline passed in the queue",
            "exhausted" => "every attempt broke off",
            "overdue" => "the newest proof is older than the tier allows",
            "overlap" => "the run before it was still under way",
            "cancelled" => "cancelled",
            "removed" => "no longer configured",
            "blackout" => "held back by a blackout",
            "queue" => "waited in the queue",
            other => other,
        };
        let schedule = if key.schedule.is_empty() {
            "–"
        } else {
            &key.schedule
        };
        let class = if what == "skipped" { "" } else { "t-missed" };
        let _ = write!(
            page,
            "<tr><td class=\"name\">{}</td><td>{}</td><td class=\"words\">{}</td><td class=\"words\">{}</td><td class=\"{class}\">{what}</td><td>{why}</td>",
            Name(if key.cluster.is_empty() {
                "(all)"
            } else {
                &key.cluster
            }),
            key.kind,
            Name(&key.copy),
            Name(schedule)
        );
        number(page, miss.moments, "");
        let _ = writeln!(
            page,
            "<td class=\"at\">{}</td><td class=\"at\">{}</td></tr>",
            minute(miss.first),
            minute(miss.last)
        );
    }
    page.push_str("</tbody></table></div>\n");
    more(page, misses.len(), "entries.jsonl");
}

fn more(page: &mut String, all: usize, file: &str) {
    if all > SHOWN {
        let _ = writeln!(
            page,
            "<p class=\"note\">{} more are in <code>{file}</code>.</p>",
            all - SHOWN
        );
    }
}

fn finding_rows<'a>(
    page: &mut String,
    rows: impl Iterator<Item = &'a FindingRow>,
    summary: &Summary,
) {
    let end = summary.scope().to;
    for row in rows {
        let _ = writeln!(
            page,
            "<tr><td class=\"name\">{}</td><td class=\"words\">{}</td><td><code>{}</code></td><td class=\"t-{severity}\">{severity}</td>\
             <td class=\"words\">{}</td><td class=\"at\">{}</td><td class=\"at\">{}</td><td class=\"n\">{}</td></tr>",
            Name(&row.cluster),
            Name(&row.copy),
            Escaped(&row.code),
            Name(&row.object),
            minute(row.opened_at),
            row.closed_at.map_or_else(|| "open".to_owned(), minute),
            length(row.age_ms(end)),
            severity = row.severity.as_str(),
        );
    }
}

pub(super) fn findings(page: &mut String, summary: &Summary) {
    const HEAD: &str = "<div class=\"wide\"><table><thead><tr><th>cluster</th><th>copy</th><th>code</th><th>severity</th><th>object</th>\
                        <th>opened (UTC)</th><th>closed (UTC)</th><th class=\"n\">age</th></tr></thead><tbody>\n";
    let totals = summary.finding_totals();
    let _ = writeln!(
        page,
        "<h2>Findings</h2>\n<p>{} open when the period began, {} opened, {} closed, {} open at its end ({} critical).</p>",
        grouped(totals.carried),
        grouped(totals.opened),
        grouped(totals.closed),
        grouped(totals.open),
        grouped(totals.open_critical)
    );
    let open = summary.open_findings();
    if !open.is_empty() {
        page.push_str("<h3>Open at the end of the period</h3>\n");
        page.push_str(HEAD);
        finding_rows(page, open.iter().take(SHOWN), summary);
        page.push_str("</tbody></table></div>\n");
        more(page, open.len(), "findings.csv");
    }
    if totals.closed > 0 {
        page.push_str("<h3>Closed in the period</h3>\n");
        page.push_str(HEAD);
        finding_rows(page, summary.closed_findings(), summary);
        page.push_str("</tbody></table></div>\n");
        let shown = u64::try_from(summary.closed_findings().count()).unwrap_or(u64::MAX);
        if totals.closed > shown {
            let _ = writeln!(
                page,
                "<p class=\"note\">The last {} are shown; all are in <code>findings.csv</code>.</p>",
                count(shown, "finding")
            );
        }
    }
}

pub(super) fn configurations(page: &mut String, summary: &Summary) {
    let totals = summary.totals();
    let _ = writeln!(
        page,
        "<h2>walproof itself</h2>\n<p>{} of configuration taken up, {} refused. Daemons began {} and ended by themselves {}; {} broken off.</p>",
        count(totals.configurations, "change"),
        grouped(totals.refused),
        times(totals.started),
        times(totals.stopped),
        match totals.interrupted {
            1 => "1 run was".to_owned(),
            other => format!("{} runs were", grouped(other)),
        }
    );
    if totals.configurations + totals.refused == 0 {
        return;
    }
    page.push_str(
        "<div class=\"wide\"><table><thead><tr><th class=\"n\">entry</th><th>when (UTC)</th><th></th><th>what changed, or why it was refused</th><th>SHA-256</th></tr></thead><tbody>\n",
    );
    let mut shown = 0_u64;
    for change in summary.configurations() {
        shown += 1;
        let words: Vec<String> = change
            .words
            .iter()
            .map(|words| Escaped(words).to_string())
            .collect();
        let _ = writeln!(
            page,
            "<tr><td class=\"n\">{}</td><td class=\"at\">{}</td><td class=\"at\">{}</td><td class=\"words\">{}</td><td><code>{}…</code></td></tr>",
            change.sequence,
            minute(change.at),
            if change.accepted {
                "taken up"
            } else {
                "<span class=\"t-unproven\">refused</span>"
            },
            words.join("<br>"),
            Escaped(change.sha256.get(..12).unwrap_or_default())
        );
    }
    page.push_str("</tbody></table></div>\n");
    if totals.configurations + totals.refused > shown {
        let _ = writeln!(
            page,
            "<p class=\"note\">The last {shown} are shown; all are in <code>entries.jsonl</code>.</p>"
        );
    }
}

fn times(number: u64) -> String {
    match number {
        0 => "never".to_owned(),
        1 => "once".to_owned(),
        other => format!("{} times", grouped(other)),
    }
}
