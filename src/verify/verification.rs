//! The verification as a whole: names and sizes first, then the ends in the bytes.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::finding::{Code, Finding, Severity};
use crate::postgres::{Lsn, SegmentNumber, SystemId};
use crate::repository::{BaseBackup, Catalog, Repository};

use super::backups::Way;
use super::chain::{ChainStop, archive_end};
use super::ends::{self, EndOfWal, EndRequest};
use super::listed::Survey;
use super::report::{ARCHIVE_ENDS, SCHEMA, settle};
use super::segment_reader::SegmentReader;
use super::wal::{HoleSpan, hole_findings};
use super::words::{length, utc};
use super::{
    ArchiveEnd, ArchiveTip, BackupReport, Counts, Depth, Exposure, Hole, TimeSource, VerifyError,
    VerifyOptions, VerifyReport, Window, duplicates, objects, switches,
};

/// Looks at a repository: one listing, the small metadata objects, and the segments at
/// the ends of contiguous WAL, around holes, at timeline switches and stored twice.
/// Memory: the catalog and three segments.
pub async fn verify(
    repository: &Repository,
    options: &VerifyOptions,
) -> Result<VerifyReport, VerifyError> {
    let catalog = repository.catalog().await?;
    verify_catalog(repository, &catalog, options).await
}

/// The same for a catalog that was read already.
pub async fn verify_catalog(
    repository: &Repository,
    catalog: &Catalog,
    options: &VerifyOptions,
) -> Result<VerifyReport, VerifyError> {
    let survey = Survey::of(catalog, options);
    let mut work = Work {
        options,
        catalog,
        way: survey.way(catalog),
        reader: SegmentReader::new(repository, catalog),
        system_id: objects::system_id(catalog),
        survey: &survey,
        ends: BTreeMap::new(),
        broken: BTreeMap::new(),
        findings: survey.findings.clone(),
    };
    work.read_ends().await?;
    let windows = work.windows();
    let tip = work.tip().await?;
    let holes = work.holes().await?;
    if let Some(from) = survey.needed_from {
        let reader = &work.reader;
        let range = (from, SegmentNumber(u64::MAX));
        let switched = switches::compare(reader, work.way, range, options.switches_read).await?;
        let twice = duplicates::compare(reader, work.way, from, options.duplicates_read).await?;
        work.findings.extend(switched);
        work.findings.extend(twice);
    }
    let exposure = work.exposure(tip.as_ref());
    Ok(work.finish(windows, holes, tip, exposure))
}

struct Work<'a> {
    options: &'a VerifyOptions,
    catalog: &'a Catalog,
    survey: &'a Survey,
    way: Way<'a>,
    reader: SegmentReader<'a>,
    system_id: Option<SystemId>,
    /// What the bytes say at the end of each chain, by its last segment.
    ends: BTreeMap<SegmentNumber, EndOfWal>,
    /// Backups that the bytes make unusable, and why.
    broken: BTreeMap<String, String>,
    findings: Vec<Finding>,
}

