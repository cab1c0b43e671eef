//! The objects that go, in the order in which they go.

use std::collections::{BTreeMap, BTreeSet};

use futures::TryStreamExt;

use super::decide::PlannedBackup;
use super::plan::{ExpirePlan, PlannedObject, PlannedWal};
use super::wal_cut::WalCut;
use crate::postgres::SegmentNumber;
use crate::repository::{Catalog, CopyClass, Repository};
use crate::storage::{ObjectEntry, StorageError};

/// In which order objects go: every base backup for itself, oldest first, then the WAL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// Of the base backup with this place in the plan.
    Backup(usize, Part),
    /// WAL, oldest first.
    Wal(SegmentNumber),
}

/// In which order the objects of a base backup go. Without its marker it is none any more, so
/// whoever looks meanwhile does not take it for whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Marker,
    Annotation,
    Data,
}

/// What goes.
#[derive(Debug, Default)]
pub(super) struct Collected {
    steps: BTreeMap<(Step, String), PlannedObject>,
    /// How many more there are than one plan holds.
    pub(super) left_out: u64,
}

impl Collected {
    /// In the order in which they go.
    pub(super) fn into_objects(self) -> Vec<PlannedObject> {
        self.steps.into_values().collect()
    }

    fn add(&mut self, step: Step, entry: ObjectEntry) {
        let object = PlannedObject {
            key: entry.key.clone(),
            size: entry.size,
            etag: entry.etag,
            modified: entry.last_modified,
        };
        self.steps.insert((step, entry.key), object);
        if self.steps.len() > ExpirePlan::LIMIT {
            // The last to go can wait for the next plan.
            self.steps.pop_last();
            self.left_out += 1;
        }
    }
}

/// The ids of the base backups that carry an annotation, among these objects.
pub(super) fn annotated(repository: &Repository, entries: &[ObjectEntry]) -> BTreeSet<String> {
    entries
        .iter()
        .filter_map(|entry| match repository.copy_class(&entry.key) {
            CopyClass::Annotation { backup } => Some(backup),
            _ => None,
        })
        .collect()
}

/// Lists once more and takes what goes. Counts it into the planned base backups and WAL.
pub(super) async fn collect(
    repository: &Repository,
    catalog: &Catalog,
    planned: &mut [PlannedBackup],
    cut: &WalCut,
    wal: &mut PlannedWal,
) -> Result<Collected, StorageError> {
    let mut collected = Collected::default();
    let going: BTreeMap<String, usize> = planned
        .iter()
        .enumerate()
        .filter(|(_, backup)| !backup.stays)
        .map(|(index, backup)| (backup.id.clone(), index))
        .collect();
    for index in going.values() {
        if let Some(backup) = planned.get_mut(*index) {
            (backup.objects, backup.bytes) = (0, 0);
        }
    }
    let mut entries = repository.store().list("");
    while let Some(entry) = entries.try_next().await? {
        let (backup, part) = match repository.copy_class(&entry.key) {
            CopyClass::Marker { backup } => (backup, Part::Marker),
            CopyClass::Annotation { backup } => (backup, Part::Annotation),
            CopyClass::Data { backup } => (backup, Part::Data),
            CopyClass::Wal(name) => {
                if let Some(number) = cut.takes_file(catalog, name) {
                    wal.objects += 1;
                    wal.bytes += entry.size;
                    collected.add(Step::Wal(number), entry);
                }
                continue;
            }
            CopyClass::History | CopyClass::Other | CopyClass::Folder => continue,
        };
        if let Some(index) = going.get(&backup)
            && let Some(planned) = planned.get_mut(*index)
        {
            planned.objects += 1;
            planned.bytes += entry.size;
            collected.add(Step::Backup(*index, part), entry);
        }
    }
    Ok(collected)
}
