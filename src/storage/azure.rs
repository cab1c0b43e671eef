//! Azure Blob Storage.

use std::sync::Arc;

use object_store::azure::{AzureConfigKey, AzureCredentialProvider, MicrosoftAzureBuilder};

use super::client::{
    BoundedIdentity, PatientConnector, client_options, identity_retries, open_error, retries,
};
use super::environment::Environment;
use super::remote::{Azure, Dialect, Remote};
use super::usage::Counters;
use super::{ErrorKind, Location, StorageError, StorageOptions};

/// Opens a container.
///
/// Beside the client's own names, those of the Azure tools are known:
/// `AZURE_STORAGE_ACCOUNT`, `AZURE_STORAGE_KEY`, `AZURE_STORAGE_CONNECTION_STRING`.
pub(super) fn open(
    location: &Location,
    options: &StorageOptions,
    environment: &Environment,
    counters: &Arc<Counters>,
) -> Result<Remote, StorageError> {
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
    let clients = client_options(location, options, environment, endpoint.as_deref())?;
    let connector = PatientConnector::new(options, counters);
    let mut builder = MicrosoftAzureBuilder::new()
        .with_client_options(clients.reading.clone())
        .with_retry(retries(options))
        .with_http_connector(connector.clone());
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
    let Some(account) = builder.get_config_value(&AzureConfigKey::AccountName) else {
        let cause = "no storage account: set AZURE_STORAGE_ACCOUNT or \
                     AZURE_STORAGE_CONNECTION_STRING";
        return Err(open_error(location, ErrorKind::Settings, cause));
    };
    let anonymous = builder
        .get_config_value(&AzureConfigKey::SkipSignature)
        .is_some_and(|value| value == "true");
    let asking = builder
        .clone()
        .with_retry(identity_retries())
        .with_http_connector(connector.uncounted());
    let inner = Arc::clone(asking.build().map_err(wrong)?.credentials());
    let bounded: AzureCredentialProvider = Arc::new(BoundedIdentity {
        inner,
        looked_for: "no credentials: neither a key or SAS token (AZURE_STORAGE_KEY, \
                     AZURE_STORAGE_SAS_TOKEN) nor a managed identity gave any",
    });
    let store = builder.with_credentials(bounded).build().map_err(wrong)?;
    let emulated = emulates(environment);
    let service = match (&endpoint, emulated) {
        (_, true) => {
            let url = environment.get("AZURITE_BLOB_STORAGE_URL");
            let url = url.unwrap_or("http://127.0.0.1:10000");
            format!("{}/{account}", url.trim_end_matches('/'))
        }
        (Some(endpoint), false) => endpoint.clone(),
        (None, false) => format!("https://{account}.blob.core.windows.net"),
    };
    let azure = Azure {
        credentials: (!anonymous).then(|| Arc::clone(store.credentials())),
        container: format!("{}/{}", service.trim_end_matches('/'), location.bucket()),
        account,
    };
    Ok(Remote {
        inner: Arc::new(store),
        client: clients.own(&connector).map_err(wrong)?,
        endpoint,
        dialect: Dialect::Azure(azure),
    })
}

/// Whether the client library is told to talk to the emulator at its usual address.
fn emulates(environment: &Environment) -> bool {
    ["AZURE_STORAGE_USE_EMULATOR", "AZURE_USE_EMULATOR"]
        .iter()
        .any(|name| environment.is_true(name))
}
