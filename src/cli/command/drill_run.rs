//! `walproof drill run` and `walproof drill sweep`: from arguments and definition to the
//! drill room and back to an exit code.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::Utc;
use indicatif::ProgressBar;
use serde::Serialize;

use super::drill::{RunArgs, SweepArgs, definition};
use crate::cli::alone;
use crate::cli::recording::{Recording, outcome};
use crate::cli::render::style::Style;
use crate::cli::source::{Source, resolve};
use crate::cli::{Context, ExitCode, Failure, Progress, render};
use crate::config::{Config, DrillDefinition, Expectation, Period};
use crate::drill::checks::{self, CheckDefinition, CheckKind};
use crate::drill::environments::local::scratch::default_root;
use crate::drill::record::RecordContext;
use crate::drill::{
    self, BackupChoice, DrillObserver, DrillOptions, DrillPlan, DrillReport, LocalOptions,
    Objectives, Phase, PhaseTiming, Stop, Unit,
};
use crate::evidence::{Digest, Trigger, sha256_hex};
use crate::finding::{Code, Finding};
use crate::postgres::TimelineId;
use crate::repository;
use crate::restore::Target;
use crate::state::RunKind;
use crate::storage::{Store, WriteProbe};

/// Runs a drill.
pub(super) async fn run(args: &RunArgs, context: &Context) -> Result<ExitCode, Failure> {
    let config = context.config()?;
    let definition = definition(args, &config)?;
    let mut wanted = args.source.clone();
    if wanted.copy.is_none() && !wanted.source.contains("://") {
        wanted.copy.clone_from(&definition.copy);
    }
    let source = resolve(&wanted, &config)?;
    let mut options = options(args, &definition, &source, &config)?;
    let store = Store::open(&source.location, &source.options)?;
    let repository = repository::open(store);
    let cancellation = drill::Cancellation::from(context.interrupt.clone());

    if args.dry_run {
        let plan = drill::plan(&options, &repository, cancellation)
            .await
            .map_err(stopped)?;
        if context.output.is_json() {
            context.output.json(&PlanDocument {
                schema: "walproof.drill-plan/v1",
                plan: &plan,
            })?;
        } else {
            let text = render::drill::plan(&plan, context.output.style());
            context.output.text(&text)?;
        }
        return Ok(if plan.holes.is_empty() {
            ExitCode::Done
        } else {
            ExitCode::Problem
        });
    }
    let watcher = Arc::new(Watcher::new(
        context.progress.clone(),
        !context.output.is_json(),
        context.output.style(),
    ));
    // Before anything is recorded: a probe that fails is no drill that was interrupted.
    let writable = if args.probe_write {
        Some(repository.store().write_probe().await? == WriteProbe::Allowed)
    } else {
        None
    };
    // A proof that leaves no record is none, so there is no drill without a state.
    let recording = Recording::begin(RunKind::Drill, &source, &config, context).await?;
    // One identity for run, scratch directory and kept files.
    options.id = recording.id();
    let mut report = drill::run(&options, &repository, watcher, cancellation).await;
    report.environment.repository_writable = writable;
    if writable == Some(true) {
        report.findings.push(Finding::new(
            Code::PrimaryWritable,
            source.location.to_string(),
            "a write that should have been refused went through, and was removed again",
        ));
    }
    let file = keep(args, &source, &definition, recording, &report).await?;
    if context.output.is_json() {
        context.output.json(&report)?;
    } else {
        let text = render::drill::report(&report, &file, context.output.style());
        context.output.text(&text)?;
    }
    Ok(code_of(&report))
}

/// A plan as programs read it.
#[derive(Serialize)]
struct PlanDocument<'a> {
    schema: &'static str,
    #[serde(flatten)]
    plan: &'a DrillPlan,
}

/// Keeps the report and its record in the state database.
async fn keep(
    args: &RunArgs,
    source: &Source,
    definition: &DrillDefinition,
    recording: Recording,
    report: &DrillReport,
) -> Result<PathBuf, Failure> {
    let tier = source
        .cluster
        .as_ref()
        .and_then(|cluster| cluster.tier.clone());
    let set_by = [
        ("rpo", args.objectives.rpo.is_some()),
        ("rto", args.objectives.rto.is_some()),
    ]
    .into_iter()
    .map(|(name, given)| {
        let by = match &tier {
            Some(tier) if !given => format!("tier {tier}"),
            _ => "command line".to_owned(),
        };
        (name.to_owned(), by)
    })
    .collect();
    let file_digest = |path: &std::path::Path| {
        let bytes = std::fs::read(path).ok()?;
        let name = path.file_name()?.to_str()?.to_owned();
        Some(Digest::of(name, &bytes))
    };
    let record = drill::record::record(
        report,
        RecordContext {
            run_id: recording.id(),
            definition_sha256: serde_json::to_vec(definition)
                .ok()
                .map(|json| sha256_hex(&json)),
            trigger: Trigger::Manual,
            initiator: initiator(args),
            due_at: report.started_at,
            owner: source
                .cluster
                .as_ref()
                .and_then(|cluster| cluster.owner.clone()),
            tier,
            location: source.location.clone(),
            server_version: report
                .plan
                .as_ref()
                .and_then(|plan| plan.backup.server_version),
            host: host(),
            set_by,
            logs: report
                .environment
                .kept
                .iter()
                .filter_map(|path| file_digest(path))
                .collect(),
        },
    );
    let file = recording.keep(&record).await?;
    recording
        .finish(&outcome(
            Some(report.verdict),
            code_of(report),
            render::drill::summary(report),
            &report.findings,
            (&report.schema, report),
        ))
        .await?;
    Ok(file)
}

