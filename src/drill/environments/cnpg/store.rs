//! How the pods reach the copy that is restored: the same place and credentials that
//! walproof reads it with, in the words of CloudNativePG.

use crate::drill::course::Stop;
use crate::kubernetes::scratch::{SecretBytes, StoreAccess, StoreKeys};
use crate::storage::{Location, Scheme, StorageOptions};

/// A place in an object store as an ObjectStore names it.
#[derive(Debug)]
pub(super) struct StorePlace {
    /// How it is reached.
    pub(super) access: StoreAccess,
    /// The server's folder in it.
    pub(super) server_name: String,
}

/// Where Amazon's and Google's stores answer, whose copies need no endpoint of their own.
const GOOGLE_ENDPOINT: &str = "https://storage.googleapis.com";

/// The credentials that walproof has for the copy. `role` says that the pods have an
/// identity of their own and need none.
fn keys(location: &Location, options: &StorageOptions, role: bool) -> Result<StoreKeys, Stop> {
    let given = |name: &str| {
        let found = options.environment.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| SecretBytes::from(value.as_str()))
    };
    let region = options.region.as_deref().map(SecretBytes::from);
    let missing = |keys: &str| Err(without_credentials(location, keys));
    match (location.scheme(), role) {
        (Scheme::S3, true) => Ok(StoreKeys::S3Role { region }),
        (Scheme::S3, false) => match (given("AWS_ACCESS_KEY_ID"), given("AWS_SECRET_ACCESS_KEY")) {
            (Some(access_key_id), Some(secret_access_key)) => Ok(StoreKeys::S3 {
                access_key_id,
                secret_access_key,
                session_token: given("AWS_SESSION_TOKEN"),
                region,
            }),
            _ => missing("access_key_id and secret_access_key"),
        },
        (Scheme::Azure, true) => Ok(StoreKeys::AzureIdentity),
        (Scheme::Azure, false) => {
            let (key, sas_token) = (
                given("AZURE_STORAGE_ACCOUNT_KEY"),
                given("AZURE_STORAGE_SAS_KEY"),
            );
            let connection_string = given("AZURE_STORAGE_CONNECTION_STRING");
            if key.is_none() && sas_token.is_none() && connection_string.is_none() {
                return missing("account_name and account_key, or sas_token, or connection_string");
            }
            Ok(StoreKeys::Azure {
                connection_string,
                account: given("AZURE_STORAGE_ACCOUNT_NAME"),
                key,
                sas_token,
            })
        }
        (Scheme::Gcs, true) => Ok(StoreKeys::GoogleIdentity),
        (Scheme::Gcs, false) => match given("GOOGLE_SERVICE_ACCOUNT_KEY") {
            Some(application_credentials) => Ok(StoreKeys::Google {
                application_credentials,
            }),
            None => missing("service_account_key"),
        },
        (Scheme::File, _) => Err(Stop::unproven(format_args!(
            "{location} is a directory of this machine, which no pod can reach; drill it with \
             `environment: local`"
        ))),
    }
}

/// Describes the copy at `location` for pods, which reach it at `endpoint` if that is
/// another address than walproof's own.
pub(super) fn describe(
    location: &Location,
    options: &StorageOptions,
    endpoint: Option<&str>,
    role: bool,
) -> Result<StorePlace, Stop> {
    let keys = keys(location, options, role)?;
    let (folder, server_name) = location
        .parent()
        .zip(location.last_part().map(str::to_owned))
        .ok_or_else(|| Stop::unproven(format_args!("{location} names no server's folder")))?;
    let endpoint = endpoint.or(options.endpoint.as_deref());
    let ca = match (&options.ca_pem, &options.ca_file) {
        (Some(pem), _) => Some(pem.as_bytes().to_vec()),
        (None, Some(path)) => Some(std::fs::read(path).map_err(|error| {
            Stop::Unproven(format!(
                "read the store's certificate authority {}: {error}",
                path.display()
            ))
        })?),
        (None, None) => None,
    };
    let named = endpoint.filter(|_| location.scheme() == Scheme::S3);
    let destination = destination(&folder, endpoint);
    Ok(StorePlace {
        access: StoreAccess::new(&destination, named, ca.as_deref(), keys, None),
        server_name,
    })
}

/// Where the pods will look for the store, for the network policy.
pub(super) fn network_endpoint(place: &StorePlace, options: &StorageOptions) -> String {
    let text = |pointer: &str| {
        let found = place.access.configuration.pointer(pointer);
        found.and_then(serde_json::Value::as_str).map(str::to_owned)
    };
    text("/endpointURL").unwrap_or_else(|| {
        let destination = text("/destinationPath").unwrap_or_default();
        if destination.starts_with("http") {
            return destination;
        }
        if destination.starts_with("gs:") {
            return GOOGLE_ENDPOINT.to_owned();
        }
        let region = options.region.as_deref().unwrap_or("us-east-1");
        let bucket = destination.trim_start_matches("s3://");
        let bucket = bucket.split('/').next().unwrap_or_default();
        format!("https://{bucket}.s3.{region}.amazonaws.com")
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

    /// However the configuration gives them, the pods need them.
    #[test]
    fn pods_get_the_authority_and_the_connection_string() {
        let location: Location = "s3://first/orders".parse().unwrap();
        let keys = [("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")];
        let of_secret = StorageOptions {
            ca_pem: Some("-----BEGIN of a Secret".to_owned()),
            ..options(&keys)
        };
        let place = describe(&location, &of_secret, None, false).unwrap();
        let named = &place.access.configuration["endpointCA"]["key"];
        let given = &place.access.secret[named.as_str().unwrap()];
        assert_eq!(given.expose(), b"-----BEGIN of a Secret");
        let plain = describe(&location, &options(&keys), None, false).unwrap();
        assert!(plain.access.configuration.get("endpointCA").is_none());

        let location: Location = "az://backups/pg/orders".parse().unwrap();
        let words = [(
            "AZURE_STORAGE_CONNECTION_STRING",
            "AccountName=a;AccountKey=b",
        )];
        let place = describe(&location, &options(&words), None, false).unwrap();
        let credentials = &place.access.configuration["azureCredentials"];
        assert!(credentials["connectionString"].is_object(), "{credentials}");
        assert!(describe(&location, &options(&[]), None, false).is_err());
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
        let secrets: Vec<&[u8]> = place
            .access
            .secret
            .values()
            .map(SecretBytes::expose)
            .collect();
        assert_eq!(secrets, [b"eu-central-1"], "the region is no secret");
        let Err(Stop::Unproven(words)) = describe(&location, &options(&[]), None, false) else {
            panic!("it needs credentials");
        };
        assert!(words.contains("secret_access_key"), "{words}");
        let file: Location = "file:///backups/orders".parse().unwrap();
        assert!(describe(&file, &options(&[]), None, false).is_err());
    }
}
