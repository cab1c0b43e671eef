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
