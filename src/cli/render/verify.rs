//! A verification for people: the verdict, the line, windows, backups, findings.

use std::fmt::Write as _;

use chrono::{DateTime, Duration, Utc};

use super::recoverability::draw;
use super::style::{Style, Tone};
use crate::finding::{Finding, Severity};
use crate::repository::{Alone, BackupStatus};
use crate::verify::base::BaseReport;
use crate::verify::report::ARCHIVE_ENDS;
use crate::verify::words::{bytes, count, length, measured, utc, utc_milliseconds};
use crate::verify::{BackupReport, Depth, TimeSource, TimelineRole, VerifyReport};

/// The whole report, with at most `limit` findings, windows and unusable backups (of the
/// latter two never fewer than a handful, if there are).
pub fn render(report: &VerifyReport, style: Style, limit: usize) -> String {
    let mut out = String::new();
    for block in [
        heading(report, style),
        draw(report, style),
        windows(report, style, limit),
        backups(report, style, limit),
        archive(report, style),
        reading(report, style),
        alone(report, style),
        findings(report, style, limit),
    ] {
        if block.is_empty() {
            continue;
        }
        if !out.is_empty() {
            out.push('\n');
        }
        for line in block {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{}", line.trim_end());
        }
    }
    out
}

/// Who, where, how deep, and the verdict in one sentence.
fn heading(report: &VerifyReport, style: Style) -> Vec<String> {
    let name = report.cluster.as_deref().unwrap_or(&report.location);
    let mut title = style.paint(Tone::Strong, name);
    if report.cluster.is_some() {
        let _ = write!(title, "  {}", style.paint(Tone::Quiet, &report.location));
    }
    let mut lines = vec![title];
    let (tone, mark) = match report.worst_severity() {
        Some(Severity::Critical) => (Tone::Bad, style.pick("✗", "x")),
        Some(Severity::Warning) => (Tone::Warning, "!"),
        Some(Severity::Info) | None => (Tone::Good, style.pick("✓", "ok")),
    };
    for (index, line) in style
        .wrap(&verdict(report), mark.chars().count() + 1)
        .iter()
        .enumerate()
    {
        let lead = if index == 0 {
            mark.to_owned()
        } else {
            " ".repeat(mark.chars().count())
        };
        lines.push(style.paint(tone, &format!("{lead} {line}")));
    }
    let depth = depth(report);
    lines.extend(
        style
            .wrap(&depth, 0)
            .iter()
            .map(|line| style.paint(Tone::Quiet, line)),
    );
    lines
}

/// How deeply it was looked at, and what was read when.
fn depth(report: &VerifyReport) -> String {
    let looked = match (report.depth, &report.rotation) {
        (Depth::Listed, _) => "names and sizes, and the WAL at its ends".to_owned(),
        (Depth::Sampled, Some(rotation)) => format!(
            "{} of {} ({}%) were chosen to be read to the last byte{}",
            bytes(rotation.bytes),
            bytes(rotation.of_bytes),
            rotation.percent(),
            match (rotation.everything_read_by, &rotation.never_because) {
                (Some(by), _) => format!("; everything will have been read by {}", utc(by)),
                (None, Some(because)) => format!("; no date for everything: {because}"),
                (None, None) => String::new(),
            }
        ),
        (Depth::Sampled, None) => {
            "a part of it was read to the last byte, the rest by names and sizes".to_owned()
        }
        (Depth::Read | Depth::Restored, _) => "every byte was read".to_owned(),
    };
    let ledger = report.ledger.as_ref();
    let oldest = ledger.and_then(|ledger| Some((ledger.unread, ledger.oldest_read?)));
    let memory = match oldest {
        Some((0, oldest)) => format!("; nothing was read longer ago than {}", utc(oldest)),
        Some((unread, _)) => format!("; {} never read", count(unread, "object")),
        None => String::new(),
    };
    format!(
        "depth {}: {looked}{memory}; only a restore proves",
        report.depth.as_str()
    )
}

fn verdict(report: &VerifyReport) -> String {
    let (Some(first), Some(last)) = (report.windows.first(), report.windows.last()) else {
        return "Nothing can be recovered from here.".to_owned();
    };
    let from = first
        .begin_time
        .map_or_else(|| first.begin_lsn.to_string(), utc);
    let to = last.end_time.map_or_else(|| last.end_lsn.to_string(), utc);
    let holes = match report.holes.len() as u64 {
        0 => String::new(),
        number => format!(", with {}", count(number, "hole")),
    };
    let exposure = report.exposure.map_or_else(String::new, |exposure| {
        let at_least = if exposure.source == TimeSource::Object {
            "at least "
        } else {
            ""
        };
        format!(
            " If production vanished now, {at_least}{} would be lost.",
            length(Duration::seconds(exposure.seconds))
        )
    });
    format!("Recoverable from {from} to {to}{holes}.{exposure}")
}

