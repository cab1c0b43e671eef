//! Which stored definitions stay, and the removal of the others.

use chrono::{DateTime, TimeDelta, Utc};
use futures::TryStreamExt as _;

use super::{DefinitionError, folder};
use crate::kubernetes::definition::{Manifest, Stamp};
use crate::replicate::expire::{DeletingStore, Removal};
use crate::storage::Store;

/// What stays, whatever its age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// At least so many, the newest; one at least stays always. What was written anew, being the
    /// same, counts once.
    pub newest: usize,
    /// Everything that held at some moment within this time: what was captured in it, and the
    /// one before.
    pub within: TimeDelta,
}

/// What came of removing one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// How many objects went.
    pub objects: u64,
    /// What the store would not remove, and why.
    pub refused: Vec<String>,
}

/// Which of these go: those that are neither among the newest nor held at a moment of the
/// window. `stamps` sorted, the oldest first.
pub fn keep(stamps: &[Stamp], retention: Retention, now: DateTime<Utc>) -> Vec<Stamp> {
    let begin = now
        .checked_sub_signed(retention.within)
        .unwrap_or(DateTime::<Utc>::MIN_UTC);
    let newest = nth_newest(stamps, retention.newest.max(1));
    // The last one that was captured before the window held at its beginning.
    let held = stamps
        .iter()
        .rposition(|stamp| stamp.moment() <= begin)
        .unwrap_or(0);
    stamps.iter().take(newest.min(held)).cloned().collect()
}

/// Where the nth of the newest that differ lies. Of neighbours that are the same the newest counts:
/// the others are what it was written in place of.
fn nth_newest(stamps: &[Stamp], nth: usize) -> usize {
    let later = stamps.iter().skip(1).map(Some).chain([None]);
    let distinct: Vec<usize> = stamps
        .iter()
        .zip(later)
        .enumerate()
        .filter(|(_, (stamp, later))| later.is_none_or(|later| later.digest() != stamp.digest()))
        .map(|(at, _)| at)
        .collect();
    let before = distinct.len().saturating_sub(nth);
    distinct.get(before).copied().unwrap_or(0)
}

/// Removes one: its manifest first, so that it counts for nothing from then on.
///
/// # Errors
///
/// The store cannot be asked.
pub async fn remove(
    store: &Store,
    cluster: &str,
    stamp: &Stamp,
) -> Result<Removed, DefinitionError> {
    let place = format!("{}/{stamp}/", folder(cluster));
    let own = DeletingStore::for_own(store, &place);
    let entries: Vec<_> = store.list(&place).try_collect().await?;
    let manifest = format!("{place}{}", Manifest::FILE);
    let (first, rest): (Vec<_>, Vec<_>) =
        entries.into_iter().partition(|entry| entry.key == manifest);
    let mut removed = Removed {
        objects: 0,
        refused: Vec::new(),
    };
    for entry in first.into_iter().chain(rest) {
        match own
            .remove(&entry.key, entry.size, entry.etag.as_deref())
            .await?
        {
            Removal::Removed(_) => removed.objects += 1,
            Removal::Absent => {}
            Removal::Changed => {
                removed
                    .refused
                    .push(format!("{}: it is another object by now", entry.key));
                break;
            }
            Removal::Refused(why) => {
                removed.refused.push(format!("{}: {why}", entry.key));
                break;
            }
        }
    }
    // A bucket has no folders; in a directory an empty one would look like something begun.
    if let Some(root) = store.location().directory()
        && let Err(error) = tokio::fs::remove_dir(root.join(&place)).await
    {
        tracing::debug!(%error, place, "the folder stays");
    }
    Ok(removed)
}
