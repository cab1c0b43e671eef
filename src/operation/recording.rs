//! Keeping what an operation did in the state database.

use std::path::PathBuf;

use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::Failure;
use super::source::Source;
use crate::evidence::{DrillRecord, Verdict};
use crate::finding::Finding;
use crate::state::{NewRun, Outcome, Report, RunKind, RunningRun, State};

/// A run that the state database knows of. Dropped without [`Self::finish`] it shows as
/// interrupted.
#[derive(Debug)]
pub struct Recording {
    state: State,
    run: RunningRun,
}

impl Recording {
    /// Notes that a run begins.
    pub async fn begin(state: &State, kind: RunKind, source: &Source) -> Result<Self, Failure> {
        let run = state
            .begin_run(&NewRun {
                kind,
                cluster: source.name.clone(),
                copy: source.copy.clone(),
                location: source.location.to_string(),
            })
            .await?;
        Ok(Self {
            state: state.clone(),
            run,
        })
    }

    /// The state database.
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// The run's identity.
    pub const fn id(&self) -> Uuid {
        self.run.id
    }

    /// Keeps a drill's record. Gives its file.
    pub async fn keep(&self, record: &DrillRecord) -> Result<PathBuf, Failure> {
        Ok(self.state.record_drill(&self.run, record).await?)
    }

    /// Notes how the run ended.
    pub async fn finish(self, outcome: &Outcome) -> Result<(), Failure> {
        self.state.finish_run(self.run, outcome).await?;
        Ok(())
    }
}

/// The outcome of a run that has a report.
pub fn outcome(
    verdict: Option<Verdict>,
    exit_code: u8,
    summary: String,
    findings: &[Finding],
    report: (&str, &impl Serialize),
) -> Outcome {
    let (schema, report) = report;
    Outcome {
        verdict,
        exit_code,
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
pub fn failed(failure: &Failure) -> Outcome {
    Outcome {
        verdict: None,
        exit_code: failure.exit_code(),
        summary: failure.message.clone(),
        findings: Vec::new(),
        report: None,
    }
}
