//! One streaming listing and the small metadata objects, read into a catalog.

use std::collections::BTreeMap;

use chrono::Utc;
use futures::{StreamExt, TryStreamExt};
use tokio::sync::mpsc;

use super::description::describe;
use super::inventory::WalCollector;
use super::keys::{info_key, keep_key, wal_key};
use super::listing::Listing;
use super::{history, listing, segment_size};
use crate::codec::{Codec, decode_all};
use crate::finding::Finding;
use crate::postgres::{SegmentSize, TimelineId, WalFileName};
use crate::repository::{
    BackupStatus, BaseBackup, Catalog, HistoryObject, Keep, Layout, Repository, RepositoryError,
};
use crate::storage::{ErrorKind, ObjectEntry, StorageError, Store};

/// A `backup.info` is some 5 KB; long lists of files and copy statistics may lengthen it.
const INFO_LIMIT: u64 = 4 << 20;

/// A keep annotation is one word.
const KEEP_LIMIT: u64 = 4 << 10;

/// How many metadata objects are read at once.
const PARALLEL: usize = 8;

/// Reads the catalog of the server whose folder `store` is.
///
/// Memory: 16 bytes per WAL object (at most three times that while the list grows), about
/// 200 bytes per archive, and [`PARALLEL`] metadata objects.
pub(in crate::repository) async fn read(
    store: &Store,
    watcher: Option<mpsc::Sender<Vec<ObjectEntry>>>,
) -> Result<Catalog, RepositoryError> {
    let listed_at = Utc::now();
    let mut listing = Listing::default();
    let mut watcher = Watcher::new(watcher);
    let mut entries = store.list("");
    while let Some(entry) = entries.try_next().await? {
        watcher.show(&entry).await;
        listing.add(entry);
    }
    watcher.finish().await;
    let Listing {
        objects,
        bytes,
        mut folders,
        wal,
        unknown,
    } = listing;
    folders.retain(|_, folder| !folder.is_remains());

    let mut findings = Vec::new();
    let mut notes = Vec::new();
    let backups = read_backups(store, folders, &mut findings, &mut notes).await?;
    let histories = read_histories(store, wal.histories()).await?;
    let told = match told_segment_size(&backups, &mut notes) {
        None => read_segment_size(store, &wal, &mut notes).await?,
        told => told,
    };
    let (segment_size, guessed) = (told.unwrap_or_default(), told.is_none());
    let mut wal = tokio::task::spawn_blocking(move || wal.finish(segment_size)).await?;
    wal.segment_size_guessed = guessed;
    wal.histories = history::choose(histories, &mut findings);

    Ok(Catalog {
        layout: Layout::BarmanCloud,
        location: store.location().to_string(),
        listed_at,
        objects,
        bytes,
        backups,
        wal,
        unknown,
        findings,
        notes,
    })
}

/// Shows what is listed to who wants to see it.
struct Watcher {
    sender: Option<mpsc::Sender<Vec<ObjectEntry>>>,
    batch: Vec<ObjectEntry>,
}

impl Watcher {
    const fn new(sender: Option<mpsc::Sender<Vec<ObjectEntry>>>) -> Self {
        Self {
            sender,
            batch: Vec::new(),
        }
    }

    async fn show(&mut self, entry: &ObjectEntry) {
        if self.sender.is_none() {
            return;
        }
        self.batch.push(entry.clone());
        if self.batch.len() >= Repository::LISTED_TOGETHER {
            self.send().await;
        }
    }

    async fn send(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        if let Some(sender) = &self.sender
            && !batch.is_empty()
            && sender.send(batch).await.is_err()
        {
            self.sender = None;
        }
    }

    async fn finish(mut self) {
        self.send().await;
    }
}

