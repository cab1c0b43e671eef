//! A run that looks only where new objects appear: a handful of requests, however large the
//! repository is. Only after both sides were compared as a whole not long ago, with nothing
//! left to copy.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use futures::TryStreamExt;
use serde::{Deserialize, Serialize};

use super::copy::Work;
use super::diff::Missing;
use super::engine::work_off;
use super::prepare::prepare;
use super::run::take_worked;
use super::{Compared, CopiedReport, Ended, Incremental, ReplicateError, ReplicateReport, Tally};
use crate::finding::Severity;
use crate::repository::{CopyClass, LiveFolders};

/// Where the last run left off.
#[derive(Debug, Serialize, Deserialize)]
struct Front {
    live: LiveFolders,
    /// Backups that were not whole at the target.
    open: Vec<String>,
}

/// Remembers where a run that left nothing undone ended; or that one did leave something.
/// After one that found something wrong the next compares as a whole, too: it alone can tell
/// whether that is over.
pub(super) async fn remember(
    work: &Work,
    report: &ReplicateReport,
    live: &LiveFolders,
    open: Vec<String>,
) -> Result<(), ReplicateError> {
    let sound = report
        .worst_severity()
        .is_none_or(|worst| worst < Severity::Warning);
    let whole = report.ended == Ended::Complete && report.failures.is_empty() && sound;
    let compared_at = report
        .incremental
        .as_ref()
        .map_or(report.started_at, |incremental| incremental.compared_at);
    let front = Front {
        live: live.clone(),
        open,
    };
    let text = whole.then(|| serde_json::to_string(&front).ok()).flatten();
    work.ledger.keep_front(compared_at, text.as_deref()).await?;
    Ok(())
}

/// Copies what is new; `None` if both sides must be compared as a whole.
pub(super) async fn incremental(
    work: &Arc<Work>,
    every: Duration,
) -> Result<Option<ReplicateReport>, ReplicateError> {
    let started_at = Utc::now();
    let Some((compared_at, text)) = work.ledger.front().await? else {
        return Ok(None);
    };
    let young = (started_at - compared_at)
        .to_std()
        .is_ok_and(|age| age < every);
    let Some(mut front) = serde_json::from_str::<Front>(&text).ok().filter(|_| young) else {
        return Ok(None);
    };
    let pair = &work.pair;
    let listing = async {
        let mut listed = Vec::new();
        for follow in front.live.follow(front.open.iter().map(String::as_str)) {
            let store = pair.source.store();
            let mut entries = store.list_after(&follow.prefix, &follow.after);
            while let Some(entry) = entries.try_next().await? {
                if follow
                    .until
                    .as_ref()
                    .is_some_and(|until| entry.key > *until)
                {
                    break;
                }
                if pair.source.copy_class(&entry.key) != CopyClass::Folder {
                    listed.push(entry);
                }
            }
        }
        Ok(listed)
    };
    let listed = work.unless_stopped(listing).await?;
    let mut looked = Tally::default();
    for entry in &listed {
        looked.add(entry.size);
    }
    let keys: Vec<String> = listed.iter().map(|entry| entry.key.clone()).collect();
    let known: std::collections::HashSet<String> = work
        .ledger
        .lookup(&keys)
        .await?
        .into_iter()
        .map(|copy| copy.key)
        .collect();
    let mut missing = Tally::default();
    let new: Vec<Missing> = listed
        .into_iter()
        .filter(|entry| !known.contains(&entry.key))
        .map(|entry| {
            missing.add(entry.size);
            front.live.note(&entry.key);
            Missing {
                entry,
                vanished: false,
            }
        })
        .collect();
    let preparing = prepare(pair, new, Vec::new());
    let mut prepared = work.unless_stopped(preparing).await?;
    let to_copy = prepared.queue.tallies().total();
    work.meter.expect(to_copy.objects, to_copy.bytes);
    let (worked, ended) = work_off(work, &mut prepared.queue, None).await?;
    let open: Vec<String> = prepared
        .open
        .into_iter()
        .chain(worked.open.iter().cloned())
        .collect();
    let mut report = ReplicateReport {
        schema: ReplicateReport::SCHEMA,
        cluster: work.options.cluster.clone(),
        copy: work.options.copy.clone(),
        source: pair.source_url(),
        target: pair.target_url(),
        started_at,
        finished_at: Utc::now(),
        ended,
        incremental: Some(Incremental {
            compared_at,
            looked_at: looked,
        }),
        compared: Compared {
            missing,
            ..Compared::default()
        },
        copied: CopiedReport::default(),
        left: prepared.queue.tallies(),
        waiting: prepared.waiting,
        failures: Vec::new(),
        findings: Vec::new(),
        trouble: None,
    };
    report.failures = take_worked(&mut report, worked);
    remember(work, &report, &front.live, open).await?;
    Ok(Some(report))
}
