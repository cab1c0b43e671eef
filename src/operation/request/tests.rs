//! Requests without Kubernetes: what is asked, ended, concluded, and what stays when nothing
//! can be removed.

use std::sync::Arc;

use chrono::{TimeDelta, Utc};
use tempfile::TempDir;
use uuid::Uuid;

use super::*;
use crate::config::{Config, KubernetesConfig, StateUrl, TargetText};
use crate::drill::{Cancellation, Unobserved};
use crate::operation::{FailureClass, Origin};
use crate::state::{JobStatus, RequestChange, RequestFilter, RequestStatus, State};

struct Place {
    state: State,
    config: Config,
    _keep: TempDir,
}

/// A state of its own, one cluster, and a Kubernetes that cannot be reached.
async fn place() -> Place {
    let keep = tempfile::tempdir().unwrap();
    let url = StateUrl::sqlite(keep.path().join("state.sqlite"));
    let state = State::open(&url).await.unwrap();
    let clusters = format!(
        r#"[{{"name": "orders", "primary": {{"url": "file://{}"}}}}]"#,
        keep.path().display()
    );
    let config = Config {
        state: url,
        clusters: serde_json::from_str(&clusters).unwrap(),
        kubernetes: KubernetesConfig {
            kubeconfig: Some(keep.path().join("none.kubeconfig")),
            ..KubernetesConfig::default()
        },
        ..Config::default()
    };
    Place {
        state,
        config,
        _keep: keep,
    }
}

fn wanted(key: Option<&str>) -> Wanted {
    Wanted {
        cluster: "orders".to_owned(),
        copy: None,
        spec: RequestSpec::to(TargetText::Tip),
        lease: None,
        max_lease: None,
        by: "jane".to_owned(),
        key: key.map(str::to_owned),
    }
}

impl Place {
    async fn ask(&self, queue: bool) -> Request {
        let asked = ask(&self.state, &self.config, wanted(None), queue).await;
        asked.unwrap().request
    }

    async fn now(&self, id: Uuid) -> Request {
        self.state.request(id).await.unwrap().unwrap()
    }

    async fn told(&self) -> Vec<String> {
        let entries = self.state.entries(0, 100).await.unwrap();
        entries
            .iter()
            .filter_map(|entry| {
                let content = entry.content().unwrap();
                Some(content.body.get("event")?.as_str()?.to_owned())
            })
            .collect()
    }
}

#[tokio::test]
async fn the_same_wish_is_kept_once() {
    let place = place().await;
    let ask = async || {
        let asked = ask(&place.state, &place.config, wanted(Some("u-1")), true).await;
        asked.unwrap()
    };
    let (first, second) = (ask().await, ask().await);
    assert!(first.new && !second.new);
    assert_eq!(first.request.id, second.request.id);
    assert_eq!(first.request.copy, "primary");
    assert_eq!(place.told().await, ["asked"]);
}

#[tokio::test]
async fn what_waits_is_cancelled_and_nothing_is_left() {
    let place = place().await;
    let request = place.ask(true).await;
    let ending = end(&place.state, &place.config, &request, "not needed", "joe").await;
    let Ok(Ending::Gone(gone)) = ending else {
        panic!("{ending:?}");
    };
    assert_eq!(gone.status, RequestStatus::Ended);
    assert_eq!(gone.end_reason.as_deref(), Some("not needed"));
    let job = place.state.job(request.job_id.unwrap()).await.unwrap();
    assert_eq!(job.unwrap().status, JobStatus::Cancelled);
    assert_eq!(place.told().await, ["asked", "ended"]);
    // Asked again it is as it was.
    let again = end(&place.state, &place.config, &request, "again", "joe").await;
    assert!(matches!(again, Ok(Ending::Gone(_))), "{again:?}");
    assert_eq!(place.now(request.id).await, *gone);
}

#[tokio::test]
async fn what_nobody_works_at_is_concluded() {
    let place = place().await;
    let request = place.ask(false).await;
    let look = async |later: TimeDelta| {
        tend(&place.state, &place.config, Utc::now() + later, "daemon")
            .await
            .unwrap()
    };
    // Whoever asked is about to begin.
    assert_eq!(look(TimeDelta::zero()).await, []);
    assert_eq!(place.now(request.id).await.status, RequestStatus::Queued);
    let tended = look(TimeDelta::minutes(3)).await;
    assert_eq!(tended.len(), 1);
    let concluded = place.now(request.id).await;
    assert_eq!(concluded.status, RequestStatus::Unproven);
    assert!(
        concluded.message.contains("killed"),
        "{}",
        concluded.message
    );
    assert!(concluded.gone_at.is_some());
    assert_eq!(place.told().await, ["asked", "unproven"]);
    assert_eq!(look(TimeDelta::minutes(3)).await, []);
}

