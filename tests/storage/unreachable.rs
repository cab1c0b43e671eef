//! A server that is not there, does not answer or has no time, and an identity that nobody
//! hands out.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use walproof::storage::{ErrorKind, StorageOptions, Store};

use crate::kit::fixed_answer;
use crate::refusals::{all_are, failures};

/// A port that is free now.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_be_reached_is_given_up_soon() {
    let here = "s3://backups/p".parse().unwrap();
    let keys = vec![
        ("AWS_ACCESS_KEY_ID".to_owned(), "the-key".to_owned()),
        ("AWS_SECRET_ACCESS_KEY".to_owned(), "the-secret".to_owned()),
    ];
    let at = |endpoint: String, retry: u64| StorageOptions {
        endpoint: Some(endpoint),
        environment: keys.clone(),
        retry_time: Duration::from_secs(retry),
        read_timeout: Duration::from_secs(1),
        ..StorageOptions::default()
    };
    let closed = format!("http://127.0.0.1:{}", free_port());
    let errors = failures(&here, &at(closed.clone(), 0), Duration::from_secs(5)).await;
    all_are(&errors, ErrorKind::Network, "connection refused");
    all_are(&errors, ErrorKind::Network, &closed);

    // With the usual patience one question takes the time of a first contact, not more.
    let begin = Instant::now();
    let store = Store::open(&here, &at(closed, 60)).unwrap();
    assert_eq!(store.head("x").await.unwrap_err().kind, ErrorKind::Network);
    let took = begin.elapsed();
    assert!((3..15).contains(&took.as_secs()), "{took:?}");

    let nowhere = "https://no-such-host.invalid".to_owned();
    let errors = failures(&here, &at(nowhere, 0), Duration::from_secs(20)).await;
    all_are(&errors, ErrorKind::Network, "no-such-host.invalid");

    let silent = fixed_answer(None);
    let errors = failures(&here, &at(silent, 0), Duration::from_secs(20)).await;
    all_are(&errors, ErrorKind::Network, "no answer in time");

    let busy = "HTTP/1.1 503 Slow Down\r\nContent-Length: 58\r\nConnection: close\r\n\r\n\
                <Error><Code>SlowDown</Code><Message>Easy</Message></Error>";
    let busy = fixed_answer(Some(busy));
    let errors = failures(&here, &at(busy, 0), Duration::from_secs(20)).await;
    for error in &errors {
        assert_eq!(error.kind, ErrorKind::Throttled, "{error}");
    }

    let moved = "HTTP/1.1 301 Moved\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let errors = failures(
        &here,
        &at(fixed_answer(Some(moved)), 0),
        Duration::from_secs(20),
    )
    .await;
    all_are(&errors, ErrorKind::Settings, "another region");

    let mut nobody = at("http://127.0.0.1:1".to_owned(), 60);
    nobody.environment = vec![("AWS_PROFILE".to_owned(), "no-such-profile".to_owned())];
    let errors = failures(&here, &nobody, Duration::from_secs(1)).await;
    all_are(&errors, ErrorKind::Credentials, "no-such-profile");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_identity_it_does_not_wait_for_one() {
    // Nothing answers where the instance's metadata should be.
    let options = StorageOptions {
        environment: vec![
            ("AWS_METADATA_ENDPOINT".to_owned(), fixed_answer(None)),
            ("HOME".to_owned(), "/nonexistent".to_owned()),
        ],
        read_timeout: Duration::from_secs(2),
        ..StorageOptions::default()
    };
    let begin = Instant::now();
    let store = Store::open(&"s3://backups".parse().unwrap(), &options).unwrap();
    let error = store.read("x").await.err().unwrap();
    assert_eq!(error.kind, ErrorKind::Credentials, "{error}");
    assert!(error.cause.contains("AWS_ACCESS_KEY_ID"), "{error}");
    assert!(
        begin.elapsed() < Duration::from_secs(20),
        "{:?}",
        begin.elapsed()
    );
}
