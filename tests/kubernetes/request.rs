//! Requests from the command line: a moment beside production, reached by those who asked and
//! nobody else, gone when its lease is over.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::common::kubernetes::source::{Form, Moment, Source};
use crate::common::kubernetes::store::Store;
use crate::common::kubernetes::{Lab, Namespace, cluster};
use crate::common::process::wait_until;
use crate::kit::{Place, Running};

const LIMIT: Duration = Duration::from_mins(5);
const DAEMON: &str = "daemon: {listen: '127.0.0.1:0', reload: 1s}\n";

/// A definition whose block only names the scratch namespaces, by which they are removed
/// should a test fail.
fn block(place: &Place) -> String {
    place.definition("request", &json!({}), "")
}

fn target(moment: Moment) -> String {
    moment.at.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

/// The words of `request create orders` with a definition and more.
fn create<'a>(definition: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let words = [
        "request",
        "create",
        "orders",
        "--output",
        "json",
        "--definition",
        definition,
    ];
    [&words[..], more].concat()
}

fn show(place: &Place, id: &str) -> Value {
    place
        .run(&["request", "show", id, "--output", "json"])
        .expect_code(0)
        .json()
}

/// A pod that lives, with PostgreSQL's programs in it.
fn client(lab: &Lab, namespace: &Namespace) {
    lab.apply(&[json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "client", "namespace": namespace.name},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [{
            "name": "client", "image": lab.postgres_image,
            "command": ["sleep", "3600"],
        }]},
    })]);
    lab.wait(&namespace.name, "pod/client", "condition=Ready", LIMIT);
}

/// What a query gives to the pod, with the credentials that were handed over.
fn ask(lab: &Lab, namespace: &Namespace, report: &Value, sql: &str) -> Result<String, String> {
    let connection = &report["connection"];
    let text = |name: &str| connection[name].as_str().unwrap().to_owned();
    let secret = format!("secret/{}", text("secret"));
    let secret = lab.get(&text("namespace"), &secret).unwrap();
    let password = &secret["data"]["password"];
    let host = format!(
        "host={} port={} dbname={} user={} sslmode=require connect_timeout=5",
        text("host"),
        connection["port"],
        text("database"),
        text("user")
    );
    let script = format!(
        "PGPASSWORD=$(echo {} | base64 -d) psql -X -qAt -v ON_ERROR_STOP=1 -d '{host}' -c \"{sql}\"",
        password.as_str().unwrap()
    );
    lab.try_ask(&[
        "-n",
        &namespace.name,
        "exec",
        "client",
        "--",
        "bash",
        "-c",
        &script,
    ])
}

fn gone(lab: &Lab, namespace: &str) -> bool {
    lab.get("default", &format!("namespace/{namespace}"))
        .is_none()
}

fn moment_of(value: &Value) -> DateTime<Utc> {
    value.as_str().unwrap().parse().unwrap()
}

/// What happened to a request, by the ledger.
fn story(place: &Place, id: &str) -> Vec<String> {
    let directory = place.path().join("evidence");
    let (from, to) = ("-1d", directory.to_str().unwrap());
    place
        .run(&["evidence", "export", "--from", from, "--dir", to])
        .expect_code(0);
    let text = std::fs::read_to_string(directory.join("entries.jsonl")).unwrap();
    text.lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|entry| entry["body"]["request"] == json!(id))
        .map(|entry| entry["body"]["event"].as_str().unwrap().to_owned())
        .collect()
}

