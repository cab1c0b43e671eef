//! RecoveryRequests: each is a request of the state, asked for once, followed to its end.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use kube::{Resource as _, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::compile::{in_words, limits};
use super::kind::{Around, Finalizer, Kind, Reconciled, Told, Tone};
use super::resources::{
    CLEANUP, ConnectionStatus, Mirrored, RecoveryRequest, RecoveryRequestStatus, RequestPhase,
    set_condition,
};
use crate::config::{CnpgDrill, Config, Period, read_fragment};
use crate::operation::request::{
    RequestAccess, RequestReport, RequestSpec, SecretPlace, Wanted, ask, extend, wish_end,
};
use crate::operation::{Failure, FailureClass};
use crate::state::{Request, RequestFilter, RequestStatus};

/// While something happens it is looked again after this time at the latest.
const SOON: TimeDelta = TimeDelta::seconds(5);
/// While nothing does.
const LATER: TimeDelta = TimeDelta::seconds(60);
/// The condition about the lease.
const LEASE: &str = "LeaseAccepted";
/// What events are about.
const ACTION: &str = "Request";

/// The kind RecoveryRequest.
#[derive(Clone, Copy, Debug, Default)]
pub struct RecoveryRequests;

impl Kind for RecoveryRequests {
    type Resource = RecoveryRequest;
    type Status = RecoveryRequestStatus;

    fn reconcile<'a>(
        &'a self,
        resource: &'a RecoveryRequest,
        around: &'a Around,
    ) -> BoxFuture<'a, Result<Reconciled<RecoveryRequestStatus>, Failure>> {
        reconcile(resource, around).boxed()
    }
}

/// What makes a resource's request one of its kind: it is asked for once.
fn key(resource: &RecoveryRequest) -> String {
    format!("recoveryrequest/{}", resource.uid().unwrap_or_default())
}

async fn find(resource: &RecoveryRequest, around: &Around) -> Result<Option<Request>, Failure> {
    let filter = RequestFilter {
        key: Some(key(resource)),
        limit: 1,
        ..RequestFilter::default()
    };
    Ok(around.state.requests(&filter).await?.into_iter().next())
}

async fn reconcile(
    resource: &RecoveryRequest,
    around: &Around,
) -> Result<Reconciled<RecoveryRequestStatus>, Failure> {
    let found = find(resource, around).await?;
    let deleted = resource.meta().deletion_timestamp.is_some();
    match found {
        None if deleted => Ok(unseen(resource, Finalizer::Gone)),
        None => first(resource, around).await,
        Some(request) if deleted => {
            let request = wish_end(&around.state, &request, "the RecoveryRequest was deleted")
                .await?
                .unwrap_or(request);
            Ok(follow(resource, around.now, &request, &Leased::AsBefore))
        }
        Some(request) => {
            let (request, leased) = leased(resource, around, request).await?;
            Ok(follow(resource, around.now, &request, &leased))
        }
    }
}

/// One of which nothing is known yet.
fn unseen(resource: &RecoveryRequest, finalizer: Finalizer) -> Reconciled<RecoveryRequestStatus> {
    let mut status = resource.status.clone().unwrap_or_default();
    status.observed_generation = resource.meta().generation;
    status.phase = Some(RequestPhase::Pending);
    Reconciled {
        status,
        finalizer,
        told: Vec::new(),
        again_at: None,
    }
}

/// Asks for what the resource wants, once it holds its finalizer.
async fn first(
    resource: &RecoveryRequest,
    around: &Around,
) -> Result<Reconciled<RecoveryRequestStatus>, Failure> {
    let wanted = match wanted(resource, &around.own_namespace, &around.config) {
        Ok(wanted) => wanted,
        Err(refusal) => return Ok(refused(resource, around, &refusal)),
    };
    if !resource.finalizers().iter().any(|name| name == CLEANUP) {
        return Ok(Reconciled {
            again_at: Some(around.now),
            ..unseen(resource, Finalizer::Held)
        });
    }
    match ask(&around.state, &around.config, wanted, true).await {
        Ok(asked) => Ok(follow(
            resource,
            around.now,
            &asked.request,
            &Leased::Accepted,
        )),
        Err(failure)
            if matches!(
                failure.class,
                FailureClass::Configuration | FailureClass::Refused
            ) =>
        {
            Ok(refused(resource, around, &Refusal::of(&failure)))
        }
        Err(failure) => Err(failure),
    }
}