/// A table whose last column may be as long as it likes.
fn table(style: Style, head: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let widths: Vec<usize> = head
        .iter()
        .enumerate()
        .map(|(column, name)| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            let longest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
            longest.max(name.chars().count())
        })
        .collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        format!("  {}", padded.join("  ").trim_end())
    };
    let mut lines = vec![style.paint(Tone::Quiet, &line(&mut head.iter().copied()))];
    lines.extend(
        rows.iter()
            .map(|row| line(&mut row.iter().map(String::as_str))),
    );
    lines
}

fn windows(report: &VerifyReport, style: Style, limit: usize) -> Vec<String> {
    if report.windows.is_empty() {
        return Vec::new();
    }
    let time = |time: DateTime<Utc>| time.format("%Y-%m-%d %H:%M:%S").to_string();
    let hidden = report.windows.len().saturating_sub(limit.max(BACKUPS));
    let shown = report.windows.get(hidden..).unwrap_or_default();
    let rows: Vec<Vec<String>> = shown
        .iter()
        .map(|window| {
            let span = window.begin_time.zip(window.end_time);
            let end = match window.end_time {
                Some(end) if window.end_time_source == Some(TimeSource::Commit) => time(end),
                Some(end) => format!("{} or later", time(end)),
                None => window.end_lsn.to_string(),
            };
            vec![
                window
                    .begin_time
                    .map_or_else(|| window.begin_lsn.to_string(), time),
                end,
                span.map_or_else(String::new, |(begin, end)| length(end - begin)),
                window.timeline.to_string(),
                window.backup_id.clone(),
            ]
        })
        .collect();
    let mut lines = vec![style.paint(Tone::Strong, "Windows")];
    let head = [
        "from (UTC)",
        "to (UTC)",
        "length",
        "timeline",
        "base backup",
    ];
    let mut table = table(style, &head, &rows).into_iter();
    lines.extend(table.next());
    if hidden > 0 {
        let text = format!("  {hidden} older ones; --limit or --output json shows them");
        lines.push(style.paint(Tone::Quiet, &text));
    }
    for (line, window) in table.zip(shown) {
        lines.push(line);
        if window.ends_because != ARCHIVE_ENDS {
            let text = format!("    ends because {}", window.ends_because);
            lines.push(style.paint(Tone::Bad, &text));
        }
    }
    lines
}

/// How many usable backups are listed; the newest count most.
const BACKUPS: usize = 5;

fn backups(report: &VerifyReport, style: Style, limit: usize) -> Vec<String> {
    if report.backups.is_empty() {
        return Vec::new();
    }
    let title = format!(
        "Base backups: {}, {} usable",
        report.counts.backups, report.counts.usable_backups
    );
    let mut lines = vec![style.paint(Tone::Strong, &title)];
    let usable: Vec<&BackupReport> = report
        .backups
        .iter()
        .filter(|backup| backup.usable)
        .collect();
    let skip = usable.len().saturating_sub(BACKUPS);
    let rows: Vec<Vec<String>> = usable
        .iter()
        .skip(skip)
        .map(|backup| {
            vec![
                backup.id.clone(),
                backup.end_time.map_or_else(String::new, |time| {
                    format!("{} ago", length(report.checked_at - time))
                }),
                bytes(backup.stored_bytes),
                count(backup.archives, "archive"),
                backup
                    .timeline
                    .map_or_else(String::new, |timeline| timeline.to_string()),
            ]
        })
        .collect();
    if skip > 0 {
        lines.push(style.paint(Tone::Quiet, &format!("  {skip} older usable ones")));
    }
    if !rows.is_empty() {
        lines.extend(table(
            style,
            &["id", "age", "stored", "in", "timeline"],
            &rows,
        ));
    }
    let unusable: Vec<&BackupReport> = report
        .backups
        .iter()
        .filter(|backup| !backup.usable)
        .collect();
    let hidden = unusable.len().saturating_sub(limit.max(BACKUPS));
    if hidden > 0 {
        let text = format!("  {hidden} older unusable ones; --limit or --output json shows them");
        lines.push(style.paint(Tone::Quiet, &text));
    }
    for backup in unusable.into_iter().skip(hidden) {
        let tone = if backup.status == BackupStatus::Started {
            Tone::Quiet
        } else {
            Tone::Warning
        };
        let text = format!(
            "{} cannot be used: {}",
            backup.id,
            backup.reasons.join("; ")
        );
        for (index, line) in style.wrap(&text, 4).iter().enumerate() {
            let indent = if index == 0 { "  " } else { "    " };
            lines.push(style.paint(tone, &format!("{indent}{line}")));
        }
    }
    lines
}

