//! Buckets by URL: list, stream, write once; limits, retries, and errors that say what
//! to do. One interface over S3, Google Cloud Storage, Azure Blob Storage and local files.

mod blocking;
mod classify;
mod error;
mod location;
mod open;
mod store;

pub use blocking::BlockingReader;
pub use error::{ErrorKind, Operation, StorageError};
pub use location::{Location, LocationError, Scheme};
pub use store::{ObjectEntry, ObjectRead, PutOutcome, StorageOptions, Store, Upload};
