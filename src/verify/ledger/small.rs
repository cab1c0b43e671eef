//! Objects whose digest is all there is to read of them: history files, labels,
//! descriptions of base backups.

use futures::StreamExt as _;

use super::listing::Listed;
use super::{ObjectReading, Place, ReadLog};
use crate::codec::Sha256;
use crate::repository::{BackupStatus, Catalog, Repository};
use crate::storage::{ErrorKind, StorageError};

/// Objects larger than this are left to the reader of WAL.
const SMALL: u64 = 1 << 20;

/// How many are read at once.
const PARALLEL: usize = 8;

/// Notes the descriptions of finished base backups, which the catalog has read and digested.
pub(super) async fn descriptions(listed: &Listed, catalog: &Catalog, log: &ReadLog) {
    for backup in &catalog.backups {
        let entry = listed.descriptions.get(&backup.id);
        let sha256 = backup
            .info_sha256
            .as_deref()
            .and_then(|digest| digest.parse::<Sha256>().ok());
        if let Some((entry, sha256)) = entry.zip(sha256)
            && backup.status == BackupStatus::Done
        {
            log.note(ObjectReading {
                entry: entry.clone(),
                sha256,
                judged: true,
                findings: Vec::new(),
            })
            .await;
        }
    }
}

/// Reads small objects: all, or only those that look changed.
pub(super) async fn digests(
    place: &Place,
    repository: &Repository,
    listed: &Listed,
    all: bool,
    log: &ReadLog,
) -> Result<(), StorageError> {
    let wanted = listed
        .small
        .iter()
        .filter(|small| small.bytes <= SMALL && (all || small.urgent));
    let mut readings = futures::stream::iter(wanted)
        .map(|small| async move {
            let store = repository.store();
            let entry = store.head(&small.key).await?;
            let bytes = store.read_small(&small.key, SMALL).await?;
            Ok(entry.map(|entry| (entry, Sha256::of(&bytes))))
        })
        .buffer_unordered(PARALLEL);
    while let Some(reading) = readings.next().await {
        match reading {
            Ok(Some((entry, sha256))) => {
                log.note(ObjectReading {
                    entry,
                    sha256,
                    judged: true,
                    findings: Vec::new(),
                })
                .await;
            }
            Ok(None) => {}
            Err(error) => skip(place, error)?,
        }
    }
    Ok(())
}

/// An object that went or changed meanwhile is looked at the next time.
fn skip(place: &Place, error: StorageError) -> Result<(), StorageError> {
    if error.is_not_found() || matches!(error.kind, ErrorKind::Changed | ErrorKind::TooLarge) {
        tracing::debug!(repository = %place.name, %error, "not read for its digest");
        Ok(())
    } else {
        Err(error)
    }
}
