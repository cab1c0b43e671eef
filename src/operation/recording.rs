//! Keeping what an operation did in the state database: the run, its report and findings,
//! the ledger's entry, and where the copy stands now, all in one transaction.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::source::Source;
use super::{Failure, FailureClass};
use crate::drill::record::without_values;
use crate::evidence::ledger::{Asked, OtherBody, RunBody};
use crate::evidence::{DrillRecord, RecordFile, Verdict};
use crate::finding::Finding;
use crate::state::{
    Completion, DepthRank, Fence, JobEnd, NewRun, Outcome, Report, RequestChange, RunKind,
    RunningRun, STANDING_LIMIT, Standing, State,
};

/// From whom a run comes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Who asked, and what was due.
    pub asked: Asked,
    /// The attempt at a job that it is, if it is one. When a newer attempt has begun,
    /// nothing of the run is kept.
    pub fence: Option<Fence>,
    /// Whether the job has further runs behind this one, so that it is not done with it.
    pub goes_on: bool,
}

impl Origin {
    /// A command of whoever runs walproof.
    pub fn by_hand() -> Self {
        Self {
            asked: Asked {
                initiator: super::drill::system_user(),
                ..Asked::default()
            },
            ..Self::default()
        }
    }
}

/// What a run leaves beside its outcome.
#[derive(Debug, Default)]
pub struct Leaves {
    /// What the ledger's entry says; without it that it was run and what it came to.
    pub body: Option<Value>,
    /// Where the copy stands now, and the moment at which that was so. Left out when nothing
    /// could be checked, so that what was last known stays.
    pub standing: Option<(DateTime<Utc>, Value)>,
    /// How deep a verification looked.
    pub depth: Option<DepthRank>,
    /// Whether it did not look at all that a run of its kind looks at, and so closes no
    /// incident.
    pub partial: bool,
    /// Which of several that look at the same copy: a drill's definition.
    pub scope: String,
    /// A drill's record.
    pub record: Option<Box<DrillRecord>>,
    /// Whether the job is to be tried again, so that it is not done with this run.
    pub again: bool,
    /// The request that it was made for, and what changes in it.
    pub request: Option<(Uuid, Box<RequestChange>)>,
}

impl Leaves {
    /// What a run leaves that could not be done: its entry, and a job that is not done.
    pub fn nothing() -> Self {
        Self {
            again: true,
            ..Self::default()
        }
    }
}

/// A run that the state database knows of. Dropped without [`Self::finish`] it shows as
/// interrupted.
#[derive(Debug)]
pub struct Recording {
    state: State,
    run: RunningRun,
    origin: Origin,
    location: String,
    /// Whether the configuration knows the cluster: a look at a stranger's bucket leaves no
    /// standing.
    guarded: bool,
}

impl Recording {
    /// Notes that a run begins.
    pub async fn begin(
        state: &State,
        kind: RunKind,
        source: &Source,
        origin: Origin,
    ) -> Result<Self, Failure> {
        let location = source.location.to_string();
        let new = NewRun {
            kind,
            cluster: source.name.clone(),
            copy: source.copy.clone(),
            location: location.clone(),
        };
        let run = match &origin.fence {
            Some(fence) => state.begin_run_of(fence, &new).await?,
            None => state.begin_run(&new).await?,
        };
        Ok(Self {
            state: state.clone(),
            run,
            origin,
            location,
            guarded: source.cluster.is_some() && !source.copy.is_empty(),
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

    /// The cluster's name, or the last part of the URL.
    pub fn cluster(&self) -> &str {
        &self.run.cluster
    }

    /// Which copy; empty for a URL.
    pub fn copy(&self) -> &str {
        &self.run.copy
    }

    /// The repository's URL.
    pub fn location(&self) -> &str {
        &self.location
    }

    /// What the ledger's entry of any run says.
    pub fn run_body(&self, outcome: &Outcome) -> RunBody {
        RunBody::new(
            self.origin.asked.clone(),
            (self.run.started_at, Utc::now()),
            outcome.verdict,
            outcome.exit_code,
            // What a server said in its own words may hold a value.
            &without_values(&outcome.summary),
            &outcome.findings,
        )
    }

    /// Notes how the run ended, with all that it leaves, or nothing of it. Gives the file of
    /// a drill's record.
    pub async fn finish(
        self,
        outcome: &Outcome,
        leaves: Leaves,
    ) -> Result<Option<PathBuf>, Failure> {
        let file = match &leaves.record {
            Some(record) => {
                let file = RecordFile::new(record)
                    .map_err(|error| Failure::new(FailureClass::Defect, error))?;
                Some(self.state.records_directory().join(file.name))
            }
            None => None,
        };
        let body = match leaves.body {
            Some(body) => Some(body),
            None => serde_json::to_value(OtherBody {
                run: self.run_body(outcome),
                location: self.location.clone(),
                opened: Vec::new(),
                closed: Vec::new(),
            })
            .ok(),
        };
        let standing = leaves
            .standing
            .filter(|_| self.guarded)
            .map(|(at, body)| Standing {
                cluster: self.run.cluster.clone(),
                copy: self.run.copy.clone(),
                location: self.location.clone(),
                kind: self.run.kind,
                at,
                run_id: self.run.id,
                exit_code: outcome.exit_code,
                verdict: outcome.verdict,
                body,
            })
            .filter(fits);
        let completion = Completion {
            fence: self.origin.fence,
            job: if leaves.again || self.origin.goes_on {
                JobEnd::GoesOn
            } else {
                JobEnd::Done
            },
            body,
            standing,
            depth: leaves.depth,
            partial: leaves.partial,
            scope: leaves.scope,
            record: leaves.record,
            request: leaves.request,
        };
        self.state
            .finish_run(self.run, outcome, &completion)
            .await?;
        Ok(file)
    }
}

/// A standing is made of bounded parts. Should one still be too long, the run matters more.
fn fits(standing: &Standing) -> bool {
    let length = serde_json::to_string(&standing.body).map_or(usize::MAX, |text| text.len());
    if length > STANDING_LIMIT {
        tracing::warn!(
            cluster = standing.cluster,
            copy = standing.copy,
            length,
            "the standing is too long to be kept; please report this as a defect"
        );
    }
    length <= STANDING_LIMIT
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
