//! A target with object lock: every copy is kept, and a run after it finds nothing to do.

use ::walproof::kubernetes::definition::{CapturedObject, Content, Facts, Manifest};
use ::walproof::replicate::definition::{self, PutDefinition};
use ::walproof::storage::{LockMode, Retention, StorageOptions, Store};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;

use crate::common::minio::Minio;
use crate::common::repository::{Fixture, RepositoryOptions};
use crate::common::s3::S3Server;
use crate::common::s3_api::S3Api;
use crate::common::walproof::{Run, run};
use crate::common::{require, scratch};

const BUCKET: &str = "locked";

/// Copies into a bucket with object lock and asks the server what it will keep.
fn kept(
    endpoint: &str,
    api: &S3Api,
    environment: &[(String, String)],
    mode: &str,
    copies_again: bool,
) {
    let tree = Fixture::get(&RepositoryOptions::default()).tree();
    let large: Vec<u8> = (0..20_000_000_u32).map(|n| (n % 251) as u8).collect();
    tree.write("base/20990101T000000/data.tar", &large);
    let directory = scratch::directory();
    let config = directory.path().join("walproof.yaml");
    let document = format!(
        "version: 1\nstate: sqlite://state.sqlite\nclusters:\n- name: orders\n  \
         primary: {{url: '{}'}}\n  replicas:\n  - name: far\n    url: 's3://{BUCKET}/{mode}/orders'\n    \
         endpoint: '{endpoint}'\n    replication: {{retention: {{mode: {mode}, period: 3d}}, read_back: 10%}}\n",
        tree.url(),
    );
    std::fs::write(&config, document).unwrap();
    let replicate = |verb: &str, more: &[&str]| -> Run {
        let mut arguments = vec!["replicate", verb, "orders", "--output", "json", "--config"];
        arguments.push(config.to_str().unwrap());
        arguments.extend_from_slice(more);
        run(&arguments, environment)
    };
    let before = Utc::now();
    let first = replicate("run", &[]).expect_code(0);
    let objects = tree.keys().len();
    assert_eq!(crate::Ground::copied(&first), objects as u64);
    let after = Utc::now();
    for key in tree.keys() {
        let key = format!("{mode}/orders/{key}");
        let path = format!("/{BUCKET}/{key}");
        let versions = api.versions(BUCKET, &key);
        assert_eq!(versions.len(), 1, "{key}: {versions:?}");
        let query = [("retention", ""), ("versionId", &*versions[0])];
        let told = api.request("GET", &path, &query, &[], b"").expect_success();
        assert_eq!(told.elements("Mode"), [mode.to_uppercase()], "{key}");
        let until: DateTime<Utc> = told.elements("RetainUntilDate")[0].parse().unwrap();
        let (least, most) = (before + TimeDelta::days(3), after + TimeDelta::days(3));
        assert!(
            until > least - TimeDelta::seconds(1) && until <= most,
            "{key} is kept until {until}"
        );
        let refused = api.delete(BUCKET, &key, Some(&versions[0]));
        assert!(matches!(refused.status, 400 | 403), "{key}: {refused:?}");
    }

    // Who writes over one makes another version and loses nothing; that it is another one is
    // told, and walproof neither repairs nor removes it.
    let key = tree.wal_key(&tree.segments()[3]);
    let path = format!("/{BUCKET}/{mode}/orders/{key}");
    let locked = api.versions(BUCKET, &format!("{mode}/orders/{key}"));
    let version = locked[0].clone();
    let clean = replicate("run", &[]).expect_code(0);
    assert_eq!(crate::Ground::copied(&clean), 0);
    assert_eq!(clean.json()["compared"]["looked_at"], 0, "{}", clean.stdout);
    let compared = replicate("compare", &["--read"]).expect_code(0).json();
    assert_eq!(compared["read"]["equal"]["objects"], objects as u64);

    api.put(BUCKET, &format!("{mode}/orders/{key}"), b"an intruder's");
    let query = [("versionId", &*version)];
    let old = api.request("GET", &path, &query, &[], b"").expect_success();
    assert!(old.body == tree.read(&key), "the locked version changed");
    let told = replicate("run", &[]).expect_code(1);
    assert_eq!(told.finding_codes(), ["copy-damaged"]);
    let newest = api.versions(BUCKET, &format!("{mode}/orders/{key}"));
    assert_eq!(newest.len(), 2, "walproof wrote over it");
    api.delete(BUCKET, &format!("{mode}/orders/{key}"), Some(&newest[0]))
        .expect_success();
    replicate("run", &[]).expect_code(0);

    // Hidden by a delete marker it is told as missing, and copied again, locked. versitygw
    // refuses that, which is told too, until the marker is gone.
    let hidden = api
        .delete(BUCKET, &format!("{mode}/orders/{key}"), None)
        .expect_success();
    let again = replicate("run", &[]).expect_code(1);
    assert_eq!(again.finding_codes(), ["copy-missing"]);
    if copies_again {
        assert_eq!(crate::Ground::copied(&again), 1, "{}", again.stdout);
    } else {
        let report = again.json();
        assert_eq!(report["copied"]["gone"], 0, "{report:#}");
        assert_eq!(report["failures"][0]["object"], key, "{report:#}");
        let error = report["failures"][0]["error"].as_str().unwrap();
        assert!(error.contains("delete marker"), "{error}");
        let marker = hidden.head.header("x-amz-version-id").unwrap();
        api.delete(BUCKET, &format!("{mode}/orders/{key}"), Some(&marker))
            .expect_success();
    }
    let old = api.request("GET", &path, &query, &[], b"").expect_success();
    assert!(old.body == tree.read(&key), "the locked version changed");
    let last = replicate("run", &[]).expect_code(0);
    assert_eq!(crate::Ground::copied(&last), 0, "{}", last.stdout);
    let compared = replicate("compare", &["--read"]).expect_code(0).json();
    assert_eq!(compared["read"]["equal"]["objects"], objects as u64);
}

