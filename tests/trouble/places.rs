//! What the trouble tests share: a user's things, and whether they were touched.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::common::walproof::{Run, command};
use crate::kit::Place;

/// Everything below a directory: names, sizes, owners, modes, times of change.
pub(crate) fn fingerprint(root: &Path) -> Vec<String> {
    let mut all = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        // A server that runs may remove something in between.
        for entry in std::fs::read_dir(directory).into_iter().flatten() {
            let path = entry.unwrap().path();
            let Ok(meta) = std::fs::symlink_metadata(&path) else {
                continue;
            };
            if meta.is_dir() {
                open.push(path.clone());
            }
            let (uid, mode) = (meta.uid(), meta.mode());
            let changed = (meta.mtime(), meta.mtime_nsec());
            all.push(format!(
                "{} {} {uid} {mode:o} {changed:?}",
                path.display(),
                meta.len()
            ));
        }
    }
    all.sort();
    all
}

/// Starts walproof in the background, its output kept.
pub(crate) fn start(arguments: &[&str], environment: &[(String, String)]) -> Child {
    command(arguments, environment)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Starts a drill in the background.
pub(crate) fn start_drill(
    place: &Place,
    url: &str,
    more: &[&str],
    environment: &[(String, String)],
) -> Child {
    let arguments = place.arguments(url, more);
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    start(&words, environment)
}

pub(crate) fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
}

/// Waits for the end of what was started.
pub(crate) fn finish(child: Child) -> Run {
    let begin = std::time::Instant::now();
    let output = child.wait_with_output().unwrap();
    Run {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        took: begin.elapsed(),
    }
}

/// The error document of a run that could not do what was asked: same code, and both what
/// happened and what to do, on both channels.
#[track_caller]
pub(crate) fn assert_explained(run: &Run, code: i32, what: &str, todo: &str) {
    let run = run.clone().expect_code(code);
    let document = run.json();
    assert_eq!(document["schema"], "walproof.error/v1", "{document:#}");
    assert_eq!(document["exit_code"], code, "{document:#}");
    let text = format!("{} {}", document["message"], document["hint"]);
    for words in [what, todo] {
        assert!(text.contains(words), "{words:?} is not said:\n{document:#}");
        assert!(run.stderr.contains(words), "{words:?}:\n{}", run.stderr);
    }
}

/// A drill that could not be made, with what happened and what to do.
#[track_caller]
pub(crate) fn assert_unproven(run: &Run, what: &str, todo: &str) -> Value {
    let report = run.clone().expect_code(3).json();
    assert_eq!(report["verdict"], "unproven", "{:#}", report["reasons"]);
    let text = report["reasons"].to_string();
    for words in [what, todo] {
        assert!(text.contains(words), "{words:?} is not said: {text}");
    }
    report
}

/// The state of a place, as `--state` takes it.
pub(crate) fn state_of(place: &Place) -> String {
    format!("sqlite://{}/state.sqlite", place.path().display())
}

/// The newest run of a place's history.
pub(crate) fn newest_run(place: &Place) -> Value {
    let state = state_of(place);
    let history =
        crate::common::walproof::run(&["history", "--output", "json", "--state", &state], &[]);
    history.expect_code(0).json()["runs"][0].clone()
}

/// A copy of the program that every user may run, and a command with it as the server's
/// user.
pub(crate) fn as_server_user(place: &Place, arguments: &[&str]) -> Command {
    let program = crate::common::walproof::readable_copy(place.path());
    let mut command = crate::common::scratch::as_server_user(program);
    command
        .args(arguments)
        .env("TZ", "UTC")
        .env("NO_COLOR", "1");
    command
}
