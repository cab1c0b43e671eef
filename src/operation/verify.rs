//! One verification, from a place to its record.

use uuid::Uuid;

use super::depth::{Asked, DepthWish, newest};
use super::recording::{Leaves, Recording, failed, outcome};
use super::shards::Campaign;
use super::source::Source;
use super::standing::VerifyStanding;
use super::{Failure, bodies, snapshots};
use crate::config::{Period, Tier};
use crate::drill::Cancellation;
use crate::evidence::Verdict;
use crate::finding::Severity;
use crate::repository::{self, Alone, AloneOptions, Repository};
use crate::state::{DepthRank, Outcome, State};
use crate::verify::ledger::{Ledger, verify_with};
use crate::verify::words;
use crate::verify::{
    Depth, OnReadProgress, RequestedDepth, VerifyError, VerifyOptions, VerifyReport, verify_catalog,
};

/// What is asked of a verification.
#[derive(Clone, Debug)]
pub struct VerifyRequest {
    /// How deeply, and how much.
    pub depth: DepthWish,
    /// Whether the report lists every segment that was read.
    pub by_segment: bool,
    /// The objectives that hold.
    pub objectives: Tier,
    /// The other copies, and whether they must be out of reach.
    pub alone: AloneOptions,
    /// From which severity a finding is a problem.
    pub threshold: Severity,
    /// Whether the job goes on behind this run when no base backup can be used.
    pub goes_on_without_backup: bool,
    /// At depth `read`: shards of this campaign have read before.
    pub campaign: Option<Campaign>,
}

impl VerifyRequest {
    /// A verification as a place's tier asks for it.
    pub fn of(source: &Source) -> Self {
        Self {
            depth: DepthWish::default(),
            by_segment: false,
            objectives: source.tier.clone(),
            alone: AloneOptions::default(),
            threshold: Severity::Warning,
            goes_on_without_backup: false,
            campaign: None,
        }
    }
}

/// A verification that was made.
#[derive(Clone, Debug, PartialEq)]
pub struct Verified {
    /// What it found.
    pub report: VerifyReport,
    /// How it is recorded, or would be.
    pub outcome: Outcome,
    /// Its run, if it was recorded.
    pub run_id: Option<Uuid>,
    /// Whether every place was looked into in which a base backup may lie: also Kubernetes,
    /// for volume snapshots, where the repository has none that can be used.
    pub complete: bool,
}

/// Verifies a place and records it: what it found, or why it could not look.
pub async fn verify(
    source: &Source,
    request: &VerifyRequest,
    recording: Option<Recording>,
    tell: OnReadProgress<'_>,
    stop: &Cancellation,
) -> Result<Verified, Failure> {
    let state = recording.as_ref().map(Recording::state);
    // Dropped, it stops reading.
    let result = tokio::select! {
        biased;
        result = Box::pin(look(source, request, state, tell)) => result,
        () = stop.cancelled() => Err(Failure::interrupted()),
    };
    let run_id = recording.as_ref().map(Recording::id);
    let outcome = match &result {
        Ok((report, _)) => outcome_of(report, request.threshold),
        Err(failure) => failed(failure),
    };
    if let Some(recording) = recording {
        let leaves = match &result {
            Ok((report, _)) => leaves(report, request, source, &recording, &outcome),
            Err(_) => Leaves::nothing(),
        };
        recording.finish(&outcome, leaves).await?;
    }
    let (report, complete) = result?;
    Ok(Verified {
        report,
        outcome,
        run_id,
        complete,
    })
}

/// What a verification leaves: its entry, and where the copy stands.
fn leaves(
    report: &VerifyReport,
    request: &VerifyRequest,
    source: &Source,
    recording: &Recording,
    outcome: &Outcome,
) -> Leaves {
    let standing = VerifyStanding::of(report, &request.objectives);
    let location = source.location.to_string();
    let body = bodies::verify(recording.run_body(outcome), &location, &standing);
    Leaves {
        body: serde_json::to_value(&body).ok(),
        depth: match report.depth {
            Depth::Listed => Some(DepthRank::LISTED),
            Depth::Sampled => Some(DepthRank::SAMPLED),
            Depth::Read | Depth::Restored => Some(DepthRank::READ),
        },
        standing: serde_json::to_value(&standing)
            .ok()
            .map(|body| (report.checked_at, body)),
        again: request.goes_on_without_backup && has_no_usable_backup(report),
        ..Leaves::default()
    }
}

