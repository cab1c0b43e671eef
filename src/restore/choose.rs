//! Which base backup and which timeline a target is reached from.

use std::convert::Infallible;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::extract::check_restorable;
use super::progress::Watch;
use super::resolve::{Attempt, ResolvedTarget};
use super::resolve_error::ResolveError;
use super::target::Target;
use crate::postgres::{Lsn, TimelineHistory, TimelineId};
use crate::repository::{BaseBackup, Catalog, Repository};
use crate::verify::backups::{Way, assess};
use crate::verify::bad_segments::BadSegments;
use crate::verify::objects::system_id;
use crate::verify::path::SegmentPath;
use crate::verify::{Timelines, VerifyOptions, words};

/// Which base backup to restore from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BackupChoice {
    /// The newest one from which the target is reached.
    #[default]
    Auto,
    /// This one.
    Id(String),
}

impl FromStr for BackupChoice {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "auto" | "latest" => Self::Auto,
            id => Self::Id(id.to_owned()),
        })
    }
}

/// What a person wants to have back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Where recovery shall end.
    pub target: Target,
    /// From which backup.
    pub backup: BackupChoice,
    /// On which timeline; without it the current one.
    pub timeline: Option<TimelineId>,
}

/// A backup that was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PassedOver {
    /// Its id.
    pub id: String,
    /// Why.
    pub reason: String,
}

/// How a wish is fulfilled.
#[derive(Clone, Debug, Serialize)]
pub struct Choice {
    /// The backup.
    pub backup: BaseBackup,
    /// The timeline and the way there.
    pub history: TimelineHistory,
    /// The stop.
    pub resolved: ResolvedTarget,
    /// Newer or unusable backups that were not taken.
    pub passed_over: Vec<PassedOver>,
}

/// Finds the backup for a wish and resolves its target. With [`BackupChoice::Auto`] the
/// newest usable backup that is consistent before the target wins: it replays least.
pub async fn choose(
    repository: &Repository,
    catalog: &Catalog,
    wish: &Wish,
    watch: &Watch,
) -> Result<Choice, ResolveError> {
    let history = history(catalog, wish)?;
    let mut passed_over = Vec::new();
    let candidates = candidates(catalog, wish, &history, &mut passed_over)?;
    let mut newer_begin: Option<Lsn> = None;
    let mut first_error: Option<ResolveError> = None;
    for backup in candidates {
        let attempt = Attempt {
            repository,
            catalog,
            backup,
            history: &history,
            target: &wish.target,
            // What lies further on has been looked at from the newer backup.
            give_up_at: newer_begin,
        };
        match Box::pin(attempt.run(watch)).await {
            Ok(resolved) => {
                return Ok(Choice {
                    backup: backup.clone(),
                    history,
                    resolved,
                    passed_over,
                });
            }
            Err(error) if wish.backup == BackupChoice::Auto && older_may_do(&error) => {
                passed_over.push(PassedOver {
                    id: backup.id.clone(),
                    reason: error.to_string(),
                });
                // The newest backup saw most of the archive: its words explain most.
                first_error.get_or_insert(error);
                // A restore point or transaction during the newer backup is reachable
                // from the older one only, so look up to that backup's end.
                newer_begin = backup.end_lsn.or(backup.begin_lsn);
            }
            Err(error) => return Err(error),
        }
    }
    Err(first_error.unwrap_or_else(|| ResolveError::NoBackup(no_candidate(wish, &passed_over))))
}

/// Whether an older backup may still reach the target.
fn older_may_do(error: &ResolveError) -> bool {
    matches!(
        error,
        ResolveError::BeforeConsistency { .. }
            | ResolveError::TargetUnreachable {
                may_lie_before: true,
                ..
            }
    )
}

pub(super) fn history(catalog: &Catalog, wish: &Wish) -> Result<TimelineHistory, ResolveError> {
    let missing = |timeline| {
        let object = catalog.wal.histories.get(&timeline);
        ResolveError::HistoryMissing {
            timeline,
            unreadable: object.and_then(|object| {
                let why = object.history.as_ref().err()?;
                Some((object.key.clone(), why.clone()))
            }),
        }
    };
    let Some(timeline) = wish.timeline else {
        let timelines = Timelines::of(catalog);
        if let Some(timeline) = timelines.unreachable_above() {
            return Err(missing(timeline));
        }
        // Staying short of WAL that is there would look like a whole recovery.
        return match timelines.contested_by {
            Some(other) => Err(ResolveError::TimelineContested {
                newest: timelines.current.timeline,
                other,
            }),
            None => Ok(timelines.current),
        };
    };
    let wal = &catalog.wal;
    let known = wal.timelines.contains_key(&timeline)
        || wal.histories.contains_key(&timeline)
        || catalog
            .backups
            .iter()
            .any(|backup| backup.timeline == Some(timeline));
    if !known {
        return Err(ResolveError::Timeline {
            timeline,
            why: "there is no trace of it".to_owned(),
        });
    }
    wal.history(timeline).ok_or_else(|| missing(timeline))
}

