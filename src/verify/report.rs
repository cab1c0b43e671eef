//! What a verification found: one struct for machines and for people.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::finding::{Code, Finding, Severity};
use crate::postgres::{Lsn, SegmentSize, SystemId, TimelineId};
use crate::repository::{Alone, BackupMethod, BackupStatus, Keep, Layout};

use super::base::BaseReport;
use super::ledger::LedgerReport;
use super::read::WalReading;
use super::rotation::RotationReport;
use super::timelines::TimelineReport;

/// The contract of [`VerifyReport`] as JSON. Fields are only added within a version.
pub const SCHEMA: &str = "walproof.verify/v1";

/// Why a healthy window goes no further.
pub const ARCHIVE_ENDS: &str = "the archive ends";

/// How deeply something was looked at.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Depth {
    /// Names and sizes; of the WAL only the ends were read.
    Listed,
    /// A stated subset was read.
    Sampled,
    /// Every byte was read.
    Read,
    /// A drill proved it.
    Restored,
}

impl Depth {
    /// The word used in output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Listed => "listed",
            Self::Sampled => "sampled",
            Self::Read => "read",
            Self::Restored => "restored",
        }
    }
}

/// One commit in the WAL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CommitPoint {
    /// Where its record begins.
    pub lsn: Lsn,
    /// The position after its record.
    pub end: Lsn,
    /// The transaction.
    pub xid: u32,
    /// The commit time that the server wrote.
    pub time: DateTime<Utc>,
}

/// Where a time in a report comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TimeSource {
    /// COMMIT records: exact.
    Commit,
    /// Another record with a time, such as a checkpoint: all commits before it are there.
    Record,
    /// The begin of a base backup, by its description: all commits before it are in it.
    Backup,
    /// When an object was stored: a bound only, for its last commit is older.
    Object,
}

/// Objects counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Counts {
    /// Objects listed.
    pub objects: u64,
    /// The sum of their stored sizes in bytes.
    pub bytes: u64,
    /// Base backups of any status.
    pub backups: u64,
    /// Base backups that can be used for the current timeline.
    pub usable_backups: u64,
    /// Full WAL segments on all timelines.
    pub wal_segments: u64,
    /// Missing or impossible WAL segments among those that recovery needs.
    pub missing_segments: u64,
    /// WAL segments whose bytes were read.
    pub segments_read: u64,
    /// Objects of no known kind.
    pub unknown_objects: u64,
}

/// One base backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct BackupReport {
    /// Its id.
    pub id: String,
    /// A name given by a person or operator.
    pub name: Option<String>,
    /// What the tool that made it says.
    pub status: BackupStatus,
    /// How its files are kept.
    pub method: BackupMethod,
    /// Whether it can be used for the current timeline.
    pub usable: bool,
    /// Why not.
    pub reasons: Vec<String>,
    /// The timeline on which it was taken.
    pub timeline: Option<TimelineId>,
    /// The redo point.
    pub begin_lsn: Option<Lsn>,
    /// The end of the WAL that makes it consistent.
    pub end_lsn: Option<Lsn>,
    /// When it began.
    pub begin_time: Option<DateTime<Utc>>,
    /// When it ended.
    pub end_time: Option<DateTime<Utc>>,
    /// The sum of its archives' stored sizes in bytes.
    pub stored_bytes: u64,
    /// How many archives it has.
    pub archives: u64,
    /// Protection from expiry.
    pub keep: Option<Keep>,
    /// `server_version_num`.
    pub server_version: Option<u32>,
    /// How deeply it was looked at: `read` when every byte of it was, and the WAL that makes
    /// it consistent.
    pub depth: Depth,
}

/// A stretch to every moment of which recovery is possible.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Window {
    /// Where recovery becomes consistent.
    pub begin_lsn: Lsn,
    /// When that was, at the latest: when the backup ended.
    pub begin_time: Option<DateTime<Utc>>,
    /// Where contiguous WAL ends.
    pub end_lsn: Lsn,
    /// The last moment: the commit time of the last commit in it.
    pub end_time: Option<DateTime<Utc>>,
    /// Where `end_time` comes from.
    pub end_time_source: Option<TimeSource>,
    /// The timeline at its end.
    pub timeline: TimelineId,
    /// The oldest base backup that gives it.
    pub backup_id: String,
    /// All base backups that lie in it, oldest first.
    pub backups: Vec<String>,
    /// How deeply it was looked at.
    pub depth: Depth,
    /// Why it goes no further, in a few words.
    pub ends_because: String,
}

/// A stretch of WAL that recovery needs and cannot have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Hole {
    /// The timeline of its first segment.
    pub timeline: TimelineId,
    /// The name of the first missing segment.
    pub first_segment: String,
    /// The name of the last missing segment.
    pub last_segment: String,
    /// How many segments.
    pub segments: u64,
    /// The first missing byte.
    pub begin_lsn: Lsn,
    /// The byte after the last missing one.
    pub end_lsn: Lsn,
    /// The last commit before it, or a bound by the time of the last object before it.
    pub last_before: Option<DateTime<Utc>>,
    /// The first commit after it, or a bound by the time of the first object after it.
    pub first_after: Option<DateTime<Utc>>,
    /// Where these two times come from; the weaker of the two.
    pub time_source: Option<TimeSource>,
    /// When recovery becomes possible again: the end of the next usable base backup.
    pub recoverable_again: Option<DateTime<Utc>>,
    /// That base backup.
    pub next_backup: Option<String>,
}