/// The report, and whether it is complete ([`Verified::complete`]).
async fn look(
    source: &Source,
    request: &VerifyRequest,
    state: Option<&State>,
    tell: OnReadProgress<'_>,
) -> Result<(VerifyReport, bool), Failure> {
    let asked = request.depth.over(source.tier.verification.as_ref())?;
    let repository = repository::open(source.open()?);
    let mut options = VerifyOptions {
        depth: asked.depth,
        by_segment: request.by_segment,
        ..options(source, &request.objectives)
    };
    if let (Some(campaign), Some(state), RequestedDepth::Read) =
        (request.campaign, state, asked.depth)
    {
        options.parts = campaign.parts(state, &repository, &options).await?;
    }
    let mut alone = Alone::begin(&request.alone).await;
    let mut report = read(&repository, &mut options, &asked, state, tell).await?;
    let mut complete = true;
    if has_no_usable_backup(&report) {
        let beside = snapshots::beside(source, &repository).await;
        complete = beside.is_some();
        options.beside = beside.unwrap_or_default();
        if !options.beside.is_empty() {
            report = read(&repository, &mut options, &asked, state, tell).await?;
        }
    }
    if options.parts.is_kept() {
        let tally = options.parts.tally();
        tracing::info!(
            from_shards = tally.taken,
            read_here = tally.read,
            "concluded from what shards read"
        );
        options.parts.forget().await.map_err(VerifyError::from)?;
    }
    alone.end(&request.alone, repository.store()).await;
    report.alone = Some(alone);
    Ok((report, complete))
}

async fn read(
    repository: &Repository,
    options: &mut VerifyOptions,
    asked: &Asked,
    state: Option<&State>,
    tell: OnReadProgress<'_>,
) -> Result<VerifyReport, VerifyError> {
    if let Some(state) = state {
        let ledger = Ledger::new(state.clone(), repository, options.now);
        return verify_with(&ledger, repository, options, &asked.ledger, tell).await;
    }
    let catalog = repository.catalog().await?;
    if options.depth == RequestedDepth::Sampled {
        // Nobody remembers what was read.
        options.selection = newest(&catalog, options);
    }
    verify_catalog(repository, &catalog, options, tell).await
}

/// A verification's limits from a tier's objectives.
pub fn options(source: &Source, objectives: &Tier) -> VerifyOptions {
    let defaults = VerifyOptions::default();
    VerifyOptions {
        cluster: Some(source.name.clone()),
        max_backup_age: objectives.max_backup_age.map(Period::as_chrono),
        retention: objectives.retention.map(Period::as_chrono),
        rpo: objectives.rpo.map(Period::as_chrono),
        started_too_long: objectives
            .started_backup_age
            .map_or(defaults.started_too_long, Period::as_chrono),
        ..defaults
    }
}

/// Whether there is a finding of at least this severity.
pub fn is_problem(report: &VerifyReport, threshold: Severity) -> bool {
    report
        .worst_severity()
        .is_some_and(|worst| worst >= threshold)
}

/// Whether there is no base backup that can be used, as far as it looked.
pub const fn has_no_usable_backup(report: &VerifyReport) -> bool {
    report.counts.usable_backups == 0
}

/// Why it does not speak of its copy alone, though it had to.
pub fn not_alone(report: &VerifyReport) -> Vec<String> {
    report
        .alone
        .as_ref()
        .map(Alone::reasons)
        .unwrap_or_default()
}

/// A verification proves nothing, so the best that it can leave is no verdict.
fn outcome_of(report: &VerifyReport, threshold: Severity) -> Outcome {
    let problem = is_problem(report, threshold);
    let exit_code = if problem {
        1
    } else if !not_alone(report).is_empty() {
        3
    } else {
        0
    };
    let end = report
        .tip
        .as_ref()
        .and_then(|tip| tip.commit)
        .map_or_else(String::new, |commit| {
            format!("recoverable to {}, ", words::utc(commit.time))
        });
    outcome(
        problem.then_some(Verdict::Failed),
        exit_code,
        format!(
            "{end}{}",
            words::count(report.findings.len() as u64, "finding")
        ),
        &report.findings,
        (&report.schema, report),
    )
}
