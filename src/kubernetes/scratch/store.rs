//! The way to the object store, as the scratch namespace has it: made anew from what is
//! known, never copied, so that nothing of the source's archiving comes along.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use serde_json::{Map, Value, json};

use super::{STORE_CA_KEY, STORE_SECRET, SecretBytes, StoreAccess};
use crate::kubernetes::cnpg::{SecretKeyRef, StoreConfiguration, StoreCredentials};
use crate::kubernetes::{Kube, KubeError, KubeErrorKind};

/// Arguments of barman's commands for restoring that may come along from the source: they
/// change how the store is spoken to, and nothing else.
const ARGUMENTS: &[&str] = &["--addressing-style=", "--read-timeout="];

/// Credentials for reading, by kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreKeys {
    /// S3 with keys.
    S3 {
        /// The access key's id.
        access_key_id: SecretBytes,
        /// The secret access key.
        secret_access_key: SecretBytes,
        /// The session token of temporary credentials.
        session_token: Option<SecretBytes>,
        /// The region.
        region: Option<SecretBytes>,
    },
    /// S3 by the role of the pods (see
    /// [`Overrides::service_account_annotations`](super::Overrides)).
    S3Role {
        /// The region.
        region: Option<SecretBytes>,
    },
    /// Azure.
    Azure {
        /// The connection string.
        connection_string: Option<SecretBytes>,
        /// The storage account's name.
        account: Option<SecretBytes>,
        /// The storage account's key.
        key: Option<SecretBytes>,
        /// A shared access signature.
        sas_token: Option<SecretBytes>,
    },
    /// Azure by the identity of the pods.
    AzureIdentity,
    /// Google Cloud Storage with a service account's key.
    Google {
        /// The key, JSON.
        application_credentials: SecretBytes,
    },
    /// Google Cloud Storage by the identity of the pods.
    GoogleIdentity,
}

impl StoreKeys {
    /// Reads what a source's configuration refers to, in its namespace.
    ///
    /// # Errors
    ///
    /// A Secret or a key of it is missing or may not be read, or there are no credentials.
    pub async fn read(
        kube: &Kube,
        namespace: &str,
        configuration: &StoreConfiguration,
    ) -> Result<Self, KubeError> {
        let reader = Reader { kube, namespace };
        Ok(match &configuration.credentials {
            StoreCredentials::S3 {
                access_key_id: Some(access_key_id),
                secret_access_key: Some(secret_access_key),
                session_token,
                region,
            } => Self::S3 {
                access_key_id: reader.key(access_key_id).await?,
                secret_access_key: reader.key(secret_access_key).await?,
                session_token: reader.maybe(session_token.as_ref()).await?,
                region: reader.maybe(region.as_ref()).await?,
            },
            StoreCredentials::S3Role { region } => Self::S3Role {
                region: reader.maybe(region.as_ref()).await?,
            },
            StoreCredentials::Azure {
                connection_string,
                account,
                key,
                sas_token,
            } => Self::Azure {
                connection_string: reader.maybe(connection_string.as_ref()).await?,
                account: reader.maybe(account.as_ref()).await?,
                key: reader.maybe(key.as_ref()).await?,
                sas_token: reader.maybe(sas_token.as_ref()).await?,
            },
            StoreCredentials::AzureIdentity => Self::AzureIdentity,
            StoreCredentials::Google {
                application_credentials: Some(reference),
            } => Self::Google {
                application_credentials: reader.key(reference).await?,
            },
            StoreCredentials::GoogleIdentity => Self::GoogleIdentity,
            StoreCredentials::S3 { .. }
            | StoreCredentials::Google { .. }
            | StoreCredentials::None => {
                return Err(KubeError::new(
                    KubeErrorKind::Other,
                    format!(
                        "read the credentials for {}",
                        configuration.destination_path
                    ),
                    format!("the source in {namespace} refers to none that are whole"),
                ));
            }
        })
    }

