//! Nothing stays behind, however a drill ends.

use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::common::process::wait_until;
use crate::common::repository::{Fixture, RepositoryOptions};
use crate::common::require;
use crate::common::walproof::{command, run};
use crate::kit::Place;

/// Starts a drill in the background.
fn start(place: &Place, url: &str, more: &[&str]) -> std::process::Child {
    let arguments = place.arguments(url, more);
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    command(&words, &[])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn signal(child: &std::process::Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    let _ = kill(pid, signal);
}

/// A drill that stays in its checks until it is ended.
fn waiting(place: &Place) -> String {
    place.definition(
        "checks:\n- {name: wait, database: postgres, sql: 'select pg_sleep(120)', expect: '> 0', timeout: 5m}\n",
    )
}

/// How far a drill must have come before it is ended.
fn reached(place: &Place, what: &str) -> bool {
    let Some(directory) = place.left().into_iter().next() else {
        return false;
    };
    match what {
        "provision" => true,
        "fetch" => directory.join("data/base").exists(),
        "server" => directory.join("data/postmaster.pid").exists(),
        _ => std::fs::read_to_string(directory.join("server.log"))
            .is_ok_and(|log| log.contains("ready to accept connections")),
    }
}

#[test]
fn sigkill_in_any_phase_leaves_what_the_next_run_removes() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions::default());
    let tree = fixture.tree();
    for moment in ["provision", "fetch", "server", "checks"] {
        let place = Place::new();
        let mut child = start(&place, &tree.url(), &["--definition", &waiting(&place)]);
        wait_until(Duration::from_mins(2), moment, || reached(&place, moment));
        signal(&child, Signal::SIGKILL);
        child.wait().unwrap();
        assert_eq!(place.left().len(), 1, "{moment}");
        // The kernel ends the server with the drill.
        wait_until(Duration::from_secs(30), "the server's end", || {
            place.servers().is_empty()
        });
        let swept = run(
            &[
                "drill",
                "sweep",
                "--output",
                "json",
                "--scratch",
                place.scratch().to_str().unwrap(),
            ],
            &[],
        )
        .expect_code(0)
        .json();
        assert_eq!(
            swept["removed"].as_array().unwrap().len(),
            1,
            "{moment}: {swept:#}"
        );
        place.assert_clean();
    }
}

#[test]
fn ctrl_c_cleans_up_and_says_130() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions::default());
    let tree = fixture.tree();
    for moment in ["fetch", "checks"] {
        let place = Place::new();
        let child = start(&place, &tree.url(), &["--definition", &waiting(&place)]);
        wait_until(Duration::from_mins(2), moment, || reached(&place, moment));
        signal(&child, Signal::SIGINT);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{moment}");
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["ending"], "interrupted", "{moment}");
        assert_eq!(report["verdict"], "unproven", "{moment}");
        place.assert_clean();
    }
}

#[test]
fn a_running_drill_is_not_swept_by_another() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions::default());
    let tree = fixture.tree();
    let place = Place::new();
    let first = start(&place, &tree.url(), &["--definition", &waiting(&place)]);
    wait_until(Duration::from_mins(2), "server", || {
        reached(&place, "checks")
    });
    // Same scratch root, at the same time.
    let second = place.drill(&tree.url(), &[]).expect_code(0).json();
    assert_eq!(
        second["environment"]["swept"]["kept"][0]["reason"],
        "its drill is running"
    );
    assert_eq!(place.left().len(), 1);
    signal(&first, Signal::SIGINT);
    assert_eq!(first.wait_with_output().unwrap().status.code(), Some(130));
    place.assert_clean();
}
