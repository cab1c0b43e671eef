//! How a base backup is read, and how far the reading is.

use super::TouchedBlocks;
use crate::postgres::SystemId;

/// How a base backup is read.
#[derive(Clone, Copy, Debug)]
pub struct BaseReadOptions<'a> {
    /// How many archives are read at once. Each takes two threads and some 30 MiB of
    /// memory, with xz up to 256 MiB more.
    pub parallel: usize,
    /// What WAL before the backup's begin tells of its pages. Without it lost writes are
    /// not noticed, and the report says so.
    pub touched: Option<&'a TouchedBlocks>,
    /// Whether stored bytes are digested: that takes longer than all else that is asked of
    /// an archive that is stored as it is.
    pub digest: bool,
    /// The database system that the repository belongs to, where the backup's own
    /// description does not tell.
    pub system_id: Option<SystemId>,
}

impl Default for BaseReadOptions<'_> {
    fn default() -> Self {
        Self {
            parallel: 2,
            touched: None,
            digest: true,
            system_id: None,
        }
    }
}

/// How far the reading of one base backup is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BaseProgress {
    /// Stored bytes read.
    pub stored_bytes: u64,
    /// Stored bytes that there are.
    pub of_stored_bytes: u64,
    /// Decoded bytes read.
    pub decoded_bytes: u64,
    /// Pages judged.
    pub pages: u64,
}

/// Is told about ten times a second how far a reading is.
pub type OnBaseProgress<'p> = &'p (dyn Fn(BaseProgress) + Send + Sync);
