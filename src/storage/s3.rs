//! Amazon S3 and what speaks it.

use std::sync::Arc;

use object_store::CredentialProvider;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, AwsCredential};

use super::client::{
    BoundedIdentity, PatientConnector, client_options, identity_retries, open_error, retries,
};
use super::environment::Environment;
use super::profile::Profile;
use super::remote::{Dialect, Remote, S3};
use super::usage::Counters;
use super::{ErrorKind, Location, StorageError, StorageOptions};

/// Where the credentials come from, in the order of the AWS tools.
enum Identity {
    /// None are used: a public bucket.
    Anonymous,
    Static {
        key_id: String,
        secret: String,
        token: Option<String>,
    },
    /// Web identity, container or instance: the client's builder knows them by these names.
    Platform(Vec<(AmazonS3ConfigKey, String)>),
}

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
            ErrorKind::Settings,
            super::classify::words(&error),
        )
    };
    let profile = Profile::load(environment)
        .map_err(|words| open_error(location, ErrorKind::Credentials, words))?;
    let endpoint = options
        .endpoint
        .clone()
        .or_else(|| {
            let names = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"];
            environment.first(&names).map(str::to_owned)
        })
        .or_else(|| profile.endpoint.clone());
    check_endpoint(location, endpoint.as_deref())?;
    let region = options
        .region
        .clone()
        .or_else(|| {
            let names = ["AWS_REGION", "AWS_DEFAULT_REGION"];
            environment.first(&names).map(str::to_owned)
        })
        .or_else(|| profile.region.clone())
        .unwrap_or_else(|| "us-east-1".to_owned());
    let clients = client_options(location, options, environment, endpoint.as_deref())?;
    let connector = PatientConnector::new(options, counters);

    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(location.bucket())
        .with_region(region.clone())
        .with_client_options(
            clients
                .reading
                .clone()
                .with_default_headers(super::checksum::asked_for()),
        )
        .with_retry(retries(options))
        .with_http_connector(connector.clone());
    let hosted = options
        .virtual_hosted
        .unwrap_or_else(|| environment.is_true("AWS_VIRTUAL_HOSTED_STYLE_REQUEST"));
    builder = builder.with_virtual_hosted_style_request(hosted);
    let asked = endpoint.as_ref().map(|endpoint| {
        if hosted {
            with_bucket_in_host(endpoint, location.bucket())
        } else {
            endpoint.clone()
        }
    });
    if let Some(endpoint) = &asked {
        builder = builder.with_endpoint(endpoint.clone());
    }
    let bucket = bucket_url(location.bucket(), asked.as_deref(), &region, hosted);
    for name in [
        "AWS_REQUEST_PAYER",
        "AWS_UNSIGNED_PAYLOAD",
        "AWS_S3_EXPRESS",
    ] {
        if let (Some(value), Ok(key)) = (environment.get(name), name.to_ascii_lowercase().parse()) {
            builder = builder.with_config(key, value);
        }
    }
    let identity = identity(location, environment, &profile, endpoint.as_deref())?;
    let anonymous = matches!(identity, Identity::Anonymous);
    builder = match identity {
        Identity::Anonymous => builder.with_skip_signature(true),
        Identity::Static {
            key_id,
            secret,
            token,
        } => {
            let builder = builder
                .with_access_key_id(key_id)
                .with_secret_access_key(secret);
            match token {
                Some(token) => builder.with_token(token),
                None => builder,
            }
        }
        Identity::Platform(settings) => {
            let mut asking = builder
                .clone()
                .with_retry(identity_retries())
                .with_http_connector(connector.uncounted());
            for (key, value) in settings {
                asking = asking.with_config(key, value);
            }
            let inner = Arc::clone(asking.build().map_err(wrong)?.credentials());
            let bounded: Arc<dyn CredentialProvider<Credential = AwsCredential>> =
                Arc::new(BoundedIdentity {
                    inner,
                    looked_for: "no credentials: none in the environment (AWS_ACCESS_KEY_ID, …) or \
                                 in ~/.aws, and the platform's identity gave none",
                });
            builder.with_credentials(bounded)
        }
    };
    let store = builder.build().map_err(wrong)?;
    let s3 = S3 {
        credentials: (!anonymous).then(|| Arc::clone(store.credentials())),
        region,
        requester_pays: environment.is_true("AWS_REQUEST_PAYER"),
        directory_bucket: environment.is_true("AWS_S3_EXPRESS"),
        known_server: endpoint
            .as_deref()
            .is_none_or(|endpoint| endpoint.contains(".amazonaws.com")),
        ..S3::new(bucket)
    };
    Ok(Remote {
        inner: Arc::new(store),
        client: clients.own(&connector).map_err(wrong)?,
        endpoint,
        dialect: Dialect::S3(Box::new(s3)),
    })
}

