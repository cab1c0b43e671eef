//! What the records that were read mean for recovery.

use std::collections::BTreeMap;

use super::pass::Break;
use super::report::{WalReading, WalStop, WalStretch};
use super::{WalPass, replayed};
use crate::finding::{Code, Finding, Severity};
use crate::postgres::{BackupLabel, Lsn};
use crate::repository::{BaseBackup, Keep};
use crate::verify::backups::Way;
use crate::verify::ends::EndOfWal;
use crate::verify::holes::{Gap, Moment};
use crate::verify::listed::Survey;
use crate::verify::objects::unneeded;
use crate::verify::report::ARCHIVE_ENDS;
use crate::verify::stretch::Stretch;
use crate::verify::wal::hole_findings;
use crate::verify::{Depth, TimeSource, VerifyOptions};

/// The stretches with the base backups that lie in them, and what lies between.
#[derive(Debug, Default)]
pub struct Judged {
    pub(in crate::verify) stretches: Vec<Stretch>,
    pub(in crate::verify) gaps: Vec<Gap>,
    /// Base backups that cannot be used although their names and sizes were fine.
    pub(in crate::verify) broken: BTreeMap<String, String>,
    pub(in crate::verify) findings: Vec<Finding>,
    /// How deeply each base backup that was read was looked at.
    pub(in crate::verify) base_depths: BTreeMap<String, Depth>,
}

/// Why a base backup cannot be used although its WAL is listed.
const UNREADABLE_WAL: &str = "the WAL that makes it consistent cannot be read to its end";

/// Judges a pass over the WAL.
pub fn judge(way: Way<'_>, survey: &Survey, options: &VerifyOptions, pass: &WalPass) -> Judged {
    let usable: Vec<&BaseBackup> = survey.usable(way.catalog).collect();
    let mut judged = Judged {
        stretches: pass
            .wal
            .stretches
            .iter()
            .map(|stretch| as_stretch(way, survey, options, stretch))
            .collect(),
        ..Judged::default()
    };
    for base in &pass.bases {
        let id = base.report.backup_id.clone();
        judged.findings.extend(base.findings.iter().cloned());
        let depth = if base.settled {
            Depth::Read
        } else {
            Depth::Sampled
        };
        judged.base_depths.insert(id.clone(), depth);
        let known = usable.iter().any(|backup| backup.id == id);
        if let Some(finding) = base.reason().filter(|_| known) {
            judged.broken.insert(id, finding.message.clone());
        }
    }
    for backup in &usable {
        if !judged.broken.contains_key(&backup.id) {
            place(way, pass, backup, &mut judged);
        }
    }
    for stretch in &mut judged.stretches {
        let depths = &judged.base_depths;
        let read = |id: &String| depths.get(id).copied().unwrap_or(Depth::Sampled);
        let least = stretch.backups.iter().map(read).min();
        stretch.depth = least.map_or(stretch.depth, |least| least.min(stretch.depth));
    }
    if !usable.is_empty()
        && usable
            .iter()
            .all(|backup| judged.broken.contains_key(&backup.id))
    {
        judged.findings.push(
            Finding::new(
                Code::RepositoryWithoutBackup,
                &way.catalog.location,
                "no base backup can be used, now that they were read",
            )
            .with_consequence("Nothing can be restored from here: WAL without a usable base backup restores nothing."),
        );
    }
    let mut gaps: Vec<Gap> = survey
        .holes
        .iter()
        .map(|span| {
            let size = way.catalog.wal.segment_size;
            let (begin, end) = (span.first.begin_lsn(size), span.last.end_lsn(size));
            let (last_before, first_after) = moments(&pass.wal, begin);
            Gap {
                first: span.first,
                last: span.last,
                begin,
                end,
                last_before,
                first_after,
                findings: hole_findings(way, span),
            }
        })
        .collect();
    for broken in &pass.breaks {
        if needed(&usable, broken) {
            let (last_before, first_after) = moments(&pass.wal, broken.from);
            gaps.push(Gap {
                first: broken.segment,
                last: broken.segment,
                begin: broken.from,
                end: broken.to,
                last_before,
                first_after,
                findings: vec![broken.finding.clone()],
            });
        } else {
            judged.findings.push(unneeded(broken.finding.clone()));
        }
    }
    gaps.sort_by_key(|gap| gap.begin);
    judged.gaps = joined(gaps, &pass.wal.stretches);
    judged.findings.extend(pass.findings.iter().cloned());
    let found = replayed::findings(way, pass, &judged, &usable);
    judged.findings.extend(found);
    judged
}

