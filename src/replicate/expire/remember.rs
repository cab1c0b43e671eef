//! What was removed from a copy by its policy, so that it is not copied again.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use super::error::ExpireError;
use super::plan::PlannedObject;
use crate::repository::BaseBackup;
use crate::state::{CopyPair, RememberedCopy, State};
use crate::storage::ObjectIdentity;

/// Where it is remembered what was removed from a copy.
#[derive(Clone, Debug)]
pub struct ExpireLedger {
    state: State,
    pair: CopyPair,
}

impl ExpireLedger {
    /// For this pair of repositories.
    pub const fn new(state: State, pair: CopyPair) -> Self {
        Self { state, pair }
    }

    /// Which of these base backups an earlier run began to remove: their markers were.
    pub(super) async fn begun<'a>(
        &self,
        backups: impl Iterator<Item = &'a BaseBackup>,
    ) -> Result<BTreeSet<String>, ExpireError> {
        let by_key: BTreeMap<String, String> = backups
            .map(|backup| (backup.info_key.clone(), backup.id.clone()))
            .collect();
        let keys: Vec<String> = by_key.keys().cloned().collect();
        let mut begun = BTreeSet::new();
        for keys in keys.chunks(State::OBJECTS_TOGETHER) {
            let known = self.state.copies_lookup(&self.pair, keys).await?;
            let expired = known.iter().filter(|copy| copy.expired_at.is_some());
            begun.extend(expired.filter_map(|copy| by_key.get(&copy.key).cloned()));
        }
        Ok(begun)
    }

    /// Notes that these objects were removed; noted before they are, so that no moment
    /// exists at which they are gone and would be copied again.
    pub(super) async fn note(
        &self,
        objects: &[&PlannedObject],
        at: DateTime<Utc>,
    ) -> Result<(), ExpireError> {
        self.write(objects, Some(at)).await
    }

    /// Notes that these objects are still there.
    pub(super) async fn take_back(&self, objects: &[&PlannedObject]) -> Result<(), ExpireError> {
        self.write(objects, None).await
    }

    async fn write(
        &self,
        objects: &[&PlannedObject],
        expired_at: Option<DateTime<Utc>>,
    ) -> Result<(), ExpireError> {
        for objects in objects.chunks(State::OBJECTS_TOGETHER) {
            let keys: Vec<String> = objects.iter().map(|object| object.key.clone()).collect();
            let mut known = self.state.copies_lookup(&self.pair, &keys).await?;
            for copy in &mut known {
                copy.expired_at = expired_at;
            }
            if expired_at.is_some() {
                let unknown: Vec<RememberedCopy> = objects
                    .iter()
                    .filter(|object| known.iter().all(|copy| copy.key != object.key))
                    .map(|object| adopted(object, expired_at))
                    .collect();
                known.extend(unknown);
            }
            self.state.copies_write(&self.pair, &known).await?;
        }
        Ok(())
    }
}

/// Something that was never copied by this state's walproof, as the copy's store tells it.
fn adopted(object: &PlannedObject, expired_at: Option<DateTime<Utc>>) -> RememberedCopy {
    RememberedCopy {
        key: object.key.clone(),
        sha256: None,
        source: ObjectIdentity {
            size: object.size,
            etag: object.etag.clone(),
            version: None,
            modified: object.modified,
        },
        target_etag: object.etag.clone(),
        target_version: None,
        copied_at: None,
        read_back_at: None,
        expired_at,
        alarm: None,
    }
}
