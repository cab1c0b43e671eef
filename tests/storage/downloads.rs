//! Reading: over wires that break, many at once, and in little memory.

use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt as _;
use walproof::storage::{ErrorKind, Location, StorageError, StorageOptions, Store};

use crate::common::require;
use crate::common::s3::S3Server;
use crate::common::wire::{Fault, Wire};
use crate::kit::{file_store, open, options, pattern};

#[tokio::test(flavor = "multi_thread")]
async fn broken_downloads_go_on_where_they_broke() {
    require!(S3);
    let server = S3Server::start();
    let body = pattern(20 << 20);
    let direct = open("s3://backups/p", &options(server.environment()));
    direct.put_new("big", body.clone()).await.unwrap();
    let wire = Wire::to(&server.endpoint());
    let mut options = options(wire.environment(&server.environment()));

    // Each answer has at most 3 MiB, and the client's own patience is over at once.
    let cuts = wire.add(Fault::truncate(3 << 20).on("GET").at("/big").times(5));
    let store = open("s3://backups/p", &options);
    assert!(store.read_small("big", 64 << 20).await.unwrap() == body);
    assert_eq!(cuts.hits(), 5);

    // Replaced in between: not glued together.
    wire.heal();
    wire.add(Fault::truncate(3 << 20).on("GET").at("/big").once());
    let store = open("s3://backups/p", &options);
    let mut read = store.read("big").await.unwrap();
    read.stream.try_next().await.unwrap().unwrap();
    direct
        .put_replace("big", pattern(20 << 20).slice(1..))
        .await
        .unwrap();
    let rest: Result<Vec<_>, _> = read.stream.try_collect().await;
    assert_eq!(rest.unwrap_err().kind, ErrorKind::Changed);

    // A wire that never holds is given up.
    wire.heal();
    wire.add(Fault::truncate(3 << 20).on("GET").at("/big").once());
    wire.add(Fault::reset());
    options.retry_time = Duration::from_secs(1);

    let store = open("s3://backups/p", &options);
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