fn archive(report: &VerifyReport, style: Style) -> Vec<String> {
    if report.counts.objects == 0 {
        return Vec::new();
    }
    let mut lines = vec![style.paint(Tone::Strong, "Archive")];
    if let Some(tip) = &report.tip {
        let commit = tip.commit.map_or_else(
            || "no commit found near it".to_owned(),
            |commit| {
                format!(
                    "last commit {} (transaction {})",
                    utc_milliseconds(commit.time),
                    commit.xid
                )
            },
        );
        let text = format!("{} on timeline {}, {commit}", tip.lsn, tip.timeline);
        for (index, line) in style.wrap(&text, 8).iter().enumerate() {
            let name = if index == 0 { "tip" } else { "" };
            lines.push(format!("  {name:<6}{line}"));
        }
    }
    if let Some(end) = &report.archive_end {
        let same = report.tip.as_ref().is_some_and(|tip| tip.lsn == end.lsn);
        let text = format!("  end   {} ({})", end.lsn, end.segment);
        if same {
            lines.push(format!("{text}: nothing lies behind the tip"));
        } else if report.holes.is_empty() {
            lines.push(text);
        } else {
            lines.push(style.paint(Tone::Bad, &format!("{text}: not reached")));
        }
    }
    if report.timelines.len() > 1 {
        let words: Vec<String> = report
            .timelines
            .iter()
            .map(|timeline| {
                let role = match timeline.role {
                    TimelineRole::Current => "current",
                    TimelineRole::Ancestor => "ancestor",
                    TimelineRole::SideBranch => "side branch",
                    TimelineRole::Unplaced => "cannot be placed",
                };
                let branched = timeline
                    .branched_at
                    .zip(timeline.parent)
                    .map_or_else(String::new, |(lsn, parent)| {
                        format!(", from {parent} at {lsn}")
                    });
                format!("{} ({role}{branched})", timeline.timeline)
            })
            .collect();
        for line in style.wrap(&format!("timelines {}", words.join(", ")), 4) {
            lines.push(format!("  {line}"));
        }
    }
    let counts = &report.counts;
    let text = format!(
        "{}, {}; {}, {} read",
        count(counts.objects, "object"),
        bytes(counts.bytes),
        count(counts.wal_segments, "WAL segment"),
        counts.segments_read
    );
    lines.push(style.paint(Tone::Quiet, &format!("  {text}")));
    lines
}

/// What was read, and at what rate.
fn reading(report: &VerifyReport, style: Style) -> Vec<String> {
    let Some(wal) = &report.wal else {
        return Vec::new();
    };
    let mut lines = vec![style.paint(Tone::Strong, "Read")];
    let mut tell = |name: &str, text: &str| {
        for (index, line) in style.wrap(text, 8).iter().enumerate() {
            let name = if index == 0 { name } else { "" };
            lines.push(format!("  {name:<6}{line}"));
        }
    };
    let commits = wal.first_commit.zip(wal.last_commit).map_or_else(
        || "no commit".to_owned(),
        |(first, last)| {
            format!(
                "{} from {} to {}",
                count(wal.commits, "commit"),
                utc_milliseconds(first.time),
                utc_milliseconds(last.time)
            )
        },
    );
    let beside = match wal.segments_beside {
        0 => String::new(),
        number => format!("; {} beside the way", count(number, "segment")),
    };
    tell(
        "WAL",
        &format!(
            "{}, {}: {}, {commits}{beside}",
            count(wal.segments, "segment"),
            bytes(wal.bytes),
            count(wal.records, "record"),
        ),
    );
    if !report.bases.is_empty() {
        tell("bases", &bases(&report.bases));
    }
    let rate = report.read_rate().map_or_else(String::new, |rate| {
        format!(", {} a second decoded", bytes(rate))
    });
    tell("in", &format!("{}{rate}", measured(wal.milliseconds)));
    lines
}

