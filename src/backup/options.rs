//! How a backup is taken, and what is told meanwhile.

use std::time::Duration;

use super::server::ServerAddress;
use crate::codec::Codec;
use crate::storage::Store;

/// Stores allow 10,000 pieces of 16 MiB per object; archives stay well below.
pub(super) const LARGEST_ARCHIVE: u64 = 140_000_000_000;

/// How a backup is taken.
#[derive(Clone, Debug)]
pub struct TakeOptions {
    /// The server's folder in the repository.
    pub store: Store,
    /// Where the server listens. It must run on this machine.
    pub address: ServerAddress,
    /// The codec of archives. Barman's tools read none, gzip, bzip2, snappy and lz4.
    pub codec: Codec,
    /// A name to find it by.
    pub name: Option<String>,
    /// The stored size in bytes past which a new part begins. A file is never split.
    pub max_archive_size: u64,
    /// Whether the checkpoint at the begin is to be quick instead of spread out.
    pub fast_checkpoint: bool,
    /// How long to wait until the backup's last segment is archived; `None` does not wait.
    pub wait_for_archive: Option<Duration>,
}

impl TakeOptions {
    /// Barman's default for `--max-archive-size`, 100 GB.
    pub const MAX_ARCHIVE_SIZE: u64 = 100_000_000_000;

    /// Gzip, quick checkpoint, no waiting.
    pub fn new(store: Store, address: ServerAddress) -> Self {
        Self {
            store,
            address,
            codec: Codec::Gzip,
            name: None,
            max_archive_size: Self::MAX_ARCHIVE_SIZE,
            fast_checkpoint: true,
            wait_for_archive: None,
        }
    }
}

/// What is going on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TakeProgress {
    /// The server was asked to begin; it makes a checkpoint.
    Checkpoint,
    /// Files are being copied.
    Copying {
        /// Bytes read so far.
        read_bytes: u64,
        /// About how many there are: the sum of the databases' sizes.
        expected_bytes: Option<u64>,
    },
    /// The backup is complete; its last segment is not archived yet.
    WaitingForArchive {
        /// The segment.
        segment: String,
        /// For how long.
        waited: Duration,
    },
}
