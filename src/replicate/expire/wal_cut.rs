//! Which WAL goes: what lies before the begin of every base backup that stays.

use super::decide::{PlannedBackup, Reason};
use crate::postgres::{SegmentNumber, SegmentSize, WalFileName};
use crate::repository::{BackupStatus, BaseBackup, Catalog, Keep};
use crate::verify::backups::needed_wal;

/// Which WAL goes.
///
/// Segments are counted on through all timelines: a timeline begins in the segment in which
/// its parent was left. So what lies before the first segment of every backup that stays is
/// needed by none of them, whatever timeline it is on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct WalCut {
    /// Segments before this one go; none when `None`.
    pub(super) before: Option<SegmentNumber>,
    /// Stretches before it that stay, for backups that are kept standalone; both ends
    /// inclusive.
    pub(super) protected: Vec<(SegmentNumber, SegmentNumber)>,
    /// Why all WAL stays.
    pub(super) stays_because: Option<String>,
}

impl WalCut {
    /// The cut for what stays of a catalog.
    pub(super) fn of(catalog: &Catalog, planned: &[PlannedBackup]) -> Self {
        let staying = planned
            .iter()
            .filter(|backup| backup.stays)
            .filter_map(|planned| catalog.backup(&planned.id))
            // A failed one can never be used.
            .filter(|backup| backup.status != BackupStatus::Failed);
        let anchored = planned
            .iter()
            .any(|backup| backup.reason == Reason::GivesWindow);
        let mut cut = Self::default();
        for backup in staying {
            // One without a description is on its way here or damaged. If it began before
            // the one that gives the window it will go; if after, its WAL stays anyway.
            if anchored && backup.status == BackupStatus::Unknown && backup.keep.is_none() {
                continue;
            }
            if let Err(reason) = cut.respect(catalog, backup) {
                return Self {
                    stays_because: Some(reason),
                    ..Self::default()
                };
            }
        }
        if cut.before.is_none() {
            cut.stays_because =
                Some("no base backup stays that WAL could be counted from".to_owned());
        }
        cut
    }

    fn respect(&mut self, catalog: &Catalog, backup: &BaseBackup) -> Result<(), String> {
        let unknown = || format!("nothing tells from where backup {} needs WAL", backup.id);
        if backup.segment_size != catalog.wal.segment_size {
            return Err(unknown());
        }
        if backup.keep == Some(Keep::Standalone) {
            self.protected.push(needed_wal(backup).ok_or_else(unknown)?);
            return Ok(());
        }
        let begin = backup.begin_lsn.ok_or_else(unknown)?;
        let first = backup.segment_size.segment_of(begin);
        self.before = Some(self.before.map_or(first, |before| before.min(first)));
        Ok(())
    }

    /// Whether a segment goes.
    pub(super) fn takes(&self, number: SegmentNumber) -> bool {
        self.before.is_some_and(|before| number < before)
            && !self
                .protected
                .iter()
                .any(|(first, last)| (*first..=*last).contains(&number))
    }

    /// The segment by which a file of the WAL archive goes, if it goes. Timeline histories
    /// never do, nor names that the segment size does not allow.
    pub(super) fn takes_file(&self, catalog: &Catalog, name: WalFileName) -> Option<SegmentNumber> {
        let number = number_of(name, catalog.wal.segment_size)?;
        self.takes(number).then_some(number)
    }
}

/// The segment that a file of the WAL archive is about.
pub(super) fn number_of(name: WalFileName, size: SegmentSize) -> Option<SegmentNumber> {
    match name {
        WalFileName::Segment(segment)
        | WalFileName::Partial(segment)
        | WalFileName::BackupHistory { segment, .. } => segment.number(size).ok(),
        WalFileName::History(_) => None,
    }
}
