//! What can go wrong with a store, in words that say what to do.

use std::{fmt, io};

/// What was being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Opening the store.
    Open,
    /// Listing objects.
    List,
    /// Asking for an object's size and time.
    Head,
    /// Reading an object.
    Read,
    /// Writing an object.
    Write,
    /// Removing an object.
    Remove,
    /// Asking for a bucket's settings.
    Inspect,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::List => "list",
            Self::Head => "look up",
            Self::Read => "read",
            Self::Write => "write",
            Self::Remove => "remove",
            Self::Inspect => "inspect",
        })
    }
}

/// The kind of failure, by what a person must do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The object does not exist.
    NotFound,
    /// The bucket or directory does not exist.
    MissingBucket,
    /// No credentials, or wrong ones.
    Credentials,
    /// The credentials are known but may not do this.
    Denied,
    /// No answer: name, address, port, TLS or time-out.
    Network,
    /// The store asks to slow down.
    Throttled,
    /// There already is an object of this key.
    Exists,
    /// The object changed while it was read.
    Changed,
    /// The bytes that the store received are not those that were sent.
    Damaged,
    /// The object is larger than its reader allows.
    TooLarge,
    /// The store's settings are wrong (region, endpoint, CA).
    Settings,
    /// Local trouble: disk full, permission, not a directory.
    Local,
    /// Anything else.
    Other,
}

impl ErrorKind {
    /// The word used in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not-found",
            Self::MissingBucket => "missing-bucket",
            Self::Credentials => "credentials",
            Self::Denied => "denied",
            Self::Network => "network",
            Self::Throttled => "throttled",
            Self::Exists => "exists",
            Self::Changed => "changed",
            Self::Damaged => "damaged",
            Self::TooLarge => "too-large",
            Self::Settings => "settings",
            Self::Local => "local",
            Self::Other => "other",
        }
    }

    /// What to do.
    pub const fn hint(self) -> &'static str {
        match self {
            Self::NotFound => "check the key; `walproof repository discover` shows what is there",
            Self::MissingBucket => "check the name of the bucket or directory, and the endpoint",
            Self::Credentials => {
                "check the access key and secret (environment, file or platform identity); none were accepted"
            }
            Self::Denied => {
                "the credentials are known but lack the permission; reading needs list and get"
            }
            Self::Network => {
                "check endpoint, DNS, port, proxy and TLS; nothing answered as expected"
            }
            Self::Throttled => "the store asks to slow down: lower the concurrency or try later",
            Self::Exists => "nothing was overwritten; compare the two",
            Self::Changed => "somebody writes to this object; try again",
            Self::Damaged => {
                "nothing was stored; look for what changes bytes on the way: proxy, network card, memory"
            }
            Self::TooLarge => "a metadata object of this size is not one; look at it",
            Self::Settings => "check endpoint, region, path style and CA settings",
            Self::Local => "check the path, its permissions and the free space",
            Self::Other => "see the cause",
        }
    }
}

/// A failed operation on a store. Never holds credentials.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{operation} {object}: {cause}; {}", kind.hint())]
pub struct StorageError {
    /// What was being done.
    pub operation: Operation,
    /// The object's or store's URL.
    pub object: String,
    /// The kind of failure.
    pub kind: ErrorKind,
    /// The store's or system's own words.
    pub cause: String,
}

impl StorageError {
    /// An error of a known kind.
    pub fn new(
        operation: Operation,
        object: impl Into<String>,
        kind: ErrorKind,
        cause: impl Into<String>,
    ) -> Self {
        Self {
            operation,
            object: object.into(),
            kind,
            cause: cause.into(),
        }
    }

    /// The storage error inside an I/O error, as [`BlockingReader`](super::BlockingReader)
    /// hands it out.
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }

    /// Whether the object does not exist.
    pub fn is_not_found(&self) -> bool {
        self.kind == ErrorKind::NotFound
    }
}

impl From<StorageError> for io::Error {
    fn from(error: StorageError) -> Self {
        Self::other(error)
    }
}