fn check_endpoint(location: &Location, endpoint: Option<&str>) -> Result<(), StorageError> {
    let Some(endpoint) = endpoint else {
        return Ok(());
    };
    let good = url::Url::parse(endpoint).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
    });
    if good {
        return Ok(());
    }
    // Not repeated here: somebody may have written a password into it.
    let cause = "the endpoint is no URL like https://host:port (without user or password)";
    Err(open_error(location, ErrorKind::Settings, cause))
}

/// `https://bucket.host` from `https://host`.
fn with_bucket_in_host(endpoint: &str, bucket: &str) -> String {
    match endpoint.split_once("://") {
        Some((scheme, rest)) if !rest.starts_with(&format!("{bucket}.")) => {
            format!("{scheme}://{bucket}.{rest}")
        }
        _ => endpoint.to_owned(),
    }
}

/// The URL of a bucket, as the client library forms it.
fn bucket_url(bucket: &str, endpoint: Option<&str>, region: &str, hosted: bool) -> String {
    match (endpoint, hosted) {
        (Some(endpoint), true) => endpoint.trim_end_matches('/').to_owned(),
        (Some(endpoint), false) => format!("{}/{bucket}", endpoint.trim_end_matches('/')),
        (None, true) => format!("https://{bucket}.s3.{region}.amazonaws.com"),
        (None, false) => format!("https://s3.{region}.amazonaws.com/{bucket}"),
    }
}

