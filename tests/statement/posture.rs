//! Settings of buckets as the statement tells them, with a server that knows lifecycle rules
//! and one that does not.

use crate::Ground;
use crate::common::minio::Minio;
use crate::common::repository::{Fixture, PREFIX, RepositoryOptions, SERVER};
use crate::common::require;
use crate::common::s3::{READER, S3Server};

/// A cluster with its primary in MinIO.
fn in_minio(minio: &Minio, bucket: &str, tier: &str) -> Ground {
    let fixture = Fixture::get(&RepositoryOptions::default());
    let tree = fixture.tree();
    let api = minio.api();
    for key in tree.keys() {
        api.put(
            bucket,
            &format!("{PREFIX}/{SERVER}/{key}"),
            &tree.read(&key),
        );
    }
    let cluster = format!(
        "  primary: {{url: 's3://{bucket}/{PREFIX}/{SERVER}', endpoint: '{}'}}\n",
        minio.endpoint()
    );
    Ground::new(&cluster, tier, minio.environment())
}

fn codes(ground: &Ground, code: i32) -> Vec<String> {
    let status = ["replicate", "status", "orders"];
    ground.run(&status).expect_code(code).finding_codes()
}

#[test]
fn lifecycle_rules_that_eat_the_archive_are_found() {
    require!(Postgres, S3, Barman, Minio);
    let minio = Minio::start();
    let api = minio.api();
    api.create_bucket("good", true);
    let ground = in_minio(&minio, "good", "retention: 30d, max_backup_age: 2d");
    let rule = |prefix: &str, days: u32, status: &str| {
        format!(
            "<Rule><ID>old</ID><Status>{status}</Status><Filter><Prefix>{prefix}</Prefix></Filter><Expiration><Days>{days}</Days></Expiration></Rule>"
        )
    };
    // The database is a few minutes old; it cannot go back 30 days.
    let young = "retention-too-short";
    assert_eq!(codes(&ground, 1), ["bucket-not-encrypted", young]);
    let eats = "bucket-lifecycle-eats-archive";
    for (prefix, days, status, found) in [
        ("pg/orders/wals/", 14, "Enabled", true),
        ("", 31, "Enabled", true),
        ("pg/", 32, "Enabled", false),
        ("pg/orders/wals/", 14, "Disabled", false),
        ("logs/", 1, "Enabled", false),
    ] {
        api.lifecycle("good", &rule(prefix, days, status));
        let codes = codes(&ground, 1);
        assert_eq!(
            codes.contains(&eats.to_owned()),
            found,
            "{prefix} {days} {status}"
        );
    }
    api.lifecycle("good", &rule("pg/orders/wals/", 14, "Enabled"));
    let text = ground
        .text(&["replicate", "status", "orders"])
        .expect_code(1);
    assert!(
        text.stdout
            .contains("ifecycle rule `old` for `pg/orders/wals/`"),
        "{}",
        text.stdout
    );
}

#[test]
fn a_bucket_that_everybody_reads_and_that_keeps_no_versions_is_found() {
    require!(Postgres, S3, Barman, Minio);
    let minio = Minio::start();
    let ground = in_minio(&minio, Minio::BUCKET, "");
    assert_eq!(
        codes(&ground, 1),
        ["bucket-not-encrypted", "bucket-not-versioned"]
    );
    minio.api().policy(
        Minio::BUCKET,
        &serde_json::json!({"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Principal": {"AWS": ["*"]}, "Action": ["s3:GetObject"],
            "Resource": [format!("arn:aws:s3:::{}/*", Minio::BUCKET)]}]}),
    );
    assert!(codes(&ground, 1).contains(&"bucket-public".to_owned()));
}

#[test]
fn what_is_not_told_is_shown_as_that() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions::default());
    let (s3, url) = fixture.s3();
    let cluster = format!(
        "  primary: {{url: '{url}', endpoint: '{}'}}\n",
        s3.endpoint()
    );
    let ground = Ground::new(&cluster, "", s3.environment_for(READER));
    let text = ground
        .text(&["replicate", "status", "orders"])
        .expect_code(0);
    assert!(text.stdout.contains("not told"), "{}", text.stdout);
    assert!(!text.stdout.contains("no lifecycle rules"));
    let json = ground.run(&["replicate", "status", "orders"]).json();
    assert!(json["copies"][0]["posture"]["lifecycle"]["not-told"]["why"].is_string());
    drop::<S3Server>(s3);
}
