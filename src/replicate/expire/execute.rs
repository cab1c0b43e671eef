//! Carrying out a plan that was confirmed.

use chrono::Utc;
use futures::StreamExt;
use schemars::JsonSchema;
use serde::Serialize;

use super::deleting::{DeletingStore, Removal};
use super::error::ExpireError;
use super::plan::{ExpirePlan, PlannedObject};
use super::remember::ExpireLedger;
use super::wal_cut::number_of;
use crate::postgres::{Lsn, WalFileName};
use crate::repository::{CopyClass, Repository};
use crate::storage::StorageError;

/// How many objects are removed at once.
const PARALLEL: usize = 8;

/// How many objects go between two notes of the state database.
const TOGETHER: usize = 256;

/// How many objects that stayed are told one by one.
const TOLD: usize = 100;

/// An object that was to go and stayed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LeftObject {
    /// Its key.
    pub key: String,
    /// Why it stayed.
    pub because: String,
}

/// What came of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ExpireOutcome {
    /// How many objects were removed.
    pub removed: u64,
    /// Their bytes.
    pub removed_bytes: u64,
    /// How many were gone already.
    pub absent: u64,
    /// How many the store refused to remove, such as locked ones.
    pub refused: u64,
    /// How many were left alone because they are others than were planned.
    pub changed: u64,
    /// How many could not be removed because the store failed.
    pub failed: u64,
    /// How many were not tried, because what makes their base backup one stayed.
    pub spared: u64,
    /// Those that stayed, at most a hundred.
    pub left: Vec<LeftObject>,
}

impl ExpireOutcome {
    /// Whether everything that was planned is gone.
    pub const fn is_complete(&self) -> bool {
        self.refused == 0 && self.changed == 0 && self.failed == 0 && self.spared == 0
    }

    fn stayed(&mut self, key: &str, because: String) {
        if self.left.len() < TOLD {
            self.left.push(LeftObject {
                key: key.to_owned(),
                because,
            });
        }
    }

    /// Counts what came of an object, and tells whether it is gone.
    fn count(&mut self, object: &PlannedObject, removal: Result<Removal, StorageError>) -> bool {
        match removal {
            Ok(Removal::Removed(_)) => {
                self.removed += 1;
                self.removed_bytes += object.size;
                return true;
            }
            Ok(Removal::Absent) => {
                self.absent += 1;
                return true;
            }
            Ok(Removal::Refused(cause)) => {
                self.refused += 1;
                self.stayed(&object.key, format!("the store refuses ({cause})"));
            }
            Ok(Removal::Changed) => {
                self.changed += 1;
                self.stayed(
                    &object.key,
                    "it is another object than was planned".to_owned(),
                );
            }
            Err(error) => {
                self.failed += 1;
                self.stayed(&object.key, error.to_string());
            }
        }
        false
    }

    fn spare(&mut self, objects: &[&PlannedObject], because: &str) {
        for object in objects {
            self.spared += 1;
            self.stayed(&object.key, because.to_owned());
        }
    }
}

