//! Which base backups go.

use std::collections::BTreeSet;

use chrono::{DateTime, Duration, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use super::judge::Usability;
use super::policy::ExpirePolicy;
use crate::postgres::Lsn;
use crate::repository::{BackupStatus, BaseBackup, Catalog, Keep};
use crate::verify::words::utc;

/// Why a base backup stays or goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// Stays: annotated to be kept with all WAL since.
    KeptFull,
    /// Stays: annotated to be kept with the WAL that makes it consistent.
    KeptStandalone,
    /// Stays: it carries an annotation that nobody here understands.
    AnnotationUnknown,
    /// Stays: it was taken within the time that is kept.
    WithinWindow,
    /// Stays: the newest usable one from before that time, which gives its first moments.
    GivesWindow,
    /// Stays: without it there would be fewer usable ones than the policy asks for.
    MinimumRedundancy,
    /// Stays: it may still be running, or on its way here.
    Young,
    /// Stays: nothing tells when it was taken.
    AgeUnknown,
    /// Stays: it cannot be used as it is, but no newer usable one has taken its place.
    NotReplaced,
    /// Goes: a newer one gives every moment that is kept.
    Obsolete,
    /// Goes: it cannot be used, and a newer one gives every moment that is kept.
    Unusable,
    /// Goes: an earlier run began to remove it.
    Begun,
}

impl Reason {
    /// Whether a base backup stays for this reason.
    pub const fn stays(self) -> bool {
        !matches!(self, Self::Obsolete | Self::Unusable | Self::Begun)
    }
}

/// A base backup and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PlannedBackup {
    /// Its id.
    pub id: String,
    /// What the tool that made it says.
    pub status: BackupStatus,
    /// When it began.
    pub begin_time: Option<DateTime<Utc>>,
    /// When it ended.
    pub end_time: Option<DateTime<Utc>>,
    /// From where it needs WAL.
    pub begin_lsn: Option<Lsn>,
    /// Protection from expiry.
    pub keep: Option<Keep>,
    /// Whether it can be restored, as far as names, sizes and remembered damage tell.
    pub usable: bool,
    /// Why not.
    pub trouble: Option<String>,
    /// Whether it stays.
    pub stays: bool,
    /// Why it stays or goes.
    pub reason: Reason,
    /// The same in a sentence.
    pub because: String,
    /// How many objects it has; of one that stays only its archives and description.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What is known of base backups by their ids, beside the catalog.
#[derive(Clone, Debug, Default)]
pub(super) struct Marks {
    /// Those that carry an annotation of any kind.
    pub(super) annotated: BTreeSet<String>,
    /// Those without a description that an earlier run began to remove.
    pub(super) begun: BTreeSet<String>,
}

/// Decides of every base backup of a catalog, oldest first. An unfinished one younger than
/// `young` stays.
pub(super) fn decide(
    catalog: &Catalog,
    usability: &Usability,
    marks: &Marks,
    policy: &ExpirePolicy,
    (now, young): (DateTime<Utc>, Duration),
) -> Vec<PlannedBackup> {
    let since = policy.since(now);
    let usable = |backup: &&BaseBackup| usability.get(&backup.id).is_some_and(Option::is_none);
    // One that is kept standalone may have lost the WAL after its end long ago.
    let anchor = catalog
        .backups
        .iter()
        .filter(usable)
        .filter(|backup| backup.keep != Some(Keep::Standalone))
        .filter(|backup| backup.end_time.is_some_and(|end| end <= since))
        .max_by_key(|backup| backup.end_time);
    let first = |backup: &BaseBackup| {
        let age = taken(backup);
        match backup.keep {
            Some(Keep::Full) => Reason::KeptFull,
            Some(Keep::Standalone) => Reason::KeptStandalone,
            None if marks.annotated.contains(&backup.id) => Reason::AnnotationUnknown,
            None if marks.begun.contains(&backup.id) => Reason::Begun,
            None if anchor.is_some_and(|anchor| anchor.id == backup.id) => Reason::GivesWindow,
            None if age.is_none() => Reason::AgeUnknown,
            None if age.is_some_and(|age| age > since) => Reason::WithinWindow,
            None if is_unfinished(backup) && age.is_none_or(|age| now - age <= young) => {
                Reason::Young
            }
            None if usable(&backup) => Reason::Obsolete,
            None if anchor.is_none_or(|anchor| age >= anchor.end_time) => Reason::NotReplaced,
            None => Reason::Unusable,
        }
    };
    let mut decided: Vec<(&BaseBackup, Reason)> = catalog
        .backups
        .iter()
        .map(|backup| (backup, first(backup)))
        .collect();
    keep_enough(&mut decided, &usable, policy);
    decided.sort_by(|(a, _), (b, _)| taken(a).cmp(&taken(b)).then_with(|| a.id.cmp(&b.id)));
    decided
        .into_iter()
        .map(|(backup, reason)| describe(backup, reason, usability, since))
        .collect()
}