    /// The credentials' part of a configuration, and the Secret's content that it refers to.
    fn parts(self) -> (&'static str, Value, BTreeMap<String, SecretBytes>) {
        let mut secret = BTreeMap::new();
        let mut section = Map::new();
        let mut put = |field: &str, key: &str, value: Option<SecretBytes>| {
            if let Some(value) = value {
                section.insert(
                    field.to_owned(),
                    json!({ "name": STORE_SECRET, "key": key }),
                );
                secret.insert(key.to_owned(), value);
            }
        };
        let name = match self {
            Self::S3 {
                access_key_id,
                secret_access_key,
                session_token,
                region,
            } => {
                put("accessKeyId", "access-key-id", Some(access_key_id));
                put(
                    "secretAccessKey",
                    "secret-access-key",
                    Some(secret_access_key),
                );
                put("sessionToken", "session-token", session_token);
                put("region", "region", region);
                "s3Credentials"
            }
            Self::S3Role { region } => {
                put("region", "region", region);
                section.insert("inheritFromIAMRole".to_owned(), json!(true));
                "s3Credentials"
            }
            Self::Azure {
                connection_string,
                account,
                key,
                sas_token,
            } => {
                put("connectionString", "connection-string", connection_string);
                put("storageAccount", "storage-account", account);
                put("storageKey", "storage-key", key);
                put("storageSasToken", "storage-sas-token", sas_token);
                "azureCredentials"
            }
            Self::AzureIdentity => {
                section.insert("inheritFromAzureAD".to_owned(), json!(true));
                "azureCredentials"
            }
            Self::Google {
                application_credentials,
            } => {
                put(
                    "applicationCredentials",
                    "application-credentials",
                    Some(application_credentials),
                );
                "googleCredentials"
            }
            Self::GoogleIdentity => {
                section.insert("gkeEnvironment".to_owned(), json!(true));
                "googleCredentials"
            }
        };
        (name, Value::Object(section), secret)
    }
}

impl StoreAccess {
    /// The way to `destination` (`s3://bucket/path`, without the server's folder).
    /// `source` is the source's own configuration, if there is one, for what must be
    /// said in the same way to its store; its archiving is not taken over.
    pub fn new(
        destination: &str,
        endpoint: Option<&str>,
        ca: Option<&[u8]>,
        keys: StoreKeys,
        source: Option<&Value>,
    ) -> Self {
        let (section, credentials, mut secret) = keys.parts();
        let mut configuration = Map::new();
        let mut put = |name: &str, value: Value| {
            configuration.insert(name.to_owned(), value);
        };
        put("destinationPath", json!(destination));
        if let Some(endpoint) = endpoint {
            put("endpointURL", json!(endpoint));
        }
        if let Some(ca) = ca {
            secret.insert(STORE_CA_KEY.to_owned(), SecretBytes::new(ca));
            put(
                "endpointCA",
                json!({ "name": STORE_SECRET, "key": STORE_CA_KEY }),
            );
        }
        put(section, credentials);
        let mut wal = vec![json!("--no-partial")];
        wal.extend(arguments(source, "/wal/restoreAdditionalCommandArgs"));
        // More than one at a time has restored less than was there.
        put(
            "wal",
            json!({ "maxParallel": 1, "restoreAdditionalCommandArgs": wal }),
        );
        let data = arguments(source, "/data/restoreAdditionalCommandArgs");
        if !data.is_empty() {
            put("data", json!({ "restoreAdditionalCommandArgs": data }));
        }
        Self {
            configuration: Value::Object(configuration),
            secret,
            endpoint: endpoint.map(str::to_owned),
            ca: ca.map(<[u8]>::to_vec),
            in_tree_wal: false,
        }
    }
}

/// The source's arguments that may come along.
fn arguments(source: Option<&Value>, pointer: &str) -> Vec<Value> {
    let given = source
        .and_then(|source| source.pointer(pointer))
        .and_then(Value::as_array);
    given
        .into_iter()
        .flatten()
        .filter(|one| one.as_str().is_some_and(may_pass))
        .cloned()
        .collect()
}

