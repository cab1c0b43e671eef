//! Requests: kept once, changed only from where they may be, looked after when it is time.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use uuid::Uuid;

use super::testing::{Place, on_both};
use super::tests::{new_run, outcome};
use super::{
    Completion, JobKind, NewJob, NewRequest, Request, RequestChange, RequestFilter, RequestStatus,
    RunKind, State,
};
use crate::evidence::ledger::{Body, RequestBody, RequestEvent};
use crate::evidence::{EntryKind, NewEntry, Verdict};

on_both!(
    a_request_is_kept_once_with_its_job_and_its_entry,
    a_change_comes_only_from_where_it_may,
    a_lease_begins_when_it_is_ready_and_moves,
    only_what_is_due_is_looked_after,
    the_end_of_its_run_changes_a_request_in_one_step,
    whether_a_run_is_under_way_is_known,
);

fn moment(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_790_000_000 + seconds, 0).unwrap()
}

fn new(key: &str) -> NewRequest {
    NewRequest {
        id: Uuid::now_v7(),
        key: key.to_owned(),
        cluster: "orders".to_owned(),
        copy: "primary".to_owned(),
        asked_by: "jane".to_owned(),
        asked_at: moment(0),
        spec: json!({"target": "tip"}),
        lease_seconds: 3600,
        most_seconds: 7200,
    }
}

fn entry(request: Uuid, event: RequestEvent) -> NewEntry {
    let body = RequestBody {
        request,
        event,
        by: "jane".to_owned(),
        reason: String::new(),
        target: "tip".to_owned(),
        run: None,
        location: None,
        backup: None,
        recovered_to: None,
        namespace: None,
        access: Vec::new(),
        lease_ms: None,
        expires_at: None,
        opened: Vec::new(),
        closed: Vec::new(),
    };
    NewEntry::new(moment(0), &Body::Request(Box::new(body)))
        .unwrap()
        .about("orders", "primary")
}

fn job(id: Uuid) -> NewJob {
    NewJob {
        key: format!("request/{id}"),
        kind: JobKind::Request,
        schedule: None,
        cluster: "orders".to_owned(),
        copy: "primary".to_owned(),
        bucket: "backups".to_owned(),
        tier: None,
        due_at: moment(0),
        run_after: moment(0),
        deadline: None,
        priority: 9,
        late: false,
        scratch_bytes: 0,
        max_attempts: 3,
        spec: json!({"job": "request", "request": id}),
    }
}

async fn asked(state: &State, key: &str) -> Request {
    let new = new(key);
    let entry = entry(new.id, RequestEvent::Asked);
    let (request, is_new) = state.add_request(&new, None, &entry).await.unwrap();
    assert!(is_new);
    request
}

async fn a_request_is_kept_once_with_its_job_and_its_entry(place: &Place) {
    let state = place.open().await;
    let first = new("resource/1");
    let said = entry(first.id, RequestEvent::Asked);
    let (kept, is_new) = state
        .add_request(&first, Some(&job(first.id)), &said)
        .await
        .unwrap();
    assert!(is_new);
    assert_eq!(kept.status, RequestStatus::Queued);
    assert_eq!((kept.lease_seconds, kept.most_seconds), (3600, 7200));
    let queued = state.job(kept.job_id.unwrap()).await.unwrap().unwrap();
    assert_eq!(queued.kind, JobKind::Request);
    assert_eq!(queued.spec["request"], first.id.to_string());

    let again = new("resource/1");
    let (same, is_new) = state
        .add_request(
            &again,
            Some(&job(again.id)),
            &entry(again.id, RequestEvent::Asked),
        )
        .await
        .unwrap();
    assert!(!is_new);
    assert_eq!(same, kept);
    let entries = state.entries(0, 10).await.unwrap();
    assert_eq!(entries.len(), 1);
    let content = entries[0].content().unwrap();
    assert_eq!(content.kind, EntryKind::Request);
    assert_eq!(content.body["event"], "asked");

    assert_eq!(state.request(first.id).await.unwrap(), Some(kept.clone()));
    let of = async |filter: RequestFilter| state.requests(&filter).await.unwrap();
    let by_id = RequestFilter {
        id: Some(first.id.to_string().to_uppercase()),
        ..RequestFilter::default()
    };
    assert_eq!(of(by_id).await, std::slice::from_ref(&kept));
    let by_key = RequestFilter {
        key: Some("resource/1".to_owned()),
        ..RequestFilter::default()
    };
    assert_eq!(of(by_key).await, [kept]);
    let elsewhere = RequestFilter {
        cluster: Some("billing".to_owned()),
        ..RequestFilter::default()
    };
    assert!(of(elsewhere).await.is_empty());
}

