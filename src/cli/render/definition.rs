//! Definitions as people read them. Writing to a `String` cannot fail.

use std::fmt::Write as _;

use serde_json::Value;

use super::style::{Style, Tone};
use crate::finding::{Finding, Severity};
use crate::kubernetes::definition::{Change, ChangeKind, Content, to_yaml};
use crate::operation::definition::{
    CaptureReport, DefinitionList, Outcome, SecretReport, StoredState,
};
use crate::replicate::definition::StoredDefinition;
use crate::verify::words::{count, utc};

/// How many lines of a changed text are shown.
const LINES: usize = 20;

/// What a capture came to.
pub fn capture(report: &CaptureReport, style: Style) -> String {
    let mut text = String::new();
    let what = match report.outcome {
        Outcome::Stored => style.paint(Tone::Good, "captured, stored and read back"),
        Outcome::Renewed => format!(
            "{} since {}; stored once more, because half of its lock was over",
            style.paint(Tone::Good, "unchanged"),
            utc(report.since)
        ),
        Outcome::Unchanged => format!(
            "{} since {}; read back",
            style.paint(Tone::Good, "unchanged"),
            utc(report.since)
        ),
    };
    let _ = writeln!(
        text,
        "{}  Cluster {}/{}  {what}",
        style.paint(Tone::Strong, &format!("{}/{}", report.cluster, report.copy)),
        report.namespace,
        report.name,
    );
    let _ = writeln!(text, "  {}", report.location);
    let _ = writeln!(text, "  sha256 {}", report.sha256);
    let _ = writeln!(text, "\n{}", style.paint(Tone::Strong, "Objects"));
    for object in &report.objects {
        let _ = writeln!(text, "  {object}");
    }
    if !report.secrets.is_empty() {
        let title = "Secrets (names only)";
        let _ = writeln!(text, "\n{}", style.paint(Tone::Strong, title));
    }
    for secret in &report.secrets {
        let _ = writeln!(text, "  {}", secret_line(secret, style));
    }
    if let Some(site) = &report.disaster_site {
        let words = match &site.unchecked {
            Some(why) => style.paint(Tone::Warning, &format!("could not be looked at: {why}")),
            None => "looked at".to_owned(),
        };
        let _ = writeln!(
            text,
            "\ndisaster site {} namespace {}: {words}",
            site.server, site.namespace
        );
    }
    findings(&mut text, &report.findings, style);
    text
}

fn secret_line(secret: &SecretReport, style: Style) -> String {
    let keys = secret
        .keys
        .as_ref()
        .map_or_else(|| "keys not known".to_owned(), |keys| keys.join(", "));
    let here = match secret.present {
        Some(true) => String::new(),
        Some(false) => style.paint(Tone::Warning, "  not there"),
        None => style.paint(Tone::Warning, "  may not be read"),
    };
    let there = match secret.at_disaster_site {
        None => String::new(),
        Some(true) if secret.missing_keys.is_empty() => {
            style.paint(Tone::Good, "  at the disaster site")
        }
        Some(true) => style.paint(
            Tone::Bad,
            &format!("  disaster site lacks {}", secret.missing_keys.join(", ")),
        ),
        Some(false) => style.paint(Tone::Bad, "  not at the disaster site"),
    };
    format!("{} ({keys}){here}{there}", secret.name)
}

fn findings(text: &mut String, findings: &[Finding], style: Style) {
    if findings.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n{}", style.paint(Tone::Strong, "Findings"));
    for finding in findings {
        let tone = match finding.severity {
            Severity::Critical => Tone::Bad,
            Severity::Warning => Tone::Warning,
            Severity::Info => Tone::Plain,
        };
        let head = format!("{}: {}", finding.code, finding.object);
        let _ = writeln!(text, "  {}", style.paint(tone, &head));
        for line in style.wrap(&finding.message, 4) {
            let _ = writeln!(text, "    {line}");
        }
    }
}

/// The stored definitions of a cluster.
pub fn list(report: &DefinitionList, style: Style) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{}  {}",
        style.paint(Tone::Strong, &format!("{}/{}", report.cluster, report.copy)),
        report.location
    );
    for one in &report.definitions {
        let state = match one.state {
            StoredState::Whole => {
                let objects = count(one.objects.len() as u64, "object");
                let secrets = count(one.secrets.len() as u64, "Secret");
                let unread = if one.unread.is_empty() {
                    String::new()
                } else {
                    let words = format!(", {} could not be read", one.unread.len());
                    style.paint(Tone::Warning, &words)
                };
                format!(
                    "{}  {objects}, {secrets} by name{unread}",
                    style.paint(Tone::Good, "whole")
                )
            }
            StoredState::Changed => style.paint(Tone::Bad, "is not what was captured"),
            StoredState::Unfinished => style.paint(Tone::Quiet, "was never finished"),
        };
        let _ = writeln!(text, "  {}  {state}", one.definition);
    }
    findings(&mut text, &report.findings, style);
    text
}