/// Why a resource is not taken up.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Refusal {
    reason: &'static str,
    words: String,
    /// Whether it may be taken up later without a change of its own.
    passes: bool,
}

impl Refusal {
    fn new(reason: &'static str, words: impl Into<String>) -> Self {
        Self {
            reason,
            words: words.into(),
            passes: false,
        }
    }

    fn of(failure: &Failure) -> Self {
        Self::new("Invalid", failure.to_string())
    }
}

fn refused(
    resource: &RecoveryRequest,
    around: &Around,
    refusal: &Refusal,
) -> Reconciled<RecoveryRequestStatus> {
    let generation = resource.meta().generation;
    let mut seen = unseen(resource, Finalizer::Gone);
    seen.status.phase = Some(if refusal.passes {
        RequestPhase::Pending
    } else {
        RequestPhase::Refused
    });
    seen.status.message = Some(refusal.words.clone());
    set_condition(
        &mut seen.status.conditions,
        "Refused",
        Some(true),
        (refusal.reason, &refusal.words),
        generation,
        around.now,
    );
    seen.told = vec![Told {
        tone: Tone::Warning,
        reason: "Refused",
        action: ACTION,
        note: refusal.words.clone(),
        once: format!("refused/{}", generation.unwrap_or_default()),
    }];
    seen.again_at = refusal.passes.then(|| around.now + LATER);
    seen
}

fn read<T: DeserializeOwned + schemars::JsonSchema + 'static>(
    field: &str,
    written: &Mirrored<T>,
) -> Result<T, Refusal> {
    serde_json::from_value(written.snake())
        .map_err(|error| Refusal::new("Invalid", format!("spec.{field}: {error}")))
}

/// What a resource wants, if it may.
fn wanted(
    resource: &RecoveryRequest,
    controller: &str,
    config: &Config,
) -> Result<Wanted, Refusal> {
    let (spec, name) = (&resource.spec, resource.name_any());
    let own = resource.namespace().unwrap_or_default();
    let trusted = own == controller;
    let elsewhere = spec.cluster_ref.namespace(&own) != own;
    if elsewhere && !trusted {
        return Err(Refusal::new(
            "NamespaceNotAllowed",
            format!(
                "a RecoveryRequest in {own} may only name Clusters of {own}: make it there, or in \
                 {controller}"
            ),
        ));
    }
    let access = spec.access.clone().unwrap_or_default();
    let namespaces: BTreeSet<String> = match access.namespaces {
        None => BTreeSet::from([own.clone()]),
        Some(named) => named.into_iter().collect(),
    };
    if let Some(other) = namespaces.iter().find(|name| **name != own)
        && !trusted
    {
        return Err(Refusal::new(
            "NamespaceNotAllowed",
            format!(
                "a RecoveryRequest in {own} may only let pods of {own} in, not those of {other}: \
                 make it in {controller}"
            ),
        ));
    }
    let cluster = spec.cluster_ref.config_name(&own);
    if config.cluster(&cluster).is_none() {
        return Err(Refusal {
            passes: true,
            ..Refusal::new(
                "ClusterNotGuarded",
                format!(
                    "nothing guards Cluster {}/{}: it needs a ProtectedCluster",
                    spec.cluster_ref.namespace(&own),
                    spec.cluster_ref.name
                ),
            )
        });
    }
    let mut wish = RequestSpec::to(read("target", &spec.target)?);
    wish.timeline = spec.timeline;
    wish.backup.clone_from(&spec.backup);
    wish.reason = spec.reason.clone().unwrap_or_default();
    wish.approval = spec.approval;
    wish.timeout = spec
        .timeout
        .as_ref()
        .map(|written| read("timeout", written))
        .transpose()?;
    wish.checks = spec
        .checks
        .iter()
        .map(|written| read("checks", written))
        .collect::<Result<_, _>>()?;
    if let Some(written) = &spec.cnpg {
        wish.cnpg = Some(restored_as(written, (!trusted).then_some(own.as_str()))?);
    }
    wish.access = RequestAccess {
        namespaces,
        role: access.role,
        read_only: access.read_only,
        secret: access.secret_in_own_namespace.then(|| SecretPlace {
            namespace: own.clone(),
            name: format!("{name}-connection"),
        }),
    };
    let period = |field: &str, written: Option<&Mirrored<Period>>| {
        written.map(|written| read(field, written)).transpose()
    };
    Ok(Wanted {
        cluster,
        copy: spec.copy.clone(),
        spec: wish,
        lease: period("lease", spec.lease.as_ref())?,
        max_lease: period("maxLease", spec.max_lease.as_ref())?,
        by: format!("RecoveryRequest {own}/{name}"),
        key: Some(key(resource)),
    })
}

