//! Keeping what a command did in the state database.

use serde::Serialize;

use super::{Context, ExitCode, Failure};
use crate::config::Config;
use crate::evidence::Verdict;
use crate::finding::Finding;
use crate::operation::source::Source;
use crate::operation::{self, Leaves, Origin, recording};
use crate::state::{Outcome, RunKind, State};

/// A run that the state database knows of, and that database. Dropped without
/// [`Self::finish`] it shows as interrupted.
#[derive(Debug)]
pub(super) struct Recording {
    recording: operation::Recording,
    state: State,
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
        let recording =
            operation::Recording::begin(&state, kind, source, Origin::by_hand()).await?;
        Ok(Self { recording, state })
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

    /// The recording for an operation that finishes it itself, and the database, to be
    /// closed behind it.
    pub(super) fn split(recording: Option<Self>) -> (Option<operation::Recording>, Option<State>) {
        recording.map_or((None, None), |both| {
            (Some(both.recording), Some(both.state))
        })
    }

    /// The state database.
    pub(super) const fn state(&self) -> &State {
        &self.state
    }

    /// Notes how the run ended.
    pub(super) async fn finish(self, outcome: &Outcome) -> Result<(), Failure> {
        self.finish_with(outcome, Leaves::default()).await
    }

    /// Notes how the run ended, with what it leaves.
    pub(super) async fn finish_with(
        self,
        outcome: &Outcome,
        leaves: Leaves,
    ) -> Result<(), Failure> {
        self.recording.finish(outcome, leaves).await?;
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
    recording::outcome(verdict, code.number(), summary, findings, report)
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
