//! Kills and company: nothing is lost, nothing is told by two.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::watch;
use uuid::Uuid;
use walproof::config::{self, StateUrl};
use walproof::finding::Severity;
use walproof::notify::Dispatcher;
use walproof::state::State;

use crate::common::process::wait_until;
use crate::common::receiver::Receiver;
use crate::{Place, key, moment, wrong};

const CONFIG: &str = "NOTIFY_TEST_CONFIG";
const NOW: &str = "NOTIFY_TEST_NOW";

/// Not a test of its own: what [`child`] runs, to be killed.
#[tokio::test(flavor = "multi_thread")]
async fn in_a_process_of_its_own() {
    let Some(file) = std::env::var_os(CONFIG).map(PathBuf::from) else {
        return;
    };
    let now: DateTime<Utc> = std::env::var(NOW).unwrap().parse().unwrap();
    let config = config::load(&file).unwrap();
    let url = StateUrl::sqlite(file.with_file_name("state.sqlite"));
    let state = State::open(&url).await.unwrap();
    Dispatcher::of(&config)
        .dispatch_once(&state, now)
        .await
        .unwrap();
    state.close().await;
}

fn child(place: &Place, now: DateTime<Utc>) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "dispatch::in_a_process_of_its_own",
            "--nocapture",
        ])
        .env(CONFIG, place.file())
        .env(NOW, now.to_rfc3339())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