impl Work<'_> {
    fn backup(&self, id: &str) -> Option<&BaseBackup> {
        self.catalog.backup(id)
    }

    /// Reads the end of every chain: of the newest one, and of as many before holes as
    /// the options allow.
    async fn read_ends(&mut self) -> Result<(), VerifyError> {
        let mut floors: BTreeMap<SegmentNumber, Lsn> = BTreeMap::new();
        for chain in &self.survey.chains {
            let begin = self
                .backup(&chain.backup_id)
                .and_then(|backup| backup.begin_lsn);
            if let Some(begin) = begin {
                let floor = floors.entry(chain.end).or_insert(begin);
                *floor = begin.max(*floor);
            }
        }
        for (last, floor) in floors.into_iter().rev().take(self.options.holes_read + 1) {
            let request = EndRequest {
                last,
                floor,
                system_id: self.system_id,
                segments: self.options.tip_segments,
            };
            let end = ends::read_end(&self.reader, self.way, request).await?;
            self.findings.extend(end.findings.iter().cloned());
            self.ends.insert(last, end);
        }
        for chain in &self.survey.chains {
            let Some(end) = self.ends.get(&chain.end) else {
                continue;
            };
            let needed = self
                .catalog
                .backup(&chain.backup_id)
                .and_then(|backup| backup.end_lsn);
            let reached = end
                .end
                .is_some_and(|end| needed.is_none_or(|needed| needed <= end));
            if !reached && !end.findings.is_empty() {
                let reason = "the WAL that makes it consistent cannot be read to its end";
                self.broken
                    .insert(chain.backup_id.clone(), reason.to_owned());
            }
        }
        Ok(())
    }

    /// Usable also by the bytes that were read.
    fn usable(&self) -> impl Iterator<Item = &BaseBackup> {
        self.survey
            .usable(self.catalog)
            .filter(|backup| !self.broken.contains_key(&backup.id))
    }

    /// One window per distinct end: backups whose chains end alike share it.
    fn windows(&self) -> Vec<Window> {
        let mut windows: BTreeMap<SegmentNumber, Window> = BTreeMap::new();
        for chain in &self.survey.chains {
            let Some(backup) = self.usable().find(|backup| backup.id == chain.backup_id) else {
                continue;
            };
            let Some((begin_lsn, (timeline, _))) = backup.end_lsn.zip(chain.last()) else {
                continue;
            };
            let window = windows.entry(chain.end).or_insert_with(|| {
                let end = self.ends.get(&chain.end);
                let end_lsn = end
                    .and_then(|end| end.end)
                    .unwrap_or_else(|| chain.end.end_lsn(self.catalog.wal.segment_size));
                let (end_time, end_time_source) = end
                    .and_then(|end| moment_of(end, backup.begin_time))
                    .map_or((None, None), |(time, source)| (Some(time), Some(source)));
                Window {
                    begin_lsn,
                    begin_time: backup.end_time,
                    end_lsn,
                    end_time,
                    end_time_source,
                    timeline,
                    backup_id: backup.id.clone(),
                    backups: Vec::new(),
                    depth: Depth::Listed,
                    ends_because: self.because(chain.stopped_by, end),
                }
            });
            if begin_lsn < window.begin_lsn {
                window.begin_lsn = begin_lsn;
                window.begin_time = backup.end_time;
                window.backup_id.clone_from(&backup.id);
            }
            // Without a commit since, the newest backup's begin may be the last known moment.
            if window.end_time_source != Some(TimeSource::Commit)
                && backup.begin_time > window.end_time
            {
                window.end_time = backup.begin_time;
                window.end_time_source = Some(TimeSource::Backup);
            }
            window.backups.push(backup.id.clone());
        }
        for window in windows.values_mut() {
            // A backup says that it ended a while after its last record.
            if window.end_time.is_some() {
                window.begin_time = window.begin_time.min(window.end_time);
            }
        }
        windows.into_values().collect()
    }

    fn because(&self, stop: ChainStop, end: Option<&EndOfWal>) -> String {
        if end.is_some_and(|end| !end.findings.is_empty()) {
            return "a segment cannot be read".to_owned();
        }
        let name = |number| {
            self.catalog
                .wal
                .name(self.way.path.timeline_of(number), number)
        };
        match stop {
            ChainStop::ArchiveEnd => ARCHIVE_ENDS.to_owned(),
            ChainStop::Hole { first, .. } => format!("{} is missing", name(first)),
            ChainStop::MissingHistory(timeline) => {
                format!("the history file of timeline {timeline} is missing or unreadable")
            }
        }
    }

    /// The tip: where the newest usable backup's chain ends.
    async fn tip(&mut self) -> Result<Option<ArchiveTip>, VerifyError> {
        let newest = self
            .survey
            .chains
            .iter()
            .filter(|chain| !self.broken.contains_key(&chain.backup_id))
            .max_by_key(|chain| chain.end);
        let Some((chain, (timeline, last))) =
            newest.and_then(|chain| chain.last().map(|last| (chain, last)))
        else {
            return Ok(None);
        };
        let read = self.ends.get(&chain.end).cloned().unwrap_or_default();
        let name = self.catalog.wal.name(timeline, last);
        if read.commit.is_none() && !read.whole {
            let finding = if read.end.is_none() {
                Finding::new(
                    Code::ArchiveTipUnknown,
                    read.key.clone().unwrap_or_else(|| name.to_string()),
                    "the last segments could not be read",
                )
            } else {
                Finding::new(
                    Code::ArchiveTipUnknown,
                    read.key.clone().unwrap_or_else(|| name.to_string()),
                    format!(
                        "the last {} segments hold no commit: the database is idle",
                        self.options.tip_segments
                    ),
                )
                .with_severity(Severity::Info)
                .with_consequence("The end of recovery is known, but not which commit is the last one; exposure is bounded by other records' times.")
                .with_action("Nothing, if the database is meant to be idle. A heartbeat table makes the exposure exact.")
            };
            self.findings.push(finding);
        }
        let stored = match &read.key {
            Some(key) => self.stored(key).await?,
            None => None,
        };
        Ok(Some(ArchiveTip {
            timeline,
            lsn: read
                .end
                .unwrap_or_else(|| last.end_lsn(self.catalog.wal.segment_size)),
            last_record: read.last_record,
            commit: read.commit,
            key: read.key,
            stored,
        }))
    }

    async fn stored(&self, key: &str) -> Result<Option<DateTime<Utc>>, VerifyError> {
        let entry = self.reader.repository().store().head(key).await?;
        Ok(entry.map(|entry| entry.last_modified))
    }

    async fn holes(&mut self) -> Result<Vec<Hole>, VerifyError> {
        let mut holes = Vec::with_capacity(self.survey.holes.len());
        for (index, span) in self.survey.holes.iter().enumerate() {
            // The newest are the ones that matter most.
            let near = self.survey.holes.len() - index <= self.options.holes_read;
            let hole = self.hole(span, near).await?;
            let (consequence, action) = lost_moments(&hole);
            for finding in hole_findings(self.way, span) {
                self.findings.push(
                    finding
                        .with_time(hole.last_before, hole.first_after)
                        .with_consequence(&consequence)
                        .with_action(action),
                );
            }
            holes.push(hole);
        }
        Ok(holes)
    }

    async fn hole(&self, span: &HoleSpan, near: bool) -> Result<Hole, VerifyError> {
        let wal = &self.catalog.wal;
        let name = |number| {
            wal.name(self.way.path.timeline_of(number), number)
                .to_string()
        };
        let end_lsn = span.last.end_lsn(wal.segment_size);
        let next = self
            .usable()
            .filter(|backup| backup.begin_lsn.is_some_and(|begin| begin >= end_lsn))
            .min_by_key(|backup| backup.begin_lsn);
        let before = span.first.previous();
        let after = span.last.next();
        let mut weakest = None;
        let mut last_before = None;
        let mut first_after = None;
        if near && let Some(before) = before {
            last_before = match self.ends.get(&before).and_then(|end| end.commit) {
                Some(commit) => Some((commit.time, TimeSource::Commit)),
                None => self.object_time(before).await?,
            };
        }
        if near && archive_end(self.way).is_some_and(|(_, end)| end >= after) {
            let commit =
                ends::first_commit(&self.reader, self.way, after, self.options.tip_segments)
                    .await?;
            first_after = match commit {
                Some(commit) => Some((commit.time, TimeSource::Commit)),
                None => self.object_time(after).await?,
            };
        }
        for (_, source) in [last_before, first_after].into_iter().flatten() {
            if weakest != Some(TimeSource::Object) {
                weakest = Some(source);
            }
        }
        Ok(Hole {
            timeline: self.way.path.timeline_of(span.first),
            first_segment: name(span.first),
            last_segment: name(span.last),
            segments: span.len(),
            begin_lsn: span.first.begin_lsn(wal.segment_size),
            end_lsn,
            last_before: last_before.map(|(time, _)| time),
            first_after: first_after.map(|(time, _)| time),
            time_source: weakest,
            recoverable_again: next.and_then(|backup| backup.end_time),
            next_backup: next.map(|backup| backup.id.clone()),
        })
    }

    /// When a segment's object was stored.
    async fn object_time(
        &self,
        number: SegmentNumber,
    ) -> Result<Option<(DateTime<Utc>, TimeSource)>, VerifyError> {
        let timeline = self.way.path.timeline_of(number);
        let name = crate::postgres::WalFileName::Segment(self.catalog.wal.name(timeline, number));
        let objects = self
            .reader
            .repository()
            .wal_objects(self.reader.catalog(), name);
        match objects.first() {
            Some(object) => Ok(self
                .stored(&object.key)
                .await?
                .map(|time| (time, TimeSource::Object))),
            None => Ok(None),
        }
    }

    fn exposure(&mut self, tip: Option<&ArchiveTip>) -> Option<Exposure> {
        let tip = tip?;
        let newest = self.usable().filter_map(|backup| backup.begin_time).max();
        let read = self
            .survey
            .chains
            .iter()
            .filter(|chain| !self.broken.contains_key(&chain.backup_id))
            .map(|chain| chain.end)
            .max()
            .and_then(|end| self.ends.get(&end));
        let (since, source) = read
            .and_then(|end| moment_of(end, newest))
            .or_else(|| tip.stored.map(|time| (time, TimeSource::Object)))?;
        let seconds = self
            .options
            .now
            .signed_duration_since(since)
            .num_seconds()
            .max(0);
        if let Some(rpo) = self.options.rpo
            && seconds > rpo.num_seconds()
        {
            self.findings.push(
                Finding::new(
                    Code::ObjectiveMissedRpo,
                    tip.key
                        .clone()
                        .unwrap_or_else(|| self.catalog.location.clone()),
                    format!(
                        "the last recoverable moment is {}, {} ago; the tier allows {}",
                        utc(since),
                        length(self.options.now - since),
                        length(rpo)
                    ),
                )
                .with_time(Some(since), Some(self.options.now)),
            );
        }
        Some(Exposure {
            seconds,
            since,
            source,
        })
    }

    fn finish(
        self,
        windows: Vec<Window>,
        holes: Vec<Hole>,
        tip: Option<ArchiveTip>,
        exposure: Option<Exposure>,
    ) -> VerifyReport {
        let catalog = self.catalog;
        let wal = &catalog.wal;
        let end = archive_end(self.way).map(|(timeline, number)| ArchiveEnd {
            timeline,
            segment: wal.name(timeline, number).to_string(),
            lsn: number.end_lsn(wal.segment_size),
            stored: wal
                .timelines
                .get(&timeline)
                .and_then(|own| own.newest_stored),
        });
        let usable_backups = self.usable().count() as u64;
        VerifyReport {
            schema: SCHEMA.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cluster: self.options.cluster.clone(),
            location: catalog.location.clone(),
            layout: catalog.layout,
            depth: Depth::Listed,
            checked_at: self.options.now,
            system_id: self.system_id,
            segment_size: wal.segment_size,
            counts: Counts {
                objects: catalog.objects,
                bytes: catalog.bytes,
                backups: catalog.backups.len() as u64,
                usable_backups,
                wal_segments: wal.count(),
                missing_segments: holes.iter().map(|hole| hole.segments).sum(),
                segments_read: self.reader.count(),
                unknown_objects: catalog.unknown.count,
            },
            current_timeline: self.survey.timelines.current.timeline,
            timelines: self.survey.timelines.all.clone(),
            backups: self.backup_reports(),
            windows,
            holes,
            tip,
            archive_end: end,
            exposure,
            findings: settle(self.findings),
        }
    }

    fn backup_reports(&self) -> Vec<BackupReport> {
        let assessed = self.catalog.backups.iter().zip(&self.survey.backups);
        assessed
            .map(|(backup, found)| {
                let broken = self.broken.get(&backup.id);
                BackupReport {
                    id: backup.id.clone(),
                    name: backup.name.clone(),
                    status: backup.status.clone(),
                    method: backup.method,
                    usable: found.usable && broken.is_none(),
                    reasons: found.reasons.iter().chain(broken).cloned().collect(),
                    timeline: backup.timeline,
                    begin_lsn: backup.begin_lsn,
                    end_lsn: backup.end_lsn,
                    begin_time: backup.begin_time,
                    end_time: backup.end_time,
                    stored_bytes: backup.stored_bytes(),
                    archives: backup.archives.len() as u64,
                    keep: backup.keep,
                    server_version: backup.server_version,
                }
            })
            .collect()
    }
}

