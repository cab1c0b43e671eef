//! RecoveryRequests: each is a request of the state, asked for once, followed to its end.

use std::collections::BTreeSet;

use chrono::{TimeDelta, Utc};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use kube::{Resource as _, ResourceExt as _};
use serde::de::DeserializeOwned;

use super::kind::{Around, Finalizer, Kind, Reconciled, Told, Tone};
use super::resources::{
    CLEANUP, ConnectionStatus, Mirrored, RecoveryRequest, RecoveryRequestStatus, RequestPhase,
    set_condition,
};
use crate::config::{Config, Period};
use crate::operation::request::{
    RequestAccess, RequestReport, RequestSpec, SecretPlace, Wanted, ask, extend, wish_end,
};
use crate::operation::{Failure, FailureClass};
use crate::state::{Request, RequestFilter, RequestStatus};

/// While something happens it is looked again after this time at the latest.
const SOON: TimeDelta = TimeDelta::seconds(5);
/// While nothing does.
const LATER: TimeDelta = TimeDelta::seconds(60);
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
            Ok(follow(resource, around, &request, None))
        }
        Some(request) => {
            let (request, refused) = leased(resource, around, request).await?;
            Ok(follow(resource, around, &request, refused.as_ref()))
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
        Ok(asked) => Ok(follow(resource, around, &asked.request, None)),
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
    wish.cnpg = spec
        .cnpg
        .as_ref()
        .map(|written| read("cnpg", written))
        .transpose()?;
    if let Some(cnpg) = &wish.cnpg
        && !trusted
        && (cnpg.definition.is_some() || cnpg.source.is_some())
    {
        return Err(Refusal::new(
            "NotAllowed",
            format!("`cnpg.definition` and `cnpg.source` are only for resources in {controller}"),
        ));
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

/// Takes up another lease. What is refused stays as it was.
async fn leased(
    resource: &RecoveryRequest,
    around: &Around,
    request: Request,
) -> Result<(Request, Option<Refusal>), Failure> {
    let lives = matches!(
        request.status,
        RequestStatus::Queued | RequestStatus::Restoring | RequestStatus::Ready
    );
    let Some(written) = resource.spec.lease.as_ref().filter(|_| lives) else {
        return Ok((request, None));
    };
    let lease: Period = match read("lease", written) {
        Ok(lease) => lease,
        Err(refusal) => return Ok((request, Some(refusal))),
    };
    let by = request.asked_by.clone();
    match extend(&around.state, &around.config, &request, lease, &by).await {
        Ok(changed) => Ok((changed, None)),
        Err(failure) if failure.class == FailureClass::Configuration => Ok((
            request,
            Some(Refusal::new("LeaseTooLong", failure.to_string())),
        )),
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
    around: &Around,
    request: &Request,
    lease: Option<&Refusal>,
) -> Reconciled<RecoveryRequestStatus> {
    let generation = resource.meta().generation;
    let report = RequestReport::of(request, None);
    let result = &report.result;
    let mut status = resource.status.clone().unwrap_or_default();
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
            around.now,
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
    match lease {
        Some(refusal) => set("LeaseAccepted", Some(false), refusal.reason, &refusal.words),
        None => set("LeaseAccepted", Some(true), "WithinBounds", ""),
    }
    let moving = matches!(
        request.status,
        RequestStatus::Queued | RequestStatus::Restoring | RequestStatus::Ending
    ) || request.end_asked_at.is_some();
    let again = if moving { SOON } else { LATER };
    let mut told = story(request, &report);
    told.extend(lease.map(|refusal| Told {
        tone: Tone::Warning,
        reason: "LeaseRefused",
        action: ACTION,
        note: refusal.words.clone(),
        once: format!("lease-refused/{}", generation.unwrap_or_default()),
    }));
    Reconciled {
        status,
        finalizer: if request.gone_at.is_some() {
            Finalizer::Gone
        } else {
            Finalizer::Held
        },
        told,
        again_at: request.gone_at.is_none().then(|| {
            let next = around.now + again;
            request
                .expires_at
                .filter(|_| ready)
                .map_or(next, |expires| next.min(expires.max(around.now + SOON)))
        }),
    }
}

/// What happened so far, from the first to the last: each is told once.
fn story(request: &Request, report: &RequestReport) -> Vec<Told> {
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
    tell(
        Tone::Normal,
        "Queued",
        format!("{id}/queued"),
        format!("asked for {} of {}", report.target, request.cluster),
    );
    if let (Some(run), Some(namespace)) = (request.run_id, &request.namespace)
        && request.status != RequestStatus::Refused
    {
        tell(
            Tone::Normal,
            "Restoring",
            format!("{run}/restoring"),
            format!("restores in namespace {namespace}, run {run}"),
        );
    }
    if let (Some(ready), Some(connection)) = (request.ready_at, &report.result.connection) {
        let until = (ready + request.lease()).format("%Y-%m-%d %H:%M:%S UTC");
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
        tell(
            Tone::Normal,
            "Leased",
            format!("{id}/leased/{}", request.lease_seconds),
            format!("stays until {until}"),
        );
    }
    let message = request.message.clone();
    match request.status {
        RequestStatus::Refused => tell(Tone::Warning, "Refused", format!("{id}/refused"), message),
        RequestStatus::Failed => tell(Tone::Warning, "Failed", format!("{id}/failed"), message),
        RequestStatus::Unproven => {
            tell(Tone::Warning, "Unproven", format!("{id}/unproven"), message);
        }
        RequestStatus::Ending => tell(Tone::Normal, "Expiring", format!("{id}/expiring"), message),
        RequestStatus::Ended => tell(
            Tone::Normal,
            "Gone",
            format!("{id}/gone"),
            format!(
                "{message}; everything was removed at {}",
                request
                    .gone_at
                    .unwrap_or_else(Utc::now)
                    .format("%Y-%m-%d %H:%M:%S UTC")
            ),
        ),
        RequestStatus::Queued | RequestStatus::Restoring | RequestStatus::Ready => {}
    }
    told
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::*;

    fn resource(namespace: &str, more: &Value) -> RecoveryRequest {
        let mut spec = json!({"clusterRef": {"name": "orders"}, "target": "tip"});
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        serde_json::from_value(json!({
            "apiVersion": "walproof.dev/v1alpha1", "kind": "RecoveryRequest",
            "metadata": {"name": "inc-1", "namespace": namespace, "uid": "u-1", "generation": 2},
            "spec": spec,
        }))
        .unwrap()
    }

    fn config() -> Config {
        let cluster = |name: &str| json!({"name": name, "primary": {"url": "s3://backups/orders"}});
        Config {
            clusters: serde_json::from_value(json!([cluster("shop.orders")])).unwrap(),
            ..Config::default()
        }
    }

    fn of(namespace: &str, more: &Value) -> Result<Wanted, Refusal> {
        wanted(&resource(namespace, more), "walproof", &config())
    }

    #[test]
    fn pods_of_its_own_namespace_are_let_in_unless_others_are_named() {
        let wanted = of("shop", &json!({"lease": "2h", "reason": "INC-1"})).unwrap();
        assert_eq!(wanted.cluster, "shop.orders");
        assert_eq!(wanted.key.as_deref(), Some("recoveryrequest/u-1"));
        assert_eq!(wanted.by, "RecoveryRequest shop/inc-1");
        assert_eq!(wanted.lease.unwrap().to_string(), "2h");
        assert_eq!(wanted.spec.reason, "INC-1");
        assert_eq!(
            wanted.spec.access.namespaces,
            BTreeSet::from(["shop".to_owned()])
        );
        assert_eq!(wanted.spec.access.secret, None);
        let access = json!({"access": {"namespaces": [], "readOnly": true, "role": "superuser",
            "secretInOwnNamespace": true}});
        let access = of("shop", &access).unwrap().spec.access;
        assert!(access.namespaces.is_empty() && access.read_only);
        let secret = access.secret.unwrap();
        assert_eq!(
            (secret.namespace.as_str(), secret.name.as_str()),
            ("shop", "inc-1-connection")
        );
    }

    #[test]
    fn only_the_controllers_own_namespace_speaks_for_others() {
        let there = json!({"clusterRef": {"name": "orders", "namespace": "shop"}});
        let open = json!({"access": {"namespaces": ["shop", "billing"]}});
        let refusal = of("billing", &there).unwrap_err();
        assert_eq!(refusal.reason, "NamespaceNotAllowed");
        assert_eq!(of("shop", &open).unwrap_err().reason, "NamespaceNotAllowed");
        let mut both = there.clone();
        both["access"] = open["access"].clone();
        let wanted = of("walproof", &both).unwrap();
        assert_eq!(wanted.cluster, "shop.orders");
        assert_eq!(wanted.spec.access.namespaces.len(), 2);
        let file = json!({"cnpg": {"definition": "/etc/passwd"}});
        assert_eq!(of("shop", &file).unwrap_err().reason, "NotAllowed");
    }

    #[test]
    fn what_is_not_guarded_yet_waits_and_what_is_wrong_does_not() {
        let unguarded = of("shop", &json!({"clusterRef": {"name": "other"}})).unwrap_err();
        assert!(unguarded.passes);
        for wrong in [
            json!({"target": "time:whenever"}),
            json!({"lease": "a while"}),
            json!({"cnpg": {"imagine": "x"}}),
        ] {
            let refusal = of("shop", &wrong).unwrap_err();
            assert_eq!(
                (refusal.reason, refusal.passes),
                ("Invalid", false),
                "{wrong}"
            );
        }
    }

    fn request(status: RequestStatus) -> Request {
        let at = Utc::now();
        let ready = matches!(
            status,
            RequestStatus::Ready | RequestStatus::Ending | RequestStatus::Ended
        );
        serde_json::from_value(json!({
            "id": Uuid::nil(), "key": "k", "cluster": "shop.orders", "copy": "primary",
            "asked_by": "jane", "asked_at": at, "spec": {"target": "tip"}, "status": status,
            "lease_seconds": 60, "most_seconds": 60, "job_id": null, "run_id": Uuid::nil(),
            "namespace": "walproof-request-x", "verdict": null, "message": "why",
            "result": ready.then(|| json!({"connection": {
                "host": "h", "port": 5432, "database": "d", "user": "u", "secret": "s",
                "namespace": "n", "authority": "a", "namespaces": [], "read_only": false,
                "tried": true}})),
            "traces": null, "ready_at": ready.then_some(at), "expires_at": ready.then_some(at),
            "end_asked_at": null, "end_reason": null, "gone_at": null, "changed_at": at,
        }))
        .unwrap()
    }

    #[test]
    fn events_tell_the_story_whenever_it_is_looked_at() {
        for (status, expected) in [
            (RequestStatus::Queued, &["Queued", "Restoring"][..]),
            (RequestStatus::Restoring, &["Queued", "Restoring"]),
            (
                RequestStatus::Ready,
                &["Queued", "Restoring", "Ready", "Leased"],
            ),
            (RequestStatus::Refused, &["Queued", "Refused"]),
            (RequestStatus::Failed, &["Queued", "Restoring", "Failed"]),
            (
                RequestStatus::Unproven,
                &["Queued", "Restoring", "Unproven"],
            ),
            (
                RequestStatus::Ending,
                &["Queued", "Restoring", "Ready", "Leased", "Expiring"],
            ),
            (
                RequestStatus::Ended,
                &["Queued", "Restoring", "Ready", "Leased", "Gone"],
            ),
        ] {
            let request = request(status);
            let told = story(&request, &RequestReport::of(&request, None));
            let reasons: Vec<&str> = told.iter().map(|one| one.reason).collect();
            assert_eq!(reasons, expected, "{status:?}");
            let once: BTreeSet<&str> = told.iter().map(|one| one.once.as_str()).collect();
            assert_eq!(once.len(), told.len());
        }
    }
}