fn place(receiver: &Receiver) -> Place {
    let place = Place::new(
        "  receivers: {pager: {webhook: {url: {file: url}}}}\n  people: {on-call: [pager], head: [], team: [], support: []}\n  otherwise: [pager]\n",
    );
    place.secret("url", &receiver.url());
    place
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_between_the_sending_and_the_note_it_is_sent_once_more_with_the_same_key() {
    let receiver = Receiver::start();
    let place = place(&receiver);
    let state = place.state().await;
    let begin = moment();
    let new = wrong("orders", Severity::Critical, "x");
    state.open_incident(&new, begin).await.unwrap();
    receiver.be_silent(true);
    let mut child = child(&place, begin);
    receiver.wait_for(1);
    // It has sent, and does not know yet.
    child.kill().unwrap();
    child.wait().unwrap();
    receiver.be_silent(false);
    let dispatcher = Dispatcher::of(&place.config());
    // As long as the other could still be at work, nobody takes it from it.
    let early = begin + TimeDelta::seconds(30);
    assert_eq!(
        dispatcher.dispatch_once(&state, early).await.unwrap().sent,
        0
    );
    let later = begin + TimeDelta::seconds(91);
    assert_eq!(
        dispatcher.dispatch_once(&state, later).await.unwrap().sent,
        1
    );
    assert_eq!(
        dispatcher.dispatch_once(&state, later).await.unwrap().sent,
        0
    );
    let received = receiver.received();
    assert_eq!(received.len(), 2);
    assert_eq!(
        received[0].header("idempotency-key"),
        received[1].header("idempotency-key")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_before_the_sending_nothing_is_lost() {
    let receiver = Receiver::start();
    let place = place(&receiver);
    let state = place.state().await;
    let begin = moment();
    for number in 0..30 {
        let new = wrong(&format!("c{number}"), Severity::Critical, "x");
        state.open_incident(&new, begin).await.unwrap();
    }
    // Killed somewhere, several times; each claim is free again ninety seconds later.
    for round in 0..4 {
        let mut child = child(&place, begin + TimeDelta::minutes(2 * round));
        let seen = receiver.received().len();
        wait_until(Duration::from_mins(1), "some notices", || {
            receiver.received().len() >= seen + 3 || child.try_wait().unwrap().is_some()
        });
        let _ = child.kill();
        child.wait().unwrap();
    }
    let end = begin + TimeDelta::minutes(10);
    let dispatcher = Dispatcher::of(&place.config());
    dispatcher.dispatch_once(&state, end).await.unwrap();
    let received = receiver.received();
    let keys: BTreeSet<String> = received
        .iter()
        .map(|it| it.header("idempotency-key"))
        .collect();
    let clusters: BTreeSet<String> = received
        .iter()
        .map(|it| it.json()["cluster"].to_string())
        .collect();
    assert_eq!(
        (keys.len(), clusters.len()),
        (30, 30),
        "one key per notice, none lost"
    );
    // At most what was under way when it was killed came twice.
    assert!(received.len() <= 30 + 4 * 8, "{}", received.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_on_one_state_send_each_notice_once() {
    let receiver = Receiver::start();
    let place = place(&receiver);
    let (one, two) = (place.state().await, place.state().await);
    let begin = moment();
    for number in 0..60 {
        let new = wrong(&format!("c{number}"), Severity::Critical, "x");
        one.open_incident(&new, begin).await.unwrap();
    }
    let (first, second) = (
        Dispatcher::of(&place.config()),
        Dispatcher::of(&place.config()),
    );
    let (left, right) = tokio::join!(
        first.dispatch_once(&one, begin),
        second.dispatch_once(&two, begin)
    );
    let (left, right) = (left.unwrap(), right.unwrap());
    assert_eq!(left.sent + right.sent, 60);
    assert_eq!(left.planned + right.planned, 60);
    assert_eq!(receiver.received().len(), 60);
    for number in 0..60 {
        one.close_incident(&key(&format!("c{number}")), None, begin)
            .await
            .unwrap();
    }
    let (left, right) = tokio::join!(
        first.dispatch_once(&one, begin),
        second.dispatch_once(&two, begin)
    );
    assert_eq!(left.unwrap().sent + right.unwrap().sent, 60);
}

/// Serves each request by what `answer` does, and gives the URL. `answer` is told how many
/// came before.
async fn served<F>(answer: impl Fn(usize) -> F + Clone + Send + Sync + 'static) -> String
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let came = Arc::new(AtomicUsize::new(0));
    let app = axum::Router::new().fallback(move || {
        let (answer, before) = (answer.clone(), came.fetch_add(1, Ordering::SeqCst));
        async move {
            answer(before).await;
            "ok"
        }
    });
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    url
}

/// A place whose receiver is that of [`served`], with twenty incidents.
async fn twenty(url: &str, file: &Path, state: &State) -> Dispatcher {
    std::fs::write(file.with_file_name("url"), format!("{url}\n")).unwrap();
    for number in 0..20 {
        let new = wrong(&format!("c{number}"), Severity::Critical, "x");
        state.open_incident(&new, moment()).await.unwrap();
    }
    Dispatcher::of(&config::load(file).unwrap())
}

/// What is on its way is nobody else's, however long those before it took.
#[tokio::test(flavor = "multi_thread")]
async fn slow_receivers_make_no_claim_run_out_early() {
    let receiver = Receiver::start();
    let place = place(&receiver);
    let state = place.state().await;
    let clock = Arc::new(AtomicI64::new(moment().timestamp()));
    let elsewhere = Arc::new(Mutex::new(None));
    let (time, other, found) = (Arc::clone(&clock), state.clone(), Arc::clone(&elsewhere));
    let url = served(move |before| {
        let (time, other, found) = (Arc::clone(&time), other.clone(), Arc::clone(&found));
        async move {
            match before {
                // The first eight took long.
                7 => {
                    time.fetch_add(300, Ordering::SeqCst);
                }
                // While the next eight are on their way, somebody else looks.
                8 => {
                    let now = DateTime::from_timestamp(time.load(Ordering::SeqCst), 0).unwrap();
                    let lease = Duration::from_mins(1);
                    let claimed = other.claim_deliveries(Uuid::now_v7(), now, lease, 100);
                    let claimed = claimed.await.unwrap().len();
                    *found.lock().unwrap() = Some(claimed);
                }
                _ => {}
            }
        }
    })
    .await;
    let dispatcher = twenty(&url, &place.file(), &state).await;
    let now = move || DateTime::from_timestamp(clock.load(Ordering::SeqCst), 0).unwrap();
    let never = watch::Sender::new(false);
    let done = dispatcher
        .dispatch(&state, &now, &never.subscribe())
        .await
        .unwrap();
    assert_eq!(*elsewhere.lock().unwrap(), Some(4), "those that nobody had");
    assert_eq!(done.sent, 16);
}

#[tokio::test(flavor = "multi_thread")]
async fn asked_to_stop_it_ends_with_what_is_on_its_way() {
    let receiver = Receiver::start();
    let place = place(&receiver);
    let state = place.state().await;
    let stop = Arc::new(watch::Sender::new(false));
    let theirs = Arc::clone(&stop);
    let url = served(move |before| {
        if before == 0 {
            theirs.send_replace(true);
        }
        async {}
    })
    .await;
    let dispatcher = twenty(&url, &place.file(), &state).await;
    let asked = stop.subscribe();
    let done = dispatcher.dispatch(&state, &moment, &asked).await.unwrap();
    assert_eq!((done.planned, done.sent), (20, 8));
    // What is left is sent by the next, at once.
    stop.send_replace(false);
    let done = dispatcher.dispatch(&state, &moment, &asked).await.unwrap();
    assert_eq!((done.planned, done.sent), (0, 12));
}
