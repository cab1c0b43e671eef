//! Whether an object is still the one that a shard read.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use tokio::sync::mpsc;

use super::Parts;
use crate::storage::{ObjectEntry, StorageError, Store};

/// What a listing shows of every object: which one it is, and in what state. Memory: 8 bytes
/// for each.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// Digests, in order once the listing has ended.
    states: Vec<u64>,
}

impl Shown {
    /// Collects what a listing shows, to its end.
    pub async fn watch(mut batches: mpsc::Receiver<Vec<ObjectEntry>>) -> Self {
        let mut shown = Self::default();
        while let Some(batch) = batches.recv().await {
            for entry in &batch {
                shown.see(entry);
            }
        }
        shown.ended()
    }

    /// One object of the listing.
    pub(in crate::verify) fn see(&mut self, entry: &ObjectEntry) {
        self.states.extend(digest(entry));
    }

    /// The listing has ended.
    pub(in crate::verify) fn ended(mut self) -> Self {
        self.states.sort_unstable();
        self
    }

    fn has(&self, entry: &ObjectEntry) -> bool {
        digest(entry).is_some_and(|state| self.states.binary_search(&state).is_ok())
    }
}

/// The digest of an object's key and state; `None` of one without a tag, whose size and time
/// may be those of other bytes.
fn digest(entry: &ObjectEntry) -> Option<u64> {
    let identity = entry.identity();
    let etag = identity.etag?;
    let mut hasher = DefaultHasher::new();
    (&entry.key, identity.size, etag, identity.modified).hash(&mut hasher);
    Some(hasher.finish())
}

impl Parts {
    /// The same parts beside what a listing shows now.
    #[must_use]
    pub fn beside(mut self, shown: Shown) -> Self {
        self.shown = Some(std::sync::Arc::new(shown));
        self
    }

    /// Whether an object is in the state in which it was read. By the listing, or by asking for
    /// this one: stores tell more of one object than of all.
    pub(in crate::verify) async fn is_as_it_was(
        &self,
        store: &Store,
        read: &ObjectEntry,
    ) -> Result<bool, StorageError> {
        if self.shown.as_ref().is_some_and(|shown| shown.has(read)) {
            return Ok(true);
        }
        let now = store.head(&read.key).await?;
        let changed = |now: ObjectEntry| now.identity().change_since(&read.identity());
        Ok(now.is_some_and(|now| changed(now).is_none()))
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};

    use super::*;

    fn entry(key: &str, size: u64, etag: Option<&str>, written: i64) -> ObjectEntry {
        ObjectEntry {
            key: key.to_owned(),
            size,
            last_modified: DateTime::<Utc>::from_timestamp(written, 5).unwrap(),
            etag: etag.map(str::to_owned),
            version: None,
        }
    }

    #[test]
    fn only_the_same_state_of_the_same_object_is_shown() {
        let mut shown = Shown::default();
        shown.see(&entry("wals/b", 5, Some("b"), 1));
        shown.see(&entry("wals/a", 5, Some("a"), 1));
        shown.see(&entry("wals/c", 5, None, 1));
        let shown = shown.ended();
        let mut read = entry("wals/a", 5, Some("a"), 1);
        // Listings tell no versions, and reading tells whole seconds.
        read.version = Some("v1".to_owned());
        read.last_modified = DateTime::from_timestamp(1, 0).unwrap();
        assert!(shown.has(&read));
        for other in [
            entry("wals/a", 6, Some("a"), 1),
            entry("wals/a", 5, Some("b"), 1),
            entry("wals/a", 5, Some("a"), 2),
            entry("wals/b", 5, Some("a"), 1),
            // These are asked for one by one.
            entry("wals/c", 5, None, 1),
        ] {
            assert!(!shown.has(&other), "{other:?}");
        }
    }
}
