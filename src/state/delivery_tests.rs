//! The outbox: nothing lost, nothing told by two, what is over told after what began.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, TimeZone as _, Utc};
use uuid::Uuid;

use super::testing::{Place, on_both};
use super::{
    DeliveryCount, DeliveryEvent, DeliveryOutcome, Incident, IncidentKey, IncidentKind,
    NewIncident, Recipient, State,
};
use crate::finding::Severity;

on_both!(
    one_notice_per_incident_and_receiver_then_repeats_then_the_end,
    what_became_worse_is_told_at_once,
    a_claim_that_ran_out_is_taken_by_another_and_the_first_is_not_believed,
    the_end_is_told_after_the_beginning_and_never_instead_of_it,
    two_that_claim_at_once_never_have_the_same,
    what_came_of_deliveries_only_grows,
);

const LEASE: Duration = Duration::from_mins(1);
const REPEAT: Duration = Duration::from_hours(12);

fn moment() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 11, 21, 2, 40, 0).unwrap()
}

fn wrong(cluster: &str, severity: Severity) -> NewIncident {
    NewIncident {
        cluster: cluster.to_owned(),
        copy: "primary".to_owned(),
        kind: IncidentKind::Verify,
        scope: String::new(),
        code: "wal-gap".to_owned(),
        severity,
        object: "wals".to_owned(),
        message: "2 segments are missing".to_owned(),
        by: None,
    }
}

fn key(cluster: &str) -> IncidentKey {
    IncidentKey {
        cluster: cluster.to_owned(),
        copy: "primary".to_owned(),
        scope: String::new(),
        code: "wal-gap".to_owned(),
    }
}

/// Chat hears of everything, the pager of what is critical, nobody of `silent`.
fn told(incident: &Incident) -> Vec<Recipient> {
    let recipient = |receiver: &str| Recipient {
        receiver: receiver.to_owned(),
        repeat: REPEAT,
    };
    match (incident.cluster.as_str(), incident.severity) {
        ("silent", _) => Vec::new(),
        (_, Severity::Critical) => vec![recipient("chat"), recipient("pager")],
        _ => vec![recipient("chat")],
    }
}

async fn plan(state: &State, now: DateTime<Utc>) -> u64 {
    state.plan_deliveries(now, REPEAT, &told).await.unwrap()
}

/// Sends everything that is due; tells what, in order.
async fn send_all(state: &State, now: DateTime<Utc>) -> Vec<String> {
    let mut sent = Vec::new();
    loop {
        let claimed = state
            .claim_deliveries(Uuid::now_v7(), now, LEASE, 3)
            .await
            .unwrap();
        if claimed.is_empty() {
            sent.sort();
            return sent;
        }
        for delivery in claimed {
            assert!(
                state
                    .finish_delivery(&delivery, DeliveryOutcome::Sent, None, now)
                    .await
                    .unwrap()
            );
            sent.push(format!(
                "{} {} {}",
                delivery.incident.cluster,
                delivery.receiver,
                delivery.event.as_str()
            ));
        }
    }
}

