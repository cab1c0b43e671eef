//! Facts for scrapes: asked of the state by one task at a time, shared by all scrapes that
//! come within [`Limits::fresh`], and kept for [`Limits::keep`] when the state goes away, so
//! that alerts neither resolve nor flap while it is down.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::collect::collect;
use super::facts::FleetFacts;
use super::follow::Follower;
use super::metrics::{Scene, ScrapeFacts};
use super::process::ProcessFacts;
use super::serve::{Limits, ServerState};
use super::tally::Tally;
use crate::config::Config;
use crate::state::{HistoryFilter, StateError};

/// What is known, and when the state was last asked.
#[derive(Debug, Default)]
struct Known {
    asked: Option<Instant>,
    fleet: Option<Arc<FleetFacts>>,
    tally: Arc<Tally>,
    follower: Follower,
    facts: ScrapeFacts,
}

/// What the last small question came to.
#[derive(Clone, Debug)]
struct Answered {
    at: Instant,
    answer: Result<(), String>,
}

/// Gives the facts of the moment. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Scraper {
    server: ServerState,
    known: Arc<Mutex<Known>>,
    answered: Arc<Mutex<Option<Answered>>>,
}

impl Scraper {
    pub(super) fn new(server: ServerState) -> Self {
        Self {
            server,
            known: Arc::default(),
            answered: Arc::default(),
        }
    }

    /// Everything that the metrics tell now. Takes at most [`Limits::collection`] when the
    /// state is slow, and no longer for those who waited.
    pub(super) async fn scene(&self) -> Scene {
        let known = Arc::clone(&self.known).lock_owned().await;
        let Limits { fresh, .. } = self.server.limits;
        let known = if known.asked.is_some_and(|asked| asked.elapsed() < fresh) {
            known
        } else {
            // Of its own, so that a client that goes away does not undo the work.
            let scraper = self.clone();
            match tokio::spawn(scraper.ask(known)).await {
                Ok(known) => known,
                Err(_) => Arc::clone(&self.known).lock_owned().await,
            }
        };
        let clusters = self.server.config.borrow().clusters.len();
        Scene {
            now: self.server.now.get(),
            fleet: known.fleet.clone(),
            tally: Arc::clone(&known.tally),
            health: Arc::clone(&self.server.health),
            clusters: u64::try_from(clusters).unwrap_or(u64::MAX),
            process: ProcessFacts::read(),
            requests: crate::kubernetes::calls::counts(),
            scrape: known.facts.clone(),
        }
    }

    async fn fleet(
        &self,
        config: &Config,
        now: DateTime<Utc>,
        known: &mut Known,
    ) -> Result<FleetFacts, StateError> {
        let state = &self.server.state;
        let fleet = collect(state, config, now).await?;
        let mut tally = Tally::clone(&known.tally);
        let mut follower = known.follower;
        follower.follow(state, &fleet, &mut tally).await?;
        (known.follower, known.tally) = (follower, Arc::new(tally));
        Ok(fleet)
    }

    async fn ask(self, mut known: OwnedMutexGuard<Known>) -> OwnedMutexGuard<Known> {
        let config = Arc::clone(&self.server.config.borrow());
        let now = self.server.now.get();
        let begun = Instant::now();
        let asked = self.fleet(&config, now, &mut known);
        let answer = tokio::time::timeout(self.server.limits.collection, asked).await;
        known.facts.took_ms = milliseconds(begun.elapsed());
        known.facts.up = matches!(answer, Ok(Ok(_)));
        match answer {
            Ok(Ok(fleet)) => {
                known.facts.answered += 1;
                known.fleet = Some(Arc::new(fleet));
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "the state gave no facts for the metrics");
                known.facts.failed += 1;
            }
            Err(_) => {
                let seconds = self.server.limits.collection.as_secs();
                tracing::warn!(
                    seconds,
                    "the state was too slow to give facts for the metrics"
                );
                known.facts.timed_out += 1;
            }
        }
        let keep = TimeDelta::from_std(self.server.limits.keep).unwrap_or(TimeDelta::MAX);
        known.fleet = known
            .fleet
            .take()
            .filter(|fleet| now.signed_duration_since(fleet.at) <= keep);
        known.asked = Some(Instant::now());
        known
    }

    /// Whether the state answers a small question. Asked at most once a second, however many
    /// probes come.
    pub(super) async fn state_answers(&self) -> Result<(), String> {
        let mut answered = self.answered.lock().await;
        if let Some(last) = &*answered
            && last.at.elapsed() < Duration::from_secs(1)
        {
            return last.answer.clone();
        }
        let filter = HistoryFilter {
            limit: 1,
            ..HistoryFilter::default()
        };
        let limit = self.server.limits.ready;
        let answer = match tokio::time::timeout(limit, self.server.state.history(&filter)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("not within {} ms", limit.as_millis())),
        };
        *answered = Some(Answered {
            at: Instant::now(),
            answer: answer.clone(),
        });
        answer
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