/// The backups to try, newest first.
pub(super) fn candidates<'a>(
    catalog: &'a Catalog,
    wish: &Wish,
    history: &TimelineHistory,
    passed_over: &mut Vec<PassedOver>,
) -> Result<Vec<&'a BaseBackup>, ResolveError> {
    let path = SegmentPath::new(history, catalog.wal.segment_size);
    let bad = BadSegments::of(&catalog.wal);
    let way = Way {
        catalog,
        history,
        path: &path,
        bad: &bad,
    };
    let options = VerifyOptions::default();
    let judge = |backup: &BaseBackup| -> Option<String> {
        let assessment = assess(way, backup, system_id(catalog), &options);
        if !assessment.usable {
            return Some(assessment.reasons.join("; "));
        }
        check_restorable(backup)
            .err()
            .map(|error| error.to_string())
    };
    if let BackupChoice::Id(id) = &wish.backup {
        let Some(backup) = catalog.backup(id) else {
            let known: Vec<&str> = catalog
                .backups
                .iter()
                .rev()
                .take(10)
                .map(|backup| backup.id.as_str())
                .collect();
            return Err(ResolveError::NoBackup(format!(
                "there is no backup {id:?}; the newest are: {}",
                if known.is_empty() {
                    "none".to_owned()
                } else {
                    known.join(", ")
                }
            )));
        };
        return match judge(backup) {
            None => Ok(vec![backup]),
            Some(reason) => Err(ResolveError::NoBackup(format!("backup {id}: {reason}"))),
        };
    }
    let mut usable = Vec::new();
    let mut oldest_too_new = None;
    for backup in catalog.backups.iter().rev() {
        let unusable = judge(backup);
        let good = unusable.is_none();
        match unusable.or_else(|| too_new(backup, &wish.target)) {
            None => usable.push(backup),
            Some(reason) => {
                if good {
                    oldest_too_new = Some((backup.id.clone(), reason.clone()));
                }
                passed_over.push(PassedOver {
                    id: backup.id.clone(),
                    reason,
                });
            }
        }
    }
    match oldest_too_new {
        // There are good base backups: the target is what is wrong.
        Some((backup, reason)) if usable.is_empty() => Err(ResolveError::TargetUnreachable {
            target: wish.target.clone(),
            backup,
            why: format!(
                "{reason}, and there is no older base backup that can be used; choose a later target"
            ),
            may_lie_before: false,
            findings: Vec::new(),
        }),
        _ => Ok(usable),
    }
}

/// Why a backup certainly lies behind the target. A clock may err, so a time close to
/// the backup's end is left to the WAL to decide.
fn too_new(backup: &BaseBackup, target: &Target) -> Option<String> {
    match target {
        Target::Lsn { lsn, .. } => backup
            .end_lsn
            .filter(|end| end > lsn)
            .map(|end| format!("it is consistent only at {end}, after the target")),
        Target::Time(time) => backup
            .end_time
            .filter(|end| *end > *time + chrono::Duration::minutes(5))
            .map(|end| format!("it ended at {}, after the target", words::utc(end))),
        Target::Tip | Target::Xid { .. } | Target::Name(_) | Target::Immediate => None,
    }
}

fn no_candidate(wish: &Wish, passed_over: &[PassedOver]) -> String {
    if passed_over.is_empty() {
        return "the repository holds none".to_owned();
    }
    let reasons: Vec<String> = passed_over
        .iter()
        .take(5)
        .map(|passed| format!("{}: {}", passed.id, passed.reason))
        .collect();
    format!(
        "none of {} can be used for target {} ({})",
        passed_over.len(),
        wish.target,
        reasons.join("; ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::{
        Catalog, HistoryObject, Layout, SegmentRun, UnknownObjects, WalInventory,
    };

    /// Timeline 1 with segments 1 to 20, and a history file of timeline 2 that leaves it
    /// in segment 10.
    fn catalog() -> Catalog {
        let mut wal = WalInventory::default();
        wal.timelines.entry(TimelineId(1)).or_default().runs = vec![SegmentRun {
            first: crate::postgres::SegmentNumber(1),
            last: crate::postgres::SegmentNumber(20),
            codec: crate::codec::Codec::None,
        }];
        let history = TimelineHistory::parse(TimelineId(2), b"1\t0/A000148\tx\n").unwrap();
        wal.histories.insert(
            TimelineId(2),
            HistoryObject {
                key: "wals/00000002.history".into(),
                codec: crate::codec::Codec::None,
                history: Ok(history),
            },
        );
        Catalog {
            layout: Layout::BarmanCloud,
            location: "file:///srv/orders".into(),
            listed_at: chrono::Utc::now(),
            objects: 21,
            bytes: 1,
            backups: Vec::new(),
            wal,
            unknown: UnknownObjects::default(),
            findings: Vec::new(),
            notes: Vec::new(),
        }
    }

    #[test]
    fn a_timeline_that_only_a_history_file_speaks_for_must_be_named() {
        let catalog = catalog();
        let way = |timeline: Option<u32>| {
            let wish = Wish {
                timeline: timeline.map(TimelineId),
                ..Wish::default()
            };
            history(&catalog, &wish).map(|history| history.timeline)
        };
        let error = way(None).unwrap_err();
        assert!(
            matches!(error, ResolveError::TimelineContested { other, .. } if other == TimelineId(1)),
            "{error}"
        );
        assert!(error.findings().is_empty(), "nobody knows who is right");
        assert_eq!(way(Some(1)).unwrap(), TimelineId(1));
        assert_eq!(way(Some(2)).unwrap(), TimelineId(2));
    }
}
