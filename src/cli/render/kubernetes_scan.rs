//! The fleet of a Kubernetes cluster as people read it: a line per Cluster, what is wrong
//! with them, and what a drill would need. Writing to a `String` cannot fail.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};

use super::status::{from_now, short};
use super::style::{Style, Tone};
use super::table::{Cell, table};
use crate::finding::{Finding, Severity};
use crate::operation::scan::{Need, ScanOutcome, ScanReport, ScannedCluster};
use crate::verify::TimeSource;
use crate::verify::words::count;

/// How many findings of one cluster are told.
const TOLD: usize = 3;

/// How many clusters are named beside one need.
const NAMED: usize = 5;

/// The whole report.
pub(in crate::cli) fn render(report: &ScanReport, style: Style) -> String {
    let mut text = heading(report, style);
    text.push('\n');
    let rows: Vec<Vec<Cell>> = report
        .clusters
        .iter()
        .map(|cluster| row(cluster, report.at, style))
        .collect();
    let names = [
        "",
        "CLUSTER",
        "FORM",
        "EXPOSURE",
        "WINDOW",
        "LAST BACKUP",
        "FINDINGS",
        "A DRILL LACKS",
    ];
    for line in table(&names, &rows, 1, style) {
        text.push_str(&line);
        text.push('\n');
    }
    for cluster in &report.clusters {
        details(&mut text, cluster, style);
    }
    drills(&mut text, report, style);
    for note in &report.notes {
        text.push('\n');
        wrapped(&mut text, note, Tone::Warning, style);
    }
    foot(&mut text, report, style);
    text
}

fn heading(report: &ScanReport, style: Style) -> String {
    let mut first = format!(
        "Kubernetes {} at {}",
        report.kubernetes.as_deref().unwrap_or("of unknown version"),
        report.server
    );
    if let Some(context) = &report.context {
        let _ = write!(first, ", context {context}");
    }
    if let Some(identity) = &report.identity {
        let _ = write!(first, ", as {identity}");
    }
    let operator = match &report.operator {
        None => "The operator could not be seen".to_owned(),
        Some(operator) => {
            let plugin = match (operator.plugin, &operator.plugin_version) {
                (true, Some(version)) => format!("Barman Cloud plugin {version}"),
                (true, None) => "Barman Cloud plugin".to_owned(),
                (false, _) => "no Barman Cloud plugin".to_owned(),
            };
            format!(
                "CloudNativePG {} in {}, {plugin}",
                operator.version.as_deref().unwrap_or("of unknown version"),
                operator.namespace
            )
        }
    };
    let mut text = String::new();
    for line in [first, operator] {
        let _ = writeln!(text, "{}", style.paint(Tone::Quiet, &line));
    }
    text
}

/// Nothing is green here: a scan proves nothing.
fn mark(cluster: &ScannedCluster, style: Style) -> (Tone, &'static str) {
    match cluster.outcome {
        ScanOutcome::Quiet => (Tone::Plain, style.pick("·", ".")),
        ScanOutcome::Unread => (Tone::Warning, "?"),
        ScanOutcome::Problem if cluster.worst() == Some(Severity::Critical) => {
            (Tone::Bad, style.pick("✗", "x"))
        }
        ScanOutcome::Problem => (Tone::Warning, "!"),
    }
}

fn row(cluster: &ScannedCluster, now: DateTime<Utc>, style: Style) -> Vec<Cell> {
    let (tone, mark) = mark(cluster, style);
    vec![
        Cell::new(tone, mark),
        Cell::new(Tone::Strong, cluster.title()),
        Cell::plain(&cluster.form),
        exposure(cluster),
        window(cluster),
        backup(cluster, now),
        findings(cluster),
        lacks(cluster),
    ]
}

fn exposure(cluster: &ScannedCluster) -> Cell {
    match (&cluster.exposure, &cluster.standing) {
        (Some(exposure), _) => {
            // With an object's time it is a bound only.
            let bound = if exposure.source == TimeSource::Object {
                ">"
            } else {
                ""
            };
            Cell::plain(format!("{bound}{}", short(exposure.seconds)))
        }
        // It was looked at, and there was nothing to be recovered.
        (None, Some(_)) => Cell::new(Tone::Bad, "all"),
        (None, None) if cluster.form == "none" => Cell::new(Tone::Bad, "all"),
        (None, None) => Cell::new(Tone::Warning, "unknown"),
    }
}

fn window(cluster: &ScannedCluster) -> Cell {
    let Some(standing) = &cluster.standing else {
        return Cell::none();
    };
    let end = standing.window_end.or(standing.tip_commit_at);
    let (Some(begin), Some(end)) = (standing.oldest_begin, end) else {
        return Cell::new(Tone::Bad, "none");
    };
    let span = short(end.signed_duration_since(begin).num_seconds().max(0));
    if standing.gaps == 0 {
        Cell::plain(span)
    } else {
        Cell::new(
            Tone::Bad,
            format!("{span}, {}", count(standing.gaps, "gap")),
        )
    }
}

