//! What an object is by its key, whatever the layout.

use super::Layout;
use super::barman_cloud::keys::Key;
use crate::codec::Codec;
use crate::postgres::{SegmentName, WalFileName};

/// What an object is, by its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectKind {
    /// A full WAL segment.
    Segment {
        /// Its name.
        name: SegmentName,
        /// The codec that the extension tells.
        codec: Codec,
    },
    /// Another file of the WAL archive: unfinished segment, timeline history, backup history.
    WalFile,
    /// An archive of a base backup.
    Archive {
        /// The backup's id.
        backup_id: String,
    },
    /// The description of a base backup, which changes while the backup is being made.
    Description {
        /// The backup's id.
        backup_id: String,
    },
    /// The label of a base backup that is kept outside the repository.
    Label,
    /// A mark that tools set and remove at will, such as the protection from expiry.
    Mark,
    /// Anything else.
    Other,
}

impl ObjectKind {
    /// What the object with this key (relative to the repository) is.
    pub fn of(layout: Layout, key: &str) -> Self {
        let Layout::BarmanCloud = layout;
        match Key::parse(key) {
            Key::Wal {
                name: WalFileName::Segment(name),
                codec,
            } => Self::Segment { name, codec },
            Key::Wal { .. } => Self::WalFile,
            Key::Archive { id, .. } => Self::Archive {
                backup_id: id.to_owned(),
            },
            Key::Info { id } => Self::Description {
                backup_id: id.to_owned(),
            },
            Key::Label { .. } => Self::Label,
            Key::Keep { .. } | Key::Folder | Key::Own => Self::Mark,
            Key::Unknown => Self::Other,
        }
    }
}
