//! The restore of a request: by a drill's course, with its proof, and handed over if that holds.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;

use super::end::conclude;
use super::hand::{handed_over, keep, undo};
use super::report::{RequestPlan, RequestReport, RequestResult};
use super::spec::{RequestSpec, Wanted};
use super::{NAMESPACE_PREFIX, body, remove};
use crate::config::{Config, DrillDefinition, Environment, Tier};
use crate::drill::checks::CheckKind;
use crate::drill::environments::cnpg::HandedOver;
use crate::drill::{
    self, Cancellation, DrillObserver, DrillReport, Ending, EnvironmentOptions, Phase, Verdict,
};
use crate::evidence::ledger::RequestEvent;
use crate::finding::Finding;
use crate::kubernetes::scratch::namespace_name;
use crate::operation::drill::{DrillRequest, PreparedDrill, definition, prepare};
use crate::operation::recording::{Leaves, Origin, Recording, outcome};
use crate::operation::source::{Reach, Source};
use crate::operation::{Failure, FailureClass};
use crate::postgres::TimelineId;
use crate::restore::{Nearest, Target, Watch, Wish, nearest};
use crate::state::{Request, RequestChange, RequestStatus, RunKind, State};

/// From where a restore may begin.
const BEGINS: [RequestStatus; 2] = [RequestStatus::Queued, RequestStatus::Restoring];

/// How long the search for the nearest moments may take: they are a courtesy.
const NEAREST: Duration = Duration::from_mins(10);

/// At most so many findings are told in one line.
const REASONS: usize = 5;

/// A restore that came to an end.
#[derive(Debug)]
pub struct Restored {
    /// The request as it stands then.
    pub request: Request,
    /// What it did, saw and concluded.
    pub report: RequestReport,
    /// The exit code of the same work by hand.
    pub exit_code: u8,
    /// What kept it from its end, where trying again may help.
    pub trouble: Option<drill::Trouble>,
}

/// What a drill of the request would be. Its own checks are asked, not a drill's: those are
/// about the newest state, and the heartbeat of a moment long ago is no news.
fn drill_of(
    config: &Config,
    cluster: &str,
    spec: &RequestSpec,
) -> Result<DrillDefinition, Failure> {
    let template = if let Some(name) = &spec.drill {
        let found = definition(config, cluster, Some(name))?;
        if found.environment != Environment::Cnpg {
            return Err(Failure::configuration(format_args!(
                "drill `{name}` does not restore in Kubernetes"
            ))
            .with_hint("name one with `environment: cnpg`, or none"));
        }
        found
    } else {
        let mut of_cluster = config
            .drills_of(cluster)
            .map(|drill| &drill.definition)
            .filter(|drill| drill.environment == Environment::Cnpg);
        match (of_cluster.next(), of_cluster.next()) {
            (Some(only), None) => only.clone(),
            _ => DrillDefinition::plain("request"),
        }
    };
    let mut cnpg = spec.cnpg.clone().or(template.cnpg).unwrap_or_default();
    cnpg.keep = None;
    cnpg.namespace_prefix
        .get_or_insert_with(|| NAMESPACE_PREFIX.to_owned());
    Ok(DrillDefinition {
        environment: Environment::Cnpg,
        cnpg: Some(cnpg),
        target: spec.target.clone(),
        backup: spec.backup.clone(),
        timeout: spec.timeout.or(template.timeout),
        preload: template.preload,
        settings: template.settings,
        checks: spec.checks.clone(),
        ..DrillDefinition::plain("request")
    })
}

fn prepared<'a>(
    config: &Config,
    source: &'a Source,
    spec: &RequestSpec,
    by: &str,
    lease_seconds: u64,
) -> Result<PreparedDrill<'a>, Failure> {
    let wish = DrillRequest {
        timeline: spec.timeline.map(TimelineId),
        // A person's wish is no exercise: no objective makes it fail.
        objectives: Tier::default(),
        set_by: std::collections::BTreeMap::new(),
        probe_write: false,
        initiator: Some(by.to_owned()),
        keep_for: Some(Duration::from_secs(lease_seconds)),
        ..DrillRequest::of(drill_of(config, &source.name, spec)?, source)
    };
    let mut drill = prepare(source, wish, config)?;
    drill.options.only_whole = true;
    if let EnvironmentOptions::Cnpg(cnpg) = &mut drill.options.environment {
        let place = spec.access.secret.as_ref();
        cnpg.secret_in = place.map(|place| place.namespace.clone());
    }
    drill
        .options
        .checks
        .retain(|check| !matches!(check.kind, CheckKind::Heartbeat { .. }));
    Ok(drill)
}

