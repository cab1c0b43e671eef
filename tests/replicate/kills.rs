//! Killed at any moment, a run is gone on with: nothing is copied twice, nothing is half
//! visible, and the comparison at the end is clean.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use crate::common::repository::{Fixture, RepositoryOptions};
use crate::common::require;
use crate::common::s3::S3Server;
use crate::{Ground, assert_same, tree};

const KILLS: u32 = 60;

fn kill_often(ground: &Ground, source: &std::path::Path, copy: &std::path::Path) {
    let whole = tree(source);
    let mut seen: BTreeMap<String, std::time::SystemTime> = BTreeMap::new();
    let mut grew = 0;
    for round in 0..KILLS {
        // Slow enough that kills meet every stage.
        let mut command = ground.command("run", &["--bandwidth", "3MB/s"]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        // Spread over start, listing, copying; never the same twice.
        std::thread::sleep(Duration::from_millis(u64::from(20 + round * 37 % 400)));
        child.kill().unwrap();
        child.wait().unwrap();
        let before = seen.len();
        for (key, bytes) in tree(copy) {
            if key.contains(".walproof-staging-") {
                continue;
            }
            assert!(whole[&key] == bytes, "{key} is half a copy");
            let written = std::fs::metadata(copy.join(&key))
                .unwrap()
                .modified()
                .unwrap();
            let first = seen.entry(key.clone()).or_insert(written);
            assert_eq!(*first, written, "{key} was written twice");
        }
        // A description is there only with all that it claims.
        for info in seen.keys().filter(|key| key.ends_with("backup.info")) {
            let folder = info.trim_end_matches("backup.info");
            for key in whole.keys().filter(|key| key.starts_with(folder)) {
                assert!(seen.contains_key(key), "{info} without {key}");
            }
        }
        grew += u32::from(seen.len() > before);
    }
    assert!(
        grew > 5,
        "{grew} of {KILLS} kills came while something was copied"
    );
    let last = ground.run(&[]).expect_code(0);
    assert_eq!(Ground::copied(&last) as usize, whole.len() - seen.len());
    let compared = ground.compare(&["--read"]).expect_code(0).json();
    assert_eq!(compared["read"]["equal"]["objects"], whole.len() as u64);
    assert_eq!(compared["findings"], serde_json::json!([]));
}

#[test]
fn killed_between_two_buckets() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions::default());
    let (s3, url) = fixture.s3();
    let target = S3Server::start();
    let (ground, copy) = Ground::s3(&s3, &url, &target);
    kill_often(&ground, &s3.object("pg/orders"), &copy);
    assert_same(&s3.object("pg/orders"), &copy);
}

#[test]
fn killed_between_two_directories() {
    require!(Postgres, S3, Barman);
    let source = Fixture::get(&RepositoryOptions::default()).tree();
    let (ground, copy) = Ground::files(&source);
    kill_often(&ground, source.root(), &copy);
    let mut here = tree(&copy);
    here.retain(|key, _| !key.contains(".walproof-staging-"));
    assert!(here == tree(source.root()));
}
