//! A listing against what is remembered.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use chrono::{DateTime, Utc};
use tokio::sync::mpsc;

use super::Place;
use super::memory::{Constancy, seen};
use crate::codec::Codec;
use crate::postgres::{Lsn, SegmentName, SegmentNumber, SegmentSize, TimelineId};
use crate::repository::{BackupStatus, Catalog, ObjectKind};
use crate::state::{ChangeKind, RememberedObject, State, StateError};
use crate::storage::ObjectEntry;
use crate::verify::parts::Shown;
use crate::verify::rotation::{HeldBackup, HeldSegment, Holdings};

/// How many remembered keys are looked through at once for those that are gone.
const PAGE: u32 = 10_000;

/// A segment object as listed, before the segment size is known. 24 bytes.
#[derive(Clone, Copy, Debug)]
struct Segment {
    name: SegmentName,
    codec: Codec,
    urgent: bool,
    bytes: u32,
    last_read: Option<u32>,
}

/// The archives of one base backup.
#[derive(Clone, Copy, Debug, Default)]
struct Archives {
    bytes: u64,
    /// When the one that was read longest ago was.
    last_read: Option<DateTime<Utc>>,
    /// Whether one of them was never read.
    unread: bool,
    urgent: bool,
}

/// A small object that is read only for its digest: a history file, an unfinished segment.
#[derive(Clone, Debug)]
pub(super) struct Small {
    pub(super) key: String,
    pub(super) bytes: u64,
    pub(super) urgent: bool,
}

/// What a listing showed, beside what is remembered of it. Memory: 24 bytes per segment, 8
/// per object for its presence, 300 per object of another kind.
#[derive(Debug, Default)]
pub(super) struct Listed {
    segments: Vec<Segment>,
    archives: BTreeMap<String, Archives>,
    pub(super) small: Vec<Small>,
    /// The descriptions of base backups as listed, by backup.
    pub(super) descriptions: HashMap<String, ObjectEntry>,
    /// The digests of all keys, in order once the listing has ended.
    present: Vec<u64>,
    /// What the listing shows of every object, for parts that shards have read.
    pub(super) shown: Option<Shown>,
    /// How many objects a run that is killed would have left to remember.
    pub(super) objects: u64,
}

