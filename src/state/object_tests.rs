//! What is remembered of objects: kept whole, changed by one at a time, forgotten when asked.

use chrono::{DateTime, TimeDelta, Utc};

use super::testing::{Place, on_both, sqlite_pool};
use super::{ChangeKind, ObjectChange, ReadRate, RememberedObject, State, StateErrorKind};
use crate::codec::Sha256;
use crate::finding::{Code, Finding};
use crate::storage::ObjectIdentity;

const PLACE: &str = "s3://backups/orders";

on_both!(
    an_object_is_kept_whole_and_per_place,
    the_summary_counts_what_is_there_and_the_marked_are_found,
    the_rate_of_reading_is_kept,
    writers_at_once_do_not_undo_each_other,
    what_another_program_wrote_wrongly_is_not_believed,
    keys_sort_by_bytes,
    many_objects_are_found_by_their_keys,
);

fn moment(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_790_000_000 + seconds, 0).unwrap()
}

fn object(key: &str) -> RememberedObject {
    RememberedObject {
        key: key.to_owned(),
        identity: ObjectIdentity {
            size: 20_480,
            etag: Some("0fa".to_owned()),
            version: None,
            modified: moment(-60),
        },
        first_seen: moment(0),
        first_read: None,
        last_read: None,
        findings: Vec::new(),
        change: None,
        absent_since: None,
    }
}

/// An object of which everything is known.
fn eventful(key: &str) -> RememberedObject {
    RememberedObject {
        first_read: Some((Sha256::of(b"first"), moment(10))),
        last_read: Some(moment(20)),
        findings: vec![Finding::new(Code::WalCorrupt, key, "a \"bad\" record\n")],
        change: Some(ObjectChange {
            kind: ChangeKind::Bytes,
            noticed: moment(20),
            size_before: 7,
            etag_before: Some("0fb".to_owned()),
            sha256_after: Some(Sha256::of(b"second")),
        }),
        ..object(key)
    }
}

async fn write(state: &State, place: &str, objects: Vec<RememberedObject>) {
    let keys: Vec<String> = objects.iter().map(|object| object.key.clone()).collect();
    state
        .objects_update(place, &keys, |_| objects.clone())
        .await
        .unwrap();
}

async fn lookup(state: &State, place: &str, keys: &[&str]) -> Vec<RememberedObject> {
    let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
    let mut found = state.objects_lookup(place, &keys).await.unwrap();
    found.sort_by(|a, b| a.key.cmp(&b.key));
    found
}

pub(super) async fn an_object_is_kept_whole_and_per_place(place: &Place) {
    let state = place.open().await;
    let strange = "base/it's \"odd\" ä\\/data.tar";
    assert!(lookup(&state, PLACE, &["wals/a"]).await.is_empty());
    write(&state, PLACE, vec![object("wals/a"), eventful(strange)]).await;
    write(&state, "s3://other/orders", vec![eventful("wals/a")]).await;
    state.close().await;

    let state = place.open().await;
    assert_eq!(
        lookup(&state, PLACE, &["wals/a", strange, "wals/none"]).await,
        [eventful(strange), object("wals/a")]
    );
    assert_eq!(
        lookup(&state, "s3://other/orders", &["wals/a"]).await,
        [eventful("wals/a")]
    );
    // Written again it is replaced, down to what it no longer has.
    write(&state, PLACE, vec![object(strange)]).await;
    assert_eq!(lookup(&state, PLACE, &[strange]).await, [object(strange)]);
}