fn identity(
    location: &Location,
    environment: &Environment,
    profile: &Profile,
    endpoint: Option<&str>,
) -> Result<Identity, StorageError> {
    let none = |words: &str| Err(open_error(location, ErrorKind::Credentials, words));
    if environment.is_true("AWS_SKIP_SIGNATURE") || environment.is_true("AWS_NO_SIGN_REQUEST") {
        return Ok(Identity::Anonymous);
    }
    let asked_profile = environment.first(&["AWS_PROFILE", "AWS_DEFAULT_PROFILE"]);
    match (
        environment.get("AWS_ACCESS_KEY_ID"),
        environment.get("AWS_SECRET_ACCESS_KEY"),
    ) {
        (Some(key_id), Some(secret)) => {
            return Ok(Identity::Static {
                key_id: key_id.to_owned(),
                secret: secret.to_owned(),
                token: environment.get("AWS_SESSION_TOKEN").map(str::to_owned),
            });
        }
        (Some(_), None) => return none("AWS_ACCESS_KEY_ID is set, AWS_SECRET_ACCESS_KEY is not"),
        (None, Some(_)) => return none("AWS_SECRET_ACCESS_KEY is set, AWS_ACCESS_KEY_ID is not"),
        (None, None) => {}
    }
    let mut settings = Vec::new();
    for name in [
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_ROLE_ARN",
        "AWS_ROLE_SESSION_NAME",
        "AWS_ENDPOINT_URL_STS",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
        "AWS_METADATA_ENDPOINT",
        "AWS_IMDSV1_FALLBACK",
    ] {
        if let (Some(value), Ok(key)) = (environment.get(name), name.to_ascii_lowercase().parse()) {
            settings.push((key, value.to_owned()));
        }
    }
    let web = environment.get("AWS_WEB_IDENTITY_TOKEN_FILE").is_some()
        && environment.get("AWS_ROLE_ARN").is_some();
    if web && asked_profile.is_none() {
        return Ok(Identity::Platform(settings));
    }
    match (&profile.key_id, &profile.secret) {
        (Some(key_id), Some(secret)) => {
            return Ok(Identity::Static {
                key_id: key_id.clone(),
                secret: secret.clone(),
                token: profile.token.clone(),
            });
        }
        (Some(_), None) => return none("the AWS profile has a key but no aws_secret_access_key"),
        _ => {}
    }
    if let (Some(file), Some(role)) = (&profile.web_identity_token_file, &profile.role_arn) {
        settings.push((AmazonS3ConfigKey::WebIdentityTokenFile, file.clone()));
        settings.push((AmazonS3ConfigKey::RoleArn, role.clone()));
        return Ok(Identity::Platform(settings));
    }
    if let Some(way) = profile.unsupported {
        return none(&format!(
            "AWS profile {:?} uses {way}, which is not supported: give a key and secret, or a web \
             identity",
            profile.name
        ));
    }
    let container = environment
        .first(&[
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        ])
        .is_some();
    // Another vendor's server knows nothing of this machine's AWS identity.
    let foreign = endpoint.is_some_and(|endpoint| !endpoint.contains(".amazonaws.com"));
    let instance = !foreign && !environment.is_true("AWS_EC2_METADATA_DISABLED");
    if web || container || instance {
        return Ok(Identity::Platform(settings));
    }
    none(
        "no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile of \
         ~/.aws/credentials with AWS_PROFILE",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(pairs: &[(&str, &str)], endpoint: Option<&str>) -> Result<String, StorageError> {
        let pairs: Vec<(String, String)> = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let options = StorageOptions {
            endpoint: endpoint.map(str::to_owned),
            ..StorageOptions::default()
        };
        let location = "s3://bucket/prefix".parse().unwrap();
        let environment = Environment::new(&pairs, []);
        open(&location, &options, &environment, &Arc::default())
            .map(|remote| remote.endpoint.unwrap_or_default())
    }

    #[test]
    fn a_foreign_endpoint_without_credentials_is_refused_at_once() {
        let error = opened(&[], Some("http://127.0.0.1:1")).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Credentials);
        assert!(error.cause.contains("AWS_PROFILE"), "{error}");
        assert!(
            opened(
                &[("AWS_SKIP_SIGNATURE", "true")],
                Some("http://127.0.0.1:1")
            )
            .is_ok()
        );
        let half = opened(&[("AWS_ACCESS_KEY_ID", "a")], None).unwrap_err();
        assert!(
            half.cause.contains("AWS_SECRET_ACCESS_KEY is not"),
            "{half}"
        );
    }

    #[test]
    fn the_endpoint_comes_from_the_most_specific_place() {
        let keys = [("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")];
        let both = [
            ("AWS_ENDPOINT_URL", "https://general"),
            ("AWS_ENDPOINT_URL_S3", "https://s3"),
        ];
        let with = |more: &[(&'static str, &'static str)]| [&keys[..], more].concat();
        assert_eq!(opened(&with(&both), None).unwrap(), "https://s3");
        assert_eq!(opened(&with(&both[..1]), None).unwrap(), "https://general");
        assert_eq!(
            opened(&with(&both), Some("https://given")).unwrap(),
            "https://given"
        );
        assert_eq!(opened(&keys, None).unwrap(), "");
    }

    #[test]
    fn endpoints_with_secrets_are_refused_and_not_repeated() {
        for endpoint in [
            "https://user:hunter2@host",
            "host:9000",
            "ftp://host",
            "not a url",
        ] {
            let error = opened(&[], Some(endpoint)).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Settings);
            assert!(!error.to_string().contains("hunter2"));
        }
    }

    #[test]
    fn buckets_have_the_librarys_urls() {
        let url = |endpoint, hosted| bucket_url("b", endpoint, "eu-west-1", hosted);
        assert_eq!(url(Some("http://h:1/"), false), "http://h:1/b");
        assert_eq!(url(Some("http://b.h:1"), true), "http://b.h:1");
        assert_eq!(url(None, false), "https://s3.eu-west-1.amazonaws.com/b");
        assert_eq!(url(None, true), "https://b.s3.eu-west-1.amazonaws.com");
    }

    #[test]
    fn the_bucket_goes_into_the_host_once() {
        assert_eq!(with_bucket_in_host("https://h:1", "b"), "https://b.h:1");
        assert_eq!(with_bucket_in_host("https://b.h:1", "b"), "https://b.h:1");
    }
}