/// Removes what a plan says, in its order. `confirmed` is the plan's digest, or its first
/// twelve digits or more. `on_progress` is told how many objects have been looked at.
///
/// A base backup whose marker stays keeps everything, with the WAL from its begin on.
/// Dropping the future stops the work; what is left is a copy from which every base backup
/// can be restored that still has its marker.
///
/// # Errors
/// The plan is not the one that was confirmed, there is an objection to it, or the state
/// database failed. What a store refused or could not do is told in the outcome.
pub async fn execute(
    repository: &Repository,
    plan: &ExpirePlan,
    confirmed: &str,
    ledger: Option<&ExpireLedger>,
    on_progress: &(dyn Fn(u64) + Sync),
) -> Result<ExpireOutcome, ExpireError> {
    plan.confirm(confirmed)?;
    let mut work = Work {
        store: DeletingStore::for_plan(repository.store()),
        ledger,
        outcome: ExpireOutcome::default(),
        looked_at: 0,
        on_progress,
    };
    let mut standing = Standing::None;
    let mut wal = Vec::new();
    let mut objects = plan.objects.iter().peekable();
    while let Some(object) = objects.next() {
        let class = repository.copy_class(&object.key);
        let Some(backup) = backup_of(&class) else {
            wal.push(object);
            continue;
        };
        let mut rest = Vec::new();
        let marker = matches!(class, CopyClass::Marker { .. });
        if !marker {
            rest.push(object);
        }
        let of_backup =
            |next: &&PlannedObject| backup_of(&repository.copy_class(&next.key)) == Some(backup);
        while let Some(next) = objects.next_if(of_backup) {
            rest.push(next);
        }
        if marker && !work.remove(&[object]).await? {
            work.outcome
                .spare(&rest, "what makes its base backup one stayed");
            standing = standing.and(plan, backup);
        } else {
            work.remove(&rest).await?;
        }
    }
    let needed = |object: &&&PlannedObject| match repository.copy_class(&object.key) {
        CopyClass::Wal(name) => standing.needs(plan, name),
        _ => true,
    };
    let (spared, going): (Vec<_>, Vec<_>) = wal.iter().partition(|object| needed(object));
    work.outcome.spare(
        &spared,
        "a base backup that was to go stayed, and may need it",
    );
    work.remove(&going).await?;
    Ok(work.outcome)
}

/// The base backup that an object belongs to.
const fn backup_of(class: &CopyClass) -> Option<&String> {
    match class {
        CopyClass::Marker { backup }
        | CopyClass::Annotation { backup }
        | CopyClass::Data { backup } => Some(backup),
        _ => None,
    }
}

/// From where the base backups that were to go and stayed need WAL.
#[derive(Clone, Copy, Debug)]
enum Standing {
    /// There is none.
    None,
    /// From this position on.
    From(Lsn),
    /// Nobody knows.
    Unknown,
}

impl Standing {
    fn and(self, plan: &ExpirePlan, backup: &str) -> Self {
        let planned = plan.backups.iter().find(|planned| planned.id == backup);
        match (self, planned.and_then(|planned| planned.begin_lsn)) {
            (Self::None, Some(begin)) => Self::From(begin),
            (Self::From(other), Some(begin)) => Self::From(begin.min(other)),
            _ => Self::Unknown,
        }
    }

    fn needs(self, plan: &ExpirePlan, name: WalFileName) -> bool {
        match (self, number_of(name, plan.wal.segment_size)) {
            (Self::None, _) => false,
            (Self::From(begin), Some(number)) => number >= plan.wal.segment_size.segment_of(begin),
            _ => true,
        }
    }
}

struct Work<'a> {
    store: DeletingStore,
    ledger: Option<&'a ExpireLedger>,
    outcome: ExpireOutcome,
    looked_at: u64,
    on_progress: &'a (dyn Fn(u64) + Sync),
}

impl Work<'_> {
    /// Removes objects, beginning in their order. Tells whether all are gone.
    async fn remove(&mut self, objects: &[&PlannedObject]) -> Result<bool, ExpireError> {
        let mut all = true;
        for objects in objects.chunks(TOGETHER) {
            if let Some(ledger) = self.ledger {
                ledger.note(objects, Utc::now()).await?;
            }
            let store = &self.store;
            let mut removals = futures::stream::iter(objects.iter().copied())
                .map(|object| async move {
                    let removal = store
                        .remove(&object.key, object.size, object.etag.as_deref())
                        .await;
                    (object, removal)
                })
                .buffered(PARALLEL);
            let mut left = Vec::new();
            while let Some((object, removal)) = removals.next().await {
                if !self.outcome.count(object, removal) {
                    left.push(object);
                }
                self.looked_at += 1;
                (self.on_progress)(self.looked_at);
            }
            drop(removals);
            if let Some(ledger) = self.ledger
                && !left.is_empty()
            {
                ledger.take_back(&left).await?;
            }
            all &= left.is_empty();
        }
        Ok(all)
    }
}