pub(super) async fn the_summary_counts_what_is_there_and_the_marked_are_found(place: &Place) {
    let state = place.open().await;
    assert_eq!(
        state.objects_summary(PLACE).await.unwrap(),
        super::ObjectSummary::default()
    );
    let gone = |key: &str, since: i64| RememberedObject {
        absent_since: Some(moment(since)),
        ..eventful(key)
    };
    let read = RememberedObject {
        first_read: Some((Sha256::of(b"b"), moment(5))),
        last_read: Some(moment(5)),
        ..object("b")
    };
    let changed = RememberedObject {
        findings: Vec::new(),
        ..eventful("d")
    };
    let damaged = RememberedObject {
        change: None,
        ..eventful("c")
    };
    let all = vec![
        object("a"),
        read,
        damaged.clone(),
        changed.clone(),
        gone("e", 100),
        gone("f", 200),
    ];
    write(&state, PLACE, all).await;
    let summary = state.objects_summary(PLACE).await.unwrap();
    assert_eq!(summary.objects, 4);
    assert_eq!(summary.unread, 1);
    assert_eq!(summary.oldest_read, Some(moment(5)));
    assert_eq!((summary.changed, summary.damaged), (1, 1));
    assert_eq!(summary.absent, 2);
    assert_eq!(
        state.objects_marked(PLACE, 10).await.unwrap(),
        [damaged.clone(), changed]
    );
    assert_eq!(state.objects_marked(PLACE, 1).await.unwrap(), [damaged]);
    let keys = state.objects_keys(PLACE, "a", 2).await.unwrap();
    assert_eq!(keys, ["b", "c"]);
    assert_eq!(state.objects_keys(PLACE, "c", 9).await.unwrap(), ["d"]);

    let forget = async |before| state.objects_forget_absent(PLACE, before).await.unwrap();
    assert_eq!(forget(moment(100)).await, 0);
    assert_eq!(forget(moment(150)).await, 1);
    assert!(lookup(&state, PLACE, &["e"]).await.is_empty());
    assert_eq!(lookup(&state, PLACE, &["f"]).await.len(), 1);
}

pub(super) async fn the_rate_of_reading_is_kept(place: &Place) {
    let state = place.open().await;
    assert_eq!(state.read_rate(PLACE).await.unwrap(), None);
    write(&state, PLACE, vec![object("a")]).await;
    assert_eq!(state.read_rate(PLACE).await.unwrap(), None);
    let rate = ReadRate {
        bytes: 1 << 40,
        millis: 3_600_000,
    };
    state.keep_read_rate(PLACE, rate).await.unwrap();
    assert_eq!(state.read_rate(PLACE).await.unwrap(), Some(rate));
}

