//! Keeping what a command did in the state database.

use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::source::Source;
use super::{Context, ExitCode, Failure};
use crate::config::Config;
use crate::evidence::{DrillRecord, Verdict};
use crate::finding::Finding;
use crate::state::{Completion, NewRun, Outcome, Report, RunKind, RunningRun, State};

/// A run that the state database knows of. Dropped without [`Self::finish`] it shows as
/// interrupted.
#[derive(Debug)]
pub(super) struct Recording {
    state: State,
    run: RunningRun,
}

impl Recording {
    /// Notes that a run begins.
    pub(super) async fn begin(
        kind: RunKind,
        source: &Source,
        config: &Config,
        context: &Context,
    ) -> Result<Self, Failure> {
        let state = context.state(config).await?;
        let run = state
            .begin_run(&NewRun {
                kind,
                cluster: source.name.clone(),
                copy: source.copy.clone(),
                location: source.location.to_string(),
            })
            .await?;
        Ok(Self { state, run })
    }

    /// The same for work that is worth doing without a record of it: a look at a stranger's
    /// bucket must not fail because no state can be kept here.
    pub(super) async fn try_begin(
        kind: RunKind,
        source: &Source,
        config: &Config,
        context: &Context,
    ) -> Option<Self> {
        match Self::begin(kind, source, config, context).await {
            Ok(recording) => Some(recording),
            Err(failure) => {
                context.progress.print(&format!(
                    "{} not kept in the history: {}\n",
                    context.error_palette.yellow("note:"),
                    failure.message
                ));
                None
            }
        }
    }

    /// The state database.
    pub(super) const fn state(&self) -> &State {
        &self.state
    }

    /// The run's identity.
    pub(super) const fn id(&self) -> Uuid {
        self.run.id
    }

    /// Keeps a drill's record. Gives its file.
    pub(super) async fn keep(&self, record: &DrillRecord) -> Result<std::path::PathBuf, Failure> {
        Ok(self.state.record_drill(&self.run, record).await?)
    }

    /// Notes how the run ended.
    pub(super) async fn finish(self, outcome: &Outcome) -> Result<(), Failure> {
        self.state
            .finish_run(self.run, outcome, &Completion::default())
            .await?;
        self.state.close().await;
        Ok(())
    }
}

/// The outcome of a run that has a report.
pub(super) fn outcome(
    verdict: Option<Verdict>,
    code: ExitCode,
    summary: String,
    findings: &[Finding],
    report: (&str, &impl Serialize),
) -> Outcome {
    let (schema, report) = report;
    Outcome {
        verdict,
        exit_code: code.number(),
        summary,
        findings: findings.to_vec(),
        report: serde_json::to_value(report)
            .ok()
            .filter(|body| *body != Value::Null)
            .map(|body| Report {
                schema: schema.to_owned(),
                body,
            }),
    }
}

/// The outcome of a run that could not be done.
pub(super) fn failed(failure: &Failure) -> Outcome {
    Outcome {
        verdict: None,
        exit_code: failure.code.number(),
        summary: failure.message.clone(),
        findings: Vec::new(),
        report: None,
    }
}
