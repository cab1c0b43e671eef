//! The two repositories.

use super::ReplicateError;
use crate::repository::Repository;

/// A repository and the place that it is copied to. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Pair {
    /// What is copied. Never written to.
    pub source: Repository,
    /// Where to. Never overwritten.
    pub target: Repository,
}

impl Pair {
    /// Two repositories that do not overlap.
    ///
    /// # Errors
    /// [`ReplicateError::SamePlace`] if one lies within the other.
    pub fn new(source: Repository, target: Repository) -> Result<Self, ReplicateError> {
        let (here, there) = (source.store(), target.store());
        let parts = |store: &crate::storage::Store| {
            let location = store.location();
            let scheme = location.scheme();
            let bucket = location.bucket().to_owned();
            let endpoint = store
                .endpoint()
                .map(|url| url.trim_end_matches('/').to_owned());
            (scheme, endpoint, bucket)
        };
        let within = |inner: &str, outer: &str| {
            outer.is_empty()
                || inner == outer
                || inner
                    .strip_prefix(outer)
                    .is_some_and(|rest| rest.starts_with('/'))
        };
        let (one, other) = (here.location().prefix(), there.location().prefix());
        if parts(here) == parts(there) && (within(one, other) || within(other, one)) {
            return Err(ReplicateError::SamePlace {
                source_url: here.location().to_string(),
                target_url: there.location().to_string(),
            });
        }
        Ok(Self { source, target })
    }

    pub(super) fn source_url(&self) -> String {
        self.source.store().location().to_string()
    }

    pub(super) fn target_url(&self) -> String {
        self.target.store().location().to_string()
    }
}
