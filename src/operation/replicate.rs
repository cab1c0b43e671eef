//! One replication, from a source and a target to its record.

use std::sync::Arc;

use uuid::Uuid;

use super::recording::{Leaves, Recording, failed, outcome};
use super::source::{Reach, Source};
use super::standing::ReplicateStanding;
use super::{Failure, FailureClass, bodies};
use crate::config::{Config, Replication};
use crate::evidence::Verdict;
use crate::finding::Severity;
use crate::replicate::{
    Compared, Ended, FollowOptions, OnCopyProgress, OnFollowEvent, Pair, ReplicateOptions,
    ReplicateReport, Stop, follow, replicate as copy_once,
};
use crate::repository;
use crate::state::{Outcome, RunKind, StandingFilter, State};
use crate::verify::words;

/// A source and a target that can be opened.
#[derive(Clone, Debug)]
pub struct Places {
    /// What is copied.
    pub source: Source,
    /// Where to.
    pub target: Source,
    /// How the copy is kept, by the configuration.
    pub replication: Replication,
}

impl Places {
    /// The primary of a cluster and each of its replicas, or the one that is named. `reach`
    /// is about the source.
    pub fn of_cluster(
        config: &Config,
        cluster: &str,
        copy: Option<&str>,
        reach: &Reach,
    ) -> Result<Vec<Self>, Failure> {
        let source = Source::of_cluster(config, cluster, None, reach)?;
        let replicas = Source::all_of_cluster(config, cluster, &Reach::default())?;
        let mut places = Vec::new();
        for target in replicas.into_iter().skip(1) {
            if copy.is_some_and(|copy| copy != target.copy) {
                continue;
            }
            let replication = target
                .cluster
                .as_ref()
                .and_then(|cluster| {
                    let (_, repository) =
                        cluster.copies().find(|(label, _)| *label == target.copy)?;
                    repository.replication.clone()
                })
                .unwrap_or_default();
            places.push(Self {
                source: source.clone(),
                target,
                replication,
            });
        }
        if places.is_empty() {
            let failure = match copy {
                Some(copy) => Failure::configuration(format_args!(
                    "cluster `{cluster}` has no replica `{copy}`"
                )),
                None => Failure::configuration(format_args!("cluster `{cluster}` has no replicas")),
            };
            return Err(failure
                .with_hint("name them under `replicas` in the configuration, or give two URLs"));
        }
        Ok(places)
    }

    /// Opens both. A target that is a directory is made if `writing`.
    pub fn open(&self, writing: bool) -> Result<Pair, Failure> {
        let source = self.source.open()?;
        let target = if writing {
            self.target.open_for_writing()?
        } else {
            self.target.open()?
        };
        Ok(Pair::new(
            repository::open(source),
            repository::open(target),
        )?)
    }

    /// What to call the target in output.
    pub fn label(&self) -> String {
        if self.target.copy.is_empty() {
            self.target.location.to_string()
        } else {
            format!("{}/{}", self.target.name, self.target.copy)
        }
    }

    /// How it is copied, by the configuration.
    pub fn options(&self) -> ReplicateOptions {
        let name = |name: &str| (!name.is_empty()).then(|| name.to_owned());
        ReplicateOptions {
            cluster: name(&self.target.name),
            copy: name(&self.target.copy),
            ..ReplicateOptions::of(&self.replication)
        }
    }
}

/// Whether a replication ends, and who is told of its course.
#[derive(Clone)]
pub enum Way {
    /// It ends when everything is copied.
    Once(OnCopyProgress),
    /// It keeps on copying whatever appears, until it is asked to stop.
    Follow(FollowOptions, OnFollowEvent),
}

/// A replication that was made.
#[derive(Clone, Debug)]
pub struct Replicated {
    /// What it did.
    pub report: ReplicateReport,
    /// How it is recorded, or would be.
    pub outcome: Outcome,
    /// Its run, if it was recorded.
    pub run_id: Option<Uuid>,
}

