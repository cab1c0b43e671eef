//! When did this relation go away, and what is the position just before?

use serde_json::Value;

use crate::common::require;
use crate::common::walproof::run;
use crate::{Story, story};

fn find(story: &Story, arguments: &[&str], code: i32) -> Value {
    let url = story.tree.url();
    let mut all = vec!["wal", "find", &url, "--output", "json"];
    all.extend_from_slice(arguments);
    run(&all, &[]).expect_code(code).json()
}

fn hits(found: &Value) -> &Vec<Value> {
    found["found"]["hits"].as_array().unwrap()
}

#[test]
fn a_drop_a_truncation_and_restore_points_are_found() {
    require!(Postgres);
    let mut story = story();

    let wanted = format!("{}/{}", story.database, story.invoices);
    let found = find(&story, &["--dropped", &wanted], 0);
    let [hit] = hits(&found).as_slice() else {
        panic!("{found:#}");
    };
    assert_eq!(hit["xid"], story.dropping);
    assert_eq!(hit["created_files"], 0, "dropped, not rewritten");
    assert_eq!(hit["commit_before"]["xid"], story.before_drop);

    // The file number alone is enough, and another one is not found.
    let number = story.invoices.to_string();
    assert_eq!(
        hits(&find(&story, &["--dropped", &number], 0)),
        std::slice::from_ref(hit)
    );
    let other = format!("{}/{}", story.database + 1, story.invoices);
    assert!(hits(&find(&story, &["--dropped", &other], 1)).is_empty());
    let kept = story.ledger.to_string();
    assert!(hits(&find(&story, &["--dropped", &kept], 1)).is_empty());

    let found = find(&story, &["--dropped", &story.journal.to_string()], 0);
    assert_eq!(hits(&found)[0]["xid"], story.truncating);
    assert!(
        hits(&found)[0]["created_files"].as_u64() > Some(0),
        "the same transaction made the new file: {found:#}"
    );

    let found = find(&story, &["--restore-point"], 0);
    let names: Vec<&str> = hits(&found)
        .iter()
        .map(|hit| hit["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["before release", "after release"]);
    let found = find(&story, &["--restore-point", "after release"], 0);
    assert_eq!(found["found"]["count"], 1);
    find(&story, &["--restore-point", "never made"], 1);

    let xid = story.truncating.to_string();
    let found = find(&story, &["--xid", &xid], 0);
    let (time, lsn) = (&hits(&found)[0]["time"], &hits(&found)[0]["lsn"]);
    let found = find(
        &story,
        &["--around", time.as_str().unwrap(), "--within", "1s"],
        0,
    );
    assert!(hits(&found).iter().any(|hit| &hit["lsn"] == lsn));
    let found = find(&story, &["--around", "2001-01-01T00:00:00Z"], 1);
    assert!(found["found"]["nearest_before"].is_null());
    assert!(found["found"]["nearest_after"]["xid"].is_number());
    // Behind the truncation nothing was dropped.
    let found = find(&story, &["--dropped", "--from", lsn.as_str().unwrap()], 0);
    assert!(
        hits(&found)
            .iter()
            .all(|hit| hit["xid"] == story.truncating)
    );

    names_come_from_a_catalog(&mut story);
}

/// A name is looked up on a running server; what it cannot tell is said.
fn names_come_from_a_catalog(story: &mut Story) {
    let url = story.tree.url();
    let refused = run(&["wal", "find", &url, "--dropped", "public.invoices"], &[]).expect_code(2);
    assert!(refused.stderr.contains("--catalog"), "{}", refused.stderr);

    story.server.start();
    let user = story
        .server
        .environment()
        .into_iter()
        .find_map(|(name, value)| (name == "PGUSER").then_some(value))
        .unwrap_or_else(|| "postgres".to_owned());
    let catalog = format!(
        "postgres:///postgres?host={}&user={user}&port={}",
        story.server.socket_directory().display(),
        story.server.psql("SHOW port").trim()
    );
    let gone = run(
        &[
            "wal",
            "find",
            &url,
            "--dropped",
            "public.invoices",
            "--catalog",
            &catalog,
        ],
        &[],
    )
    .expect_code(2);
    assert!(gone.stderr.contains("knows no relation"), "{}", gone.stderr);
    // `ledger` is known, and was never dropped.
    let kept = run(
        &[
            "wal",
            "find",
            &url,
            "--dropped",
            "ledger",
            "--catalog",
            &catalog,
        ],
        &[],
    )
    .expect_code(1);
    assert!(
        kept.stdout.contains("was not dropped here"),
        "{}",
        kept.stdout
    );
    let secret = run(
        &[
            "wal",
            "find",
            &url,
            "--dropped",
            "ledger",
            "--catalog",
            "postgres://me:hush@localhost/x",
        ],
        &[],
    )
    .expect_code(2);
    assert!(!secret.stderr.contains("hush"), "{}", secret.stderr);
}

/// What lies in a hole cannot be found, and that is said.
#[test]
fn a_hole_is_told_and_the_rest_is_searched() {
    require!(Postgres);
    let story = story();
    let segments = story.tree.segments();
    story.tree.delete_wal(&segments[segments.len() / 3]);
    let url = story.tree.url();
    let text = run(&["wal", "find", &url, "--restore-point"], &[]).expect_code(0);
    assert!(
        text.stdout.contains("1 segment missing in between"),
        "{}",
        text.stdout
    );
    assert!(
        text.stdout.contains("what happened there is not shown"),
        "{}",
        text.stdout
    );
    assert!(text.stdout.contains("after release"), "{}", text.stdout);
    // Damage at the very end is told as well, though nothing comes behind it.
    let last = story.tree.wal_key(segments.last().unwrap());
    story.tree.flip_middle(&last);
    let text = run(&["wal", "find", &url, "--xid", "1000000"], &[]).expect_code(1);
    assert!(
        text.stdout.contains("what happened there is not shown"),
        "{}",
        text.stdout
    );
    // An older segment's bytes under a newer name are no WAL of that place.
    let bytes = story.tree.read(&story.tree.wal_key(&segments[0]));
    story.tree.write(&last, &bytes);
    let shown = run(&["wal", "show", &url, "--output", "json"], &[])
        .expect_code(1)
        .json();
    assert_eq!(shown["read"]["whole"], false);
    assert_eq!(shown["read"]["findings"][0]["object"], last.as_str());
    let text = run(&["wal", "find", &url, "--restore-point"], &[]).expect_code(0);
    let restore = text
        .stdout
        .lines()
        .any(|line| line.contains("walproof restore") && line.contains("--target-lsn"));
    assert!(restore, "{}", text.stdout);
}
