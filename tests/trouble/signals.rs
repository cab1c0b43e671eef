//! Ctrl-C, SIGTERM and SIGKILL, also while the store is silent: the worst moment, because
//! nothing that waits for bytes hears of anything else.

use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::common::process::wait_until;
use crate::common::repository::{Fixture, RepositoryOptions};
use crate::common::require;
use crate::common::walproof::run;
use crate::common::wire::Wire;
use crate::kit::Place;
use crate::places::{
    assert_explained, fingerprint, finish, newest_run, signal, start, start_drill,
};

/// A person who presses Ctrl-C does not wait longer.
const SOON: Duration = Duration::from_secs(10);

/// Where in a request's head the store falls silent, and after how many bytes of answer.
const LISTING: (&str, u64) = ("list-type=2", 0);
const WAL: (&str, u64) = ("/wals/", 0);
const BASE: (&str, u64) = ("data.tar", 100_000);

/// Waits until what has arrived is written, so that the extraction waits for the store.
fn wait_for_idleness(root: &Path) {
    let mut last = Vec::new();
    let mut since = Instant::now();
    wait_until(Duration::from_mins(1), "the extraction to wait", || {
        let now = fingerprint(root);
        if now != last {
            last = now;
            since = Instant::now();
        }
        last.len() > 3 && since.elapsed() > Duration::from_millis(300)
    });
}

#[test]
fn a_drill_with_a_silent_store_ends_soon_when_asked_to() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions::default());
    let (s3, url) = fixture.s3();
    for (moment, how, recovering) in [
        (LISTING, Signal::SIGTERM, false),
        (WAL, Signal::SIGINT, false),
        (BASE, Signal::SIGTERM, false),
        (BASE, Signal::SIGINT, true),
    ] {
        let place = Place::new();
        let wire = Wire::to(&s3.endpoint());
        wire.fall_silent_at(moment.0, moment.1);
        let child = start_drill(&place, &url, &[], &wire.environment(&s3.environment()));
        wire.wait_for_silence(moment.0);
        if recovering {
            // Now that admission has read the WAL, recovery asks for it again.
            wire.fall_silent_at(WAL.0, WAL.1);
            wire.go_on();
            wire.wait_for_silence("recovery to ask for WAL");
        }
        if moment == BASE && !recovering {
            wait_for_idleness(&place.scratch());
        }
        let begin = Instant::now();
        signal(&child, how);
        let ended = finish(child).expect_code(130);
        assert!(begin.elapsed() < SOON, "{moment:?}: {:?}", begin.elapsed());
        let report = ended.json();
        assert_eq!(report["ending"], "interrupted", "{moment:?}");
        assert_eq!(report["verdict"], "unproven", "{moment:?}");
        assert_eq!(report["environment"]["removed"], true, "{moment:?}");
        let noted = newest_run(&place);
        assert_eq!(noted["exit_code"], 130, "{moment:?}: {noted:#}");
        assert_eq!(noted["verdict"], "unproven", "{moment:?}: {noted:#}");
        place.assert_clean();
        wire.cut();
    }
}

#[test]
fn a_restore_ends_soon_when_asked_to_and_gives_everything_back() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions::default());
    let (s3, url) = fixture.s3();
    for (moment, how, existing) in [
        (LISTING, Signal::SIGINT, false),
        (WAL, Signal::SIGTERM, false),
        (BASE, Signal::SIGINT, false),
        (BASE, Signal::SIGTERM, true),
    ] {
        let place = Place::new();
        let into = place.path().join("into");
        if existing {
            std::fs::create_dir(&into).unwrap();
        }
        let wire = Wire::to(&s3.endpoint());
        wire.fall_silent_at(moment.0, moment.1);
        let child = start(&words(&url, &into), &wire.environment(&s3.environment()));
        wire.wait_for_silence(moment.0);
        if moment == BASE {
            wait_for_idleness(&into);
        }
        let begin = Instant::now();
        signal(&child, how);
        let ended = finish(child);
        assert!(begin.elapsed() < SOON, "{moment:?}: {:?}", begin.elapsed());
        assert_explained(&ended, 130, "interrupted", "");
        assert_eq!(into.exists(), existing, "{moment:?}");
        let left: Vec<_> = std::fs::read_dir(place.path()).unwrap().flatten().collect();
        assert_eq!(left.len(), usize::from(existing), "{moment:?}: {left:?}");
        if existing {
            assert_eq!(std::fs::read_dir(&into).unwrap().count(), 0);
        }
        wire.cut();
    }
}

