//! Requests as people read them. Writing to a `String` cannot fail.

use std::fmt::Write as _;

use chrono::{DateTime, TimeDelta, Utc};

use super::status::from_now;
use super::style::{Style, Tone};
use super::table::{Cell, table};
use crate::operation::request::{RequestPlan, RequestReport};
use crate::state::RequestStatus;
use crate::verify::words::{bytes, length, utc, utc_milliseconds};

const fn tone(status: RequestStatus) -> Tone {
    match status {
        RequestStatus::Ready => Tone::Good,
        RequestStatus::Queued | RequestStatus::Restoring | RequestStatus::Ending => Tone::Warning,
        RequestStatus::Refused | RequestStatus::Failed | RequestStatus::Unproven => Tone::Bad,
        RequestStatus::Ended => Tone::Quiet,
    }
}

fn lease(seconds: u64) -> String {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    length(TimeDelta::try_seconds(seconds).unwrap_or(TimeDelta::MAX))
}

/// Lines of a name and what there is to say.
struct Rows {
    text: String,
    style: Style,
}

impl Rows {
    fn row(&mut self, name: &str, tone: Tone, value: &str) {
        for (index, line) in self.style.wrap(value, 18).iter().enumerate() {
            let name = if index == 0 { name } else { "" };
            let _ = writeln!(self.text, "  {name:<14}  {}", self.style.paint(tone, line));
        }
    }

    /// A line to be copied: never broken.
    fn command(&mut self, line: &str) {
        let _ = writeln!(self.text, "    {line}");
    }

    fn heading(&mut self, text: &str) {
        let _ = writeln!(self.text, "\n{}", self.style.paint(Tone::Strong, text));
    }
}

/// One request.
pub fn report(report: &RequestReport, now: DateTime<Utc>, style: Style) -> String {
    let mut rows = Rows {
        text: String::new(),
        style,
    };
    let status = report.status.as_str().to_uppercase();
    let _ = writeln!(
        rows.text,
        "{}  {}  {}",
        style.paint(tone(report.status), &status),
        style.paint(Tone::Strong, &report.cluster),
        style.paint(Tone::Quiet, &report.target)
    );
    if !report.message.is_empty() {
        rows.row("", tone(report.status), &report.message);
    }
    rows.row("request", Tone::Quiet, &report.id.to_string());
    let asked = format!("{}, {}", report.asked_by, utc(report.asked_at));
    rows.row("asked by", Tone::Plain, &asked);
    if !report.reason.is_empty() {
        rows.row("for", Tone::Plain, &report.reason);
    }
    if let Some(verdict) = report.verdict {
        rows.row("restore", Tone::Plain, verdict.as_str());
    }
    if let Some(commit) = report.result.recovered_to {
        let words = format!(
            "{} (transaction {}, {})",
            utc_milliseconds(commit.time),
            commit.xid,
            commit.lsn
        );
        rows.row("newest commit", Tone::Plain, &words);
    }
    if let Some(commit) = report.result.left_out {
        let words = format!(
            "{} (transaction {}, {})",
            utc_milliseconds(commit.time),
            commit.xid,
            commit.lsn
        );
        rows.row("left out", Tone::Plain, &words);
    }
    for reason in report.result.reasons.iter().skip(1) {
        rows.row("and", Tone::Plain, reason);
    }
    lease_rows(&mut rows, report, now);
    if report.status == RequestStatus::Ready {
        connection_rows(&mut rows, report);
    }
    rows.text
}

fn lease_rows(rows: &mut Rows, report: &RequestReport, now: DateTime<Utc>) {
    let most = lease(report.max_lease_seconds);
    match (report.gone_at, report.expires_at) {
        (Some(gone), _) => rows.row("gone", Tone::Quiet, &utc(gone)),
        (None, Some(until)) => {
            let tone = if until <= now { Tone::Bad } else { Tone::Plain };
            let words = format!(
                "{} ({}); at most {most} from when it was ready",
                utc(until),
                from_now(until, now)
            );
            rows.row("until", tone, &words);
            if until <= now {
                rows.row(
                    "",
                    Tone::Bad,
                    "its lease is over: the daemon removes it, or `walproof request end`",
                );
            }
        }
        (None, None) => rows.row(
            "lease",
            Tone::Plain,
            &format!(
                "{} from when it is ready; at most {most}",
                lease(report.lease_seconds)
            ),
        ),
    }
}