fn code_of(report: &DrillReport) -> ExitCode {
    ExitCode::ALL
        .into_iter()
        .find(|code| code.number() == report.exit_code())
        .unwrap_or(ExitCode::Unproven)
}

/// Who asked: as told, else who runs walproof.
fn initiator(args: &RunArgs) -> String {
    args.initiator.clone().unwrap_or_else(|| {
        let own = nix::unistd::Uid::current();
        nix::unistd::User::from_uid(own)
            .ok()
            .flatten()
            .map_or_else(|| format!("uid {own}"), |user| user.name)
    })
}

/// This machine's name.
fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "unknown".to_owned(), |name| name.trim().to_owned())
}

/// Removes what dead drills left.
pub(super) async fn sweep(args: &SweepArgs, context: &Context) -> Result<ExitCode, Failure> {
    let root = args.scratch.clone().unwrap_or_else(default_root);
    let only_look = args.dry_run;
    let report = tokio::task::spawn_blocking(move || {
        if only_look {
            drill::would_sweep(&root, Utc::now())
        } else {
            drill::sweep(&root, Utc::now())
        }
    })
    .await
    .map_err(Failure::unproven)?;
    if context.output.is_json() {
        context.output.json(&report)?;
    } else {
        let text = render::drill::sweep(&report, only_look, context.output.palette);
        context.output.text(&text)?;
    }
    Ok(if report.failed.is_empty() {
        ExitCode::Done
    } else {
        ExitCode::Problem
    })
}

/// What a plan that cannot be made means for the command line.
fn stopped(stop: Stop) -> Failure {
    match stop {
        Stop::Refused { reason, .. } => Failure::refused(reason),
        Stop::Unproven(words) => Failure::unproven(words),
        Stop::Interrupted => Failure::interrupted(),
        Stop::Failed(findings) => {
            let words: Vec<String> = findings
                .iter()
                .map(|finding| format!("{}: {}: {}", finding.code, finding.object, finding.message))
                .collect();
            Failure::new(ExitCode::Problem, words.join("; "))
        }
    }
}

fn options(
    args: &RunArgs,
    definition: &DrillDefinition,
    source: &Source,
    config: &Config,
) -> Result<DrillOptions, Failure> {
    // A minute for clocks that differ.
    if let Some(lost_at) = args.lost_at
        && lost_at > Utc::now() + chrono::TimeDelta::minutes(1)
    {
        return Err(Failure::usage(format_args!(
            "--lost-at {} has not come yet",
            lost_at.format("%Y-%m-%dT%H:%M:%SZ")
        ))
        .with_hint(
            "name a moment in the past, or leave it out: then it is when the drill starts",
        ));
    }
    let tier = args.objectives.over(&source.tier);
    let settings: BTreeMap<String, String> = definition
        .settings
        .iter()
        .map(|(name, value)| (name.clone(), value.0.clone()))
        .collect();
    drill::settings::check_tuning(&settings).map_err(Failure::usage)?;
    let local = LocalOptions {
        scratch_root: definition.scratch.clone().unwrap_or_else(default_root),
        binaries: args.pg_bin.clone(),
        run_as: args.run_as.clone(),
        superuser: definition
            .superuser
            .clone()
            .unwrap_or_else(|| "postgres".to_owned()),
        preload: definition.preload.clone(),
        settings,
        ..LocalOptions::default()
    };
    let defaults = DrillOptions::default();
    Ok(DrillOptions {
        name: Some(definition.name.clone()),
        cluster: Some(source.name.clone()),
        copy: Some(source.copy.clone()).filter(|copy| !copy.is_empty()),
        alone: alone::options(args.alone.over(definition.alone), source)?,
        initiator: args.initiator.clone(),
        backup: match definition.backup.as_str() {
            "auto" => BackupChoice::Auto,
            id => BackupChoice::Id(id.to_owned()),
        },
        target: Target::try_from(&definition.target)?,
        timeline: args.target.timeline()?.map(TimelineId),
        local,
        checks: checks_of(definition, source)?,
        objectives: Objectives {
            rpo: tier.rpo.map(Period::as_std),
            rto: tier.rto.map(Period::as_std),
        },
        lost_at: args.lost_at,
        limit: definition.timeout.map_or(defaults.limit, Period::as_std),
        keep: Some(config.state.directory().join("drills")),
        ..defaults
    })
}

