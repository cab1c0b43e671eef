//! Looks after requests: ends what is due, a few seconds after its lease, and concludes what
//! nobody works at any more. Each is removed by a task of its own, so that one namespace that
//! does not go keeps no other lease open.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::clock::Clock;
use super::worker::stopped;
use crate::config::Config;
use crate::operation::request::{Ending, Tended, due, tend_one, tend_removed};
use crate::operation::{Failure, FailureClass};
use crate::state::{Request, State};

/// How often is looked. A query that finds nothing costs next to nothing.
const EVERY: Duration = Duration::from_secs(5);
/// After trouble it is looked this much later.
const PAUSE: Duration = Duration::from_secs(30);
/// How often is looked whether what is ready is still there: one list of namespaces.
const THERE: Duration = Duration::from_mins(1);
/// So many are looked after at a time.
const AT_A_TIME: usize = 16;
/// Who does it, for the ledger.
const BY: &str = "walproof daemon";

/// Looks after requests until the daemon is to stop. Any number of daemons may: what one has
/// done the others find done.
pub(super) async fn watch(
    state: State,
    config: watch::Receiver<Arc<Config>>,
    clock: Arc<dyn Clock>,
    mut stop: watch::Receiver<bool>,
) {
    // What is cut off with it is gone on with by the next look, here or elsewhere.
    let mut work = JoinSet::new();
    let mut rounds = Rounds::default();
    let mut look = Instant::now();
    let mut look_there = Instant::now();
    while !*stop.borrow() {
        let now = clock.now();
        if Instant::now() >= look {
            let found = tokio::select! {
                () = stopped(&mut stop) => return,
                found = due(&state, now) => found,
            };
            look = Instant::now() + found.as_ref().map_or(PAUSE, |_| EVERY);
            let found = found.unwrap_or_else(|failure| {
                told_failure(&failure);
                Vec::new()
            });
            for request in rounds.choose(found, Instant::now()) {
                let (state, plan) = (state.clone(), Arc::clone(&config.borrow()));
                work.spawn(async move {
                    let done = Box::pin(tend_one(&state, &plan, &request, now, BY)).await;
                    (Some(request.id), Ok(done.into_iter().collect()))
                });
            }
        }
        if Instant::now() >= look_there {
            look_there = Instant::now() + THERE;
            let (state, plan) = (state.clone(), Arc::clone(&config.borrow()));
            work.spawn(async move {
                let done = Box::pin(tend_removed(&state, &plan, BY)).await;
                (None, done)
            });
        }
        tokio::select! {
            () = tokio::time::sleep(look.saturating_duration_since(Instant::now())) => {}
            Some(done) = work.join_next() => match done {
                Ok((request, tended)) => {
                    let troubled = told(tended);
                    if let Some(request) = request {
                        rounds.done(request, troubled, Instant::now());
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "looking after requests broke off; please report this as a defect");
                    rounds.broken();
                }
            },
            () = stopped(&mut stop) => return,
        }
    }
}

/// Which requests are looked after, and when again.
#[derive(Debug, Default)]
struct Rounds {
    /// Those that were begun, until when they rest; `None` while they are at work.
    begun: HashMap<Uuid, Option<Instant>>,
}

impl Rounds {
    /// What is begun of what is due: nothing twice, what was not tried yet first.
    fn choose(&mut self, mut due: Vec<Request>, now: Instant) -> Vec<Request> {
        self.begun
            .retain(|id, rests| rests.is_none_or(|until| until > now || is_in(&due, *id)));
        let at_work = self.begun.values().filter(|rests| rests.is_none()).count();
        due.retain(|request| match self.begun.get(&request.id) {
            Some(None) => false,
            Some(Some(until)) => *until <= now,
            None => true,
        });
        due.sort_by_key(|request| self.begun.get(&request.id).copied().flatten());
        due.truncate(AT_A_TIME.saturating_sub(at_work));
        for request in &due {
            self.begun.insert(request.id, None);
        }
        due
    }

    /// One has been looked after. After trouble it rests for longer.
    fn done(&mut self, request: Uuid, troubled: bool, now: Instant) {
        let rests = if troubled { PAUSE } else { Duration::ZERO };
        self.begun.insert(request, Some(now + rests));
    }

