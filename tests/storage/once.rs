//! Writing once: never over another object, verified on the way, kept where a lock says so.

use std::time::Duration;

use bytes::Bytes;
use chrono::{SubsecRound as _, Utc};
use futures::future::join_all;
use walproof::codec::Sha256;
use walproof::storage::{
    Acknowledged, DeleteOutcome, ErrorKind, IdentityChange, LockMode, OnceOutcome, OnceUpload,
    Retention, StorageError, StorageOptions, Store, WriteOptions, Written,
};

use crate::common::azure::Azurite;
use crate::common::gcs::GcsServer;
use crate::common::minio::Minio;
use crate::common::require;
use crate::common::s3::S3Server;
use crate::common::s3_api::S3Api;
use crate::common::wire::{Fault, Wire};
use crate::kit::{file_store, keys, open, options, pattern, walk};
use crate::uploads::written;

const MIB: usize = 1 << 20;

/// Writes in pieces.
async fn stream(
    store: &Store,
    key: &str,
    body: &Bytes,
    options: &WriteOptions,
) -> Result<OnceOutcome, StorageError> {
    let mut upload = store.write_once(key, options.clone()).await?;
    for piece in body.chunks(777_777) {
        upload.write(body.slice_ref(piece)).await?;
    }
    upload.finish().await
}

/// An existing object stays; of two writers one wins, with all of its bytes. What the store
/// acknowledges is told.
async fn once(store: &Store, whole: Option<Acknowledged>, parts: Option<Acknowledged>) {
    let usual = WriteOptions::default();
    let body = pattern(300_000);
    let new = written(
        store
            .put_once("once/a", body.clone(), &usual)
            .await
            .unwrap(),
    );
    assert_eq!(new.sha256, Sha256::of(&body));
    assert_eq!(new.acknowledged, whole);
    assert_eq!((&*new.entry.key, new.entry.size), ("once/a", 300_000));
    let entry = store.head("once/a").await.unwrap().unwrap();
    let same = new.entry.identity().change_since(&entry.identity());
    assert!(
        matches!(same, None | Some(IdentityChange::Time)),
        "{same:?}"
    );
    assert_eq!(new.entry.version, entry.version);
    assert!(new.entry.etag.is_some() || new.entry.version.is_some());
    let age = Utc::now() - new.entry.last_modified;
    assert!(age.num_seconds().abs() < 60, "{age}");
    let again = store.put_once("once/a", Bytes::from("other"), &usual).await;
    assert_eq!(again.unwrap(), OnceOutcome::Exists);
    assert!(store.read_small("once/a", 1 << 20).await.unwrap() == body);

    // In parts of the expected size, of the unexpected one, and in a whole.
    for (length, expected, told) in [
        (19 * MIB + 5, Some(19 * MIB as u64 + 5), parts),
        (24 * MIB, Some(24 * MIB as u64), parts),
        (8 * MIB, Some(8 * MIB as u64), whole),
        (33 * MIB + 1, None, parts),
        (16 * MIB, None, whole),
        (9 * MIB, Some(5), parts),
    ] {
        let key = format!("once/{length}-{expected:?}");
        let body = pattern(length);
        let options = WriteOptions {
            expected,
            ..WriteOptions::default()
        };
        let new = written(stream(store, &key, &body, &options).await.unwrap());
        assert_eq!(new.sha256, Sha256::of(&body), "{key}");
        assert_eq!(new.entry.size, length as u64, "{key}");
        assert_eq!(new.acknowledged, told, "{key}");
        let entry = store.head(&key).await.unwrap().unwrap();
        let same = new.entry.identity().change_since(&entry.identity());
        assert!(
            matches!(same, None | Some(IdentityChange::Time)),
            "{same:?}"
        );
        assert!(
            store.read_small(&key, 64 << 20).await.unwrap() == body,
            "{key}"
        );
        // Without an expectation, or with a large one, it is told before anything is read.
        let again = stream(store, &key, &Bytes::from("other"), &usual).await;
        assert_eq!(again.unwrap_err().kind, ErrorKind::Exists, "{key}");
        let small = stream(store, &key, &Bytes::from("other"), &WriteOptions::sized(5)).await;
        match small {
            Ok(outcome) => assert_eq!(outcome, OnceOutcome::Exists),
            Err(error) => assert_eq!(error.kind, ErrorKind::Exists),
        }
        assert_eq!(
            store.head(&key).await.unwrap().unwrap().size,
            length as u64,
            "{key}"
        );
    }

    race(store).await;
}

