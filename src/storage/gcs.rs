//! Google Cloud Storage.

use std::sync::Arc;

use object_store::StaticCredentialProvider;
use object_store::gcp::{
    GcpCredential, GcpCredentialProvider, GoogleCloudStorageBuilder, GoogleConfigKey,
};

use super::client::{
    BoundedIdentity, PatientConnector, client_options, identity_retries, open_error, retries,
};
use super::environment::Environment;
use super::remote::{Dialect, Gcs, Remote};
use super::usage::Counters;
use super::{ErrorKind, Location, StorageError, StorageOptions};

/// Opens a bucket.
pub(super) fn open(
    location: &Location,
    options: &StorageOptions,
    environment: &Environment,
    counters: &Arc<Counters>,
) -> Result<Remote, StorageError> {
    let wrong = |error: object_store::Error| {
        open_error(
            location,
            ErrorKind::Credentials,
            super::classify::words(&error),
        )
    };
    let endpoint = options.endpoint.clone().or_else(|| {
        // The emulators' variable may hold a bare host and port.
        let host = environment.get("STORAGE_EMULATOR_HOST")?;
        Some(if host.contains("://") {
            host.to_owned()
        } else {
            format!("http://{host}")
        })
    });
    let clients = client_options(location, options, environment, endpoint.as_deref())?;
    let connector = PatientConnector::new(options, counters);
    let mut builder = GoogleCloudStorageBuilder::new()
        .with_bucket_name(location.bucket())
        .with_client_options(clients.reading.clone())
        .with_retry(retries(options))
        .with_http_connector(connector.clone());
    let mut credentials = false;
    for (name, value) in environment.with_prefix("GOOGLE_") {
        let key = name.to_ascii_lowercase().parse();
        if let Ok(
            key @ (GoogleConfigKey::ServiceAccount
            | GoogleConfigKey::ServiceAccountKey
            | GoogleConfigKey::ApplicationCredentials
            | GoogleConfigKey::SkipSignature),
        ) = key
        {
            credentials = true;
            builder = builder.with_config(key, value);
        }
    }
    if let Some(endpoint) = &endpoint {
        builder = builder.with_base_url(endpoint.trim_end_matches('/'));
    }
    let anonymous = endpoint.is_some() && !credentials;
    if anonymous {
        // Emulators want none, and the instance's identity must not be sent elsewhere. To
        // skip signatures is not enough: the client's writes ask for a credential all the
        // same, and would ask Google's metadata server.
        let nobody: GcpCredentialProvider =
            Arc::new(StaticCredentialProvider::new(GcpCredential {
                bearer: String::new(),
            }));
        builder = builder.with_skip_signature(true).with_credentials(nobody);
    } else {
        let asking = builder
            .clone()
            .with_retry(identity_retries())
            .with_http_connector(connector.uncounted());
        let inner = Arc::clone(asking.build().map_err(wrong)?.credentials());
        let bounded: GcpCredentialProvider = Arc::new(BoundedIdentity {
            inner,
            looked_for: "no credentials: neither GOOGLE_APPLICATION_CREDENTIALS nor the instance's \
                         identity gave any",
        });
        builder = builder.with_credentials(bounded);
    }
    let store = builder.build().map_err(wrong)?;
    let base = endpoint
        .as_deref()
        .unwrap_or("https://storage.googleapis.com");
    let gcs = Gcs {
        base: base.trim_end_matches('/').to_owned(),
        bucket: location.bucket().to_owned(),
        credentials: (!anonymous).then(|| Arc::clone(store.credentials())),
    };
    Ok(Remote {
        inner: Arc::new(store),
        client: clients.own(&connector).map_err(wrong)?,
        endpoint,
        dialect: Dialect::Gcs(gcs),
    })
}
