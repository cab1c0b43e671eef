//! Where backups lie, as the Barman Cloud plugin's ObjectStore and the in-tree
//! `barmanObjectStore` say it (`barman-cloud/pkg/api/config.go`).

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::fields::{ViewError, boolean, identity, moment, text};
use super::reference::SecretKeyRef;

/// An `ObjectStore` of `barmancloud.cnpg.io/v1`.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectStore {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The place.
    pub configuration: StoreConfiguration,
    /// How long backups are kept (`30d`).
    pub retention: Option<String>,
    /// What the plugin says of each server; it looks at base backups only, never at WAL.
    pub windows: BTreeMap<String, RecoveryWindow>,
    /// The whole object.
    pub manifest: Value,
}

/// What the plugin says of one server's base backups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecoveryWindow {
    /// The end of the oldest base backup.
    pub first_recoverability_point: Option<DateTime<Utc>>,
    /// The end of the newest one.
    pub last_successful_backup: Option<DateTime<Utc>>,
    /// The last that failed.
    pub last_failed_backup: Option<DateTime<Utc>>,
}

/// A place in object storage and how it is reached.
#[derive(Clone, Debug, PartialEq)]
pub struct StoreConfiguration {
    /// `s3://bucket/path`, `https://account.blob.core.windows.net/container/path` or
    /// `gs://bucket/path`; the server's folder lies below it.
    pub destination_path: String,
    /// The endpoint of an S3-compatible server, as seen from inside the cluster.
    pub endpoint_url: Option<String>,
    /// The certificate authority of that endpoint.
    pub endpoint_ca: Option<SecretKeyRef>,
    /// The credentials, by reference.
    pub credentials: StoreCredentials,
    /// The whole configuration.
    pub raw: Value,
}

/// Credentials by reference, all in the namespace of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreCredentials {
    /// S3 with keys.
    S3 {
        /// The access key's id.
        access_key_id: Option<SecretKeyRef>,
        /// The secret access key.
        secret_access_key: Option<SecretKeyRef>,
        /// The session token of temporary credentials.
        session_token: Option<SecretKeyRef>,
        /// The region.
        region: Option<SecretKeyRef>,
    },
    /// S3 by the role of the pods (`inheritFromIAMRole`).
    S3Role {
        /// The region.
        region: Option<SecretKeyRef>,
    },
    /// Azure with keys.
    Azure {
        /// The connection string.
        connection_string: Option<SecretKeyRef>,
        /// The storage account's name.
        account: Option<SecretKeyRef>,
        /// The storage account's key.
        key: Option<SecretKeyRef>,
        /// A shared access signature.
        sas_token: Option<SecretKeyRef>,
    },
    /// Azure by the identity of the pods.
    AzureIdentity,
    /// Google Cloud Storage with a service account's key.
    Google {
        /// The key, JSON.
        application_credentials: Option<SecretKeyRef>,
    },
    /// Google Cloud Storage by the identity of the pods.
    GoogleIdentity,
    /// None are given.
    None,
}

impl ObjectStore {
    /// Reads an `ObjectStore`.
    ///
    /// # Errors
    ///
    /// Name, namespace or destination are missing.
    pub fn parse(manifest: Value) -> Result<Self, ViewError> {
        let who = identity("ObjectStore", &manifest)?;
        let object = format!("ObjectStore {}/{}", who.namespace, who.name);
        let configuration = manifest
            .pointer("/spec/configuration")
            .ok_or_else(|| ViewError {
                object: object.clone(),
                problem: "spec.configuration is missing".to_owned(),
            })?;
        let configuration = StoreConfiguration::parse(&object, configuration)?;
        let windows = manifest
            .pointer("/status/serverRecoveryWindow")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .map(|(server, window)| (server.clone(), RecoveryWindow::of(window)))
            .collect();
        Ok(Self {
            retention: text(&manifest, "/spec/retentionPolicy"),
            configuration,
            windows,
            namespace: who.namespace,
            name: who.name,
            manifest,
        })
    }
}

