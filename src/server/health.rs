//! How the daemon is: facts that it notes as it goes, and what follows from them.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, TimeDelta, Utc};

use super::controller::ControllerHealth;

/// What never happened.
const NEVER: i64 = i64::MIN;

/// A moment that one task notes and others read. Milliseconds are kept.
#[derive(Debug)]
struct Moment(AtomicI64);

impl Moment {
    const fn never() -> Self {
        Self(AtomicI64::new(NEVER))
    }

    fn note(&self, at: DateTime<Utc>) {
        self.0.store(at.timestamp_millis(), Ordering::Relaxed);
    }

    fn get(&self) -> Option<DateTime<Utc>> {
        match self.0.load(Ordering::Relaxed) {
            NEVER => None,
            milliseconds => DateTime::from_timestamp_millis(milliseconds),
        }
    }
}

/// Facts about the daemon that the server tells and judges health by. The daemon notes them;
/// moments are by its clock.
#[derive(Debug)]
pub struct Health {
    started_at: DateTime<Utc>,
    patience: TimeDelta,
    ticked: Moment,
    lease_seen: Moment,
    loaded: Moment,
    refused: Moment,
    controller: ControllerHealth,
}

impl Health {
    /// Of a daemon that started now. A tick, or a sight of the tick's lease, is missing when
    /// the last was longer than `patience` ago (a few times the lease's length).
    pub const fn new(started_at: DateTime<Utc>, patience: TimeDelta) -> Self {
        Self {
            started_at,
            patience,
            ticked: Moment::never(),
            lease_seen: Moment::never(),
            loaded: Moment::never(),
            refused: Moment::never(),
            controller: ControllerHealth::new(),
        }
    }

    /// The daemon's loop went round, whoever holds the tick's lease.
    pub fn ticked(&self, at: DateTime<Utc>) {
        self.ticked.note(at);
    }

    /// The tick's lease was seen in the state: held here, or by another daemon.
    pub fn lease_seen(&self, at: DateTime<Utc>) {
        self.lease_seen.note(at);
    }

    /// A configuration was loaded and is used from now on.
    pub fn configuration_loaded(&self, at: DateTime<Utc>) {
        self.loaded.note(at);
    }

    /// The configuration's file was looked at and refused; the one before stays.
    pub fn configuration_refused(&self, at: DateTime<Utc>) {
        self.refused.note(at);
    }

    /// The controller of custom resources, for it to note how it is.
    pub const fn controller(&self) -> &ControllerHealth {
        &self.controller
    }

    /// When the daemon started.
    pub const fn started_at(&self) -> DateTime<Utc> {
        self.started_at
    }

    /// When its loop last went round.
    pub fn ticked_at(&self) -> Option<DateTime<Utc>> {
        self.ticked.get()
    }

    /// When the tick's lease was last seen.
    pub fn lease_seen_at(&self) -> Option<DateTime<Utc>> {
        self.lease_seen.get()
    }

    /// When the configuration in use was loaded.
    pub fn configuration_loaded_at(&self) -> Option<DateTime<Utc>> {
        self.loaded.get()
    }

    /// When a configuration was last refused.
    pub fn configuration_refused_at(&self) -> Option<DateTime<Utc>> {
        self.refused.get()
    }

    /// Whether the newest configuration is refused, so that an older one is in use.
    pub fn is_configuration_refused(&self) -> bool {
        match (self.refused.get(), self.loaded.get()) {
            (Some(refused), Some(loaded)) => refused > loaded,
            (refused, _) => refused.is_some(),
        }
    }

    /// Whether the process lives: its loop goes round.
    pub fn alive(&self, now: DateTime<Utc>) -> Result<(), Trouble> {
        self.recent(self.ticked_at(), now).map_err(Trouble::Tick)
    }

    /// Whether it works: it has a configuration, and somebody holds the tick.
    pub fn working(&self, now: DateTime<Utc>) -> Result<(), Trouble> {
        if self.configuration_loaded_at().is_none() {
            return Err(Trouble::Configuration);
        }
        self.recent(self.lease_seen_at(), now)
            .map_err(Trouble::Lease)
    }

    /// A daemon that has just started gets the same patience as one that went quiet.
    fn recent(&self, last: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Result<(), Silence> {
        let since = last.unwrap_or(self.started_at);
        if now.signed_duration_since(since) <= self.patience {
            return Ok(());
        }
        Err(Silence {
            last,
            seconds: now.signed_duration_since(since).num_seconds(),
        })
    }
}

/// How long something has not been seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Silence {
    /// When it was last seen, if ever.
    pub last: Option<DateTime<Utc>>,
    /// Seconds since then, or since the start.
    pub seconds: i64,
}

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.last {
            Some(_) => write!(f, "not for {} s", self.seconds),
            None => write!(f, "not once in {} s since the start", self.seconds),
        }
    }
}

/// What a probe is told. Each hints at what to look at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// The daemon's loop stands still.
    #[error("the daemon's loop went round {0}: it hangs; its log says where, a restart frees it")]
    Tick(Silence),
    /// No configuration was loaded yet.
    #[error(
        "no configuration was loaded yet: see the daemon's log, or `walproof config check`; with `kubernetes.controller` the custom resources must have been seen once"
    )]
    Configuration,
    /// Nobody holds the tick.
    #[error("the lease of the tick was seen {0}: no daemon of this state starts what is due")]
    Lease(Silence),
    /// The state cannot be asked.
    #[error("the state does not answer: {0}")]
    State(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap()
    }

    fn health() -> Health {
        Health::new(at(0), TimeDelta::seconds(60))
    }

    #[test]
    fn a_tick_keeps_it_alive_and_silence_is_told() {
        let health = health();
        assert_eq!(health.alive(at(60)), Ok(()), "patience from the start");
        let trouble = health.alive(at(61)).unwrap_err();
        assert!(trouble.to_string().contains("not once in 61 s"));
        health.ticked(at(61));
        assert_eq!(health.alive(at(121)), Ok(()));
        let trouble = health.alive(at(122)).unwrap_err();
        assert!(trouble.to_string().contains("not for 61 s"), "{trouble}");
    }

    #[test]
    fn it_works_with_a_configuration_and_a_lease() {
        let health = health();
        assert_eq!(health.working(at(1)), Err(Trouble::Configuration));
        health.configuration_loaded(at(2));
        assert_eq!(health.working(at(3)), Ok(()));
        assert!(matches!(health.working(at(100)), Err(Trouble::Lease(_))));
        health.lease_seen(at(100));
        assert_eq!(health.working(at(101)), Ok(()));
    }

    #[test]
    fn a_refusal_counts_until_a_newer_configuration_is_loaded() {
        let health = health();
        assert!(!health.is_configuration_refused());
        health.configuration_loaded(at(1));
        health.configuration_refused(at(2));
        assert!(health.is_configuration_refused());
        assert_eq!(health.working(at(3)), Ok(()), "the older one is in use");
        health.configuration_loaded(at(3));
        assert!(!health.is_configuration_refused());
        assert_eq!(health.configuration_refused_at(), Some(at(2)));
    }
}
