//! The servers of the tests can do what tests of copies and locks rest on.

use crate::common::azure::Azurite;
use crate::common::gcs::GcsServer;
use crate::common::minio::Minio;
use crate::common::require;
use crate::common::s3::{READER, S3Server, STRANGER};
use crate::common::s3_api::S3Api;

/// Two versions of an object in a bucket that locks for a day: neither can be deleted.
fn locks_hold(api: &S3Api, refusals: &[u16]) {
    api.default_retention("locked", "COMPLIANCE", 1);
    api.put("locked", "o", b"one");
    api.put("locked", "o", b"two");
    let versions = api.versions("locked", "o");
    assert_eq!(versions.len(), 2);
    let read = |version: &str| {
        let answer = api.request("GET", "/locked/o", &[("versionId", version)], &[], b"");
        answer.expect_success().text()
    };
    for version in &versions {
        let answer = api.delete("locked", "o", Some(version));
        assert!(refusals.contains(&answer.status), "{}", answer.text());
    }
    assert_eq!(
        versions.iter().map(|it| read(it)).collect::<Vec<_>>(),
        ["two", "one"]
    );
    // A delete without a version only hides it.
    api.delete("locked", "o", None).expect_success();
    assert_eq!(api.request("GET", "/locked/o", &[], &[], b"").status, 404);
    assert_eq!(read(&versions[0]), "two");
    // Create-only.
    let once = [("if-none-match", "*")];
    let put = |key: &str| {
        api.request("PUT", &format!("/locked/{key}"), &[], &once, b"x")
            .status
    };
    assert_eq!((put("new"), put("new")), (200, 412));
}

#[test]
fn versitygw_locks_and_its_objects_are_files() {
    require!(S3);
    let server = S3Server::start_versioned();
    server.create_locked_bucket("locked");
    let api = server.api();
    locks_hold(&api, &[403]);
    assert_eq!(
        api.request("GET", "/locked", &[("lifecycle", "")], &[], b"")
            .status,
        501
    );

    // Damage in place, of the newest and of an older version.
    api.put("locked", "d", b"one");
    api.put("locked", "d", b"two");
    let versions = api.versions("locked", "d");
    std::fs::write(server.bucket("locked").join("d"), b"2wo").unwrap();
    std::fs::write(
        server.old_versions("locked", "d").join(&versions[1]),
        b"1ne",
    )
    .unwrap();
    for (version, text) in versions.iter().zip(["2wo", "1ne"]) {
        let answer = api.request("GET", "/locked/d", &[("versionId", version)], &[], b"");
        assert_eq!(answer.expect_success().text(), text);
    }
    let status = |who| {
        let api = S3Api::new(&server.endpoint(), who);
        let get = api.request("GET", "/locked/d", &[], &[], b"").status;
        (get, api.request("PUT", "/locked/x", &[], &[], b"x").status)
    };
    assert_eq!(status(READER), (200, 403));
    assert_eq!(status(STRANGER), (403, 403));
}

#[test]
fn minio_locks_and_knows_lifecycle_rules() {
    require!(Minio);
    let server = Minio::start();
    let api = server.api();
    api.create_bucket("locked", true);
    locks_hold(&api, &[400, 403]);
    let shown = api.request("GET", "/locked", &[("object-lock", "")], &[], b"");
    assert_eq!(shown.expect_success().elements("Mode"), ["COMPLIANCE"]);
    api.lifecycle(
        Minio::BUCKET,
        "<Rule><ID>eats</ID><Status>Enabled</Status><Filter><Prefix>wals/</Prefix></Filter>\
         <Expiration><Days>3</Days></Expiration></Rule>",
    );
    let rules = api.request("GET", "/backups", &[("lifecycle", "")], &[], b"");
    assert_eq!(rules.expect_success().elements("Days"), ["3"]);
    api.create_bucket("versions", false);
    api.enable_versioning("versions");
    api.put("versions", "o", b"one");
    api.put("versions", "o", b"two");
    assert_eq!(api.versions("versions", "o").len(), 2);
}

#[test]
fn servers_go_away_and_come_back_with_what_they_had() {
    require!(S3, Minio, Gcs, Azurite);
    let refused = |endpoint: &str| {
        let host = endpoint
            .trim_start_matches("http://")
            .split('/')
            .next()
            .unwrap()
            .to_owned();
        std::net::TcpStream::connect(host).is_err()
    };
    let mut s3 = S3Server::start();
    s3.api().put(S3Server::BUCKET, "o", b"one");
    s3.interrupt();
    assert!(refused(&s3.endpoint()));
    s3.resume();
    assert_eq!(
        s3.api().request("HEAD", "/backups/o", &[], &[], b"").status,
        200
    );

    let mut minio = Minio::start();
    minio.api().put(Minio::BUCKET, "o", b"one");
    minio.interrupt();
    assert!(refused(&minio.endpoint()));
    minio.resume();
    assert_eq!(
        minio
            .api()
            .request("HEAD", "/backups/o", &[], &[], b"")
            .status,
        200
    );

    let mut gcs = GcsServer::start();
    gcs.put(GcsServer::BUCKET, "o", b"one");
    gcs.interrupt();
    assert!(refused(&gcs.endpoint()));
    gcs.resume();
    assert_eq!(
        gcs.request("GET", "/storage/v1/b/backups/o/o", b"").status,
        200
    );

    // It writes down what it knows every few seconds.
    let mut azurite = Azurite::start();
    azurite.interrupt();
    assert!(refused(&azurite.endpoint()));
    azurite.resume();
    let list = [("comp", "list"), ("restype", "container")];
    let answer = azurite.request("GET", "nothing-here", &list, &[], b"");
    assert_eq!(answer.status, 404, "{}", answer.text());

    let endpoint = minio.endpoint();
    drop(minio);
    assert!(refused(&endpoint));
}
