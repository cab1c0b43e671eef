//! Two listings against each other and against what is remembered of the copies.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use tokio::sync::mpsc;

use super::ledger::Ledger;
use super::listing::{Shard, shards};
use super::meter::Meter;
use super::{Pair, ReplicateError, Tally};
use crate::repository::{CopyClass, LiveFolders};
use crate::state::{CopyMark, RememberedCopy, source_mark, target_mark};
use crate::storage::{ObjectEntry, StorageError, Store};

/// How many shards are compared at once.
const PARALLEL: usize = 8;

/// How many marks are read from the state at once.
const PAGE: u32 = 2_000;

/// How many objects that are missing are kept at once. Of more, WAL waits for the next
/// round.
const KEPT: usize = 200_000;

/// How many keys that lie only at the target are kept to be shown.
const SAMPLE: usize = 20;

/// Something that lies on both sides, of which the stores do not say what they said when it
/// was copied.
#[derive(Clone, Debug)]
pub(super) struct Suspect {
    pub(super) source: ObjectEntry,
    pub(super) target: ObjectEntry,
}

/// Something that lies at the source alone.
#[derive(Clone, Debug)]
pub(super) struct Missing {
    pub(super) entry: ObjectEntry,
    /// Whether it was copied before.
    pub(super) vanished: bool,
}

/// In what two listings differ. Memory: some 200 bytes per object that lies at the source
/// alone or must be looked at.
#[derive(Debug)]
pub(super) struct Differences {
    pub(super) source: Tally,
    pub(super) target: Tally,
    /// Objects that lie on both sides as they were when they were copied.
    pub(super) same: Tally,
    /// Objects that lie on both sides and were not copied as far as is remembered; their
    /// sizes are alike.
    pub(super) adopted: Tally,
    pub(super) missing: Vec<Missing>,
    /// All that is missing, also what is not kept.
    pub(super) missing_tally: Tally,
    /// WAL from this key on was not kept.
    pub(super) cut: Option<String>,
    pub(super) suspects: Vec<Suspect>,
    /// What was removed from the target by its policy.
    pub(super) expired: Tally,
    /// What lies at the target alone.
    pub(super) only: Tally,
    pub(super) only_keys: Vec<String>,
    /// Markers that were listed, the newest of each side, to tell the database by.
    pub(super) source_marker: Option<String>,
    pub(super) target_marker: Option<String>,
    /// Where new objects will appear.
    pub(super) live: LiveFolders,
}

impl Differences {
    fn new(pair: &Pair) -> Self {
        Self {
            source: Tally::default(),
            target: Tally::default(),
            same: Tally::default(),
            adopted: Tally::default(),
            missing: Vec::new(),
            missing_tally: Tally::default(),
            cut: None,
            suspects: Vec::new(),
            expired: Tally::default(),
            only: Tally::default(),
            only_keys: Vec::new(),
            source_marker: None,
            target_marker: None,
            live: pair.source.live_folders(),
        }
    }

    fn absorb(&mut self, other: Self) {
        for (own, others) in [
            (&mut self.source, other.source),
            (&mut self.target, other.target),
            (&mut self.same, other.same),
            (&mut self.adopted, other.adopted),
            (&mut self.expired, other.expired),
            (&mut self.only, other.only),
            (&mut self.missing_tally, other.missing_tally),
        ] {
            own.absorb(others);
        }
        self.missing.extend(other.missing);
        self.cut = match (self.cut.take(), other.cut) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        self.suspects.extend(other.suspects);
        self.only_keys.extend(other.only_keys);
        self.only_keys.sort_unstable();
        self.only_keys.truncate(SAMPLE);
        self.source_marker = self.source_marker.take().max(other.source_marker);
        self.target_marker = self.target_marker.take().max(other.target_marker);
        self.live.absorb(other.live);
    }
}

/// Two objects of one key that look alike.
pub(super) type Alike = (ObjectEntry, ObjectEntry);

