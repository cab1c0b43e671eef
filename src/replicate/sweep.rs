//! What earlier runs began to write and were killed over. In a bucket such parts are in no
//! listing and cost money; in a directory they are files of a name that nobody else uses.

use std::collections::HashSet;

use chrono::{TimeDelta, Utc};

use super::copy::Work;
use super::queue::Queue;
use crate::storage::{DeleteOutcome, Scheme};

/// Removes unfinished writes of objects that are to be copied or were, if they were begun
/// before the options' time: nobody else writes these objects, and whoever does from another
/// machine has had that long. The caller holds the pair, so no other run of this state is at
/// it.
///
/// Trouble is logged, not told: nothing that can be recovered depends on it.
pub(super) async fn sweep(work: &Work, queue: &Queue) {
    let after = TimeDelta::from_std(work.options.abandoned_after).unwrap_or(TimeDelta::MAX);
    let Some(before) = Utc::now().checked_sub_signed(after) else {
        return;
    };
    let store = work.pair.target.store();
    let uploads = match store.abandoned_uploads("", before).await {
        Ok(uploads) => uploads,
        Err(error) => {
            tracing::debug!(%error, "unfinished uploads could not be listed");
            return;
        }
    };
    if uploads.is_empty() {
        return;
    }
    let ours: HashSet<&str> = queue.keys().collect();
    let directory = store.location().scheme() == Scheme::File;
    for upload in uploads {
        if !directory && !ours.contains(upload.key.as_str()) {
            // Copied meanwhile by a later run?
            let known = work.ledger.one(&upload.key).await;
            if !matches!(known, Ok(Some(_))) {
                continue;
            }
        }
        match store.abort_abandoned(&upload).await {
            Ok(DeleteOutcome::Deleted) => {
                tracing::info!(key = upload.key, begun = %upload.begun, "removed an unfinished upload");
            }
            Ok(other) => tracing::debug!(key = upload.key, ?other, "an unfinished upload stays"),
            Err(error) => tracing::debug!(%error, "an unfinished upload stays"),
        }
    }
}
