//! Readers that go away, and more findings than anybody wants to read.

use std::process::Stdio;

use crate::common::damage::Tree;
use crate::common::repository::{Fixture, RepositoryOptions};
use crate::common::require;
use crate::common::walproof::{command, run};
use crate::kit::Place;
use crate::places::state_of;

/// A repository with many broken base backups.
fn broken(count: u32) -> Tree {
    let tree = Fixture::get(&RepositoryOptions::default()).tree();
    for number in 0..count {
        let info = format!("base/20200101T{number:06}/backup.info");
        tree.write(&info, b"status=FAILED\nerror=no space left\n");
    }
    tree
}

#[test]
fn many_findings_are_counted_and_shown_as_far_as_asked() {
    require!(Postgres, S3, Barman);
    let place = Place::new();
    let state = state_of(&place);
    let tree = broken(3000);
    let url = tree.url();
    let go = |words: &[&str]| {
        let all = [&["verify", &url, "--state", &state], words].concat();
        run(&all, &[]).expect_code(1)
    };
    let json = go(&["--output", "json", "--limit", "1"]).json();
    let text = json.to_string();
    let all = text.matches("\"backup-failed\"").count();
    assert!(all >= 3000, "{all} findings in JSON");
    for (limit, lines) in [("0", 60), ("5", 100)] {
        let run = go(&["--limit", limit]);
        let count = run.stdout.lines().count();
        assert!(
            count < lines,
            "--limit {limit}: {count} lines\n{}",
            run.stdout
        );
        assert!(
            run.stdout.contains("more; --limit or --output json"),
            "{}",
            run.stdout
        );
    }
    let whole = go(&["--limit", "100000"]).stdout;
    assert!(!whole.contains("more; --limit"));
    assert!(whole.matches("backup-failed").count() >= 3000);

    // `walproof verify … | head -1` and `… 2>&- `: the verdict is the same.
    for (format, expected) in [("text", 1), ("json", 1)] {
        let words = [
            "verify", &url, "--state", &state, "--limit", "100000", "--output", format,
        ];
        let mut child = command(&words, &[])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take()); // before anything is written
        let ended = child.wait_with_output().unwrap();
        assert_eq!(ended.status.code(), Some(expected), "{format}");
        let stderr = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(stderr, "", "{format}");
    }
}

#[test]
fn a_drill_whose_readers_are_gone_still_cleans_up_and_is_recorded() {
    require!(Postgres, S3, Barman);
    let place = Place::new();
    let tree = Fixture::get(&RepositoryOptions::default()).tree();
    let arguments = place.arguments(&tree.url(), &[]);
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut child = command(&words, &[])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop((child.stdout.take(), child.stderr.take()));
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(crate::places::newest_run(&place)["verdict"], "proven");
    place.assert_clean();
}
