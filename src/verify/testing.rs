//! Catalogs built in code, for tests.

use std::ops::RangeInclusive;

use chrono::{DateTime, Duration, TimeZone, Utc};

use crate::codec::Codec;
use crate::finding::{Code, Finding};
use crate::postgres::{
    HistoryEntry, Lsn, SegmentNumber, SegmentSize, SystemId, TimelineHistory, TimelineId,
};
use crate::repository::{
    Archive, ArchiveContents, BackupMethod, BackupStatus, BaseBackup, Catalog, HistoryObject,
    Layout, SegmentRun, Tablespace, UnknownObjects, WalInventory,
};

use super::VerifyOptions;

pub(crate) const MIB16: SegmentSize = SegmentSize::DEFAULT;
pub(crate) const SYSTEM: SystemId = SystemId(7_575_056_789_012_345_678);

/// The moment at which tests look: 2026-11-21 12:00:00 UTC.
pub(crate) fn now() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 11, 21, 12, 0, 0).unwrap()
}

pub(crate) fn options() -> VerifyOptions {
    VerifyOptions {
        now: now(),
        ..VerifyOptions::default()
    }
}

/// The position `offset` bytes into 16-MiB segment `segment`.
pub(crate) fn lsn(segment: u64, offset: u64) -> Lsn {
    Lsn::new(segment * MIB16.bytes() + offset)
}

/// A history: `(ancestor, switch segment, offset)`.
pub(crate) fn history(timeline: u32, ancestors: &[(u32, u64, u64)]) -> TimelineHistory {
    TimelineHistory {
        timeline: TimelineId(timeline),
        ancestors: ancestors
            .iter()
            .map(|(ancestor, segment, offset)| HistoryEntry {
                timeline: TimelineId(*ancestor),
                switch_lsn: lsn(*segment, *offset),
                reason: "no recovery target specified".to_owned(),
            })
            .collect(),
    }
}

/// A finished backup `hours` before [`now`], from segment `first` to `last`, without
/// tablespaces, in one plain archive.
pub(crate) fn backup(id: &str, timeline: u32, first: u64, last: u64, hours: i64) -> BaseBackup {
    let begin = now() - Duration::hours(hours);
    BaseBackup {
        id: id.to_owned(),
        name: None,
        status: BackupStatus::Done,
        error: None,
        method: BackupMethod::Archives,
        begin_time: Some(begin),
        end_time: Some(begin + Duration::minutes(1)),
        begin_lsn: Some(lsn(first, 0x28)),
        end_lsn: Some(lsn(last, 0x138)),
        timeline: Some(TimelineId(timeline)),
        system_id: Some(SYSTEM),
        server_version: Some(150_018),
        segment_size: MIB16,
        data_checksums: Some(true),
        cluster_size: Some(30 << 20),
        tablespaces: Vec::new(),
        backup_label: None,
        keep: None,
        archives: vec![archive(id, ArchiveContents::Data, 0, Codec::None, 40 << 20)],
        info_key: format!("base/{id}/backup.info"),
        info_sha256: None,
        info_bytes: None,
        unknown_fields: std::collections::BTreeMap::new(),
        notes: Vec::new(),
    }
}

pub(crate) fn archive(
    id: &str,
    contents: ArchiveContents,
    part: u32,
    codec: Codec,
    size: u64,
) -> Archive {
    let stem = match contents {
        ArchiveContents::Data => "data".to_owned(),
        ArchiveContents::Tablespace(oid) => oid.to_string(),
    };
    let number = if part == 0 {
        String::new()
    } else {
        format!("_{part:04}")
    };
    Archive {
        contents,
        part,
        key: format!("base/{id}/{stem}{number}.tar{}", codec.extension()),
        codec,
        size,
        last_modified: now(),
    }
}

pub(crate) fn tablespace(oid: u32) -> Tablespace {
    Tablespace {
        oid,
        name: format!("space{oid}"),
        location: format!("/srv/space{oid}"),
    }
}

pub(crate) fn codes(findings: &[Finding]) -> Vec<Code> {
    findings.iter().map(|finding| finding.code).collect()
}

pub(crate) struct CatalogBuilder {
    catalog: Catalog,
}

impl CatalogBuilder {
    pub(crate) fn new() -> Self {
        Self {
            catalog: Catalog {
                layout: Layout::BarmanCloud,
                location: "s3://backups/orders".to_owned(),
                listed_at: now(),
                objects: 10,
                bytes: 1 << 30,
                backups: Vec::new(),
                wal: WalInventory::default(),
                unknown: UnknownObjects::default(),
                findings: Vec::new(),
                notes: Vec::new(),
            },
        }
    }

    /// Adds full segments; ranges of one timeline in rising order.
    pub(crate) fn segments(self, timeline: u32, range: RangeInclusive<u64>) -> Self {
        self.segments_as(timeline, range, Codec::Gzip)
    }

    pub(crate) fn segments_as(
        mut self,
        timeline: u32,
        range: RangeInclusive<u64>,
        codec: Codec,
    ) -> Self {
        let wal = self
            .catalog
            .wal
            .timelines
            .entry(TimelineId(timeline))
            .or_default();
        wal.runs.push(SegmentRun {
            first: SegmentNumber(*range.start()),
            last: SegmentNumber(*range.end()),
            codec,
        });
        wal.newest_stored = Some(now() - Duration::minutes(5));
        self
    }

    pub(crate) fn partial(mut self, timeline: u32, number: u64) -> Self {
        let wal = self
            .catalog
            .wal
            .timelines
            .entry(TimelineId(timeline))
            .or_default();
        wal.partials.push((SegmentNumber(number), Codec::Gzip));
        self
    }

    pub(crate) fn history(mut self, timeline: u32, ancestors: &[(u32, u64, u64)]) -> Self {
        self.catalog.wal.histories.insert(
            TimelineId(timeline),
            HistoryObject {
                key: format!("wals/{timeline:08X}.history"),
                codec: Codec::None,
                history: Ok(history(timeline, ancestors)),
            },
        );
        self
    }

    pub(crate) fn backup(mut self, backup: BaseBackup) -> Self {
        self.catalog.backups.push(backup);
        self
    }

    /// Changes anything.
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Catalog)) -> Self {
        change(&mut self.catalog);
        self
    }

    pub(crate) fn build(self) -> Catalog {
        self.catalog
    }
}
