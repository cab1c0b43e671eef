//! Building the client for a location.

use std::sync::Arc;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::{ClientOptions, ObjectStore};

use super::{ErrorKind, Location, Operation, Scheme, StorageError, StorageOptions};

/// Opens the store of a location. Local files get fsync after every write.
pub(super) fn open(
    location: &Location,
    options: &StorageOptions,
) -> Result<Arc<dyn ObjectStore>, StorageError> {
    let wrong = |error: object_store::Error| {
        StorageError::new(
            Operation::Open,
            location.to_string(),
            ErrorKind::Settings,
            error.to_string(),
        )
    };
    let client = ClientOptions::new()
        .with_timeout_disabled()
        .with_read_timeout(options.read_timeout)
        .with_allow_http(options.allow_http);
    match location.scheme() {
        Scheme::File => {
            let directory = location.directory().unwrap_or_default();
            let store = LocalFileSystem::new_with_prefix(&directory).map_err(|error| {
                StorageError::new(
                    Operation::Open,
                    location.to_string(),
                    ErrorKind::MissingBucket,
                    error.to_string(),
                )
            })?;
            Ok(Arc::new(store.with_fsync(true)))
        }
        Scheme::S3 => {
            let mut builder = AmazonS3Builder::from_env()
                .with_bucket_name(location.bucket())
                .with_client_options(client);
            if let Some(endpoint) = &options.endpoint {
                builder = builder.with_endpoint(endpoint);
            }
            if let Some(region) = &options.region {
                builder = builder.with_region(region);
            }
            if let Some(hosted) = options.virtual_hosted {
                builder = builder.with_virtual_hosted_style_request(hosted);
            }
            Ok(Arc::new(builder.build().map_err(wrong)?))
        }
        Scheme::Gcs => {
            let builder = GoogleCloudStorageBuilder::from_env()
                .with_bucket_name(location.bucket())
                .with_client_options(client);
            Ok(Arc::new(builder.build().map_err(wrong)?))
        }
        Scheme::Azure => {
            let builder = MicrosoftAzureBuilder::from_env()
                .with_container_name(location.bucket())
                .with_client_options(client);
            Ok(Arc::new(builder.build().map_err(wrong)?))
        }
    }
}
