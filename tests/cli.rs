//! The command line as a person meets it: help, starter, configuration, refusals.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;
use std::process::{Output, Stdio};

use assert_cmd::Command;
use serde_json::Value;

/// walproof in a directory, with nothing of this machine's own settings.
fn walproof(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_walproof"));
    command
        .env_clear()
        .env("HOME", directory)
        .env("WALPROOF_STATE", state_url(directory))
        .current_dir(directory);
    command
}

fn state_url(directory: &Path) -> String {
    format!("sqlite://{}/state/state.sqlite", directory.display())
}

fn run(directory: &Path, arguments: &[&str]) -> Output {
    walproof(directory).args(arguments).output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn the_starter_is_written_once_and_passes_its_check() {
    let directory = tempfile::tempdir().unwrap();
    let first = run(directory.path(), &["init"]);
    assert_eq!(code(&first), 0, "{}", stderr(&first));
    assert!(stdout(&first).contains("walproof config check"));

    let check = run(directory.path(), &["config", "check"]);
    assert_eq!(code(&check), 0, "{}", stderr(&check));
    insta::assert_snapshot!(
        "config_check",
        stdout(&check).replace(&*directory.path().to_string_lossy(), "DIRECTORY")
    );

    let config = directory.path().join("walproof.yaml");
    std::fs::write(&config, "version: 1\n").unwrap();
    let second = run(directory.path(), &["init"]);
    assert_eq!(code(&second), 2);
    assert!(stderr(&second).contains("it exists already"));
    assert_eq!(std::fs::read_to_string(&config).unwrap(), "version: 1\n");
}

#[test]
fn init_writes_nothing_when_one_of_its_files_is_there() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("drills")).unwrap();
    std::fs::write(directory.path().join("drills/nightly.yaml"), "mine").unwrap();
    let output = run(directory.path(), &["init"]);
    assert_eq!(code(&output), 2);
    assert!(!directory.path().join("walproof.yaml").exists());
}

#[test]
fn mistakes_in_the_configuration_are_named_with_their_place() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(
        directory.path().join("walproof.yaml"),
        "version: 1\nclusters:\n  - name: orders\n    teir: gold\n    primary: {url: s3:/x}\n",
    )
    .unwrap();
    // Every command that needs it says so, not only the check.
    for arguments in [&["config", "check"][..], &["verify", "orders"]] {
        let output = run(directory.path(), arguments);
        assert_eq!(code(&output), 2);
        let text = stderr(&output);
        for words in [
            "error: read the configuration: 2 mistakes",
            "walproof.yaml:4:5: unknown key `teir` in `clusters[0]`",
            "did you mean `tier`?",
            "walproof.yaml:5:20: `clusters[0].primary.url`",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
    }
    let output = run(directory.path(), &["config", "check", "--output", "json"]);
    assert_eq!(code(&output), 2);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["schema"], "walproof.error/v1");
    assert_eq!(document["exit_code"], 2);
    assert_eq!(document["mistakes"][0]["line"], 4);
    assert_eq!(document["mistakes"][0]["column"], 5);
    assert_eq!(document["mistakes"][0]["file"], "walproof.yaml");
}

#[test]
fn what_is_wrong_on_the_command_line_ends_with_2() {
    let directory = tempfile::tempdir().unwrap();
    for (arguments, words) in [
        (&[][..], "Usage: walproof"),
        (
            &["verfy", "orders"],
            "a similar subcommand exists: 'verify'",
        ),
        (&["verify"], "<CLUSTER|URL>"),
        (&["verify", "orders"], "no configuration was found"),
        (&["verify", "ftp://x/y"], "unknown scheme"),
        (&["verify", "s3://key:hush@bucket/x"], "in the environment"),
        (&["verify", "s3://b/x", "--rpo", "5"], "the unit is missing"),
        (
            &["verify", "s3://b/x", "--endpoint-url", "http://a:hush@h"],
            "credentials do not go",
        ),
        (
            &["verify", "s3://b/x", "--log-level", "walproof=loud"],
            "not a log level",
        ),
        (
            &["drill", "run", "s3://b/x", "--target-time", "tomorrow"],
            "needs date, time and zone",
        ),
        (
            &[
                "drill",
                "run",
                "s3://b/x",
                "--target-lsn",
                "0/0",
                "--target-xid",
                "5",
            ],
            "cannot be used with",
        ),
        (
            &["restore", "s3://b/x", "--into", "d", "--exclusive"],
            "--exclusive needs",
        ),
        (
            &["drill", "run", "s3://b/x", "--drill", "nightly"],
            "there is no drill `nightly`",
        ),
        (&["drill", "show", "last"], "there is no drill `last`"),
        (&["config", "check"], "there is none"),
        (
            &["config", "check", "--config", "none.yaml"],
            "there is no such file",
        ),
        (&["help", "me"], "there is no command or topic `me`"),
        (
            &["--state", "postgres://u:hush@h/d", "history"],
            "a password does not go into the URL",
        ),
    ] {
        let output = run(directory.path(), arguments);
        let text = stderr(&output);
        assert_eq!(code(&output), 2, "{arguments:?}: {text}");
        assert!(text.contains(words), "{arguments:?}: {text}");
        assert!(!text.contains("hush"), "{arguments:?}: {text}");
    }
}

