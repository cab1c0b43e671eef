//! Claims that another process takes over, and what shards keep for each other.

use uuid::Uuid;

use super::super::{Heartbeat, ShardReading};
use super::{LEASE, Place, claim, moment, new_job, on_both};

on_both!(
    a_claim_is_taken_over_once_and_by_its_fence,
    what_shards_keep_is_there_until_it_is_forgotten,
);

async fn a_claim_is_taken_over_once_and_by_its_fence(place: &Place) {
    let state = place.open().await;
    state.enqueue(&[new_job("one", "orders")]).await.unwrap();
    let job = claim(&state, 0).await.unwrap();
    let (daemon, fence) = (job.holder.unwrap(), job.fence());
    let (pod, twin) = (Uuid::now_v7(), Uuid::now_v7());
    let take = async |from: Option<Uuid>, to: Uuid, seconds: i64| {
        let taken = state.take_over(&fence, from, to, moment(seconds), LEASE);
        taken.await.unwrap()
    };
    assert!(take(Some(twin), pod, 1).await.is_none(), "not its to give");
    let taken = take(Some(daemon), pod, 50).await.unwrap();
    assert_eq!((taken.holder, taken.token), (Some(pod), job.token));
    assert_eq!(taken.lease_until, Some(moment(50) + LEASE));
    // Kubernetes may start one pod twice.
    assert!(take(Some(daemon), twin, 51).await.is_none());
    // The fence is what counts, whoever shows it.
    let beat = state.heartbeat(&fence, moment(60), LEASE, None).await;
    assert_eq!(beat.unwrap(), Heartbeat::Held);
    assert!(take(None, twin, 61).await.is_some());

    state.expire_leases(moment(1_000)).await.unwrap();
    assert!(take(None, pod, 1_001).await.is_none(), "nobody holds it");
    let again = claim(&state, 1_001).await.unwrap();
    assert!(again.token > job.token);
    assert!(take(None, pod, 1_002).await.is_none(), "an older fence");
}

async fn what_shards_keep_is_there_until_it_is_forgotten(place: &Place) {
    let state = place.open().await;
    let reading = |name: &str, body: &str, aside: Option<&str>| ShardReading {
        name: name.to_owned(),
        body: body.to_owned(),
        aside: aside.map(str::to_owned),
    };
    let first = reading("wal/1", "first", Some("blocks"));
    state.keep_reading("a", &first, moment(1)).await.unwrap();
    let late = reading("wal/1", "late", None);
    state.keep_reading("a", &late, moment(2)).await.unwrap();
    let other = reading("wal/1", "other", None);
    state.keep_reading("b", &other, moment(3)).await.unwrap();

    let found = state.reading("a", "wal/1", true).await.unwrap();
    assert_eq!(found, Some(first), "the first one stays");
    let found = state.reading("a", "wal/1", false).await.unwrap().unwrap();
    assert_eq!(found.aside, None, "not asked for");
    assert_eq!(state.reading("a", "wal/2", true).await.unwrap(), None);
    assert_eq!(state.newest_reading("a").await.unwrap(), Some(moment(1)));
    assert_eq!(state.newest_reading("c").await.unwrap(), None);
    let names = state.reading_names("a").await.unwrap();
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["wal/1"]);

    assert_eq!(state.forget_readings("a").await.unwrap(), 1);
    assert!(state.reading_names("a").await.unwrap().is_empty());
    assert_eq!(state.forget_readings_before(moment(3)).await.unwrap(), 0);
    assert_eq!(state.forget_readings_before(moment(4)).await.unwrap(), 1);
    assert_eq!(state.reading("b", "wal/1", false).await.unwrap(), None);
}
