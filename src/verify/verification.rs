//! The verification as a whole: names and sizes first, then the bytes, as deep as asked.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::finding::Finding;
use crate::postgres::{Lsn, SegmentNumber, SystemId, WalFileName};
use crate::repository::{BaseBackup, Catalog, Repository};

use super::backups::Way;
use super::base::BaseReport;
use super::chain::{ChainStop, archive_end};
use super::ends::{self, EndRequest};
use super::holes::{Gap, Moment};
use super::listed::Survey;
use super::read::{self, OnReadProgress, ShardRead, WalReading};
use super::report::{ARCHIVE_ENDS, SCHEMA, settle};
use super::rotation::Subset;
use super::segment_reader::SegmentReader;
use super::stretch::{Stretch, exposure};
use super::wal::{HoleSpan, hole_findings};
use super::{
    ArchiveEnd, ArchiveTip, BackupReport, Counts, Depth, Exposure, Hole, RequestedDepth,
    TimeSource, VerifyError, VerifyOptions, VerifyReport, Window, duplicates, objects, switches,
};

/// Looks at a repository as deeply as the options say: one listing and the small metadata
/// objects; at depth `listed` the segments at the ends of contiguous WAL, around holes, at
/// timeline switches and stored twice; at depth `read` every object.
/// Memory: the catalog and three segments; at depth `read` see [`read`].
pub async fn verify(
    repository: &Repository,
    options: &VerifyOptions,
) -> Result<VerifyReport, VerifyError> {
    let catalog = repository.catalog().await?;
    verify_catalog(repository, &catalog, options, &|_| {}).await
}

/// The same for a catalog that was read already; `on_progress` is told how far it is.
/// Dropping the future stops the work.
#[tracing::instrument(name = "phase", skip_all, fields(otel.name = "read", walproof.phase = "read"))]
pub async fn verify_catalog(
    repository: &Repository,
    catalog: &Catalog,
    options: &VerifyOptions,
    on_progress: OnReadProgress<'_>,
) -> Result<VerifyReport, VerifyError> {
    if options.beside.is_empty() {
        return look(repository, catalog, options, on_progress).await;
    }
    let mut all = catalog.clone();
    all.backups.extend_from_slice(&options.beside);
    look(repository, &all, options, on_progress).await
}

/// Reads one shard of a repository into [`VerifyOptions::parts`], for whoever verifies it at
/// depth `read` with the same parts. What is kept already is not read again.
pub async fn read_part(
    repository: &Repository,
    catalog: &Catalog,
    options: &VerifyOptions,
    shard: Subset,
    on_progress: OnReadProgress<'_>,
) -> Result<ShardRead, VerifyError> {
    let survey = Survey::of(catalog, options);
    let system_id = objects::system_id(catalog);
    let way = survey.way(catalog);
    read::read_shard(repository, way, system_id, options, shard, on_progress).await
}

async fn look(
    repository: &Repository,
    catalog: &Catalog,
    options: &VerifyOptions,
    on_progress: OnReadProgress<'_>,
) -> Result<VerifyReport, VerifyError> {
    let survey = Survey::of(catalog, options);
    let mut work = Work {
        options,
        catalog,
        way: survey.way(catalog),
        reader: SegmentReader::new(repository, catalog),
        system_id: objects::system_id(catalog),
        survey: &survey,
        stretches: Vec::new(),
        gaps: Vec::new(),
        broken: BTreeMap::new(),
        findings: survey.findings.clone(),
        wal: None,
        bases: Vec::new(),
        base_depths: BTreeMap::new(),
    };
    match options.depth {
        RequestedDepth::Listed => work.read_ends().await?,
        RequestedDepth::Sampled | RequestedDepth::Read => work.read_all(on_progress).await?,
    }
    let windows = work.windows();
    let tip = work.tip().await?;
    let holes = work.holes();
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
    /// WAL that can be replayed without a stop, in the order of the way.
    stretches: Vec<Stretch>,
    /// What lies between, and behind the last.
    gaps: Vec<Gap>,
    /// Backups that the bytes make unusable, and why.
    broken: BTreeMap<String, String>,
    findings: Vec<Finding>,
    /// What reading every record found.
    wal: Option<WalReading>,
    /// What reading the base backups found.
    bases: Vec<BaseReport>,
    base_depths: BTreeMap<String, Depth>,
}

