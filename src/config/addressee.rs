//! Who a route of notices tells.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::name::check_name;

/// One part of a cluster's RACI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Who does the work.
    Responsible,
    /// The one who answers for it.
    Accountable,
    /// Who is asked before.
    Consulted,
    /// Who is told after.
    Informed,
    /// The cluster's owner.
    Owner,
}

impl Role {
    /// Every role, in the order of declaration.
    pub const ALL: [Self; 5] = [
        Self::Responsible,
        Self::Accountable,
        Self::Consulted,
        Self::Informed,
        Self::Owner,
    ];

    /// The word used in the configuration and in output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Responsible => "responsible",
            Self::Accountable => "accountable",
            Self::Consulted => "consulted",
            Self::Informed => "informed",
            Self::Owner => "owner",
        }
    }
}

/// Who a route tells.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Addressee {
    /// Whoever has this role for the cluster.
    Role(Role),
    /// One of `people`.
    Person(String),
    /// One of `receivers`.
    Receiver(String),
}

impl fmt::Display for Addressee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Role(role) => f.write_str(role.as_str()),
            Self::Person(name) => write!(f, "person:{name}"),
            Self::Receiver(name) => write!(f, "receiver:{name}"),
        }
    }
}

/// A text that names nobody whom a route could tell.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} names nobody (allowed: responsible, accountable, consulted, informed, owner, person:NAME, receiver:NAME)"
)]
pub struct ParseAddresseeError(String);

impl FromStr for Addressee {
    type Err = ParseAddresseeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let role = Role::ALL.into_iter().find(|role| role.as_str() == text);
        match (role, text.split_once(':')) {
            (Some(role), _) => Ok(Self::Role(role)),
            (None, Some(("person", name))) if !name.is_empty() => Ok(Self::Person(name.to_owned())),
            (None, Some(("receiver", name))) if check_name(name).is_ok() => {
                Ok(Self::Receiver(name.to_owned()))
            }
            _ => Err(ParseAddresseeError(text.to_owned())),
        }
    }
}

impl TryFrom<String> for Addressee {
    type Error = ParseAddresseeError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Addressee> for String {
    fn from(addressee: Addressee) -> Self {
        addressee.to_string()
    }
}

impl JsonSchema for Addressee {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Addressee".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^(responsible|accountable|consulted|informed|owner|person:.+|receiver:[A-Za-z0-9][A-Za-z0-9_.-]{0,62})$",
            "description": "responsible, accountable, consulted, informed, owner, person:NAME or receiver:NAME.",
        })
    }
}
