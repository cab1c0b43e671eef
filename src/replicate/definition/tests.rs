//! Definitions in a directory: written once, noticed as unchanged, read with their digests
//! checked, and removed without touching anything else.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;

use super::*;
use crate::kubernetes::definition::{CapturedObject, Content, Facts, Stamp};
use crate::storage::{Location, StorageOptions, Store};

fn moment(day: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_790_000_000, 0).unwrap() + TimeDelta::days(day)
}

fn content(instances: u32) -> Content {
    let cluster = CapturedObject::of(&json!({
        "apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster",
        "metadata": {"namespace": "shop", "name": "orders"},
        "spec": {"instances": instances},
    }));
    Content {
        namespace: "shop".to_owned(),
        name: "orders".to_owned(),
        facts: Facts::default(),
        objects: cluster.into_iter().collect(),
        secrets: Vec::new(),
        unread: Vec::new(),
    }
}

fn store(directory: &tempfile::TempDir) -> Store {
    let location: Location = format!("file://{}", directory.path().display())
        .parse()
        .unwrap();
    Store::open(&location, &StorageOptions::default()).unwrap()
}

async fn stored(store: &Store, instances: u32, day: i64) -> PutDefinition {
    let mut damaged = Vec::new();
    let put = put(
        store,
        "orders",
        &content(instances),
        moment(day),
        None,
        &mut damaged,
    )
    .await;
    assert!(damaged.is_empty());
    put.unwrap()
}

#[tokio::test]
async fn it_is_written_once_and_read_back() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory);
    assert_eq!(newest(&store, "orders").await.unwrap(), None);
    assert_eq!(list(&store, "orders").await.unwrap(), []);
    let first = stored(&store, 1, 0).await;
    assert!(matches!(first, PutDefinition::Stored(_)));
    let same = stored(&store, 1, 1).await;
    assert!(
        matches!(&same, PutDefinition::Unchanged(found) if found.stamp == first.stored().stamp)
    );
    let other = stored(&store, 2, 2).await;
    assert!(matches!(other, PutDefinition::Stored(_)));
    assert_eq!(list(&store, "orders").await.unwrap().len(), 2);
    let found = newest(&store, "orders").await.unwrap().unwrap();
    assert_eq!(found.content, content(2));
    let oldest = read(&store, "orders", &first.stored().stamp).await;
    assert_eq!(oldest.unwrap().unwrap().content, content(1));
    // Another cluster of the same replica has its own.
    assert_eq!(newest(&store, "billing").await.unwrap(), None);
}

#[tokio::test]
async fn one_that_is_the_same_is_written_anew_when_half_of_its_lock_is_over() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory);
    stored(&store, 1, 0).await;
    let again = async |day| {
        let lock = crate::storage::Retention {
            mode: crate::storage::LockMode::Governance,
            until: moment(day + 30),
        };
        let content = content(1);
        put(
            &store,
            "orders",
            &content,
            moment(day),
            Some(lock),
            &mut Vec::new(),
        )
        .await
    };
    let half = again(15).await.unwrap();
    assert!(matches!(half, PutDefinition::Unchanged(_)), "{half:?}");
    // A directory keeps no locks: that it refuses one shows that it was to be written.
    let refused = again(16).await.unwrap_err().to_string();
    assert!(refused.contains("a directory cannot keep"), "{refused}");
    let unlocked = stored(&store, 1, 400).await;
    assert!(matches!(unlocked, PutDefinition::Unchanged(_)));
}

#[tokio::test]
async fn one_that_was_written_anew_is_the_same_definition() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory);
    stored(&store, 1, 0).await;
    let first = stored(&store, 2, 1).await.stored().clone();
    assert_eq!(since(&store, "orders", &first).await.unwrap(), moment(1));
    // What a renewal leaves: the same content under a later name.
    let other = tempfile::tempdir().unwrap();
    for day in [20, 40] {
        let elsewhere = tempfile::tempdir_in(&other).unwrap();
        let anew = stored(&self::store(&elsewhere), 2, day).await;
        let name = anew.stored().stamp.to_string();
        let place = |root: &tempfile::TempDir| root.path().join(folder("orders")).join(&name);
        std::fs::rename(place(&elsewhere), place(&directory)).unwrap();
    }
    let renewed = newest(&store, "orders").await.unwrap().unwrap();
    assert_eq!(renewed.stamp.moment(), moment(40));
    assert_eq!(since(&store, "orders", &renewed).await.unwrap(), moment(1));
    assert_eq!(since(&store, "orders", &first).await.unwrap(), moment(1));

    let stamps = list(&store, "orders").await.unwrap();
    let gone = |newest| {
        let retention = Retention {
            newest,
            within: TimeDelta::days(1),
        };
        keep(&stamps, retention, moment(50)).len()
    };
    // Days 0, 1, 20 and 40, the last three the same: they count once.
    assert_eq!(gone(1), 3);
    assert_eq!(gone(2), 0, "the one of day 0 is the second newest");
}

