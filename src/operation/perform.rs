//! A job, from its stored words to its record.

use std::sync::Arc;

use chrono::Utc;
use tracing::Instrument as _;

use super::definition::{Place, capture, replicas};
use super::depth::requested;
use super::drill::{DrillRequest, Drilled, check_definition, definition, prepare};
use super::fresh_backup::{Policy, ask};
use super::observer::{DrillWatcher, of_copying, of_reading};
use super::recording::Origin;
use super::replicate::{Places, Replicated, Way, replicate, trouble};
use super::report::report;
use super::request;
use super::shards::Campaign;
use super::source::{Reach, Source};
use super::sweep::{self, Swept};
use super::verify::{Verified, VerifyRequest, has_no_usable_backup, verify};
use super::{
    DepthWish, Ended, Failure, FailureClass, JobSpec, Part, Performed, Recording, Surroundings,
    class_of_storage,
};
use crate::config::VerificationDepth;
use crate::drill::{Cancellation, Trouble};
use crate::evidence::NewEntry;
use crate::finding::Severity;
use crate::replicate::ReplicateOptions;
use crate::state::{Outcome, RunKind};
use crate::telemetry;

/// From which severity a finding of a job is a problem.
const THRESHOLD: Severity = Severity::Warning;

/// Does a job on a cluster: on the copy that is named, else on those that the job is about.
/// Every run is recorded, whatever comes of it; nothing is tried again here.
///
/// It ends soon after `around.cancellation` becomes true, with everything that it owned
/// cleaned up.
pub async fn perform(
    job: &JobSpec,
    cluster: &str,
    copy: Option<&str>,
    around: &Surroundings,
) -> Performed {
    let span = telemetry::job(job.kind());
    span.record("walproof.cluster", cluster);
    Box::pin(perform_in(job, cluster, copy, around))
        .instrument(span)
        .await
}

async fn perform_in(
    job: &JobSpec,
    cluster: &str,
    copy: Option<&str>,
    around: &Surroundings,
) -> Performed {
    let copy = copy.filter(|copy| !copy.is_empty());
    match job {
        JobSpec::Verify { depth } => verify_copies(*depth, cluster, copy, around).await,
        JobSpec::Replicate { copy: own } => {
            replicate_copies(cluster, copy.or(own.as_deref()), around).await
        }
        JobSpec::Drill { definition, .. } => {
            Box::pin(drill_copy(definition.as_deref(), cluster, copy, around)).await
        }
        JobSpec::Report { period } => report(*period, cluster, around).await,
        JobSpec::Request { request } => Box::pin(restore_request(*request, around)).await,
        JobSpec::Sweep => alone(sweep(around).await),
        JobSpec::Capture => capture_copies(cluster, copy, around).await,
    }
}

fn ended(run_id: Option<uuid::Uuid>, outcome: &Outcome, trouble: Option<FailureClass>) -> Ended {
    Ended {
        run_id,
        exit_code: outcome.exit_code,
        verdict: outcome.verdict,
        summary: outcome.summary.clone(),
        findings: outcome.findings.len() as u64,
        worst: outcome
            .findings
            .iter()
            .map(|finding| finding.severity)
            .max(),
        trouble,
    }
}

async fn verify_copies(
    depth: Option<VerificationDepth>,
    cluster: &str,
    copy: Option<&str>,
    around: &Surroundings,
) -> Performed {
    let reach = Reach::default();
    let sources = match copy {
        Some(_) => Source::of_cluster(&around.config, cluster, copy, &reach).map(|one| vec![one]),
        None => Source::all_of_cluster(&around.config, cluster, &reach),
    };
    let sources = match sources {
        Ok(sources) => sources,
        Err(failure) => return Performed::failed(copy, failure),
    };
    let mut performed = Performed::default();
    for (index, source) in sources.iter().enumerate() {
        let goes_on = index + 1 < sources.len();
        let outcome = verify_copy(source, depth, goes_on, around).await;
        performed.parts.push(Part {
            copy: source.copy.clone(),
            outcome,
        });
        if *around.cancellation.borrow() {
            break;
        }
    }
    performed
}