/// A stored definition.
pub fn show(stored: &StoredDefinition, style: Style) -> String {
    let mut text = String::new();
    let (manifest, content) = (&stored.manifest, &stored.content);
    let _ = writeln!(
        text,
        "{}  Cluster {}/{}, captured {}",
        style.paint(Tone::Strong, &stored.stamp.to_string()),
        content.namespace,
        content.name,
        utc(manifest.captured_at)
    );
    let _ = writeln!(text, "  sha256 {}", manifest.sha256);
    let facts = &content.facts;
    for (name, value) in [
        ("image", &facts.image),
        ("system identifier", &facts.system_id),
        ("CloudNativePG", &facts.operator),
        ("Barman Cloud plugin", &facts.plugin),
    ] {
        if let Some(value) = value {
            let _ = writeln!(text, "  {name} {value}");
        }
    }
    let _ = writeln!(text, "\n{}", style.paint(Tone::Strong, "Objects"));
    for object in &content.objects {
        let _ = writeln!(text, "  {}", object.title());
    }
    if !content.secrets.is_empty() {
        let title = "Secrets (names only)";
        let _ = writeln!(text, "\n{}", style.paint(Tone::Strong, title));
    }
    for secret in &content.secrets {
        let keys = secret
            .keys
            .as_ref()
            .map_or_else(|| "keys not known".to_owned(), |keys| keys.join(", "));
        let _ = writeln!(text, "  {} ({keys})", secret.name);
    }
    for unread in &content.unread {
        let line = format!("missing: {} ({})", unread.object, unread.reason);
        let _ = writeln!(text, "  {}", style.paint(Tone::Warning, &line));
    }
    let _ = writeln!(
        text,
        "\n{}",
        style.paint(
            Tone::Quiet,
            "--to-yaml prints the objects, --rebuild what a rebuild applies"
        )
    );
    text
}

/// The objects as a stream for kubectl.
pub fn yaml(content: &Content) -> String {
    content
        .objects
        .iter()
        .fold(String::new(), |mut text, object| {
            let _ = write!(text, "---\n{}", to_yaml(&object.manifest));
            text
        })
}

/// What differs, by object and path.
pub fn diff(from: &str, to: &str, changes: &[Change], style: Style) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{} {} {}",
        style.paint(Tone::Bad, &format!("- {from}")),
        style.pick("→", "->"),
        style.paint(Tone::Good, &format!("+ {to}"))
    );
    if changes.is_empty() {
        let _ = writeln!(text, "the same");
        return text;
    }
    let mut object = "";
    for change in changes {
        if change.object != object {
            object = &change.object;
            let _ = writeln!(text, "\n{}", style.paint(Tone::Strong, object));
        }
        let path = match (change.path.as_str(), change.change) {
            ("", ChangeKind::Added) => "is new",
            ("", ChangeKind::Removed) => "is gone",
            ("", ChangeKind::Changed) => "is another",
            (path, _) => path,
        };
        let _ = writeln!(text, "  {path}");
        // Of a whole object that came or went its name says enough.
        if change.path.is_empty() && change.change != ChangeKind::Changed {
            continue;
        }
        for (value, sign, tone) in [
            (&change.before, '-', Tone::Bad),
            (&change.after, '+', Tone::Good),
        ] {
            let Some(value) = value else { continue };
            let lines = lines(value);
            for line in lines.iter().take(LINES) {
                let _ = writeln!(text, "    {}", style.paint(tone, &format!("{sign} {line}")));
            }
            if lines.len() > LINES {
                let more = format!("{sign} ({} more lines)", lines.len() - LINES);
                let _ = writeln!(text, "    {}", style.paint(Tone::Quiet, &more));
            }
        }
    }
    let _ = writeln!(text, "\n{}", count(changes.len() as u64, "difference"));
    text
}

fn lines(value: &Value) -> Vec<String> {
    match value {
        Value::String(words) if words.contains('\n') => words.lines().map(str::to_owned).collect(),
        value => to_yaml(value).lines().map(str::to_owned).collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_difference_names_paths_and_both_values() {
        let change = |path: &str, kind, before: Option<Value>, after: Option<Value>| Change {
            object: "Cluster shop/orders".to_owned(),
            path: path.to_owned(),
            change: kind,
            before,
            after,
        };
        let changes = [
            change(
                "spec.instances",
                ChangeKind::Changed,
                Some(json!(3)),
                Some(json!(5)),
            ),
            change(
                "spec.env",
                ChangeKind::Added,
                None,
                Some(json!([{"name": "X"}])),
            ),
            Change {
                object: "Pooler shop/rw".to_owned(),
                ..change("", ChangeKind::Removed, Some(json!({})), None)
            },
        ];
        assert_eq!(
            diff(
                "20261121T133159Z-0123456789ab",
                "live",
                &changes,
                Style::PLAIN
            ),
            "- 20261121T133159Z-0123456789ab -> + live\n\nCluster shop/orders\n  spec.instances\n    \
             - 3\n    + 5\n  spec.env\n    + - name: X\n\nPooler shop/rw\n  is gone\n\n3 differences\n"
        );
        assert!(diff("a", "b", &[], Style::PLAIN).ends_with("the same\n"));
    }
}
