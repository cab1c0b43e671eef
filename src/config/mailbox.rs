//! Addresses of e-mail.

use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An address of e-mail: `team@example.com` or `The team <team@example.com>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mailbox(lettre::message::Mailbox);

impl Mailbox {
    /// As the mail's builder takes it.
    pub const fn parsed(&self) -> &lettre::message::Mailbox {
        &self.0
    }
}

/// A text that is no address of e-mail.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not an address of e-mail (write team@example.com or The team <team@example.com>)"
)]
pub struct ParseMailboxError(String);

impl FromStr for Mailbox {
    type Err = ParseMailboxError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse()
            .map(Self)
            .map_err(|_| ParseMailboxError(text.to_owned()))
    }
}

impl TryFrom<String> for Mailbox {
    type Error = ParseMailboxError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Mailbox> for String {
    fn from(mailbox: Mailbox) -> Self {
        mailbox.0.to_string()
    }
}

impl JsonSchema for Mailbox {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Mailbox".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^[^@]+@[^@]+$",
            "description": "team@example.com or The team <team@example.com>.",
        })
    }
}
