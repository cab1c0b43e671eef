//! How the controller of custom resources is: it notes that, the metrics tell it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Utc};

/// What the controller in this process notes after each of its rounds; nothing where there is no
/// controller.
#[derive(Debug)]
pub struct ControllerHealth(Mutex<Option<ControllerFacts>>);

/// How the controller is, and what it sees.
#[derive(Clone, Debug, PartialEq)]
pub struct ControllerFacts {
    /// When it last went round with watches that all work; its start where it never did.
    pub followed_at: DateTime<Utc>,
    /// Whether it is the one that writes statuses.
    pub writes: bool,
    /// Whether the condition `Ready` holds, by kind and `NAMESPACE/NAME`: of the resources that
    /// declare configuration. Empty while a watch does not work.
    pub ready: BTreeMap<(&'static str, String), bool>,
}

impl ControllerHealth {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// The controller began.
    pub fn began(&self, now: DateTime<Utc>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(ControllerFacts {
            followed_at: now,
            writes: false,
            ready: BTreeMap::new(),
        });
    }

    /// It went round: at `followed` if all of its watches work. What it sees while one does not
    /// may be long gone, so nothing of it is told.
    pub fn went_round(
        &self,
        followed: Option<DateTime<Utc>>,
        writes: bool,
        ready: BTreeMap<(&'static str, String), bool>,
    ) {
        let mut facts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = facts.as_ref().map(|facts| facts.followed_at) {
            let followed_at = followed.unwrap_or(before);
            *facts = Some(ControllerFacts {
                followed_at,
                writes,
                ready: followed.map(|_| ready).unwrap_or_default(),
            });
        }
    }

    /// What it noted last.
    pub fn facts(&self) -> Option<ControllerFacts> {
        let facts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        facts.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_seen_is_not_told() {
        let health = ControllerHealth::new();
        assert_eq!(health.facts(), None);
        let at = |second: i64| DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap();
        let ready = || BTreeMap::from([(("RecoveryDrill", "shop/nightly".to_owned()), false)]);
        health.went_round(Some(at(0)), true, ready());
        assert_eq!(health.facts(), None, "it has not begun");
        health.began(at(1));
        health.went_round(Some(at(2)), true, ready());
        let facts = health.facts().unwrap();
        assert_eq!((facts.followed_at, facts.ready), (at(2), ready()));
        health.went_round(None, true, ready());
        let facts = health.facts().unwrap();
        assert_eq!((facts.followed_at, facts.ready), (at(2), BTreeMap::new()));
    }
}
