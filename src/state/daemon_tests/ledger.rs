//! The ledger in the database: numbered without gaps, linked, never changed, whoever writes.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::super::testing::wait_until;
use super::super::{Completion, RunKind, State};
use super::{Place, begin, moment, on_both, outcome};
use crate::evidence::{EntryKind, FIRST_PREVIOUS, LedgerEntry, NewEntry, Verdict, sha256_hex};

on_both!(
    entries_are_numbered_and_linked_and_given_in_order,
    the_database_itself_refuses_gaps_wrong_links_and_changes,
    every_run_by_hand_appends_one_entry,
    two_processes_that_append_at_once_leave_no_gap,
    what_was_due_is_counted_by_reason_and_moments,
    that_the_ledger_was_followed_is_kept,
    a_database_of_the_version_before_counts_what_it_holds,
);

fn new_entry(cluster: &str, seconds: i64) -> NewEntry {
    NewEntry {
        kind: EntryKind::Missed,
        at: moment(seconds),
        cluster: Some(cluster.to_owned()),
        copy: None,
        run_id: None,
        body: json!({"reason": "down"}),
    }
}

/// The whole ledger, checked as a stranger would.
async fn walk(state: &State) -> Vec<LedgerEntry> {
    let mut entries: Vec<LedgerEntry> = Vec::new();
    loop {
        let after = entries.last().map_or(0, |entry| entry.sequence);
        let page = state.entries(after, 100).await.unwrap();
        if page.is_empty() {
            break;
        }
        entries.extend(page);
    }
    let mut previous = FIRST_PREVIOUS.to_owned();
    for (position, entry) in entries.iter().enumerate() {
        let said: Value = serde_json::from_str(&entry.text).unwrap();
        assert_eq!(entry.sequence, position as u64 + 1);
        assert_eq!(said["sequence"], entry.sequence);
        assert_eq!(said["previous"], previous);
        assert_eq!(entry.previous, previous);
        assert_eq!(entry.sha256, sha256_hex(entry.text.as_bytes()));
        previous.clone_from(&entry.sha256);
    }
    let head = state.entry_head().await.unwrap();
    assert_eq!(
        head,
        entries
            .last()
            .map(|entry| (entry.sequence, entry.sha256.clone()))
    );
    entries
}

async fn entries_are_numbered_and_linked_and_given_in_order(place: &Place) {
    let state = place.open().await;
    assert_eq!(walk(&state).await, []);
    assert_eq!(state.append(&[]).await.unwrap(), []);
    let first = state
        .append(&[new_entry("orders", 10), new_entry("billing", 20)])
        .await
        .unwrap();
    let second = place
        .open()
        .await
        .append(&[new_entry("orders", 5)])
        .await
        .unwrap();
    let all = walk(&state).await;
    assert_eq!(all, [first, second].concat());
    assert_eq!(state.entries(1, 1).await.unwrap(), all[1..2]);
    let between = async |from, to, cluster, after| {
        let found = state
            .entries_between(moment(from), moment(to), cluster, after, 100)
            .await
            .unwrap();
        found.iter().map(|entry| entry.sequence).collect::<Vec<_>>()
    };
    assert_eq!(between(5, 20, None, 0).await, [1, 3]);
    assert_eq!(between(0, 99, Some("orders"), 0).await, [1, 3]);
    assert_eq!(between(0, 99, None, 1).await, [2, 3]);
    let counts = state.entry_counts().await.unwrap();
    let counts: Vec<_> = counts
        .iter()
        .map(|count| (count.cluster.as_str(), count.entries))
        .collect();
    assert_eq!(counts, [("billing", 1), ("orders", 2)]);
}

