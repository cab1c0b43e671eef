//! The same promises on local files and on a real S3 server; and each way to fail says
//! what it is, soon.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test: what is not as expected ends it"
)]

mod s3_server;

use std::io::Read;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use s3_server::{BadWire, KEY, S3Server, SECRET, fixed_answer, free_port};
use walproof::codec::Sha256;
use walproof::storage::{
    ErrorKind, Location, OnceOutcome, OnceUpload, PutOutcome, StorageError, StorageOptions, Store,
    WriteOptions, WriteProbe, Written,
};

fn file_store(directory: &std::path::Path) -> Store {
    let location: Location = format!("file://{}", directory.display()).parse().unwrap();
    Store::open(&location, &StorageOptions::default()).unwrap()
}

/// Bytes that tell their place.
fn pattern(length: usize) -> Bytes {
    (0..length)
        .map(|at| (at / 7 + at % 251).to_le_bytes()[0])
        .collect()
}

async fn keys(store: &Store, prefix: &str) -> Vec<String> {
    let entries: Vec<_> = store.list(prefix).try_collect().await.unwrap();
    entries.into_iter().map(|entry| entry.key).collect()
}

/// Keys that were trouble for somebody.
const ODD: [&str; 14] = [
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

async fn conformance(store: Store) {
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

async fn begin(store: &Store, key: &str) -> Result<OnceUpload, StorageError> {
    store.write_once(key, WriteOptions::default()).await
}

fn written(outcome: OnceOutcome) -> Written {
    match outcome {
        OnceOutcome::Written(written) => written,
        OnceOutcome::Exists => panic!("there already is one"),
    }
}

async fn uploads(store: &Store) {
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
    assert_eq!(new.entry.etag, entry.etag);
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

#[tokio::test(flavor = "multi_thread")]
async fn local_files_keep_the_promises() {
    let directory = tempfile::tempdir().unwrap();
    conformance(file_store(directory.path())).await;
    let leftovers = walk(directory.path())
        .into_iter()
        .filter(|path| path.contains(".walproof-"));
    assert_eq!(leftovers.collect::<Vec<_>>(), Vec::<String>::new());
}

fn walk(directory: &std::path::Path) -> Vec<String> {
    let mut paths = Vec::new();
    for entry in directory.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            paths.extend(walk(&path));
        }
        paths.push(path.display().to_string());
    }
    paths
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_s3_server_keeps_the_promises() {
    let server = S3Server::start();
    let store = Store::open(&S3Server::location("some/prefix"), &server.options()).unwrap();
    conformance(store).await;
    // Unfinished parts are gone, too.
    let staged = server.bucket_directory().join(".sgwtmp/multipart");
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
async fn listings_page() {
    let server = S3Server::start();
    let store = Store::open(&S3Server::location(""), &server.options()).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let local = file_store(directory.path());
    let expected: Vec<String> = (0..2500)
        .map(|at| format!("wals/{:04x}/{at:024X}", at / 256))
        .collect();
    for store in [&store, &local] {
        futures::stream::iter(&expected)
            .map(|key| store.put_new(key, Bytes::from_static(b"x")))
            .buffer_unordered(16)
            .try_for_each(|_| async { Ok(()) })
            .await
            .unwrap();
        assert!(keys(store, "").await == expected);
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
}

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
async fn failures(
    location: &Location,
    options: &StorageOptions,
    limit: Duration,
) -> Vec<StorageError> {
    let secrets: Vec<String> = options
        .environment
        .iter()
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

fn all_are(errors: &[StorageError], kind: ErrorKind, words: &str) {
    for error in errors {
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.cause.contains(words), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_told_apart() {
    let server = S3Server::start();
    let here = S3Server::location("p");
    let soon = Duration::from_secs(5);

    let errors = failures(&here, &server.options_for("nobody", SECRET), soon).await;
    all_are(&errors, ErrorKind::Credentials, "");
    let errors = failures(&here, &server.options_for(KEY, "wrong-secret"), soon).await;
    all_are(&errors, ErrorKind::Credentials, "");
    let elsewhere = "s3://no-such-bucket/p".parse().unwrap();
    let errors = failures(&elsewhere, &server.options(), soon).await;
    all_are(&errors, ErrorKind::MissingBucket, "");

    server.add_stranger("stranger", "strange-secret");
    let options = server.options_for("stranger", "strange-secret");
    let errors = failures(&here, &options, soon).await;
    all_are(&errors, ErrorKind::Denied, "");
    let store = Store::open(&here, &options).unwrap();
    assert_eq!(store.write_probe().await.unwrap(), WriteProbe::Refused);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_be_reached_is_given_up_soon() {
    let here = S3Server::location("p");
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
    let store = Store::open(&S3Server::location(""), &options).unwrap();
    let error = store.read("x").await.err().unwrap();
    assert_eq!(error.kind, ErrorKind::Credentials, "{error}");
    assert!(error.cause.contains("AWS_ACCESS_KEY_ID"), "{error}");
    assert!(
        begin.elapsed() < Duration::from_secs(20),
        "{:?}",
        begin.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_checked() {
    let server = S3Server::start_tls();
    let here = S3Server::location("p");
    let soon = Duration::from_secs(5);
    let store = Store::open(&here, &server.options()).unwrap();
    store.put_new("x", Bytes::from_static(b"x")).await.unwrap();

    let mut stranger = server.options();
    stranger.ca_file = None;
    let errors = failures(&here, &stranger, soon).await;
    all_are(&errors, ErrorKind::Network, "TLS");

    let mut other_name = server.options();
    other_name.endpoint = Some(server.endpoint.replace("127.0.0.1", "localhost"));
    let errors = failures(&here, &other_name, soon).await;
    all_are(&errors, ErrorKind::Network, "TLS");

    let mut plain = server.options();
    plain.endpoint = Some(server.endpoint.replace("https", "http"));
    plain.retry_time = Duration::ZERO;
    let errors = failures(&here, &plain, soon).await;
    for error in &errors {
        assert!(
            matches!(error.kind, ErrorKind::Settings | ErrorKind::Network),
            "{error}"
        );
    }

    let untrusting = S3Server::start();
    let mut secure = untrusting.options();
    secure.endpoint = Some(untrusting.endpoint.replace("http", "https"));
    let errors = failures(&here, &secure, soon).await;
    all_are(&errors, ErrorKind::Network, "speaks no TLS");

    for content in ["", "no certificate"] {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        let mut bad = server.options();
        bad.ca_file = Some(file.path().to_owned());
        let error = Store::open(&here, &bad).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Settings);
        assert!(error.cause.contains("PEM"), "{error}");
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

#[tokio::test(flavor = "multi_thread")]
async fn broken_downloads_go_on_where_they_broke() {
    let server = S3Server::start();
    let here = S3Server::location("p");
    let body = pattern(20 << 20);
    let direct = Store::open(&here, &server.options()).unwrap();
    direct.put_new("big", body.clone()).await.unwrap();

    // Each connection gives at most 3 MiB, and the client's own patience is over at once.
    let wire = BadWire::new(&server.address, 3 << 20, 3 << 20, 5);
    let mut options = server.options();
    options.endpoint = Some(wire.endpoint.clone());
    let store = Store::open(&here, &options).unwrap();
    assert!(store.read_small("big", 64 << 20).await.unwrap() == body);
    assert_eq!(wire.cuts.load(Ordering::SeqCst), 5);

    // Replaced in between: not glued together.
    let wire = BadWire::new(&server.address, 3 << 20, 0, 1);
    options.endpoint = Some(wire.endpoint.clone());
    let store = Store::open(&here, &options).unwrap();
    let mut read = store.read("big").await.unwrap();
    read.stream.try_next().await.unwrap().unwrap();
    direct
        .put_replace("big", pattern(20 << 20).slice(1..))
        .await
        .unwrap();
    let rest: Result<Vec<_>, _> = read.stream.try_collect().await;
    assert_eq!(rest.unwrap_err().kind, ErrorKind::Changed);

    // A wire that never holds is given up.
    let wire = BadWire::new(&server.address, 3 << 20, 0, usize::MAX);
    options.endpoint = Some(wire.endpoint.clone());
    options.retry_time = Duration::from_secs(1);
    let store = Store::open(&here, &options).unwrap();
    let (_, mut reader) = store.blocking_reader("big").await.unwrap();
    let read = tokio::task::spawn_blocking(move || {
        std::io::copy(&mut reader, &mut std::io::sink()).unwrap_err()
    });
    let error = tokio::time::timeout(Duration::from_mins(1), read)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        StorageError::of(&error).unwrap().kind,
        ErrorKind::Network,
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_turn_is_enough_for_nested_reads() {
    let directory = tempfile::tempdir().unwrap();
    let location: Location = format!("file://{}", directory.path().display())
        .parse()
        .unwrap();
    let options = StorageOptions {
        concurrency: 1,
        ..StorageOptions::default()
    };
    let store = Store::open(&location, &options).unwrap();
    for at in 0..600 {
        store
            .put_new(&format!("{at:04}"), Bytes::from(vec![1; 10]))
            .await
            .unwrap();
    }
    let mut listing = store.list("");
    let mut open = Vec::new();
    while let Some(entry) = listing.try_next().await.unwrap() {
        open.push(store.read(&entry.key).await.unwrap());
    }
    for read in open {
        assert_eq!(
            read.stream
                .try_fold(Vec::new(), |mut all, bytes| async move {
                    all.extend_from_slice(&bytes);
                    Ok(all)
                })
                .await
                .unwrap()
                .len(),
            10
        );
    }
}

/// The memory that this process has in use at its peak since the last reset, in KiB.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gibibyte_streams_in_little_memory() {
    let directory = tempfile::tempdir().unwrap();
    let file = std::fs::File::create(directory.path().join("sparse")).unwrap();
    file.set_len(1 << 30).unwrap();
    let store = file_store(directory.path());
    let before = peak_memory();
    let (_, mut reader) = store.blocking_reader("sparse").await.unwrap();
    let copied =
        tokio::task::spawn_blocking(move || std::io::copy(&mut reader, &mut std::io::sink()));
    assert_eq!(copied.await.unwrap().unwrap(), 1 << 30);
    // Other tests of this process run beside it; the bound is far below the object.
    let more = peak_memory().saturating_sub(before) / 1024;
    assert!(more < 400, "{more} MiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emulator_is_written_to_without_asking_google_for_a_token() {
    let answer = "HTTP/1.1 200 OK\r\nETag: \"1\"\r\nx-goog-generation: 1\r\n\
                  Content-Length: 0\r\nConnection: close\r\n\r\n";
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