/// How it is restored: checked as a drill's `cnpg` is, and, of a resource in a namespace `of`
/// others, within the bounds of a drill there.
fn restored_as(written: &Mirrored<CnpgDrill>, of: Option<&str>) -> Result<CnpgDrill, Refusal> {
    let cnpg: CnpgDrill = read("cnpg", written)?;
    let definition = json!({"version": 1, "name": "request", "environment": "cnpg",
        "cnpg": written.snake()});
    if let Some(namespace) = of {
        limits::drill(&definition, namespace)
            .map_err(|(reason, message)| Refusal::new(reason, message))?;
    }
    read_fragment(&json!({"version": 1}), &[definition])
        .map_err(|mistakes| Refusal::new("Invalid", in_words(&mistakes, &[])))?;
    Ok(cnpg)
}

/// What became of a lease that the resource names.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Leased {
    /// It holds.
    Accepted,
    /// It was looked at before, and it is known what became of it.
    AsBefore,
    /// It is not taken up.
    Refused(Refusal),
}

/// Whether the lease that the resource names is to be taken up: once for each of its
/// generations, so that one that was changed by hand since stays, and only while there is one.
fn is_lease_new(resource: &RecoveryRequest, request: &Request) -> bool {
    let lives = matches!(
        request.status,
        RequestStatus::Queued | RequestStatus::Restoring | RequestStatus::Ready
    ) && request.end_asked_at.is_none();
    let seen = resource.status.as_ref();
    let seen = seen.and_then(|status| status.observed_generation);
    lives && seen != resource.meta().generation
}

/// Takes up another lease. What is refused stays as it was.
async fn leased(
    resource: &RecoveryRequest,
    around: &Around,
    request: Request,
) -> Result<(Request, Leased), Failure> {
    if !is_lease_new(resource, &request) {
        return Ok((request, Leased::AsBefore));
    }
    let Some(written) = &resource.spec.lease else {
        return Ok((request, Leased::Accepted));
    };
    let lease: Period = match read("lease", written) {
        Ok(lease) => lease,
        Err(refusal) => return Ok((request, Leased::Refused(refusal))),
    };
    let by = request.asked_by.clone();
    match extend(&around.state, &around.config, &request, lease, &by).await {
        Ok(changed) => Ok((changed, Leased::Accepted)),
        Err(failure) if failure.class == FailureClass::Configuration => {
            // Else its end came meanwhile.
            let leased = if lease.as_secs() > request.most_seconds {
                Leased::Refused(Refusal::new("LeaseTooLong", failure.to_string()))
            } else {
                Leased::AsBefore
            };
            Ok((request, leased))
        }
        Err(failure) => Err(failure),
    }
}