/// Compares. What is adopted goes into the ledger; what looks alike is shown to `alike`, if
/// somebody wants to see it.
pub(super) async fn compare(
    pair: &Pair,
    ledger: &Ledger,
    meter: &Meter,
    alike: Option<&mpsc::Sender<Alike>>,
) -> Result<Differences, ReplicateError> {
    let shards = shards(pair.source.store(), pair.target.store()).await?;
    let kept = AtomicUsize::new(0);
    let mut parts = futures::stream::iter(shards)
        .map(|shard| Comparison::run(pair, ledger, meter, alike, &kept, shard))
        .buffer_unordered(PARALLEL);
    let mut all = Differences::new(pair);
    while let Some(part) = parts.next().await {
        all.absorb(part?);
    }
    drop(parts);
    if let Some(cut) = &all.cut {
        // Oldest first: nothing behind what was left out.
        all.missing
            .retain(|missing| !is_wal(pair, &missing.entry.key) || missing.entry.key < *cut);
    }
    all.missing
        .sort_unstable_by(|one, other| one.entry.key.cmp(&other.entry.key));
    all.suspects
        .sort_unstable_by(|one, other| one.source.key.cmp(&other.source.key));
    Ok(all)
}

/// One side's listing, looked at one ahead.
struct Side {
    entries: BoxStream<'static, Result<ObjectEntry, StorageError>>,
    next: Option<ObjectEntry>,
    location: String,
}

impl Side {
    async fn open(store: &Store, shard: &Shard) -> Result<Self, ReplicateError> {
        let mut side = Self {
            entries: shard.list(store),
            next: None,
            location: store.location().to_string(),
        };
        side.take().await?;
        Ok(side)
    }

    /// Gives the next one and looks ahead.
    async fn take(&mut self) -> Result<Option<ObjectEntry>, ReplicateError> {
        let ahead = self.entries.try_next().await?;
        if let (Some(now), Some(ahead)) = (&self.next, &ahead)
            && ahead.key <= now.key
        {
            return Err(ReplicateError::Unordered(self.location.clone()));
        }
        Ok(std::mem::replace(&mut self.next, ahead))
    }

    fn key(&self) -> Option<&str> {
        self.next.as_ref().map(|entry| entry.key.as_str())
    }
}

/// What is remembered, looked at one ahead.
struct Memory<'a> {
    ledger: &'a Ledger,
    shard: Shard,
    page: std::vec::IntoIter<CopyMark>,
    after: String,
    ended: bool,
    next: Option<CopyMark>,
}

impl<'a> Memory<'a> {
    async fn open(ledger: &'a Ledger, shard: Shard) -> Result<Self, ReplicateError> {
        let mut memory = Self {
            ledger,
            after: shard.after.clone(),
            shard,
            page: Vec::new().into_iter(),
            ended: false,
            next: None,
        };
        memory.advance().await?;
        Ok(memory)
    }

    async fn advance(&mut self) -> Result<(), ReplicateError> {
        self.next = self.page.next();
        if self.next.is_none() && !self.ended {
            let until = self.shard.until.as_deref();
            let page = self.ledger.page(&self.after, until, PAGE).await?;
            self.ended = page.len() < PAGE as usize;
            if let Some(last) = page.last() {
                self.after.clone_from(&last.key);
            }
            self.page = page.into_iter();
            self.next = self.page.next();
        }
        Ok(())
    }

    /// What is remembered of a key; what lies before it is passed over.
    async fn of(&mut self, key: &str) -> Result<Option<CopyMark>, ReplicateError> {
        while let Some(mark) = &self.next {
            match mark.key.as_str().cmp(key) {
                std::cmp::Ordering::Less => self.advance().await?,
                std::cmp::Ordering::Equal => return Ok(Some(mark.clone())),
                std::cmp::Ordering::Greater => break,
            }
        }
        Ok(None)
    }
}

fn is_wal(pair: &Pair, key: &str) -> bool {
    matches!(pair.source.copy_class(key), CopyClass::Wal(_))
}

struct Comparison<'a> {
    pair: &'a Pair,
    kept: &'a AtomicUsize,
    ledger: &'a Ledger,
    alike: Option<&'a mpsc::Sender<Alike>>,
    found: Differences,
}