/// The last position that can be reached through contiguous, valid WAL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ArchiveTip {
    /// The timeline.
    pub timeline: TimelineId,
    /// What `pg_last_wal_replay_lsn()` shows after replaying everything.
    pub lsn: Lsn,
    /// Where the last record begins; `None` when the last segments could not be read.
    pub last_record: Option<Lsn>,
    /// The last commit.
    pub commit: Option<CommitPoint>,
    /// The key of the segment that holds it.
    pub key: Option<String>,
    /// When that object was stored.
    pub stored: Option<DateTime<Utc>>,
}

/// The newest WAL on the current timeline, holes or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ArchiveEnd {
    /// Its timeline.
    pub timeline: TimelineId,
    /// The segment's name.
    pub segment: String,
    /// The position after its last byte.
    pub lsn: Lsn,
    /// When the newest segment of the timeline was stored.
    pub stored: Option<DateTime<Utc>>,
}

/// What would be lost if production vanished now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Exposure {
    /// Seconds from `since` to the moment of the verification.
    pub seconds: i64,
    /// The last moment that can be recovered.
    pub since: DateTime<Utc>,
    /// Where that comes from. With `object` the true exposure is greater.
    pub source: TimeSource,
}

/// The result of a verification.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct VerifyReport {
    /// The contract, `walproof.verify/v1`.
    pub schema: String,
    /// The version of walproof that wrote it.
    pub version: String,
    /// The cluster's name, when the configuration knows it.
    pub cluster: Option<String>,
    /// The repository's URL.
    pub location: String,
    /// The layout by which it was read.
    pub layout: Layout,
    /// How deeply it was looked at.
    pub depth: Depth,
    /// When it was looked at; ages and exposure are taken at this moment.
    pub checked_at: DateTime<Utc>,
    /// The database system that it is taken to belong to.
    pub system_id: Option<SystemId>,
    /// The cluster's segment size in bytes.
    pub segment_size: SegmentSize,
    /// Objects counted.
    pub counts: Counts,
    /// The current timeline.
    pub current_timeline: TimelineId,
    /// Every timeline.
    pub timelines: Vec<TimelineReport>,
    /// Every base backup, oldest first.
    pub backups: Vec<BackupReport>,
    /// To which moments recovery is possible, oldest first.
    pub windows: Vec<Window>,
    /// Where it is not, though it should be.
    pub holes: Vec<Hole>,
    /// Where recovery from the newest base backup ends.
    pub tip: Option<ArchiveTip>,
    /// Where the archive ends.
    pub archive_end: Option<ArchiveEnd>,
    /// What would be lost now.
    pub exposure: Option<Exposure>,
    /// What reading the WAL found; only at depth `sampled` and `read`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wal: Option<WalReading>,
    /// What reading the base backups found, in the order of reading; empty at depth
    /// `listed`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bases: Vec<BaseReport>,
    /// What was chosen to be read, and by when everything will have been; at depth `sampled`
    /// and `read`, where a state database is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotation: Option<RotationReport>,
    /// What is remembered of the objects, where a state database is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ledger: Option<LedgerReport>,
    /// What was read from where, and whether any other copy of the cluster could be reached
    /// meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alone: Option<Alone>,
    /// What is wrong, worst first.
    pub findings: Vec<Finding>,
}

impl VerifyReport {
    /// The severity of the worst finding.
    pub fn worst_severity(&self) -> Option<Severity> {
        self.findings.iter().map(|finding| finding.severity).max()
    }

    /// Decoded bytes per second of everything that was read; `None` when nothing was.
    pub fn read_rate(&self) -> Option<u64> {
        let wal = self.wal.as_ref()?;
        let archives = self.bases.iter().flat_map(|base| &base.archives);
        let all = wal.bytes + archives.map(|archive| archive.decoded_bytes).sum::<u64>();
        (all > 0).then(|| all.saturating_mul(1_000) / wal.milliseconds.max(1))
    }

    /// How many findings there are of a severity.
    pub fn count_of(&self, severity: Severity) -> usize {
        let of = |finding: &&Finding| finding.severity == severity;
        self.findings.iter().filter(of).count()
    }
}

/// Whether an archive may have several of these, each about another file in it.
const fn is_within_archive(code: Code) -> bool {
    matches!(
        code,
        Code::PageCorrupt
            | Code::PageBeyondEnd
            | Code::PageStale
            | Code::RelationFileMissing
            | Code::RelationFileShort
            | Code::RelationMapCorrupt
            | Code::TransactionStatusMissing
            | Code::ManifestMismatch
    )
}

/// Sorts findings worst first, then by code and object, and drops those that say of one
/// object what an earlier one already said.
pub fn settle(mut findings: Vec<Finding>) -> Vec<Finding> {
    findings.sort_by(|a, b| {
        let place = |finding: &Finding| finding.wal.map(|range| range.begin);
        b.severity
            .cmp(&a.severity)
            .then(a.code.cmp(&b.code))
            .then(place(a).cmp(&place(b)))
            .then(a.object.cmp(&b.object))
    });
    let mut seen = std::collections::BTreeSet::new();
    findings.retain(|finding| {
        let place = finding.wal.map(|range| range.begin);
        let within = is_within_archive(finding.code).then(|| finding.message.clone());
        seen.insert((finding.code, finding.object.clone(), place, within))
    });
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_finding_per_object_but_every_damaged_file_of_an_archive() {
        let finding = |code, message: &str| Finding::new(code, "data.tar", message);
        let settled = settle(vec![
            finding(Code::PageCorrupt, "base/5/1"),
            finding(Code::PageCorrupt, "base/5/2"),
            finding(Code::PageCorrupt, "base/5/2"),
            finding(Code::BackupDamaged, "cut"),
            finding(Code::BackupDamaged, "cut, in other words"),
        ]);
        let codes: Vec<Code> = settled.iter().map(|finding| finding.code).collect();
        assert_eq!(
            codes,
            [Code::BackupDamaged, Code::PageCorrupt, Code::PageCorrupt]
        );
    }
}