async fn a_change_comes_only_from_where_it_may(place: &Place) {
    let state = place.open().await;
    let request = asked(&state, "a").await;
    let restoring = RequestChange {
        status: Some(RequestStatus::Restoring),
        run_id: Some(Uuid::nil()),
        namespace: Some("walproof-request-orders-1".to_owned()),
        ..RequestChange::default()
    };
    let from = [RequestStatus::Queued];
    let said = entry(request.id, RequestEvent::Attempted);
    let change = async |from: &[RequestStatus], change: &RequestChange| {
        state
            .change_request(request.id, from, change, Some(&said))
            .await
            .unwrap()
    };
    let changed = change(&from, &restoring).await.unwrap();
    assert_eq!(changed.status, RequestStatus::Restoring);
    assert_eq!(changed.run_id, Some(Uuid::nil()));
    // Of two that want the same only one does it, and says so.
    assert_eq!(change(&from, &restoring).await, None);
    assert_eq!(state.entries(0, 10).await.unwrap().len(), 2);

    // The first to ask for its end is remembered.
    for (why, at) in [("lease", 5), ("hand", 9)] {
        let end = RequestChange {
            end: Some((moment(at), why.to_owned())),
            ..RequestChange::default()
        };
        let ended = change(RequestStatus::ALL, &end).await.unwrap();
        assert_eq!(ended.end_asked_at, Some(moment(5)));
        assert_eq!(ended.end_reason.as_deref(), Some("lease"));
        assert_eq!(ended.status, RequestStatus::Restoring);
    }

    // What is gone stays as it is.
    let gone = RequestChange {
        status: Some(RequestStatus::Ended),
        gone_at: Some(moment(10)),
        ..RequestChange::default()
    };
    let gone = change(RequestStatus::ALL, &gone).await.unwrap();
    assert_eq!(gone.gone_at, Some(moment(10)));
    assert_eq!(change(RequestStatus::ALL, &restoring).await, None);
    assert_eq!(state.request(request.id).await.unwrap(), Some(gone));
}

async fn a_lease_begins_when_it_is_ready_and_moves(place: &Place) {
    let state = place.open().await;
    let request = asked(&state, "a").await;
    let change = async |change: RequestChange| {
        state
            .change_request(request.id, RequestStatus::ALL, &change, None)
            .await
            .unwrap()
            .unwrap()
    };
    // Another lease before it is ready only changes how long it will be.
    let longer = change(RequestChange {
        lease_seconds: Some(1800),
        ..RequestChange::default()
    })
    .await;
    assert_eq!((longer.lease_seconds, longer.expires_at), (1800, None));
    let ready = change(RequestChange {
        status: Some(RequestStatus::Ready),
        ready_at: Some(moment(100)),
        result: Some(json!({"backup": "20261121T000000"})),
        ..RequestChange::default()
    })
    .await;
    assert_eq!(ready.expires_at, Some(moment(100 + 1800)));
    let extended = change(RequestChange {
        lease_seconds: Some(7200),
        ..RequestChange::default()
    })
    .await;
    assert_eq!(extended.expires_at, Some(moment(100 + 7200)));
    assert_eq!(extended.ready_at, Some(moment(100)));
    assert_eq!(extended.result, ready.result);
}

async fn only_what_is_due_is_looked_after(place: &Place) {
    let state = place.open().await;
    let waits = asked(&state, "waits").await;
    let ready = asked(&state, "ready").await;
    let wished = asked(&state, "wished").await;
    let over = asked(&state, "over").await;
    let change = async |id: Uuid, change: RequestChange| {
        state
            .change_request(id, RequestStatus::ALL, &change, None)
            .await
            .unwrap()
            .unwrap();
    };
    for id in [ready.id, wished.id] {
        let leased = RequestChange {
            status: Some(RequestStatus::Ready),
            ready_at: Some(moment(0)),
            ..RequestChange::default()
        };
        change(id, leased).await;
    }
    change(
        wished.id,
        RequestChange {
            end: Some((moment(1), "by hand".to_owned())),
            ..RequestChange::default()
        },
    )
    .await;
    change(
        over.id,
        RequestChange {
            status: Some(RequestStatus::Refused),
            gone_at: Some(moment(1)),
            ..RequestChange::default()
        },
    )
    .await;
    let due = async |at: DateTime<Utc>| {
        let mut ids: Vec<Uuid> = state
            .requests_to_tend(at)
            .await
            .unwrap()
            .iter()
            .map(|request| request.id)
            .collect();
        ids.sort();
        ids
    };
    let mut before = vec![waits.id, wished.id];
    before.sort();
    assert_eq!(due(moment(3599)).await, before);
    let mut at_its_end = vec![waits.id, ready.id, wished.id];
    at_its_end.sort();
    assert_eq!(due(moment(3600)).await, at_its_end);
    let open = RequestFilter {
        open: true,
        ..RequestFilter::default()
    };
    assert_eq!(state.requests(&open).await.unwrap().len(), 3);
}

async fn the_end_of_its_run_changes_a_request_in_one_step(place: &Place) {
    let state = place.open().await;
    let request = asked(&state, "a").await;
    let run = state
        .begin_run(&new_run(RunKind::Request, "orders"))
        .await
        .unwrap();
    let ready_at = moment(50);
    let ready = RequestChange {
        status: Some(RequestStatus::Ready),
        verdict: Some(Verdict::Proven),
        ready_at: Some(ready_at),
        ..RequestChange::default()
    };
    let completion = Completion {
        request: Some((request.id, Box::new(ready))),
        ..Completion::default()
    };
    state
        .finish_run(run, &outcome(Some(Verdict::Proven)), &completion)
        .await
        .unwrap();
    let kept = state.request(request.id).await.unwrap().unwrap();
    assert_eq!(kept.status, RequestStatus::Ready);
    assert_eq!(kept.verdict, Some(Verdict::Proven));
    assert_eq!(kept.expires_at, Some(ready_at + TimeDelta::hours(1)));
}

async fn whether_a_run_is_under_way_is_known(place: &Place) {
    let state = place.open().await;
    let run = state
        .begin_run(&new_run(RunKind::Request, "orders"))
        .await
        .unwrap();
    let id = run.id;
    assert!(state.is_running(id).await.unwrap());
    assert!(!state.is_running(Uuid::nil()).await.unwrap());
    // Given up: nobody works at it any more.
    drop(run);
    super::testing::wait_until("the end of the run", async || {
        !state.is_running(id).await.unwrap()
    })
    .await;
}