async fn verify_copy(
    source: &Source,
    depth: Option<VerificationDepth>,
    goes_on: bool,
    around: &Surroundings,
) -> Result<Ended, Failure> {
    let policy = Policy::of(source);
    let request = VerifyRequest {
        depth: DepthWish {
            depth: depth.map(requested),
            ..DepthWish::default()
        },
        threshold: THRESHOLD,
        goes_on_without_backup: policy.is_some(),
        campaign: campaign(source, around),
        ..VerifyRequest::of(source)
    };
    let origin = around.origin(goes_on);
    let recording = Recording::begin(&around.state, RunKind::Verify, source, origin).await?;
    let observer = Arc::clone(&around.observer);
    observer.phase_started("list");
    let reading = std::sync::Once::new();
    let tell = |progress: crate::verify::ReadProgress| {
        reading.call_once(|| observer.phase_started("read"));
        observer.progress(of_reading(&progress));
    };
    let stop = Cancellation::from(around.cancellation.clone());
    let Verified {
        report,
        outcome,
        run_id,
        complete,
    } = verify(source, &request, Some(recording), &tell, &stop).await?;
    let ledger = report.ledger.as_ref();
    if let Some(trouble) = ledger.and_then(|ledger| ledger.trouble.as_ref()) {
        observer.note(&format!("the object ledger is not complete: {trouble}"));
    }
    let mut ended = ended(run_id, &outcome, None);
    if let Some(policy) = policy.filter(|_| has_no_usable_backup(&report)) {
        let words = Box::pin(ask(&policy, source, complete, goes_on, around)).await?;
        ended.summary = format!("{}; {words}", ended.summary);
    }
    Ok(ended)
}

/// What shards of this job have read before, where its tier divides the reading.
fn campaign(source: &Source, around: &Surroundings) -> Option<Campaign> {
    let verification = source.tier.verification.as_ref()?;
    verification.shards.filter(|shards| *shards > 1)?;
    Some(Campaign::Job(around.fence?.job))
}

async fn replicate_copies(cluster: &str, copy: Option<&str>, around: &Surroundings) -> Performed {
    let pairs = match Places::of_cluster(&around.config, cluster, copy, &Reach::default()) {
        Ok(pairs) => pairs,
        Err(failure) => return Performed::failed(copy, failure),
    };
    let mut performed = Performed::default();
    for (index, places) in pairs.iter().enumerate() {
        let origin = around.origin(index + 1 < pairs.len());
        let outcome = replicate_copy(places, origin, around).await;
        performed.parts.push(Part {
            copy: places.target.copy.clone(),
            outcome,
        });
        if *around.cancellation.borrow() {
            break;
        }
    }
    performed
}

async fn replicate_copy(
    places: &Places,
    origin: Origin,
    around: &Surroundings,
) -> Result<Ended, Failure> {
    let options = ReplicateOptions {
        shared_bandwidth: around.limits.bandwidth.clone(),
        ..places.options()
    };
    let recording =
        Recording::begin(&around.state, RunKind::Replicate, &places.target, origin).await?;
    let observer = Arc::clone(&around.observer);
    observer.phase_started("compare");
    let copying = std::sync::Once::new();
    let watcher = Arc::clone(&observer);
    let way = Way::Once(Arc::new(move |progress| {
        if progress.copying {
            copying.call_once(|| watcher.phase_started("copy"));
        }
        watcher.progress(of_copying(&progress));
    }));
    let stop = around.cancellation.clone();
    let Replicated {
        report,
        outcome,
        run_id,
    } = replicate(places, &options, THRESHOLD, Some(recording), way, stop).await?;
    Ok(ended(run_id, &outcome, trouble(&report)))
}

async fn capture_copies(cluster: &str, copy: Option<&str>, around: &Surroundings) -> Performed {
    let places = match replicas(&around.config, cluster, copy, &Reach::default()) {
        Ok(places) => places,
        Err(failure) => return Performed::failed(copy, failure),
    };
    let mut performed = Performed::default();
    for (index, place) in places.iter().enumerate() {
        let origin = around.origin(index + 1 < places.len());
        let outcome = Box::pin(capture_copy(place, origin, around)).await;
        performed.parts.push(Part {
            copy: place.source.copy.clone(),
            outcome,
        });
        if *around.cancellation.borrow() {
            break;
        }
    }
    performed
}

async fn capture_copy(
    place: &Place,
    origin: Origin,
    around: &Surroundings,
) -> Result<Ended, Failure> {
    let recording =
        Recording::begin(&around.state, RunKind::Capture, &place.source, origin).await?;
    around.observer.phase_started("capture");
    let captured = capture(place, &around.config, Some(recording)).await?;
    Ok(ended(captured.run_id, &captured.outcome, None))
}

async fn drill_copy(
    name: Option<&str>,
    cluster: &str,
    copy: Option<&str>,
    around: &Surroundings,
) -> Performed {
    let asked = definition(&around.config, cluster, name).and_then(|definition| {
        check_definition(&definition, cluster)?;
        let copy = copy.or(definition.copy.as_deref());
        let source = Source::of_cluster(&around.config, cluster, copy, &Reach::default())?;
        Ok((definition, source))
    });
    let (definition, source) = match asked {
        Ok(asked) => asked,
        Err(failure) => return Performed::failed(copy, failure),
    };
    let request = DrillRequest {
        trigger: around.trigger,
        initiator: Some(around.initiator.clone()),
        due_at: around.due_at,
        scratch_limit: around.limits.scratch_bytes,
        ..DrillRequest::of(definition, &source)
    };
    let outcome = Box::pin(drill_source(&source, request, around)).await;
    Performed {
        parts: vec![Part {
            copy: source.copy.clone(),
            outcome,
        }],
    }
}

