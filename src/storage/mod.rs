//! Buckets by URL: list, stream, write once; limits, retries, and errors that say what
//! to do. One interface over S3, Google Cloud Storage, Azure Blob Storage and local files.
//!
//! Memory: a listing holds one page (1,000 entries; locally the names of the folders on
//! the way), a read one chunk (locally 1 MiB), a [`BlockingReader`] 17 MiB, all
//! [`OnceUpload`]s of a store 96 MiB.
//!
//! Local repositories: symbolic links below the directory are never followed, so that a
//! repository cannot lead out of itself; listings leave them out with a warning in the log.
//! Everything else that is a file is listed, but for walproof's own unfinished writes
//! (`.walproof-staging-UUID`).

mod azure;
mod blocking;
mod checksum;
mod classify;
mod client;
mod delete;
mod environment;
mod error;
mod gcs;
mod identity;
mod local;
mod location;
mod open;
mod options;
mod posture;
mod probe;
mod profile;
mod reach;
mod read;
mod remote;
mod s3;
mod store;
mod usage;
mod versions;
mod wire;
mod write_once;

pub use blocking::BlockingReader;
pub use checksum::{ArrivingBytes, StoredChecksum};
pub use delete::{AbandonedUpload, DeleteOutcome};
pub use error::{ErrorKind, Operation, StorageError};
pub use identity::{IdentityChange, ObjectIdentity};
pub use location::{Location, LocationError, Scheme};
pub use options::StorageOptions;
pub use posture::{
    DefaultRetention, Encryption, Known, LifecycleRule, ObjectLock, Posture, Public, Transition,
};
pub use probe::WriteProbe;
pub use reach::{ASKED_WITHOUT, REACH_LIMIT, Reach, ReachError};
pub use store::{ObjectEntry, ObjectRead, PutOutcome, Store};
pub use usage::Usage;
pub use write_once::{
    Acknowledged, LockMode, OnceOutcome, OnceUpload, Retention, WriteOptions, Written,
};
