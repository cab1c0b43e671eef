//! How much a store was used.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::Store;

/// What went through a store since it was opened; clones and the places below count
/// together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Usage {
    /// The endpoint that was asked, if it is not the vendor's own. `None` for a directory.
    pub endpoint: Option<String>,
    /// HTTP requests sent, repeated ones each time; for a directory the accesses to files
    /// and folders.
    pub requests: u64,
    /// Bytes of objects that were received.
    pub bytes_read: u64,
    /// Bytes of objects that the store has taken.
    pub bytes_written: u64,
}

/// The counters behind [`Usage`].
#[derive(Debug, Default)]
pub(super) struct Counters {
    requests: AtomicU64,
    read: AtomicU64,
    written: AtomicU64,
}

impl Counters {
    pub(super) fn request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self, bytes: usize) {
        self.read.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn written(&self, bytes: u64) {
        self.written.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Store {
    /// What went through this store, its clones and the places below, since it was opened.
    pub fn usage(&self) -> Usage {
        let counters = &self.shared.counters;
        Usage {
            endpoint: self.endpoint().map(str::to_owned),
            requests: counters.requests.load(Ordering::Relaxed),
            bytes_read: counters.read.load(Ordering::Relaxed),
            bytes_written: counters.written.load(Ordering::Relaxed),
        }
    }
}
