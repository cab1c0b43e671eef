//! `walproof drill run` and `walproof drill sweep`: from arguments and definition to the
//! drill room and back to an exit code.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::Utc;
use indicatif::ProgressBar;
use serde::Serialize;

use super::drill::{RunArgs, SweepArgs, definition};
use crate::cli::render::style::Style;
use crate::cli::source::resolve;
use crate::cli::{Context, ExitCode, Failure, Progress, render};
use crate::config::{DrillDefinition, Period};
use crate::drill::{self, DrillObserver, DrillPlan, Phase, PhaseTiming, Stop, Unit};
use crate::operation;
use crate::operation::drill::{DrillRequest, PreparedDrill, prepare};
use crate::operation::source::Source;
use crate::operation::sweep::Swept;
use crate::postgres::TimelineId;
use crate::state::RunKind;

/// Runs a drill.
pub(super) async fn run(args: &RunArgs, context: &Context) -> Result<ExitCode, Failure> {
    let mut config = context.known_config().await?;
    args.kubernetes.apply(&mut config);
    let definition = definition(args, &config)?;
    let mut wanted = args.source.clone();
    if wanted.copy.is_none() && !wanted.source.contains("://") {
        wanted.copy.clone_from(&definition.copy);
    }
    let source = resolve(&wanted, &config)?;
    let drill = prepare(&source, request(args, definition, &source)?, &config)?;
    let cancellation = drill::Cancellation::from(context.interrupt.clone());
    if args.dry_run {
        return show_plan(&drill, cancellation, context).await;
    }
    let watcher = Arc::new(Watcher::new(
        context.progress.clone(),
        !context.output.is_json(),
        context.output.style(),
    ));
    let writable = drill.probe().await?;
    // A proof that leaves no record is none, so there is no drill without a state.
    let state = context.state(&config).await?;
    let mut origin = operation::Origin::by_hand();
    if let Some(initiator) = &args.initiator {
        origin.asked.initiator.clone_from(initiator);
    }
    let recording = operation::Recording::begin(&state, RunKind::Drill, &source, origin).await?;
    let drilled = Box::pin(drill.run(writable, recording, watcher, cancellation)).await?;
    state.close().await;
    let report = &drilled.report;
    if context.output.is_json() {
        context.output.json(report)?;
    } else {
        let text = render::drill::report(report, &drilled.file, context.output.style());
        context.output.text(&text)?;
    }
    Ok(ExitCode::of(report.exit_code()))
}

async fn show_plan(
    drill: &PreparedDrill<'_>,
    cancellation: drill::Cancellation,
    context: &Context,
) -> Result<ExitCode, Failure> {
    let plan = drill::plan(&drill.options, &drill.repository, cancellation)
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
    Ok(if plan.holes.is_empty() {
        ExitCode::Done
    } else {
        ExitCode::Problem
    })
}

/// A plan as programs read it.
#[derive(Serialize)]
struct PlanDocument<'a> {
    schema: &'static str,
    #[serde(flatten)]
    plan: &'a DrillPlan,
}

/// What the arguments ask for.
fn request(
    args: &RunArgs,
    definition: DrillDefinition,
    source: &Source,
) -> Result<DrillRequest, Failure> {
    let tier = source
        .cluster
        .as_ref()
        .and_then(|cluster| cluster.tier.as_ref());
    let set_by = [
        ("rpo", args.objectives.rpo.is_some()),
        ("rto", args.objectives.rto.is_some()),
    ]
    .into_iter()
    .map(|(name, given)| {
        let by = match tier {
            Some(tier) if !given => format!("tier {tier}"),
            _ => "command line".to_owned(),
        };
        (name.to_owned(), by)
    })
    .collect();
    Ok(DrillRequest {
        alone: args.alone.over(definition.alone),
        timeline: args.target.timeline()?.map(TimelineId),
        binaries: args.pg_bin.clone(),
        run_as: args.run_as.clone(),
        lost_at: args.lost_at,
        objectives: args.objectives.over(&source.tier),
        set_by,
        probe_write: args.probe_write || definition.probe_write,
        keep_for: args.keep_for.map(Period::as_std),
        initiator: args.initiator.clone(),
        ..DrillRequest::of(definition, source)
    })
}

/// Removes what dead drills left.
pub(super) async fn sweep(args: &SweepArgs, context: &Context) -> Result<ExitCode, Failure> {
    let mut config = context.known_config().await?;
    args.kubernetes.apply(&mut config);
    let roots = match &args.scratch {
        Some(root) => [root.clone()].into(),
        None => operation::sweep::roots(&config),
    };
    let now = Utc::now();
    let mut swept = Swept {
        here: operation::sweep::here(roots, now, args.dry_run).await?,
        kubernetes: None,
    };
    if args.scratch.is_none() && operation::sweep::uses_kubernetes(&config) {
        swept.kubernetes = Some(
            operation::sweep::there(&config, now, args.dry_run)
                .await
                .map_err(|error| Failure::unproven(&error).with_hint(error.hint()))?,
        );
    }
    if context.output.is_json() {
        context.output.json(&swept)?;
    } else {
        let text = render::drill::sweep(&swept, args.dry_run, context.output.palette);
        context.output.text(&text)?;
    }
    Ok(if swept.failed().is_empty() {
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
        Stop::Store(error) => Failure::unproven(error),
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

/// Lines per phase for people, and a bar where they look.
pub(super) struct Watcher {
    progress: Progress,
    lines: bool,
    style: Style,
    bar: Mutex<Option<ProgressBar>>,
}

impl Watcher {
    pub(super) const fn new(progress: Progress, lines: bool, style: Style) -> Self {
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
