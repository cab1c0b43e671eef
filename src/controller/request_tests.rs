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
}

#[test]
fn how_it_is_restored_stays_within_the_bounds_of_a_drill() {
    let role = json!({"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/admin"});
    for cnpg in [
        json!({"definition": "/etc/passwd"}),
        json!({"source": {"namespace": "billing", "name": "orders"}}),
        json!({"storeCidrs": ["10.0.0.0/8"]}),
        json!({"serviceAccountAnnotations": role}),
    ] {
        let more = json!({"cnpg": cnpg});
        assert_eq!(
            of("shop", &more).unwrap_err().reason,
            "NotAllowed",
            "{more}"
        );
        let there = json!({"cnpg": cnpg, "clusterRef": {"name": "orders", "namespace": "shop"}});
        assert!(of("walproof", &there).unwrap().spec.cnpg.is_some());
    }
    let wrong = json!({"clusterRef": {"name": "orders", "namespace": "shop"},
        "cnpg": {"storeCidrs": ["10.0.0.0"]}});
    assert_eq!(of("walproof", &wrong).unwrap_err().reason, "Invalid");
    for cnpg in [
        json!({"definition": "captured"}),
        json!({"source": {"namespace": "shop", "name": "orders"}}),
        json!({"storeCidrs": [], "serviceAccountAnnotations": {}, "storageClass": "fast"}),
    ] {
        assert!(of("shop", &json!({"cnpg": cnpg})).is_ok(), "{cnpg}");
    }
}

#[test]
fn what_is_not_guarded_yet_waits_and_what_is_wrong_does_not() {
    let unguarded = of("shop", &json!({"clusterRef": {"name": "other"}})).unwrap_err();
    assert!(unguarded.passes);
    for wrong in [
        json!({"target": "time:whenever"}),
        json!({"lease": "a while"}),
        json!({"cnpg": {"imagine": "x"}}),
        json!({"cnpg": {"snapshot": ""}}),
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
        let report = RequestReport::of(&request, None);
        let old = RecoveryRequestStatus::default();
        let told = story(&request, &report, &old);
        let reasons: Vec<&str> = told.iter().map(|one| one.reason).collect();
        assert_eq!(reasons, expected, "{status:?}");
        let once: BTreeSet<&str> = told.iter().map(|one| one.once.as_str()).collect();
        assert_eq!(once.len(), told.len());
    }
}

/// A resource of generation 2 with a status, and what follows from a request.
fn next(
    request: &Request,
    status: Option<&RecoveryRequestStatus>,
    lease: &Leased,
) -> Reconciled<RecoveryRequestStatus> {
    let mut resource = resource("shop", &json!({"lease": "4h"}));
    resource.status = status.cloned();
    follow(&resource, Utc::now(), request, lease)
}

#[test]
fn what_a_status_says_has_been_told() {
    let all = [
        RequestStatus::Queued,
        RequestStatus::Restoring,
        RequestStatus::Ready,
        RequestStatus::Refused,
        RequestStatus::Failed,
        RequestStatus::Unproven,
        RequestStatus::Ending,
        RequestStatus::Ended,
    ];
    for status in all {
        let request = request(status);
        let first = next(&request, None, &Leased::Accepted);
        let again = next(&request, Some(&first.status), &Leased::AsBefore);
        assert_eq!(again.status, first.status);
        // One that waits for another attempt has the run of the one before.
        if status != RequestStatus::Queued {
            assert_eq!(again.told, [], "{status:?}");
        }
    }
    // What comes later is told without what was before.
    let reasons = |old: RequestStatus, new: &Request| {
        let mut before = new.clone();
        before.status = old;
        let before = next(&before, None, &Leased::Accepted).status;
        let told = next(new, Some(&before), &Leased::AsBefore).told;
        told.iter().map(|one| one.reason).collect::<Vec<_>>()
    };
    let ended = request(RequestStatus::Ended);
    assert_eq!(reasons(RequestStatus::Ready, &ended), ["Gone"]);
    let failed = request(RequestStatus::Failed);
    assert_eq!(reasons(RequestStatus::Restoring, &failed), ["Failed"]);
    let restoring = request(RequestStatus::Restoring);
    assert_eq!(reasons(RequestStatus::Queued, &restoring), ["Restoring"]);
    // A longer lease is told by itself.
    let mut ready = request(RequestStatus::Ready);
    let before = next(&ready, None, &Leased::Accepted).status;
    ready.lease_seconds += 60;
    ready.expires_at = ready.expires_at.map(|at| at + TimeDelta::seconds(60));
    let told = next(&ready, Some(&before), &Leased::AsBefore).told;
    let told: Vec<&str> = told.iter().map(|one| one.reason).collect();
    assert_eq!(told, ["Leased"]);
}

#[test]
fn a_lease_is_taken_up_once_for_each_generation_and_only_while_there_is_one() {
    let ready = request(RequestStatus::Ready);
    let mut edited = resource("shop", &json!({"lease": "4h"}));
    assert!(is_lease_new(&edited, &ready));
    let mut status = RecoveryRequestStatus {
        observed_generation: Some(1),
        ..RecoveryRequestStatus::default()
    };
    edited.status = Some(status.clone());
    assert!(is_lease_new(&edited, &ready));
    // Nothing to take up of one that ends, or has ended.
    assert!(!is_lease_new(&edited, &request(RequestStatus::Ended)));
    let mut ending = ready.clone();
    ending.end_asked_at = Some(Utc::now());
    assert!(!is_lease_new(&edited, &ending));
    // Once it was looked at, one that was extended by hand stays so.
    status.observed_generation = Some(2);
    edited.status = Some(status);
    assert!(!is_lease_new(&edited, &ready));
}

#[test]
fn what_is_known_of_a_lease_stays_until_it_is_looked_at_again() {
    let ready = request(RequestStatus::Ready);
    let refusal = Refusal::new("LeaseTooLong", "at most 1m");
    let refused = next(&ready, None, &Leased::Refused(refusal));
    assert!(refused.told.iter().any(|one| one.reason == "LeaseRefused"));
    let of = |status: &RecoveryRequestStatus| {
        let found = status.conditions.iter().find(|one| one.type_ == LEASE);
        let found = found.unwrap();
        (found.status.clone(), found.reason.clone())
    };
    let no = ("False".to_owned(), "LeaseTooLong".to_owned());
    let yes = ("True".to_owned(), "WithinBounds".to_owned());
    assert_eq!(of(&refused.status), no);
    let later = next(&ready, Some(&refused.status), &Leased::AsBefore);
    assert_eq!((of(&later.status), later.told), (no, Vec::new()));
    let accepted = next(&ready, Some(&later.status), &Leased::Accepted);
    assert_eq!(of(&accepted.status), yes);
    // Nothing was written yet.
    assert_eq!(of(&next(&ready, None, &Leased::AsBefore).status), yes);
}