#[tokio::test]
async fn what_was_changed_is_not_used_and_what_was_not_finished_does_not_count() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory);
    let first = stored(&store, 1, 0).await.stored().stamp.clone();
    let second = stored(&store, 2, 1).await.stored().stamp.clone();
    let place = directory.path().join(folder("orders"));
    let file = place
        .join(second.to_string())
        .join("010-cluster-orders.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("instances: 2", "instances: 9")).unwrap();
    let error = newest(&store, "orders").await.unwrap_err();
    assert!(matches!(&error, DefinitionError::Changed { .. }), "{error}");
    assert!(error.to_string().contains("digest"), "{error}");

    // A capture tells of it, and does not touch it.
    let mut damaged = Vec::new();
    let anew = put(&store, "orders", &content(2), moment(2), None, &mut damaged).await;
    assert!(matches!(anew.unwrap(), PutDefinition::Stored(_)));
    assert_eq!(damaged.len(), 1);
    assert!(
        std::fs::read_to_string(&file)
            .unwrap()
            .contains("instances: 9")
    );

    // A folder that somebody renamed is not that of its manifest.
    let forged = Stamp::of(moment(9), &content(1).sha256());
    std::fs::rename(
        place.join(first.to_string()),
        place.join(forged.to_string()),
    )
    .unwrap();
    assert!(newest(&store, "orders").await.is_err());
    std::fs::remove_file(place.join(forged.to_string()).join("manifest.json")).unwrap();
    assert_eq!(
        newest(&store, "orders").await.unwrap().unwrap().content,
        content(2)
    );
}

#[tokio::test]
async fn only_what_the_policy_lets_go_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory);
    let wal = directory.path().join("wals/0000000100000000");
    std::fs::create_dir_all(&wal).unwrap();
    std::fs::write(wal.join("000000010000000000000001"), b"x").unwrap();
    for day in 0..6 {
        stored(&store, u32::try_from(day).unwrap(), day * 10).await;
    }
    let stamps = list(&store, "orders").await.unwrap();
    let gone = |newest, days, now: i64| {
        let retention = Retention {
            newest,
            within: TimeDelta::days(days),
        };
        keep(&stamps, retention, moment(now)).len()
    };
    // Captured on days 0, 10, … 50. The one of day 20 held until day 30.
    assert_eq!(gone(1, 25, 50), 2);
    assert_eq!(gone(1, 20, 50), 3);
    assert_eq!(gone(5, 20, 50), 1);
    assert_eq!(gone(0, 0, 500), 5, "one always stays");
    assert_eq!(gone(1, 1000, 50), 0);
    assert_eq!(
        keep(
            &[],
            Retention {
                newest: 1,
                within: TimeDelta::zero()
            },
            moment(0)
        ),
        []
    );

    let removed = remove(&store, "orders", &stamps[0]).await.unwrap();
    assert_eq!((removed.objects, removed.refused.len()), (2, 0));
    assert_eq!(list(&store, "orders").await.unwrap().len(), 5);
    assert!(wal.join("000000010000000000000001").exists());
}

/// Both ways: what lies in walproof's folders is no part of the repository, what lies beside
/// them is noticed.
#[tokio::test]
async fn no_reader_of_the_repository_takes_it_for_a_part_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory);
    stored(&store, 1, 0).await;
    let unknown = async || {
        let repository = crate::repository::open(store.clone());
        repository.catalog().await.unwrap().unknown.count
    };
    assert_eq!(unknown().await, 0);
    let repository = crate::repository::open(store.clone());
    let key = format!("{}/x/manifest.json", folder("orders"));
    assert_eq!(
        repository.copy_class(&key),
        crate::repository::CopyClass::Folder
    );
    std::fs::create_dir(directory.path().join("walproofed")).unwrap();
    std::fs::write(directory.path().join("walproofed/manifest.json"), b"{}").unwrap();
    assert_eq!(unknown().await, 1);
    let beside = repository.copy_class("walproofed/manifest.json");
    assert_eq!(beside, crate::repository::CopyClass::Other);
}
