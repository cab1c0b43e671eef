//! Opening what a location names.

use std::sync::Arc;

use object_store::ObjectStore;

use super::environment::Environment;
use super::local::Directory;
use super::{ErrorKind, Location, Scheme, StorageError, StorageOptions};

/// What lies behind a store.
pub(super) enum Backend {
    /// A bucket, and the endpoint it is asked at if that is not the vendor's own.
    Remote(Arc<dyn ObjectStore>, Option<String>),
    /// A directory.
    Local(Directory),
}

/// Opens a location. Nothing is asked of a network store yet; a directory must be there.
pub(super) fn open(location: &Location, options: &StorageOptions) -> Result<Backend, StorageError> {
    let environment = Environment::of_process(&options.environment);
    let opened = match location.scheme() {
        Scheme::File => {
            let directory = location.directory().unwrap_or_default();
            return Directory::open(&directory)
                .map(Backend::Local)
                .map_err(|error| {
                    let kind = match error.kind() {
                        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => {
                            ErrorKind::MissingBucket
                        }
                        _ => ErrorKind::Local,
                    };
                    super::client::open_error(location, kind, error.to_string())
                });
        }
        Scheme::S3 => super::s3::open(location, options, &environment),
        Scheme::Gcs => super::gcs::open(location, options, &environment),
        Scheme::Azure => super::azure::open(location, options, &environment),
    };
    opened.map(|(store, endpoint)| Backend::Remote(store, endpoint))
}
