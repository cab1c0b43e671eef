//! The one type that removes objects of a repository.

use crate::storage::{DeleteOutcome, StorageError, Store};

/// How many versions of one key are removed, the newest first.
const VERSIONS: u32 = 100;

/// A store from which objects may be removed. Made only by what carries out a confirmed plan,
/// and by the lock trial for its own objects.
#[derive(Clone, Debug)]
pub(in crate::replicate) struct DeletingStore {
    store: Store,
    /// Only keys that begin like this.
    below: String,
}

/// What came of removing an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::replicate) enum Removal {
    /// It is gone, with so many versions.
    Removed(u32),
    /// There was none.
    Absent,
    /// It is another object than was meant; it was left alone.
    Changed,
    /// The store would not, such as for an object that is locked.
    Refused(String),
}

impl DeletingStore {
    /// For carrying out a plan that was confirmed.
    pub(super) fn for_plan(store: &Store) -> Self {
        Self {
            store: store.clone(),
            below: String::new(),
        }
    }

    /// For objects whose keys begin like this, which walproof made itself.
    pub(in crate::replicate) fn for_own(store: &Store, below: &str) -> Self {
        Self {
            store: store.clone(),
            below: below.to_owned(),
        }
    }

    /// Removes an object, if it is still the one of this size and tag. In a bucket that keeps
    /// versions the versions themselves go, not only the name: a mark of deletion over a
    /// locked object would look like room that was made.
    pub(in crate::replicate) async fn remove(
        &self,
        key: &str,
        size: u64,
        etag: Option<&str>,
    ) -> Result<Removal, StorageError> {
        let Some(entry) = self.store.head(key).await? else {
            return Ok(Removal::Absent);
        };
        let same_tag = etag.is_none() || entry.etag.is_none() || entry.etag.as_deref() == etag;
        if entry.size != size || !same_tag {
            return Ok(Removal::Changed);
        }
        let mut version = entry.version;
        let mut removed = 0;
        loop {
            match self.remove_version(key, version.as_deref()).await? {
                Removal::Removed(_) => removed += 1,
                // Somebody else was faster.
                Removal::Absent => return Ok(Removal::Removed(removed)),
                other => return Ok(other),
            }
            if version.is_none() || removed >= VERSIONS {
                return Ok(Removal::Removed(removed));
            }
            // An older version may have come to the fore.
            match self.store.head(key).await? {
                Some(entry) => version = entry.version,
                None => return Ok(Removal::Removed(removed)),
            }
        }
    }

    /// Removes one version of an object; without a version, the object.
    pub(in crate::replicate) async fn remove_version(
        &self,
        key: &str,
        version: Option<&str>,
    ) -> Result<Removal, StorageError> {
        if !key.starts_with(&self.below) {
            return Ok(Removal::Refused("it is not walproof's own".to_owned()));
        }
        Ok(match self.store.delete(key, version).await? {
            DeleteOutcome::Deleted => Removal::Removed(1),
            DeleteOutcome::Absent => Removal::Absent,
            DeleteOutcome::Refused { status: 0, cause } => Removal::Refused(cause),
            DeleteOutcome::Refused { status, cause } => {
                Removal::Refused(format!("{status}: {cause}"))
            }
        })
    }
}