/// The questions: the heartbeat of the cluster, those of the definition, `pg_amcheck`.
fn checks_of(
    definition: &DrillDefinition,
    source: &Source,
) -> Result<Vec<CheckDefinition>, Failure> {
    let limit = |period: Option<Period>| period.map_or(checks::DEFAULT_TIMEOUT, Period::as_std);
    let mut all = Vec::new();
    let heartbeat = source
        .cluster
        .as_ref()
        .and_then(|cluster| cluster.heartbeat.as_ref());
    if let Some(beat) = heartbeat {
        all.push(CheckDefinition::new(
            "heartbeat",
            CheckKind::Heartbeat {
                database: beat.database.clone(),
                table: beat.table.clone(),
                column: beat.column.clone(),
                max_age: None,
            },
        ));
    }
    for check in &definition.checks {
        let expectation = match (&check.expect, &check.rows) {
            (_, Some(rows)) => checks::Expectation::Rows(
                rows.iter()
                    .map(|row| row.iter().map(|cell| cell.0.clone()).collect())
                    .collect(),
            ),
            (Some(expect), None) => expectation(expect)?,
            (None, None) => {
                return Err(Failure::usage(format_args!(
                    "check `{}` has neither `expect` nor `rows`",
                    check.name
                )));
            }
        };
        all.push(CheckDefinition {
            timeout: limit(check.timeout),
            ..CheckDefinition::new(
                &check.name,
                CheckKind::Sql {
                    database: check.database.clone(),
                    sql: check.sql.clone(),
                    expectation,
                },
            )
        });
    }
    if let Some(amcheck) = &definition.amcheck {
        all.push(CheckDefinition {
            // Reading every page takes its time; the drill's own limit holds anyway.
            timeout: amcheck
                .timeout
                .map_or(Duration::from_hours(2), Period::as_std),
            ..CheckDefinition::new(
                "amcheck",
                CheckKind::Amcheck {
                    databases: amcheck.databases.clone(),
                    tables: amcheck.tables.clone(),
                    heapallindexed: amcheck.heapallindexed,
                    jobs: amcheck.jobs.unwrap_or(1),
                },
            )
        });
    }
    if definition.checksums {
        all.push(CheckDefinition {
            timeout: definition
                .timeout
                .map_or(Duration::from_hours(2), Period::as_std),
            ..CheckDefinition::new("checksums", CheckKind::Checksums)
        });
    }
    Ok(all)
}

/// Both rooms write expectations alike; the drill's can judge.
fn expectation(expect: &Expectation) -> Result<checks::Expectation, Failure> {
    expect.to_string().parse().map_err(Failure::usage)
}

/// Lines per phase for people, and a bar where they look.
struct Watcher {
    progress: Progress,
    lines: bool,
    style: Style,
    bar: Mutex<Option<ProgressBar>>,
}

impl Watcher {
    const fn new(progress: Progress, lines: bool, style: Style) -> Self {
        Self {
            progress,
            lines,
            style,
            bar: Mutex::new(None),
        }
    }

    fn replace(&self, bar: Option<ProgressBar>) {
        let mut current = self.bar.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = std::mem::replace(&mut *current, bar) {
            old.finish_and_clear();
        }
    }
}

impl DrillObserver for Watcher {
    fn note(&self, text: &str) {
        for (index, line) in self.style.wrap(text, 6).iter().enumerate() {
            let lead = if index == 0 { "note: " } else { "      " };
            self.progress.print(&format!("{lead}{line}\n"));
        }
    }

    fn phase_started(&self, phase: Phase) {
        self.replace(Some(self.progress.spinner(phase.words())));
    }

    fn phase_finished(&self, timing: &PhaseTiming) {
        self.replace(None);
        if self.lines {
            self.progress
                .print(&render::drill::phase_line(timing, self.style));
        }
    }

    fn progress(&self, phase: Phase, progress: drill::Progress) {
        let mut current = self.bar.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(bar) = current.as_mut() else {
            return;
        };
        match (progress.unit, progress.total) {
            (_, Some(total)) if bar.length().is_none() => {
                bar.finish_and_clear();
                *bar = match progress.unit {
                    Unit::Bytes => self.progress.bytes(phase.words(), total),
                    Unit::Segments | Unit::Checks => self.progress.count(phase.words(), total),
                };
                bar.set_position(progress.done);
            }
            _ => bar.set_position(progress.done),
        }
    }
}
