//! How buckets are set up, as real servers tell it.

use chrono::Utc;
use walproof::storage::{
    DefaultRetention, Encryption, ErrorKind, Known, LockMode, ObjectLock, Public,
};

use crate::common::azure::Azurite;
use crate::common::gcs::GcsServer;
use crate::common::minio::Minio;
use crate::common::require;
use crate::common::s3::{READER, S3Server, STRANGER, environment};
use crate::kit::{file_store, open, options};

fn everybody(bucket: &str) -> serde_json::Value {
    serde_json::json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"AWS": ["*"]}, "Action": ["s3:GetObject"],
        "Resource": [format!("arn:aws:s3:::{bucket}/*")]}]})
}

#[tokio::test(flavor = "multi_thread")]
async fn minio_tells() {
    require!(Minio);
    let server = Minio::start();
    let api = server.api();
    let plain = open("s3://backups/p", &options(server.environment()));
    let told = plain.posture().await.unwrap();
    assert_eq!(told.versioning, Known::Told(false));
    let none = ObjectLock {
        enabled: false,
        default: None,
    };
    assert_eq!(told.object_lock, Known::Told(none));
    assert_eq!(told.lifecycle, Known::Told(vec![]));
    assert_eq!(told.public, Known::Told(Public::No));
    let none = Encryption {
        algorithm: None,
        key: None,
    };
    assert_eq!(told.encryption, Known::Told(none));
    assert_eq!(told.server.as_deref(), Some("MinIO"));

    api.create_bucket("locked", true);
    api.default_retention("locked", "COMPLIANCE", 30);
    api.lifecycle(
        "locked",
        "<Rule><ID>eats</ID><Status>Enabled</Status><Filter><Prefix>wals/</Prefix></Filter>\
         <Expiration><Days>14</Days></Expiration>\
         <NoncurrentVersionExpiration><NoncurrentDays>3</NoncurrentDays></NoncurrentVersionExpiration>\
         </Rule>\
         <Rule><ID>tagged</ID><Status>Disabled</Status><Filter><And><Prefix>a/</Prefix>\
         <Tag><Key>k</Key><Value>v</Value></Tag></And></Filter>\
         <Expiration><Date>2030-01-01T00:00:00Z</Date></Expiration></Rule>",
    );
    api.policy("locked", &everybody("locked"));
    let store = open("s3://locked", &options(server.environment()));
    let told = store.posture().await.unwrap();
    assert_eq!(told.versioning, Known::Told(true));
    let lock = ObjectLock {
        enabled: true,
        default: Some(DefaultRetention {
            mode: LockMode::Compliance,
            days: 30,
        }),
    };
    assert_eq!(told.object_lock, Known::Told(lock));
    let rules = told.lifecycle.told().unwrap();
    assert_eq!(rules.len(), 2);
    let (eats, tagged) = (&rules[0], &rules[1]);
    assert_eq!(eats.id.as_deref(), Some("eats"));
    assert_eq!((&*eats.prefix, eats.enabled), ("wals/", true));
    assert_eq!(
        (eats.expire_days, eats.noncurrent_days),
        (Some(14), Some(3))
    );
    assert_eq!(eats.only, None);
    assert_eq!((&*tagged.prefix, tagged.enabled), ("a/", false));
    assert_eq!(tagged.only.as_deref(), Some("tag k=v"));
    let date: chrono::DateTime<Utc> = "2030-01-01T00:00:00Z".parse().unwrap();
    assert_eq!(tagged.expire_date, Some(date));
    assert!(
        matches!(told.public, Known::Told(Public::Yes { .. })),
        "{:?}",
        told.public
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn versitygw_tells_what_it_knows() {
    require!(S3);
    let server = S3Server::start_versioned();
    let api = server.api();
    let store = open("s3://backups/p", &options(server.environment()));
    let told = store.posture().await.unwrap();
    assert_eq!(told.versioning, Known::Told(false));
    assert_eq!(told.public, Known::Told(Public::No), "{:?}", told.public);
    // It has no such interface: that is not "no rules".
    let Known::NotTold { why } = &told.lifecycle else {
        panic!("{:?}", told.lifecycle)
    };
    assert!(why.contains("does not know lifecycle rules"), "{why}");

    server.create_locked_bucket("locked");
    api.default_retention("locked", "GOVERNANCE", 7);
    api.policy("locked", &everybody("locked"));
    let store = open("s3://locked", &options(server.environment()));
    let told = store.posture().await.unwrap();
    assert_eq!(told.versioning, Known::Told(true));
    let lock = ObjectLock {
        enabled: true,
        default: Some(DefaultRetention {
            mode: LockMode::Governance,
            days: 7,
        }),
    };
    assert_eq!(told.object_lock, Known::Told(lock));
    assert!(
        matches!(told.public, Known::Told(Public::Yes { .. })),
        "{:?}",
        told.public
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_ask_is_told_nothing_and_that_is_said() {
    require!(S3);
    let server = S3Server::start();
    for who in [READER, STRANGER] {
        let store = open(
            "s3://backups",
            &options(environment(&server.endpoint(), who)),
        );
        let told = store.posture().await.unwrap();
        let Known::NotTold { why } = &told.versioning else {
            panic!("{told:?}")
        };
        assert!(why.contains("may not be asked"), "{why}");
        assert!(told.public.told().is_none(), "{:?}", told.public);
        assert!(told.object_lock.told().is_none(), "{:?}", told.object_lock);
        assert!(told.encryption.told().is_none(), "{:?}", told.encryption);
    }
    // What cannot be asked at all is an error.
    let store = open("s3://nowhere", &options(server.environment()));
    assert_eq!(
        store.posture().await.unwrap_err().kind,
        ErrorKind::MissingBucket
    );
    let mut wrong = server.environment();
    wrong[1].1 = "wrong-secret".to_owned();
    let store = open("s3://backups", &options(wrong));
    assert_eq!(
        store.posture().await.unwrap_err().kind,
        ErrorKind::Credentials
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn fake_gcs_server_tells_its_resource() {
    require!(Gcs);
    let server = GcsServer::start();
    let store = open("gs://backups/p", &options(server.environment()));
    let told = store.posture().await.unwrap();
    assert_eq!(told.versioning, Known::Told(false));
    assert_eq!(told.lifecycle, Known::Told(vec![]));
    // It knows no policies.
    assert!(told.public.told().is_none(), "{:?}", told.public);
    let store = open("gs://nowhere", &options(server.environment()));
    let told = store.posture().await;
    assert!(
        told.is_err() || told.as_ref().unwrap().versioning.told().is_none(),
        "{told:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn azurite_tells_the_containers_properties() {
    require!(Azurite);
    let server = Azurite::start();
    let query = [("restype", "container")];
    let headers = [("x-ms-blob-public-access", "blob")];
    server
        .request("PUT", "public", &query, &headers, b"")
        .expect_success();
    let store = open("az://backups/p", &options(server.environment()));
    let told = store.posture().await.unwrap();
    assert_eq!(told.public, Known::Told(Public::No));
    assert!(told.lifecycle.told().is_none());
    assert!(told.versioning.told().is_none());
    let lock = told.object_lock.told().unwrap();
    assert!(!lock.enabled);
    let store = open("az://public", &options(server.environment()));
    let told = store.posture().await.unwrap();
    assert!(
        matches!(told.public, Known::Told(Public::Yes { .. })),
        "{:?}",
        told.public
    );
    let store = open("az://nowhere", &options(server.environment()));
    assert_eq!(
        store.posture().await.unwrap_err().kind,
        ErrorKind::MissingBucket
    );
}

#[tokio::test]
async fn a_directory_tells_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let told = file_store(directory.path()).posture().await.unwrap();
    assert!(told.versioning.told().is_none());
    assert!(told.object_lock.told().is_none());
    assert!(told.lifecycle.told().is_none());
    assert!(told.public.told().is_none());
    assert!(told.encryption.told().is_none());
}
