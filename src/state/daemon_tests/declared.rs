//! What custom resources declare, kept by the one controller that writes.

use serde_json::json;
use uuid::Uuid;

use super::super::StateErrorKind;
use super::{LEASE, Place, moment, on_both};

on_both!(only_the_holder_of_the_lease_keeps_what_is_declared);

async fn only_the_holder_of_the_lease_keeps_what_is_declared(place: &Place) {
    let state = place.open().await;
    assert_eq!(state.declared().await.unwrap(), None);
    let (one, two) = (Uuid::now_v7(), Uuid::now_v7());
    let take = async |holder, at| {
        let taken = state.try_lease("controller", holder, moment(at), LEASE);
        taken.await.unwrap().unwrap()
    };
    let first = take(one, 0).await;
    let body = json!({"clusters": [{"what": {"name": "größe"}}]});
    state.keep_declared(&first, &body, moment(1)).await.unwrap();
    assert_eq!(
        state.declared().await.unwrap(),
        Some((moment(1), body.clone()))
    );
    let second = take(two, 100).await;
    let late = state.keep_declared(&first, &json!({}), moment(101)).await;
    assert_eq!(late.unwrap_err().kind, StateErrorKind::Fenced);
    assert_eq!(state.declared().await.unwrap(), Some((moment(1), body)));
    state
        .keep_declared(&second, &json!({}), moment(102))
        .await
        .unwrap();
    assert_eq!(
        state.declared().await.unwrap(),
        Some((moment(102), json!({})))
    );
}
