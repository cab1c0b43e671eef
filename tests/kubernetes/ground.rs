//! What the other tests stand on: namespaces that go, and sources whose history is known.

use std::time::Duration;

use crate::common::kubernetes::cluster;
use crate::common::kubernetes::source::Source;
use crate::common::process::wait_until;
use crate::common::s3::READER;
use crate::common::walproof;

#[test]
fn namespaces_go_with_their_values() {
    let lab = cluster!();
    let namespace = lab.namespace("gone");
    let name = namespace.name.clone();
    assert!(lab.get("default", &format!("namespace/{name}")).is_some());
    drop(namespace);
    wait_until(Duration::from_mins(2), "the namespace's end", || {
        lab.namespaces(&name).is_empty()
    });
}

/// The shared sources: rows without gaps in the order of their commits, and a repository in
/// which nothing is wrong.
#[test]
fn plugin_source_is_sound() {
    let lab = cluster!();
    let _peace = lab.beside();
    assert_sound(Source::plugin(lab));
}

#[test]
fn in_tree_source_is_sound() {
    let lab = cluster!();
    let _peace = lab.beside();
    let Some(source) = Source::in_tree(lab) else {
        return;
    };
    assert_sound(source);
}

#[track_caller]
fn assert_sound(source: &Source) {
    let moment = source.moment(0.5);
    let history = source.history();
    for (index, row) in history.iter().enumerate() {
        assert_eq!(row.number, index as u64 + 1);
    }
    assert!(
        history
            .windows(2)
            .all(|pair| pair[0].committed < pair[1].committed)
    );
    let before = history
        .iter()
        .filter(|row| row.committed <= moment.at)
        .count();
    assert_eq!(before as u64, moment.rows);
    // Nothing is said of what the load archives meanwhile.
    let environment = source.store.environment(READER);
    walproof::run(&["verify", &source.url(), "--output", "json"], &environment).expect_code(0);
}

/// For work at the tests: `cargo test --test kubernetes hold -- --ignored --nocapture`.
#[test]
#[ignore = "holds the shared sources until its standard input ends"]
fn hold() {
    let lab = cluster!();
    for source in [
        Some(Source::plugin(lab)),
        Source::in_tree(lab),
        Source::snapshot(lab),
    ]
    .into_iter()
    .flatten()
    {
        println!("{:?}: {} {}", source.form, source.name(), source.url());
    }
    let mut line = String::new();
    let _ = std::io::stdin().read_line(&mut line);
}