/// Two writers of one key, both begun before either has finished, small and in parts.
async fn race(store: &Store) {
    for (key, length) in [("race/small", 5), ("race/parts", 17 * MIB)] {
        for round in 0..3 {
            let key = format!("{key}-{round}");
            let bodies: Vec<Bytes> = (0..3).map(|at| Bytes::from(vec![at; length])).collect();
            let mut uploads = Vec::new();
            for body in &bodies {
                let options = WriteOptions::sized(length as u64);
                let mut upload = store.write_once(&key, options).await.unwrap();
                for piece in body.chunks(MIB) {
                    upload.write(body.slice_ref(piece)).await.unwrap();
                }
                uploads.push(upload);
            }
            let outcomes = join_all(uploads.into_iter().map(OnceUpload::finish)).await;
            let won: Vec<usize> = outcomes
                .iter()
                .enumerate()
                .filter(|(_, it)| matches!(it.as_ref().unwrap(), OnceOutcome::Written(_)))
                .map(|(at, _)| at)
                .collect();
            assert_eq!(won.len(), 1, "{key}: {outcomes:?}");
            let there = store.read_small(&key, 64 << 20).await.unwrap();
            assert!(there == bodies[won[0]], "{key}: not the winner's bytes");
        }
    }
}

/// A description is replaced only while it is the one that was read.
async fn replaced(store: &Store) {
    let usual = WriteOptions::default();
    let first = store
        .put_once("info", Bytes::from("STARTED"), &usual)
        .await
        .unwrap();
    written(first);
    let etag = store.head("info").await.unwrap().unwrap().etag.unwrap();
    let done = store.replace_if("info", Bytes::from("DONE 1"), &etag).await;
    written(done.unwrap());
    assert_eq!(store.read_small("info", 9).await.unwrap(), "DONE 1");
    let late = store.replace_if("info", Bytes::from("DONE 2"), &etag).await;
    assert_eq!(late.unwrap(), OnceOutcome::Exists);
    assert_eq!(store.read_small("info", 9).await.unwrap(), "DONE 1");
    let next = store.head("info").await.unwrap().unwrap().etag.unwrap();
    written(
        store
            .replace_if("info", Bytes::from("DONE 3"), &next)
            .await
            .unwrap(),
    );
    let none = store.replace_if("nothing", Bytes::from("x"), &next).await;
    assert_eq!(none.unwrap_err().kind, ErrorKind::NotFound);
}

/// What is deleted is gone; what is not there is told.
async fn deleted(store: &Store) {
    assert_eq!(
        store.delete("d/none", None).await.unwrap(),
        DeleteOutcome::Absent
    );
    store.put_new("d/x", Bytes::from("x")).await.unwrap();
    assert_eq!(
        store.delete("d/x", None).await.unwrap(),
        DeleteOutcome::Deleted
    );
    assert_eq!(store.head("d/x").await.unwrap(), None);
    assert_eq!(
        store.delete("d/x", None).await.unwrap(),
        DeleteOutcome::Absent
    );
}

/// What goes through is counted, over clones and places below.
async fn counted(store: &Store) {
    let before = store.usage();
    let below = store.at("counted");
    let body = pattern(100_000);
    below.put_new("x", body.clone()).await.unwrap();
    let wrote = store.usage();
    assert_eq!(wrote, below.usage());
    assert!(wrote.requests > before.requests, "{wrote:?}");
    let bytes = wrote.bytes_written - before.bytes_written;
    assert!((100_000..102_000).contains(&bytes), "{bytes}");
    assert_eq!(wrote.bytes_read, before.bytes_read);
    below.clone().read_small("x", 1 << 20).await.unwrap();
    below.read_range("x", 0..10).await.unwrap();
    let read = store.usage();
    assert_eq!(read.bytes_read - wrote.bytes_read, 100_010);
    assert_eq!(read.bytes_written, wrote.bytes_written);
    assert!(read.requests >= wrote.requests + 2);
}

