//! Whether locked objects are locked, shown by trying; and that expiry tells of them.

use walproof::replicate::lock_trial::{Attempt, try_lock};
use walproof::storage::{LockMode, StorageOptions, Store};

use crate::Ground;
use crate::common::minio::Minio;
use crate::common::repository::{Fixture, PREFIX, RepositoryOptions, SERVER};
use crate::common::require;
use crate::common::s3::S3Server;

pub(crate) fn open(url: &str, environment: Vec<(String, String)>) -> Store {
    let options = StorageOptions {
        allow_http: true,
        endpoint: environment
            .iter()
            .find(|(name, _)| name == "AWS_ENDPOINT_URL")
            .map(|(_, value)| value.clone()),
        environment,
        ..StorageOptions::default()
    };
    Store::open(&url.parse().unwrap(), &options).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_bucket_withstands_in_both_modes() {
    require!(S3, Minio);
    let versity = S3Server::start_versioned();
    versity.create_locked_bucket("locked");
    let minio = Minio::start();
    minio.api().create_bucket("locked", true);
    for environment in [versity.environment(), minio.environment()] {
        let store = open("s3://locked/pg/orders", environment);
        for mode in [LockMode::Compliance, LockMode::Governance] {
            let trial = try_lock(&store, mode).await.unwrap();
            assert!(trial.proven, "{trial:?}");
            assert!(trial.version.is_some());
            assert!(matches!(trial.delete, Attempt::Refused { .. }), "{trial:?}");
            assert_eq!(trial.overwrite, Attempt::Survived);
            assert_eq!(trial.may_delete, Some(true), "{trial:?}");
        }
        // What is still locked stays, and is nobody's trouble.
        let third = try_lock(&store, LockMode::Compliance).await.unwrap();
        assert_eq!((third.tidied, third.left), (0, 2));
        let catalog = walproof::repository::open(store).catalog().await.unwrap();
        assert_eq!((catalog.objects, catalog.unknown.count), (0, 0));
        assert_eq!(catalog.findings, []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_lock_is_not_proven() {
    require!(S3, Minio);
    let versity = S3Server::start_versioned();
    let minio = Minio::start();
    let directory = tempfile::tempdir().unwrap();
    let url = format!("file://{}", directory.path().display());
    for store in [
        open("s3://backups/pg", versity.environment()),
        open("s3://backups/pg", minio.environment()),
        open(&url, Vec::new()),
    ] {
        let trial = try_lock(&store, LockMode::Compliance).await.unwrap();
        assert!(!trial.proven, "{trial:?}");
        assert!(matches!(trial.overwrite, Attempt::NotTried { .. }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_write_cannot_try() {
    require!(S3);
    let server = S3Server::start_versioned();
    server.create_locked_bucket("locked");
    let reader = server.environment_for(crate::common::s3::READER);
    let error = try_lock(&open("s3://locked/pg", reader), LockMode::Compliance)
        .await
        .unwrap_err();
    assert_eq!(error.kind, walproof::storage::ErrorKind::Denied);
}

/// A copy in a bucket with object lock, and a file of the same as the primary.
fn locked_copy(server: &S3Server, replication: &str) -> (Fixture, Ground) {
    server.create_locked_bucket("locked");
    let fixture = Fixture::get(&RepositoryOptions::default());
    let tree = fixture.tree();
    let primary = crate::common::scratch::directory().keep();
    crate::common::scratch::copy_tree(tree.root(), &primary.join("p"));
    let cluster = format!(
        "  primary: {{url: 'file://{}', place: here}}\n  replicas: [{{name: far, place: there, url: 's3://locked/{PREFIX}/{SERVER}', endpoint: '{}', replication: {{{replication}}}}}]\n",
        primary.join("p").display(),
        server.endpoint()
    );
    (fixture, Ground::new(&cluster, "", server.environment()))
}

#[test]
fn expiry_tells_of_what_is_locked_and_spares_the_rest_of_it() {
    require!(Postgres, S3, Barman);
    let server = S3Server::start_versioned();
    let replication = "retention: {mode: compliance, period: 1d}, keep: 1s";
    let (fixture, ground) = locked_copy(&server, replication);
    ground.run(&["replicate", "run", "orders"]).expect_code(0);
    let plan = ground
        .run(&["replicate", "expire", "orders"])
        .expect_code(0)
        .json();
    let all = plan["plan"]["objects"].as_array().unwrap().len() as u64;
    let digest = plan["plan"]["digest"].as_str().unwrap().to_owned();
    let done = ground
        .run(&["replicate", "expire", "orders", "--confirm", &digest])
        .expect_code(1)
        .json();
    let outcome = &done["outcome"];
    let left = outcome["left"].as_array().unwrap();
    let info = format!("base/{}/backup.info", fixture.facts.backups[0].id);
    assert_eq!(left[0]["key"], info.as_str());
    assert!(left[0]["because"].as_str().unwrap().contains("refuses"));
    // WAL before its begin was tried, and is locked too.
    let number = |name: &str| outcome[name].as_u64().unwrap();
    assert_eq!(number("removed"), 0);
    assert_eq!(number("refused") + number("spared"), all);
    assert!(number("spared") > 0);
    // Everything is still listed and the plan is the same: nothing hides behind a mark.
    let again = ground
        .run(&["replicate", "expire", "orders"])
        .expect_code(0)
        .json();
    assert_eq!(again["plan"]["digest"], digest.as_str());
}

#[test]
fn expiry_removes_the_versions_themselves() {
    require!(Postgres, S3, Barman);
    let server = S3Server::start_versioned();
    let (fixture, ground) = locked_copy(&server, "keep: 1s");
    ground.run(&["replicate", "run", "orders"]).expect_code(0);
    let plan = ground
        .run(&["replicate", "expire", "orders"])
        .expect_code(0)
        .json();
    let digest = plan["plan"]["digest"].as_str().unwrap();
    ground
        .run(&["replicate", "expire", "orders", "--confirm", digest])
        .expect_code(0);
    let first = format!("{PREFIX}/{SERVER}/base/{}", fixture.facts.backups[0].id);
    assert_eq!(
        server.api().versions("locked", &first),
        Vec::<String>::new()
    );
    let second = format!("{PREFIX}/{SERVER}/base/{}", fixture.facts.backups[1].id);
    assert!(!server.api().versions("locked", &second).is_empty());
}

#[test]
fn the_statement_says_so_from_the_attempt() {
    require!(Postgres, S3, Barman);
    let server = S3Server::start_versioned();
    let (_, ground) = locked_copy(&server, "retention: {mode: compliance, period: 1d}");
    ground.run(&["replicate", "run", "orders"]).expect_code(0);
    let status = ground
        .run(&["replicate", "status", "orders"])
        .expect_code(0)
        .json();
    assert!(status["copies"][1]["lock_trial"].is_null());
    let text = ground
        .text(&["replicate", "status", "orders"])
        .expect_code(0);
    assert!(text.stdout.contains("not tried"), "{}", text.stdout);

    let tried = ground
        .run(&["replicate", "status", "orders", "--try-lock"])
        .expect_code(0);
    let trial = &tried.json()["copies"][1]["lock_trial"];
    assert_eq!(trial["proven"], true, "{trial:#}");
    assert!(
        tried.json()["copies"][0]["lock_trial"].is_null(),
        "the primary was written to"
    );
    // Its object is no trouble for whoever lists, compares or copies.
    ground
        .run(&["verify", "orders", "--copy", "far"])
        .expect_code(0);
    ground.run(&["replicate", "run", "orders"]).expect_code(0);
    let compared = ground
        .run(&["replicate", "compare", "orders"])
        .expect_code(0);
    assert_eq!(compared.finding_codes(), Vec::<String>::new());
}

#[test]
fn a_bucket_without_lock_is_a_finding_where_one_is_configured() {
    require!(Postgres, S3, Barman);
    let server = S3Server::start_versioned();
    let (_, ground) = locked_copy(&server, "retention: {mode: compliance, period: 1d}");
    // The same configuration, another bucket.
    let file = ground.path().join("walproof.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("s3://locked/", "s3://backups/")).unwrap();
    let fixture = Fixture::get(&RepositoryOptions::default());
    server.fill(&format!("{PREFIX}/{SERVER}"), fixture.tree().root());
    for options in [&[][..], &["--try-lock"]] {
        let mut all = vec!["replicate", "status", "orders"];
        all.extend(options);
        let status = ground.run(&all).expect_code(1);
        assert!(
            status
                .finding_codes()
                .contains(&"copy-not-locked".to_owned())
        );
    }
}