/// Shows what would be done, or that it cannot be and what can instead. Reads the repository;
/// makes nothing, and keeps nothing.
///
/// # Errors
///
/// It cannot be told: the configuration, the store, Kubernetes.
pub async fn plan(
    config: &Config,
    wanted: &Wanted,
    cancellation: Cancellation,
) -> Result<RequestPlan, Failure> {
    let (lease_seconds, most_seconds) = wanted.leases(&config.requests)?;
    let spec = wanted.spec.clone().checked()?;
    let reach = Reach::default();
    let source = Source::of_cluster(config, &wanted.cluster, wanted.copy.as_deref(), &reach)?;
    let drill = prepared(config, &source, &spec, &wanted.by, lease_seconds)?;
    let shown = RequestPlan::new(wanted, &spec, &source.copy, (lease_seconds, most_seconds));
    match drill::plan(&drill.options, &drill.repository, cancellation).await {
        // A restore stops there, too.
        Ok(planned) if !planned.holes.is_empty() => {
            let near = near(&drill).await;
            let words = found(&planned.holes);
            Ok(shown.refused(words, near).with(planned))
        }
        Ok(planned) => Ok(shown.with(planned)),
        Err(drill::Stop::Interrupted) => Err(Failure::interrupted()),
        Err(drill::Stop::Refused { reason, .. }) => Err(Failure::refused(reason)),
        Err(drill::Stop::Unproven(words)) => Err(Failure::new(FailureClass::Capacity, words)),
        Err(drill::Stop::Store(error)) => Err(error.into()),
        Err(drill::Stop::Failed(findings)) => {
            let near = near(&drill).await;
            Ok(shown.refused(found(&findings), near))
        }
    }
}

fn found(findings: &[Finding]) -> String {
    let words: Vec<String> = findings
        .iter()
        .take(REASONS)
        .map(|finding| format!("{}: {}: {}", finding.code, finding.object, finding.message))
        .collect();
    words.join("; ")
}

/// The nearest moments that can be had; none where that cannot be found out.
async fn near(drill: &PreparedDrill<'_>) -> Nearest {
    let wish = Wish {
        target: drill.options.target.clone(),
        backup: drill.options.backup.clone(),
        timeline: drill.options.timeline,
    };
    if !matches!(wish.target, Target::Time(_) | Target::Lsn { .. }) {
        return Nearest::default();
    }
    let looking = async {
        let catalog = drill.repository.catalog().await.ok()?;
        let watch = Watch::default();
        Box::pin(nearest(&drill.repository, &catalog, &wish, &watch))
            .await
            .inspect_err(|error| tracing::debug!(%error, "look for the nearest moments"))
            .ok()
    };
    tokio::time::timeout(NEAREST, looking)
        .await
        .ok()
        .flatten()
        .unwrap_or_default()
}

/// Restores a request, and hands it over if it is proven. What an attempt before left is
/// removed first. Whatever comes of it stands in the state, with a run of its own.
///
/// # Errors
///
/// It could not even begin. What is wrong with the request itself refuses it for good.
pub async fn restore(
    state: &State,
    config: &Config,
    request: &Request,
    origin: Origin,
    observer: Arc<dyn DrillObserver>,
    cancellation: Cancellation,
) -> Result<Restored, Failure> {
    let begun = begin(state, config, request, origin).await;
    let (spec, source, recording, request) = match begun {
        Ok(begun) => begun,
        Err(failure) => {
            give_up(state, config, request, &failure).await;
            return Err(failure);
        }
    };
    let mut drill = prepared(
        config,
        &source,
        &spec,
        &request.asked_by,
        request.lease_seconds,
    )?;
    drill.options.id = recording.id();
    let report = Box::pin(drill::run(
        &drill.options,
        &drill.repository,
        observer,
        cancellation,
    ))
    .await;
    let came = Box::pin(came_of(state, config, &request, &spec, &drill, &report)).await;
    finish(state, config, &request, came, report, recording).await
}

/// Says of a request that could not begin that it will not: what is wrong with it does not pass,
/// or nobody tries again.
async fn give_up(state: &State, config: &Config, request: &Request, failure: &Failure) {
    let status = match failure.class {
        FailureClass::Configuration | FailureClass::Refused => RequestStatus::Refused,
        FailureClass::Interrupted => RequestStatus::Ended,
        FailureClass::Fenced => return,
        _ => RequestStatus::Unproven,
    };
    if request.job_id.is_some() && status != RequestStatus::Refused {
        return;
    }
    let (words, by) = (failure.to_string(), &request.asked_by);
    if let Err(error) = conclude(state, config, request, status, &words, by).await {
        tracing::warn!(%error, "not concluded; the next look at the requests does");
    }
}

type Begun = (RequestSpec, Source, Recording, Request);

