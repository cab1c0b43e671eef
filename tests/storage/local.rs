//! What is particular about local files.

use bytes::Bytes;
use futures::TryStreamExt as _;
use walproof::storage::{ErrorKind, Location, StorageOptions, Store};

use crate::kit::{file_store, keys};

#[tokio::test(flavor = "multi_thread")]
async fn local_listings_hide_nothing_and_follow_no_links() {
    let directory = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), "secret").unwrap();
    let inside = directory.path();
    std::fs::create_dir_all(inside.join("a/empty")).unwrap();
    std::fs::write(inside.join("a/segment#1"), "1").unwrap();
    std::fs::write(inside.join("a/.walproof-staging-mine"), "2").unwrap();
    let own = ".walproof-staging-01939e3c-0000-7000-8000-000000000000";
    std::fs::write(inside.join("a").join(own), "3").unwrap();
    std::os::unix::fs::symlink(outside.path(), inside.join("a/out")).unwrap();
    std::os::unix::fs::symlink("a/segment#1", inside.join("latest")).unwrap();
    let store = file_store(inside);
    assert_eq!(
        keys(&store, "").await,
        ["a/.walproof-staging-mine", "a/segment#1"]
    );
    assert_eq!(store.list_folders("a").await.unwrap(), ["empty"]);
    for key in ["a/out/secret", "latest"] {
        let error = store.read(key).await.err().unwrap();
        assert_eq!(error.kind, ErrorKind::Local, "{error}");
        assert!(error.cause.contains("symbolic link"), "{error}");
        assert!(store.head(key).await.is_err());
    }
    let error = store.put_new("a/out/new", Bytes::new()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Local);
    assert!(!outside.path().join("new").exists());
    // The repository itself may be reached through a link.
    std::os::unix::fs::symlink(inside, outside.path().join("repository")).unwrap();
    let linked = file_store(&outside.path().join("repository"));
    assert_eq!(keys(&linked, "").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_local_file_that_changes_while_it_is_read_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let store = file_store(directory.path());
    let path = directory.path().join("file");
    for length in [1 << 20, 5 << 20] {
        std::fs::write(&path, vec![1; 4 << 20]).unwrap();
        let mut read = store.read("file").await.unwrap();
        read.stream.try_next().await.unwrap().unwrap();
        std::fs::File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(length)
            .unwrap();
        let error = read.stream.try_collect::<Vec<_>>().await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Changed, "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn local_failures_are_told_apart() {
    let missing: Location = "file:///no/such/directory".parse().unwrap();
    let error = Store::open(&missing, &StorageOptions::default()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::MissingBucket, "{error}");

    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("file"), "x").unwrap();
    let file: Location = format!("file://{}/file", directory.path().display())
        .parse()
        .unwrap();
    let error = Store::open(&file, &StorageOptions::default()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::MissingBucket, "{error}");

    let store = file_store(directory.path());
    let error = store.put_new("file/below", Bytes::new()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Local, "{error}");
    assert_eq!(store.head("file/below").await.unwrap(), None);
    assert_eq!(
        store.read("file/below").await.err().unwrap().kind,
        ErrorKind::NotFound
    );

    // A disk that is always full.
    let full: Location = "file:///dev".parse().unwrap();
    let full = Store::open(&full, &StorageOptions::default()).unwrap();
    let error = full.read("full").await.err().unwrap();
    assert_eq!(
        error.kind,
        ErrorKind::NotFound,
        "a device is no object: {error}"
    );
}
