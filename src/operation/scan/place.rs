//! From what a Cluster says of its object store to a repository of the configuration.

use url::Url;

use crate::config::{Credentials, Endpoint, RepositoryConfig, SecretReference, SecretSource};
use crate::kubernetes::cnpg::{SecretKeyRef, StoreConfiguration, StoreCredentials};
use crate::operation::Failure;
use crate::storage::Location;

/// The host of storage accounts in Azure's public cloud.
const AZURE: &str = ".blob.core.windows.net";

/// A repository, and what of it lies in a Secret though it is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The repository.
    pub(super) repository: RepositoryConfig,
    /// The Secret that holds the region.
    pub(super) region: Option<SecretReference>,
}

/// The repository of `server` in a store whose Secrets lie in `namespace`.
pub(super) fn place(
    namespace: &str,
    store: &StoreConfiguration,
    server: &str,
) -> Result<Place, Failure> {
    let found = address(store, server)?;
    let url: Location = found.url.parse().map_err(|error| {
        Failure::configuration(format_args!("read the store's destination: {error}"))
    })?;
    let endpoint = store.endpoint_url.clone().or(found.endpoint);
    let endpoint: Option<Endpoint> = endpoint
        .as_deref()
        .map(str::parse)
        .transpose()
        .map_err(|error| Failure::configuration(format_args!("read the endpoint: {error}")))?;
    let reference = |key: &SecretKeyRef| SecretReference {
        namespace: namespace.to_owned(),
        name: key.name.clone(),
        key: key.key.clone(),
    };
    let source = |key: &Option<SecretKeyRef>| {
        key.as_ref().map(|key| SecretSource {
            kubernetes: Some(reference(key)),
            ..SecretSource::default()
        })
    };
    let mut region = None;
    let mut credentials = Credentials::default();
    match &store.credentials {
        StoreCredentials::S3 {
            access_key_id,
            secret_access_key,
            session_token,
            region: in_secret,
        } => {
            credentials.access_key_id = source(access_key_id);
            credentials.secret_access_key = source(secret_access_key);
            credentials.session_token = source(session_token);
            region.clone_from(in_secret);
        }
        StoreCredentials::S3Role { region: in_secret } => region.clone_from(in_secret),
        StoreCredentials::Azure {
            connection_string,
            account,
            key,
            sas_token,
        } => {
            credentials.connection_string = source(connection_string);
            credentials.account_name = source(account);
            credentials.account_key = source(key);
            credentials.sas_token = source(sas_token);
        }
        StoreCredentials::Google {
            application_credentials,
        } => credentials.service_account_key = source(application_credentials),
        StoreCredentials::AzureIdentity
        | StoreCredentials::GoogleIdentity
        | StoreCredentials::None => {}
    }
    // A secret that says the account's name wins over what the URL says.
    let named = credentials.account_name.is_some() || credentials.connection_string.is_some();
    Ok(Place {
        repository: RepositoryConfig {
            endpoint,
            account: found.account.filter(|_| !named),
            ca: source(&store.endpoint_ca),
            credentials: (credentials != Credentials::default()).then_some(credentials),
            ..RepositoryConfig::at(url)
        },
        region: region.as_ref().map(reference),
    })
}

/// A repository's URL, and what else Azure's URLs say.
struct Address {
    url: String,
    endpoint: Option<String>,
    account: Option<String>,
}

fn address(store: &StoreConfiguration, server: &str) -> Result<Address, Failure> {
    let destination = store.destination_path.trim_end_matches('/');
    if !destination.starts_with("http://") && !destination.starts_with("https://") {
        return Ok(Address {
            url: format!("{destination}/{server}"),
            endpoint: None,
            account: None,
        });
    }
    let wrong = || {
        Failure::configuration("read the store's destination: not a container's URL")
            .with_hint("expected https://ACCOUNT.blob.core.windows.net/CONTAINER/PATH")
    };
    // What stands before an `@` may be a secret: the text is not repeated.
    let url = Url::parse(destination).map_err(|_| wrong())?;
    let host = url.host_str().ok_or_else(wrong)?;
    let mut parts = url.path().split('/').filter(|part| !part.is_empty());
    // The emulator has the account in the path, the service in the host.
    let (account, endpoint) = if host.contains(".blob.") {
        let account = host.split('.').next().unwrap_or_default().to_owned();
        let own = !host.ends_with(AZURE);
        (account, own.then(|| origin(&url, host)))
    } else {
        let account = parts.next().ok_or_else(wrong)?.to_owned();
        let endpoint = format!("{}/{account}", origin(&url, host));
        (account, Some(endpoint))
    };
    let container = parts.next().ok_or_else(wrong)?;
    let below: Vec<&str> = parts.chain(std::iter::once(server)).collect();
    Ok(Address {
        url: format!("az://{container}/{}", below.join("/")),
        endpoint,
        account: Some(account),
    })
}