async fn begin(
    state: &State,
    config: &Config,
    request: &Request,
    origin: Origin,
) -> Result<Begun, Failure> {
    let spec = RequestSpec::of(request)?;
    // What an attempt before made, whose process is gone or whose lease of the job is over.
    let left = remove(config, request).await?;
    if !left.is_empty() {
        return Err(Failure::new(
            FailureClass::Capacity,
            format_args!(
                "what an attempt before made is not gone: {}",
                left.join("; ")
            ),
        ));
    }
    let copy = Some(request.copy.as_str()).filter(|copy| !copy.is_empty());
    let source = Source::of_cluster(config, &request.cluster, copy, &Reach::default())?;
    let drill = prepared(
        config,
        &source,
        &spec,
        &request.asked_by,
        request.lease_seconds,
    )?;
    let EnvironmentOptions::Cnpg(cnpg) = &drill.options.environment else {
        return Err(Failure::configuration(
            "a request is restored in Kubernetes",
        ));
    };
    let prefix = cnpg.namespace_prefix.clone();
    drop(drill);
    let recording = Recording::begin(state, RunKind::Request, &source, origin).await?;
    // Known before anything is made, so that nothing is ever there that no row names.
    let change = RequestChange {
        status: Some(RequestStatus::Restoring),
        run_id: Some(recording.id()),
        namespace: Some(namespace_name(&prefix, &source.name, recording.id())),
        message: Some("it is being restored".to_owned()),
        ..RequestChange::default()
    };
    let changed = state
        .change_request(request.id, &BEGINS, &change, None)
        .await?;
    match changed {
        Some(request) if request.end_asked_at.is_none() => Ok((spec, source, recording, request)),
        _ => Err(Failure::interrupted().with_hint("somebody ended the request meanwhile")),
    }
}

/// What a restore came to.
struct Came {
    status: RequestStatus,
    event: RequestEvent,
    message: String,
    handed: Option<HandedOver>,
    near: Option<Nearest>,
    /// Nothing is left of it.
    gone: bool,
    /// Whether the job is to be tried again.
    again: bool,
    exit_code: u8,
}

/// Whether anything was made in Kubernetes.
fn was_made(report: &DrillReport) -> bool {
    report
        .phases
        .iter()
        .any(|timing| timing.phase == Phase::Provision)
}

fn first_reason(report: &DrillReport) -> String {
    report
        .reasons
        .first()
        .map_or_else(|| report.verdict.to_string(), |reason| reason.text.clone())
}

impl Came {
    /// One of which nothing was handed over.
    fn nothing(
        report: &DrillReport,
        status: RequestStatus,
        event: RequestEvent,
        message: String,
        exit_code: u8,
    ) -> Self {
        let left = is_kept(report) || !report.environment.removed;
        Self {
            status,
            event,
            message,
            handed: None,
            near: None,
            gone: !left,
            again: false,
            exit_code,
        }
    }

    /// It was stopped: a daemon that stops gives the job back, and who ended it is answered by
    /// the next look. A command that was stopped is over.
    fn stopped(report: &DrillReport, fenced: bool) -> Self {
        let (status, event) = if fenced {
            (RequestStatus::Queued, RequestEvent::Attempted)
        } else {
            (RequestStatus::Ended, RequestEvent::Ended)
        };
        Self {
            again: fenced,
            ..Self::nothing(report, status, event, "it was stopped".to_owned(), 130)
        }
    }

    /// It was restored, as it should be or not, or could not be.
    fn judged(report: &DrillReport, fenced: bool) -> Self {
        let reason = first_reason(report);
        if report.verdict == Verdict::Failed {
            let (status, event) = (RequestStatus::Failed, RequestEvent::Failed);
            return Self::nothing(report, status, event, reason, 1);
        }
        // Proven, and not kept: that says why.
        let kubernetes = report.environment.kubernetes.as_ref();
        let why = kubernetes
            .and_then(|report| report.not_kept.clone())
            .filter(|_| report.verdict == Verdict::Proven);
        let (status, event) = (RequestStatus::Unproven, RequestEvent::Unproven);
        Self {
            again: fenced && report.trouble.is_some(),
            ..Self::nothing(report, status, event, why.unwrap_or(reason), 3)
        }
    }

    /// It cannot be had, and nothing was made.
    fn refused(report: &DrillReport, near: Nearest) -> Self {
        let (reason, words) = (first_reason(report), near.words());
        let message = if words.is_empty() {
            reason
        } else {
            format!("{reason}; {words}")
        };
        let exit_code = if report.ending == Ending::Refused {
            4
        } else {
            1
        };
        let (status, event) = (RequestStatus::Refused, RequestEvent::Refused);
        Self {
            near: Some(near),
            gone: true,
            ..Self::nothing(report, status, event, message, exit_code)
        }
    }
}

