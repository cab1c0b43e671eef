//! What custom resources declare, kept by the one controller that writes.

use serde_json::json;
use uuid::Uuid;

use super::super::{StateErrorKind, declared};
use super::{LEASE, Place, moment, on_both};

on_both!(
    only_the_holder_of_the_lease_keeps_what_is_declared,
    who_only_looks_makes_and_changes_nothing,
);

async fn only_the_holder_of_the_lease_keeps_what_is_declared(place: &Place) {
    let state = place.open().await;
    let url = place.url();
    assert_eq!(declared(url).await.unwrap(), None);
    let (one, two) = (Uuid::now_v7(), Uuid::now_v7());
    let take = async |holder, at| {
        let taken = state.try_lease("controller", holder, moment(at), LEASE);
        taken.await.unwrap().unwrap()
    };
    let first = take(one, 0).await;
    let body = json!({"clusters": [{"what": {"name": "größe"}}]});
    state.keep_declared(&first, &body, moment(1)).await.unwrap();
    assert_eq!(declared(url).await.unwrap(), Some(body.clone()));
    let second = take(two, 100).await;
    let late = state.keep_declared(&first, &json!({}), moment(101)).await;
    assert_eq!(late.unwrap_err().kind, StateErrorKind::Fenced);
    assert_eq!(declared(url).await.unwrap(), Some(body));
    state
        .keep_declared(&second, &json!({}), moment(102))
        .await
        .unwrap();
    assert_eq!(declared(url).await.unwrap(), Some(json!({})));
}

async fn who_only_looks_makes_and_changes_nothing(place: &Place) {
    let url = place.url();
    assert_eq!(declared(url).await.unwrap(), None, "there is no schema");
    // The state was not made by that, nor is it brought up to date.
    place.migrate_to(8).await;
    assert_eq!(declared(url).await.unwrap(), None, "an older schema");
    let applied = "SELECT count(*) FROM _sqlx_migrations";
    assert_eq!(place.number(applied).await, 8);
    place.open().await;
    assert_eq!(declared(url).await.unwrap(), None);
}
