//! What came of reading a base backup.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Suspects;
use crate::codec::Sha256;
use crate::finding::Finding;
use crate::postgres::RequiredSettings;

/// What came of reading a base backup.
#[derive(Debug)]
pub struct BaseReading {
    /// Figures.
    pub report: BaseReport,
    /// What a server that was copied must at least have, by its control file.
    pub settings: Option<RequiredSettings>,
    /// Whether a standby was copied, by the label.
    pub from_standby: Option<bool>,
    /// What is wrong whatever WAL says.
    pub findings: Vec<Finding>,
    /// What only WAL from begin to end can decide. Once settled, its counts replace
    /// [`BaseReport::pages`].
    pub suspects: Suspects,
}

/// Figures of a base backup that was read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BaseReport {
    /// The backup.
    pub backup_id: String,
    /// Its archives, in the catalog's order; without those that are gone.
    pub archives: Vec<ArchiveReading>,
    /// Members of all archives.
    pub members: u64,
    /// Regular files among them.
    pub files: u64,
    /// Bytes of these files.
    pub bytes: u64,
    /// The relations' files, temporary ones aside.
    pub relation_files: u64,
    /// The pages.
    pub pages: PageCounts,
    /// Whether the cluster had page checksums, so that they were compared.
    pub checksums: bool,
    /// Blocks that WAL before the begin had changed and that were compared with it.
    pub blocks_compared: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Decoded bytes per second.
    pub bytes_per_second: f64,
    /// What was not looked at, and why, each a sentence.
    pub not_compared: Vec<String>,
}

/// One archive that was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ArchiveReading {
    /// Its key, relative to the repository.
    pub key: String,
    /// Stored bytes read.
    pub stored_bytes: u64,
    /// Decoded bytes read.
    pub decoded_bytes: u64,
    /// SHA-256 of the stored bytes; `None` when it could not be read to its end.
    pub sha256: Option<Sha256>,
    /// The store's own mark of these bytes, if it gives one.
    pub etag: Option<String>,
    /// Its members.
    pub members: u64,
}

/// Pages of 8 KiB, by what became of them. Every page read is in exactly one of the other
/// counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PageCounts {
    /// Pages read.
    pub read: u64,
    /// All zeros: added to a relation and not yet filled.
    pub new: u64,
    /// In order, checksum included.
    pub sound: u64,
    /// In order as far as can be told without a checksum.
    pub without_checksum: u64,
    /// Not decided yet, for WAL must tell. None once settled.
    pub suspect: u64,
    /// Torn or behind in the copy, and made good by WAL of the backup.
    pub healed: u64,
    /// Not in order and of no consequence: the server resets such pages itself (unlogged
    /// relations, free space and visibility maps).
    pub reset: u64,
    /// Not in order, and nothing makes it good.
    pub corrupt: u64,
    /// Older than WAL says it must be.
    pub stale: u64,
    /// Changed after the backup's end, which cannot be.
    pub beyond_end: u64,
}

impl BaseReport {
    /// A report of nothing yet.
    pub(super) fn new(backup_id: &str) -> Self {
        Self {
            backup_id: backup_id.to_owned(),
            ..Self::default()
        }
    }

    /// Tells how long it took.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a rate for people; 2^53 bytes are exact enough"
    )]
    pub(super) fn time(&mut self, elapsed: Duration) {
        let decoded: u64 = self.archives.iter().map(|of| of.decoded_bytes).sum();
        self.seconds = elapsed.as_secs_f64();
        self.bytes_per_second = decoded as f64 / self.seconds.max(0.001);
    }
}

impl PageCounts {
    /// Adds the counts of other pages.
    pub(super) fn add(&mut self, other: Self) {
        self.read += other.read;
        self.new += other.new;
        self.sound += other.sound;
        self.without_checksum += other.without_checksum;
        self.suspect += other.suspect;
        self.healed += other.healed;
        self.reset += other.reset;
        self.corrupt += other.corrupt;
        self.stale += other.stale;
        self.beyond_end += other.beyond_end;
    }
}
