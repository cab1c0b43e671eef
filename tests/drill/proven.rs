//! Healthy repositories are proven, to the last commit.

use std::path::Path;

use crate::common::repository::{Fixture, RepositoryOptions, TimelineSwitch};
use crate::common::require;
use crate::common::walproof::{Run, run};

/// A drill with a scratch directory and a state of its own.
pub fn drill(url: &str, place: &Path, more: &[&str]) -> Run {
    let scratch = place.join("scratch");
    let state = format!("sqlite://{}/state.sqlite", place.display());
    let mut arguments = vec![
        "drill", "run", url, "--output", "json", "--scratch",
        scratch.to_str().unwrap(), "--state", &state,
    ];
    arguments.extend(more);
    run(&arguments, &[])
}

#[test]
fn a_repository_by_barman_is_proven_to_its_last_commit() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions::default());
    let tree = fixture.tree();
    let place = crate::common::scratch::directory();
    let ran = drill(&tree.url(), place.path(), &[]);
    eprintln!("{}\n{}", ran.stdout, ran.stderr);
    let report = ran.expect_code(0).json();
    assert_eq!(report["verdict"], "proven");
}
