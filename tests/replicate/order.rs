//! Wherever a run is cut off, the copy claims no more than it holds.

use crate::common::repository::{Fixture, RepositoryOptions, TimelineSwitch};
use crate::common::require;
use crate::common::walproof::run;
use crate::{Ground, assert_same};

/// What a copy that is merely behind may show.
const BEHIND: [&str; 8] = [
    // Before anything is there, and before the first base backup is whole.
    "repository-empty",
    "repository-without-backup",
    // Data whose description is still to come.
    "backup-info-missing",
    // What the source shows too.
    "timeline-abandoned",
    "backup-abandoned",
    "archive-tip-unknown",
    "backup-stale",
    "object-unknown",
];

fn cut_everywhere(parallel: &str, step: usize) {
    let fixture = Fixture::get(&RepositoryOptions {
        switch: TimelineSwitch::AbandonedBranch,
        max_archive_size: Some("4MB".to_owned()),
        ..RepositoryOptions::default()
    });
    let source = fixture.tree();
    let (ground, copy) = Ground::files(&source);
    let total = source.keys().len();
    let mut cuts = 0;
    let mut usable = 0;
    for _ in (0..total).step_by(step) {
        let options = ["--parallel", parallel, "--max-objects", &step.to_string()];
        ground.run(&options).expect_code(0);
        let verified = run(
            &[
                "verify",
                &ground.target,
                "--output",
                "json",
                "--state",
                &ground.state(),
                "--fail-on",
                "info",
            ],
            &[],
        );
        assert!(matches!(verified.code, Some(0 | 1)), "{}", verified.stderr);
        for code in verified.finding_codes() {
            assert!(
                BEHIND.contains(&code.as_str()),
                "cut {cuts}: {code}\n{}",
                verified.stdout
            );
        }
        let windows = verified.json()["windows"].as_array().map_or(0, Vec::len);
        assert!(
            windows > 0 || usable == 0,
            "a window went away at cut {cuts}"
        );
        usable += usize::from(windows > 0);
        cuts += 1;
    }
    ground.run(&[]).expect_code(0);
    assert_same(source.root(), &copy);
    // What a base backup needs is complete shortly before the end: coarse cuts may meet that
    // stretch once only.
    assert!(
        usable * step >= 2,
        "{usable} of {cuts} cuts were recoverable"
    );
}

#[test]
fn at_any_cut_of_one_worker_the_copy_is_merely_behind() {
    require!(Postgres, S3, Barman);
    cut_everywhere("1", 1);
}

#[test]
fn at_any_cut_of_many_workers_the_copy_is_merely_behind() {
    require!(Postgres, S3, Barman);
    cut_everywhere("8", 3);
}
