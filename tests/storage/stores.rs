//! The promises, store by store.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use walproof::storage::{StorageOptions, Store};

use crate::common::azure::Azurite;
use crate::common::gcs::GcsServer;
use crate::common::minio::Minio;
use crate::common::require;
use crate::common::s3::S3Server;
use crate::conformance::conformance;
use crate::kit::{file_store, fixed_answer, keys, open, options, walk};

#[tokio::test(flavor = "multi_thread")]
async fn local_files_keep_the_promises() {
    let directory = tempfile::tempdir().unwrap();
    let store = file_store(directory.path());
    conformance(store.clone()).await;
    listings_page(store).await;
    let leftovers = walk(directory.path())
        .into_iter()
        .filter(|path| path.contains(".walproof-"));
    assert_eq!(leftovers.collect::<Vec<_>>(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn versitygw_keeps_the_promises() {
    require!(S3);
    let server = S3Server::start();
    let store = open("s3://backups/some/prefix", &options(server.environment()));
    conformance(store.clone()).await;
    listings_page(store).await;
    // Unfinished parts are gone, too.
    let staged = server.object(".sgwtmp/multipart");
    let staged = if staged.exists() {
        walk(&staged)
    } else {
        Vec::new()
    };
    let files = staged
        .iter()
        .filter(|path| std::path::Path::new(path).is_file());
    assert_eq!(files.count(), 0, "{staged:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn versitygw_keeps_the_promises_with_versions_and_locks() {
    require!(S3);
    let server = S3Server::start_versioned();
    server.create_locked_bucket("locked");
    let store = open("s3://locked/some/prefix", &options(server.environment()));
    conformance(store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn minio_keeps_the_promises() {
    require!(Minio);
    let server = Minio::start();
    let store = open("s3://backups/some/prefix", &options(server.environment()));
    conformance(store.clone()).await;
    listings_page(store).await;
    let api = server.api();
    let unfinished = api.request("GET", "/backups", &[("uploads", "")], &[], b"");
    let unfinished = unfinished.expect_success().elements("Key");
    assert_eq!(unfinished, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn minio_keeps_the_promises_with_versions_and_locks() {
    require!(Minio);
    let server = Minio::start();
    server.api().create_bucket("locked", true);
    let store = open("s3://locked/some/prefix", &options(server.environment()));
    conformance(store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fake_gcs_server_keeps_the_promises() {
    require!(Gcs);
    let server = GcsServer::start();
    let store = open("gs://backups/some/prefix", &options(server.environment()));
    conformance(store.clone()).await;
    listings_page(store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn azurite_keeps_the_promises() {
    require!(Azurite);
    let server = Azurite::start();
    let store = open("az://backups/some/prefix", &options(server.environment()));
    conformance(store.clone()).await;
    listings_page(store).await;
}

/// More keys than one answer to a listing holds.
async fn listings_page(store: Store) {
    let store = store.at("paged");
    let expected: Vec<String> = (0..2500)
        .map(|at| format!("wals/{:04x}/{at:024X}", at / 256))
        .collect();
    futures::stream::iter(&expected)
        .map(|key| store.put_new(key, Bytes::from_static(b"x")))
        .buffer_unordered(16)
        .try_for_each(|_| async { Ok(()) })
        .await
        .unwrap();
    assert!(keys(&store, "").await == expected);
    let rest: Vec<_> = store
        .list_after("wals", &expected[1200])
        .try_collect()
        .await
        .unwrap();
    assert_eq!(rest.len(), 1299);
    assert_eq!(rest[0].key, expected[1201]);
    // A listing that nobody reads to its end ends itself.
    assert_eq!(store.list("").take(3).count().await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emulator_is_written_to_without_asking_google_for_a_token() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 18\r\nConnection: close\r\n\r\n\
                  {\"generation\":\"1\"}";
    let host = fixed_answer(Some(answer)).replace("http://", "");
    let options = StorageOptions {
        environment: vec![("STORAGE_EMULATOR_HOST".to_owned(), host)],
        ..StorageOptions::default()
    };
    let store = Store::open(&"gs://backups/p".parse().unwrap(), &options).unwrap();
    let put = store.put_replace("x", Bytes::from_static(b"x"));
    tokio::time::timeout(Duration::from_secs(5), put)
        .await
        .unwrap()
        .unwrap();
}