fn backup(cluster: &ScannedCluster, now: DateTime<Utc>) -> Cell {
    match &cluster.standing {
        None => Cell::none(),
        Some(standing) => standing.newest_backup_at.map_or_else(
            || Cell::new(Tone::Bad, "none"),
            |at| Cell::plain(from_now(at, now)),
        ),
    }
}

fn findings(cluster: &ScannedCluster) -> Cell {
    let of = |severity: Severity| {
        cluster
            .findings
            .iter()
            .filter(|finding| finding.severity == severity)
            .count() as u64
    };
    let (critical, warnings) = (of(Severity::Critical), of(Severity::Warning));
    match (critical, warnings) {
        (0, 0) if cluster.standing.is_none() => Cell::none(),
        (0, 0) => Cell::plain("none"),
        (0, warnings) => Cell::new(Tone::Warning, count(warnings, "warning")),
        (critical, 0) => Cell::new(Tone::Bad, format!("{critical} critical")),
        (critical, warnings) => Cell::new(
            Tone::Bad,
            format!("{critical} critical, {}", count(warnings, "warning")),
        ),
    }
}

/// What is known to be missing, and in brackets what could not be seen.
fn lacks(cluster: &ScannedCluster) -> Cell {
    if cluster.needs.is_empty() {
        return Cell::new(Tone::Warning, "an archive");
    }
    let of = |met: Option<bool>| {
        let words: Vec<&str> = cluster
            .needs
            .iter()
            .filter(|need| need.met == met)
            .map(|need| need.kind.as_str())
            .collect();
        words.join(", ")
    };
    let (missing, unknown) = (of(Some(false)), of(None));
    match (missing.is_empty(), unknown.is_empty()) {
        (true, true) => Cell::plain("nothing"),
        (false, true) => Cell::new(Tone::Warning, missing),
        (true, false) => Cell::new(Tone::Quiet, format!("{unknown}?")),
        (false, false) => Cell::new(Tone::Warning, format!("{missing}, {unknown}?")),
    }
}

/// Why a Cluster is not quiet.
fn details(text: &mut String, cluster: &ScannedCluster, style: Style) {
    let weighty: Vec<&Finding> = cluster
        .findings
        .iter()
        .filter(|finding| finding.severity >= Severity::Warning)
        .collect();
    let unready = !cluster.healthy;
    if cluster.outcome == ScanOutcome::Quiet && !unready {
        return;
    }
    let (tone, mark) = mark(cluster, style);
    let _ = writeln!(
        text,
        "\n{} {}",
        style.paint(tone, mark),
        style.paint(Tone::Strong, &cluster.title())
    );
    if let Some(trouble) = &cluster.trouble {
        wrapped(text, &trouble.message, Tone::Plain, style);
        if let Some(hint) = &trouble.hint {
            wrapped(text, &format!("hint: {hint}"), Tone::Quiet, style);
        }
    }
    for finding in weighty.iter().take(TOLD) {
        wrapped(
            text,
            &format!(
                "{} {}: {}. {}",
                finding.severity.as_str(),
                finding.code,
                finding.message.trim_end_matches('.'),
                finding.consequence
            ),
            Tone::Plain,
            style,
        );
    }
    let more = weighty.len().saturating_sub(TOLD);
    if more > 0 {
        let name = cluster.written_as.as_deref().unwrap_or(&cluster.name);
        let words = format!("and {more} more: walproof verify {name}");
        wrapped(text, &words, Tone::Quiet, style);
    }
    if unready {
        let words = format!(
            "the operator's phase: {}",
            cluster.phase.as_deref().unwrap_or("none yet")
        );
        wrapped(text, &words, Tone::Quiet, style);
    }
}

fn wrapped(text: &mut String, words: &str, tone: Tone, style: Style) {
    for (index, line) in style.wrap(words, 6).iter().enumerate() {
        let lead = if index == 0 { "    " } else { "      " };
        let _ = writeln!(text, "{lead}{}", style.paint(tone, line));
    }
}

/// What drills lack, each thing once with the clusters that it is about.
fn drills(text: &mut String, report: &ScanReport, style: Style) {
    let drillable: Vec<&ScannedCluster> = report
        .clusters
        .iter()
        .filter(|cluster| !cluster.needs.is_empty())
        .collect();
    if drillable.is_empty() {
        return;
    }
    let mut told: Vec<(&Need, Vec<&str>)> = Vec::new();
    for cluster in &drillable {
        // That a repository could not be read was said above.
        let told_above = cluster.standing.is_none();
        for need in &cluster.needs {
            let known = need.met == Some(true)
                && need.kind != crate::operation::scan::NeedKind::Storage
                && need.kind != crate::operation::scan::NeedKind::Credentials;
            let above = told_above && need.kind == crate::operation::scan::NeedKind::Backup;
            if known || above {
                continue;
            }
            let name = cluster.written_as.as_deref().unwrap_or(&cluster.name);
            match told.iter_mut().find(|(other, _)| *other == need) {
                Some((_, clusters)) => clusters.push(name),
                None => told.push((need, vec![name])),
            }
        }
    }
    if told.is_empty() {
        return;
    }
    told.sort_by_key(|(need, _)| (need.met == Some(true), need.kind.as_str()));
    let title = style.paint(Tone::Strong, "A drill in a scratch namespace needs");
    let _ = writeln!(text, "\n{title}");
    for (need, clusters) in told {
        let (tone, mark) = match need.met {
            Some(true) => (Tone::Plain, style.pick("·", ".")),
            Some(false) => (Tone::Warning, "!"),
            None => (Tone::Quiet, "?"),
        };
        let whose = if clusters.len() == drillable.len() {
            String::new()
        } else {
            let few: Vec<&str> = clusters.iter().copied().take(NAMED).collect();
            let more = match clusters.len().saturating_sub(NAMED) {
                0 => String::new(),
                more => format!(", and {more} more"),
            };
            format!(" ({}{more})", few.join(", "))
        };
        let words = format!("{}: {}{whose}", need.kind.as_str(), need.text);
        for (index, line) in style.wrap(&words, 4).iter().enumerate() {
            if index == 0 {
                let _ = writeln!(text, "  {} {line}", style.paint(tone, mark));
            } else {
                let _ = writeln!(text, "    {line}");
            }
        }
    }
}

