//! From S3 to every other kind of store and from there back to files: the same bytes, and a
//! second run that believes the listings.

use crate::common::azure::Azurite;
use crate::common::gcs::GcsServer;
use crate::common::minio::Minio;
use crate::common::repository::{Fixture, RepositoryOptions};
use crate::common::s3::S3Server;
use crate::common::wire::Wire;
use crate::common::{require, scratch};
use crate::{Ground, assert_same, tree};

/// A repository with an object that is sent in parts, on a server that tells its own tags.
fn source() -> S3Server {
    let tree = Fixture::get(&RepositoryOptions::default()).tree();
    let large: Vec<u8> = (0..20_000_000_u32).map(|n| (n % 251) as u8).collect();
    tree.write("base/20990101T000000/data.tar", &large);
    let s3 = S3Server::start();
    s3.fill("pg/orders", tree.root());
    s3
}

/// How many objects were asked for through a wire.
fn reads(wire: &Wire) -> Vec<String> {
    let told = wire.passed().into_iter().filter_map(|passed| {
        let path = passed.target.split('?').next().unwrap_or_default();
        let object = path.contains("/wals/") || path.contains("/base/");
        (passed.method == "GET" && object).then_some(passed.target)
    });
    told.collect()
}

/// Copies, and once more, which must not read anything.
fn twice(ground: &Ground, objects: u64, wire: &Wire) {
    let first = ground.run(&["--read-back", "0%"]).expect_code(0);
    assert_eq!(Ground::copied(&first), objects);
    assert_eq!(first.json()["ended"]["reason"], "complete");
    wire.forget();
    let second = ground.run(&[]).expect_code(0);
    assert_eq!(Ground::copied(&second), 0);
    let compared = second.json()["compared"].clone();
    assert_eq!(compared["same"]["objects"], objects, "{compared:#}");
    assert_eq!(compared["looked_at"], 0, "{compared:#}");
    // The descriptions tell whose backups they are.
    let read = reads(wire);
    let descriptions = read.iter().all(|target| target.contains("backup.info"));
    assert!(descriptions, "{read:?}");
    let looked = ground.compare(&[]).expect_code(0).json();
    assert_eq!(looked["compared"]["same"]["objects"], objects);
    let compared = ground.compare(&["--read"]).expect_code(0).json();
    assert_eq!(compared["read"]["equal"]["objects"], objects);
    assert_eq!(compared["findings"], serde_json::json!([]));
    // What was read is remembered as the listings tell it.
    let third = ground.run(&[]).expect_code(0).json();
    assert_eq!(third["compared"]["looked_at"], 0, "{third:#}");
}

/// There and back: `far` is the target's URL, `endpoint` that of the other S3 server.
fn there_and_back(far: &str, endpoint: &str, others: &[(String, String)]) {
    let s3 = source();
    let whole = tree(&s3.object("pg/orders"));
    let objects = whole.len() as u64;
    let wire = Wire::to(endpoint);
    let is_s3 = far.starts_with("s3:");
    let state = scratch::directory();
    let back = state.path().join("back");
    let mut ground = Ground {
        state,
        source: format!("s3://{}/pg/orders", S3Server::BUCKET),
        target: far.to_owned(),
        options: Vec::new(),
        environment: s3.environment(),
    };
    if is_s3 {
        let endpoint = wire.endpoint().to_owned();
        ground.options = vec!["--target-endpoint".to_owned(), endpoint];
    } else {
        ground.environment.extend(wire.environment(others));
    }
    twice(&ground, objects, &wire);

    far.clone_into(&mut ground.source);
    ground.target = format!("file://{}", back.display());
    ground.options = Vec::new();
    if is_s3 {
        ground.environment = wire.environment(others);
    }
    twice(&ground, objects, &wire);
    assert_same(&s3.object("pg/orders"), &back);
}

#[test]
fn to_minio_and_back() {
    require!(Postgres, S3, Barman, Minio);
    let minio = Minio::start();
    let far = format!("s3://{}/far/orders", Minio::BUCKET);
    there_and_back(&far, &minio.endpoint(), &minio.environment());
}

#[test]
fn to_google_cloud_storage_and_back() {
    require!(Postgres, S3, Barman, Gcs);
    let gcs = GcsServer::start();
    let far = format!("gs://{}/far/orders", GcsServer::BUCKET);
    there_and_back(&far, &gcs.endpoint(), &gcs.environment());
}

#[test]
fn to_azure_and_back() {
    require!(Postgres, S3, Barman, Azurite);
    let azure = Azurite::start();
    let far = format!("az://{}/far/orders", Azurite::CONTAINER);
    there_and_back(&far, &azure.endpoint(), &azure.environment());
}