impl RecoveryWindow {
    fn of(value: &Value) -> Self {
        Self {
            first_recoverability_point: moment(value, "/firstRecoverabilityPoint"),
            // Older plugins misspell it.
            last_successful_backup: moment(value, "/lastSuccessfulBackupTime")
                .or_else(|| moment(value, "/lastSuccussfulBackupTime")),
            last_failed_backup: moment(value, "/lastFailedBackupTime"),
        }
    }
}

impl StoreConfiguration {
    /// Reads an ObjectStore's `spec.configuration`, or a `barmanObjectStore`; `object` says
    /// whose it is.
    ///
    /// # Errors
    ///
    /// There is no destination.
    pub fn parse(object: &str, configuration: &Value) -> Result<Self, ViewError> {
        let destination_path =
            text(configuration, "/destinationPath").ok_or_else(|| ViewError {
                object: object.to_owned(),
                problem: "destinationPath is missing".to_owned(),
            })?;
        Ok(Self {
            destination_path,
            endpoint_url: text(configuration, "/endpointURL"),
            endpoint_ca: SecretKeyRef::at(configuration, "/endpointCA"),
            credentials: StoreCredentials::of(configuration),
            raw: configuration.clone(),
        })
    }
}

impl StoreCredentials {
    fn of(configuration: &Value) -> Self {
        let reference = |pointer: &str| SecretKeyRef::at(configuration, pointer);
        let holds = |pointer: &str| boolean(configuration, pointer).unwrap_or(false);
        if configuration.get("s3Credentials").is_some() {
            let region = reference("/s3Credentials/region");
            if holds("/s3Credentials/inheritFromIAMRole") {
                return Self::S3Role { region };
            }
            return Self::S3 {
                access_key_id: reference("/s3Credentials/accessKeyId"),
                secret_access_key: reference("/s3Credentials/secretAccessKey"),
                session_token: reference("/s3Credentials/sessionToken"),
                region,
            };
        }
        if configuration.get("azureCredentials").is_some() {
            if holds("/azureCredentials/inheritFromAzureAD")
                || holds("/azureCredentials/useDefaultAzureCredentials")
            {
                return Self::AzureIdentity;
            }
            return Self::Azure {
                connection_string: reference("/azureCredentials/connectionString"),
                account: reference("/azureCredentials/storageAccount"),
                key: reference("/azureCredentials/storageKey"),
                sas_token: reference("/azureCredentials/storageSasToken"),
            };
        }
        if configuration.get("googleCredentials").is_some() {
            if holds("/googleCredentials/gkeEnvironment") {
                return Self::GoogleIdentity;
            }
            return Self::Google {
                application_credentials: reference("/googleCredentials/applicationCredentials"),
            };
        }
        Self::None
    }

    /// Every Secret's key that they name.
    pub fn references(&self) -> Vec<&SecretKeyRef> {
        let all: [&Option<SecretKeyRef>; 4] = match self {
            Self::S3 {
                access_key_id,
                secret_access_key,
                session_token,
                region,
            } => [access_key_id, secret_access_key, session_token, region],
            Self::Azure {
                connection_string,
                account,
                key,
                sas_token,
            } => [connection_string, account, key, sas_token],
            Self::S3Role { region: one }
            | Self::Google {
                application_credentials: one,
            } => [one, &None, &None, &None],
            Self::AzureIdentity | Self::GoogleIdentity | Self::None => [&None, &None, &None, &None],
        };
        all.into_iter().flatten().collect()
    }

    /// Whether they come from the identity of the pods, and not from a Secret.
    pub const fn is_ambient(&self) -> bool {
        matches!(
            self,
            Self::S3Role { .. } | Self::AzureIdentity | Self::GoogleIdentity
        )
    }
}