async fn all(store: &Store, whole: Option<Acknowledged>, parts: Option<Acknowledged>) {
    once(store, whole, parts).await;
    replaced(store).await;
    deleted(store).await;
    counted(store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_written_once() {
    let directory = tempfile::tempdir().unwrap();
    let store = file_store(directory.path());
    all(&store, None, None).await;
    // A directory cannot lock, and says so before it takes anything.
    let options = locked(LockMode::Governance);
    let whole = store.put_once("l", Bytes::from("x"), &options).await;
    assert_eq!(whole.unwrap_err().kind, ErrorKind::Settings);
    let parts = store.write_once("l", options).await.err().unwrap();
    assert_eq!(parts.kind, ErrorKind::Settings);
    assert_eq!(store.head("l").await.unwrap(), None);
    // What a killed writer leaves is found, and only when it is old.
    let left = ".walproof-staging-0190a5a2-7b1c-7000-8000-000000000000";
    std::fs::create_dir(directory.path().join("wals")).unwrap();
    std::fs::write(directory.path().join("wals").join(left), "half").unwrap();
    let now = Utc::now();
    let hour = chrono::TimeDelta::hours(1);
    assert_eq!(
        store.abandoned_uploads("", now - hour).await.unwrap(),
        vec![]
    );
    let found = store.abandoned_uploads("", now + hour).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].key, format!("wals/{left}"));
    store.abort_abandoned(&found[0]).await.unwrap();
    assert!(!walk(directory.path()).iter().any(|it| it.contains(left)));
}