impl<'a> Comparison<'a> {
    async fn run(
        pair: &'a Pair,
        ledger: &'a Ledger,
        meter: &Meter,
        alike: Option<&'a mpsc::Sender<Alike>>,
        kept: &'a AtomicUsize,
        shard: Shard,
    ) -> Result<Differences, ReplicateError> {
        let (mut source, mut target, mut memory) = futures::try_join!(
            Side::open(pair.source.store(), &shard),
            Side::open(pair.target.store(), &shard),
            Memory::open(ledger, shard.clone()),
        )?;
        let mut own = Self {
            pair,
            kept,
            ledger,
            alike,
            found: Differences::new(pair),
        };
        loop {
            let order = match (source.key(), target.key()) {
                (None, None) => break,
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some(here), Some(there)) => here.cmp(there),
            };
            match order {
                std::cmp::Ordering::Less => {
                    if let Some(entry) = source.take().await? {
                        let known = memory.of(&entry.key).await?;
                        own.missing(entry, known.as_ref());
                    }
                }
                std::cmp::Ordering::Greater => {
                    if let Some(entry) = target.take().await? {
                        own.only(entry);
                    }
                }
                std::cmp::Ordering::Equal => {
                    // Both sides may have to wait for their next page.
                    let (here, there) = futures::try_join!(source.take(), target.take())?;
                    if let Some((here, there)) = here.zip(there) {
                        let known = memory.of(&here.key).await?;
                        own.both(here, there, known.as_ref()).await;
                    }
                }
            }
            meter.compared();
        }
        Ok(own.found)
    }

    fn note_source(&mut self, entry: &ObjectEntry) {
        self.found.source.add(entry.size);
        self.found.live.note(&entry.key);
        if let CopyClass::Marker { .. } = self.pair.source.copy_class(&entry.key) {
            self.found.source_marker = Some(entry.key.clone());
        }
    }

    fn note_target(&mut self, entry: &ObjectEntry) {
        self.found.target.add(entry.size);
        if let CopyClass::Marker { .. } = self.pair.source.copy_class(&entry.key) {
            self.found.target_marker = Some(entry.key.clone());
        }
    }

    fn missing(&mut self, entry: ObjectEntry, known: Option<&CopyMark>) {
        self.note_source(&entry);
        if known.is_some_and(|mark| mark.expired) {
            self.found.expired.add(entry.size);
            return;
        }
        self.found.missing_tally.add(entry.size);
        if self.kept.fetch_add(1, Ordering::Relaxed) >= KEPT && is_wal(self.pair, &entry.key) {
            let key = entry.key;
            self.found.cut.get_or_insert(key);
            return;
        }
        self.found.missing.push(Missing {
            entry,
            vanished: known.is_some(),
        });
    }

    fn only(&mut self, entry: ObjectEntry) {
        self.note_target(&entry);
        self.found.only.add(entry.size);
        if self.found.only_keys.len() < SAMPLE {
            self.found.only_keys.push(entry.key);
        }
    }

    async fn both(&mut self, source: ObjectEntry, target: ObjectEntry, known: Option<&CopyMark>) {
        self.note_source(&source);
        self.note_target(&target);
        let size = source.size;
        match known {
            Some(mark)
                if !mark.alarmed
                    && mark.source == source_mark(&source.identity())
                    && mark.target == target_mark(target.size, target.etag.as_deref()) =>
            {
                self.found.same.add(size);
                self.show(source, target).await;
            }
            None if source.size == target.size => {
                self.found.adopted.add(size);
                self.ledger
                    .note(RememberedCopy::adopted(&source, &target))
                    .await;
                self.show(source, target).await;
            }
            _ => self.found.suspects.push(Suspect { source, target }),
        }
    }

    async fn show(&self, source: ObjectEntry, target: ObjectEntry) {
        if let Some(alike) = self.alike {
            // Who does not listen any more has said why.
            let _ = alike.send((source, target)).await;
        }
    }
}