/// A moment is asked for: it is restored and proven, pods of the namespace that was named reach
/// it and others do not, what was committed by then is there and nothing later; a longer lease
/// keeps it, and at its end it goes, with the Secret that was put elsewhere.
#[test]
fn a_moment_is_lent_to_those_who_asked_and_taken_back() {
    let lab = cluster!();
    let _peace = lab.beside();
    let source = Source::plugin(lab);
    let (inside, outside) = (lab.namespace("inside"), lab.namespace("outside"));
    client(lab, &inside);
    client(lab, &outside);
    let place = Place::new(lab);
    place.configure(source, DAEMON);
    let moment = source.moment(0.4);
    let (time, block) = (target(moment), block(&place));
    let daemon = place.start_daemon();
    let words = [
        "--target-time",
        &time,
        "--access",
        &inside.name,
        "--secret-in",
        &inside.name,
        "--lease",
        "90s",
        "--max-lease",
        "10m",
        "--reason",
        "INC-4711",
    ];
    let report = place.run(&create(&block, &words)).expect_code(0).json();
    assert_eq!(report["status"], "ready", "{report:#}");
    assert_eq!(report["verdict"], "proven");
    assert_eq!(report["reason"], "INC-4711");
    let id = report["id"].as_str().unwrap();
    let connection = &report["connection"];
    assert_eq!(connection["database"], Source::DATABASE);
    assert_eq!(connection["tried"], json!(true));
    let scratch = connection["namespace"].as_str().unwrap();
    let all = report.to_string();
    let copied = connection["copied_to"].as_str().unwrap();
    let copy = format!("secret/{}", copied.split_once('/').unwrap().1);
    let copy_there = lab.get(&inside.name, &copy).unwrap();
    for key in ["password", "uri"] {
        let value = copy_there["data"][key].as_str().unwrap();
        assert!(!all.contains(value), "{key} is shown");
    }

    let count = "select count(*) || ' ' || max(n) from history";
    let expected = format!("{0} {0}", moment.rows);
    assert_eq!(ask(lab, &inside, &report, count).unwrap().trim(), expected);
    // It is writable, and production does not see it.
    let before = source.rows();
    ask(lab, &inside, &report, "delete from history").unwrap();
    assert!(source.rows() >= before);
    let refused = ask(lab, &outside, &report, count).unwrap_err();
    println!("from outside: {refused}");

    let extend = ["request", "extend", id, "--lease", "3m", "--output", "json"];
    let extended = place.run(&extend).expect_code(0).json();
    let (ready, until) = (
        moment_of(&extended["ready_at"]),
        moment_of(&extended["expires_at"]),
    );
    assert_eq!(until - ready, TimeDelta::minutes(3));
    let too_long = ["request", "extend", id, "--by", "20m"];
    place.run(&too_long).expect_code(2);
    let first_end = ready + TimeDelta::seconds(95);
    wait_until(LIMIT, "the end of the first lease", || {
        Utc::now() > first_end
    });
    assert!(!gone(lab, scratch));
    assert_eq!(show(&place, id)["status"], "ready");

    wait_until(LIMIT, "the end of the lease", || gone(lab, scratch));
    let late = Utc::now() - until;
    println!("gone {} s after the end of its lease", late.num_seconds());
    assert!(late > TimeDelta::zero());
    wait_until(LIMIT, "the word of it", || {
        show(&place, id)["status"] == "ended"
    });
    assert_eq!(lab.get(&inside.name, &copy), None);
    assert!(show(&place, id)["gone_at"].is_string());
    daemon.kill();
    let story = story(&place, id);
    assert_eq!(story, ["asked", "ready", "extended", "ended"]);
}

/// By the daemon, and ended before its time: gone at once.
#[test]
fn a_request_in_the_queue_is_restored_and_ended_early() {
    let lab = cluster!();
    let _peace = lab.beside();
    let source = Source::plugin(lab);
    let place = Place::new(lab);
    place.configure(source, DAEMON);
    let moment = source.moment(0.6);
    let (time, block) = (target(moment), block(&place));
    let words = ["--target-time", &time, "--read-only", "--queue"];
    let queued = place.run(&create(&block, &words)).expect_code(0).json();
    assert_eq!(queued["status"], "queued");
    let id = queued["id"].as_str().unwrap().to_owned();
    let daemon = place.start_daemon();
    wait_until(Duration::from_mins(10), "the restore", || {
        let status = show(&place, &id)["status"].clone();
        assert!(
            ["queued", "restoring", "ready"].contains(&status.as_str().unwrap()),
            "{status}"
        );
        status == "ready"
    });
    let report = show(&place, &id);
    let scratch = report["namespace"].as_str().unwrap();
    assert!(!gone(lab, scratch));
    assert_eq!(report["connection"]["read_only"], json!(true));
    let text = place.run(&["request", "show", &id]).expect_code(0).stdout;
    assert!(text.contains("port-forward service/drill-rw"), "{text}");
    let ended = ["request", "end", &id, "--output", "json"];
    let ended = place.run(&ended).expect_code(0).json();
    assert_eq!(ended["status"], "ended");
    assert!(gone(lab, scratch));
    daemon.kill();
    let list = ["request", "list", "--output", "json"];
    let list = place.run(&list).expect_code(0).json();
    assert_eq!(list["requests"], json!([]));
}

