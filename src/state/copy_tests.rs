//! What is remembered of copies: kept whole, compared by marks, and a database of the
//! version before taken over.

use chrono::{DateTime, Utc};

use super::testing::{Place, on_both, wait_until};
use super::{CopyAlarm, CopySide, NewRun, RememberedCopy, RunKind, source_mark};
use crate::codec::Sha256;
use crate::storage::ObjectIdentity;

on_both!(
    copies_are_kept_whole_and_apart_by_pair,
    one_process_holds_a_pair,
    a_database_of_the_version_before_learns_new_kinds_of_runs,
);

fn moment(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_790_000_000 + seconds, 0).unwrap()
}

fn copy(key: &str) -> RememberedCopy {
    RememberedCopy {
        key: key.to_owned(),
        sha256: Some(Sha256::of(b"bytes")),
        source: ObjectIdentity {
            size: 5,
            etag: Some("0fa".to_owned()),
            version: None,
            modified: moment(-60),
        },
        target_etag: Some("\u{e4}\"1".to_owned()),
        target_version: Some("v1".to_owned()),
        copied_at: Some(moment(0)),
        read_back_at: None,
        expired_at: None,
        alarm: None,
    }
}

fn alarmed(key: &str) -> RememberedCopy {
    RememberedCopy {
        sha256: None,
        copied_at: None,
        read_back_at: Some(moment(9)),
        alarm: Some(CopyAlarm {
            side: CopySide::Source,
            sha256: Sha256::of(b"other"),
            size: 6,
            mark: -7,
            noticed: moment(5),
        }),
        ..copy(key)
    }
}

pub(super) async fn copies_are_kept_whole_and_apart_by_pair(place: &Place) {
    let state = place.open().await;
    let pair = state.copy_pair("s3://a", "s3://b").await.unwrap();
    let other = state.copy_pair("s3://a", "s3://c").await.unwrap();
    assert_eq!(pair, state.copy_pair("s3://a", "s3://b").await.unwrap());
    let expired = RememberedCopy {
        expired_at: Some(moment(30)),
        ..copy("c")
    };
    let written = [copy("a"), alarmed("b"), expired, copy("d")];
    state.copies_write(&pair, &written).await.unwrap();

    let keys: Vec<String> = ["d", "b", "a", "c", "x"].map(str::to_owned).to_vec();
    let mut known = state.copies_lookup(&pair, &keys).await.unwrap();
    known.sort_by(|a, b| a.key.cmp(&b.key));
    assert_eq!(known, written);
    assert_eq!(state.copies_lookup(&other, &keys).await.unwrap(), []);

    let page = state.copies_page(&pair, "a", Some("c"), 10).await.unwrap();
    let seen: Vec<_> = page
        .iter()
        .map(|mark| (mark.key.as_str(), mark.alarmed, mark.expired))
        .collect();
    assert_eq!(seen, [("b", true, false), ("c", false, true)]);
    assert_eq!(page[0].source, written[1].source_mark());
    assert_eq!(page[0].target, written[1].target_mark());
    let page = state.copies_page(&pair, "", None, 2).await.unwrap();
    assert_eq!(page.len(), 2);

    let found = state.copies_alarmed(&pair, 10).await.unwrap();
    assert_eq!(found, [alarmed("b")]);
    let summary = state.copies_summary(&pair).await.unwrap();
    assert_eq!((summary.objects, summary.bytes), (3, 15));
    assert_eq!((summary.digests, summary.read_back), (2, 1));
    assert_eq!((summary.alarmed, summary.newest), (1, Some(moment(0))));

    assert_eq!(state.copy_front(&pair).await.unwrap(), None);
    let front = Some((moment(40), "{}".to_owned()));
    state
        .keep_copy_front(&pair, moment(40), Some("{}"))
        .await
        .unwrap();
    assert_eq!(state.copy_front(&pair).await.unwrap(), front);
    assert_eq!(state.copy_front(&other).await.unwrap(), None);
    state
        .keep_copy_front(&pair, moment(50), None)
        .await
        .unwrap();
    assert_eq!(state.copy_front(&pair).await.unwrap(), None);

    state.copies_write(&pair, &[copy("b")]).await.unwrap();
    assert_eq!(state.copies_alarmed(&pair, 10).await.unwrap(), []);
}