/// Whether an argument of a barman command may be in a recovery.
pub(super) fn may_pass(argument: &str) -> bool {
    ARGUMENTS.iter().any(|known| {
        argument.strip_prefix(known).is_some_and(|value| {
            !value.is_empty() && value.chars().all(|c| c.is_ascii_alphanumeric())
        })
    })
}

/// Reads keys of Secrets.
struct Reader<'a> {
    kube: &'a Kube,
    namespace: &'a str,
}

impl Reader<'_> {
    async fn key(&self, reference: &SecretKeyRef) -> Result<SecretBytes, KubeError> {
        read_key(self.kube, self.namespace, &reference.name, &reference.key).await
    }

    async fn maybe(
        &self,
        reference: Option<&SecretKeyRef>,
    ) -> Result<Option<SecretBytes>, KubeError> {
        match reference {
            Some(reference) => self.key(reference).await.map(Some),
            None => Ok(None),
        }
    }
}

/// One key of a Secret.
///
/// # Errors
///
/// The Secret or the key is missing, or may not be read.
pub async fn read_key(
    kube: &Kube,
    namespace: &str,
    name: &str,
    key: &str,
) -> Result<SecretBytes, KubeError> {
    let action = format!("get Secret {namespace}/{name}");
    let secrets: Api<Secret> = Api::namespaced(kube.client(), namespace);
    let secret = kube.call(action.as_str(), secrets.get(name)).await?;
    let value = secret.data.and_then(|mut data| data.remove(key));
    value.map(|value| SecretBytes::new(value.0)).ok_or_else(|| {
        KubeError::new(
            KubeErrorKind::NotFound,
            action,
            format!("it has no key {key}"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_made_anew() {
        let source = json!({
            "destinationPath": "s3://prod/x",
            "tags": {"a": "b"},
            "wal": {
                "maxParallel": 8,
                "compression": "gzip",
                "archiveAdditionalCommandArgs": ["--x"],
                "restoreAdditionalCommandArgs": ["--read-timeout=30", "--spool-dir=/x", "--read-timeout=1;rm"],
            },
            "data": {"additionalCommandArgs": ["--min-chunk-size=5MB"], "immediateCheckpoint": true},
        });
        let keys = StoreKeys::S3 {
            access_key_id: "id".into(),
            secret_access_key: "word".into(),
            session_token: None,
            region: Some("eu".into()),
        };
        let access = StoreAccess::new(
            "s3://prod/x",
            Some("https://s3.example"),
            Some(b"PEM"),
            keys,
            Some(&source),
        );
        assert_eq!(
            access.configuration,
            json!({
                "destinationPath": "s3://prod/x",
                "endpointURL": "https://s3.example",
                "endpointCA": {"name": STORE_SECRET, "key": "ca.crt"},
                "s3Credentials": {
                    "accessKeyId": {"name": STORE_SECRET, "key": "access-key-id"},
                    "secretAccessKey": {"name": STORE_SECRET, "key": "secret-access-key"},
                    "region": {"name": STORE_SECRET, "key": "region"},
                },
                "wal": {
                    "maxParallel": 1,
                    "restoreAdditionalCommandArgs": ["--no-partial", "--read-timeout=30"],
                },
            })
        );
        let names: Vec<_> = access.secret.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            ["access-key-id", "ca.crt", "region", "secret-access-key"]
        );
    }

    #[test]
    fn every_kind_of_credentials_has_its_section() {
        for (keys, section) in [
            (StoreKeys::S3Role { region: None }, "s3Credentials"),
            (StoreKeys::AzureIdentity, "azureCredentials"),
            (StoreKeys::GoogleIdentity, "googleCredentials"),
            (
                StoreKeys::Google {
                    application_credentials: "{}".into(),
                },
                "googleCredentials",
            ),
            (
                StoreKeys::Azure {
                    connection_string: Some("c".into()),
                    account: None,
                    key: None,
                    sas_token: None,
                },
                "azureCredentials",
            ),
        ] {
            let access = StoreAccess::new("gs://b", None, None, keys, None);
            assert!(access.configuration[section].is_object(), "{section}");
        }
    }
}