async fn the_database_itself_refuses_gaps_wrong_links_and_changes(place: &Place) {
    let state = place.open().await;
    state
        .append(&[new_entry("orders", 1), new_entry("orders", 2)])
        .await
        .unwrap();
    let before = walk(&state).await;
    let insert = |verb: &str, sequence: u64, previous: &str| {
        let next = crate::evidence::seal(&new_entry("orders", 3), sequence, previous).unwrap();
        format!(
            "{verb} INTO entries (sequence, previous, sha256, at, kind, text) \
             VALUES ({sequence}, '{previous}', '{}', 0, 'missed', '{}')",
            next.sha256, next.text
        )
    };
    let head = before[1].sha256.clone();
    let mut refused = vec![
        ("UPDATE entries SET at = 0".to_owned(), "append-only"),
        (
            "UPDATE entries SET text = text WHERE sequence = 2".to_owned(),
            "append-only",
        ),
        ("DELETE FROM entries".to_owned(), "append-only"),
        (
            "DELETE FROM entries WHERE sequence = 2".to_owned(),
            "append-only",
        ),
        (insert("INSERT", 4, &head), "no gaps"),
        (insert("INSERT", 0, &head), "no gaps"),
        (insert("INSERT", 2, &before[0].sha256), "no gaps"),
        (insert("INSERT", 3, &before[0].sha256), "linked"),
        (insert("INSERT", 3, FIRST_PREVIOUS), "linked"),
    ];
    if place.is_sqlite() {
        refused.extend([
            (insert("INSERT OR REPLACE", 2, &before[0].sha256), "no gaps"),
            (insert("REPLACE", 1, FIRST_PREVIOUS), "no gaps"),
            (insert("INSERT OR IGNORE", 3, FIRST_PREVIOUS), "linked"),
            (
                format!(
                    "{} ON CONFLICT (sequence) DO UPDATE SET at = 7",
                    insert("INSERT", 2, &before[0].sha256)
                ),
                "no gaps",
            ),
        ]);
    } else {
        refused.extend([
            ("TRUNCATE entries".to_owned(), "append-only"),
            ("TRUNCATE entries CASCADE".to_owned(), "append-only"),
            (
                "SET session_replication_role = replica; DELETE FROM entries".to_owned(),
                "append-only",
            ),
            (
                format!(
                    "{} ON CONFLICT (sequence) DO UPDATE SET at = 7",
                    insert("INSERT", 2, &before[0].sha256)
                ),
                "append-only",
            ),
        ]);
    }
    for (sql, why) in refused {
        let words = place.sql(&sql).await.unwrap_err().to_string();
        assert!(words.contains(why), "{sql}: {words}");
        assert_eq!(walk(&state).await, before, "{sql}");
    }
    // A text that says something else than its columns.
    let lies = insert("INSERT", 3, &head).replace(r#""sequence":3"#, r#""sequence":4"#);
    assert!(place.sql(&lies).await.is_err());
    // What is right is taken from any program.
    place.sql(&insert("INSERT", 3, &head)).await.unwrap();
    assert_eq!(walk(&state).await.len(), 3);
    state.append(&[new_entry("orders", 4)]).await.unwrap();
    assert_eq!(walk(&state).await.len(), 4);
}

async fn every_run_by_hand_appends_one_entry(place: &Place) {
    let state = place.open().await;
    let mut ended = outcome();
    for (exit_code, came_to) in [(0, "done"), (1, "found"), (3, "unchecked"), (4, "refused")] {
        let run = begin(&state, RunKind::Verify, "orders").await;
        let id = run.id;
        ended.exit_code = exit_code;
        let entry = state
            .finish_run(run, &ended, &Completion::default())
            .await
            .unwrap();
        assert!(entry.text.contains(&id.to_string()));
        assert!(entry.text.contains(&format!(r#""exit_code":{exit_code}"#)));
        let counts = state.entry_counts().await.unwrap();
        let count = counts
            .iter()
            .find(|count| count.outcome == came_to)
            .unwrap();
        assert_eq!((count.entries, count.copy.as_str()), (1, "primary"));
    }
    let run = begin(&state, RunKind::Drill, "").await;
    ended.verdict = Some(crate::evidence::Verdict::Failed);
    let completion = Completion {
        body: Some(json!({"said": "by its caller"})),
        ..Completion::default()
    };
    let entry = state.finish_run(run, &ended, &completion).await.unwrap();
    assert!(
        entry
            .text
            .contains(r#""body":{"said":"by its caller"},"cluster":null"#)
    );
    assert!(entry.text.contains(r#""kind":"drill""#));
    assert_eq!(walk(&state).await.len(), 5);
}

fn due(kind: EntryKind, body: Value) -> NewEntry {
    NewEntry {
        kind,
        body,
        ..new_entry("orders", 1)
    }
}

/// Kind, outcome, entries and moments of everything that is counted.
async fn counted(state: &State) -> Vec<(&'static str, String, u64, u64)> {
    let counts = state.entry_counts().await.unwrap();
    counts
        .into_iter()
        .map(|it| (it.kind.as_str(), it.outcome, it.entries, it.moments))
        .collect()
}

fn what_was_due() -> [NewEntry; 7] {
    [
        due(EntryKind::Missed, json!({"reason": "down", "moments": 5})),
        due(EntryKind::Missed, json!({"reason": "down"})),
        due(
            EntryKind::Missed,
            json!({"reason": "overdue", "moments": 1}),
        ),
        due(EntryKind::Late, json!({"reason": "down", "passed_over": 3})),
        due(EntryKind::Late, json!({"reason": "down"})),
        due(
            EntryKind::Skipped,
            json!({"reason": "overlap", "moments": 1}),
        ),
        due(EntryKind::Verify, json!({"moments": 9})),
    ]
}

fn as_counted() -> [(&'static str, String, u64, u64); 5] {
    [
        ("late", "down".to_owned(), 2, 5),
        ("missed", "down".to_owned(), 2, 6),
        ("missed", "overdue".to_owned(), 1, 1),
        ("skipped", "overlap".to_owned(), 1, 1),
        ("verify", String::new(), 1, 1),
    ]
}

async fn what_was_due_is_counted_by_reason_and_moments(place: &Place) {
    let state = place.open().await;
    state.append(&what_was_due()).await.unwrap();
    assert_eq!(counted(&state).await, as_counted());
    state.append(&what_was_due()).await.unwrap();
    let twice = as_counted()
        .map(|(kind, outcome, entries, moments)| (kind, outcome, 2 * entries, 2 * moments));
    assert_eq!(counted(&state).await, twice);
}

async fn a_database_of_the_version_before_counts_what_it_holds(place: &Place) {
    place.migrate_to(4).await;
    let mut previous = FIRST_PREVIOUS.to_owned();
    for (entry, sequence) in what_was_due().iter().zip(1..) {
        let sealed = crate::evidence::seal(entry, sequence, &previous).unwrap();
        place
            .sql(&format!(
                "INSERT INTO entries (sequence, previous, sha256, at, kind, cluster, text) \
                 VALUES ({sequence}, '{previous}', '{}', 0, '{}', 'orders', '{}')",
                sealed.sha256,
                entry.kind.as_str(),
                sealed.text
            ))
            .await
            .unwrap();
        previous = sealed.sha256;
    }
    let run = uuid::Uuid::now_v7();
    let standing = |copy: &str, exit_code: u8, verdict: &str| {
        format!(
            "INSERT INTO standings (cluster, copy, kind, location, at, run_id, exit_code, verdict, \
             body) VALUES ('orders', '{copy}', 'drill', 'file:///a', 7, '{run}', {exit_code}, \
             '{verdict}', '{{}}')"
        )
    };
    for sql in [
        "INSERT INTO entry_counts (kind, cluster, copy, outcome, entries) \
         VALUES ('missed', 'orders', '', '', 3)",
        "INSERT INTO entry_counts (kind, cluster, copy, outcome, entries) \
         VALUES ('verify', 'orders', '', '', 1)",
        &standing("primary", 1, "failed"),
        &standing("far", 3, "unproven"),
    ] {
        place.sql(sql).await.unwrap();
    }
    let state = place.open().await;
    assert_eq!(counted(&state).await, as_counted());
    let proofs = state.proofs().await.unwrap();
    assert_eq!(proofs.len(), 1, "{proofs:?}");
    assert_eq!(proofs[0].copy, "primary");
    assert_eq!(proofs[0].verdict, Some(Verdict::Failed));
}

async fn that_the_ledger_was_followed_is_kept(place: &Place) {
    let state = place.open().await;
    assert_eq!(state.ledger_followed_at().await.unwrap(), None);
    state.ledger_followed(moment(7)).await.unwrap();
    let other = place.open().await;
    assert_eq!(other.ledger_followed_at().await.unwrap(), Some(moment(7)));
}

const TOGETHER: i64 = 100;

#[tokio::test]
#[ignore = "the process that two_processes_that_append_at_once_leave_no_gap starts"]
async fn child_that_appends() {
    let address = std::env::var("WALPROOF_TEST_STATE").expect("started by its test");
    let directory = std::env::var_os("WALPROOF_TEST_DIRECTORY").unwrap();
    let url: crate::config::StateUrl = address.parse().unwrap();
    let url = url.with_directory(std::path::Path::new(&directory));
    let state = State::open(&url).await.unwrap();
    for n in 0..TOGETHER {
        state.append(&[new_entry("child", n)]).await.unwrap();
        if n == 0 {
            // The parent begins when it sees this one; the rest is beside it.
            wait_until("the parent appends", async || {
                state.entry_head().await.unwrap().unwrap().0 > 1
            })
            .await;
        }
    }
}

async fn two_processes_that_append_at_once_leave_no_gap(place: &Place) {
    let state = place.open().await;
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            "state::daemon_tests::ledger::child_that_appends",
        ])
        .env("WALPROOF_TEST_STATE", place.url().to_string())
        .env("WALPROOF_TEST_DIRECTORY", place.directory())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_mins(1);
    while state.entry_head().await.unwrap().is_none() {
        assert!(Instant::now() < deadline, "the child never began");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    // Two handles of this process beside the other process.
    let other = place.open().await;
    for n in 0..TOGETHER {
        let (one, two) = ([new_entry("parent", n)], [new_entry("twin", n)]);
        let (left, right) = tokio::join!(state.append(&one), other.append(&two));
        left.unwrap();
        right.unwrap();
    }
    assert!(child.wait().unwrap().success());
    let entries = walk(&state).await;
    assert_eq!(i64::try_from(entries.len()), Ok(3 * TOGETHER));
    // They did not take turns by chance only: the child's lie between the parent's.
    let first_parent = entries
        .iter()
        .position(|entry| entry.text.contains("parent"));
    let last_child = entries
        .iter()
        .rposition(|entry| entry.text.contains("child"));
    assert!(first_parent < last_child, "{first_parent:?} {last_child:?}");
}
