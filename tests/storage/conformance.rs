//! What every store promises, whatever lies behind it.

use std::io::Read as _;

use bytes::Bytes;
use futures::TryStreamExt;
use walproof::storage::{ErrorKind, PutOutcome, Store, WriteProbe};

use crate::kit::{keys, pattern};
use crate::uploads::uploads;

/// Keys that were trouble for somebody.
pub(crate) const ODD: [&str; 14] = [
    "odd/with space",
    "odd/plus+plus",
    "odd/per%cent",
    "odd/per%20cent",
    "odd/hash#1",
    "odd/question?mark&amp;",
    "odd/ünïcödé-💾",
    "odd/quote'\"",
    "odd/[brackets]{braces}",
    "odd/tilde~caret^pipe|",
    "odd/*star",
    "odd/.hidden",
    "odd/a=b;c,d:e@f$g!h(i)",
    "odd/..dots..",
];

pub(crate) async fn conformance(store: Store) {
    // Nothing there yet is no error.
    assert_eq!(keys(&store, "").await, Vec::<String>::new());
    assert_eq!(keys(&store, "nowhere").await, Vec::<String>::new());
    assert_eq!(store.list_folders("").await.unwrap(), Vec::<String>::new());
    assert_eq!(store.head("nothing").await.unwrap(), None);
    let missing = store.read("no/thing").await.err().unwrap();
    assert_eq!(missing.kind, ErrorKind::NotFound, "{missing}");
    assert!(missing.object.ends_with("/no/thing"));

    // Written once, never twice.
    let body = pattern(100_000);
    let put = store.put_new("base/1/data", body.clone()).await.unwrap();
    assert_eq!(put, PutOutcome::Created);
    let again = store
        .put_new("base/1/data", Bytes::from_static(b"other"))
        .await
        .unwrap();
    assert_eq!(again, PutOutcome::Exists);
    assert_eq!(
        store.read_small("base/1/data", 1 << 20).await.unwrap(),
        body
    );
    let entry = store.head("base/1/data").await.unwrap().unwrap();
    assert_eq!((entry.key.as_str(), entry.size), ("base/1/data", 100_000));
    assert!(entry.etag.is_some());
    let age = chrono::Utc::now() - entry.last_modified;
    assert!(age.num_seconds().abs() < 60, "{age}");
    assert_eq!(
        store.head("base/1").await.unwrap(),
        None,
        "a folder is no object"
    );
    let too_large = store.read_small("base/1/data", 99_999).await.unwrap_err();
    assert_eq!(too_large.kind, ErrorKind::TooLarge);

    // Many at once: one wins.
    let racing = (0..8).map(|at| {
        let store = store.clone();
        async move {
            store
                .put_new("race", Bytes::from(vec![at; 1000]))
                .await
                .unwrap()
        }
    });
    let outcomes = futures::future::join_all(racing).await;
    let created = outcomes.iter().filter(|it| **it == PutOutcome::Created);
    assert_eq!(created.count(), 1, "{outcomes:?}");

    // Replaced when asked to; empty objects are objects.
    store.put_replace("race", Bytes::new()).await.unwrap();
    assert_eq!(store.head("race").await.unwrap().unwrap().size, 0);
    assert_eq!(store.read_small("race", 0).await.unwrap(), Bytes::new());

    // Ranges.
    for (range, expected) in [
        (0..10, &body[0..10]),
        (99_990..100_000, &body[99_990..]),
        (99_990..200_000, &body[99_990..]),
        (100_000..100_010, &[]),
        (200_000..200_010, &[]),
        (5..5, &[]),
    ] {
        let read = store
            .read_range("base/1/data", range.clone())
            .await
            .unwrap();
        assert!(read == expected, "{range:?}");
    }
    let missing = store.read_range("no/thing", 0..1).await.unwrap_err();
    assert_eq!(missing.kind, ErrorKind::NotFound);

    // Names come back as they were given.
    for key in ODD {
        let put = store.put_new(key, Bytes::from(key)).await;
        assert_eq!(put.unwrap(), PutOutcome::Created, "{key}");
        assert_eq!(store.read_small(key, 100).await.unwrap(), key, "{key}");
        assert_eq!(store.head(key).await.unwrap().unwrap().key, key);
    }
    let mut expected: Vec<String> = ODD.map(str::to_owned).to_vec();
    expected.sort();
    assert_eq!(keys(&store, "odd").await, expected);
    for bad in ["a/../b", "a//b", "./a", ".."] {
        let error = store.read(bad).await.err().unwrap();
        assert!(
            matches!(error.kind, ErrorKind::Settings | ErrorKind::Local),
            "{bad}: {error}"
        );
        assert!(store.put_new(bad, Bytes::new()).await.is_err(), "{bad}");
    }

    // Folders, and a place below with its own keys.
    store
        .put_new("base/2/data", Bytes::from_static(b"2"))
        .await
        .unwrap();
    store
        .put_new("base2/x", Bytes::from_static(b"3"))
        .await
        .unwrap();
    assert_eq!(
        store.list_folders("").await.unwrap(),
        ["base", "base2", "odd"]
    );
    assert_eq!(store.list_folders("base").await.unwrap(), ["1", "2"]);
    assert_eq!(keys(&store, "base").await, ["base/1/data", "base/2/data"]);
    let below = store.at("/base/");
    assert_eq!(keys(&below, "").await, ["1/data", "2/data"]);
    assert_eq!(below.list_folders("").await.unwrap(), ["1", "2"]);
    assert_eq!(below.head("2/data").await.unwrap().unwrap().key, "2/data");
    assert!(below.location().to_string().ends_with("/base"));
    store
        .put_new("per%20cent+/x", Bytes::from_static(b"4"))
        .await
        .unwrap();
    assert_eq!(keys(&store.at("per%20cent+"), "").await, ["x"]);

    // The order of keys, and continuing behind one.
    for key in ["s/a", "s/a!/x", "s/a.b", "s/b/1", "s/b/2", "s/b0", "s/c"] {
        store.put_new(key, Bytes::from(key)).await.unwrap();
    }
    let all = keys(&store, "s").await;
    assert_eq!(
        all,
        ["s/a", "s/a!/x", "s/a.b", "s/b/1", "s/b/2", "s/b0", "s/c"]
    );
    for after in [
        "",
        "s/a",
        "s/a-not-there",
        "s/b/1",
        "s/b/9",
        "s/b0",
        "s/zz",
        "zz",
        "s/b",
    ] {
        let rest: Vec<_> = store.list_after("s", after).try_collect().await.unwrap();
        let rest: Vec<&str> = rest.iter().map(|entry| entry.key.as_str()).collect();
        let expected: Vec<&str> = all
            .iter()
            .map(|key| &**key)
            .filter(|key| *key > after)
            .collect();
        assert_eq!(rest, expected, "after {after:?}");
    }
    let below: Vec<_> = store
        .at("s")
        .list_after("", "b/1")
        .try_collect()
        .await
        .unwrap();
    assert_eq!(
        below.iter().map(|it| &*it.key).collect::<Vec<_>>(),
        ["b/2", "b0", "c"]
    );

    uploads(&store).await;

    // A probe leaves nothing.
    let before = keys(&store, "").await;
    assert_eq!(store.write_probe().await.unwrap(), WriteProbe::Allowed);
    assert_eq!(keys(&store, "").await, before);

    // For threads that block.
    let (entry, mut reader) = store.blocking_reader("base/1/data").await.unwrap();
    assert_eq!(entry.size, 100_000);
    let read = tokio::task::spawn_blocking(move || {
        let mut all = Vec::new();
        reader.read_to_end(&mut all).map(|_| all)
    });
    assert!(read.await.unwrap().unwrap() == body);
}
