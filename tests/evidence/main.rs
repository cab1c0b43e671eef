//! The records as a person, an auditor and a forger meet them: through the program, through
//! other programs, and through the database behind its back.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use sqlx::Connection as _;
use walproof::config::StateUrl;
use walproof::evidence::ledger::{
    Asked, Body, DrillBody, EntryKind, MissedBody, MissedReason, RunBody, VerifyBody,
};
use walproof::evidence::{DrillRecord, NewEntry, RecordFile, Trigger, Verdict};
use walproof::state::{Completion, NewRun, Outcome, RunKind, State};

fn walproof(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_walproof"));
    command
        .env_clear()
        .env("HOME", directory)
        .env(
            "WALPROOF_STATE",
            format!("sqlite://{}", database(directory).display()),
        )
        .current_dir(directory)
        .args(arguments);
    command
}

fn run(directory: &Path, arguments: &[&str]) -> Output {
    walproof(directory, arguments).output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn document(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

fn database(directory: &Path) -> PathBuf {
    directory.join("state/state.sqlite")
}

async fn state(directory: &Path) -> State {
    std::fs::create_dir_all(directory.join("state")).unwrap();
    State::open(&StateUrl::sqlite(database(directory)))
        .await
        .unwrap()
}

fn begin() -> DateTime<Utc> {
    "2026-11-01T00:00:00Z".parse().unwrap()
}

/// Verifications every hour, and now and then what goes wrong.
fn entries(count: u32) -> Vec<NewEntry> {
    (0..count)
        .map(|number| {
            let due = begin() + TimeDelta::minutes(i64::from(number) * 5);
            let cluster = ["orders", "größe", "payments"][number as usize % 3];
            let body = if number % 17 == 5 {
                Body::Missed(Box::new(MissedBody {
                    job: EntryKind::Verify,
                    schedule: Some("often".to_owned()),
                    key: None,
                    due_at: due,
                    first_due_at: None,
                    moments: u64::from(number % 4) + 1,
                    reason: MissedReason::Down,
                    newest_at: None,
                    opened: vec![],
                    closed: vec![],
                }))
            } else {
                let asked = Asked {
                    trigger: Trigger::Schedule,
                    initiator: "daemon \"one\"\n\u{1f600}".to_owned(),
                    schedule: Some("often".to_owned()),
                    due_at: Some(due),
                    ..Asked::default()
                };
                let failed = number % 11 == 3;
                let verdict = failed.then_some(Verdict::Failed);
                let run = RunBody::new(asked, (due, due), verdict, u8::from(failed), "looked", &[]);
                let mut body = VerifyBody::new(run, "s3://b/x".to_owned(), "listed".to_owned());
                body.exposure_ms = Some(u64::from(number % 900) * 1000);
                body.rpo_ms = Some(600_000);
                Body::Verify(Box::new(body))
            };
            NewEntry::new(due, &body).unwrap().about(cluster, "primary")
        })
        .collect()
}

async fn filled(directory: &Path, count: u32) {
    let state = state(directory).await;
    for page in entries(count).chunks(1000) {
        state.append(page).await.unwrap();
    }
    state.close().await;
}

/// Statements of somebody who has the database's file and takes its guards away first.
async fn forge(directory: &Path, sql: &str) {
    let url = format!("sqlite://{}", database(directory).display());
    let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
    let guards: Vec<(String,)> =
        sqlx::query_as("SELECT name FROM sqlite_master WHERE type = 'trigger'")
            .fetch_all(&mut connection)
            .await
            .unwrap();
    assert!(!guards.is_empty());
    let mut all = "PRAGMA ignore_check_constraints = ON; PRAGMA foreign_keys = OFF;".to_owned();
    for (name,) in guards {
        all.extend(["DROP TRIGGER ", name.as_str(), ";"]);
    }
    all.push_str(sql);
    sqlx::raw_sql(sqlx::AssertSqlSafe(all))
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
}

/// A drill that ended, with its record.
async fn drilled(directory: &Path) -> (String, PathBuf) {
    let state = state(directory).await;
    let run = state
        .begin_run(&NewRun {
            kind: RunKind::Drill,
            cluster: "orders".to_owned(),
            copy: "primary".to_owned(),
            location: "file:///srv/orders".to_owned(),
        })
        .await
        .unwrap();
    let sample = include_str!("../../src/evidence/sample.json");
    let mut record: DrillRecord = serde_json::from_str(sample).unwrap();
    record.run_id = run.id;
    let file = RecordFile::new(&record).unwrap();
    let body = RunBody::new(
        Asked::default(),
        (record.started_at, record.finished_at),
        Some(Verdict::Proven),
        0,
        "tip",
        &[],
    );
    let body = Body::Drill(Box::new(DrillBody::of_record(body, &record, &file)));
    let outcome = Outcome {
        verdict: Some(Verdict::Proven),
        exit_code: 0,
        summary: "tip".to_owned(),
        findings: vec![],
        report: None,
    };
    let id = record.id.to_string();
    let completion = Completion {
        body: Some(body.to_value().unwrap()),
        record: Some(Box::new(record)),
        ..Completion::default()
    };
    state.finish_run(run, &outcome, &completion).await.unwrap();
    let path = state.records_directory().join(&file.name);
    state.close().await;
    assert!(path.exists());
    (id, path)
}

#[tokio::test]
async fn records_are_followed_noted_and_handed_out() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path();
    let none = run(place, &["evidence", "head"]);
    assert_eq!(code(&none), 1, "{}", text(&none.stderr));
    assert!(text(&none.stderr).contains("there is no record yet"));
    assert_eq!(code(&run(place, &["evidence", "verify"])), 0);

    filled(place, 400).await;
    drilled(place).await;
    let head = run(place, &["evidence", "head"]);
    assert_eq!(code(&head), 0, "{}", text(&head.stderr));
    let head = text(&head.stdout).trim().to_owned();
    assert!(head.starts_with("401:"), "{head}");

    let verified = run(
        place,
        &["evidence", "verify", "--head", &head, "--output", "json"],
    );
    assert_eq!(code(&verified), 0, "{}", text(&verified.stderr));
    let report = document(&verified);
    assert_eq!(report["schema"], "walproof.evidence-verify/v1");
    assert_eq!(report["entries"], 401);
    assert_eq!(report["noted_met"], true);
    assert_eq!(report["records"]["rows"], 1);
    assert_eq!(report["records"]["files"], 1);
    let words = text(&run(place, &["evidence", "verify"]).stdout);
    assert!(words.contains("The records hold."), "{words}");
    assert!(words.contains(&head), "{words}");
    assert!(words.contains("1 drill record in the database"), "{words}");

    let export = [
        "evidence",
        "export",
        "--from",
        "2026-11-01",
        "--to",
        "2026-12-01",
    ];
    let exported = run(place, &export);
    assert_eq!(code(&exported), 0, "{}", text(&exported.stderr));
    let written = place.join("walproof-evidence-2026-11-01-2026-12-01");
    let words = text(&exported.stdout);
    assert!(words.contains("verify    "), "{words}");
    for file in [
        "entries.jsonl",
        "population.csv",
        "objectives.csv",
        "findings.csv",
        "report.html",
        "manifest.json",
    ] {
        assert!(written.join(file).exists(), "{file}");
    }
    // That it was handed out is on record.
    let next = text(&run(place, &["evidence", "head"]).stdout);
    assert!(next.starts_with("402:"), "{next}");
    let again = run(place, &export);
    assert_eq!(code(&again), 2);
    assert!(
        text(&again.stderr).contains("it exists already"),
        "{}",
        text(&again.stderr)
    );

    let file = written.join("entries.jsonl");
    let elsewhere = tempfile::tempdir().unwrap();
    let check = run(
        elsewhere.path(),
        &["evidence", "verify", "--file", file.to_str().unwrap()],
    );
    assert_eq!(code(&check), 0, "{}", text(&check.stderr));
    assert!(
        text(&check.stdout).contains("5 as the manifest says"),
        "{}",
        text(&check.stdout)
    );
    assert!(
        !database(elsewhere.path()).exists(),
        "a stranger needs no state"
    );
    let page = std::fs::read_to_string(written.join("report.html")).unwrap();
    let changed = page.replacen("<b>", "<b> ", 1);
    std::fs::write(written.join("report.html"), changed).unwrap();
    let check = run(
        place,
        &[
            "evidence",
            "verify",
            "--file",
            file.to_str().unwrap(),
            "--output",
            "json",
        ],
    );
    assert_eq!(code(&check), 1);
    assert_eq!(document(&check)["differing_files"][0], "report.html");

    for (arguments, expected, words) in [
        (&["evidence", "verify", "--head", "12"][..], 2, "not a head"),
        (&["evidence", "export", "--from", "2026-13-01"], 2, "--from"),
        (
            &[
                "evidence",
                "export",
                "--from",
                "2026-11-02",
                "--to",
                "2026-11-01",
            ],
            2,
            "ends before it begins",
        ),
        (
            &["evidence", "verify", "--file", "nowhere.jsonl"],
            3,
            "nowhere.jsonl",
        ),
    ] {
        let output = run(place, arguments);
        assert_eq!(code(&output), expected, "{arguments:?}");
        assert!(
            text(&output.stderr).contains(words),
            "{}",
            text(&output.stderr)
        );
    }
}

#[tokio::test]
async fn what_is_done_behind_the_back_of_the_database_is_found_and_named() {
    let directory = tempfile::tempdir().unwrap();
    let original = directory.path().join("original");
    filled(&original, 40).await;
    let (record, file) = drilled(&original).await;
    let file = file.strip_prefix(&original).unwrap().to_owned();
    let head = text(&run(&original, &["evidence", "head"]).stdout)
        .trim()
        .to_owned();

    let change = |sql: &str| sql.to_owned();
    let cases: [(&str, u64, String); 14] = [
        (
            "altered",
            7,
            change(
                "UPDATE entries SET text = replace(text, 'looked', 'Looked') WHERE sequence = 7",
            ),
        ),
        ("gap", 9, change("DELETE FROM entries WHERE sequence = 8")),
        ("gap", 2, change("DELETE FROM entries WHERE sequence = 1")),
        (
            "head-missing",
            41,
            change("DELETE FROM entries WHERE sequence > 30"),
        ),
        (
            "mislabelled",
            5,
            change(
                "UPDATE entries SET sequence = -1 WHERE sequence = 5; UPDATE entries SET sequence = 5 WHERE sequence = 6; UPDATE entries SET sequence = 6 WHERE sequence = -1",
            ),
        ),
        (
            "mislabelled",
            42,
            change(
                "INSERT INTO entries SELECT 42, previous, sha256, at, kind, cluster, copy, run_id, text FROM entries WHERE sequence = 20",
            ),
        ),
        (
            "mislabelled",
            11,
            change("UPDATE entries SET cluster = 'other' WHERE sequence = 11"),
        ),
        (
            "mislabelled",
            12,
            change("UPDATE entries SET kind = 'drill' WHERE sequence = 12"),
        ),
        (
            "mislabelled",
            13,
            change("UPDATE entries SET at = at + 1 WHERE sequence = 13"),
        ),
        (
            "altered",
            14,
            change("UPDATE entries SET sha256 = printf('%064d', 1) WHERE sequence = 14"),
        ),
        (
            "mislabelled",
            15,
            change("UPDATE entries SET previous = printf('%064d', 1) WHERE sequence = 15"),
        ),
        ("record-missing", 41, change("DELETE FROM records")),
        (
            "record-altered",
            41,
            change("UPDATE records SET body = replace(body, 'nightly', 'NIGHTLY')"),
        ),
        (
            "record-altered",
            41,
            change("UPDATE records SET sha256 = printf('%064d', 1)"),
        ),
    ];
    for (number, (kind, sequence, sql)) in cases.iter().enumerate() {
        let place = directory.path().join(number.to_string());
        copied(&original, &place);
        forge(&place, sql).await;
        broken(&place, &head, kind, *sequence, sql);
    }

    // The file beside the row.
    let place = directory.path().join("file");
    copied(&original, &place);
    let path = place.join(&file);
    let content = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, content.replace("proven", "PROVEN")).unwrap();
    broken(&place, &head, "record-altered", 41, &record);
    std::fs::remove_file(&path).unwrap();
    let report = document(&run(&place, &["evidence", "verify", "--output", "json"]));
    assert_eq!(report["holds"], true, "another machine may have the file");
    assert_eq!(report["records"]["files_elsewhere"], 1);

    // Taking the guards away changes nothing by itself.
    let place = directory.path().join("untouched");
    copied(&original, &place);
    forge(&place, "").await;
    assert_eq!(
        code(&run(&place, &["evidence", "verify", "--head", &head])),
        0
    );
    // What is cut off at the end shows against a noted head alone.
    forge_end(&place).await;
    assert_eq!(code(&run(&place, &["evidence", "verify"])), 0);
}

