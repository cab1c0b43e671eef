//! How fast objects go from one bucket to another beside the usual tools. By hand:
//! `cargo test --release --test storage -- --ignored --nocapture speed`.

use std::process::Command;
use std::time::Instant;

use futures::TryStreamExt as _;
use walproof::storage::{OnceOutcome, Store, WriteOptions};

use crate::common::require::cache;
use crate::common::s3::{ADMIN, S3Server};
use crate::kit::{open, options, pattern};

async fn copy(from: &Store, to: &Store, key: &str, size: u64) {
    let mut read = from.read(key).await.unwrap();
    let mut upload = to.write_once(key, WriteOptions::sized(size)).await.unwrap();
    while let Some(bytes) = read.stream.try_next().await.unwrap() {
        upload.write(bytes).await.unwrap();
    }
    let outcome = upload.finish().await.unwrap();
    assert!(matches!(outcome, OnceOutcome::Written(_)));
}

fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|it| it.starts_with("VmHWM:")).unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        / 1024
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement, and long"]
async fn speed() {
    let server = S3Server::start();
    for name in ["ours", "rclone", "minio"] {
        server.create_bucket(name);
    }
    let from = open("s3://backups", &options(server.environment()));
    let body = pattern(64 << 20);
    let mut total = 0_u32;
    for (folder, count, size) in [("base", 4, 64 << 20), ("wals", 150, 3 << 20)] {
        for at in 0..count {
            let key = format!("{folder}/{at:04}");
            // By the server, so that it has the tag that the others believe in.
            from.put_new(&key, body.slice(..size)).await.unwrap();
            total += u32::try_from(size >> 20).unwrap();
        }
    }
    let mib = |from: Instant| f64::from(total) / from.elapsed().as_secs_f64();
    for round in 0..2 {
        let to = open(
            &format!("s3://ours/{round}"),
            &options(server.environment()),
        );
        let begun = Instant::now();
        from.list("")
            .map_ok(|entry| (from.clone(), to.clone(), entry))
            .try_for_each_concurrent(8, |(from, to, entry)| async move {
                let task = async move { copy(&from, &to, &entry.key, entry.size).await };
                tokio::spawn(task).await.unwrap();
                Ok(())
            })
            .await
            .unwrap();
        println!("walproof: {:.0} MiB/s, {} MiB", mib(begun), peak_memory());

        let begun = Instant::now();
        let flags = "--transfers 8 --checkers 8 --s3-upload-concurrency 4 --ignore-checksum";
        let status = Command::new(cache().join("bin/rclone"))
            .args(["copy", ":s3:backups", &format!(":s3:rclone/{round}")])
            .args(["--config", "/dev/null", "--s3-provider", "Other"])
            .args(["--s3-access-key-id", ADMIN.key])
            .args(["--s3-secret-access-key", ADMIN.secret])
            .args(["--s3-endpoint", &server.endpoint()])
            .args(["--use-server-modtime", "--s3-no-check-bucket"])
            .args(["--disable", "copy", "--quiet"])
            .args(flags.split(' '))
            .status()
            .unwrap();
        assert!(status.success());
        println!("rclone: {:.0} MiB/s", mib(begun));

        let host = server.endpoint().replace("http://", "");
        let begun = Instant::now();
        let status = Command::new(cache().join("bin/mc"))
            .args(["--quiet", "mirror"])
            .args(["a/backups", &format!("b/minio/{round}")])
            .env(
                "MC_HOST_a",
                format!("http://{}:{}@{host}", ADMIN.key, ADMIN.secret),
            )
            .env(
                "MC_HOST_b",
                format!("http://{}:{}@{host}", ADMIN.key, ADMIN.secret),
            )
            .stdout(std::process::Stdio::null())
            .status()
            .unwrap();
        assert!(status.success());
        println!("mc: {:.0} MiB/s", mib(begun));
    }
}
