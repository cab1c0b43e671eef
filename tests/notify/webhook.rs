//! Webhooks, and what speaks like Slack: signed, templated, put off, given up, never leaking.

use std::process::Command;

use chrono::TimeDelta;
use walproof::finding::Severity;
use walproof::notify::{Dispatched, Dispatcher};

use crate::common::process;
use crate::common::receiver::Receiver;
use crate::{Place, common, key, moment, wrong};

const SECRET: &str = "whsec-3f1b";
const TOKEN: &str = "Bearer tok-77aa11";

fn place(receiver: &Receiver, more: &str) -> Place {
    let place = Place::new(&format!(
        "  receivers:\n    pager: {{webhook: {{url: {{file: url}}, secret: {{file: key}}, headers: {{Authorization: {{file: token}}}}{more}}}}}\n  people: {{on-call: [pager], head: [pager], team: [], support: []}}\n"
    ));
    place.secret("url", &format!("{}/hook/T0-hush-hush", receiver.url()));
    place.secret("key", SECRET);
    place.secret("token", TOKEN);
    place
}

/// `openssl` makes the same signature over the same bytes.
fn verify(signature: &str, body: &[u8]) {
    let (time, value) = signature.split_once(",v1=").unwrap();
    let seconds: i64 = time.strip_prefix("t=").unwrap().parse().unwrap();
    assert!((chrono::Utc::now().timestamp() - seconds).abs() < 600);
    let directory = tempfile::tempdir().unwrap();
    let mut signed = format!("{seconds}.").into_bytes();
    signed.extend(body);
    std::fs::write(directory.path().join("signed"), signed).unwrap();
    let printed = process::run(
        Command::new("openssl")
            .args(["dgst", "-sha256", "-hmac", SECRET, "signed"])
            .current_dir(directory.path()),
    );
    assert_eq!(printed.rsplit_once("= ").unwrap().1, value);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_gets_the_notice_signed_and_hears_of_the_end() {
    let receiver = Receiver::start();
    let place = place(&receiver, "");
    let state = place.state().await;
    let dispatcher = Dispatcher::of(&place.config());
    let begin = moment();
    let message =
        format!("cannot read with {SECRET} at postgres://me:word@db and https://hooks/?sig=abcdef");
    let new = wrong("orders", Severity::Critical, &message);
    state.open_incident(&new, begin).await.unwrap();
    let done = dispatcher.dispatch_once(&state, begin).await.unwrap();
    assert_eq!((done.planned, done.sent), (1, 1));
    assert_eq!(
        dispatcher.dispatch_once(&state, begin).await.unwrap(),
        Dispatched::default()
    );
    let end = begin + TimeDelta::minutes(90);
    state
        .close_incident(&key("orders"), None, end)
        .await
        .unwrap();
    dispatcher.dispatch_once(&state, end).await.unwrap();

    let received = receiver.received();
    assert_eq!(received.len(), 2);
    for request in &received {
        assert_eq!(request.head.first, "POST /hook/T0-hush-hush HTTP/1.1");
        assert_eq!(request.header("content-type"), "application/json");
        assert_eq!(request.header("authorization"), TOKEN);
        verify(&request.header("walproof-signature"), &request.body);
        let text = String::from_utf8_lossy(&request.body);
        for secret in [SECRET, "tok-77aa11", "T0-hush", "me:word", "abcdef"] {
            assert!(!text.contains(secret), "{secret}: {text}");
        }
    }
    let (firing, resolved) = (received[0].json(), received[1].json());
    assert_eq!(firing["schema"], "walproof.notice/v1");
    assert_eq!(firing["test"], false);
    assert_eq!(firing["event"], "firing");
    assert_eq!(firing["tier"], "gold");
    assert_eq!(firing["code"], "wal-gap");
    assert!(
        firing["runbook_url"]
            .as_str()
            .unwrap()
            .ends_with("/wal-gap.md")
    );
    assert_eq!(resolved["status"], "resolved");
    assert_eq!(resolved["resolved_at"], "2026-11-21T04:10:00Z");
    assert_eq!(firing["dedup_key"], resolved["dedup_key"]);
    assert_ne!(
        received[0].header("idempotency-key"),
        received[1].header("idempotency-key")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_pass_is_tried_again_with_the_same_key_and_what_may_not_is_given_up() {
    let receiver = Receiver::start();
    let place = place(
        &receiver,
        ", template: '{\"text\": \"{{severity}}: {{summary}}\", \"n\": 1}'",
    );
    let state = place.state().await;
    let dispatcher = Dispatcher::of(&place.config());
    let begin = moment();
    let new = wrong("orders", Severity::Critical, "a \"gap\"");
    state.open_incident(&new, begin).await.unwrap();
    receiver.answer(503, "", "later");
    receiver.answer(429, "Retry-After: 600\r\n", "too many");
    let turn = async |now| dispatcher.dispatch_once(&state, now).await.unwrap();
    assert_eq!(turn(begin).await.put_off, 1);
    assert_eq!(turn(begin + TimeDelta::seconds(4)).await.put_off, 0);
    let second = begin + TimeDelta::seconds(10);
    assert_eq!(turn(second).await.put_off, 1);
    // It asked to be left alone.
    assert_eq!(
        turn(second + TimeDelta::seconds(599)).await,
        Dispatched::default()
    );
    assert_eq!(turn(second + TimeDelta::seconds(600)).await.sent, 1);
    let received = receiver.received();
    assert_eq!(received.len(), 3);
    let keys: Vec<String> = received
        .iter()
        .map(|it| it.header("idempotency-key"))
        .collect();
    assert!(
        keys[0].len() == 36 && keys.iter().all(|key| *key == keys[0]),
        "{keys:?}"
    );
    assert_eq!(
        received[2].json(),
        serde_json::json!({"text": "critical: a \"gap\"", "n": 1})
    );

    // 404 is for good; a redirect is not followed.
    for (status, headers) in [(404, ""), (307, "Location: /elsewhere\r\n")] {
        let now = begin + TimeDelta::hours(if status == 404 { 13 } else { 26 });
        receiver.answer(status, headers, "no");
        let before = receiver.received().len();
        assert_eq!(turn(now).await.given_up, 1, "{status}");
        assert_eq!(receiver.received().len(), before + 1);
    }
    // A receiver that is away is tried for a day, and then no more.
    let away = Place::new(
        "  receivers: {pager: {webhook: {url: {file: url}}}}\n  people: {on-call: [pager], head: [], team: [], support: []}\n",
    );
    away.secret("url", "http://127.0.0.1:9/");
    let (state, dispatcher) = (away.state().await, Dispatcher::of(&away.config()));
    state.open_incident(&new, begin).await.unwrap();
    let (mut put_off, mut given_up) = (0, 0);
    for minute in 0..(26 * 60) {
        let now = begin + TimeDelta::minutes(minute);
        let done = dispatcher.dispatch_once(&state, now).await.unwrap();
        put_off += done.put_off;
        given_up += done.given_up;
    }
    // The first is told again after twelve hours only when it is no longer on its way.
    assert_eq!(given_up, 1);
    assert!((80..130).contains(&put_off), "{put_off}");
}

#[tokio::test(flavor = "multi_thread")]
async fn slack_is_told_with_colour_and_link() {
    let receiver = Receiver::start();
    let place = Place::new(
        "  receivers: {chat: {slack: {url: {file: url}}}}\n  people: {on-call: [], head: [], team: [chat], support: []}\n",
    );
    place.secret("url", &format!("{}/services/T/B/x", receiver.url()));
    let state = place.state().await;
    let dispatcher = Dispatcher::of(&place.config());
    // The consulted hear of warnings, too.
    let new = wrong("orders", Severity::Warning, "<!channel> lag");
    state.open_incident(&new, moment()).await.unwrap();
    assert_eq!(
        dispatcher
            .dispatch_once(&state, moment())
            .await
            .unwrap()
            .sent,
        1
    );
    let message = receiver.received()[0].json();
    assert_eq!(message["text"], "[warning] orders/primary: wal-gap");
    let attachment = &message["attachments"][0];
    assert!(
        attachment["text"]
            .as_str()
            .unwrap()
            .starts_with("&lt;!channel&gt; lag")
    );
    assert_eq!(attachment["color"], "#ecb22e");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_right_certificate_is_spoken_to() {
    let certificates = tempfile::tempdir().unwrap();
    common::tls::certificates(certificates.path());
    let receiver = Receiver::with_tls(certificates.path());
    let ca = certificates.path().join("ca.pem");
    for (ca_file, sent) in [
        (format!(", ca_file: {}", ca.display()), 1),
        (String::new(), 0),
    ] {
        let place = place(&receiver, &ca_file);
        let state = place.state().await;
        let new = wrong("orders", Severity::Critical, "x");
        state.open_incident(&new, moment()).await.unwrap();
        let done = Dispatcher::of(&place.config())
            .dispatch_once(&state, moment())
            .await
            .unwrap();
        assert_eq!((done.sent, done.put_off), (sent, 1 - sent), "{ca_file}");
    }
    assert_eq!(
        receiver.received().len(),
        1,
        "nothing is said to a stranger"
    );
}
