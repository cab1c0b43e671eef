//! What a verification is measured against.

use chrono::{DateTime, Duration, Utc};

use super::Depth;
use super::ledger::ReadLog;
use super::parts::Parts;
use super::rotation::Selection;
use crate::repository::BaseBackup;

/// How deeply a verification is to look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RequestedDepth {
    /// Names and sizes; of the WAL only the ends.
    #[default]
    Listed,
    /// What [`VerifyOptions::selection`] says, to the last byte.
    Sampled,
    /// Everything, to the last byte.
    Read,
}

/// Options of a verification. Limits that are `None` are not checked: without a tier
/// there is no promise to hold a repository to.
#[derive(Clone, Debug)]
pub struct VerifyOptions {
    /// The cluster's name, for the report.
    pub cluster: Option<String>,
    /// The moment at which ages and the exposure are taken.
    pub now: DateTime<Utc>,
    /// The tier's limit for the age of the newest usable base backup.
    pub max_backup_age: Option<Duration>,
    /// How far back the tier promises recovery.
    pub retention: Option<Duration>,
    /// The tier's limit for the exposure.
    pub rpo: Option<Duration>,
    /// After this time an unfinished base backup is a finding.
    pub started_too_long: Duration,
    /// How deeply to look.
    pub depth: RequestedDepth,
    /// What to read, unless the depth is `listed`.
    pub selection: Selection,
    /// Is told of every object that was read.
    pub log: ReadLog,
    /// What shards have read, and where a shard keeps what it reads.
    pub parts: Parts,
    /// Whether the report of a reading lists every segment. Takes memory per segment.
    pub by_segment: bool,
    /// How many segments are read backwards from an end of WAL in search of a commit.
    pub tip_segments: u64,
    /// How many holes have their neighbours read for the moments that are lost; of later
    /// ones only the names and positions are told.
    pub holes_read: usize,
    /// How many segments stored twice are read and compared.
    pub duplicates_read: usize,
    /// How many of the newest timeline switches are compared by their bytes.
    pub switches_read: usize,
    /// Base backups that lie beside the repository, such as volume snapshots. Given where
    /// the repository itself has none that can be used: then they count as its own, and a
    /// finding says where they lie.
    pub beside: Vec<BaseBackup>,
}

impl VerifyOptions {
    /// The depth at which the report speaks.
    pub fn reached(&self) -> Depth {
        match self.depth {
            RequestedDepth::Listed => Depth::Listed,
            RequestedDepth::Read if self.selection.is_everything() && !self.selection.is_over() => {
                Depth::Read
            }
            RequestedDepth::Read | RequestedDepth::Sampled => Depth::Sampled,
        }
    }
}

impl Default for VerifyOptions {
    fn default() -> Self {
        Self {
            cluster: None,
            now: Utc::now(),
            max_backup_age: None,
            retention: None,
            rpo: None,
            started_too_long: Duration::hours(24),
            depth: RequestedDepth::default(),
            selection: Selection::everything(),
            log: ReadLog::none(),
            parts: Parts::none(),
            by_segment: false,
            tip_segments: 8,
            holes_read: 16,
            duplicates_read: 32,
            switches_read: 8,
            beside: Vec::new(),
        }
    }
}