async fn forge_end(place: &Path) {
    let url = format!("sqlite://{}", database(place).display());
    let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("DELETE FROM entries WHERE sequence > 30")
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
}

fn broken(place: &Path, head: &str, kind: &str, sequence: u64, what: &str) {
    let output = run(
        place,
        &["evidence", "verify", "--head", head, "--output", "json"],
    );
    assert_eq!(code(&output), 1, "{what}: {}", text(&output.stderr));
    let report = document(&output);
    assert_eq!(report["first_break"]["kind"], kind, "{what}: {report:#}");
    assert_eq!(
        report["first_break"]["sequence"], sequence,
        "{what}: {report:#}"
    );
    assert_eq!(report["findings"][0]["code"], "records-broken");
    let words = text(&run(place, &["evidence", "verify", "--head", head]).stdout);
    assert!(words.contains("The records are broken."), "{words}");
    assert!(
        words.contains(kind) && words.contains(&format!("entry {sequence}")),
        "{words}"
    );
}

fn copied(from: &Path, to: &Path) {
    let status = Command::new("cp")
        .arg("-a")
        .arg(from)
        .arg(to)
        .status()
        .unwrap();
    assert!(status.success());
}

/// Other programs than ours come to the same: Python, and the commands on the page.
#[tokio::test]
async fn an_export_is_checked_without_walproof() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path();
    filled(place, 700).await;
    drilled(place).await;
    let output = run(
        place,
        &[
            "evidence",
            "export",
            "--from",
            "2026-11-02",
            "--to",
            "2026-12-01",
            "--dir",
            "x",
            "--output",
            "json",
        ],
    );
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    let exported = document(&output);
    let entries = &exported["manifest"]["entries"];
    assert!(
        entries["first"].as_u64().unwrap() > 1,
        "the chain begins in its middle"
    );
    let export = place.join("x");

    let oracle = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/evidence/oracle.py");
    let python = |export: &Path| {
        let mut command = Command::new("python3");
        command
            .arg(&oracle)
            .arg(export)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    };
    let output = python(&export);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let counted = document(&output);
    assert_eq!(counted["entries"], entries["count"]);
    assert_eq!(&counted["head"], &entries["head"]);

    let page = std::fs::read_to_string(export.join("report.html")).unwrap();
    let (_, script) = page.split_once("<pre>jq ").unwrap();
    let (script, _) = script.split_once("</pre>").unwrap();
    let script = format!("jq {}", script.replace("&lt;", "<"));
    let by_hand = |export: &Path| {
        let mut command = Command::new("bash");
        let output = command
            .arg("-c")
            .arg(&script)
            .current_dir(export)
            .output()
            .unwrap();
        text(&output.stdout)
    };
    let words = by_hand(&export);
    assert_eq!(words.matches(": OK").count(), 5, "{words}");
    let digest = entries["head"]["sha256"].as_str().unwrap();
    assert_eq!(words.trim().lines().last().unwrap(), digest);

    // And they find what was changed.
    let file = export.join("entries.jsonl");
    let content = std::fs::read_to_string(&file).unwrap();
    std::fs::write(
        &file,
        content.replacen("\"exit_code\":1", "\"exit_code\":0", 1),
    )
    .unwrap();
    assert!(!python(&export).status.success());
    let words = by_hand(&export);
    assert!(
        words.contains("entries.jsonl: FAILED") && words.contains("broken: "),
        "{words}"
    );
    let check = run(
        place,
        &[
            "evidence",
            "verify",
            "--file",
            "x/entries.jsonl",
            "--output",
            "json",
        ],
    );
    assert_eq!(document(&check)["first_break"]["kind"], "wrong-previous");
}

