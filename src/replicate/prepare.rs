//! From differences to what is to be copied.

use futures::StreamExt;

use super::diff::Missing;
use super::gate::{not_final, read_marker};
use super::judge::Unfinished;
use super::queue::{Queue, marker_item};
use super::{Pair, ReplicateError, Waiting};
use crate::repository::CopyClass;
use crate::storage::ObjectEntry;

/// How many commit markers are read at once.
const PARALLEL: usize = 8;

/// What is to be copied, and what waits.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    pub(super) queue: Queue,
    pub(super) waiting: Vec<Waiting>,
    /// Backups at the source that are not finished.
    pub(super) open: Vec<String>,
    /// Objects that were copied before and vanished from the target.
    pub(super) vanished: Vec<String>,
}

/// Sorts what is missing into a queue. Commit markers are read; those that are not final
/// wait.
pub(super) async fn prepare(
    pair: &Pair,
    missing: Vec<Missing>,
    unfinished: Vec<Unfinished>,
) -> Result<Prepared, ReplicateError> {
    let mut prepared = Prepared::default();
    let mut markers: Vec<(String, ObjectEntry, Option<String>)> = Vec::new();
    for Missing { entry, vanished } in missing {
        if vanished {
            prepared.vanished.push(entry.key.clone());
        }
        match pair.source.copy_class(&entry.key) {
            CopyClass::Marker { backup } => markers.push((backup, entry, None)),
            class => prepared.queue.add(class, entry),
        }
    }
    for Unfinished {
        backup,
        source,
        etag,
    } in unfinished
    {
        markers.push((backup, source, etag));
    }
    let mut read = futures::stream::iter(markers)
        .map(|(backup, entry, etag)| async move {
            let read = read_marker(&pair.source, &entry.key).await;
            (backup, entry, etag, read)
        })
        .buffered(PARALLEL);
    while let Some((backup, listed, etag, read)) = read.next().await {
        let Some((entry, _, marker)) = read? else {
            continue;
        };
        let reason = not_final(&marker);
        match (marker, reason) {
            (Ok(marker), None) => prepared
                .queue
                .add_marker(marker_item(backup, &entry, &marker, etag)),
            (_, reason) => {
                prepared.waiting.push(Waiting {
                    object: listed.key,
                    reason: reason.unwrap_or_default(),
                });
                prepared.open.push(backup);
            }
        }
    }
    drop(read);
    prepared.queue.sort();
    Ok(prepared)
}
