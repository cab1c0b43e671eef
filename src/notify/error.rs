//! What can go wrong while a notice is sent. Never holds a secret: URLs of webhooks are
//! secrets too, so a receiver is known by its name alone.

use std::time::Duration;

/// A receiver did not take a notice.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{words}")]
pub struct Refusal {
    /// What it answered, or why it could not be asked.
    pub words: String,
    /// Whether a later attempt may do better: 408, 429, 5xx and trouble of the network.
    pub passing: bool,
    /// How long the receiver asks to be left alone.
    pub after: Option<Duration>,
}

impl Refusal {
    /// Trouble that may go away.
    pub(super) fn passing(words: impl Into<String>) -> Self {
        Self {
            words: words.into(),
            passing: true,
            after: None,
        }
    }

    /// Trouble that stays until somebody changes something.
    pub(super) fn lasting(words: impl Into<String>) -> Self {
        Self {
            passing: false,
            ..Self::passing(words)
        }
    }
}