async fn drill_source(
    source: &Source,
    request: DrillRequest,
    around: &Surroundings,
) -> Result<Ended, Failure> {
    let drill = prepare(source, request, &around.config)?;
    let writable = drill.probe().await?;
    let recording =
        Recording::begin(&around.state, RunKind::Drill, source, around.origin(false)).await?;
    let watcher = Arc::new(DrillWatcher(Arc::clone(&around.observer)));
    let cancellation = Cancellation::from(around.cancellation.clone());
    let Drilled {
        report, outcome, ..
    } = Box::pin(drill.run(writable, recording, watcher, cancellation)).await?;
    Ok(ended(
        Some(report.id),
        &outcome,
        report.trouble.map(class_of_trouble),
    ))
}

async fn restore_request(id: uuid::Uuid, around: &Surroundings) -> Performed {
    let found = match around.state.request(id).await {
        Ok(Some(found)) => found,
        Ok(None) => {
            let failure = Failure::configuration(format_args!("there is no request {id}"));
            return Performed::failed(None, failure);
        }
        Err(error) => return Performed::failed(None, error.into()),
    };
    let copy = found.copy.clone();
    let watcher = Arc::new(DrillWatcher(Arc::clone(&around.observer)));
    let cancellation = Cancellation::from(around.cancellation.clone());
    let restored = Box::pin(request::restore(
        &around.state,
        &around.config,
        &found,
        around.origin(false),
        watcher,
        cancellation,
    ))
    .await;
    let outcome = restored.map(|restored| Ended {
        run_id: restored.request.run_id,
        exit_code: restored.exit_code,
        verdict: restored.request.verdict,
        summary: format!("{}: {}", restored.report.target, restored.request.message),
        findings: 0,
        worst: None,
        trouble: restored.trouble.map(class_of_trouble),
    });
    Performed {
        parts: vec![Part { copy, outcome }],
    }
}

/// The class of what kept a drill from its end.
const fn class_of_trouble(trouble: Trouble) -> FailureClass {
    match trouble {
        Trouble::Refused => FailureClass::Refused,
        Trouble::Store(kind) => class_of_storage(kind),
        Trouble::Here => FailureClass::Capacity,
        Trouble::Interrupted => FailureClass::Interrupted,
    }
}

/// Work that is about no copy and leaves no run.
fn alone(outcome: Result<Ended, Failure>) -> Performed {
    Performed {
        parts: vec![Part {
            copy: String::new(),
            outcome,
        }],
    }
}

/// What ended without a run: the job is done, and these entries say what was done.
async fn done(
    around: &Surroundings,
    exit_code: u8,
    summary: String,
    entries: &[NewEntry],
) -> Result<Ended, Failure> {
    match &around.fence {
        Some(fence) => {
            around.state.finish_job(fence, Utc::now(), entries).await?;
        }
        None => {
            around.state.append(entries).await?;
        }
    }
    Ok(Ended {
        run_id: None,
        exit_code,
        verdict: None,
        summary,
        findings: 0,
        worst: None,
        trouble: None,
    })
}

/// Removes what dead drills left, wherever drills make their scratch directories.
async fn sweep(around: &Surroundings) -> Result<Ended, Failure> {
    let now = Utc::now();
    let mut swept = Swept {
        here: sweep::here(sweep::roots(&around.config), now, false).await?,
        kubernetes: None,
    };
    let mut unreachable = None;
    if sweep::uses_kubernetes(&around.config) {
        match sweep::there(&around.config, now, false).await {
            Ok(namespaces) => swept.kubernetes = Some(namespaces),
            // What is on this machine was swept all the same.
            Err(error) => unreachable = Some(error.to_string()),
        }
    }
    let failed = swept.failed();
    for left in failed.iter().chain(&unreachable) {
        around.observer.note(&format!("could not sweep: {left}"));
    }
    let mut summary = format!(
        "left by dead drills: {} removed, {} could not be removed",
        swept.removed(),
        failed.len()
    );
    if let Some(words) = &unreachable {
        summary.push_str("; Kubernetes was not swept: ");
        summary.push_str(words);
    }
    let problem = !failed.is_empty() || unreachable.is_some();
    done(around, u8::from(problem), summary, &[]).await
}
