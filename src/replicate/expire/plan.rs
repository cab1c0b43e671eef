//! The plan: what goes, what stays, and why.

use std::collections::BTreeSet;

use chrono::{DateTime, SubsecRound as _, Utc};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::mpsc;

use super::collect::{annotated, collect};
use super::decide::{Marks, PlannedBackup, Reason, decide, taken};
use super::digest;
use super::error::ExpireError;
use super::judge::judge;
use super::policy::{ExpireOptions, ExpirePolicy};
use super::remaining::objection;
use super::remember::ExpireLedger;
use super::wal_cut::WalCut;
use crate::postgres::{SegmentSize, TimelineId};
use crate::repository::{BackupStatus, Catalog, Repository};
use crate::storage::ObjectEntry;
use crate::verify::verify_catalog;
use crate::verify::words::{count, length};

/// Batches of a listing that wait to be looked at.
const BATCHES: usize = 2;

/// One object that goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PlannedObject {
    /// Its key, relative to the repository.
    pub key: String,
    /// Its size in bytes.
    pub size: u64,
    /// The store's entity tag.
    pub etag: Option<String>,
    /// When it was written.
    pub modified: DateTime<Utc>,
}

/// The WAL that goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PlannedWal {
    /// Segments before this one go, on whatever timeline: its name without the timeline's
    /// eight digits. `None` if all stays.
    pub before: Option<String>,
    /// Why all WAL stays.
    pub stays_because: Option<String>,
    /// The size in bytes by which segments are numbered.
    pub segment_size: SegmentSize,
    /// How many objects go.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What goes, what stays, and why. Nothing has been removed.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ExpirePlan {
    /// The cluster's name, when the configuration knows it.
    pub cluster: Option<String>,
    /// The copy's name.
    pub copy: Option<String>,
    /// The copy's URL.
    pub location: String,
    /// When it was looked at.
    pub checked_at: DateTime<Utc>,
    /// What is kept.
    pub policy: ExpirePolicy,
    /// The earliest moment that must stay recoverable.
    pub since: DateTime<Utc>,
    /// Every base backup, oldest first.
    pub backups: Vec<PlannedBackup>,
    /// The WAL that goes.
    pub wal: PlannedWal,
    /// Every object that goes, in the order in which it goes.
    pub objects: Vec<PlannedObject>,
    /// The sum of their bytes.
    pub bytes: u64,
    /// What else there is to know.
    pub notes: Vec<String>,
    /// Why the plan is not carried out, whoever confirms it.
    pub objection: Option<String>,
    /// SHA-256 of what goes; confirms the plan.
    pub digest: String,
}

impl ExpirePlan {
    /// How many objects go by one plan; what is left goes by the next.
    pub const LIMIT: usize = 250_000;

    /// Whether nothing goes.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// How many base backups go.
    pub fn going(&self) -> u64 {
        self.backups.iter().filter(|backup| !backup.stays).count() as u64
    }

    /// Whether this digest, or its first twelve digits or more, is the plan's, and the plan
    /// may be carried out.
    pub fn confirm(&self, digest: &str) -> Result<(), ExpireError> {
        if let Some(objection) = &self.objection {
            return Err(ExpireError::Objection(objection.clone()));
        }
        digest::confirm(&self.digest, digest)
    }
}

/// Makes a plan for a copy: lists and verifies it at depth `listed`, decides, and looks at
/// what would remain. Nothing is written. The ledger tells what an earlier run began.
pub async fn plan(
    repository: &Repository,
    options: &ExpireOptions,
    ledger: Option<&ExpireLedger>,
) -> Result<ExpirePlan, ExpireError> {
    let (catalog, annotated) = look(repository).await?;
    let mut marks = Marks {
        annotated,
        begun: BTreeSet::new(),
    };
    if let Some(ledger) = ledger {
        let bare = catalog.backups.iter().filter(|backup| {
            backup.status == BackupStatus::Unknown && backup.info_sha256.is_none()
        });
        marks.begun = ledger.begun(bare).await?;
    }
    let report = verify_catalog(repository, &catalog, &options.verify, &|_| {}).await?;
    let usability = judge(repository, &catalog, &report, &options.remembered);
    let now = options.verify.now;
    let ages = (now, options.verify.started_too_long);
    let mut backups = decide(&catalog, &usability, &marks, &options.policy, ages);
    let cut = WalCut::of(&catalog, &backups);
    let objection = objection(&catalog, &backups, &cut, &options.verify);
    let mut wal = PlannedWal {
        before: cut.before.map(|number| {
            let name = catalog.wal.name(TimelineId(0), number).to_string();
            name.get(8..).unwrap_or_default().to_owned()
        }),
        stays_because: cut.stays_because.clone(),
        segment_size: catalog.wal.segment_size,
        ..PlannedWal::default()
    };
    let mut notes = notes(&catalog, &backups, options);
    let collected = collect(repository, &catalog, &mut backups, &cut, &mut wal).await?;
    if collected.left_out > 0 {
        notes.push(format!(
            "{} more go by the next plan",
            count(collected.left_out, "object")
        ));
    }
    let objects = if objection.is_some() {
        Vec::new()
    } else {
        collected.into_objects()
    };
    let place = match repository.store().endpoint() {
        Some(endpoint) => format!("{} {endpoint}", catalog.location),
        None => catalog.location.clone(),
    };
    Ok(ExpirePlan {
        cluster: options.cluster.clone(),
        copy: options.copy.clone(),
        location: catalog.location.clone(),
        checked_at: now,
        policy: options.policy,
        since: options.policy.since(now).trunc_subsecs(0),
        backups,
        wal,
        bytes: objects.iter().map(|object| object.size).sum(),
        digest: digest::of(&place, &objects),
        objects,
        notes,
        objection,
    })
}

/// The catalog, and the base backups that carry an annotation of any kind.
async fn look(repository: &Repository) -> Result<(Catalog, BTreeSet<String>), ExpireError> {
    let (sender, mut batches) = mpsc::channel::<Vec<ObjectEntry>>(BATCHES);
    let watched = repository.clone();
    let watching = tokio::spawn(async move {
        let mut ids = BTreeSet::new();
        while let Some(batch) = batches.recv().await {
            ids.extend(annotated(&watched, &batch));
        }
        ids
    });
    let catalog = repository.catalog_shown_to(Some(sender)).await?;
    Ok((catalog, watching.await?))
}

fn notes(catalog: &Catalog, backups: &[PlannedBackup], options: &ExpireOptions) -> Vec<String> {
    let mut notes = Vec::new();
    let keep = options.policy.keep;
    if let Some(retention) = options.verify.retention
        && keep.as_chrono() < retention
    {
        notes.push(format!(
            "this copy keeps {keep}, less than the tier's retention of {}",
            length(retention)
        ));
    }
    let newest = catalog.backups.iter().filter_map(taken).max();
    let since = options.policy.since(options.verify.now);
    if let Some(newest) = newest.filter(|newest| *newest <= since) {
        notes.push(format!(
            "the newest base backup is {} old: does this copy still follow its source?",
            length(options.verify.now - newest)
        ));
    }
    if backups
        .iter()
        .all(|backup| backup.reason != Reason::GivesWindow)
        && backups.iter().any(|backup| !backup.stays)
    {
        notes.push(format!(
            "no usable base backup is as old as {keep}: the time that is kept is not filled yet"
        ));
    }
    notes
}