const fn phase(status: RequestStatus) -> RequestPhase {
    match status {
        RequestStatus::Queued => RequestPhase::Queued,
        RequestStatus::Restoring => RequestPhase::Restoring,
        RequestStatus::Ready => RequestPhase::Ready,
        RequestStatus::Refused => RequestPhase::Refused,
        RequestStatus::Failed => RequestPhase::Failed,
        RequestStatus::Unproven => RequestPhase::Unproven,
        RequestStatus::Ending => RequestPhase::Expiring,
        RequestStatus::Ended => RequestPhase::Expired,
    }
}

/// Where it stands as a condition's reason.
const fn word(status: RequestStatus) -> &'static str {
    match status {
        RequestStatus::Queued => "Queued",
        RequestStatus::Restoring => "Restoring",
        RequestStatus::Ready => "HandedOver",
        RequestStatus::Refused => "OutOfReach",
        RequestStatus::Failed => "Failed",
        RequestStatus::Unproven => "Unproven",
        RequestStatus::Ending => "Expiring",
        RequestStatus::Ended => "Expired",
    }
}

/// What is to be seen of a request.
fn follow(
    resource: &RecoveryRequest,
    now: DateTime<Utc>,
    request: &Request,
    lease: &Leased,
) -> Reconciled<RecoveryRequestStatus> {
    let generation = resource.meta().generation;
    let report = RequestReport::of(request, None);
    let result = &report.result;
    let old = resource.status.clone().unwrap_or_default();
    let mut status = old.clone();
    status.observed_generation = generation;
    status.phase = Some(phase(request.status));
    status.message = Some(request.message.clone()).filter(|message| !message.is_empty());
    status.request_id = Some(request.id.to_string());
    status.run_id = request.run_id.map(|id| id.to_string());
    status.verdict = request.verdict.map(|verdict| verdict.to_string());
    status.backup.clone_from(&result.backup);
    status.recovered_to = result.recovered_to.map(|commit| commit.time);
    status.ready_at = request.ready_at;
    status.expires_at = request.expires_at;
    status.gone_at = request.gone_at;
    status.connection = result
        .connection
        .as_ref()
        .filter(|_| request.status == RequestStatus::Ready)
        .map(|connection| ConnectionStatus {
            host: connection.host.clone(),
            port: connection.port,
            database: connection.database.clone(),
            user: connection.user.clone(),
            secret_name: connection.secret.clone(),
            namespace: connection.namespace.clone(),
            own_secret_name: connection
                .copied_to
                .as_ref()
                .and_then(|copy| copy.split_once('/'))
                .map(|(_, name)| name.to_owned()),
            tried: connection.tried,
        });
    let word = word(request.status);
    let mut set = |kind: &str, holds: Option<bool>, reason: &str, words: &str| {
        set_condition(
            &mut status.conditions,
            kind,
            holds,
            (reason, words),
            generation,
            now,
        );
    };
    let ready = request.status == RequestStatus::Ready;
    set("Ready", Some(ready), word, &request.message);
    set(
        "Refused",
        Some(request.status == RequestStatus::Refused),
        word,
        &request.message,
    );
    let proven = request
        .verdict
        .map(|verdict| verdict == crate::evidence::Verdict::Proven);
    set("Proven", proven, word, &request.message);
    let known = old.conditions.iter().any(|one| one.type_ == LEASE);
    match lease {
        Leased::Refused(refusal) => set(LEASE, Some(false), refusal.reason, &refusal.words),
        Leased::AsBefore if known => {}
        Leased::AsBefore | Leased::Accepted => set(LEASE, Some(true), "WithinBounds", ""),
    }
    let moving = matches!(
        request.status,
        RequestStatus::Queued | RequestStatus::Restoring | RequestStatus::Ending
    ) || request.end_asked_at.is_some();
    let again = if moving { SOON } else { LATER };
    let mut told = story(request, &report, &old);
    if let Leased::Refused(refusal) = lease {
        told.push(Told {
            tone: Tone::Warning,
            reason: "LeaseRefused",
            action: ACTION,
            note: refusal.words.clone(),
            once: format!("lease-refused/{}", generation.unwrap_or_default()),
        });
    }
    Reconciled {
        status,
        finalizer: if request.gone_at.is_some() {
            Finalizer::Gone
        } else {
            Finalizer::Held
        },
        told,
        again_at: request.gone_at.is_none().then(|| {
            let next = now + again;
            request
                .expires_at
                .filter(|_| ready)
                .map_or(next, |expires| next.min(expires.max(now + SOON)))
        }),
    }
}

