//! Google Cloud Storage.

use std::sync::Arc;

use object_store::ObjectStore;
use object_store::gcp::{GcpCredentialProvider, GoogleCloudStorageBuilder, GoogleConfigKey};

use super::client::{
    BoundedIdentity, PatientConnector, client_options, identity_retries, open_error, retries,
};
use super::environment::Environment;
use super::{ErrorKind, Location, StorageError, StorageOptions};

/// Opens a bucket; also says at which endpoint, if it is not Google's.
pub(super) fn open(
    location: &Location,
    options: &StorageOptions,
    environment: &Environment,
) -> Result<(Arc<dyn ObjectStore>, Option<String>), StorageError> {
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
    let client = client_options(location, options, environment, endpoint.as_deref())?;
    let mut builder = GoogleCloudStorageBuilder::new()
        .with_bucket_name(location.bucket())
        .with_client_options(client)
        .with_retry(retries(options))
        .with_http_connector(PatientConnector {
            retry_time: options.retry_time,
        });
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
    if endpoint.is_some() && !credentials {
        // Emulators want none; the instance's identity must not be sent elsewhere.
        builder = builder.with_skip_signature(true);
    } else {
        let asking = builder.clone().with_retry(identity_retries());
        let inner = Arc::clone(asking.build().map_err(wrong)?.credentials());
        let bounded: GcpCredentialProvider = Arc::new(BoundedIdentity {
            inner,
            looked_for: "no credentials: neither GOOGLE_APPLICATION_CREDENTIALS nor the instance's \
                         identity gave any",
        });
        builder = builder.with_credentials(bounded);
    }
    let store = builder.build().map_err(wrong)?;
    Ok((Arc::new(store), endpoint))
}