fn as_stretch(
    way: Way<'_>,
    survey: &Survey,
    options: &VerifyOptions,
    stretch: &WalStretch,
) -> Stretch {
    let size = way.catalog.wal.segment_size;
    let last = size.segment_before(stretch.end);
    let idle = stretch.last_commit.is_some_and(|commit| {
        let back = last.0.saturating_sub(size.segment_of(commit.lsn).0);
        back >= options.tip_segments.max(1) && stretch.last_time > Some(commit.time)
    });
    Stretch {
        last: (way.path.timeline_of(last), last),
        end: EndOfWal {
            end: Some(stretch.end),
            last_record: stretch.last_record,
            commit: stretch.last_commit,
            idle,
            record_time: stretch.last_time,
            key: stretch.key.clone(),
            whole: stretch.last_record.is_some(),
            findings: Vec::new(),
        },
        backups: Vec::new(),
        because: because(survey, &stretch.stopped_by),
        depth: if stretch.whole {
            Depth::Read
        } else {
            Depth::Sampled
        },
    }
}

fn because(survey: &Survey, stop: &WalStop) -> String {
    match stop {
        WalStop::ArchiveEnd => match survey.timelines.unreachable_above() {
            None => ARCHIVE_ENDS.to_owned(),
            Some(timeline) => {
                format!("the history file of timeline {timeline} is missing or unreadable")
            }
        },
        WalStop::Missing { segment } => format!("{segment} is missing"),
        WalStop::Damaged { segment, lsn, .. } => format!("{segment} is damaged at {lsn}"),
        WalStop::Unreadable { segment, .. } => format!("{segment} cannot be read"),
        WalStop::WalLevelMinimal { lsn } => format!("wal_level is lowered to minimal at {lsn}"),
    }
}

/// Puts a base backup into the stretch that makes it consistent.
fn place(way: Way<'_>, pass: &WalPass, backup: &BaseBackup, judged: &mut Judged) {
    let Some((begin, end)) = backup.begin_lsn.zip(backup.end_lsn) else {
        return;
    };
    let holds = |stretch: &&WalStretch| stretch.begin <= begin && end <= stretch.end;
    let found = pass
        .wal
        .stretches
        .iter()
        .position(|stretch| holds(&stretch));
    let stretches = found.and_then(|index| {
        let read = pass.wal.stretches.get(index)?;
        Some((read, judged.stretches.get_mut(index)?))
    });
    match stretches {
        Some((read, _)) if read.whole && !pass.begins_met.contains(&begin) => {
            let message =
                format!("it says that it begins at {begin}, where no record of the archive begins");
            judged.findings.push(
                Finding::new(Code::BackupInfoContradictory, &backup.info_key, &message).with_wal(
                    backup.timeline.unwrap_or(way.history.timeline),
                    begin,
                    end,
                ),
            );
            judged.broken.insert(backup.id.clone(), message);
        }
        Some((read, stretch)) => match wrong_end(way, pass, read, backup, (begin, end)) {
            Some(finding) if finding.severity == Severity::Critical => {
                judged
                    .broken
                    .insert(backup.id.clone(), finding.message.clone());
                judged.findings.push(finding);
            }
            found => {
                judged.findings.extend(found);
                stretch.backups.push(backup.id.clone());
            }
        },
        None => {
            judged
                .broken
                .insert(backup.id.clone(), UNREADABLE_WAL.to_owned());
        }
    }
}

