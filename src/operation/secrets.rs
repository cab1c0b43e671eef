//! Secrets of Kubernetes, read when a repository is opened.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;

use crate::config::{Config, KubernetesConfig, SecretFault, SecretReader, SecretReference};
use crate::kubernetes::{Access, Kube, KubeError, KubeErrorKind, bridge};

/// The access that a configuration asks for.
pub fn access_of(config: &KubernetesConfig) -> Access {
    Access {
        kubeconfig: config.kubeconfig.clone(),
        context: config.context.clone(),
    }
}

/// A Secret's keys with their values.
type Values = BTreeMap<String, Vec<u8>>;

/// Reads Secrets through the API, each at most once: make a new one to see what was
/// changed. Values are kept as long as it lives.
pub struct KubernetesSecrets {
    access: Access,
    read: Mutex<BTreeMap<(String, String), Result<Values, SecretFault>>>,
}

impl fmt::Debug for KubernetesSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KubernetesSecrets")
            .field("access", &self.access)
            .finish_non_exhaustive()
    }
}

impl KubernetesSecrets {
    /// Reads them as this access may.
    pub fn new(access: Access) -> Self {
        Self {
            access,
            read: Mutex::default(),
        }
    }

    /// Reads them as a configuration says.
    pub fn of(config: &Config) -> Self {
        Self::new(access_of(&config.kubernetes))
    }

    fn values(&self, namespace: &str, name: &str) -> Result<Values, SecretFault> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (namespace.to_owned(), name.to_owned());
        if let Some(known) = read.get(&key) {
            return known.clone();
        }
        let fetched = self.fetch(namespace.to_owned(), name.to_owned());
        read.insert(key, fetched.clone());
        fetched
    }

    fn fetch(&self, namespace: String, name: String) -> Result<Values, SecretFault> {
        let access = self.access.clone();
        let action = format!("read Secret {namespace}/{name}");
        let asked = bridge::wait(async move {
            let kube = Kube::connect(&access).await?;
            let secrets: Api<Secret> = Api::namespaced(kube.client(), &namespace);
            kube.call(action, secrets.get(&name)).await
        });
        let secret = asked.map_err(|error| fault(&error))?;
        Ok(secret
            .data
            .unwrap_or_default()
            .into_iter()
            .map(|(key, value)| (key, value.0))
            .collect())
    }
}

/// The action names the Secret, and the caller has named it already.
fn fault(error: &KubeError) -> SecretFault {
    let cause = match error.kind {
        KubeErrorKind::NotFound => "there is no such Secret".to_owned(),
        KubeErrorKind::Forbidden => format!(
            "this identity may not read it: {} (grant `get` on this one Secret)",
            error.message
        ),
        _ => format!("{} ({})", error.message, error.hint()),
    };
    if error.is_transient() {
        SecretFault::passing(cause)
    } else {
        SecretFault::lasting(cause)
    }
}

impl SecretReader for KubernetesSecrets {
    fn read(&self, reference: &SecretReference) -> Result<String, SecretFault> {
        let values = self.values(&reference.namespace, &reference.name)?;
        let Some(value) = values.get(&reference.key) else {
            let known: Vec<&str> = values.keys().map(String::as_str).collect();
            return Err(SecretFault::lasting(if known.is_empty() {
                "the Secret is empty".to_owned()
            } else {
                format!("it has no such key; there are: {}", known.join(", "))
            }));
        };
        let text = std::str::from_utf8(value)
            .map_err(|_| SecretFault::lasting("the value is not text"))?
            .trim_end_matches(['\n', '\r']);
        if text.is_empty() {
            return Err(SecretFault::lasting("the value is empty"));
        }
        Ok(text.to_owned())
    }
}
