//! `walproof schedule`: what comes next.

use std::fmt::Write as _;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::cli::{Context, ExitCode, Failure, Palette};
use crate::config::Zone;
use crate::daemon::Plan;

/// The schema of `schedule list --output json`.
const SCHEMA: &str = "walproof.schedule-list/v1";

/// Look at the schedules
#[derive(Subcommand, Clone, Debug)]
pub enum ScheduleCommand {
    /// List the next runs of every schedule
    #[command(
        long_about = "List the next runs of the configuration's schedules, the earliest first: when each is due, and when it may start, which jitter and blackouts put off.\n\nComputed from the configuration alone; no daemon and no state is asked. `walproof status` shows what the daemon has planned, `walproof job list` what it does now.",
        after_long_help = "Examples:\n  walproof schedule list\n  walproof schedule list --cluster orders --count 50\n  walproof schedule list --output json | jq '.runs[] | [.due_at, .schedule, .cluster]'"
    )]
    List(ListArgs),
}

/// Arguments of `schedule list`.
#[derive(Args, Clone, Debug)]
pub struct ListArgs {
    /// Only of this cluster
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,
    /// Only of this schedule
    #[arg(long, value_name = "NAME")]
    pub schedule: Option<String>,
    /// So many runs
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub count: u32,
}

/// One run to come.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Coming {
    due_at: DateTime<Utc>,
    run_after: DateTime<Utc>,
    schedule: String,
    cluster: String,
    job: &'static str,
    copies: Vec<String>,
}

/// Runs `schedule list`.
pub async fn run(command: ScheduleCommand, context: &Context) -> Result<ExitCode, Failure> {
    let ScheduleCommand::List(args) = command;
    let config = Arc::new(context.whole_config().await?);
    if let Some(name) = &args.cluster
        && config.cluster(name).is_none()
    {
        let failure = Failure::usage(format_args!("list schedules: there is no cluster `{name}`"));
        return Err(match config.cluster_like(name) {
            Some(like) => failure.with_hint(format_args!("did you mean `{like}`?")),
            None => failure,
        });
    }
    if let Some(name) = &args.schedule
        && !config.schedules.iter().any(|known| known.name == *name)
    {
        return Err(Failure::usage(format_args!(
            "list schedules: there is no schedule `{name}`"
        ))
        .with_hint("`walproof schedule list` shows them all"));
    }
    let runs = next(&Plan::of(Arc::clone(&config)), &args, Utc::now());
    if context.output.is_json() {
        context.output.json(&serde_json::json!({
            "schema": SCHEMA,
            "time_zone": config.time_zone,
            "runs": runs,
        }))?;
    } else {
        let text = table(&runs, config.time_zone, context.output.palette);
        context.output.text(&text)?;
    }
    Ok(ExitCode::Done)
}

/// The next runs, the earliest first.
fn next(plan: &Plan, args: &ListArgs, now: DateTime<Utc>) -> Vec<Coming> {
    let count = usize::try_from(args.count).unwrap_or(usize::MAX);
    let is = |wanted: &Option<String>, name: &str| wanted.as_ref().is_none_or(|one| one == name);
    let mut runs = Vec::new();
    for outline in plan.outlines() {
        if !is(&args.cluster, &outline.cluster) || !is(&args.schedule, &outline.schedule) {
            continue;
        }
        let mut from = now;
        for _ in 0..count {
            let Some((due_at, run_after)) = outline.next(from) else {
                break;
            };
            from = due_at;
            let mut copies: Vec<String> = outline
                .targets
                .iter()
                .map(|target| target.copy.clone())
                .filter(|copy| !copy.is_empty())
                .collect();
            copies.dedup();
            runs.push(Coming {
                due_at,
                run_after,
                schedule: outline.schedule.clone(),
                cluster: outline.cluster.clone(),
                job: outline.kind.as_str(),
                copies,
            });
        }
        // No more than what can be shown is kept.
        if runs.len() > count.saturating_mul(8) {
            runs.sort();
            runs.truncate(count);
        }
    }
    runs.sort();
    runs.truncate(count);
    runs
}

/// Writing to a `String` cannot fail.
fn table(runs: &[Coming], zone: Zone, palette: Palette) -> String {
    let mut text = String::new();
    if runs.is_empty() {
        text.push_str("Nothing comes: add `schedules` to the configuration (docs/daemon.md).\n");
        return text;
    }
    let clock = |moment: DateTime<Utc>| {
        moment
            .with_timezone(&zone.tz())
            .format("%a %Y-%m-%d %H:%M:%S")
            .to_string()
    };
    let width = |of: fn(&Coming) -> usize| runs.iter().map(of).max().unwrap_or_default();
    let schedules = width(|run| run.schedule.len());
    let clusters = width(|run| run.cluster.len());
    let _ = writeln!(text, "{}", palette.bold(format_args!("due ({zone})")));
    for run in runs {
        let mut line = format!(
            "{}  {:9}  {:schedules$}  {:clusters$}  {}",
            clock(run.due_at),
            run.job,
            run.schedule,
            run.cluster,
            run.copies.join(", "),
        );
        if run.run_after != run.due_at {
            let _ = write!(line, "  starts {}", clock(run.run_after));
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(schedules: &str) -> Plan {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("walproof.yaml");
        std::fs::write(
            &file,
            format!(
                "version: 1\nclusters:\n- {{name: a, primary: {{url: 'file:///a'}}, replicas: [{{url: 'file:///b'}}]}}\n- {{name: b, primary: {{url: 'file:///c'}}}}\nschedules:\n{schedules}"
            ),
        )
        .unwrap();
        Plan::of(Arc::new(crate::config::load(&file).unwrap()))
    }

    fn args(cluster: Option<&str>, count: u32) -> ListArgs {
        ListArgs {
            cluster: cluster.map(str::to_owned),
            schedule: None,
            count,
        }
    }

    #[test]
    fn the_next_runs_are_told_in_order() {
        let plan = plan(
            "- {name: n, job: verify, cron: '0 3 * * *'}\n- {name: h, job: replicate, cron: '@hourly', blackout: ['02:00-04:00']}\n",
        );
        let now = "2026-11-22T01:30:00Z".parse().unwrap();
        let runs = next(&plan, &args(None, 4), now);
        assert_eq!(
            table(&runs, Zone::UTC, Palette::plain()),
            "\
due (UTC)
Sun 2026-11-22 02:00:00  replicate  h  a  replica-1  starts Sun 2026-11-22 04:00:00
Sun 2026-11-22 03:00:00  verify     n  a  primary, replica-1
Sun 2026-11-22 03:00:00  verify     n  b  primary
Sun 2026-11-22 03:00:00  replicate  h  a  replica-1  starts Sun 2026-11-22 04:00:00
"
        );
        let runs = next(&plan, &args(Some("b"), 2), now);
        assert!(
            runs.iter()
                .all(|run| run.cluster == "b" && run.job == "verify")
        );
        assert_eq!(runs.len(), 2);
        assert!(table(&[], Zone::UTC, Palette::plain()).contains("Nothing comes"));
    }
}