async fn read_backups(
    store: &Store,
    folders: BTreeMap<String, listing::BackupFolder>,
    findings: &mut Vec<Finding>,
    notes: &mut Vec<String>,
) -> Result<Vec<BaseBackup>, RepositoryError> {
    let read = futures::stream::iter(folders)
        .map(|(id, folder)| async move {
            let info = if folder.info {
                Some(store.read_small(&info_key(&id), INFO_LIMIT).await)
            } else {
                None
            };
            let keep = if folder.keep {
                Some(store.read_small(&keep_key(&id), KEEP_LIMIT).await)
            } else {
                None
            };
            (id, folder, info, keep)
        })
        // In order, so that findings and backups come out in the order of ids.
        .buffered(PARALLEL);
    tokio::pin!(read);
    let mut backups = Vec::new();
    while let Some((id, folder, info, keep)) = read.next().await {
        let mut remark = None;
        let keep = match keep {
            None => None,
            Some(Err(error)) if error.is_not_found() => None,
            Some(Err(error)) if error.kind != ErrorKind::TooLarge => return Err(error.into()),
            Some(Err(_)) => {
                remark = Some("its keep annotation is too large to be one".to_owned());
                None
            }
            Some(Ok(body)) => match body.trim_ascii() {
                b"full" => Some(Keep::Full),
                b"standalone" => Some(Keep::Standalone),
                _ => {
                    remark =
                        Some("its keep annotation says neither full nor standalone".to_owned());
                    None
                }
            },
        };
        let info = match info {
            Some(Err(error)) if error.is_not_found() => {
                notes.push(format!(
                    "backup {id} vanished while the catalog was read; it was left out"
                ));
                continue;
            }
            info => info.map(readable).transpose()?,
        };
        let bytes = info.as_ref().map(|info| match info {
            Ok(bytes) => Ok(bytes.as_ref()),
            Err(reason) => Err(reason.clone()),
        });
        let mut backup = describe(&id, folder, bytes, keep, findings);
        backup.notes.extend(remark);
        backups.push(backup);
    }
    Ok(backups)
}

/// Separates what is wrong with an object from what is wrong with the way to it.
fn readable<T>(result: Result<T, StorageError>) -> Result<Result<T, String>, StorageError> {
    match result {
        Ok(bytes) => Ok(Ok(bytes)),
        Err(error) if error.kind == ErrorKind::TooLarge => Ok(Err(error.cause)),
        Err(error) => Err(error),
    }
}

async fn read_histories(
    store: &Store,
    files: &[(TimelineId, Codec)],
) -> Result<Vec<(TimelineId, HistoryObject)>, RepositoryError> {
    futures::stream::iter(files.iter().copied())
        .map(|(timeline, codec)| read_history(store, timeline, codec))
        .buffer_unordered(PARALLEL)
        .try_collect()
        .await
}

async fn read_history(
    store: &Store,
    timeline: TimelineId,
    codec: Codec,
) -> Result<(TimelineId, HistoryObject), RepositoryError> {
    let key = wal_key(WalFileName::History(timeline), codec);
    let bytes = match store.read_small(&key, history::LIMIT).await {
        Err(error) if error.is_not_found() => {
            let reason = "it vanished after it was listed".to_owned();
            return Ok((timeline, history::unreadable(key, codec, reason)));
        }
        other => readable(other)?,
    };
    let history = bytes
        .and_then(|bytes| {
            decode_all(codec, &bytes, history::LIMIT).map_err(|error| error.to_string())
        })
        .and_then(|bytes| history::parse(timeline, &bytes));
    let object = HistoryObject {
        key,
        codec,
        history,
    };
    Ok((timeline, object))
}

/// What WAL itself says of the segment size.
async fn read_segment_size(
    store: &Store,
    wal: &WalCollector,
    notes: &mut Vec<String>,
) -> Result<Option<SegmentSize>, RepositoryError> {
    let stated = segment_size::stated(store, &wal.samples()).await?;
    notes.push(match stated {
        Some(size) => format!(
            "no base backup tells the WAL segment size; the WAL itself says {} bytes",
            size.bytes()
        ),
        None => "no base backup tells the WAL segment size; names were read as 16 MiB segments"
            .to_owned(),
    });
    Ok(stated)
}

/// The segment size that the newest base backup tells.
fn told_segment_size(backups: &[BaseBackup], notes: &mut Vec<String>) -> Option<SegmentSize> {
    let told = || {
        backups
            .iter()
            .filter(|backup| backup.status != BackupStatus::Unknown)
    };
    let age = |backup: &&BaseBackup| (backup.begin_time, backup.id.clone());
    let newest = told()
        .filter(|backup| backup.status == BackupStatus::Done)
        .max_by_key(age)
        .or_else(|| told().max_by_key(age))?;
    let size = newest.segment_size;
    let others = told().filter(|backup| backup.segment_size != size).count();
    if others > 0 {
        notes.push(format!(
            "{others} base backups tell another WAL segment size than the newest, {}; names were read by that of {}",
            newest.id,
            size.bytes()
        ));
    }
    Some(size)
}