fn connection_rows(rows: &mut Rows, report: &RequestReport) {
    let Some(connection) = &report.result.connection else {
        return;
    };
    rows.heading("Connect");
    rows.row(
        "at",
        Tone::Plain,
        &format!(
            "{}:{}, database {}",
            connection.host, connection.port, connection.database
        ),
    );
    let as_whom = if connection.read_only {
        format!(
            "{} (read only, unless a session says otherwise)",
            connection.user
        )
    } else {
        connection.user.clone()
    };
    rows.row("as", Tone::Plain, &as_whom);
    rows.row(
        "password",
        Tone::Plain,
        &format!("Secret {}/{}", connection.namespace, connection.secret),
    );
    if let Some(copy) = &connection.copied_to {
        rows.row(
            "and",
            Tone::Plain,
            &format!("Secret {copy}, with all of it"),
        );
    }
    let from = if connection.namespaces.is_empty() {
        "nobody; through the API server alone".to_owned()
    } else {
        format!("pods of {}", connection.namespaces.join(", "))
    };
    rows.row("from", Tone::Plain, &from);
    if connection.tried {
        rows.row("tried", Tone::Good, "walproof logged in so");
    }
    if let Some(line) = report.from_a_pod() {
        rows.heading("From a pod");
        rows.command(&line);
    }
    if let Some((forward, psql)) = report.by_hand() {
        rows.heading("From here");
        rows.command(&forward);
        rows.command(&psql);
    }
    rows.heading("Give it back");
    rows.command(&format!("walproof request end {}", report.id));
}

/// Requests in a table, or that there are none.
pub fn list(requests: &[RequestReport], now: DateTime<Utc>, open: bool, style: Style) -> String {
    if requests.is_empty() {
        let words = if open {
            "nothing that somebody asked for is there; `--all` shows what was\n"
        } else {
            "no request is kept\n"
        };
        return words.to_owned();
    }
    let rows: Vec<Vec<Cell>> = requests
        .iter()
        .map(|request| {
            let id: String = request.id.to_string().chars().take(13).collect();
            let until = match (request.gone_at, request.expires_at) {
                (Some(_), _) => Cell::new(Tone::Quiet, "gone"),
                (None, Some(until)) => Cell::plain(from_now(until, now)),
                (None, None) => Cell::none(),
            };
            vec![
                Cell::new(Tone::Quiet, id),
                Cell::plain(&request.cluster),
                Cell::plain(&request.target),
                Cell::new(tone(request.status), request.status.as_str()),
                until,
                Cell::plain(&request.asked_by),
                Cell::plain(&request.message),
            ]
        })
        .collect();
    let mut text = String::new();
    let heading = ["ID", "CLUSTER", "TARGET", "STATUS", "UNTIL", "BY", ""];
    for line in table(&heading, &rows, 6, style) {
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// What a request would do.
pub fn plan(plan: &RequestPlan, style: Style) -> String {
    let mut rows = Rows {
        text: String::new(),
        style,
    };
    let (tone, word) = if plan.refused.is_some() {
        (Tone::Bad, "CANNOT BE HAD")
    } else {
        (Tone::Strong, "PLAN")
    };
    let _ = writeln!(
        rows.text,
        "{}  {}  {}",
        style.paint(tone, word),
        style.paint(Tone::Strong, &plan.cluster),
        style.paint(Tone::Quiet, &plan.target)
    );
    if let Some(refused) = &plan.refused {
        rows.row("", Tone::Bad, refused);
    }
    let near = plan.nearest.as_ref().map(crate::restore::Nearest::words);
    if let Some(near) = near.filter(|near| !near.is_empty()) {
        rows.row("instead", Tone::Plain, &near);
    }
    rows.row(
        "lease",
        Tone::Plain,
        &format!(
            "{} from when it is ready; at most {}",
            lease(plan.lease_seconds),
            lease(plan.max_lease_seconds)
        ),
    );
    let from: Vec<&str> = plan.access.namespaces.iter().map(String::as_str).collect();
    let from = if from.is_empty() {
        "nobody; through the API server alone".to_owned()
    } else {
        format!("pods of {}", from.join(", "))
    };
    rows.row("access", Tone::Plain, &from);
    if let Some(restore) = &plan.restore {
        rows.row("backup", Tone::Plain, &restore.backup.id);
        rows.row(
            "replays",
            Tone::Plain,
            &format!(
                "{} of WAL, {} commits",
                bytes(restore.wal.bytes),
                restore.wal.commits
            ),
        );
        let end = &restore.expected_end;
        rows.row(
            "ends at",
            Tone::Plain,
            &format!("{} on timeline {}", end.end, end.timeline),
        );
        if let Some(commit) = end.recovery_point {
            rows.row("newest commit", Tone::Plain, &utc_milliseconds(commit.time));
        }
        if let Some(commit) = end.next_commit {
            rows.row("left out", Tone::Plain, &utc_milliseconds(commit.time));
        }
        if let crate::drill::plan::PlannedEnvironment::Cnpg(cnpg) = &restore.environment {
            rows.row("namespace", Tone::Plain, &cnpg.namespace);
        }
    }
    rows.text
}
