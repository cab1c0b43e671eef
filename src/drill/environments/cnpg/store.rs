//! How the pods reach the copy that is restored: the same place and credentials that
//! walproof reads it with, in the words of CloudNativePG.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::drill::course::Stop;
use crate::kubernetes::scratch::{STORE_SECRET, SecretBytes, StoreAccess};
use crate::storage::{Location, Scheme, StorageOptions};

/// A place in an object store as an ObjectStore names it.
#[derive(Debug)]
pub(super) struct StorePlace {
    /// How it is reached.
    pub(super) access: StoreAccess,
    /// The server's folder in it.
    pub(super) server_name: String,
}

/// Names of credentials as the stores' clients know them, with the key of an ObjectStore and
/// the key in our Secret.
const S3: &[(&str, &str, &str)] = &[
    ("AWS_ACCESS_KEY_ID", "accessKeyId", "access-key-id"),
    (
        "AWS_SECRET_ACCESS_KEY",
        "secretAccessKey",
        "secret-access-key",
    ),
    ("AWS_SESSION_TOKEN", "sessionToken", "session-token"),
];
const AZURE: &[(&str, &str, &str)] = &[
    (
        "AZURE_STORAGE_ACCOUNT_NAME",
        "storageAccount",
        "storage-account",
    ),
    ("AZURE_STORAGE_ACCOUNT_KEY", "storageKey", "storage-key"),
    (
        "AZURE_STORAGE_SAS_KEY",
        "storageSasToken",
        "storage-sas-token",
    ),
];
const GOOGLE: &[(&str, &str, &str)] = &[(
    "GOOGLE_SERVICE_ACCOUNT_KEY",
    "applicationCredentials",
    "service-account-key",
)];

/// Puts the credentials that are there into `secret` and gives the references to them.
fn references(
    names: &[(&str, &str, &str)],
    environment: &[(String, String)],
    secret: &mut BTreeMap<String, SecretBytes>,
) -> Map<String, Value> {
    let mut references = Map::new();
    for (variable, field, key) in names {
        let given = environment.iter().find(|(name, _)| name == variable);
        if let Some((_, value)) = given {
            secret.insert((*key).to_owned(), SecretBytes::from(value.as_str()));
            references.insert(
                (*field).to_owned(),
                json!({"name": STORE_SECRET, "key": key}),
            );
        }
    }
    references
}

/// Describes the copy at `location` for pods. `role` says that they have an identity of
/// their own and need no credentials.
pub(super) fn describe(
    location: &Location,
    options: &StorageOptions,
    endpoint: Option<&str>,
    role: bool,
) -> Result<StorePlace, Stop> {
    let server_name = location
        .last_part()
        .map(str::to_owned)
        .ok_or_else(|| Stop::unproven(format_args!("{location} names no server's folder")))?;
    let mut secret = BTreeMap::new();
    let mut configuration = Map::new();
    let none: &[(String, String)] = &[];
    let environment = if role { none } else { &options.environment };
    let inherited = |mut references: Map<String, Value>, flag: &str| {
        if references.is_empty() {
            references.insert(flag.to_owned(), Value::Bool(true));
        }
        Value::Object(references)
    };
    match location.scheme() {
        Scheme::S3 => {
            let mut found = references(S3, environment, &mut secret);
            if found.is_empty() && !role {
                return Err(without_credentials(
                    location,
                    "access_key_id and secret_access_key",
                ));
            }
            if let Some(region) = options.region.as_deref().filter(|_| !found.is_empty()) {
                secret.insert("region".to_owned(), SecretBytes::from(region));
                let reference = json!({"name": STORE_SECRET, "key": "region"});
                found.insert("region".to_owned(), reference);
            }
            configuration.insert(
                "s3Credentials".to_owned(),
                inherited(found, "inheritFromIAMRole"),
            );
        }
        Scheme::Azure => {
            let found = references(AZURE, environment, &mut secret);
            if found.is_empty() && !role {
                return Err(without_credentials(
                    location,
                    "account_name and account_key",
                ));
            }
            configuration.insert(
                "azureCredentials".to_owned(),
                inherited(found, "inheritFromAzureAD"),
            );
        }
        Scheme::Gcs => {
            let found = references(GOOGLE, environment, &mut secret);
            if found.is_empty() && !role {
                return Err(without_credentials(location, "service_account_key"));
            }
            configuration.insert(
                "googleCredentials".to_owned(),
                inherited(found, "gkeEnvironment"),
            );
        }
        Scheme::File => {
            return Err(Stop::unproven(format_args!(
                "{location} is a directory of this machine, which no pod can reach; drill it with \
                 `environment: local`"
            )));
        }
    }
    let folder = location.parent().unwrap_or_else(|| location.clone());
    let endpoint = endpoint.or(options.endpoint.as_deref());
    configuration.insert(
        "destinationPath".to_owned(),
        Value::String(destination(&folder, endpoint)),
    );
    if let Some(endpoint) = endpoint.filter(|_| location.scheme() == Scheme::S3) {
        configuration.insert("endpointURL".to_owned(), Value::String(endpoint.to_owned()));
    }
    let ca = match &options.ca_file {
        None => None,
        Some(path) => Some(std::fs::read(path).map_err(|error| {
            Stop::Unproven(format!(
                "read the store's certificate authority {}: {error}",
                path.display()
            ))
        })?),
    };
    Ok(StorePlace {
        access: StoreAccess {
            configuration: Value::Object(configuration),
            secret,
            endpoint: endpoint.map(str::to_owned),
            ca,
            in_tree_wal: false,
        },
        server_name,
    })
}