/// The digest of a key by which its presence is told.
fn digest(key: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

/// Whether an object should be read before others: it is not what it was and nobody knows
/// yet what it is, or something was wrong with it.
fn urgent(known: &RememberedObject) -> bool {
    let doubtful = known
        .change
        .as_ref()
        .is_some_and(|change| change.sha256_after.is_none());
    doubtful || !known.findings.is_empty()
}

impl Listed {
    /// Looks at everything that a listing shows, and remembers what is new or changed; with
    /// `shown` also in what state each object is.
    pub(super) async fn watch(
        place: Place,
        mut batches: mpsc::Receiver<Vec<ObjectEntry>>,
        shown: bool,
    ) -> Result<Self, StateError> {
        let mut listed = Self {
            shown: shown.then(Shown::default),
            ..Self::default()
        };
        while let Some(batch) = batches.recv().await {
            if let Some(shown) = &mut listed.shown {
                for entry in &batch {
                    shown.see(entry);
                }
            }
            listed.batch(&place, batch).await?;
        }
        listed.present.sort_unstable();
        listed.shown = listed.shown.map(Shown::ended);
        Ok(listed)
    }

    async fn batch(&mut self, place: &Place, batch: Vec<ObjectEntry>) -> Result<(), StateError> {
        let kept: Vec<(ObjectKind, ObjectEntry)> = batch
            .into_iter()
            .map(|entry| (ObjectKind::of(place.layout, &entry.key), entry))
            // Marks come and go, and what nobody knows nobody needs.
            .filter(|(kind, _)| !matches!(kind, ObjectKind::Mark | ObjectKind::Other))
            .collect();
        let keys: Vec<String> = kept.iter().map(|(_, entry)| entry.key.clone()).collect();
        let mut known = by_key(place.state.objects_lookup(&place.name, &keys).await?);
        let news: Vec<usize> = kept
            .iter()
            .enumerate()
            .filter(|(_, (kind, entry))| {
                seen(known.get(&entry.key), entry, constancy(kind), place.now).is_some()
            })
            .map(|(index, _)| index)
            .collect();
        if !news.is_empty() {
            let keys: Vec<String> = news
                .iter()
                .filter_map(|index| keys.get(*index).cloned())
                .collect();
            let mut written = Vec::new();
            // Looked up once more, for somebody else may have written meanwhile.
            let update = |rows: Vec<RememberedObject>| {
                let rows = by_key(rows);
                written = news
                    .iter()
                    .filter_map(|index| kept.get(*index))
                    .filter_map(|(kind, entry)| {
                        seen(rows.get(&entry.key), entry, constancy(kind), place.now)
                    })
                    .collect();
                written.clone()
            };
            place
                .state
                .objects_update(&place.name, &keys, update)
                .await?;
            known.extend(by_key(written));
        }
        for (kind, entry) in kept {
            let known = known.get(&entry.key);
            self.add(kind, entry, known);
        }
        Ok(())
    }

    fn add(&mut self, kind: ObjectKind, entry: ObjectEntry, known: Option<&RememberedObject>) {
        self.objects += 1;
        self.present.push(digest(&entry.key));
        let last_read = known.and_then(|known| known.last_read);
        let urgent = known.is_some_and(urgent);
        match kind {
            ObjectKind::Segment { name, codec } => self.segments.push(Segment {
                name,
                codec,
                urgent,
                bytes: u32::try_from(entry.size).unwrap_or(u32::MAX),
                last_read: last_read.and_then(|time| u32::try_from(time.timestamp()).ok()),
            }),
            ObjectKind::Archive { backup_id } => {
                let archives = self.archives.entry(backup_id).or_default();
                archives.bytes += entry.size;
                // A damaged backup is not read whole every night: what was found is told
                // from memory.
                archives.urgent |= known.is_some_and(|known| {
                    known
                        .change
                        .as_ref()
                        .is_some_and(|change| change.sha256_after.is_none())
                });
                archives.unread |= last_read.is_none();
                let oldest = archives.last_read.into_iter().chain(last_read).min();
                archives.last_read = oldest;
            }
            ObjectKind::Description { backup_id } => {
                self.descriptions.insert(backup_id, entry);
            }
            ObjectKind::WalFile | ObjectKind::Label => self.small.push(Small {
                bytes: entry.size,
                key: entry.key,
                urgent,
            }),
            ObjectKind::Mark | ObjectKind::Other => {}
        }
    }

    /// What there is to read, by the catalog of the same listing: WAL segments, and the base
    /// backups that are finished.
    /// Segments that are not `readable`, by their size or name, are left out: no reading can
    /// make them whole.
    pub(super) fn holdings(
        &self,
        catalog: &Catalog,
        readable: impl Fn(TimelineId, SegmentNumber, Codec) -> bool,
    ) -> Holdings {
        let size = catalog.wal.segment_size;
        let segments = self
            .segments
            .iter()
            .filter_map(|segment| segment.held(size))
            .filter(|held| readable(held.timeline, held.number, held.codec));
        let backups = catalog
            .backups
            .iter()
            .filter(|backup| backup.status == BackupStatus::Done)
            .filter_map(|backup| {
                let archives = self.archives.get(&backup.id)?;
                let wal = backup
                    .timeline
                    .zip(backup.begin_lsn.zip(backup.end_lsn))
                    .map(|(timeline, (begin, end))| {
                        let last = size.segment_of(Lsn::new(end.bytes().saturating_sub(1)));
                        (timeline, size.segment_of(begin), last)
                    });
                Some(HeldBackup {
                    id: backup.id.clone(),
                    bytes: archives.bytes,
                    last_read: archives.last_read.filter(|_| !archives.unread),
                    urgent: archives.urgent,
                    wal,
                    begin_time: backup.begin_time,
                })
            });
        Holdings::new(segments.collect(), backups.collect())
    }

    /// Notes which remembered objects the listing no longer shows: expiry is normal.
    pub(super) async fn note_absent(&self, place: &Place) -> Result<u64, StateError> {
        let mut after = String::new();
        let mut gone = 0;
        loop {
            let page = place.state.objects_keys(&place.name, &after, PAGE).await?;
            let Some(last) = page.last().cloned() else {
                return Ok(gone);
            };
            let absent: Vec<String> = page
                .into_iter()
                .filter(|key| self.present.binary_search(&digest(key)).is_err())
                .collect();
            for keys in absent.chunks(State::OBJECTS_TOGETHER) {
                let mut noted = 0;
                let update = |rows: Vec<RememberedObject>| {
                    noted = 0;
                    let rows = rows.into_iter();
                    // What another run has seen since this listing began is there.
                    rows.filter(|known| known.first_seen < place.now)
                        .map(|known| RememberedObject {
                            absent_since: Some(place.now),
                            ..known
                        })
                        .inspect(|_| noted += 1)
                        .collect()
                };
                place
                    .state
                    .objects_update(&place.name, keys, update)
                    .await?;
                gone += noted;
            }
            after = last;
        }
    }
}

impl Segment {
    fn held(self, size: SegmentSize) -> Option<HeldSegment> {
        let number = self.name.number(size).ok()?;
        let last_read = self
            .last_read
            .and_then(|seconds| DateTime::from_timestamp(i64::from(seconds), 0));
        Some(HeldSegment::new(
            (self.name.timeline, number, self.codec),
            u64::from(self.bytes),
            last_read,
            self.urgent,
        ))
    }
}

const fn constancy(kind: &ObjectKind) -> Constancy {
    match kind {
        ObjectKind::Description { .. } => Constancy::FixedOnceRead,
        _ => Constancy::Fixed,
    }
}

/// Objects by their keys.
pub(super) fn by_key(objects: Vec<RememberedObject>) -> HashMap<String, RememberedObject> {
    objects
        .into_iter()
        .map(|object| (object.key.clone(), object))
        .collect()
}

/// Whether a change is a finding although the object was not read since.
pub(super) const fn tells(kind: ChangeKind) -> bool {
    !matches!(kind, ChangeKind::Time)
}
