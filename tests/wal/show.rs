//! What the archive's WAL is made of, held against `pg_waldump --stats`.

use std::collections::BTreeMap;
use std::process::Command;

use crate::common::postgres::TestServer;
use crate::common::require;
use crate::common::walproof::run;
use crate::common::{codec, scratch};
use crate::story;

#[test]
fn the_statistics_are_those_of_pg_waldump() {
    require!(Postgres);
    let story = story();
    let url = story.tree.url();
    let shown = run(&["wal", "show", &url, "--output", "json"], &[])
        .expect_code(0)
        .json();

    let plain = scratch::directory();
    let segments = story.tree.segments();
    for name in &segments {
        let key = story.tree.wal_key(name);
        let bytes = codec::decode(".gz", &story.tree.read(&key));
        std::fs::write(plain.path().join(name), bytes).unwrap();
    }
    let stretch = &shown["read"]["stretches"][0];
    let output = Command::new(TestServer::bin("pg_waldump"))
        .arg("--stats")
        .arg("--path")
        .arg(plain.path())
        .arg("--start")
        .arg(stretch["begin"].as_str().unwrap())
        .arg("--end")
        .arg(stretch["end"].as_str().unwrap())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut expected = BTreeMap::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [name, records, "(", ..] = words.as_slice()
            && let Ok(records) = records.parse::<u64>()
            && records > 0
            && *name != "Total"
        {
            expected.insert((*name).to_owned(), records);
        }
    }
    assert!(expected.len() > 5, "{text}");
    let found: BTreeMap<String, u64> = shown["statistics"]["managers"]
        .as_object()
        .unwrap()
        .values()
        .map(|manager| {
            (
                manager["name"].as_str().unwrap().to_owned(),
                manager["records"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(found, expected);
    let over_time: u64 = shown["commits_over_time"]
        .as_array()
        .unwrap()
        .iter()
        .map(|bucket| bucket["commits"].as_u64().unwrap())
        .sum();
    assert_eq!(shown["statistics"]["commits"], over_time);
    assert!(over_time > 5);

    // A damaged segment ends a stretch, is a finding, and the rest is still shown.
    let key = story.tree.wal_key(&segments[segments.len() / 2]);
    story.tree.flip_middle(&key);
    let shown = run(&["wal", "show", &url, "--output", "json"], &[])
        .expect_code(1)
        .json();
    let objects: Vec<&str> = shown["read"]["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| finding["object"].as_str().unwrap())
        .collect();
    assert_eq!(objects, [key]);
    assert_eq!(shown["read"]["stretches"].as_array().unwrap().len(), 2);
}
