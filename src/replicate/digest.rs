//! Reading an object for its digest.

use futures::TryStreamExt;
use sha2::Digest as _;

use super::limit::Limit;
use crate::codec::Sha256;
use crate::storage::{ObjectEntry, StorageError, Store};

/// Reads an object from its first byte to its last. Memory: a chunk.
pub(super) async fn digest(
    store: &Store,
    key: &str,
    limit: Option<&Limit>,
) -> Result<(ObjectEntry, Sha256), StorageError> {
    let mut read = store.read(key).await?;
    let mut hash = sha2::Sha256::new();
    while let Some(bytes) = read.stream.try_next().await? {
        if let Some(limit) = limit {
            limit.take(bytes.len()).await;
        }
        hash.update(&bytes);
        // Hashing must not keep others from their answers.
        tokio::task::yield_now().await;
    }
    Ok((read.entry, Sha256::from(<[u8; 32]>::from(hash.finalize()))))
}