/// The last moment that is known to be recovered: the last commit; without one, the
/// latest other record with a time, or the begin of the newest backup.
fn moment_of(
    end: &EndOfWal,
    backup_begin: Option<DateTime<Utc>>,
) -> Option<(DateTime<Utc>, TimeSource)> {
    if let Some(commit) = end.commit {
        return Some((commit.time, TimeSource::Commit));
    }
    end.end?;
    let record = end.record_time.map(|time| (time, TimeSource::Record));
    let backup = backup_begin.map(|time| (time, TimeSource::Backup));
    [record, backup]
        .into_iter()
        .flatten()
        .max_by_key(|(time, _)| *time)
}

/// What a hole means, with its moments.
fn lost_moments(hole: &Hole) -> (String, &'static str) {
    let bound = if hole.time_source == Some(TimeSource::Object) {
        " (by the time objects were stored, the nearest thing known)"
    } else {
        ""
    };
    let from = hole.last_before.map_or_else(
        || format!("after {}", hole.begin_lsn),
        |time| format!("after {}{bound}", utc(time)),
    );
    match (hole.recoverable_again, &hole.next_backup) {
        (Some(again), Some(backup)) => (
            format!(
                "No moment {from} and before {}, when base backup {backup} is consistent, can be recovered; a plain restore from an older backup promotes quietly at the hole, with rows missing.",
                utc(again)
            ),
            "Find the segments in pg_wal of the primary or a standby and archive them. The newest base backup does not need them.",
        ),
        _ => (
            format!(
                "Nothing {from} can be recovered: no usable base backup begins after the hole; a plain restore promotes quietly there, with rows missing.",
            ),
            "Take a base backup now. Then look for the segments in pg_wal of the primary or a standby and archive them.",
        ),
    }
}