/// What happened since a status was written, from the first to the last. A status is written
/// after its Events, so what it says has been told.
fn story(request: &Request, report: &RequestReport, old: &RecoveryRequestStatus) -> Vec<Told> {
    let id = request.id;
    let mut told = Vec::new();
    let mut tell = |tone, reason, once: String, note: String| {
        told.push(Told {
            tone,
            reason,
            action: ACTION,
            note,
            once,
        });
    };
    if old.request_id != Some(id.to_string()) {
        tell(
            Tone::Normal,
            "Queued",
            format!("{id}/queued"),
            format!("asked for {} of {}", report.target, request.cluster),
        );
    }
    if let (Some(run), Some(namespace)) = (request.run_id, &request.namespace)
        && request.status != RequestStatus::Refused
        && !(old.run_id == Some(run.to_string()) && old.phase.is_some_and(has_begun))
    {
        tell(
            Tone::Normal,
            "Restoring",
            format!("{run}/restoring"),
            format!("restores in namespace {namespace}, run {run}"),
        );
    }
    if let (Some(ready), Some(connection)) = (request.ready_at, &report.result.connection) {
        if old.ready_at.is_none() {
            tell(
                Tone::Normal,
                "Ready",
                format!("{id}/ready"),
                format!(
                    "proven and handed over: {}:{}, database {}, Secret {}/{}",
                    connection.host,
                    connection.port,
                    connection.database,
                    connection.namespace,
                    connection.secret
                ),
            );
        }
        if old.ready_at.is_none() || old.expires_at != request.expires_at {
            let until = (ready + request.lease()).format("%Y-%m-%d %H:%M:%S UTC");
            tell(
                Tone::Normal,
                "Leased",
                format!("{id}/leased/{}", request.lease_seconds),
                format!("stays until {until}"),
            );
        }
    }
    if old.phase != Some(phase(request.status))
        && let Some((tone, reason, note)) = turn(request)
    {
        let once = format!("{id}/{}", reason.to_lowercase());
        tell(tone, reason, once, note);
    }
    told
}

/// Whether a request in this phase is, or was, being restored.
const fn has_begun(phase: RequestPhase) -> bool {
    !matches!(phase, RequestPhase::Pending | RequestPhase::Queued)
}

/// What is to be told of where it stands now, but for what the story told on the way.
fn turn(request: &Request) -> Option<(Tone, &'static str, String)> {
    let message = request.message.clone();
    Some(match request.status {
        RequestStatus::Refused => (Tone::Warning, "Refused", message),
        RequestStatus::Failed => (Tone::Warning, "Failed", message),
        RequestStatus::Unproven => (Tone::Warning, "Unproven", message),
        RequestStatus::Ending => (Tone::Normal, "Expiring", message),
        RequestStatus::Ended => {
            let gone = request.gone_at.unwrap_or_else(Utc::now);
            let gone = gone.format("%Y-%m-%d %H:%M:%S UTC");
            let note = format!("{message}; everything was removed at {gone}");
            (Tone::Normal, "Gone", note)
        }
        RequestStatus::Queued | RequestStatus::Restoring | RequestStatus::Ready => return None,
    })
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
