//! Looks after requests: ends what is due, a few seconds after its lease, and concludes what
//! nobody works at any more.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::clock::Clock;
use super::worker::stopped;
use crate::config::Config;
use crate::operation::FailureClass;
use crate::operation::request::{Ending, tend};
use crate::state::State;

/// How often is looked. A query that finds nothing costs next to nothing.
const EVERY: Duration = Duration::from_secs(5);
/// After trouble it is looked this much later.
const PAUSE: Duration = Duration::from_secs(30);

/// Looks after requests until the daemon is to stop. Any number of daemons may: what one has
/// done the others find done.
pub(super) async fn watch(
    state: State,
    config: watch::Receiver<Arc<Config>>,
    clock: Arc<dyn Clock>,
    mut stop: watch::Receiver<bool>,
) {
    while !*stop.borrow() {
        let plan = Arc::clone(&config.borrow());
        let tending = tend(&state, &plan, clock.now(), "walproof daemon");
        let wait = tokio::select! {
            // What is cut off here is gone on with by the next look, here or elsewhere.
            () = stopped(&mut stop) => return,
            tended = Box::pin(tending) => told(tended),
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = stopped(&mut stop) => return,
        }
    }
}

/// Logs what was done; gives the wait until the next look.
fn told(
    tended: Result<Vec<crate::operation::request::Tended>, crate::operation::Failure>,
) -> Duration {
    let tended = match tended {
        Ok(tended) => tended,
        Err(failure) => {
            // The tick says so of the state.
            if failure.class != FailureClass::State {
                tracing::warn!(%failure, "requests could not be looked after");
            }
            return PAUSE;
        }
    };
    let mut wait = EVERY;
    for one in tended {
        match one.outcome {
            Ok(Ending::Gone(request)) => tracing::info!(
                request = %one.request, status = request.status.as_str(), why = %request.message,
                "a request is over, and nothing is left of it"
            ),
            Ok(Ending::Left(_, left)) => {
                wait = PAUSE;
                tracing::warn!(
                    request = %one.request, left = %left.join("; "),
                    "a request is over, and something is left of it; trying on"
                );
            }
            Ok(Ending::Stopping(_)) => {}
            Err(failure) => {
                wait = PAUSE;
                tracing::warn!(request = %one.request, %failure, "a request could not be ended; trying on");
            }
        }
    }
    wait
}
