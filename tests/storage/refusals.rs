//! Each refusal is told apart from the others, without secrets.

use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt as _;
use walproof::storage::{ErrorKind, Location, StorageError, StorageOptions, Store, WriteProbe};

use crate::common::require;
use crate::common::s3::{ADMIN, Credentials, S3Server, STRANGER};
use crate::kit::options;
use crate::uploads::begin;

/// Who may not ask may still be allowed to write: an upload can fail only later.
async fn failed_upload(store: &Store) -> StorageError {
    match begin(store, "y").await {
        Err(error) => error,
        Ok(mut upload) => {
            upload.write(Bytes::from_static(b"y")).await.unwrap();
            upload.finish().await.unwrap_err()
        }
    }
}

/// Asks in every way, and gives each error after checking what all have in common.
pub(crate) async fn failures(
    location: &Location,
    options: &StorageOptions,
    limit: Duration,
) -> Vec<StorageError> {
    let secrets: Vec<String> = options
        .environment
        .iter()
        .filter(|(name, _)| name.contains("KEY") || name.contains("TOKEN"))
        .map(|(_, value)| value.clone())
        .collect();
    let store = match Store::open(location, options) {
        Ok(store) => store,
        Err(error) => return vec![error],
    };
    let ask = async {
        vec![
            store.head("x").await.unwrap_err(),
            store.read("x").await.err().unwrap(),
            store.list("").try_collect::<Vec<_>>().await.unwrap_err(),
            store.list_folders("").await.unwrap_err(),
            store
                .put_new("x", Bytes::from_static(b"x"))
                .await
                .unwrap_err(),
            failed_upload(&store).await,
            store.read_range("x", 0..5).await.unwrap_err(),
        ]
    };
    let errors = tokio::time::timeout(limit, ask).await;
    let errors = errors.unwrap_or_else(|_| panic!("not all have failed after {limit:?}"));
    for error in &errors {
        let text = format!("{error} {error:?} {store:?} {options:?}");
        assert!(!text.contains('\n') && error.cause.len() < 300, "{text}");
        assert!(!text.contains("<?xml"), "{text}");
        for secret in &secrets {
            assert!(!text.contains(secret), "{text}");
        }
    }
    errors
}

pub(crate) fn all_are(errors: &[StorageError], kind: ErrorKind, words: &str) {
    for error in errors {
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.cause.contains(words), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_told_apart() {
    require!(S3);
    let server = S3Server::start();
    let as_whom = |key, secret| options(server.environment_for(Credentials { key, secret }));
    let here = "s3://backups/p".parse().unwrap();
    let soon = Duration::from_secs(5);

    let errors = failures(&here, &as_whom("nobody", ADMIN.secret), soon).await;
    all_are(&errors, ErrorKind::Credentials, "");
    let errors = failures(&here, &as_whom(ADMIN.key, "wrong-secret"), soon).await;
    all_are(&errors, ErrorKind::Credentials, "");
    let elsewhere = "s3://no-such-bucket/p".parse().unwrap();
    let errors = failures(&elsewhere, &options(server.environment()), soon).await;
    all_are(&errors, ErrorKind::MissingBucket, "");

    let options = options(server.environment_for(STRANGER));
    let errors = failures(&here, &options, soon).await;
    all_are(&errors, ErrorKind::Denied, "");
    let store = Store::open(&here, &options).unwrap();
    assert_eq!(store.write_probe().await.unwrap(), WriteProbe::Refused);
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_checked() {
    require!(S3);
    let server = S3Server::start_tls();
    let known = StorageOptions {
        endpoint: Some(server.endpoint()),
        ca_file: Some(server.authority()),
        ..options(server.environment())
    };
    let here = "s3://backups/p".parse().unwrap();
    let soon = Duration::from_secs(5);
    let store = Store::open(&here, &known).unwrap();
    store.put_new("x", Bytes::from_static(b"x")).await.unwrap();

    let mut stranger = known.clone();
    stranger.ca_file = None;
    let errors = failures(&here, &stranger, soon).await;
    all_are(&errors, ErrorKind::Network, "TLS");

    let mut other_name = known.clone();
    other_name.endpoint = Some(server.endpoint().replace("127.0.0.1", "localhost"));
    let errors = failures(&here, &other_name, soon).await;
    all_are(&errors, ErrorKind::Network, "TLS");

    let mut plain = known.clone();
    plain.endpoint = Some(server.endpoint().replace("https", "http"));
    plain.retry_time = Duration::ZERO;
    let errors = failures(&here, &plain, soon).await;
    for error in &errors {
        assert!(
            matches!(error.kind, ErrorKind::Settings | ErrorKind::Network),
            "{error}"
        );
    }

    let untrusting = S3Server::start();
    let mut secure = options(untrusting.environment());
    secure.endpoint = Some(untrusting.endpoint().replace("http", "https"));
    let errors = failures(&here, &secure, soon).await;
    all_are(&errors, ErrorKind::Network, "speaks no TLS");

    for content in ["", "no certificate"] {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        let mut bad = known.clone();
        bad.ca_file = Some(file.path().to_owned());
        let error = Store::open(&here, &bad).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Settings);
        assert!(error.cause.contains("PEM"), "{error}");
    }
}