fn foot(text: &mut String, report: &ScanReport, style: Style) {
    let counts = report.counts;
    let mut words = vec![count(counts.clusters, "cluster")];
    if counts.problem > 0 {
        words.push(format!("{} with findings", counts.problem));
    }
    if counts.unread > 0 {
        words.push(format!("{} not read", counts.unread));
    }
    if counts.quiet > 0 {
        words.push(format!("{} without findings at depth listed", counts.quiet));
    }
    text.push('\n');
    let line = format!(
        "{}. Nothing was changed, and nothing is proven yet: only a restore proves.",
        words.join(", ")
    );
    for line in style.wrap(&line, 0) {
        let _ = writeln!(text, "{line}");
    }
    let example = report
        .clusters
        .iter()
        .filter(|cluster| cluster.standing.is_some())
        .find_map(|cluster| cluster.written_as.as_deref());
    if let Some(name) = example {
        let _ = writeln!(
            text,
            "Next:\n  walproof kubernetes scan --write-config walproof.yaml\n  walproof verify {name} --depth read\n  walproof drill run {name}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Code;
    use crate::operation::scan::{NeedKind, OperatorReport, SCHEMA, ScanCounts, ScanTrouble};

    fn cluster(namespace: &str, name: &str, outcome: ScanOutcome) -> ScannedCluster {
        ScannedCluster {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            written_as: Some(name.to_owned()),
            form: "plugin".to_owned(),
            phase: Some("Cluster in healthy state".to_owned()),
            healthy: true,
            major: Some(17),
            instances: 3,
            image: Some("pg:17".to_owned()),
            system_id: None,
            object_store: Some("store".to_owned()),
            server_name: Some(name.to_owned()),
            location: Some(format!("s3://backups/{name}")),
            endpoint: None,
            retention: None,
            next_backup_at: None,
            snapshots: None,
            outcome,
            exposure: None,
            standing: None,
            findings: Vec::new(),
            trouble: None,
            needs: vec![
                Need {
                    kind: NeedKind::Backup,
                    met: None,
                    text: "the repository could not be read".to_owned(),
                },
                Need {
                    kind: NeedKind::Storage,
                    met: Some(true),
                    text: "50 GiB on fast".to_owned(),
                },
            ],
        }
    }

    fn report(clusters: Vec<ScannedCluster>) -> ScanReport {
        ScanReport {
            schema: SCHEMA.to_owned(),
            version: "0".to_owned(),
            at: DateTime::UNIX_EPOCH,
            server: "https://api.example:6443".to_owned(),
            context: Some("prod".to_owned()),
            identity: Some("me".to_owned()),
            kubernetes: Some("v1.34.4".to_owned()),
            namespace: None,
            operator: Some(OperatorReport {
                namespace: "cnpg-system".to_owned(),
                version: Some("1.30.0".to_owned()),
                ready: 1,
                watches: Vec::new(),
                plugin: true,
                plugin_version: Some("0.14.0".to_owned()),
            }),
            counts: ScanCounts {
                clusters: clusters.len() as u64,
                quiet: 0,
                problem: 1,
                unread: 1,
            },
            clusters,
            notes: Vec::new(),
        }
    }

    #[test]
    fn the_table_says_what_is_wrong_and_what_to_do() {
        let mut denied = cluster("shop", "orders", ScanOutcome::Unread);
        denied.trouble = Some(ScanTrouble {
            class: "credentials".to_owned(),
            message: "read access_key_id from Secret shop/s3[ID]: there is no such Secret"
                .to_owned(),
            hint: None,
        });
        let mut bare = cluster("notes", "notes", ScanOutcome::Problem);
        bare.form = "none".to_owned();
        bare.needs.clear();
        bare.findings = vec![Finding::new(
            Code::ArchiveNotConfigured,
            "Cluster notes/notes",
            "neither spec.plugins nor spec.backup names a place for its WAL",
        )];
        insta::assert_snapshot!(render(
            &report(vec![bare, denied]),
            Style {
                width: 100,
                ..Style::PLAIN
            }
        ));
    }
}