#[test]
fn help_teaches_by_example() {
    let directory = tempfile::tempdir().unwrap();
    let short = run(directory.path(), &["-h"]);
    assert_eq!(code(&short), 0);
    insta::assert_snapshot!("help_short", stdout(&short));
    let drill = run(directory.path(), &["help", "drill", "run"]);
    assert_eq!(code(&drill), 0);
    assert!(stdout(&drill).contains("walproof drill run orders --target-time -1h"));
    let codes = run(directory.path(), &["help", "exit-codes"]);
    assert_eq!(code(&codes), 0);
    assert!(stdout(&codes).contains("  130  interrupted"));
}

#[test]
fn the_schemas_are_json() {
    let directory = tempfile::tempdir().unwrap();
    for arguments in [&["config", "schema"][..], &["config", "schema", "drill"]] {
        let output = run(directory.path(), arguments);
        assert_eq!(code(&output), 0);
        let schema: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(schema["additionalProperties"], false);
    }
}

#[test]
fn an_empty_history_is_told_and_leaves_a_database() {
    let directory = tempfile::tempdir().unwrap();
    let output = run(directory.path(), &["history"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(stdout(&output).starts_with("Nothing yet."));
    let output = run(directory.path(), &["history", "-o", "json"]);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["schema"], "walproof.history/v1");
    assert_eq!(document["runs"], serde_json::json!([]));
    assert!(directory.path().join("state/state.sqlite").exists());
}

#[test]
fn a_damaged_state_database_ends_with_3_and_says_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("state")).unwrap();
    std::fs::write(
        directory.path().join("state/state.sqlite"),
        "no database ".repeat(100),
    )
    .unwrap();
    let output = run(directory.path(), &["history"]);
    assert_eq!(code(&output), 3);
    let text = stderr(&output);
    assert!(text.contains("error: open the state database"), "{text}");
    assert!(text.contains("hint: the file is damaged"), "{text}");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_walproof"))
        .args(["config", "schema"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .current_dir(directory.path())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert_eq!(stderr(&output), "");
}

#[test]
fn a_copy_that_cannot_be_reached_does_not_hide_the_others() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("empty")).unwrap();
    let here = directory.path().display();
    std::fs::write(
        directory.path().join("walproof.yaml"),
        format!(
            "version: 1\nclusters:\n  - name: orders\n    primary: {{url: 'file://{here}/gone'}}\n    \
             replicas: [{{name: second, url: 'file://{here}/empty'}}]\n"
        ),
    )
    .unwrap();
    let output = run(directory.path(), &["verify", "orders", "-o", "json"]);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["schema"], "walproof.verify-copies/v1");
    assert_eq!(document["failures"][0]["copy"], "primary");
    assert_eq!(document["failures"][0]["error"]["exit_code"], 3);
    let finding = &document["reports"][0]["findings"][0];
    assert_eq!(finding["code"], "repository-empty");
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains("copy primary: error: "));

    // A single copy that cannot be reached is the error itself.
    let output = run(
        directory.path(),
        &["verify", "orders", "--copy", "primary", "-o", "json"],
    );
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["schema"], "walproof.error/v1");
    assert_eq!(code(&output), 3);
}