#[test]
fn minio_keeps_what_is_copied() {
    require!(Postgres, S3, Barman, Minio);
    let server = Minio::start();
    server.api().create_bucket(BUCKET, true);
    for mode in ["compliance", "governance"] {
        kept(
            &server.endpoint(),
            &server.api(),
            &server.environment(),
            mode,
            true,
        );
    }
}

#[test]
fn versitygw_keeps_what_is_copied() {
    require!(Postgres, S3, Barman);
    let server = S3Server::start_versioned();
    server.create_locked_bucket(BUCKET);
    kept(
        &server.endpoint(),
        &server.api(),
        &server.environment(),
        "compliance",
        false,
    );
}

/// A definition of a cluster is locked as copies are, and one that stays the same is written once
/// more when half of its lock is over: both are kept.
#[test]
fn a_definition_is_locked_and_renewed() {
    require!(S3, Minio);
    let versity = S3Server::start_versioned();
    versity.create_locked_bucket(BUCKET);
    renewed(&versity.endpoint(), &versity.api(), versity.environment());
    let minio = Minio::start();
    minio.api().create_bucket(BUCKET, true);
    renewed(&minio.endpoint(), &minio.api(), minio.environment());
}

fn renewed(endpoint: &str, api: &S3Api, environment: Vec<(String, String)>) {
    let options = StorageOptions {
        endpoint: Some(endpoint.to_owned()),
        environment,
        ..StorageOptions::default()
    };
    let url = format!("s3://{BUCKET}/definitions");
    let store = Store::open(&url.parse().unwrap(), &options).unwrap();
    let cluster = CapturedObject::of(&json!({
        "apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster",
        "metadata": {"namespace": "shop", "name": "orders"}, "spec": {"instances": 3},
    }));
    let content = Content {
        namespace: "shop".to_owned(),
        name: "orders".to_owned(),
        facts: Facts::default(),
        objects: cluster.into_iter().collect(),
        secrets: Vec::new(),
        unread: Vec::new(),
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let now = Utc::now();
    let put = |captured: DateTime<Utc>| {
        let lock = Retention {
            mode: LockMode::Compliance,
            until: captured + TimeDelta::days(30),
        };
        let mut damaged = Vec::new();
        let done = definition::put(
            &store,
            "orders",
            &content,
            captured,
            Some(lock),
            &mut damaged,
        );
        let done = runtime.block_on(done).unwrap();
        assert!(damaged.is_empty());
        done
    };
    let first = put(now);
    assert!(matches!(first, PutDefinition::Stored(_)), "{first:?}");
    let same = put(now + TimeDelta::days(14));
    assert!(matches!(same, PutDefinition::Unchanged(_)), "{same:?}");
    let again = put(now + TimeDelta::days(16));
    assert!(matches!(again, PutDefinition::Renewed(_)), "{again:?}");
    for (kept, days) in [(&first, 30), (&again, 46)] {
        let place = format!("{}/{}", definition::folder("orders"), kept.stored().stamp);
        let mut files: Vec<String> = kept
            .stored()
            .manifest
            .files
            .iter()
            .map(|file| file.file.clone())
            .collect();
        files.push(Manifest::FILE.to_owned());
        for file in files {
            let key = format!("definitions/{place}/{file}");
            let versions = api.versions(BUCKET, &key);
            assert_eq!(versions.len(), 1, "{key}: {versions:?}");
            let query = [("retention", ""), ("versionId", &*versions[0])];
            let path = format!("/{BUCKET}/{key}");
            let told = api.request("GET", &path, &query, &[], b"").expect_success();
            let until: DateTime<Utc> = told.elements("RetainUntilDate")[0].parse().unwrap();
            let off = (until - now - TimeDelta::days(days)).abs();
            assert!(off < TimeDelta::seconds(2), "{key} is kept until {until}");
            let refused = api.delete(BUCKET, &key, Some(&versions[0]));
            assert!(matches!(refused.status, 400 | 403), "{key}: {refused:?}");
        }
    }
}

#[test]
fn a_bucket_without_object_lock_is_refused_before_anything_is_claimed() {
    require!(Postgres, S3, Barman, Minio);
    let tree = Fixture::get(&RepositoryOptions::default()).tree();
    let server = Minio::start();
    let directory = scratch::directory();
    let config = directory.path().join("walproof.yaml");
    let document = format!(
        "version: 1\nstate: sqlite://state.sqlite\nclusters:\n- name: orders\n  \
         primary: {{url: '{}'}}\n  replicas:\n  - name: far\n    url: 's3://{}/orders'\n    \
         replication: {{retention: {{mode: compliance, period: 3d}}}}\n",
        tree.url(),
        Minio::BUCKET,
    );
    std::fs::write(&config, document).unwrap();
    let config = config.to_str().unwrap();
    let arguments = [
        "replicate",
        "run",
        "orders",
        "--output",
        "json",
        "--config",
        config,
    ];
    let refused = run(&arguments, &server.environment()).expect_code(3);
    let report = refused.json();
    assert_eq!(report["ended"]["reason"], "failed", "{report:#}");
    let error = report["ended"]["error"].as_str().unwrap();
    assert!(error.contains("Lock"), "{error}");
    assert_eq!(server.api().versions(Minio::BUCKET, "orders/"), [""; 0]);
}