async fn one_notice_per_incident_and_receiver_then_repeats_then_the_end(place: &Place) {
    let state = place.open().await;
    let begin = moment();
    for cluster in ["orders", "silent"] {
        let new = wrong(cluster, Severity::Critical);
        assert!(state.open_incident(&new, begin).await.unwrap());
    }
    assert_eq!(plan(&state, begin).await, 2);
    assert_eq!(plan(&state, begin).await, 0, "planned twice");
    assert_eq!(
        send_all(&state, begin).await,
        ["orders chat firing", "orders pager firing"]
    );
    // Seen again: nobody is told again, until the time for it has come.
    let early = begin + TimeDelta::hours(11);
    assert!(
        !state
            .open_incident(&wrong("orders", Severity::Critical), early)
            .await
            .unwrap()
    );
    assert_eq!(plan(&state, early).await, 0);
    for round in 1..=3 {
        let later = begin + TimeDelta::hours(12 * round);
        assert_eq!(plan(&state, later).await, 2, "round {round}");
        assert_eq!(plan(&state, later).await, 0);
        assert_eq!(
            send_all(&state, later).await,
            ["orders chat repeat", "orders pager repeat"]
        );
    }
    let sent = |receiver: &str| DeliveryCount {
        receiver: receiver.to_owned(),
        outcome: Some(DeliveryOutcome::Sent),
        count: 4,
    };
    assert_eq!(
        state.delivery_counts().await.unwrap(),
        [sent("chat"), sent("pager")],
        "what was told stays counted"
    );
    assert_eq!(
        place.number("SELECT count(*) FROM deliveries").await,
        4,
        "of repeats only the newest is kept"
    );
    let end = begin + TimeDelta::hours(40);
    assert!(
        state
            .close_incident(&key("orders"), None, end)
            .await
            .unwrap()
    );
    assert!(
        state
            .close_incident(&key("silent"), None, end)
            .await
            .unwrap()
    );
    assert_eq!(plan(&state, end).await, 2);
    assert_eq!(
        send_all(&state, end).await,
        ["orders chat resolved", "orders pager resolved"]
    );
    assert_eq!(
        plan(&state, end + TimeDelta::days(30)).await,
        0,
        "over is over"
    );
}

async fn what_became_worse_is_told_at_once(place: &Place) {
    let state = place.open().await;
    let begin = moment();
    state
        .open_incident(&wrong("orders", Severity::Warning), begin)
        .await
        .unwrap();
    assert_eq!(plan(&state, begin).await, 1);
    assert_eq!(send_all(&state, begin).await, ["orders chat firing"]);
    let later = begin + TimeDelta::minutes(5);
    state
        .open_incident(&wrong("orders", Severity::Critical), later)
        .await
        .unwrap();
    assert_eq!(plan(&state, later).await, 2);
    assert_eq!(
        send_all(&state, later).await,
        ["orders chat repeat", "orders pager firing"]
    );
    // Better is no news.
    let better = later + TimeDelta::minutes(5);
    state
        .open_incident(&wrong("orders", Severity::Warning), better)
        .await
        .unwrap();
    assert_eq!(plan(&state, better).await, 0);
}

async fn a_claim_that_ran_out_is_taken_by_another_and_the_first_is_not_believed(place: &Place) {
    let state = place.open().await;
    let begin = moment();
    state
        .open_incident(&wrong("orders", Severity::Warning), begin)
        .await
        .unwrap();
    plan(&state, begin).await;
    let claim = async |now| {
        state
            .claim_deliveries(Uuid::now_v7(), now, LEASE, 10)
            .await
            .unwrap()
    };
    let first = claim(begin).await;
    assert_eq!(first.len(), 1);
    assert!(claim(begin + TimeDelta::seconds(59)).await.is_empty());
    let later = begin + TimeDelta::seconds(60);
    let second = claim(later).await;
    assert_eq!(second[0].id, first[0].id, "the same key at every attempt");
    assert_eq!(second[0].attempts, 2);
    // Woken late, the first must not put off or end what the second has.
    let next = later + TimeDelta::hours(1);
    assert!(!state.retry_delivery(&first[0], next, "late").await.unwrap());
    assert!(
        !state
            .finish_delivery(&first[0], DeliveryOutcome::Sent, None, later)
            .await
            .unwrap()
    );
    assert!(state.retry_delivery(&second[0], next, "503").await.unwrap());
    assert!(claim(next - TimeDelta::seconds(1)).await.is_empty());
    assert_eq!(claim(next).await[0].attempts, 3);
}

