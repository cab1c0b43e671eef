//! Whether what is read from the source arrived as the store keeps it: what changes on its
//! way must not become the copy.

use bytes::Bytes;
use futures::TryStreamExt;

use crate::storage::{
    ArrivingBytes, ErrorKind, ObjectEntry, Operation, StorageError, Store, StoredChecksum,
};

/// How often an object is read whose bytes are not what the store tells of them.
pub(super) const ATTEMPTS: u32 = 3;

/// Whether reading again may help.
pub(super) fn was_damaged(error: &StorageError) -> bool {
    error.kind == ErrorKind::Damaged && error.operation == Operation::Read
}

/// Compares, after the last byte.
pub(super) fn check(
    store: &Store,
    key: &str,
    arrived: Option<ArrivingBytes>,
) -> Result<(), StorageError> {
    match arrived.and_then(ArrivingBytes::difference) {
        None => Ok(()),
        Some(difference) => Err(StorageError::new(
            Operation::Read,
            store.location().join(key).to_string(),
            ErrorKind::Damaged,
            difference,
        )),
    }
}

/// Reads an object of at most `limit` bytes, which are held in memory.
pub(super) async fn read_small(
    store: &Store,
    key: &str,
    limit: u64,
) -> Result<(ObjectEntry, Bytes), StorageError> {
    let mut attempts = 1;
    loop {
        match read_once(store, key, limit).await {
            Err(error) if was_damaged(&error) && attempts < ATTEMPTS => attempts += 1,
            read => return read,
        }
    }
}

async fn read_once(
    store: &Store,
    key: &str,
    limit: u64,
) -> Result<(ObjectEntry, Bytes), StorageError> {
    let mut read = store.read(key).await?;
    let mut arrived = read.checksum.take().map(StoredChecksum::arriving);
    let mut all = Vec::new();
    while let Some(bytes) = read.stream.try_next().await? {
        if (all.len() + bytes.len()) as u64 > limit {
            return Err(StorageError::new(
                Operation::Read,
                store.location().join(key).to_string(),
                ErrorKind::TooLarge,
                format!("larger than {limit} bytes"),
            ));
        }
        if let Some(arrived) = &mut arrived {
            arrived.update(&bytes);
        }
        all.extend_from_slice(&bytes);
    }
    check(store, key, arrived)?;
    Ok((read.entry, all.into()))
}