/// Copies what a target lacks and records it: what was done, or why it could not be.
pub async fn replicate(
    places: &Places,
    options: &ReplicateOptions,
    threshold: Severity,
    recording: Option<Recording>,
    way: Way,
    stop: Stop,
) -> Result<Replicated, Failure> {
    let state = recording.as_ref().map(Recording::state);
    let result = copy(places, options, state, way, stop).await;
    let run_id = recording.as_ref().map(Recording::id);
    let outcome = match &result {
        Ok(report) => outcome_of(report, threshold),
        Err(failure) => failed(failure),
    };
    if let Some(recording) = recording {
        let leaves = match &result {
            Ok(report) => leaves(report, places, &recording, &outcome).await?,
            Err(_) => Leaves::nothing(),
        };
        recording.finish(&outcome, leaves).await?;
    }
    Ok(Replicated {
        report: result?,
        outcome,
        run_id,
    })
}

/// What a replication leaves: its entry, and where the copy stands.
async fn leaves(
    report: &ReplicateReport,
    places: &Places,
    recording: &Recording,
    outcome: &Outcome,
) -> Result<Leaves, Failure> {
    let mut standing = ReplicateStanding::of(report);
    let body = bodies::replicate(recording.run_body(outcome), places, report, &standing);
    if let Some(before) = last_standing(recording).await? {
        // It did not look at what the one before it found, so that stands as it was.
        if standing.incremental {
            standing = standing.over(&before);
        }
        standing = standing.after(&before);
    }
    Ok(Leaves {
        body: serde_json::to_value(&body).ok(),
        standing: serde_json::to_value(&standing)
            .ok()
            .map(|body| (report.finished_at, body)),
        // What it closes it must have looked at: only a comparison as a whole that left
        // nothing undone has looked at everything.
        partial: !standing.complete || !compared(report),
        again: trouble(report).is_some(),
        ..Leaves::default()
    })
}

/// Whether both sides were compared as a whole. One that followed the source may have been
/// stopped before.
fn compared(report: &ReplicateReport) -> bool {
    report.incremental.is_none()
        && !(matches!(report.ended, Ended::Stopped) && report.compared == Compared::default())
}

/// Where the copy stood until now, at the same place.
async fn last_standing(recording: &Recording) -> Result<Option<ReplicateStanding>, Failure> {
    let filter = StandingFilter {
        cluster: Some(recording.cluster().to_owned()),
        copy: Some(recording.copy().to_owned()),
        kind: Some(RunKind::Replicate),
    };
    let before = recording.state().standings(&filter).await?;
    Ok(before
        .into_iter()
        .next()
        .filter(|standing| standing.location == recording.location())
        .and_then(|standing| ReplicateStanding::read(standing.body)))
}

/// What kept a replication from doing all that it could.
pub fn trouble(report: &ReplicateReport) -> Option<FailureClass> {
    match &report.ended {
        Ended::Interrupted => Some(FailureClass::Interrupted),
        // What was copied stays, and the next attempt goes on from there.
        Ended::Failed { .. } => Some(FailureClass::Storage { transient: true }),
        _ if !report.failures.is_empty() => Some(FailureClass::Storage { transient: true }),
        _ if report.trouble.is_some() => Some(FailureClass::State),
        _ => None,
    }
}

async fn copy(
    places: &Places,
    options: &ReplicateOptions,
    state: Option<&State>,
    way: Way,
    stop: Stop,
) -> Result<ReplicateReport, Failure> {
    let pair = places.open(true)?;
    Ok(match way {
        Way::Once(tell) => copy_once(&pair, options, state, tell, stop).await?,
        Way::Follow(how, tell) => {
            let quiet: OnCopyProgress = Arc::new(|_| {});
            follow(&pair, options, how, state, quiet, tell, stop).await?
        }
    })
}

/// The exit code of a replication.
pub fn code_of(report: &ReplicateReport, threshold: Severity) -> u8 {
    if matches!(report.ended, Ended::Interrupted) {
        130
    } else if report
        .worst_severity()
        .is_some_and(|worst| worst >= threshold)
    {
        1
    } else if !report.is_complete() || report.trouble.is_some() {
        3
    } else {
        0
    }
}

fn outcome_of(report: &ReplicateReport, threshold: Severity) -> Outcome {
    let code = code_of(report, threshold);
    let copied = report.copied.by_kind.total();
    outcome(
        (code == 1).then_some(Verdict::Failed),
        code,
        format!(
            "{} copied, {}, {}",
            words::count(copied.objects, "object"),
            words::bytes(copied.bytes),
            words::count(report.findings.len() as u64, "finding"),
        ),
        &report.findings,
        (report.schema, report),
    )
}