async fn the_end_is_told_after_the_beginning_and_never_instead_of_it(place: &Place) {
    let state = place.open().await;
    let begin = moment();
    let new = wrong("orders", Severity::Critical);
    state.open_incident(&new, begin).await.unwrap();
    plan(&state, begin).await;
    // One is on its way, the other still waits, when all is right again.
    let under_way = state
        .claim_deliveries(Uuid::now_v7(), begin, LEASE, 1)
        .await
        .unwrap();
    let end = begin + TimeDelta::seconds(10);
    state
        .close_incident(&key("orders"), None, end)
        .await
        .unwrap();
    assert_eq!(plan(&state, end).await, 2);
    let claimed = state
        .claim_deliveries(Uuid::now_v7(), end, LEASE, 10)
        .await
        .unwrap();
    assert_eq!(claimed.len(), 1);
    assert_eq!(claimed[0].event, DeliveryEvent::Resolved);
    assert_ne!(claimed[0].receiver, under_way[0].receiver);
    // It fails; as it is over it need not be tried again, and the end is told.
    let next = end + TimeDelta::hours(1);
    assert!(
        state
            .retry_delivery(&under_way[0], next, "503")
            .await
            .unwrap()
    );
    let claimed = state
        .claim_deliveries(Uuid::now_v7(), end, LEASE, 10)
        .await
        .unwrap();
    assert_eq!(claimed[0].event, DeliveryEvent::Resolved);
    assert_eq!(claimed[0].receiver, under_way[0].receiver);
}

async fn what_came_of_deliveries_only_grows(place: &Place) {
    let state = place.open().await;
    let given_up = async || -> (u64, u64) {
        let counts = state.delivery_counts().await.unwrap();
        let of = |outcome| {
            let those = counts.iter().filter(|count| count.outcome == outcome);
            those.map(|count| count.count).sum()
        };
        (of(Some(DeliveryOutcome::GivenUp)), of(None))
    };
    let new = wrong("orders", Severity::Critical);
    state.open_incident(&new, moment()).await.unwrap();
    for round in 0..4 {
        let now = moment() + TimeDelta::hours(12 * round);
        assert_eq!(plan(&state, now).await, 2);
        let before = u64::try_from(round).unwrap();
        assert_eq!(given_up().await, (before, 2), "waiting ones are no outcome");
        let claimed = state
            .claim_deliveries(Uuid::now_v7(), now, LEASE, 10)
            .await
            .unwrap();
        for delivery in claimed {
            let outcome = if delivery.receiver == "pager" {
                DeliveryOutcome::GivenUp
            } else {
                DeliveryOutcome::Sent
            };
            let finish = async || {
                let finished = state.finish_delivery(&delivery, outcome, Some("410"), now);
                finished.await.unwrap()
            };
            assert!(finish().await);
            assert!(!finish().await, "counted once");
        }
        assert_eq!(given_up().await, (before + 1, 0));
    }
    // The rows of the repeats before are gone.
    let rows = "SELECT count(*) FROM deliveries WHERE outcome = 'given-up'";
    assert_eq!(place.number(rows).await, 2);
}

async fn two_that_claim_at_once_never_have_the_same(place: &Place) {
    let state = place.open().await;
    let other = place.open().await;
    let begin = moment();
    for number in 0..60 {
        let new = wrong(&format!("c{number}"), Severity::Critical);
        state.open_incident(&new, begin).await.unwrap();
    }
    // Both plan, too.
    let (one, two) = tokio::join!(plan(&state, begin), plan(&other, begin));
    assert_eq!(one + two, 120);
    let work = async |state: State| {
        let mut mine = Vec::new();
        loop {
            let claimed = state
                .claim_deliveries(Uuid::now_v7(), begin, LEASE, 4)
                .await
                .unwrap();
            if claimed.is_empty() {
                return mine;
            }
            for delivery in claimed {
                assert!(
                    state
                        .finish_delivery(&delivery, DeliveryOutcome::Sent, None, begin)
                        .await
                        .unwrap()
                );
                mine.push(delivery.id);
            }
        }
    };
    let (one, two) = tokio::join!(work(state.clone()), work(other));
    let all: BTreeSet<Uuid> = one.iter().chain(&two).copied().collect();
    assert_eq!((all.len(), one.len() + two.len()), (120, 120));
}
