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
    /// declare configuration.
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

    /// It went round: at `followed` if all of its watches work.
    pub fn went_round(
        &self,
        followed: Option<DateTime<Utc>>,
        writes: bool,
        ready: BTreeMap<(&'static str, String), bool>,
    ) {
        let mut facts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = facts.as_ref().map(|facts| facts.followed_at);
        if let Some(followed_at) = followed.or(before) {
            *facts = Some(ControllerFacts {
                followed_at,
                writes,
                ready,
            });
        }
    }

    /// What it noted last.
    pub fn facts(&self) -> Option<ControllerFacts> {
        let facts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        facts.clone()
    }
}
