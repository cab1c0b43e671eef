//! Findings over time: when one appeared, and when it was gone.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::cut;
use crate::finding::Severity;

/// An incident that an entry opened: from now on this code holds for this copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OpenedIncident {
    /// Its identity.
    #[schemars(with = "String")]
    pub id: Uuid,
    /// The finding's code.
    pub code: String,
    /// How much it matters.
    pub severity: Severity,
    /// The first object that it concerned, cut to 500 characters.
    #[serde(default)]
    pub object: String,
}

impl OpenedIncident {
    /// An incident that begins.
    pub fn new(id: Uuid, code: &str, severity: Severity, object: &str) -> Self {
        Self {
            id,
            code: code.to_owned(),
            severity,
            object: cut(object),
        }
    }
}

/// An incident that an entry closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClosedIncident {
    /// Its identity.
    #[schemars(with = "String")]
    pub id: Uuid,
    /// The finding's code.
    pub code: String,
    /// How much it mattered.
    pub severity: Severity,
    /// When it was opened.
    pub opened_at: DateTime<Utc>,
    /// The number of the entry that opened it, if that is known.
    #[serde(default)]
    pub opened_by: Option<u64>,
}

/// Writes into any body which incidents its entry opened and closed. Nothing is written when
/// there are none, or when the body is no object.
pub fn note_incidents(body: &mut Value, opened: &[OpenedIncident], closed: &[ClosedIncident]) {
    let Some(object) = body.as_object_mut() else {
        return;
    };
    // Plain structures of text and whole numbers always have a JSON form.
    if !opened.is_empty() {
        let opened = serde_json::to_value(opened).unwrap_or_default();
        object.insert("opened".to_owned(), opened);
    }
    if !closed.is_empty() {
        let closed = serde_json::to_value(closed).unwrap_or_default();
        object.insert("closed".to_owned(), closed);
    }
}