#[tokio::test]
async fn what_cannot_be_removed_stays_open_and_says_why() {
    let place = place().await;
    let request = place.ask(false).await;
    let ready = RequestChange {
        status: Some(RequestStatus::Ready),
        run_id: Some(Uuid::now_v7()),
        namespace: Some("walproof-request-orders-1".to_owned()),
        ready_at: Some(Utc::now() - TimeDelta::hours(5)),
        ..RequestChange::default()
    };
    let from = [RequestStatus::Queued];
    let changed = place.state.change_request(request.id, &from, &ready, None);
    changed.await.unwrap().unwrap();
    for _ in 0..2 {
        let tended = tend(&place.state, &place.config, Utc::now(), "daemon").await;
        assert!(tended.unwrap()[0].outcome.is_err());
        let stays = place.now(request.id).await;
        assert_eq!(stays.status, RequestStatus::Ending);
        assert_eq!(stays.gone_at, None);
        let (why, left) = stays.message.split_once("; not removed yet: ").unwrap();
        assert_eq!(why, "its lease is over");
        assert!(left.contains("kubeconfig"), "{left}");
        assert!(!left.contains("not removed yet"), "{left}");
    }
    let open = RequestFilter {
        open: true,
        ..RequestFilter::default()
    };
    assert_eq!(place.state.requests(&open).await.unwrap().len(), 1);
    assert_eq!(place.told().await, ["asked"]);
}

#[tokio::test]
async fn what_is_ready_is_ended_when_its_namespace_is_gone_and_only_then() {
    let place = place().await;
    let request = place.ask(false).await;
    // Nothing is ready: Kubernetes, which cannot be reached here, is not asked.
    let look = async || tend_removed(&place.state, &place.config, "daemon").await;
    assert_eq!(look().await.unwrap(), []);
    let ready = RequestChange {
        status: Some(RequestStatus::Ready),
        run_id: Some(Uuid::now_v7()),
        namespace: Some("walproof-request-orders-1".to_owned()),
        ready_at: Some(Utc::now()),
        ..RequestChange::default()
    };
    let from = [RequestStatus::Queued];
    let changed = place.state.change_request(request.id, &from, &ready, None);
    let ready = [changed.await.unwrap().unwrap()];
    // What cannot be seen is not gone.
    assert!(look().await.is_err());
    assert_eq!(place.now(request.id).await.status, RequestStatus::Ready);

    let without = |there: &[&str]| -> Vec<Uuid> {
        let there = there.iter().map(|name| (*name).to_owned()).collect();
        let found = tend::without_namespace(&ready, &there);
        found.map(|request| request.id).collect()
    };
    let others = ["walproof-request-orders-2"];
    assert_eq!(without(&others), [request.id]);
    assert_eq!(without(&["walproof-request-orders-1"]), Vec::<Uuid>::new());
}

#[tokio::test]
async fn a_placed_secret_is_known_before_the_request_is_ready() {
    let place = place().await;
    let request = place.ask(true).await;
    let change = |status| RequestChange {
        status,
        ..RequestChange::default()
    };
    let traces = serde_json::json!({"namespace": "shop", "name": "recovered", "uid": "uid-1"});
    let noted = RequestChange {
        traces: Some(traces.clone()),
        ..change(None)
    };
    let (queued, restoring) = ([RequestStatus::Queued], [RequestStatus::Restoring]);
    let begun = change(Some(RequestStatus::Restoring));
    let changed = place
        .state
        .change_request(request.id, &queued, &begun, None);
    changed.await.unwrap().unwrap();
    let changed = place
        .state
        .change_request(request.id, &restoring, &noted, None);
    changed.await.unwrap().unwrap();
    // It stays known to whoever comes after a kill, and to the next attempt.
    let again = change(Some(RequestStatus::Queued));
    let changed = place
        .state
        .change_request(request.id, &restoring, &again, None);
    assert_eq!(changed.await.unwrap().unwrap().traces, Some(traces));
}

#[tokio::test]
async fn a_lease_is_made_longer_within_its_bounds_and_only_while_there_is_one() {
    let place = place().await;
    let request = place.ask(true).await;
    let extend = async |lease: &str| {
        let request = place.now(request.id).await;
        let lease = lease.parse().unwrap();
        extend(&place.state, &place.config, &request, lease, "joe").await
    };
    assert_eq!(extend("20h").await.unwrap().lease_seconds, 20 * 3600);
    let refused = extend("25h").await.unwrap_err();
    assert_eq!(refused.class, FailureClass::Configuration);
    assert!(refused.message.contains("1d"), "{}", refused.message);
    let ending = end(&place.state, &place.config, &request, "over", "joe").await;
    assert!(matches!(ending, Ok(Ending::Gone(_))));
    assert!(extend("1h").await.is_err());
    assert_eq!(place.told().await, ["asked", "extended", "ended"]);
}

#[tokio::test]
async fn a_request_that_can_never_be_is_refused_for_good() {
    let place = place().await;
    let request = place.ask(true).await;
    // The cluster went from the configuration meanwhile.
    let config = Config {
        clusters: Vec::new(),
        ..place.config.clone()
    };
    let (_canceller, cancellation) = Cancellation::new();
    let restored = Box::pin(restore(
        &place.state,
        &config,
        &request,
        Origin::by_hand(),
        Arc::new(Unobserved),
        cancellation,
    ))
    .await;
    assert_eq!(restored.unwrap_err().class, FailureClass::Configuration);
    let refused = place.now(request.id).await;
    assert_eq!(refused.status, RequestStatus::Refused);
    assert!(refused.message.contains("orders"), "{}", refused.message);
    assert!(refused.gone_at.is_some());
    let unknown = Wanted {
        cluster: "nobody".to_owned(),
        ..wanted(None)
    };
    assert!(ask(&place.state, &config, unknown, true).await.is_err());
}
