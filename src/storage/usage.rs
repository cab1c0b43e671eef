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

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use futures::TryStreamExt as _;

    use super::*;
    use crate::storage::StorageOptions;

    /// Whoever adds a way to read must count it: a proof rests on it.
    #[tokio::test(flavor = "multi_thread")]
    async fn every_way_of_reading_a_directory_counts() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("below")).unwrap();
        std::fs::write(directory.path().join("below/object"), [7; 1000]).unwrap();
        let location = format!("file://{}", directory.path().display());
        let store = Store::open(&location.parse().unwrap(), &StorageOptions::default()).unwrap();
        assert_eq!(store.usage(), Usage::default());
        let below = store.at("below");
        let mut expected = 0;
        let mut requests = 0;
        let mut more = |bytes: u64| {
            let usage = store.usage();
            expected += bytes;
            assert_eq!(usage.bytes_read, expected);
            assert!(usage.requests > requests, "{usage:?}");
            requests = usage.requests;
        };

        below.list("").try_collect::<Vec<_>>().await.unwrap();
        more(0);
        below.head("object").await.unwrap();
        more(0);
        below.read_small("object", 1000).await.unwrap();
        more(1000);
        below.read_range("object", 10..30).await.unwrap();
        more(20);
        let read = below.clone().read("object").await.unwrap();
        read.stream.try_collect::<Vec<_>>().await.unwrap();
        more(1000);
        let (_, mut reader) = below.blocking_reader("object").await.unwrap();
        let read = tokio::task::spawn_blocking(move || {
            let mut all = Vec::new();
            reader.read_to_end(&mut all).map(|_| all.len())
        });
        assert_eq!(read.await.unwrap().unwrap(), 1000);
        more(1000);
        assert_eq!(store.usage().endpoint, None);
    }
}
