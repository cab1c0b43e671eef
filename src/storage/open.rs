//! Opening what a location names.

use std::sync::Arc;

use super::environment::Environment;
use super::local::Directory;
use super::remote::Remote;
use super::usage::Counters;
use super::{ErrorKind, Location, Scheme, StorageError, StorageOptions};

/// What lies behind a store.
pub(super) enum Backend {
    /// A bucket.
    Remote(Remote),
    /// A directory.
    Local(Directory),
}

/// Opens a location. Nothing is asked of a network store yet; a directory must be there.
pub(super) fn open(
    location: &Location,
    options: &StorageOptions,
    counters: &Arc<Counters>,
) -> Result<Backend, StorageError> {
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
        Scheme::S3 => super::s3::open(location, options, &environment, counters),
        Scheme::Gcs => super::gcs::open(location, options, &environment, counters),
        Scheme::Azure => super::azure::open(location, options, &environment, counters),
    };
    opened.map(Backend::Remote)
}