/// Holds a base backup's end against the record of it, which a primary writes and to which
/// recovery must come (`do_pg_backup_stop` in `src/backend/access/transam/xlog.c`). A standby
/// writes none, and its copy may begin where another one of the primary did.
fn wrong_end(
    way: Way<'_>,
    pass: &WalPass,
    stretch: &WalStretch,
    backup: &BaseBackup,
    (begin, end): (Lsn, Lsn),
) -> Option<Finding> {
    if from_standby(pass, backup)? {
        return None;
    }
    let timeline = backup.timeline.unwrap_or(way.history.timeline);
    let real = pass.backup_ends.get(&begin).copied();
    match real.filter(|real| *real <= stretch.end) {
        Some(real) if real == end => None,
        Some(real) => Some(
            Finding::new(
                Code::BackupInfoContradictory,
                &backup.id,
                format!("it says that it ends at {end}, its record in the WAL at {real}"),
            )
            .with_severity(Severity::Warning)
            .with_consequence("Recovery goes by the record and is right; what is told of this backup's earliest moment, and tools that go by the description, are wrong by the difference.")
            .with_action("Find out who wrote the description; take a fresh backup if you cannot.")
            .with_wal(timeline, end.min(real), end.max(real)),
        ),
        None if stretch.whole => Some(
            Finding::new(
                Code::BackupWalMissing,
                &backup.id,
                format!(
                    "it says that it ends at {end}, but no record of its end comes up to {}, so that recovery stops with an error",
                    stretch.end
                ),
            )
            .with_wal(timeline, begin, stretch.end),
        ),
        None => None,
    }
}

/// Whether a base backup is the copy of a standby.
fn from_standby(pass: &WalPass, backup: &BaseBackup) -> Option<bool> {
    let mut outcomes = pass.bases.iter();
    let outcome = outcomes.find(|outcome| outcome.report.backup_id == backup.id);
    outcome
        .and_then(|outcome| outcome.from_standby)
        .or_else(|| {
            let label = backup.backup_label.as_deref()?;
            Some(BackupLabel::parse(label.as_bytes()).ok()?.from_standby)
        })
}

/// Whether any recovery to the current timeline would come upon a break.
fn needed(usable: &[&BaseBackup], broken: &Break) -> bool {
    let continuous = |backup: &&&BaseBackup| backup.keep != Some(Keep::Standalone);
    let only_standalone = !usable.iter().any(|backup| continuous(&backup));
    usable.iter().any(|backup| {
        let begins_before = backup.begin_lsn.is_some_and(|begin| begin < broken.to);
        let ends_behind = backup.end_lsn.is_some_and(|end| end > broken.from);
        begins_before && (only_standalone || continuous(&backup) || ends_behind)
    })
}

/// The last moment before a position and the first one behind it.
fn moments(wal: &WalReading, at: Lsn) -> (Option<Moment>, Option<Moment>) {
    let before = wal
        .stretches
        .iter()
        .rev()
        .filter(|stretch| stretch.begin < at);
    let commit = before
        .clone()
        .find_map(|stretch| stretch.last_commit)
        .map(|commit| (commit.time, TimeSource::Commit));
    let record = || {
        let time = before.clone().find_map(|stretch| stretch.last_time)?;
        Some((time, TimeSource::Record))
    };
    let after = wal
        .stretches
        .iter()
        .filter(|stretch| stretch.begin >= at)
        .find_map(|stretch| stretch.first_commit)
        .map(|commit| (commit.time, TimeSource::Commit));
    (commit.or_else(record), after)
}

/// Gaps that touch each other, without WAL between them, as one.
fn joined(gaps: Vec<Gap>, stretches: &[WalStretch]) -> Vec<Gap> {
    let mut joined: Vec<Gap> = Vec::with_capacity(gaps.len());
    for gap in gaps {
        let between = |last: &Gap| {
            stretches
                .iter()
                .any(|stretch| stretch.begin >= last.begin && stretch.begin < gap.begin)
        };
        match joined.last_mut() {
            Some(last) if gap.first <= last.last.next() && !between(last) => {
                last.last = last.last.max(gap.last);
                last.end = last.end.max(gap.end);
                last.findings.extend(gap.findings);
            }
            _ => joined.push(gap),
        }
    }
    joined
}
