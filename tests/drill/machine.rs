//! What this machine lacks makes a drill unproven, with words; the backup is not blamed.

use std::os::unix::fs::PermissionsExt;

use crate::common::repository::{Fixture, RepositoryOptions};
use crate::common::require;
use crate::kit::Place;

#[track_caller]
fn unproven(place: &Place, more: &[&str], words: &str) {
    let fixture = Fixture::get(&RepositoryOptions::default());
    let report = place
        .drill(&fixture.tree().url(), more)
        .expect_code(3)
        .json();
    assert_eq!(report["verdict"], "unproven");
    let text = report["reasons"].to_string();
    assert!(text.contains(words), "{text}");
    place.assert_clean();
}

#[test]
fn another_major_is_named_with_what_to_install() {
    require!(Postgres, S3, Barman);
    let place = Place::new();
    let programs = place.path().join("programs");
    std::fs::create_dir(&programs).unwrap();
    let program = programs.join("postgres");
    std::fs::write(&program, "#!/bin/sh\necho 'postgres (PostgreSQL) 11.2'\n").unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    unproven(
        &place,
        &["--pg-bin", programs.to_str().unwrap()],
        "it holds version 11.2",
    );
}

#[test]
fn a_role_that_is_not_there_is_named() {
    require!(Postgres, S3, Barman);
    let place = Place::new();
    let definition = place.definition("superuser: nobody_here\n");
    unproven(&place, &["--definition", &definition], "nobody_here");
}

#[test]
fn a_time_limit_ends_the_drill_and_leaves_nothing() {
    require!(Postgres, S3, Barman);
    let place = Place::new();
    // A check that would go on for longer, however quick the machine.
    let definition = place.definition(
        "timeout: 3s\nchecks:\n- {name: wait, database: postgres, sql: 'select pg_sleep(120)', expect: '> 0', timeout: 5m}\n",
    );
    unproven(&place, &["--definition", &definition], "time limit of 3 s");
}

#[test]
fn a_long_scratch_path_still_works() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions::default());
    let place = Place::new();
    let long = place.path().join("long".repeat(20));
    let definition = place.definition(&format!("scratch: {}\n", long.display()));
    let tree = fixture.tree();
    let mut arguments = place.arguments(&tree.url(), &["--definition", &definition]);
    let own = arguments
        .iter()
        .position(|word| word == "--scratch")
        .unwrap();
    arguments.drain(own..own + 2);
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let report = crate::common::walproof::run(&words, &[])
        .expect_code(0)
        .json();
    assert_eq!(report["verdict"], "proven", "{:#}", report["reasons"]);
    assert_eq!(std::fs::read_dir(&long).unwrap().count(), 0);
}