/// What cannot be had is refused before anything is made, with what can.
#[test]
fn a_moment_out_of_reach_is_refused_with_the_nearest() {
    let lab = cluster!();
    let _peace = lab.beside();
    let source = Source::plugin(lab);
    source.archive();
    let place = Place::new(lab);
    place.configure(source, "");
    let block = block(&place);
    let future = ["--target-time", "2099-01-01T00:00:00Z"];
    let refused = place.run(&create(&block, &future)).expect_code(1).json();
    assert_eq!(refused["status"], "refused", "{refused:#}");
    let before = &refused["nearest"]["before"];
    assert!(moment_of(&before["time"]) < Utc::now(), "{refused:#}");
    assert_eq!(before["target"], "tip");
    assert_eq!(refused["nearest"]["after"], Value::Null);
    let past = ["--target-time", "2001-01-01T00:00:00Z"];
    let refused = place.run(&create(&block, &past)).expect_code(1).json();
    assert_eq!(refused["status"], "refused");
    assert_eq!(refused["nearest"]["before"], Value::Null);
    assert_eq!(refused["nearest"]["after"]["target"], "immediate");
    // A plan says the same, and is kept nowhere.
    let dry = [&past[..], &["--dry-run"]].concat();
    let plan = place.run(&create(&block, &dry)).expect_code(1).json();
    assert_eq!(plan["schema"], "walproof.request-plan/v1");
    assert!(plan["refused"].is_string());
    let list = ["request", "list", "--all", "--output", "json"];
    let list = place.run(&list).expect_code(0).json();
    assert_eq!(list["requests"].as_array().unwrap().len(), 2);
    assert_eq!(place.scratch_namespaces(), Vec::<String>::new());
}

/// A segment in the middle is gone: what lies behind it is refused, and what lies before it is
/// named and can be had.
#[test]
fn behind_a_hole_nothing_is_lent() {
    let lab = cluster!();
    let _peace = lab.beside();
    let source = Source::under_load(lab, Form::Plugin);
    let first = source.archive();
    source.wait_for_rows(10);
    let middle = source.archive();
    source.wait_for_rows(10);
    let behind = Utc::now();
    source.wait_for_rows(10);
    source.archive();
    source.stop_load();
    source.archive();
    assert!(first < middle);
    let folder = format!(
        "{}/{}/wals/{}/{middle}",
        source.folder(),
        Source::CLUSTER,
        &middle[..16]
    );
    let keys = source.store.keys(Store::BUCKET, &folder);
    assert_eq!(keys.len(), 1, "{keys:?}");
    let api = source.store.api();
    api.delete(Store::BUCKET, &keys[0], None).expect_success();

    let place = Place::new(lab);
    place.configure(&source, "");
    let block = block(&place);
    let behind = behind.to_rfc3339();
    for words in [&["--target-time", behind.as_str()][..], &[]] {
        let refused = place.run(&create(&block, words)).expect_code(1).json();
        assert_eq!(refused["status"], "refused", "{refused:#}");
        assert!(
            refused["message"].as_str().unwrap().contains(&middle),
            "{refused:#}"
        );
        println!("{}", refused["message"]);
    }
    assert_eq!(place.scratch_namespaces(), Vec::<String>::new());
    let dry = ["--target-time", behind.as_str(), "--dry-run"];
    let plan = place.run(&create(&block, &dry)).expect_code(1).json();
    let before = &plan["nearest"]["before"];
    let lsn = before["target"].as_str().unwrap().strip_prefix("lsn:");
    let can = ["--target-lsn", lsn.unwrap(), "--dry-run"];
    let plan = place.run(&create(&block, &can)).expect_code(0).json();
    assert_eq!(plan["refused"], Value::Null);
}

/// The daemon is killed in the middle of a restore: the next one begins anew and leaves nothing
/// of the first; it is ended in the middle of that, and nothing is left at all.
#[test]
fn nothing_is_left_of_what_was_killed_or_ended_in_mid_restore() {
    let lab = cluster!();
    let _peace = lab.beside();
    let source = Source::plugin(lab);
    let place = Place::new(lab);
    let daemon = "daemon: {listen: '127.0.0.1:0', reload: 1s, lease: 10s}\n";
    place.configure(source, daemon);
    let moment = source.moment(0.5);
    let (time, block) = (target(moment), block(&place));
    let words = ["--target-time", &time, "--queue"];
    let queued = place.run(&create(&block, &words)).expect_code(0).json();
    let id = queued["id"].as_str().unwrap().to_owned();
    let scratch = |not: &str| -> String {
        let mut found = String::new();
        wait_until(LIMIT, "a scratch namespace", || {
            let names = place.scratch_namespaces();
            found = names
                .into_iter()
                .find(|name| name != not)
                .unwrap_or_default();
            !found.is_empty()
        });
        found
    };
    let running: Running = place.start_daemon();
    let first = scratch("");
    running.kill();
    assert_eq!(show(&place, &id)["status"], "restoring");

    let running = place.start_daemon();
    let second = scratch(&first);
    assert!(
        gone(lab, &first),
        "the first is removed before another is made"
    );
    let ended = ["request", "end", &id, "--output", "json"];
    let ended = place.run(&ended).expect_code(0).json();
    assert_eq!(ended["status"], "ended", "{ended:#}");
    assert!(gone(lab, &second));
    running.kill();
    assert_eq!(place.scratch_namespaces(), Vec::<String>::new());
    assert_eq!(show(&place, &id)["end_reason"], "it was ended by hand");
}
