//! The wire of the tests does to requests what it says, and the store bears what can be
//! borne.

use std::time::{Duration, Instant};

use bytes::Bytes;
use walproof::storage::{ErrorKind, PutOutcome};

use crate::common::azure::Azurite;
use crate::common::gcs::GcsServer;
use crate::common::minio::Minio;
use crate::common::require;
use crate::common::s3::{ADMIN, S3Server};
use crate::common::s3_api::S3Api;
use crate::common::wire::{Fault, Wire};
use crate::conformance::{ODD, conformance};
use crate::kit::{open, options, pattern};

/// Keeps the promises over a wire, and counts what passed.
async fn over(wire: &Wire, url: &str, environment: &[(String, String)]) {
    conformance(open(url, &options(wire.environment(environment)))).await;
    assert!(wire.count("GET", "some/prefix/base/1/data") > 0);
    let written = wire.count("PUT", "some/prefix/") + wire.count("POST", "some/prefix/");
    assert!(written > ODD.len(), "{written}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wire_to_minio_alone_changes_nothing() {
    require!(Minio);
    let server = Minio::start();
    let wire = Wire::to(&server.endpoint());
    over(&wire, "s3://backups/some/prefix", &server.environment()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wire_to_fake_gcs_server_alone_changes_nothing() {
    require!(Gcs);
    let server = GcsServer::start();
    let wire = Wire::to(&server.endpoint());
    over(&wire, "gs://backups/some/prefix", &server.environment()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wire_to_azurite_alone_changes_nothing() {
    require!(Azurite);
    let server = Azurite::start();
    let wire = Wire::to(&server.endpoint());
    over(&wire, "az://backups/some/prefix", &server.environment()).await;
}

/// A server, a wire to it, and who asks over the wire. The object `o` has a hundred
/// thousand bytes.
fn on_a_wire() -> (S3Server, Wire, S3Api) {
    let server = S3Server::start();
    let wire = Wire::to(&server.endpoint());
    let api = S3Api::new(wire.endpoint(), ADMIN);
    api.put(S3Server::BUCKET, "o", &pattern(100_000));
    wire.forget();
    (server, wire, api)
}

#[test]
fn answers_are_cut_shortened_and_damaged() {
    require!(S3);
    let (_server, wire, api) = on_a_wire();
    let body = pattern(100_000);
    let get = || api.try_request("GET", "/backups/o", &[], &[], b"");

    wire.add(Fault::truncate(70_000).once());
    assert!(get().is_err());
    wire.add(Fault::shorten(1).once());
    assert!(get().unwrap().body == body[..99_999]);
    wire.add(Fault::corrupt_answer(99_999).once());
    let damaged = get().unwrap().body;
    assert!(damaged[..99_999] == body[..99_999]);
    assert_eq!(damaged[99_999], body[99_999] ^ 0x10);
    assert!(get().unwrap().body == body);

    let passed = wire.passed();
    let received: Vec<u64> = passed.iter().map(|it| it.received).collect();
    assert_eq!(received, [70_000, 99_999, 100_000, 100_000]);
    assert!(passed.iter().all(|it| it.status == Some(200)));
}

#[test]
fn requests_are_damaged_cut_and_lost() {
    require!(S3);
    let (server, wire, api) = on_a_wire();
    let body = pattern(50_000);
    let put = |key: &str| {
        let path = format!("/backups/{key}");
        api.try_request("PUT", &path, &[], &[("expect", "100-continue")], &body)
    };
    // It knows better: the digest is signed.
    wire.add(Fault::corrupt_request(25_000).once());
    assert_eq!(put("damaged").unwrap().status, 400);
    wire.add(Fault::cut_request(25_000).once());
    assert!(put("cut").is_err());
    wire.add(Fault::reset().once());
    let reset = put("reset").unwrap_err();
    assert_eq!(reset.kind(), std::io::ErrorKind::ConnectionReset);
    for key in ["damaged", "cut", "reset"] {
        assert!(!server.object(key).exists(), "{key}");
    }
    // Done all the same.
    wire.add(Fault::lost_answer().once());
    assert!(put("lost").is_err());
    assert!(std::fs::read(server.object("lost")).unwrap() == body);
    put("whole").unwrap().expect_success();
    assert!(std::fs::read(server.object("whole")).unwrap() == body);
}

#[test]
fn faults_strike_whom_they_are_meant_for() {
    require!(S3);
    let (_server, wire, api) = on_a_wire();
    let ask = |method| api.request(method, "/backups/o", &[], &[], b"").status;
    let storm = wire.add(
        Fault::slow_down()
            .on("GET")
            .at("/o")
            .after(1)
            .every(2)
            .times(2),
    );
    let answers: Vec<u16> = (0..6).map(|_| ask("GET")).collect();
    assert_eq!(answers, [200, 503, 200, 503, 200, 200]);
    assert_eq!((ask("HEAD"), storm.hits()), (200, 2));

    // Credentials that end after two requests more.
    let ended = wire.add(Fault::denied().after(2));
    let answers: Vec<u16> = (0..4).map(|_| ask("GET")).collect();
    assert_eq!((answers, ended.hits()), (vec![200, 200, 403, 403], 2));
    assert_eq!(ask("HEAD"), 403);
    wire.heal();
    assert_eq!(ask("HEAD"), 200);

    let begin = Instant::now();
    wire.add(Fault::latency(Duration::from_millis(300)));
    ask("HEAD");
    wire.heal();
    wire.add(Fault::pace(200_000));
    ask("GET");
    assert!(begin.elapsed() > Duration::from_millis(750));
    assert!(begin.elapsed() < Duration::from_secs(20));

    wire.cut();
    assert!(
        api.try_request("HEAD", "/backups/o", &[], &[], b"")
            .is_err()
    );
    wire.heal();
    assert_eq!(ask("HEAD"), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_passes_is_borne_and_what_stays_is_told() {
    require!(S3);
    let (server, wire, _) = on_a_wire();
    let mut options = options(wire.environment(&server.environment()));
    let store = open("s3://backups", &options);
    let body = pattern(100_000);
    store.head("o").await.unwrap().unwrap();
    for fault in [
        Fault::slow_down().times(3),
        Fault::answer(500, "InternalError").times(2),
        Fault::reset().times(2),
        Fault::truncate(10).on("GET").times(2),
        Fault::latency(Duration::from_millis(50)),
    ] {
        let words = format!("{fault:?}");
        let armed = wire.add(fault);
        assert!(
            store.read_small("o", 1 << 20).await.unwrap() == body,
            "{words}"
        );
        assert!(armed.hits() > 0, "{words}");
        wire.heal();
    }
    // Nobody knows whether it was done: not twice, and not lost.
    let lost = wire.add(Fault::lost_answer().on("PUT").once());
    let put = store.put_new("new", Bytes::from_static(b"new")).await;
    assert!(
        matches!(put, Ok(PutOutcome::Created | PutOutcome::Exists)),
        "{put:?}"
    );
    assert_eq!(
        (store.read_small("new", 9).await.unwrap(), lost.hits()),
        (Bytes::from("new"), 1)
    );
    wire.heal();

    options.retry_time = Duration::from_secs(1);
    let store = open("s3://backups", &options);
    store.head("o").await.unwrap().unwrap();
    for (fault, kind) in [
        (Fault::slow_down(), ErrorKind::Throttled),
        (Fault::expired(), ErrorKind::Credentials),
        (Fault::denied(), ErrorKind::Denied),
        (Fault::reset(), ErrorKind::Network),
    ] {
        wire.add(fault);
        let error = store.read("o").await.err().unwrap();
        assert_eq!(error.kind, kind, "{error}");
        let error = store.put_replace("o", Bytes::new()).await.unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
        wire.heal();
    }
    assert!(store.read_small("o", 1 << 20).await.unwrap() == body);
}
