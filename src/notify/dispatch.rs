//! From the outbox to the receivers.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt as _;
use tokio::sync::watch;
use uuid::Uuid;

use super::{Facts, Notice, NoticeEvent, Question, Refusal, Routing, Senders, Setting, backoff};
use crate::config::{Config, NoticeKind};
use crate::state::{
    Delivery, DeliveryEvent, DeliveryOutcome, Incident, Recipient, State, StateError,
};

/// So many notices are on their way at once, and are claimed at once.
const AT_ONCE: u8 = 8;
/// How long a claim holds; one attempt takes at most [`ATTEMPT`].
const LEASE: Duration = Duration::from_secs(90);
const ATTEMPT: Duration = Duration::from_secs(45);
/// Alertmanager forgets alerts when it is restarted, so they are sent again as often as
/// this; it tells nobody of what it has already told.
const REFRESH: Duration = Duration::from_mins(5);
/// Without news, what has become due by time alone is looked for this often.
const LOOK: TimeDelta = TimeDelta::minutes(1);
/// How often the loop looks into the outbox.
const EVERY: Duration = Duration::from_secs(2);

/// What one turn came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dispatched {
    /// Deliveries that are new in the outbox.
    pub planned: u64,
    /// Notices that were taken.
    pub sent: u64,
    /// Notices that will be tried again.
    pub put_off: u64,
    /// Notices that were refused for good, or tried for too long.
    pub given_up: u64,
}

/// Sends what is due, by one configuration. Several of them, in one process or in many, may
/// work on one state.
#[derive(Debug)]
pub struct Dispatcher {
    routing: Routing,
    senders: Senders,
    setting: Setting,
    repeat: Duration,
    give_up: TimeDelta,
    holder: Uuid,
    /// The newest event of an incident that was planned for, and when.
    planned: Mutex<Option<(u64, DateTime<Utc>)>>,
}

impl Dispatcher {
    /// By this configuration. After a reload a new one takes its place.
    pub fn of(config: &Config) -> Self {
        let setting = Setting::of(config);
        let notifications = config.notifications.clone().unwrap_or_default();
        Self {
            routing: Routing::of(config),
            senders: Senders::of(config, setting.redactor()),
            setting,
            repeat: notifications.repeat().as_std(),
            give_up: notifications.give_up().as_chrono(),
            holder: Uuid::now_v7(),
            planned: Mutex::new(None),
        }
    }

    /// Plans what is to be told and sends what is due, until nothing is, as if no time passed
    /// meanwhile.
    pub async fn dispatch_once(
        &self,
        state: &State,
        now: DateTime<Utc>,
    ) -> Result<Dispatched, StateError> {
        let never = watch::Sender::new(false);
        self.dispatch(state, &|| now, &never.subscribe()).await
    }

    /// Plans what is to be told and sends what is due, until nothing is or it is asked to
    /// stop. `now` is asked anew for each claim, as many slow receivers take longer than one
    /// holds. What is on its way when it is asked to stop is waited for, at most 45 seconds.
    pub async fn dispatch(
        &self,
        state: &State,
        now: &(dyn Fn() -> DateTime<Utc> + Send + Sync),
        stop: &watch::Receiver<bool>,
    ) -> Result<Dispatched, StateError> {
        let mut done = Dispatched {
            planned: self.plan(state, now()).await?,
            ..Dispatched::default()
        };
        loop {
            if *stop.borrow() {
                return Ok(done);
            }
            let claimed = state
                .claim_deliveries(self.holder, now(), LEASE, AT_ONCE.into())
                .await?;
            if claimed.is_empty() {
                return Ok(done);
            }
            let mut sending = futures::stream::iter(claimed)
                .map(|delivery| async move {
                    let result = self.send(&delivery, now()).await;
                    (delivery, result)
                })
                .buffer_unordered(AT_ONCE.into());
            while let Some((delivery, result)) = sending.next().await {
                match self.note(state, &delivery, result, now()).await? {
                    Noted::Sent => done.sent += 1,
                    Noted::PutOff => done.put_off += 1,
                    Noted::GivenUp => done.given_up += 1,
                    Noted::Lost => {}
                }
            }
        }
    }

