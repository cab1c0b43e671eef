//! The look at both sides just before a commit marker is copied: the marker is the claim
//! that a backup is whole, so nothing but the stores themselves is believed.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures::TryStreamExt;

use super::ledger::Ledger;
use super::{Pair, ReplicateError, arrival};
use crate::postgres::{SegmentName, WalFileName};
use crate::repository::{BackupStatus, CopyClass, Marker, NeededWal, Repository};
use crate::state::CopySide;
use crate::storage::{ObjectEntry, StorageError};

/// Whether a commit marker may be copied.
#[derive(Debug)]
pub(super) enum Gate {
    /// It may: these bytes.
    Open { entry: ObjectEntry, bytes: Bytes },
    /// It must wait, for this reason.
    Waits(String),
    /// More of the backup was found at the source.
    More(Vec<ObjectEntry>),
    /// The source holds it no longer.
    Gone,
}

/// Reads a commit marker of the source.
pub(super) async fn read_marker(
    repository: &Repository,
    key: &str,
) -> Result<Option<(ObjectEntry, Bytes, Result<Marker, String>)>, StorageError> {
    let read = arrival::read_small(repository.store(), key, Repository::MARKER_LIMIT).await;
    let (mut entry, bytes) = match read {
        Err(error) if error.is_not_found() => return Ok(None),
        read => read?,
    };
    key.clone_into(&mut entry.key);
    let marker = repository.read_marker(&bytes);
    Ok(Some((entry, bytes, marker)))
}

/// Why a marker that is not final has to wait.
pub(super) fn not_final(marker: &Result<Marker, String>) -> Option<String> {
    match marker {
        Ok(marker) if marker.is_final => None,
        Ok(marker) => Some(format!(
            "the backup is not finished (status {})",
            word(&marker.status)
        )),
        Err(reason) => Some(format!("its description cannot be read: {reason}")),
    }
}

fn word(status: &BackupStatus) -> &str {
    match status {
        BackupStatus::Done => "DONE",
        BackupStatus::Started => "STARTED",
        BackupStatus::Failed => "FAILED",
        BackupStatus::Other(word) => word,
        BackupStatus::Unknown => "unknown",
    }
}

/// Looks whether all that a marker claims is at the target. The marker is read before the
/// source's folder is listed: whatever a finished marker claims was there before it.
pub(super) async fn look(
    pair: &Pair,
    ledger: &Ledger,
    backup: &str,
    key: &str,
) -> Result<Gate, ReplicateError> {
    let Some((entry, bytes, marker)) = read_marker(&pair.source, key).await? else {
        return Ok(Gate::Gone);
    };
    if let Some(reason) = not_final(&marker) {
        return Ok(Gate::Waits(reason));
    }
    let folder = pair.source.backup_folder(backup);
    let here = listed(&pair.source, &folder).await?;
    let there = listed(&pair.target, &folder).await?;
    let mut more = Vec::new();
    let mut keys = Vec::new();
    for (name, entry) in here {
        if name == key {
            continue;
        }
        match there.get(&name) {
            None => more.push(entry),
            Some(copy) if copy.size != entry.size => {
                return Ok(Gate::Waits(format!(
                    "{name} has {} bytes at the source and {} at the target",
                    entry.size, copy.size
                )));
            }
            Some(_) => keys.push(name),
        }
    }
    if !more.is_empty() {
        return Ok(Gate::More(more));
    }
    ledger.flush().await;
    let known = ledger.lookup(&keys).await?;
    if let Some(wrong) = known.iter().find(|copy| {
        copy.alarm
            .as_ref()
            .is_some_and(|alarm| alarm.side != CopySide::Source)
    }) {
        return Ok(Gate::Waits(format!(
            "{} is another one at the target than at the source",
            wrong.key
        )));
    }
    if let Some(needs) = marker.ok().and_then(|marker| marker.needs)
        && let Some(missing) = first_missing(pair, needs).await?
    {
        return Ok(Gate::Waits(format!(
            "WAL that makes the backup consistent is not at the target yet: {missing}"
        )));
    }
    Ok(Gate::Open { entry, bytes })
}

async fn listed(
    repository: &Repository,
    folder: &str,
) -> Result<BTreeMap<String, ObjectEntry>, StorageError> {
    let entries: Vec<ObjectEntry> = repository.store().list(folder).try_collect().await?;
    Ok(entries
        .into_iter()
        .filter(|entry| repository.copy_class(&entry.key) != CopyClass::Folder)
        .map(|entry| (entry.key.clone(), entry))
        .collect())
}

/// The first segment that the target lacks of what a backup needs.
async fn first_missing(pair: &Pair, needs: NeededWal) -> Result<Option<SegmentName>, StorageError> {
    let mut present = BTreeSet::new();
    for follow in pair.target.wal_between(needs) {
        let mut entries = pair
            .target
            .store()
            .list_after(&follow.prefix, &follow.after);
        while let Some(entry) = entries.try_next().await? {
            if follow
                .until
                .as_ref()
                .is_some_and(|until| entry.key > *until)
            {
                break;
            }
            if let CopyClass::Wal(WalFileName::Segment(name)) = pair.target.copy_class(&entry.key)
                && name.timeline == needs.timeline
                && let Ok(number) = name.number(needs.segment_size)
            {
                present.insert(number);
            }
        }
    }
    let mut number = needs.first;
    while number <= needs.last {
        if !present.contains(&number) {
            return Ok(Some(SegmentName::new(
                needs.timeline,
                number,
                needs.segment_size,
            )));
        }
        number.0 += 1;
    }
    Ok(None)
}
