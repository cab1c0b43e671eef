//! Jobs as people read them. Writing to a `String` cannot fail.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};

use super::status::from_now;
use super::status_cluster::far;
use super::style::{Style, Tone};
use super::table::{Cell, table};
use crate::state::{Job, JobStatus};
use crate::verify::words::{bytes, utc};

/// One job in a line.
fn lines(jobs: &[Job], now: DateTime<Utc>, style: Style) -> Vec<String> {
    let rows: Vec<Vec<Cell>> = jobs
        .iter()
        .map(|job| {
            let id: String = job.id.to_string().chars().take(13).collect();
            let place = match (job.cluster.as_str(), job.copy.as_str()) {
                ("", _) => Cell::none(),
                (cluster, "") => Cell::plain(cluster),
                (cluster, copy) => Cell::plain(format!("{cluster}/{copy}")),
            };
            let note = match (&job.progress, &job.error) {
                (Some(progress), _) if job.status == JobStatus::Running => far(progress),
                (_, Some(error)) => error.clone(),
                _ => String::new(),
            };
            vec![
                Cell::new(Tone::Quiet, id),
                Cell::plain(job.kind.as_str()),
                place,
                Cell::new(tone(job.status), job.status.as_str()),
                Cell::plain(from_now(job.due_at, now)),
                Cell::plain(note),
            ]
        })
        .collect();
    table(
        &["ID", "KIND", "CLUSTER", "STATUS", "DUE", ""],
        &rows,
        5,
        style,
    )
}

/// Jobs in a table, or that there are none.
pub fn list(jobs: &[Job], now: DateTime<Utc>, open: bool, style: Style) -> String {
    if jobs.is_empty() {
        let words = if open {
            "no job waits or runs; `--all` shows those that are over\n"
        } else {
            "no such job is kept\n"
        };
        return words.to_owned();
    }
    let mut text = String::new();
    for line in lines(jobs, now, style) {
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// A job that is done says nothing of what it found, so it is not green.
const fn tone(status: JobStatus) -> Tone {
    match status {
        JobStatus::Waiting | JobStatus::Done => Tone::Plain,
        JobStatus::Running => Tone::Strong,
        JobStatus::Failed => Tone::Bad,
        JobStatus::Cancelled | JobStatus::Missed | JobStatus::Skipped => Tone::Warning,
    }
}

/// Everything about one job.
pub fn job(job: &Job, now: DateTime<Utc>, style: Style) -> String {
    let mut text = String::new();
    let heading = format!("{} {}", job.kind.as_str(), job.cluster);
    let mut status = job.status.as_str().to_owned();
    if job.status == JobStatus::Running && job.cancel_asked_at.is_some() {
        status.push_str(", asked to stop");
    }
    let _ = writeln!(
        text,
        "{}  {}",
        style.paint(Tone::Strong, heading.trim_end()),
        style.paint(tone(job.status), &status)
    );
    let mut field = |name: &str, words: &str| {
        for (index, line) in style.wrap(words, 13).iter().enumerate() {
            let name = if index == 0 { name } else { "" };
            let _ = writeln!(text, "  {name:<10} {line}");
        }
    };
    let moment = |at: DateTime<Utc>| format!("{} ({})", utc(at), from_now(at, now));
    field("id", &job.id.to_string());
    field("key", &job.key);
    if !job.copy.is_empty() {
        field("copy", &job.copy);
    }
    if let Some(schedule) = &job.schedule {
        field("schedule", schedule);
    }
    field("due", &moment(job.due_at));
    if job.status == JobStatus::Waiting && job.run_after != job.due_at {
        field("not before", &moment(job.run_after));
    }
    if let Some(deadline) = job.deadline
        && !job.status.is_over()
    {
        field("deadline", &moment(deadline));
    }
    if job.late {
        field("late", "yes: walproof was down when it was due");
    }
    field("priority", &format!("{} of 9", job.priority));
    field(
        "attempts",
        &format!("{} of {}", job.attempts, job.max_attempts),
    );
    if let Some(at) = job.started_at {
        field("begun", &moment(at));
    }
    if let Some(at) = job.finished_at {
        field("over", &moment(at));
    }
    if job.scratch_bytes > 0 {
        field("scratch", &bytes(job.scratch_bytes));
    }
    if let Some(holder) = job.holder.filter(|_| job.status == JobStatus::Running) {
        let until = job.lease_until.map_or_else(String::new, |until| {
            format!(", lease ends {}", from_now(until, now))
        });
        field("held by", &format!("{holder}{until}"));
    }
    if let Some(progress) = &job.progress {
        field("progress", &far(progress));
    }
    if let Some(error) = &job.error {
        field("error", error);
    }
    if let Some(run) = job.run_id {
        field("run", &run.to_string());
    }
    field("to do", &job.spec.to_string());
    text
}
