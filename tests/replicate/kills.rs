//! Killed at any moment, a run is gone on with: nothing is copied twice, nothing is half
//! visible, and the comparison at the end is clean.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

use crate::common::damage::Tree;
use crate::common::repository::{Fixture, RepositoryOptions};
use crate::common::require;
use crate::common::s3::S3Server;
use crate::{Ground, tree};

const KILLS: u32 = 60;

/// A repository of some hundred objects, one of them so large that it is sent in parts.
fn many() -> Tree {
    let source = Fixture::get(&RepositoryOptions::default()).tree();
    let newest = source.segments().pop().unwrap();
    let key = source.wal_key(&newest);
    let bytes = source.read(&key);
    let number = u64::from_str_radix(&newest[16..], 16).unwrap();
    for next in number + 1..number + 300 {
        let name = format!("{}{next:08X}", &newest[..16]);
        source.write(
            &key.replace(&newest, &name),
            &bytes[..bytes.len().min(20_000)],
        );
    }
    let large: Vec<u8> = (0..30_000_000_u32).map(|n| (n % 251) as u8).collect();
    source.write("base/20990101T000000/data.tar", &large);
    source
}

fn kill_often(ground: &Ground, source: &Path, copy: &Path) {
    let whole = tree(source);
    let mut seen: BTreeMap<String, SystemTime> = BTreeMap::new();
    let mut grew = 0;
    for round in 0..KILLS {
        // Slow enough that kills meet every stage.
        let mut command = ground.command("run", &["--bandwidth", "3MB/s"]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        if round % 2 == 0 {
            // Amid the copying.
            let begin = Instant::now();
            while count(copy) <= seen.len() && begin.elapsed() < Duration::from_secs(10) {
                std::thread::sleep(Duration::from_millis(2));
            }
            std::thread::sleep(Duration::from_millis(u64::from(round * 13 % 60)));
        } else {
            // Spread over start, listing and the first copies.
            std::thread::sleep(Duration::from_millis(u64::from(10 + round * 37 % 400)));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let before = seen.len();
        for (key, bytes) in objects(copy) {
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
        grew > 20,
        "{grew} of {KILLS} kills came while something was copied"
    );
    let rest = whole.len() - seen.len();
    assert!(rest > 0, "there is nothing left to go on with");
    std::thread::sleep(Duration::from_secs(2));
    let last = ground.run(&["--abandoned-after", "1s"]).expect_code(0);
    assert_eq!(Ground::copied(&last), rest as u64);
    let compared = ground.compare(&["--read"]).expect_code(0).json();
    assert_eq!(compared["read"]["equal"]["objects"], whole.len() as u64);
    assert_eq!(compared["findings"], serde_json::json!([]));
    assert!(tree(copy) == whole, "something else lies at the target");
}

fn is_staging(key: &str) -> bool {
    key.contains(".walproof-staging-")
}

fn objects(copy: &Path) -> impl Iterator<Item = (String, Vec<u8>)> {
    tree(copy).into_iter().filter(|(key, _)| !is_staging(key))
}

/// How many objects there are, without reading them.
fn count(copy: &Path) -> usize {
    let mut count = 0;
    let mut open = vec![copy.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if !is_staging(&path.to_string_lossy()) {
                count += 1;
            }
        }
    }
    count
}

#[test]
fn killed_between_two_buckets() {
    require!(Postgres, S3, Barman);
    let tree = many();
    let s3 = S3Server::start();
    s3.fill("pg/orders", tree.root());
    let url = format!("s3://{}/pg/orders", S3Server::BUCKET);
    let target = S3Server::start();
    let (ground, copy) = Ground::s3(&s3, &url, &target);
    kill_often(&ground, &s3.object("pg/orders"), &copy);
    // Parts of uploads that were killed are gone too.
    let parts = target.bucket(S3Server::BUCKET).join(".sgwtmp/multipart");
    assert_eq!(count(&parts), 0, "{:?}", crate::tree(&parts).keys());
}

#[test]
fn killed_between_two_directories() {
    require!(Postgres, S3, Barman);
    let source = many();
    let (ground, copy) = Ground::files(&source);
    kill_often(&ground, source.root(), &copy);
}