fn words<'a>(url: &'a str, into: &'a Path) -> [&'a str; 6] {
    let into = into.to_str().unwrap();
    ["restore", url, "--output", "json", "--into", into]
}

#[test]
fn what_sigkill_leaves_is_told_and_swept_by_the_next_run() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions::default());
    let (s3, url) = fixture.s3();
    let environment = s3.environment();

    // A drill in the middle of its base, and one whose server is waiting for WAL.
    let place = Place::new();
    for recovering in [false, true] {
        let wire = Wire::to(&s3.endpoint());
        wire.fall_silent_at(BASE.0, BASE.1);
        let mut child = start_drill(&place, &url, &[], &wire.environment(&environment));
        wire.wait_for_silence(BASE.0);
        if recovering {
            wire.fall_silent_at(WAL.0, WAL.1);
            wire.go_on();
            wire.wait_for_silence("recovery to ask for WAL");
        }
        signal(&child, Signal::SIGKILL);
        child.wait().unwrap();
        assert_eq!(place.left().len(), 1);
        let noted = newest_run(&place);
        assert_eq!(noted["status"], "interrupted", "{noted:#}");
        assert_eq!(noted["verdict"], serde_json::Value::Null, "{noted:#}");
        wire.cut();
        // The next drill sweeps what the last one left, and is not disturbed by it.
        let next = place
            .drill_in(&url, &[], &environment)
            .expect_code(0)
            .json();
        let swept = &next["environment"]["swept"];
        assert_eq!(swept["removed"].as_array().unwrap().len(), 1, "{swept:#}");
        assert_eq!(swept["failed"], serde_json::json!([]));
        place.assert_clean();
    }

    // A restore: a person must look before anything of theirs is removed.
    let into = place.path().join("into");
    let wire = Wire::to(&s3.endpoint());
    wire.fall_silent_at(BASE.0, BASE.1);
    let mut child = start(&words(&url, &into), &wire.environment(&environment));
    wire.wait_for_silence(BASE.0);
    wait_until(SOON, "the first files", || {
        into.join("walproof_set_aside").is_dir()
    });
    signal(&child, Signal::SIGKILL);
    child.wait().unwrap();
    assert!(
        !into.join("postgresql.conf").exists(),
        "a server could start"
    );
    let again = run(&words(&url, &into), &environment);
    assert_explained(&again, 4, "did not finish", "remove the directory");
    wire.cut();
}

#[test]
fn verify_and_wal_get_with_a_silent_store_end_soon_when_asked_to() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions::default());
    let (s3, url) = fixture.s3();
    let place = Place::new();
    let state = crate::places::state_of(&place);
    let got = place.path().join("got");
    let last = fixture.tree().segments().pop().unwrap();
    // A server that shuts down ends its restore_command with SIGTERM: 143, as a shell says.
    for (words, moment, code) in [
        (vec!["verify", &url, "--state", &state], LISTING, 130),
        (
            vec!["wal", "get", &url, &last, got.to_str().unwrap()],
            WAL,
            143,
        ),
    ] {
        let wire = Wire::to(&s3.endpoint());
        wire.fall_silent_at(moment.0, moment.1);
        let child = start(&words, &wire.environment(&s3.environment()));
        wire.wait_for_silence(moment.0);
        let begin = Instant::now();
        signal(&child, Signal::SIGTERM);
        finish(child).expect_code(code);
        assert!(begin.elapsed() < SOON, "{words:?}: {:?}", begin.elapsed());
        wire.cut();
    }
    assert_eq!(newest_run(&place)["status"], "interrupted");
    assert!(!got.exists());
}
