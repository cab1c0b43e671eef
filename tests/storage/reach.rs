//! Whether a place answers, asked of real servers of every kind.

use walproof::storage::{Location, Reach, StorageOptions};

use crate::common::azure::Azurite;
use crate::common::gcs::GcsServer;
use crate::common::minio::Minio;
use crate::common::require;
use crate::common::s3::S3Server;
use crate::kit::options;

/// Names of what is kept when the secrets are lost: where it is, not how to get in.
const KEPT: [&str; 4] = [
    "AZURE_STORAGE_ACCOUNT",
    "AZURE_STORAGE_ENDPOINT",
    "AWS_ENDPOINT_URL",
    "STORAGE_EMULATOR_HOST",
];
const WHY: &str = "the key is not set";

struct Asked {
    reachable: Option<bool>,
    kind: String,
    text: String,
}

async fn ask(url: &str, options: &StorageOptions, without: Option<&str>) -> Asked {
    let location: Location = url.parse().unwrap();
    let reach = Reach::ask(&location, options, without).await;
    let (kind, text) = reach
        .error
        .map_or_else(Default::default, |error| (error.kind, error.text));
    for (name, secret) in &options.environment {
        let is_secret = name.ends_with("KEY");
        assert!(!is_secret || !text.contains(secret), "{text}");
    }
    Asked {
        reachable: reach.reachable,
        kind,
        text,
    }
}

/// A server that stands, then does not. `open`: it lets everybody in.
async fn up_and_down(
    scheme: &str,
    environment: Vec<(String, String)>,
    open: bool,
    down: impl FnOnce(),
) {
    let url = format!("{scheme}://backups/some/prefix");
    let whole = options(environment);
    let mut lost = whole.clone();
    lost.environment
        .retain(|(name, _)| KEPT.contains(&name.as_str()));

    let listed = ask(&url, &whole, None).await;
    assert_eq!((listed.reachable, &*listed.text), (Some(true), ""));
    let refused = ask(&url, &lost, Some(WHY)).await;
    assert_eq!(refused.reachable, Some(true), "{}", refused.text);
    assert_eq!(refused.kind, "credentials");
    assert!(refused.text.starts_with(WHY), "{}", refused.text);
    if !open {
        // Nor is anybody asked for an identity for long.
        let nobody = ask(&url, &lost, None).await;
        assert_eq!(nobody.reachable, Some(true), "{}", nobody.text);
    }
    let gone = ask(&format!("{scheme}://no-such-bucket/p"), &whole, None).await;
    if scheme == "gs" {
        // fake-gcs-server has no words for it but those of an error of its own.
        assert_eq!(gone.reachable, Some(true), "{}", gone.text);
    } else {
        assert_eq!(gone.reachable, Some(false), "{}", gone.text);
        assert_eq!(gone.kind, "missing-bucket");
    }

    down();
    for (options, why) in [(&whole, None), (&lost, Some(WHY))] {
        let silent = ask(&url, options, why).await;
        assert_eq!(silent.reachable, Some(false), "{}", silent.text);
        assert_eq!(silent.kind, "network");
        assert!(
            silent.text.contains("connection refused"),
            "{}",
            silent.text
        );
        assert_eq!(silent.text.contains(WHY), why.is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn versitygw_up_and_down() {
    require!(S3);
    let mut server = S3Server::start();
    up_and_down("s3", server.environment(), false, || server.interrupt()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn minio_up_and_down() {
    require!(Minio);
    let mut server = Minio::start();
    up_and_down("s3", server.environment(), false, || server.interrupt()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn google_up_and_down() {
    require!(Gcs);
    let mut server = GcsServer::start();
    up_and_down("gs", server.environment(), true, || server.interrupt()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn azure_up_and_down() {
    require!(Azurite);
    let mut server = Azurite::start();
    up_and_down("az", server.environment(), false, || server.interrupt()).await;
}
