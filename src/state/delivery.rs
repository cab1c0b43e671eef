//! Deliveries as plain data: who is to be told of which incident, and what came of it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Incident;
use super::words::words;

words! {
    /// Why somebody is told of an incident.
    DeliveryEvent {
        /// Something has become wrong.
        Firing = "firing",
        /// It is no longer wrong.
        Resolved = "resolved",
        /// It is still wrong, or worse.
        Repeat = "repeat",
    }
}

words! {
    /// What came of a delivery.
    DeliveryOutcome {
        /// The receiver took it.
        Sent = "sent",
        /// It was refused for good, or tried for too long.
        GivenUp = "given-up",
        /// The incident was over before it could be told.
        Superseded = "superseded",
    }
}

/// Somebody who is to be told of an incident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// The receiver's name.
    pub receiver: String,
    /// How long until the same is told again while it is still wrong.
    pub repeat: Duration,
}

/// One notice on its way to one receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Its identity, the same at every attempt.
    pub id: Uuid,
    /// What is told.
    pub incident: Incident,
    /// To which receiver.
    pub receiver: String,
    /// Why.
    pub event: DeliveryEvent,
    /// Since when it waits.
    pub created_at: DateTime<Utc>,
    /// How often it was claimed, this time included. Whoever notes what came of it must hold
    /// the newest claim.
    pub attempts: u32,
}

/// How many deliveries of a receiver came to what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryCount {
    /// The receiver's name.
    pub receiver: String,
    /// What came of them; `None` for those that wait.
    pub outcome: Option<DeliveryOutcome>,
    /// How many. What is over is counted since the beginning and never forgotten.
    pub count: u64,
}
