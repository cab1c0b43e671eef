//! What records tell of the restores that would replay them.

use super::report::WalStretch;
use super::{Judged, WalPass};
use crate::finding::{Code, Finding, Severity};
use crate::postgres::{Lsn, RequiredSettings};
use crate::repository::{BaseBackup, Keep};
use crate::verify::backups::Way;

/// The WAL that restores from usable base backups replay. Memory: 16 bytes for each.
#[derive(Debug)]
pub(super) struct Replayed {
    ranges: Vec<(Lsn, Lsn)>,
}

impl Replayed {
    /// From each base backup that was put into a stretch to that stretch's end; from one
    /// that is kept standalone to its own end, unless there are no others.
    pub(super) fn of(pass: &WalPass, judged: &Judged, usable: &[&BaseBackup]) -> Self {
        let placed = placed(pass, judged, usable);
        let alone = |backup: &BaseBackup| backup.keep == Some(Keep::Standalone);
        let only_standalone = placed.iter().all(|(_, backup)| alone(backup));
        let ranges = placed
            .into_iter()
            .filter_map(|(stretch, backup)| {
                let end = backup.end_lsn.filter(|_| alone(backup) && !only_standalone);
                Some((backup.begin_lsn?, end.unwrap_or(stretch.end)))
            })
            .collect();
        Self { ranges }
    }

    /// Whether any of them replays the record that begins at `lsn`. The one that ends the
    /// last of them, because recovery cannot pass it, is not among them.
    fn holds(&self, lsn: Lsn) -> bool {
        let within = |(begin, end): &(Lsn, Lsn)| (*begin..*end).contains(&lsn);
        self.ranges.iter().any(within)
    }
}

/// The base backups that can be used, each with the stretch that makes it consistent.
fn placed<'p>(
    pass: &'p WalPass,
    judged: &Judged,
    usable: &[&'p BaseBackup],
) -> Vec<(&'p WalStretch, &'p BaseBackup)> {
    let stretches = pass.wal.stretches.iter().zip(&judged.stretches);
    stretches
        .flat_map(|(read, stretch)| {
            let ids = stretch.backups.iter();
            let own = ids.filter_map(|id| usable.iter().find(|backup| backup.id == *id));
            own.map(move |backup| (read, *backup))
        })
        .collect()
}

/// The findings on what records do to those who replay them.
pub(super) fn findings(
    way: Way<'_>,
    pass: &WalPass,
    judged: &Judged,
    usable: &[&BaseBackup],
) -> Vec<Finding> {
    let replayed = Replayed::of(pass, judged, usable);
    let size = way.catalog.wal.segment_size;
    let timeline_of = |lsn| way.path.timeline_of(size.segment_of(lsn));
    let newest = placed(pass, judged, usable)
        .into_iter()
        .max_by_key(|(_, backup)| backup.begin_lsn);
    let newest_begin = newest.and_then(|(_, backup)| backup.begin_lsn);
    let passed = |finding: &Finding| {
        let at = finding.wal.map(|range| range.begin);
        at.zip(newest_begin).is_some_and(|(at, begin)| at < begin)
    };
    let mut findings: Vec<Finding> = pass
        .facts
        .findings(timeline_of, |lsn| replayed.holds(lsn))
        .into_iter()
        // Each one is a break.
        .filter(|finding| finding.code != Code::WalLevelMinimal)
        .map(|finding| {
            if finding.code == Code::WalTablespaceCreated && passed(&finding) {
                finding
                    .with_severity(Severity::Info)
                    .with_action("Nothing to do: the newest base backup begins after it. A restore from an older one needs care.")
            } else {
                finding
            }
        })
        .collect();
    findings.extend(newest.and_then(|(stretch, backup)| {
        let raised = settings_raised(pass, stretch, backup)?;
        let (begin, end) = raised.0;
        Some(raised.1.with_wal(timeline_of(begin), begin, end))
    }));
    findings
}

/// Settings that WAL behind the newest base backup asks to be higher than its control file
/// does, with the last record that does so.
fn settings_raised(
    pass: &WalPass,
    stretch: &WalStretch,
    backup: &BaseBackup,
) -> Option<((Lsn, Lsn), Finding)> {
    let mut outcomes = pass.bases.iter();
    let outcome = outcomes.find(|outcome| outcome.report.backup_id == backup.id)?;
    let before = outcome.settings?;
    let mut required = before;
    let mut last = None;
    for (begin, end, change) in pass.facts.changes() {
        if (backup.begin_lsn?..stretch.end).contains(begin) {
            let so_far = required;
            required.raise_to_change(change);
            if !so_far.raised_by(&required).is_empty() {
                last = Some((*begin, *end));
            }
        }
    }
    let finding = raised_finding(&backup.id, &before, &required)?;
    Some((last?, finding))
}

/// Settings that the WAL after a base backup asks to be higher than its control file does,
/// or `None`.
pub fn raised_finding(
    backup_id: &str,
    before: &RequiredSettings,
    required: &RequiredSettings,
) -> Option<Finding> {
    let raised = before.raised_by(required);
    (!raised.is_empty()).then(|| {
        Finding::new(
            Code::WalSettingsRaised,
            backup_id,
            format!("raised after the base backup: {}", raised.join(", ")),
        )
    })
}
