//! One key of one Secret, by name.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::fields::text;

/// One key of a Secret in the namespace of whatever refers to it (CloudNativePG's
/// `SecretKeySelector`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SecretKeyRef {
    /// The Secret's name.
    pub name: String,
    /// The key in it.
    pub key: String,
}

impl SecretKeyRef {
    /// The reference at a pointer, if there is a whole one.
    pub(super) fn at(value: &Value, pointer: &str) -> Option<Self> {
        let reference = value.pointer(pointer)?;
        Some(Self {
            name: text(reference, "/name")?,
            key: text(reference, "/key")?,
        })
    }
}

impl fmt::Display for SecretKeyRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.name, self.key)
    }
}
