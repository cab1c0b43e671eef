//! In which order the objects of a repository may be copied, so that the copy never claims
//! more than it holds, and where new ones will appear.

use serde::{Deserialize, Serialize};

use super::barman_cloud::copying;
use super::{BackupStatus, Layout, Repository};
use crate::postgres::{SegmentNumber, SegmentSize, SystemId, TimelineId, WalFileName};

/// What an object is to whoever copies it, by its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyClass {
    /// A timeline's history: goes before any WAL, because without it recovery takes an
    /// abandoned branch for the database.
    History,
    /// Any other file of the WAL archive: in the order of the WAL.
    Wal(WalFileName),
    /// Data of a base backup, or a label beside it.
    Data {
        /// The backup's id.
        backup: String,
    },
    /// A mark that people set and remove, such as the protection from expiry.
    Annotation {
        /// The backup's id.
        backup: String,
    },
    /// What makes a base backup one: goes after everything that belongs to it.
    Marker {
        /// The backup's id.
        backup: String,
    },
    /// Anything else: goes last.
    Other,
    /// An empty object that stands for a folder, or one that walproof put there for its own
    /// use; not copied.
    Folder,
}

/// What a commit marker says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marker {
    /// What the tool says of the backup.
    pub status: BackupStatus,
    /// Whether the tool will not change it any more.
    pub is_final: bool,
    /// The WAL that makes the backup consistent; `None` when it says none.
    pub needs: Option<NeededWal>,
    /// The database system of the backup.
    pub system_id: Option<SystemId>,
}

/// The WAL from a base backup's begin to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeededWal {
    /// The timeline.
    pub timeline: TimelineId,
    /// The segment of its begin.
    pub first: SegmentNumber,
    /// The segment of its end.
    pub last: SegmentNumber,
    /// The size by which segments are numbered.
    pub segment_size: SegmentSize,
}

/// A stretch of a listing in which new objects appear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Follow {
    /// The folder to list.
    pub prefix: String,
    /// Only keys behind this one.
    pub after: String,
    /// Only keys before this one.
    pub until: Option<String>,
}

/// Learns from the keys of a repository where new ones will appear. Memory: a few words per
/// timeline.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LiveFolders {
    layout: Layout,
    front: copying::Front,
}

impl LiveFolders {
    /// Notes an object that is there.
    pub fn note(&mut self, key: &str) {
        let Layout::BarmanCloud = self.layout;
        self.front.note(key);
    }

    /// Takes in what was noted by another for the same repository.
    pub fn absorb(&mut self, other: Self) {
        self.front.absorb(other.front);
    }

    /// Where to look for new objects, a little before the newest ones, because they may
    /// arrive out of order. `open` are backups that were not finished when last looked at.
    pub fn follow<'a>(&'a self, open: impl Iterator<Item = &'a str>) -> Vec<Follow> {
        let Layout::BarmanCloud = self.layout;
        self.front.follow(open)
    }
}

impl Repository {
    /// The largest commit marker that is read.
    pub const MARKER_LIMIT: u64 = 4 << 20;

    /// What the object with this key (relative to the repository) is to whoever copies it.
    pub fn copy_class(&self, key: &str) -> CopyClass {
        let Layout::BarmanCloud = self.layout();
        copying::class(key)
    }

    /// Reads a commit marker.
    ///
    /// # Errors
    /// Why the bytes are none.
    pub fn read_marker(&self, bytes: &[u8]) -> Result<Marker, String> {
        let Layout::BarmanCloud = self.layout();
        copying::marker(bytes)
    }

    /// Where the WAL that a backup needs is listed; other objects may lie between.
    pub fn wal_between(&self, needs: NeededWal) -> Vec<Follow> {
        let Layout::BarmanCloud = self.layout();
        vec![copying::between(needs)]
    }

    /// The key of a backup's commit marker.
    pub fn marker_key(&self, backup: &str) -> String {
        let Layout::BarmanCloud = self.layout();
        super::barman_cloud::keys::info_key(backup)
    }

    /// The folder in which all of a backup's own objects lie.
    pub fn backup_folder(&self, backup: &str) -> String {
        let Layout::BarmanCloud = self.layout();
        format!("{}/{backup}", super::barman_cloud::keys::BASE)
    }

    /// The name by which state remembers this repository: the same bucket's name at another
    /// endpoint is another bucket.
    pub fn name(&self) -> String {
        let store = self.store();
        match store.endpoint() {
            Some(endpoint) => format!("{} {endpoint}", store.location()),
            None => store.location().to_string(),
        }
    }

    /// Begins to learn where new objects will appear.
    pub fn live_folders(&self) -> LiveFolders {
        LiveFolders {
            layout: self.layout(),
            front: copying::Front::default(),
        }
    }
}