    async fn plan(&self, state: &State, now: DateTime<Utc>) -> Result<u64, StateError> {
        let head = state.incident_head().await?;
        let last = *self.planned.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|(planned, at)| planned == head && now < at + LOOK && now >= at) {
            return Ok(0);
        }
        let told = |incident: &Incident| self.recipients(incident);
        let planned = state
            .plan_deliveries(now, self.least_repeat(), &told)
            .await?;
        *self.planned.lock().unwrap_or_else(PoisonError::into_inner) = Some((head, now));
        Ok(planned)
    }

    fn recipients(&self, incident: &Incident) -> Vec<Recipient> {
        let question = Question {
            cluster: &incident.cluster,
            kind: NoticeKind::of_word(incident.kind.as_str()),
            severity: incident.severity,
        };
        self.routing
            .told(&question)
            .into_iter()
            .map(|told| Recipient {
                repeat: self.repeat_of(&told.receiver),
                receiver: told.receiver,
            })
            .collect()
    }

    fn repeat_of(&self, receiver: &str) -> Duration {
        match self.senders.means(receiver) {
            Some("alertmanager") => REFRESH.min(self.repeat),
            _ => self.repeat,
        }
    }

    fn least_repeat(&self) -> Duration {
        self.senders
            .names()
            .map(|name| self.repeat_of(name))
            .min()
            .unwrap_or(self.repeat)
    }

    async fn send(&self, delivery: &Delivery, now: DateTime<Utc>) -> Result<(), Refusal> {
        let notice = self.notice(delivery);
        let key = delivery.id.to_string();
        let sending = self.senders.send(&delivery.receiver, &notice, &key, now);
        match tokio::time::timeout(ATTEMPT, sending).await {
            Ok(result) => result.map(|_| ()),
            Err(_) => Err(Refusal::passing(format!(
                "no end within {} s",
                ATTEMPT.as_secs()
            ))),
        }
    }

    fn notice(&self, delivery: &Delivery) -> Notice {
        let incident = &delivery.incident;
        let facts = Facts {
            id: incident.id,
            cluster: &incident.cluster,
            copy: &incident.copy,
            kind: incident.kind.as_str(),
            code: &incident.code,
            severity: incident.severity,
            object: &incident.object,
            message: &incident.message,
            opened_at: incident.opened_at,
            closed_at: incident.closed_at,
        };
        let event = match delivery.event {
            DeliveryEvent::Firing => NoticeEvent::Firing,
            DeliveryEvent::Repeat => NoticeEvent::Repeat,
            DeliveryEvent::Resolved => NoticeEvent::Resolved,
        };
        Notice::new(&facts, event, &self.setting)
    }

    async fn note(
        &self,
        state: &State,
        delivery: &Delivery,
        result: Result<(), Refusal>,
        now: DateTime<Utc>,
    ) -> Result<Noted, StateError> {
        let Err(refusal) = result else {
            let held = state
                .finish_delivery(delivery, DeliveryOutcome::Sent, None, now)
                .await?;
            return Ok(if held { Noted::Sent } else { Noted::Lost });
        };
        let incident = &delivery.incident;
        let spread = delivery.id.as_bytes().last().copied().unwrap_or_default();
        let pause = backoff::pause(delivery.attempts, refusal.after, spread);
        let next_at = now + TimeDelta::from_std(pause).unwrap_or(LOOK);
        let too_late = next_at > delivery.created_at + self.give_up;
        if refusal.passing && !too_late {
            tracing::warn!(
                receiver = delivery.receiver,
                cluster = incident.cluster,
                code = incident.code,
                attempts = delivery.attempts,
                again_in = pause.as_secs(),
                error = refusal.words,
                "a notice could not be delivered and will be tried again"
            );
            let held = state
                .retry_delivery(delivery, next_at, &refusal.words)
                .await?;
            return Ok(if held { Noted::PutOff } else { Noted::Lost });
        }
        tracing::error!(
            receiver = delivery.receiver,
            cluster = incident.cluster,
            code = incident.code,
            attempts = delivery.attempts,
            error = refusal.words,
            "a notice could not be delivered and is given up; `walproof notify test` tries the receiver"
        );
        let held = state
            .finish_delivery(
                delivery,
                DeliveryOutcome::GivenUp,
                Some(&refusal.words),
                now,
            )
            .await?;
        Ok(if held { Noted::GivenUp } else { Noted::Lost })
    }
}

/// Sends what is due until it is asked to stop, by the configuration that holds at the
/// moment. `now` gives the time by which things are due.
pub async fn run(
    state: State,
    mut config: watch::Receiver<Arc<Config>>,
    now: impl Fn() -> DateTime<Utc> + Send + Sync,
    mut stop: watch::Receiver<bool>,
) {
    let mut dispatcher = current(&mut config);
    let mut troubled = false;
    loop {
        if config.has_changed().unwrap_or(false) {
            dispatcher = current(&mut config);
        }
        if let Some(dispatcher) = &dispatcher {
            match dispatcher.dispatch(&state, &now, &stop).await {
                Ok(_) => troubled = false,
                // The outbox keeps what is due; once is enough to say so.
                Err(error) if !troubled => {
                    tracing::warn!(%error, "notices wait until the state can be reached");
                    troubled = true;
                }
                Err(_) => {}
            }
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            // Also when nobody can ask any more.
            _ = stop.wait_for(|asked| *asked) => return,
        }
    }
}

/// By the configuration that holds now; none where it tells nobody.
fn current(config: &mut watch::Receiver<Arc<Config>>) -> Option<Dispatcher> {
    let config = Arc::clone(&config.borrow_and_update());
    config
        .notifications
        .is_some()
        .then(|| Dispatcher::of(&config))
}

enum Noted {
    Sent,
    PutOff,
    GivenUp,
    /// The claim had run out; somebody else has it now.
    Lost,
}