/// Why a backup cannot be used although its WAL is all there.
pub(super) const UNREADABLE_WAL: &str =
    "the WAL that makes it consistent cannot be read to its end";

impl Work<'_> {
    /// Reads the end of every chain: of the newest one, and of as many before holes as
    /// the options allow.
    async fn read_ends(&mut self) -> Result<(), VerifyError> {
        let mut floors: BTreeMap<SegmentNumber, Lsn> = BTreeMap::new();
        for chain in &self.survey.chains {
            let begin = self
                .catalog
                .backup(&chain.backup_id)
                .and_then(|backup| backup.begin_lsn);
            if let Some(begin) = begin {
                let floor = floors.entry(chain.end).or_insert(begin);
                *floor = begin.max(*floor);
            }
        }
        let mut read = BTreeMap::new();
        for (last, floor) in floors.into_iter().rev().take(self.options.holes_read + 1) {
            let request = EndRequest {
                last,
                floor,
                system_id: self.system_id,
                segments: self.options.tip_segments,
            };
            let end = ends::read_end(&self.reader, self.way, request).await?;
            self.findings.extend(end.findings.iter().cloned());
            read.insert(last, end);
        }
        let mut stretches: BTreeMap<SegmentNumber, Stretch> = BTreeMap::new();
        for chain in &self.survey.chains {
            let Some(last) = chain.last() else { continue };
            let end = read.get(&chain.end).cloned().unwrap_or_default();
            let stretch = stretches.entry(chain.end).or_insert_with(|| Stretch {
                last,
                because: if end.findings.is_empty() {
                    self.because(chain.stopped_by)
                } else {
                    "a segment cannot be read".to_owned()
                },
                end,
                backups: Vec::new(),
                depth: Depth::Listed,
            });
            let needed = self
                .catalog
                .backup(&chain.backup_id)
                .and_then(|backup| backup.end_lsn);
            let reached = stretch
                .end
                .end
                .is_some_and(|end| needed.is_none_or(|needed| needed <= end));
            if reached || stretch.end.findings.is_empty() {
                stretch.backups.push(chain.backup_id.clone());
            } else {
                self.broken
                    .insert(chain.backup_id.clone(), UNREADABLE_WAL.to_owned());
            }
        }
        self.stretches = stretches.into_values().collect();
        for (index, span) in self.survey.holes.iter().enumerate() {
            // The newest are the ones that matter most.
            let near = self.survey.holes.len() - index <= self.options.holes_read;
            let gap = self.gap(span, near).await?;
            self.gaps.push(gap);
        }
        if let Some(from) = self.survey.needed_from {
            let range = (from, SegmentNumber(u64::MAX));
            let (reader, options) = (&self.reader, self.options);
            let switched = switches::compare(reader, self.way, range, options.switches_read);
            self.findings.extend(switched.await?);
            let twice = duplicates::compare(reader, self.way, from, options.duplicates_read);
            self.findings.extend(twice.await?);
        }
        Ok(())
    }

    /// Reads everything.
    async fn read_all(&mut self, on_progress: OnReadProgress<'_>) -> Result<(), VerifyError> {
        let reading = read::read(
            self.reader.repository(),
            self.way,
            self.survey,
            self.system_id,
            self.options,
            on_progress,
        )
        .await?;
        let judged = read::judge(self.way, self.survey, self.options, &reading);
        self.reader.add(reading.wal.objects);
        self.stretches = judged.stretches;
        self.gaps = judged.gaps;
        self.broken = judged.broken;
        self.findings.extend(judged.findings);
        self.wal = Some(reading.wal);
        self.base_depths = judged.base_depths;
        self.bases = reading.bases.into_iter().map(|base| base.report).collect();
        if let Some(from) = self.survey.needed_from {
            let range = (from, SegmentNumber(u64::MAX));
            let switched = switches::compare(&self.reader, self.way, range, usize::MAX).await?;
            self.findings.extend(switched);
        }
        Ok(())
    }

    /// Usable also by the bytes that were read.
    fn usable(&self) -> impl Iterator<Item = &BaseBackup> {
        self.survey
            .usable(self.catalog)
            .filter(|backup| !self.broken.contains_key(&backup.id))
    }

    fn windows(&self) -> Vec<Window> {
        self.stretches
            .iter()
            .filter_map(|stretch| stretch.window(self.catalog))
            .collect()
    }

    fn because(&self, stop: ChainStop) -> String {
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

    /// The newest stretch that a usable base backup leads into.
    fn newest(&self) -> Option<&Stretch> {
        self.stretches
            .iter()
            .rev()
            .find(|stretch| !stretch.backups.is_empty())
    }

    /// The tip: where recovery from the newest usable backup ends.
    async fn tip(&mut self) -> Result<Option<ArchiveTip>, VerifyError> {
        let Some((tip, finding)) = self
            .newest()
            .map(|stretch| stretch.tip(self.catalog, self.options))
        else {
            return Ok(None);
        };
        self.findings.extend(finding);
        let stored = match &tip.key {
            Some(key) => self.stored(key).await?,
            None => None,
        };
        Ok(Some(ArchiveTip { stored, ..tip }))
    }

    async fn stored(&self, key: &str) -> Result<Option<DateTime<Utc>>, VerifyError> {
        let entry = self.reader.repository().store().head(key).await?;
        Ok(entry.map(|entry| entry.last_modified))
    }

    fn holes(&mut self) -> Vec<Hole> {
        let mut holes = Vec::new();
        let mut findings = Vec::new();
        for gap in &self.gaps {
            let (hole, found) = gap.clone().tell(self.way, self.usable());
            holes.push(hole);
            findings.extend(found);
        }
        self.findings.extend(findings);
        holes
    }

    /// A hole in the names, with the moments around it read, or bounded by the times at
    /// which objects were stored.
    async fn gap(&self, span: &HoleSpan, near: bool) -> Result<Gap, VerifyError> {
        let size = self.catalog.wal.segment_size;
        let after = span.last.next();
        let mut last_before = None;
        let mut first_after = None;
        if near && let Some(before) = span.first.previous() {
            let stretch = self
                .stretches
                .iter()
                .find(|stretch| stretch.last.1 == before);
            last_before = match stretch.and_then(|stretch| stretch.end.commit) {
                Some(commit) => Some((commit.time, TimeSource::Commit)),
                None => self.object_time(before).await?,
            };
        }
        if near && archive_end(self.way).is_some_and(|(_, end)| end >= after) {
            let segments = self.options.tip_segments;
            let commit = ends::first_commit(&self.reader, self.way, after, segments).await?;
            first_after = match commit {
                Some(commit) => Some((commit.time, TimeSource::Commit)),
                None => self.object_time(after).await?,
            };
        }
        Ok(Gap {
            first: span.first,
            last: span.last,
            begin: span.first.begin_lsn(size),
            end: span.last.end_lsn(size),
            last_before,
            first_after,
            findings: hole_findings(self.way, span),
        })
    }

    /// When a segment's object was stored.
    async fn object_time(&self, number: SegmentNumber) -> Result<Option<Moment>, VerifyError> {
        let timeline = self.way.path.timeline_of(number);
        let name = WalFileName::Segment(self.catalog.wal.name(timeline, number));
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
        let begin = self.usable().filter_map(|backup| backup.begin_time).max();
        let (exposure, missed) = exposure(tip?, self.newest(), begin, self.catalog, self.options)?;
        self.findings.extend(missed);
        Some(exposure)
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
            depth: self.options.reached(),
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
            wal: self.wal,
            bases: self.bases,
            rotation: None,
            ledger: None,
            alone: None,
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
                    depth: self
                        .base_depths
                        .get(&backup.id)
                        .copied()
                        .unwrap_or(Depth::Listed),
                }
            })
            .collect()
    }
}
