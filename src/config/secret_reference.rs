//! Secrets of Kubernetes by reference, and who can read them. This room knows no API: whoever
//! does hands in a [`SecretReader`].

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One key of one Secret in Kubernetes.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(deny_unknown_fields)]
pub struct SecretReference {
    /// The Secret's namespace.
    #[schemars(length(min = 1))]
    pub namespace: String,
    /// The Secret's name.
    #[schemars(length(min = 1))]
    pub name: String,
    /// The key in it.
    #[schemars(length(min = 1))]
    pub key: String,
}

impl fmt::Display for SecretReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret {}/{}[{}]", self.namespace, self.name, self.key)
    }
}

/// Why a Secret could not be read. Never holds a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretFault {
    /// In words, with what to do.
    pub cause: String,
    /// Whether it may pass by itself: the API did not answer.
    pub transient: bool,
}

impl SecretFault {
    /// It stays so until somebody does something.
    pub fn lasting(cause: impl Into<String>) -> Self {
        Self {
            cause: cause.into(),
            transient: false,
        }
    }

    /// It may pass.
    pub fn passing(cause: impl Into<String>) -> Self {
        Self {
            cause: cause.into(),
            transient: true,
        }
    }
}

/// Who reads Secrets of Kubernetes.
pub trait SecretReader {
    /// The value now; it is text.
    ///
    /// # Errors
    ///
    /// The API cannot be asked, refuses, or there is no such Secret or key.
    fn read(&self, reference: &SecretReference) -> Result<String, SecretFault>;
}

/// Reads none: where a configuration must do without Kubernetes.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSecretReader;

impl SecretReader for NoSecretReader {
    fn read(&self, _reference: &SecretReference) -> Result<String, SecretFault> {
        Err(SecretFault::lasting(
            "Secrets of Kubernetes are read only for repositories; name an environment variable or a file",
        ))
    }
}
