//! The segment size of a cluster of which no base backup tells it: in the WAL itself.

use std::io::Read as _;

use super::keys::wal_key;
use crate::codec::{Codec, decoder};
use crate::postgres::wal::{PAGE_SIZE, read_first_page};
use crate::postgres::{SegmentName, SegmentSize, WalFileName};
use crate::repository::RepositoryError;
use crate::storage::{StorageError, Store};

/// The size that the first of these segments states whose bytes are in order and belong to
/// its name; `None` when there is none. Reads the first page of each, at most.
pub(super) async fn stated(
    store: &Store,
    segments: &[(SegmentName, Codec)],
) -> Result<Option<SegmentSize>, RepositoryError> {
    for (name, codec) in segments {
        let key = wal_key(WalFileName::Segment(*name), *codec);
        let Some(page) = first_page(store, &key, *codec).await? else {
            continue;
        };
        let Ok(first) = read_first_page(&page) else {
            continue;
        };
        let size = first.segment_size;
        let begins = name.number(size).map(|number| number.begin_lsn(size));
        if begins == Ok(first.address) {
            return Ok(Some(size));
        }
    }
    Ok(None)
}

/// The first decoded page of an object; `None` when it is gone or cannot be decoded.
async fn first_page(
    store: &Store,
    key: &str,
    codec: Codec,
) -> Result<Option<Vec<u8>>, RepositoryError> {
    let reader = match store.blocking_reader(key).await {
        Ok((_, reader)) => reader,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let page = tokio::task::spawn_blocking(move || {
        let mut page = Vec::with_capacity(PAGE_SIZE);
        decoder(codec, Box::new(reader))
            .take(PAGE_SIZE as u64)
            .read_to_end(&mut page)
            .map(|_| page)
    });
    match page.await? {
        Ok(page) => Ok(Some(page)),
        Err(error) => match StorageError::of(&error) {
            Some(storage) => Err(storage.clone().into()),
            None => Ok(None),
        },
    }
}
