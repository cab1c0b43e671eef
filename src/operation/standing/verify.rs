//! Where a copy stands by its newest verification.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::Tier;
use crate::finding::{Finding, Severity};
use crate::postgres::Lsn;
use crate::repository::BackupStatus;
use crate::verify::{Depth, TimeSource, VerifyReport};

/// Findings of one code, counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FindingTally {
    /// The gravest.
    pub severity: Severity,
    /// How many.
    pub count: u64,
}

/// Findings by code. Bounded by the number of codes.
pub fn tally(findings: &[Finding]) -> BTreeMap<String, FindingTally> {
    let mut tallies: BTreeMap<String, FindingTally> = BTreeMap::new();
    for finding in findings {
        let tally = tallies
            .entry(finding.code.as_str().to_owned())
            .or_insert(FindingTally {
                severity: finding.severity,
                count: 0,
            });
        tally.severity = tally.severity.max(finding.severity);
        tally.count += 1;
    }
    tallies
}

/// Where a copy stands by its newest verification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VerifyStanding {
    /// How deeply it was looked at.
    pub depth: Depth,
    /// When it was looked at. Everything here is as of this moment.
    pub checked_at: DateTime<Utc>,
    /// The last moment that could be recovered; by `tip_source`.
    #[serde(default)]
    pub tip_commit_at: Option<DateTime<Utc>>,
    /// Where `tip_commit_at` comes from. With `object` the true exposure is greater.
    #[serde(default)]
    pub tip_source: Option<TimeSource>,
    /// Whether `tip_commit_at` is there and no mere bound: the exposure is known.
    #[serde(default)]
    pub exposure_known: bool,
    /// The archive tip.
    #[serde(default)]
    pub tip_lsn: Option<Lsn>,
    /// The newest WAL of the current timeline, holes or not.
    #[serde(default)]
    pub archive_end_lsn: Option<Lsn>,
    /// When it was stored.
    #[serde(default)]
    pub archive_end_at: Option<DateTime<Utc>>,
    /// The begin of the newest window.
    #[serde(default)]
    pub window_begin: Option<DateTime<Utc>>,
    /// The end of the newest window.
    #[serde(default)]
    pub window_end: Option<DateTime<Utc>>,
    /// The begin of the oldest window. Between it and `window_end` there may be gaps.
    #[serde(default)]
    pub oldest_begin: Option<DateTime<Utc>>,
    /// How many windows there are.
    #[serde(default)]
    pub windows: u64,
    /// How many stretches of WAL are missing.
    #[serde(default)]
    pub gaps: u64,
    /// How many segments are missing in them.
    #[serde(default)]
    pub missing_segments: u64,
    /// The end of the newest usable base backup.
    #[serde(default)]
    pub newest_backup_at: Option<DateTime<Utc>>,
    /// Its id.
    #[serde(default)]
    pub newest_backup_id: Option<String>,
    /// When the newest failed base backup began, if none that can be used ended after it.
    #[serde(default)]
    pub failed_backup_at: Option<DateTime<Utc>>,
    /// Base backups that can be used.
    #[serde(default)]
    pub usable_backups: u64,
    /// Base backups of any status.
    #[serde(default)]
    pub backups: u64,
    /// Full WAL segments.
    #[serde(default)]
    pub segments: u64,
    /// Objects listed.
    #[serde(default)]
    pub objects: u64,
    /// The stored size of base backups, in bytes.
    #[serde(default)]
    pub base_bytes: u64,
    /// The stored size of everything else, nearly all of it WAL, in bytes.
    #[serde(default)]
    pub wal_bytes: u64,
    /// Decoded bytes that were read.
    #[serde(default)]
    pub bytes_read: u64,
    /// What was found, by code.
    #[serde(default)]
    pub findings: BTreeMap<String, FindingTally>,
    /// The recovery point objective that held, in milliseconds.
    #[serde(default)]
    pub rpo_ms: Option<u64>,
}

impl VerifyStanding {
    /// As it is kept; `None` when this version cannot read it.
    pub fn read(body: serde_json::Value) -> Option<Self> {
        serde_json::from_value(body).ok()
    }

    /// Where a copy stands by this report; `objectives` are those that it was held to.
    pub fn of(report: &VerifyReport, objectives: &Tier) -> Self {
        let newest = report.windows.last();
        let usable = report
            .backups
            .iter()
            .filter(|backup| backup.usable)
            .max_by_key(|backup| (backup.end_time, backup.end_lsn));
        let newest_backup_at = usable.and_then(|backup| backup.end_time);
        let failed_backup_at = report
            .backups
            .iter()
            .filter(|backup| matches!(backup.status, BackupStatus::Failed))
            .filter_map(|backup| backup.begin_time)
            .max()
            .filter(|failed| newest_backup_at.is_none_or(|newest| newest < *failed));
        let base_bytes = report
            .backups
            .iter()
            .map(|backup| backup.stored_bytes)
            .sum();
        let archives = report.bases.iter().flat_map(|base| &base.archives);
        let wal_read = report.wal.as_ref().map_or(0, |wal| wal.bytes);
        Self {
            depth: report.depth,
            checked_at: report.checked_at,
            tip_commit_at: report.exposure.map(|exposure| exposure.since),
            tip_source: report.exposure.map(|exposure| exposure.source),
            exposure_known: report
                .exposure
                .is_some_and(|exposure| exposure.source != TimeSource::Object),
            tip_lsn: report.tip.as_ref().map(|tip| tip.lsn),
            archive_end_lsn: report.archive_end.as_ref().map(|end| end.lsn),
            archive_end_at: report.archive_end.as_ref().and_then(|end| end.stored),
            window_begin: newest.and_then(|window| window.begin_time),
            window_end: newest.and_then(|window| window.end_time),
            oldest_begin: report.windows.first().and_then(|window| window.begin_time),
            windows: report.windows.len() as u64,
            gaps: report.holes.len() as u64,
            missing_segments: report.counts.missing_segments,
            newest_backup_at,
            newest_backup_id: usable.map(|backup| backup.id.clone()),
            failed_backup_at,
            usable_backups: report.counts.usable_backups,
            backups: report.counts.backups,
            segments: report.counts.wal_segments,
            objects: report.counts.objects,
            base_bytes,
            wal_bytes: report.counts.bytes.saturating_sub(base_bytes),
            bytes_read: wal_read + archives.map(|archive| archive.decoded_bytes).sum::<u64>(),
            findings: tally(&report.findings),
            rpo_ms: objectives
                .rpo
                .map(|rpo| rpo.as_secs().saturating_mul(1_000)),
        }
    }

    /// The gravest finding.
    pub fn worst(&self) -> Option<Severity> {
        self.findings.values().map(|tally| tally.severity).max()
    }
}