    /// One has ended and did not say which: all may be begun anew.
    fn broken(&mut self) {
        self.begun.clear();
    }
}

fn is_in(due: &[Request], id: Uuid) -> bool {
    due.iter().any(|request| request.id == id)
}

fn told_failure(failure: &Failure) {
    // The tick says so of the state.
    if failure.class != FailureClass::State {
        tracing::warn!(%failure, "requests could not be looked after");
    }
}

/// Logs what was done; gives whether there was trouble.
fn told(tended: Result<Vec<Tended>, Failure>) -> bool {
    let tended = match tended {
        Ok(tended) => tended,
        Err(failure) => {
            told_failure(&failure);
            return true;
        }
    };
    let mut troubled = false;
    for one in tended {
        match one.outcome {
            Ok(Ending::Gone(request)) => tracing::info!(
                request = %one.request, status = request.status.as_str(), why = %request.message,
                "a request is over, and nothing is left of it"
            ),
            Ok(Ending::Left(_, left)) => {
                troubled = true;
                tracing::warn!(
                    request = %one.request, left = %left.join("; "),
                    "a request is over, and something is left of it; trying on"
                );
            }
            Ok(Ending::Stopping(_)) => {}
            Err(failure) => {
                troubled = true;
                tracing::warn!(request = %one.request, %failure, "a request could not be ended; trying on");
            }
        }
    }
    troubled
}

#[cfg(test)]
mod tests {
    use chrono::Utc;

    use super::*;
    use crate::state::RequestStatus;

    fn due(ids: impl IntoIterator<Item = u128>) -> Vec<Request> {
        let request = |id| Request {
            id: Uuid::from_u128(id),
            key: id.to_string(),
            cluster: "orders".to_owned(),
            copy: "primary".to_owned(),
            asked_by: "jane".to_owned(),
            asked_at: Utc::now(),
            spec: serde_json::Value::Null,
            status: RequestStatus::Ready,
            lease_seconds: 1,
            most_seconds: 1,
            job_id: None,
            run_id: None,
            namespace: None,
            verdict: None,
            message: String::new(),
            result: None,
            traces: None,
            ready_at: None,
            expires_at: None,
            end_asked_at: None,
            end_reason: None,
            gone_at: None,
            changed_at: Utc::now(),
        };
        ids.into_iter().map(request).collect()
    }

    fn ids(chosen: &[Request]) -> Vec<u128> {
        chosen.iter().map(|request| request.id.as_u128()).collect()
    }

    #[test]
    fn one_that_does_not_go_keeps_no_other_waiting() {
        let (mut rounds, now) = (Rounds::default(), Instant::now());
        assert_eq!(ids(&rounds.choose(due([1]), now)), [1]);
        // It is still at work when the next one is due.
        assert_eq!(ids(&rounds.choose(due([1, 2]), now + EVERY)), [2]);
        rounds.done(Uuid::from_u128(2), false, now + EVERY);
        // Others that do not go, as many as are looked after at a time: what is new comes first.
        let stuck = 1..=AT_A_TIME as u128;
        let begun = rounds.choose(due(stuck.clone()), now + EVERY);
        assert_eq!(begun.len(), AT_A_TIME - 1);
        assert!(rounds.choose(due(1..=99), now + EVERY).is_empty());
        for id in stuck.clone() {
            rounds.done(Uuid::from_u128(id), true, now + PAUSE);
        }
        assert!(rounds.choose(due(stuck), now + PAUSE + EVERY).is_empty());
        let begun = rounds.choose(due(1..=99), now + PAUSE * 2);
        let fresh: Vec<u128> = (17..=32).collect();
        assert_eq!(ids(&begun), fresh);
    }

    #[test]
    fn what_is_no_longer_due_is_forgotten() {
        let (mut rounds, now) = (Rounds::default(), Instant::now());
        rounds.choose(due([1]), now);
        rounds.done(Uuid::from_u128(1), true, now);
        assert!(rounds.choose(Vec::new(), now + EVERY).is_empty());
        assert_eq!(rounds.begun.len(), 1, "it rests");
        rounds.choose(Vec::new(), now + PAUSE);
        assert!(rounds.begun.is_empty());
    }
}
