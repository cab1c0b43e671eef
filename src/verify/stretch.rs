//! Stretches of WAL that recovery can replay without a stop, and what follows from them:
//! windows, the archive tip, the exposure.

use chrono::{DateTime, Utc};

use crate::finding::{Code, Finding};
use crate::postgres::{Lsn, SegmentNumber, SegmentSize, TimelineId};
use crate::repository::{BaseBackup, Catalog};

use super::ends::EndOfWal;
use super::words::{length, utc};
use super::{ArchiveTip, Depth, Exposure, TimeSource, VerifyOptions, Window};

/// A stretch of contiguous, readable WAL with the base backups that lie in it.
#[derive(Clone, Debug)]
pub(super) struct Stretch {
    /// The timeline and number of the segment that holds its end.
    pub(super) last: (TimelineId, SegmentNumber),
    /// What the bytes say of its end.
    pub(super) end: EndOfWal,
    /// The usable base backups that it carries, oldest first.
    pub(super) backups: Vec<String>,
    /// Why it goes no further, in a few words.
    pub(super) because: String,
    /// How deeply it was looked at.
    pub(super) depth: Depth,
}

impl Stretch {
    /// Where recovery over it ends.
    pub(super) fn end_lsn(&self, size: SegmentSize) -> Lsn {
        self.end.end.unwrap_or_else(|| self.last.1.end_lsn(size))
    }

    /// To which moments it allows recovery; `None` without a base backup.
    pub(super) fn window(&self, catalog: &Catalog) -> Option<Window> {
        let backups: Vec<&BaseBackup> = self
            .backups
            .iter()
            .filter_map(|id| catalog.backup(id))
            .collect();
        let oldest = backups
            .iter()
            .filter(|backup| backup.end_lsn.is_some())
            .min_by_key(|backup| backup.end_lsn)?;
        // Without a commit since, the newest backup's begin may be the last known moment.
        let newest_begin = backups.iter().filter_map(|backup| backup.begin_time).max();
        let (end_time, end_time_source) = moment_of(&self.end, newest_begin)
            .or_else(|| newest_begin.map(|time| (time, TimeSource::Backup)))
            .unzip();
        // A backup says that it ended a while after its last record.
        let begin_time = match end_time {
            Some(end) => oldest.end_time.map(|begin| begin.min(end)),
            None => oldest.end_time,
        };
        Some(Window {
            begin_lsn: oldest.end_lsn?,
            begin_time,
            end_lsn: self.end_lsn(catalog.wal.segment_size),
            end_time,
            end_time_source,
            timeline: self.last.0,
            backup_id: oldest.id.clone(),
            backups: self.backups.clone(),
            depth: self.depth,
            ends_because: self.because.clone(),
        })
    }

    /// Where recovery ends, as the tip of an archive, and what is wrong with knowing it.
    /// When its object was stored is left to the caller.
    pub(super) fn tip(
        &self,
        catalog: &Catalog,
        options: &VerifyOptions,
    ) -> (ArchiveTip, Option<Finding>) {
        let (timeline, last) = self.last;
        let read = &self.end;
        let unknown = (read.commit.is_none() && !read.whole).then(|| {
            let object = read
                .key
                .clone()
                .unwrap_or_else(|| catalog.wal.name(timeline, last).to_string());
            if read.end.is_none() {
                return Finding::new(
                    Code::ArchiveTipUnknown,
                    object,
                    "the last segments could not be read",
                );
            }
            Finding::new(
                Code::ArchiveTipUnknown,
                object,
                format!(
                    "the last {} segments hold no commit: the database is idle",
                    options.tip_segments
                ),
            )
            .with_severity(crate::finding::Severity::Info)
            .with_consequence("The end of recovery is known, but not which commit is the last one; exposure is bounded by other records' times.")
            .with_action("Nothing, if the database is meant to be idle. A heartbeat table makes the exposure exact.")
        });
        let tip = ArchiveTip {
            timeline,
            lsn: self.end_lsn(catalog.wal.segment_size),
            last_record: read.last_record,
            commit: read.commit,
            key: read.key.clone(),
            stored: None,
        };
        (tip, unknown)
    }
}

/// The last moment that is known to be recovered: the last commit; without one near the
/// end, the latest other record with a time, or the begin of the newest backup.
pub(super) fn moment_of(
    end: &EndOfWal,
    backup_begin: Option<DateTime<Utc>>,
) -> Option<(DateTime<Utc>, TimeSource)> {
    let commit = end.commit.map(|commit| (commit.time, TimeSource::Commit));
    if !end.idle && commit.is_some() {
        return commit;
    }
    end.end?;
    let record = end.record_time.map(|time| (time, TimeSource::Record));
    let backup = backup_begin.map(|time| (time, TimeSource::Backup));
    [backup, record, commit]
        .into_iter()
        .flatten()
        .max_by_key(|(time, _)| *time)
}

/// What would be lost now, and whether that is more than the tier allows.
pub(super) fn exposure(
    tip: &ArchiveTip,
    newest: Option<&Stretch>,
    newest_begin: Option<DateTime<Utc>>,
    catalog: &Catalog,
    options: &VerifyOptions,
) -> Option<(Exposure, Option<Finding>)> {
    let (since, source) = newest
        .and_then(|stretch| moment_of(&stretch.end, newest_begin))
        .or_else(|| tip.stored.map(|time| (time, TimeSource::Object)))?;
    let age = options.now.signed_duration_since(since);
    let seconds = age.num_seconds().max(0);
    let missed = options.rpo.filter(|rpo| seconds > rpo.num_seconds());
    let finding = missed.map(|rpo| {
        Finding::new(
            Code::ObjectiveMissedRpo,
            tip.key.as_ref().unwrap_or(&catalog.location),
            format!(
                "the last recoverable moment is {}, {} ago; the tier allows {}",
                utc(since),
                length(age),
                length(rpo)
            ),
        )
        .with_time(Some(since), Some(options.now))
    });
    let exposure = Exposure {
        seconds,
        since,
        source,
    };
    Some((exposure, finding))
}