pub(super) async fn writers_at_once_do_not_undo_each_other(place: &Place) {
    let keys: Vec<String> = (0..50).map(|number| format!("wals/{number:03}")).collect();
    // Each opens the state for itself, as processes of their own would, and adds a second
    // to what it finds.
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let (url, keys) = (place.url().clone(), keys.clone());
            tokio::spawn(async move {
                let state = State::open(&url).await.unwrap();
                for _ in 0..10 {
                    let add = |known: Vec<RememberedObject>| {
                        if known.is_empty() {
                            return keys.iter().map(|key| object(key)).collect();
                        }
                        let later = |mut object: RememberedObject| {
                            object.first_seen += TimeDelta::seconds(1);
                            object
                        };
                        known.into_iter().map(later).collect()
                    };
                    state.objects_update(PLACE, &keys, add).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let state = place.open().await;
    let found = state.objects_lookup(PLACE, &keys).await.unwrap();
    assert_eq!(found.len(), 50);
    assert!(found.iter().all(|object| object.first_seen == moment(39)));
}

pub(super) async fn what_another_program_wrote_wrongly_is_not_believed(place: &Place) {
    let state = place.open().await;
    write(&state, PLACE, vec![eventful("a")]).await;
    // The schema itself refuses half a change and half a digest.
    let one_byte = if place.is_sqlite() {
        "x'00'"
    } else {
        "'\\x00'"
    };
    for sql in [
        &*format!("UPDATE objects SET sha256 = {one_byte}"),
        "UPDATE objects SET sha256 = NULL",
        "UPDATE objects SET change = 'colour'",
        "UPDATE objects SET changed_at = NULL",
        "UPDATE objects SET findings = 'none'",
    ] {
        place.sql(sql).await.expect_err(sql);
    }
    place
        .sql("UPDATE objects SET findings = '[{}]'")
        .await
        .unwrap();
    let error = state
        .objects_lookup(PLACE, &["a".to_owned()])
        .await
        .unwrap_err();
    let kind = if place.is_sqlite() {
        StateErrorKind::Corrupt
    } else {
        StateErrorKind::Damaged
    };
    assert_eq!(error.kind, kind, "{error}");
}

#[tokio::test]
async fn a_database_of_the_version_before_is_brought_up_to_date() {
    let directory = tempfile::tempdir().unwrap();
    let url = crate::config::StateUrl::sqlite(directory.path().join("state.sqlite"));
    let state = State::open(&url).await.unwrap();
    let run = state
        .begin_run(&super::NewRun {
            kind: super::RunKind::Verify,
            cluster: "orders".to_owned(),
            copy: String::new(),
            location: PLACE.to_owned(),
        })
        .await
        .unwrap();
    state.close().await;
    let other = sqlite_pool(&directory.path().join("state.sqlite")).await;
    sqlx::raw_sql(
        "DROP TABLE objects; DROP TABLE repositories; \
         DELETE FROM _sqlx_migrations WHERE version = 2;",
    )
    .execute(&other)
    .await
    .unwrap();
    other.close().await;
    let state = State::open(&url).await.unwrap();
    write(&state, PLACE, vec![object("a")]).await;
    assert_eq!(state.objects_summary(PLACE).await.unwrap().objects, 1);
    let runs = state.history(&super::HistoryFilter::default()).await;
    assert_eq!(runs.unwrap()[0].id, run.id);
}

pub(super) async fn keys_sort_by_bytes(place: &Place) {
    let state = place.open().await;
    // As stores list them, whatever the language of the database.
    let keys = [
        "A",
        "B",
        "a",
        "a-b",
        "a/b",
        "a0",
        "ab",
        "\u{e4}",
        "\u{1F418}",
    ];
    write(&state, PLACE, keys.map(object).to_vec()).await;
    assert_eq!(state.objects_keys(PLACE, "", 99).await.unwrap(), keys);
    assert_eq!(
        state.objects_keys(PLACE, "a/b", 2).await.unwrap(),
        ["a0", "ab"]
    );
    // The same key twice in one batch: the last counts.
    let later = RememberedObject {
        first_seen: moment(9),
        ..object("A")
    };
    write(&state, PLACE, vec![object("A"), later.clone()]).await;
    assert_eq!(lookup(&state, PLACE, &["A"]).await, [later]);
}

pub(super) async fn many_objects_are_found_by_their_keys(place: &Place) {
    // A million with optimisation; without it SQLite itself is ten times slower.
    const OBJECTS: u64 = if cfg!(debug_assertions) {
        100_000
    } else {
        1_000_000
    };
    let state = place.open().await;
    let key = |number: u64| format!("wals/{:016X}/{number:024X}.gz", number >> 8);
    let begin = std::time::Instant::now();
    let mut number = 0;
    while number < OBJECTS {
        let batch: Vec<_> = (number..number + 10_000).map(|n| object(&key(n))).collect();
        write(&state, PLACE, batch).await;
        number += 10_000;
    }
    let written = begin.elapsed();
    let begin = std::time::Instant::now();
    let mut found = 0;
    for first in (0..OBJECTS).step_by(State::OBJECTS_TOGETHER * 10) {
        let keys: Vec<String> = (first..first + State::OBJECTS_TOGETHER as u64)
            .map(key)
            .collect();
        found += state.objects_lookup(PLACE, &keys).await.unwrap().len();
    }
    let looked_up = begin.elapsed();
    assert_eq!(found as u64, OBJECTS / 10);
    let begin = std::time::Instant::now();
    assert_eq!(state.objects_summary(PLACE).await.unwrap().objects, OBJECTS);
    let summed = begin.elapsed();
    assert!(state.objects_marked(PLACE, 10).await.unwrap().is_empty());
    state.close().await;
    let size = if place.is_sqlite() {
        let file = place.directory().join("state.sqlite");
        std::fs::metadata(file).unwrap().len()
    } else {
        let size = "SELECT pg_total_relation_size('objects')";
        u64::try_from(place.number(size).await).unwrap()
    };
    eprintln!(
        "{OBJECTS} objects: written in {written:?}, {found} looked up in {looked_up:?}, \
         summed in {summed:?}, {} bytes each",
        size / OBJECTS
    );
}
