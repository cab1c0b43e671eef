//! Azure Blob Storage.

use std::sync::Arc;

use object_store::ObjectStore;
use object_store::azure::{AzureConfigKey, AzureCredentialProvider, MicrosoftAzureBuilder};

use super::client::{
    BoundedIdentity, PatientConnector, client_options, identity_retries, open_error, retries,
};
use super::environment::Environment;
use super::{ErrorKind, Location, StorageError, StorageOptions};

/// Opens a container; also says at which endpoint, if it is not Azure's.
///
/// Beside the client's own names, those of the Azure tools are known:
/// `AZURE_STORAGE_ACCOUNT`, `AZURE_STORAGE_KEY`, `AZURE_STORAGE_CONNECTION_STRING`.
pub(super) fn open(
    location: &Location,
    options: &StorageOptions,
    environment: &Environment,
) -> Result<(Arc<dyn ObjectStore>, Option<String>), StorageError> {
    let wrong = |error: object_store::Error| {
        open_error(
            location,
            ErrorKind::Settings,
            super::classify::words(&error),
        )
    };
    let connection = environment
        .get("AZURE_STORAGE_CONNECTION_STRING")
        .unwrap_or_default();
    let part = |name: &str| {
        connection.split(';').find_map(|part| {
            let (key, value) = part.split_once('=')?;
            (key.trim() == name && !value.is_empty()).then(|| value.trim().to_owned())
        })
    };
    let endpoint = options
        .endpoint
        .clone()
        .or_else(|| part("BlobEndpoint"))
        .or_else(|| {
            let names = ["AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"];
            environment.first(&names).map(str::to_owned)
        });
    let client = client_options(location, options, environment, endpoint.as_deref())?;
    let mut builder = MicrosoftAzureBuilder::new()
        .with_client_options(client)
        .with_retry(retries(options))
        .with_http_connector(PatientConnector {
            retry_time: options.retry_time,
        });
    for (name, value) in environment
        .with_prefix("AZURE_")
        .chain(environment.with_prefix("MSI_"))
        .chain(environment.with_prefix("IDENTITY_"))
    {
        let key = match name {
            "AZURE_STORAGE_ACCOUNT" => Ok(AzureConfigKey::AccountName),
            "AZURE_STORAGE_KEY" => Ok(AzureConfigKey::AccessKey),
            _ => name.to_ascii_lowercase().parse(),
        };
        match key {
            // The place is said by the location and the options alone.
            Ok(AzureConfigKey::ContainerName | AzureConfigKey::Endpoint) | Err(_) => {}
            Ok(key) => builder = builder.with_config(key, value),
        }
    }
    for (key, value) in [
        (AzureConfigKey::AccountName, part("AccountName")),
        (AzureConfigKey::AccessKey, part("AccountKey")),
        (AzureConfigKey::SasKey, part("SharedAccessSignature")),
    ] {
        if let Some(value) = value {
            builder = builder.with_config(key, value);
        }
    }
    builder = builder.with_container_name(location.bucket());
    if let Some(endpoint) = &endpoint {
        builder = builder.with_endpoint(endpoint.clone());
    }
    if builder
        .get_config_value(&AzureConfigKey::AccountName)
        .is_none()
    {
        let cause = "no storage account: set AZURE_STORAGE_ACCOUNT or \
                     AZURE_STORAGE_CONNECTION_STRING";
        return Err(open_error(location, ErrorKind::Settings, cause));
    }
    let asking = builder.clone().with_retry(identity_retries());
    let inner = Arc::clone(asking.build().map_err(wrong)?.credentials());
    let bounded: AzureCredentialProvider = Arc::new(BoundedIdentity {
        inner,
        looked_for: "no credentials: neither a key or SAS token (AZURE_STORAGE_KEY, \
                     AZURE_STORAGE_SAS_TOKEN) nor a managed identity gave any",
    });
    let store = builder.with_credentials(bounded).build().map_err(wrong)?;
    Ok((Arc::new(store), endpoint))
}