#[test]
fn a_mark_is_another_when_anything_else_is_told() {
    let identity = copy("a").source;
    let mark = source_mark(&identity);
    // Written into databases, so it must never change.
    assert_eq!(mark, source_mark(&copy("b").source));
    for other in [
        ObjectIdentity {
            size: 6,
            ..identity.clone()
        },
        ObjectIdentity {
            etag: Some("0fb".to_owned()),
            ..identity.clone()
        },
        ObjectIdentity {
            etag: None,
            ..identity.clone()
        },
        ObjectIdentity {
            modified: moment(-59),
            ..identity.clone()
        },
    ] {
        assert_ne!(source_mark(&other), mark);
    }
    let version = ObjectIdentity {
        version: Some("v".to_owned()),
        ..identity
    };
    assert_eq!(source_mark(&version), mark, "listings tell no version");
}

pub(super) async fn a_database_of_the_version_before_learns_new_kinds_of_runs(place: &Place) {
    place.migrate_to(2).await;
    let id = "00000000-0000-0000-0000-000000000001";
    place
        .sql(&format!(
            "INSERT INTO runs (id, kind, cluster, copy, location, started_at, finished_at, status, version) \
             VALUES ('{id}', 'verify', 'orders', '', 's3://a', '2026-01-01T00:00:00Z', '2026-01-01T00:00:00Z', 'finished', '0')"
        ))
        .await
        .unwrap();

    let state = place.open().await;
    for kind in [RunKind::Replicate, RunKind::Compare, RunKind::Expire] {
        let run = NewRun {
            kind,
            cluster: "orders".to_owned(),
            copy: "far".to_owned(),
            location: "s3://a".to_owned(),
        };
        drop(state.begin_run(&run).await.unwrap());
    }
    state.close().await;
    if place.is_sqlite() {
        assert_eq!(place.texts("PRAGMA integrity_check").await, ["ok"]);
    }
    assert_eq!(place.number("SELECT count(*) FROM runs").await, 4);
    let refused = place.sql("UPDATE runs SET kind = 'other'").await;
    let refused = refused.unwrap_err().to_string().to_lowercase();
    assert!(refused.contains("check constraint"), "{refused}");
}

pub(super) async fn one_process_holds_a_pair(place: &Place) {
    let (here, there) = (place.open().await, place.open().await);
    let pair = here.copy_pair("s3://a", "s3://b").await.unwrap();
    let other = here.copy_pair("s3://a", "s3://c").await.unwrap();
    let held = here.hold_pair(&pair).await.unwrap().unwrap();
    assert!(there.hold_pair(&pair).await.unwrap().is_none());
    assert!(here.hold_pair(&pair).await.unwrap().is_none(), "twice");
    assert!(there.hold_pair(&other).await.unwrap().is_some());
    drop(held);
    // That it was given up is told behind the scenes to a server, at once to a file.
    let mut again = None;
    wait_until("the pair to be given up", async || {
        again = there.hold_pair(&pair).await.unwrap();
        again.is_some()
    })
    .await;
    assert!(here.hold_pair(&pair).await.unwrap().is_none());
    if place.is_sqlite() {
        return;
    }
    // Held by a process that does not tell any more that it lives.
    place.a_minute_passes().await;
    let taken = here.hold_pair(&pair).await.unwrap();
    assert!(taken.is_some());
    // What its holder gives up late is not what somebody else holds since.
    drop(again);
    there.close().await;
    let third = place.open().await;
    place
        .sql("UPDATE processes SET beat_at = clock_timestamp()")
        .await
        .unwrap();
    assert!(third.hold_pair(&pair).await.unwrap().is_none());
    // One that leaves in good order holds nothing any more.
    here.close().await;
    assert!(third.hold_pair(&pair).await.unwrap().is_some());
}