/// Whether the restored database was left for whoever asked.
fn is_kept(report: &DrillReport) -> bool {
    let kubernetes = report.environment.kubernetes.as_ref();
    kubernetes.is_some_and(|report| report.kept_until.is_some())
}

async fn came_of(
    state: &State,
    config: &Config,
    request: &Request,
    spec: &RequestSpec,
    drill: &PreparedDrill<'_>,
    report: &DrillReport,
) -> Came {
    let fenced = request.job_id.is_some();
    if report.ending == Ending::Interrupted {
        return Came::stopped(report, fenced);
    }
    if !was_made(report) && matches!(report.ending, Ending::Failed | Ending::Refused) {
        return Came::refused(report, near(drill).await);
    }
    if report.verdict != Verdict::Proven || !is_kept(report) {
        return Came::judged(report, fenced);
    }
    match handed_over(state, config, request, spec, drill).await {
        Ok(handed) => Came {
            handed: Some(handed),
            gone: false,
            ..Came::nothing(
                report,
                RequestStatus::Ready,
                RequestEvent::Ready,
                "it is there, proven, and open to those who asked".to_owned(),
                0,
            )
        },
        Err(words) => Came {
            again: fenced,
            ..Came::nothing(
                report,
                RequestStatus::Unproven,
                RequestEvent::Unproven,
                format!("it was restored and proven, and could not be handed over: {words}"),
                3,
            )
        },
    }
}

/// Keeps what came of it, all in one transaction, and removes what is not handed over.
async fn finish(
    state: &State,
    config: &Config,
    request: &Request,
    mut came: Came,
    report: DrillReport,
    recording: Recording,
) -> Result<Restored, Failure> {
    let run = recording.id();
    let namespace = request.namespace.clone().unwrap_or_default();
    if came.status != RequestStatus::Ready && is_kept(&report) {
        // As it is now: with the Secret that was placed.
        let found = state.request(request.id).await.ok().flatten();
        came.gone = remove(config, found.as_ref().unwrap_or(request))
            .await
            .is_ok_and(|left| left.is_empty());
    }
    let now = Utc::now();
    let status = if came.again && came.status != RequestStatus::Ready {
        // The queue says whether there is another attempt; the next look concludes if not.
        RequestStatus::Queued
    } else {
        came.status
    };
    let result = RequestResult::of(&report, came.handed.as_ref(), came.near.clone());
    let change = RequestChange {
        status: Some(status),
        verdict: Some(report.verdict),
        message: Some(came.message.clone()),
        result: serde_json::to_value(&result).ok(),
        traces: came
            .handed
            .as_ref()
            .and_then(|handed| serde_json::to_value(handed.placed.as_ref()?).ok()),
        ready_at: (status == RequestStatus::Ready).then_some(now),
        gone_at: (came.gone && status.is_over()).then_some(now),
        ..RequestChange::default()
    };
    let mut said = body(request, came.event, &request.asked_by);
    said.location = Some(report.repository.clone());
    said.backup = report.plan.as_ref().map(|plan| plan.backup.id.clone());
    said.recovered_to = result.recovered_to.map(|commit| commit.time);
    said.expires_at = change.ready_at.map(|ready| ready + request.lease());
    let shown = RequestReport::of(request, Some(&result)).with(&change, Some(report));
    let outcome = outcome(
        shown.verdict,
        came.exit_code,
        format!("{}: {}", shown.target, came.message),
        // What is wrong with a wish is no incident of the copy; verifications find what is.
        &[],
        (RequestReport::SCHEMA, &shown),
    );
    let mut run_body = recording.run_body(&outcome);
    if let Some(report) = &shown.restore {
        run_body.findings = crate::evidence::ledger::tally(&report.findings);
    }
    said.run = Some(run_body);
    let trouble = shown.restore.as_ref().and_then(|report| report.trouble);
    let leaves = Leaves {
        body: serde_json::to_value(&said).ok(),
        partial: true,
        again: came.again,
        request: Some((request.id, Box::new(change))),
        ..Leaves::default()
    };
    if let Err(failure) = recording.finish(&outcome, leaves).await {
        // Refused, nobody will know of it. Else it may have been written down, and people be at
        // work in it: what was not is removed by the next attempt, or by who looks after it.
        if failure.class == FailureClass::Fenced {
            undo(config, &namespace, run, came.handed.as_ref()).await;
        }
        return Err(failure);
    }
    let found = state.request(request.id).await?;
    let request = found.unwrap_or_else(|| request.clone());
    if let Some(handed) = &came.handed {
        keep(config, &request, handed).await;
    }
    let report = RequestReport::of(&request, Some(&result)).over(shown);
    Ok(Restored {
        request,
        report,
        exit_code: came.exit_code,
        trouble: trouble
            .filter(|_| came.again)
            .or_else(|| came.again.then_some(drill::Trouble::Here)),
    })
}