/// The peak of a process's resident memory, in KiB, with its output.
fn peak(mut command: Command) -> (u64, Output) {
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id());
    let watcher = std::thread::spawn(move || {
        let mut peak = 0;
        // The file goes, or is empty of it, when the process has ended.
        while let Ok(text) = std::fs::read_to_string(&status) {
            let Some(line) = text.lines().find(|line| line.starts_with("VmHWM:")) else {
                break;
            };
            peak = line.split_whitespace().nth(1).unwrap().parse().unwrap();
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        peak
    });
    let output = child.wait_with_output().unwrap();
    (watcher.join().unwrap(), output)
}

/// Ten times as many entries take no more memory.
#[tokio::test]
async fn a_hundred_thousand_entries_take_no_more_memory_than_a_few() {
    let directory = tempfile::tempdir().unwrap();
    let (few, many) = (directory.path().join("few"), directory.path().join("many"));
    filled(&few, 5_000).await;
    filled(&many, 100_000).await;
    let export = [
        "evidence",
        "export",
        "--from",
        "2026-01-01",
        "--to",
        "2030-01-01",
        "--dir",
        "x",
    ];
    let file = [
        "evidence",
        "verify",
        "--file",
        "x/entries.jsonl",
        "--output",
        "json",
    ];
    for arguments in [
        &["evidence", "verify", "--output", "json"][..],
        &export,
        &file,
    ] {
        let (small, output) = peak(walproof(&few, arguments));
        assert_eq!(code(&output), 0, "{}", text(&output.stderr));
        let (large, output) = peak(walproof(&many, arguments));
        assert_eq!(code(&output), 0, "{}", text(&output.stderr));
        if arguments.contains(&"--output") {
            let report = document(&output);
            assert_eq!(report["holds"], true);
            assert!(report["entries"].as_u64().unwrap() >= 100_000);
        }
        let arguments = arguments.join(" ");
        assert!(small > 0 && large > 0, "{arguments}: nothing was measured");
        // Eight bytes per measured value, and what an allocator rounds.
        assert!(
            large < small + 16 * 1024,
            "{arguments}: {small} KiB and {large} KiB"
        );
        assert!(large < 128 * 1024, "{arguments}: {large} KiB");
    }
}
