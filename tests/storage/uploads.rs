//! Large objects, in parts.

use std::time::Duration;

use bytes::Bytes;
use walproof::codec::Sha256;
use walproof::storage::{
    ErrorKind, OnceOutcome, OnceUpload, StorageError, Store, WriteOptions, Written,
};

use crate::kit::{keys, pattern};

pub(crate) async fn begin(store: &Store, key: &str) -> Result<OnceUpload, StorageError> {
    store.write_once(key, WriteOptions::default()).await
}

pub(crate) fn written(outcome: OnceOutcome) -> Written {
    match outcome {
        OnceOutcome::Written(written) => written,
        OnceOutcome::Exists => panic!("there already is one"),
    }
}

pub(crate) async fn uploads(store: &Store) {
    // Several parts, in pieces that do not fit them.
    let whole = pattern((40 << 20) + 12_345);
    let mut upload = begin(store, "big/one").await.unwrap();
    for piece in whole.chunks(3_333_333) {
        upload.write(Bytes::copy_from_slice(piece)).await.unwrap();
    }
    assert_eq!(
        store.head("big/one").await.unwrap(),
        None,
        "not visible yet"
    );
    assert_eq!(keys(store, "big").await, Vec::<String>::new());
    let new = written(upload.finish().await.unwrap());
    assert_eq!(new.sha256, Sha256::of(&whole));
    assert_eq!(new.entry.size, whole.len() as u64);
    let entry = store.head("big/one").await.unwrap().unwrap();
    // fake-gcs-server writes the same digest in two ways: there the generation tells.
    assert_eq!(new.entry.version, entry.version);
    assert!(entry.version.is_some() || new.entry.etag == entry.etag);
    assert!(store.read_small("big/one", 64 << 20).await.unwrap() == whole);
    assert_eq!(
        begin(store, "big/one").await.err().unwrap().kind,
        ErrorKind::Exists
    );

    // Exactly one part, exactly two, less than one, none.
    for (key, length) in [
        ("p1", 16 << 20),
        ("p2", 32 << 20),
        ("small", 5),
        ("empty", 0),
    ] {
        let body = pattern(length);
        let key = format!("big/{key}");
        let options = WriteOptions::sized(length as u64);
        let mut upload = store.write_once(&key, options).await.unwrap();
        upload.write(body.clone()).await.unwrap();
        let new = written(upload.finish().await.unwrap());
        assert_eq!(new.sha256, Sha256::of(&body), "{key}");
        assert!(
            store.read_small(&key, 64 << 20).await.unwrap() == body,
            "{key}"
        );
    }

    // Given up in three ways: nothing stays.
    let before = keys(store, "big").await;
    let mut upload = begin(store, "big/aborted").await.unwrap();
    upload.write(pattern(20 << 20)).await.unwrap();
    upload.abort().await.unwrap();
    let mut upload = begin(store, "big/dropped").await.unwrap();
    upload.write(pattern(20 << 20)).await.unwrap();
    drop(upload);
    let mut upload = begin(store, "big/overtaken").await.unwrap();
    upload.write(pattern(5)).await.unwrap();
    store
        .put_new("big/overtaken", Bytes::from_static(b"first"))
        .await
        .unwrap();
    assert_eq!(upload.finish().await.unwrap(), OnceOutcome::Exists);
    assert_eq!(store.read_small("big/overtaken", 9).await.unwrap(), "first");
    tokio::time::sleep(Duration::from_millis(500)).await;
    let after = keys(store, "big").await;
    assert_eq!(after.len(), before.len() + 1, "{after:?}");
}