/// The other copies, where somebody asked about them.
fn alone(report: &VerifyReport, style: Style) -> Vec<String> {
    let rows = report.alone.iter().flat_map(super::alone::rows);
    let mut lines: Vec<String> = rows
        .flat_map(|(name, tone, words)| {
            let wrapped = style.wrap(&words, 10);
            let line = move |(index, line): (usize, String)| {
                let name = if index == 0 { name } else { "" };
                format!("  {name:<6}  {}", style.paint(tone, &line))
            };
            wrapped.into_iter().enumerate().map(line)
        })
        .collect();
    for reason in report.alone.iter().flat_map(Alone::reasons) {
        let wrapped = style.wrap(&format!("unproven: {reason}"), 2);
        lines.extend(
            wrapped
                .iter()
                .map(|line| format!("  {}", style.paint(Tone::Warning, line))),
        );
    }
    if !lines.is_empty() {
        lines.insert(0, style.paint(Tone::Strong, "From this copy alone"));
    }
    lines
}

/// The base backups that were read, in one sentence.
fn bases(bases: &[BaseReport]) -> String {
    let sum = |number: fn(&BaseReport) -> u64| bases.iter().map(number).sum::<u64>();
    let mut words = vec![format!(
        "{} sound",
        sum(|base| base.pages.sound + base.pages.without_checksum)
    )];
    for (number, word) in [
        (sum(|base| base.pages.new), "new"),
        (sum(|base| base.pages.healed), "torn and healed by WAL"),
        (sum(|base| base.pages.reset), "reset at start"),
        (sum(|base| base.pages.suspect), "left open"),
        (sum(|base| base.pages.corrupt), "corrupt"),
        (sum(|base| base.pages.stale), "stale"),
        (sum(|base| base.pages.beyond_end), "from after the end"),
    ] {
        if number > 0 {
            words.push(format!("{number} {word}"));
        }
    }
    let checksums = if bases.iter().all(|base| base.checksums) {
        ""
    } else {
        "; without page checksums a flipped bit within a page is not seen"
    };
    format!(
        "{}, {} in {}: {}, {}{checksums}",
        count(bases.len() as u64, "base backup"),
        bytes(sum(|base| base.bytes)),
        count(sum(|base| base.files), "file"),
        count(sum(|base| base.pages.read), "page"),
        words.join(", ")
    )
}

fn findings(report: &VerifyReport, style: Style, limit: usize) -> Vec<String> {
    if report.findings.is_empty() {
        return vec![style.paint(Tone::Good, "No findings.")];
    }
    let numbers: Vec<String> = [Severity::Critical, Severity::Warning, Severity::Info]
        .into_iter()
        .map(|severity| (report.count_of(severity), severity))
        .filter(|(number, _)| *number > 0)
        .map(|(number, severity)| format!("{number} {}", severity.as_str()))
        .collect();
    let title = format!("Findings: {}", numbers.join(", "));
    let mut lines = vec![style.paint(Tone::Strong, &title)];
    for finding in report.findings.iter().take(limit) {
        lines.extend(one_finding(finding, style));
    }
    let hidden = report.findings.len().saturating_sub(limit);
    if hidden > 0 {
        lines.push(style.paint(
            Tone::Quiet,
            &format!("  {hidden} more; --limit or --output json shows them"),
        ));
    }
    lines
}

/// Code and object, what was seen, what it means, what to do.
pub fn one_finding(finding: &Finding, style: Style) -> Vec<String> {
    let tone = match finding.severity {
        Severity::Critical => Tone::Bad,
        Severity::Warning => Tone::Warning,
        Severity::Info => Tone::Quiet,
    };
    let mut lines = vec![format!(
        "  {} {}  {}",
        style.paint(tone, finding.severity.as_str()),
        style.paint(Tone::Strong, finding.code.as_str()),
        finding.object
    )];
    let arrow = style.pick("→", "->");
    for (lead, text, tone) in [
        ("", &finding.message, Tone::Plain),
        ("", &finding.consequence, Tone::Plain),
        (arrow, &finding.action, Tone::Quiet),
    ] {
        let lead = if lead.is_empty() {
            String::new()
        } else {
            format!("{lead} ")
        };
        let indent = 6 + lead.chars().count();
        let mut text = text.clone();
        if let Some(first) = text.get(..1) {
            let upper = first.to_uppercase();
            text.replace_range(..1, &upper);
        }
        for (index, line) in style.wrap(&text, indent).iter().enumerate() {
            let lead = if index == 0 {
                lead.clone()
            } else {
                " ".repeat(lead.chars().count())
            };
            lines.push(style.paint(tone, &format!("      {lead}{line}")));
        }
    }
    lines
}