fn without_credentials(location: &Location, keys: &str) -> Stop {
    Stop::unproven(format_args!(
        "the restored Cluster needs credentials for {location} that may only read: name them under \
         `credentials` ({keys}) of this copy in walproof.yaml, or a role under \
         `cnpg.service_account_annotations` in the drill definition"
    ))
}

/// The URL as Barman's tools want it.
fn destination(folder: &Location, endpoint: Option<&str>) -> String {
    if folder.scheme() != Scheme::Azure {
        return folder.to_string();
    }
    // https://ACCOUNT.blob.core.windows.net/CONTAINER/PREFIX
    let base = endpoint.unwrap_or_default().trim_end_matches('/');
    [base, folder.bucket(), folder.prefix()]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(environment: &[(&str, &str)]) -> StorageOptions {
        StorageOptions {
            endpoint: Some("http://s3.example:9000".to_owned()),
            region: Some("eu-central-1".to_owned()),
            environment: environment
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            ..StorageOptions::default()
        }
    }

    #[test]
    fn a_copy_is_described_by_its_own_place_and_its_credentials_by_reference() {
        let location: Location = "s3://second/dr/orders".parse().unwrap();
        let keys = [
            ("AWS_ACCESS_KEY_ID", "a"),
            ("AWS_SECRET_ACCESS_KEY", "hush"),
        ];
        let place = describe(&location, &options(&keys), None, false).unwrap();
        assert_eq!(place.server_name, "orders");
        let found = &place.access.configuration;
        assert_eq!(found["destinationPath"], "s3://second/dr");
        assert_eq!(found["endpointURL"], "http://s3.example:9000");
        let key = &found["s3Credentials"]["secretAccessKey"];
        assert_eq!(key["name"], STORE_SECRET);
        let secret = &place.access.secret[key["key"].as_str().unwrap()];
        assert_eq!(secret.expose(), b"hush");
        assert!(!found.to_string().contains("hush"));
        let region = &found["s3Credentials"]["region"]["key"];
        assert_eq!(
            place.access.secret[region.as_str().unwrap()].expose(),
            b"eu-central-1"
        );

        let pods = describe(
            &location,
            &options(&keys),
            Some("http://s3.lab.svc:1"),
            false,
        );
        assert_eq!(
            pods.unwrap().access.configuration["endpointURL"],
            "http://s3.lab.svc:1"
        );
    }

    #[test]
    fn a_role_takes_the_place_of_credentials_and_nothing_takes_the_place_of_both() {
        let location: Location = "s3://first/orders".parse().unwrap();
        let keys = [("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")];
        let place = describe(&location, &options(&keys), None, true).unwrap();
        assert_eq!(place.access.configuration["destinationPath"], "s3://first");
        assert_eq!(
            place.access.configuration["s3Credentials"]["inheritFromIAMRole"],
            true
        );
        assert!(place.access.secret.is_empty());
        let Err(Stop::Unproven(words)) = describe(&location, &options(&[]), None, false) else {
            panic!("it needs credentials");
        };
        assert!(words.contains("secret_access_key"), "{words}");
        let file: Location = "file:///backups/orders".parse().unwrap();
        assert!(describe(&file, &options(&[]), None, false).is_err());
    }
}
