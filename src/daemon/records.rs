//! Once a day one of the daemons of a state follows its ledger, so that a break is told though
//! nobody asks for a report.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::watch;
use uuid::Uuid;

use super::clock::Clock;
use super::worker::stopped;
use crate::operation::evidence::LedgerError;
use crate::operation::records::follow;
use crate::state::State;

/// How old the newest look may be.
const EVERY: TimeDelta = TimeDelta::days(1);
/// How often is asked whether it is time.
const ASK: Duration = Duration::from_mins(5);
/// One of them does it.
const LEASE: &str = "records";
/// For how long nobody else begins. Two that follow at once do no harm.
const TTL: Duration = Duration::from_hours(1);

/// Follows the ledger whenever it is time, until it is asked to stop.
pub(super) async fn watch(
    state: State,
    holder: Uuid,
    clock: Arc<dyn Clock>,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let looked = tokio::select! {
            looked = look(&state, holder, clock.now()) => looked,
            () = stopped(&mut stop) => return,
        };
        if let Err(error) = looked {
            tracing::warn!(%error, "the records could not be followed; trying on");
        }
        tokio::select! {
            () = tokio::time::sleep(ASK) => {}
            () = stopped(&mut stop) => return,
        }
    }
}

/// Follows the ledger if it is time and nobody else does. Tells whether it did.
async fn look(state: &State, holder: Uuid, now: DateTime<Utc>) -> Result<bool, LedgerError> {
    let last = state.ledger_followed_at().await?;
    // One of the future was noted by a clock that went wrong.
    if last.is_some_and(|last| last <= now && now - last < EVERY) {
        return Ok(false);
    }
    let Some(lease) = state.try_lease(LEASE, holder, now, TTL).await? else {
        return Ok(false);
    };
    let followed = follow(state, now).await;
    state.release_lease(&lease).await?;
    match followed? {
        None => tracing::info!("the records hold"),
        Some(broken) => tracing::error!(%broken, "the records are broken"),
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::StateUrl;
    use crate::evidence::NewEntry;
    use crate::evidence::ledger::{Body, ConfigurationBody};
    use crate::state::IncidentFilter;

    #[tokio::test]
    async fn once_a_day_one_of_them_follows_the_ledger_and_tells_of_a_break() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("state.sqlite");
        let state = State::open(&StateUrl::sqlite(&file)).await.unwrap();
        let (one, two) = (Uuid::now_v7(), Uuid::now_v7());
        let begin = Utc::now();
        let body = ConfigurationBody::accepted("0".repeat(64), None, &[]);
        let body = Body::Configuration(Box::new(body));
        let entry = NewEntry::new(begin, &body).unwrap();
        state.append(&[entry.clone(), entry]).await.unwrap();
        let broken = async || {
            let open = state.incidents(true, &IncidentFilter::default()).await;
            let open = open.unwrap();
            open.iter()
                .any(|incident| incident.code == "records-broken")
        };

        let newest = async || {
            let (head, _) = state.entry_head().await.unwrap().unwrap();
            let entry = state.entries(head - 1, 1).await.unwrap().remove(0);
            (head, entry.content().unwrap().body)
        };

        // Another one does it.
        let lease = state.try_lease(LEASE, two, begin, TTL).await.unwrap();
        assert!(!look(&state, one, begin).await.unwrap());
        assert_eq!(state.ledger_followed_at().await.unwrap(), None);
        state.release_lease(&lease.unwrap()).await.unwrap();
        assert!(look(&state, one, begin).await.unwrap());
        assert!(!broken().await);
        assert_eq!(newest().await.0, 2, "that it holds still is no news");

        let other = sqlx::SqlitePool::connect(&format!("sqlite://{}", file.display()))
            .await
            .unwrap();
        let change = "DROP TRIGGER entries_never_change; \
                      UPDATE entries SET cluster = 'x' WHERE sequence = 1";
        sqlx::raw_sql(change).execute(&other).await.unwrap();
        let hours = |hours| begin + TimeDelta::hours(hours);
        assert!(!look(&state, two, hours(23)).await.unwrap());
        assert!(!broken().await, "nobody has looked yet");
        assert!(look(&state, two, hours(24)).await.unwrap());
        assert!(broken().await);
        let (head, body) = newest().await;
        assert_eq!(
            (head, &body["opened"][0]["code"]),
            (3, &"records-broken".into())
        );
        assert!(look(&state, two, hours(48)).await.unwrap());
        assert!(broken().await, "it is broken still");
        assert_eq!(newest().await.0, 3);

        let mend = "UPDATE entries SET cluster = NULL WHERE sequence = 1";
        sqlx::raw_sql(mend).execute(&other).await.unwrap();
        assert!(look(&state, one, hours(72)).await.unwrap());
        assert!(!broken().await);
        let (head, body) = newest().await;
        assert_eq!((head, &body["closed"][0]["opened_by"]), (4, &3.into()));
        // The clock went back: what is noted of the future is not believed.
        assert!(look(&state, one, hours(30)).await.unwrap());
    }
}