/// Takes the newest of those that would go back until there are enough.
fn keep_enough(
    decided: &mut [(&BaseBackup, Reason)],
    usable: &impl Fn(&&BaseBackup) -> bool,
    policy: &ExpirePolicy,
) {
    let counts = |(backup, reason): &(&BaseBackup, Reason)| {
        reason.stays() && usable(backup) && backup.keep != Some(Keep::Standalone)
    };
    let wanted = usize::try_from(policy.minimum_redundancy.max(1)).unwrap_or(usize::MAX);
    let there = decided.iter().filter(|one| counts(one)).count();
    let mut going: Vec<&mut (&BaseBackup, Reason)> = decided
        .iter_mut()
        .filter(|(_, reason)| *reason == Reason::Obsolete)
        .collect();
    going.sort_by_key(|(backup, _)| std::cmp::Reverse(backup.end_time));
    for (_, reason) in going.into_iter().take(wanted.saturating_sub(there)) {
        *reason = Reason::MinimumRedundancy;
    }
}

/// When it was taken: as described, else when its newest object was stored here. The id is
/// not asked: what lies here without a description may be on its way.
pub(super) fn taken(backup: &BaseBackup) -> Option<DateTime<Utc>> {
    let stored = || {
        let times = backup.archives.iter().map(|archive| archive.last_modified);
        times.max()
    };
    backup.end_time.or(backup.begin_time).or_else(stored)
}

const fn is_unfinished(backup: &BaseBackup) -> bool {
    !matches!(backup.status, BackupStatus::Done | BackupStatus::Failed)
}

fn describe(
    backup: &BaseBackup,
    reason: Reason,
    usability: &Usability,
    since: DateTime<Utc>,
) -> PlannedBackup {
    let trouble = usability.get(&backup.id).cloned().flatten();
    let because = match reason {
        Reason::KeptFull => "annotated to be kept, with all WAL since".to_owned(),
        Reason::KeptStandalone => {
            "annotated to be kept, with the WAL that makes it consistent".to_owned()
        }
        Reason::AnnotationUnknown => {
            "it carries an annotation that says neither full nor standalone".to_owned()
        }
        Reason::WithinWindow => format!("taken after {}", utc(since)),
        Reason::GivesWindow => {
            format!(
                "the newest usable one before {}: it gives what comes after",
                utc(since)
            )
        }
        Reason::MinimumRedundancy => "the policy asks for so many usable ones".to_owned(),
        Reason::Young => "it may still be running or on its way here".to_owned(),
        Reason::AgeUnknown => "nothing tells when it was taken".to_owned(),
        Reason::NotReplaced => {
            "it cannot be used as it is, but no newer usable one has taken its place".to_owned()
        }
        Reason::Obsolete => "a newer one gives every moment that is kept".to_owned(),
        Reason::Begun => "an earlier run began to remove it".to_owned(),
        Reason::Unusable => match &trouble {
            Some(trouble) => {
                format!("a newer one took its place, and it cannot be used: {trouble}")
            }
            None => "a newer one took its place, and it cannot be used".to_owned(),
        },
    };
    PlannedBackup {
        id: backup.id.clone(),
        status: backup.status.clone(),
        begin_time: backup.begin_time,
        end_time: backup.end_time,
        begin_lsn: backup.begin_lsn,
        keep: backup.keep,
        usable: trouble.is_none() && usability.contains_key(&backup.id),
        trouble,
        stays: reason.stays(),
        reason,
        because,
        objects: backup.archives.len() as u64 + u64::from(backup.info_bytes.is_some()),
        bytes: backup.stored_bytes() + backup.info_bytes.unwrap_or_default(),
    }
}
