//! What can be had instead of a moment that cannot.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::choose::{BackupChoice, Wish, candidates, history};
use super::progress::Watch;
use super::resolve::resolve;
use super::resolve_error::ResolveError;
use super::target::Target;
use crate::postgres::Lsn;
use crate::repository::{BaseBackup, Catalog, Repository};

/// A moment that can be recovered to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reachable {
    /// The newest commit that is there then; of the first moment of a base backup when that
    /// ended. `None` where nothing says.
    pub time: Option<DateTime<Utc>>,
    /// Its position.
    pub lsn: Lsn,
    /// The base backup from which it is reached.
    pub backup: String,
    /// The target by which it is asked for, from that backup.
    pub target: String,
}

/// The nearest moments on both sides of one that cannot be recovered to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Nearest {
    /// The last before it.
    pub before: Option<Reachable>,
    /// The first behind it.
    pub after: Option<Reachable>,
}

impl Nearest {
    /// In words; empty when there is none on either side.
    pub fn words(&self) -> String {
        let side = |word: &str, one: &Reachable| {
            let time = one
                .time
                .map(|time| format!("{} (", crate::verify::words::utc_milliseconds(time)));
            let (lead, end) = time.map_or_else(Default::default, |time| (time, ")"));
            format!(
                "the {word} that can be had is {lead}{}{end}, by target `{}` from backup {}",
                one.lsn, one.target, one.backup
            )
        };
        let before = self.before.as_ref().map(|one| side("last before it", one));
        let after = self.after.as_ref().map(|one| side("first behind it", one));
        let both: Vec<String> = before.into_iter().chain(after).collect();
        both.join("; ")
    }
}

/// Looks for the nearest moments on both sides of a target that is a time or a position and
/// cannot be reached. Of other targets nothing says where they would lie. Reads the WAL of one
/// base backup, from its begin to where the way behind it ends.
///
/// # Errors
///
/// The timeline cannot be followed, or the store does not give what it should.
pub async fn nearest(
    repository: &Repository,
    catalog: &Catalog,
    wish: &Wish,
    watch: &Watch,
) -> Result<Nearest, ResolveError> {
    let mut found = Nearest::default();
    if !matches!(wish.target, Target::Time(_) | Target::Lsn { .. }) {
        return Ok(found);
    }
    let everything = Wish {
        target: Target::Tip,
        backup: BackupChoice::Auto,
        timeline: wish.timeline,
    };
    let history = history(catalog, &everything)?;
    let usable = match candidates(catalog, &everything, &history, &mut Vec::new()) {
        Ok(usable) => usable,
        Err(ResolveError::NoBackup(_)) => return Ok(found),
        Err(error) => return Err(error),
    };
    // Newest first.
    for backup in usable {
        if lies_behind(backup, &wish.target) {
            found.after = Some(first_of(backup)).or(found.after);
            continue;
        }
        let end = Box::pin(resolve(
            repository,
            catalog,
            backup,
            &history,
            &Target::Tip,
            watch,
        ));
        match end.await {
            Ok(resolved) => {
                let whole =
                    resolved.range.stopped_by == crate::verify::wal_range::StopReason::ArchiveEnd;
                found.before = Some(Reachable {
                    time: resolved.recovery_time().or(backup.end_time),
                    lsn: resolved.end,
                    backup: backup.id.clone(),
                    target: if whole {
                        Target::Tip.to_string()
                    } else {
                        // A hole ends it: only the last record before it is certain.
                        format!("lsn:{}", resolved.stop_record)
                    },
                });
                return Ok(found);
            }
            Err(error) if error.is_unreachable() || error.is_cancelled() => return Err(error),
            // Never consistent, or not to be replayed: an older one may do.
            Err(_) => {}
        }
    }
    Ok(found)
}

/// Whether a base backup is consistent only after the target.
fn lies_behind(backup: &BaseBackup, target: &Target) -> bool {
    match target {
        Target::Time(time) => backup.end_time.is_some_and(|end| end > *time),
        Target::Lsn { lsn, .. } => backup.end_lsn.is_some_and(|end| end > *lsn),
        _ => false,
    }
}

/// The first moment of a base backup.
fn first_of(backup: &BaseBackup) -> Reachable {
    Reachable {
        time: backup.end_time,
        lsn: backup.end_lsn.or(backup.begin_lsn).unwrap_or(Lsn::new(0)),
        backup: backup.id.clone(),
        target: Target::Immediate.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::testing::backup;

    fn reachable(target: &str) -> Reachable {
        Reachable {
            time: "2026-11-21T02:40:00Z".parse().ok(),
            lsn: Lsn::new(0x300_0060),
            backup: "20261121T000000".to_owned(),
            target: target.to_owned(),
        }
    }

    #[test]
    fn both_sides_are_said_and_how_to_ask_for_them() {
        assert_eq!(Nearest::default().words(), "");
        let one = Nearest {
            before: Some(reachable("tip")),
            after: None,
        };
        assert_eq!(
            one.words(),
            "the last before it that can be had is 2026-11-21 02:40:00.000 UTC (0/3000060), by target `tip` \
             from backup 20261121T000000"
        );
        let both = Nearest {
            after: Some(Reachable {
                time: None,
                ..reachable("immediate")
            }),
            ..one
        };
        let words = both.words();
        assert!(words.contains("; the first behind it that can be had is 0/3000060, by target"));
    }

    #[test]
    fn a_backup_lies_behind_what_it_ended_after() {
        let stored = backup("20261121T000000", 1, 1, 2, 1);
        let (lsn, time) = (stored.end_lsn.unwrap(), stored.end_time.unwrap());
        let second = chrono::TimeDelta::seconds(1);
        let at = |lsn| Target::Lsn {
            lsn,
            inclusive: true,
        };
        for (target, expected) in [
            (Target::Time(time - second), true),
            (Target::Time(time), false),
            (at(Lsn::new(lsn.bytes() - 1)), true),
            (at(lsn), false),
            (Target::Tip, false),
        ] {
            assert_eq!(lies_behind(&stored, &target), expected, "{target}");
        }
        assert_eq!(first_of(&stored).lsn, lsn);
    }
}