fn origin(url: &Url, host: &str) -> String {
    let port = url
        .port()
        .map_or_else(String::new, |port| format!(":{port}"));
    format!("{}://{host}{port}", url.scheme())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(configuration: &Value) -> Result<Place, Failure> {
        let store = StoreConfiguration::parse("ObjectStore shop/store", configuration).unwrap();
        place("shop", &store, "orders")
    }

    fn secret(source: Option<&SecretSource>) -> String {
        source
            .and_then(|source| source.kubernetes.as_ref())
            .unwrap()
            .to_string()
    }

    #[test]
    fn s3_by_keys() {
        let place = of(&json!({
            "destinationPath": "s3://backups/pg/",
            "endpointURL": "http://s3.storage.svc:9000",
            "endpointCA": {"name": "ca", "key": "ca.crt"},
            "s3Credentials": {
                "accessKeyId": {"name": "s3", "key": "ID"},
                "secretAccessKey": {"name": "s3", "key": "SECRET"},
                "region": {"name": "s3", "key": "REGION"},
            },
        }))
        .unwrap();
        let repository = &place.repository;
        assert_eq!(repository.url.to_string(), "s3://backups/pg/orders");
        assert_eq!(
            repository.endpoint.as_ref().unwrap().as_str(),
            "http://s3.storage.svc:9000"
        );
        assert_eq!(secret(repository.ca.as_ref()), "Secret shop/ca[ca.crt]");
        let credentials = repository.credentials.as_ref().unwrap();
        assert_eq!(
            secret(credentials.access_key_id.as_ref()),
            "Secret shop/s3[ID]"
        );
        assert_eq!(
            secret(credentials.secret_access_key.as_ref()),
            "Secret shop/s3[SECRET]"
        );
        assert_eq!(place.region.unwrap().to_string(), "Secret shop/s3[REGION]");
    }

    #[test]
    fn identities_of_pods_leave_no_credentials() {
        for (destination, credentials, url) in [
            (
                "s3://backups",
                json!({"s3Credentials": {"inheritFromIAMRole": true}}),
                "s3://backups/orders",
            ),
            (
                "gs://backups/x",
                json!({"googleCredentials": {"gkeEnvironment": true}}),
                "gs://backups/x/orders",
            ),
            (
                "https://acct.blob.core.windows.net/backups/x/",
                json!({"azureCredentials": {"inheritFromAzureAD": true}}),
                "az://backups/x/orders",
            ),
        ] {
            let mut configuration = credentials;
            configuration["destinationPath"] = destination.into();
            let repository = of(&configuration).unwrap().repository;
            assert_eq!(repository.url.to_string(), url);
            assert!(repository.credentials.is_none(), "{url}");
            assert_eq!(repository.endpoint, None);
            assert_eq!(
                repository.account.as_deref(),
                url.starts_with("az").then_some("acct")
            );
        }
    }

    #[test]
    fn azure_and_its_emulator() {
        let keys = json!({
            "storageAccount": {"name": "az", "key": "account"},
            "storageKey": {"name": "az", "key": "key"},
        });
        let place = of(&json!({
            "destinationPath": "http://azurite.test.svc:10000/devstore/backups/a",
            "azureCredentials": keys,
        }))
        .unwrap();
        assert_eq!(place.repository.url.to_string(), "az://backups/a/orders");
        assert_eq!(
            place.repository.endpoint.unwrap().as_str(),
            "http://azurite.test.svc:10000/devstore"
        );
        assert_eq!(place.repository.account, None, "the Secret says it");
        let china = of(&json!({
            "destinationPath": "https://acct.blob.core.chinacloudapi.cn/backups",
            "azureCredentials": {"connectionString": {"name": "az", "key": "all"}},
        }))
        .unwrap();
        assert_eq!(
            china.repository.endpoint.unwrap().as_str(),
            "https://acct.blob.core.chinacloudapi.cn"
        );
        let credentials = china.repository.credentials.unwrap();
        assert_eq!(
            secret(credentials.connection_string.as_ref()),
            "Secret shop/az[all]"
        );
    }

    #[test]
    fn what_is_no_place_is_refused_and_not_repeated() {
        for destination in [
            "https://me:hush@host",
            "s3://me:hush@host/x",
            "ftp://x",
            "x",
        ] {
            let failure = of(&json!({"destinationPath": destination})).unwrap_err();
            assert!(!failure.to_string().contains("hush"), "{failure}");
        }
    }
}