#[tokio::test(flavor = "multi_thread")]
async fn versitygw_is_written_to_once() {
    require!(S3);
    let server = S3Server::start();
    let store = open("s3://backups/p", &options(server.environment()));
    all(
        &store,
        Some(Acknowledged::Sha256),
        Some(Acknowledged::Crc32c),
    )
    .await;
    abandoned(&store, &server.api(), "p/half").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn minio_is_written_to_once() {
    require!(Minio);
    let server = Minio::start();
    let store = open("s3://backups/p", &options(server.environment()));
    all(
        &store,
        Some(Acknowledged::Sha256),
        Some(Acknowledged::Crc32c),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn azurite_is_written_to_once() {
    require!(Azurite);
    let server = Azurite::start();
    let store = open("az://backups/p", &options(server.environment()));
    // It verifies the MD5 of blocks (see below) but does not repeat it, as Azure does.
    all(&store, Some(Acknowledged::Md5), None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fake_gcs_server_is_written_to_once() {
    require!(Gcs);
    let server = GcsServer::start();
    let store = open("gs://backups/p", &options(server.environment()));
    all(
        &store,
        Some(Acknowledged::Crc32c),
        Some(Acknowledged::Crc32c),
    )
    .await;
}

/// An upload that nobody finishes is found and removed.
async fn abandoned(store: &Store, api: &S3Api, path: &str) {
    let begun = api.request(
        "POST",
        &format!("/backups/{path}"),
        &[("uploads", "")],
        &[],
        b"",
    );
    let id = begun.expect_success().elements("UploadId").remove(0);
    let hour = chrono::TimeDelta::hours(1);
    let now = Utc::now();
    assert_eq!(
        store.abandoned_uploads("", now - hour).await.unwrap(),
        vec![]
    );
    let found = store.abandoned_uploads("", now + hour).await.unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((&*found[0].key, &found[0].id), ("half", &id));
    assert_eq!(
        store.abort_abandoned(&found[0]).await.unwrap(),
        DeleteOutcome::Deleted
    );
    assert_eq!(
        store.abandoned_uploads("", now + hour).await.unwrap(),
        vec![]
    );
}

fn locked(mode: LockMode) -> WriteOptions {
    WriteOptions {
        retention: Some(Retention {
            mode,
            until: (Utc::now() + chrono::TimeDelta::days(2)).trunc_subsecs(0),
        }),
        ..WriteOptions::default()
    }
}

/// Locked versions refuse deletion; what is written over them by others makes no loss.
async fn locks(store: &Store, api: &S3Api) {
    let big = pattern(17 * MIB);
    for (mode, word) in [
        (LockMode::Compliance, "COMPLIANCE"),
        (LockMode::Governance, "GOVERNANCE"),
    ] {
        let options = locked(mode);
        let until = options.retention.unwrap().until;
        let (small_key, big_key) = (format!("{word}/small"), format!("{word}/big"));
        let small = store.put_once(&small_key, Bytes::from("one"), &options);
        let small = written(small.await.unwrap());
        let sized = WriteOptions {
            expected: Some(big.len() as u64),
            ..options.clone()
        };
        let parts = written(stream(store, &big_key, &big, &sized).await.unwrap());
        for Written { entry, .. } in [&small, &parts] {
            let key = &entry.key;
            let version = entry.version.as_deref().expect("a version");
            let path = format!("/locked/p/{key}");
            let query = [("retention", ""), ("versionId", version)];
            let told = api.request("GET", &path, &query, &[], b"").expect_success();
            assert_eq!(told.elements("Mode"), [word]);
            let told = told.elements("RetainUntilDate").remove(0);
            let told: chrono::DateTime<Utc> = told.parse().unwrap();
            assert_eq!(told, until, "{key}");

            match store.delete(key, Some(version)).await.unwrap() {
                DeleteOutcome::Refused { status, cause } => {
                    assert!(matches!(status, 400 | 403), "{status} {cause}");
                }
                other => panic!("{key}: {other:?}"),
            }
            // Another tool writes over it: a new version, the old one stays.
            api.put("locked", &format!("p/{key}"), b"overwritten");
            let again = store.put_once(key, Bytes::from("x"), &options).await;
            assert_eq!(again.unwrap(), OnceOutcome::Exists);
            let query = [("versionId", version)];
            let old = api.request("GET", &path, &query, &[], b"").expect_success();
            assert_eq!(old.body.len() as u64, entry.size);
            // Without a version it is hidden, not gone.
            assert_eq!(
                store.delete(key, None).await.unwrap(),
                DeleteOutcome::Deleted
            );
            assert_eq!(store.head(key).await.unwrap(), None);
            let old = api.request("GET", &path, &query, &[], b"");
            assert_eq!(old.expect_success().body.len() as u64, entry.size);
        }
    }
    // An unlocked version goes for good.
    let usual = WriteOptions::default();
    let free = store.put_once("free", Bytes::from("x"), &usual);
    let version = written(free.await.unwrap()).entry.version.unwrap();
    assert_eq!(
        store.delete("free", Some(&version)).await.unwrap(),
        DeleteOutcome::Deleted
    );
    assert_eq!(
        store.delete("free", Some(&version)).await.unwrap(),
        DeleteOutcome::Absent
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn versitygw_keeps_what_is_locked() {
    require!(S3);
    let server = S3Server::start_versioned();
    server.create_locked_bucket("locked");
    let store = open("s3://locked/p", &options(server.environment()));
    locks(&store, &server.api()).await;
    // A bucket without locks refuses retention instead of forgetting it.
    let store = open("s3://backups/p", &options(server.environment()));
    let options = locked(LockMode::Compliance);
    let refused = store.put_once("x", Bytes::from("x"), &options).await;
    let error = refused.unwrap_err();
    assert!(error.cause.contains("Lock"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn minio_keeps_what_is_locked() {
    require!(Minio);
    let server = Minio::start();
    server.api().create_bucket("locked", true);
    let store = open("s3://locked/p", &options(server.environment()));
    locks(&store, &server.api()).await;
    let store = open("s3://backups/p", &options(server.environment()));
    let options = locked(LockMode::Compliance);
    let refused = store.put_once("x", Bytes::from("x"), &options).await;
    refused.unwrap_err();
    assert_eq!(store.head("x").await.unwrap(), None);
}

fn hasty(environment: Vec<(String, String)>) -> StorageOptions {
    StorageOptions {
        retry_time: Duration::from_secs(20),
        ..options(environment)
    }
}

/// Bytes that change on the way are refused, sent again, and given up in the end.
async fn damaged(store: &Store, wire: &Wire, method: &str) {
    let usual = WriteOptions::default();
    let small = pattern(100_000);
    let large = pattern(20 * MIB);
    let sized = WriteOptions::sized(large.len() as u64);
    // Once: the second attempt arrives.
    let fault = wire.add(Fault::corrupt_request(70_000).on(method).once());
    let new = store.put_once("dmg/small", small.clone(), &usual).await;
    assert_eq!(written(new.unwrap()).sha256, Sha256::of(&small));
    assert_eq!(fault.hits(), 1);
    wire.heal();
    let fault = wire.add(Fault::corrupt_request(70_000).on(method).after(1).once());
    let new = stream(store, "dmg/large", &large, &sized).await;
    assert_eq!(written(new.unwrap()).sha256, Sha256::of(&large));
    assert_eq!(fault.hits(), 1);
    wire.heal();
    for (key, body) in [("dmg/small", &small), ("dmg/large", &large)] {
        assert!(store.read_small(key, 64 << 20).await.unwrap() == *body);
    }
    // Always: nothing comes to be.
    wire.add(Fault::corrupt_request(70_000).on(method));
    let never = store.put_once("dmg/never", small, &usual).await;
    assert_eq!(never.unwrap_err().kind, ErrorKind::Damaged);
    let never = stream(store, "dmg/never-large", &large, &sized).await;
    assert_eq!(never.unwrap_err().kind, ErrorKind::Damaged);
    wire.heal();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(keys(store, "dmg").await, ["dmg/large", "dmg/small"]);
}

/// Lost answers, resets, overload: the object is there once, and known to be ours.
async fn shaken(store: &Store, wire: &Wire, method: &str) {
    let usual = WriteOptions::default();
    let small = pattern(100_000);
    let large = pattern(20 * MIB);
    let sized = WriteOptions::sized(large.len() as u64);
    let faults = |at: usize| match at {
        0 => Fault::lost_answer().on(method).once(),
        1 => Fault::reset().on(method).every(2).times(6),
        2 => Fault::slow_down().every(3).times(10),
        3 => Fault::cut_request(50_000).on(method).every(2).times(4),
        _ => Fault::lost_answer().every(4).times(4),
    };
    for at in 0..5 {
        let fault = wire.add(faults(at));
        let key = format!("shaken/small-{at}");
        let new = store.put_once(&key, small.clone(), &usual).await.unwrap();
        assert_eq!(written(new).sha256, Sha256::of(&small), "{key}");
        assert!(fault.hits() > 0, "{key}");
        let key = format!("shaken/large-{at}");
        let new = stream(store, &key, &large, &sized).await.unwrap();
        assert_eq!(written(new).sha256, Sha256::of(&large), "{key}");
        wire.heal();
        assert!(store.read_small(&key, 64 << 20).await.unwrap() == large);
    }
    // Another's object is not taken for ours because an answer got lost.
    store
        .put_new("shaken/theirs", Bytes::from("theirs"))
        .await
        .unwrap();
    wire.add(Fault::lost_answer().on(method).once());
    let theirs = store.put_once("shaken/theirs", Bytes::from("mine!!"), &usual);
    assert_eq!(theirs.await.unwrap(), OnceOutcome::Exists);
    wire.heal();
    assert_eq!(
        store.read_small("shaken/theirs", 9).await.unwrap(),
        "theirs"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn versitygw_on_a_bad_wire() {
    require!(S3);
    let server = S3Server::start();
    let wire = Wire::to(&server.endpoint());
    let store = open(
        "s3://backups/p",
        &hasty(wire.environment(&server.environment())),
    );
    damaged(&store, &wire, "PUT").await;
    shaken(&store, &wire, "PUT").await;
    // The answer to the request that makes it visible.
    let body = pattern(20 * MIB);
    let fault = wire.add(Fault::lost_answer().on("POST").at("uploadId").once());
    let sized = WriteOptions::sized(body.len() as u64);
    let new = stream(&store, "completed", &body, &sized).await.unwrap();
    assert_eq!(written(new).sha256, Sha256::of(&body));
    assert_eq!(fault.hits(), 1);
    let begun = server.object(".sgwtmp/multipart");
    let files = walk(&begun)
        .into_iter()
        .filter(|path| std::path::Path::new(path).is_file());
    assert_eq!(files.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn minio_on_a_bad_wire() {
    require!(Minio);
    let server = Minio::start();
    let wire = Wire::to(&server.endpoint());
    let store = open(
        "s3://backups/p",
        &hasty(wire.environment(&server.environment())),
    );
    damaged(&store, &wire, "PUT").await;
    shaken(&store, &wire, "PUT").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn azurite_on_a_bad_wire() {
    require!(Azurite);
    let server = Azurite::start();
    let wire = Wire::to(&server.endpoint());
    let store = open(
        "az://backups/p",
        &hasty(wire.environment(&server.environment())),
    );
    damaged(&store, &wire, "PUT").await;
    shaken(&store, &wire, "PUT").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fake_gcs_server_on_a_bad_wire() {
    require!(Gcs);
    let server = GcsServer::start();
    let wire = Wire::to(&server.endpoint());
    let store = open(
        "gs://backups/p",
        &hasty(wire.environment(&server.environment())),
    );
    shaken(&store, &wire, "POST").await;
    // It looks at the checksum that comes with the bytes; of parts it knows none.
    wire.add(Fault::corrupt_request(70_000).on("POST"));
    let body = pattern(100_000);
    let never = store.put_once("dmg", body, &WriteOptions::default()).await;
    let error = never.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Damaged, "{error}");
    assert_eq!(store.head("dmg").await.unwrap(), None);
}

/// A server that knows no checksums is remembered, and nothing is said to be acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn servers_without_checksums_are_written_to_all_the_same() {
    require!(S3);
    let server = S3Server::start();
    let wire = Wire::to(&server.endpoint());
    let store = open(
        "s3://backups/p",
        &hasty(wire.environment(&server.environment())),
    );
    let usual = WriteOptions::default();
    let body = pattern(17 * MIB);
    let sized = WriteOptions::sized(body.len() as u64);
    wire.add(Fault::answer(501, "NotImplemented").on("PUT").once());
    let new = store.put_once("a", Bytes::from("a"), &usual).await.unwrap();
    assert_eq!(written(new).acknowledged, None);
    wire.heal();
    let new = store.put_once("b", Bytes::from("b"), &usual).await.unwrap();
    assert_eq!(written(new).acknowledged, None, "remembered");
    wire.add(Fault::answer(501, "NotImplemented").on("POST").times(2));
    let new = stream(&store, "c", &body, &sized).await.unwrap();
    assert_eq!(written(new).acknowledged, None);
    wire.heal();
    // Their parts are signed, so that damage is refused here, too.
    wire.add(Fault::corrupt_request(70_000).on("PUT"));
    let never = stream(&store, "d", &body, &sized).await;
    assert_eq!(never.unwrap_err().kind, ErrorKind::Damaged);
    wire.heal();
    // Asked not to use any.
    let store = open("s3://backups/p", &hasty(server.environment()));
    let none = WriteOptions {
        checksums: false,
        ..usual
    };
    let new = store.put_once("e", Bytes::from("e"), &none).await.unwrap();
    assert_eq!(written(new).acknowledged, None);
    let new = stream(&store, "f", &body, &none).await.unwrap();
    assert_eq!(written(new).acknowledged, None);
}
