//! What is to be copied, in an order in which the copy never claims more than it holds.
//!
//! Histories of timelines go before all WAL, WAL goes oldest first, and a backup's commit
//! marker goes after its data and the WAL that it needs. WAL and data of base backups go
//! side by side, so that a large backup does not hold up the archive.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use super::Tally;
use crate::postgres::{SegmentName, WalFileName};
use crate::repository::{CopyClass, Marker, NeededWal};
use crate::storage::ObjectEntry;

/// One object to copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) key: String,
    pub(super) size: u64,
}

/// One commit marker to copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MarkerItem {
    pub(super) backup: String,
    pub(super) key: String,
    pub(super) size: u64,
    /// The WAL that must be at the target before.
    pub(super) needs: Option<NeededWal>,
    /// The tag of the unfinished marker that it takes the place of.
    pub(super) replaces: Option<String>,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Work {
    Object(Item, Lane),
    Marker(MarkerItem),
}

impl Work {
    pub(super) fn key(&self) -> &str {
        match self {
            Self::Object(item, _) => &item.key,
            Self::Marker(item) => &item.key,
        }
    }
}

/// Which queue an object came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    History,
    Wal(WalFileName),
    /// Data, labels and annotations of a backup.
    Backup(String),
    Other,
}

/// Where a WAL file stands among others.
type Position = (u32, u32, u32);

const fn of_segment(name: SegmentName) -> Position {
    (name.timeline.0, name.log, name.segment)
}

const fn position(name: WalFileName) -> Position {
    match name {
        WalFileName::Segment(segment)
        | WalFileName::Partial(segment)
        | WalFileName::BackupHistory { segment, .. } => of_segment(segment),
        WalFileName::History(timeline) => (timeline.0, 0, 0),
    }
}

/// What is to be copied. Memory: some 150 bytes per object.
#[derive(Debug, Default)]
pub(super) struct Queue {
    histories: VecDeque<Item>,
    wal: VecDeque<(WalFileName, Item)>,
    backups: VecDeque<(String, Item)>,
    others: VecDeque<Item>,
    markers: Vec<MarkerItem>,
    /// Objects of a backup that are not done yet.
    open: HashMap<String, usize>,
    flying_histories: usize,
    flying_wal: BTreeMap<Position, usize>,
    flying: usize,
}

impl Queue {
    /// Takes what is to be copied, but for commit markers.
    pub(super) fn add(&mut self, class: CopyClass, entry: ObjectEntry) {
        let item = Item {
            key: entry.key,
            size: entry.size,
        };
        match class {
            CopyClass::History => self.histories.push_back(item),
            CopyClass::Wal(name) => self.wal.push_back((name, item)),
            CopyClass::Data { backup } | CopyClass::Annotation { backup } => {
                *self.open.entry(backup.clone()).or_default() += 1;
                self.backups.push_back((backup, item));
            }
            CopyClass::Other => self.others.push_back(item),
            CopyClass::Marker { .. } | CopyClass::Folder => {}
        }
    }

    /// Takes a commit marker that is final.
    pub(super) fn add_marker(&mut self, item: MarkerItem) {
        self.markers.push(item);
    }

    /// Puts WAL in its order, however it was added.
    pub(super) fn sort(&mut self) {
        self.wal.make_contiguous().sort_by(|(one, a), (other, b)| {
            (position(*one), &a.key).cmp(&(position(*other), &b.key))
        });
        self.markers.sort_by(|one, other| one.key.cmp(&other.key));
    }

    /// What is left, by kind: histories and WAL, data of backups, the rest.
    pub(super) fn tallies(&self) -> Tallies {
        let mut tallies = Tallies::default();
        for (_, item) in &self.wal {
            tallies.wal.add(item.size);
        }
        for item in &self.histories {
            tallies.histories.add(item.size);
        }
        for (_, item) in &self.backups {
            tallies.data.add(item.size);
        }
        for item in &self.markers {
            tallies.markers.add(item.size);
        }
        for item in &self.others {
            tallies.other.add(item.size);
        }
        tallies
    }

    /// The backups whose markers are to be copied.
    pub(super) fn marked(&self) -> BTreeSet<&str> {
        self.markers
            .iter()
            .map(|marker| marker.backup.as_str())
            .collect()
    }

    /// Every key.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        let histories = self.histories.iter().map(|item| item.key.as_str());
        let wal = self.wal.iter().map(|(_, item)| item.key.as_str());
        let backups = self.backups.iter().map(|(_, item)| item.key.as_str());
        let others = self.others.iter().map(|item| item.key.as_str());
        let markers = self.markers.iter().map(|item| item.key.as_str());
        histories
            .chain(wal)
            .chain(backups)
            .chain(others)
            .chain(markers)
    }

    /// Takes in all of another queue of which nothing was begun.
    pub(super) fn merge(&mut self, other: Self) {
        self.histories.extend(other.histories);
        self.wal.extend(other.wal);
        self.backups.extend(other.backups);
        self.others.extend(other.others);
        self.markers.extend(other.markers);
        for (backup, open) in other.open {
            *self.open.entry(backup).or_default() += open;
        }
        self.sort();
    }

    /// Takes back what was begun and given up.
    pub(super) fn give_back(&mut self, work: Work) {
        match work {
            Work::Object(item, Lane::History) => self.histories.push_front(item),
            Work::Object(item, Lane::Wal(name)) => self.wal.push_front((name, item)),
            Work::Object(item, Lane::Backup(backup)) => {
                *self.open.entry(backup.clone()).or_default() += 1;
                self.backups.push_front((backup, item));
            }
            Work::Object(item, Lane::Other) => self.others.push_front(item),
            Work::Marker(item) => self.markers.push(item),
        }
    }

    /// The backups of which something is to be copied.
    pub(super) fn backups(&self) -> BTreeSet<&str> {
        let data = self.backups.iter().map(|(backup, _)| backup.as_str());
        let markers = self.markers.iter().map(|marker| marker.backup.as_str());
        data.chain(markers).collect()
    }

    /// What is to be copied of a backup, but for its marker.
    pub(super) fn of_backup(&self, id: &str) -> Tally {
        let mut tally = Tally::default();
        for (backup, item) in &self.backups {
            if backup == id {
                tally.add(item.size);
            }
        }
        tally
    }

    /// The oldest and the newest WAL file to be copied.
    pub(super) fn wal_ends(&self) -> Option<(&str, &str)> {
        let name = |(_, item): &'_ (WalFileName, Item)| -> usize {
            item.key.rfind('/').map_or(0, |at| at + 1)
        };
        let (first, last) = self.wal.front().zip(self.wal.back())?;
        Some((
            first.1.key.get(name(first)..)?,
            last.1.key.get(name(last)..)?,
        ))
    }

    /// Whether nothing is waiting.
    pub(super) fn is_empty(&self) -> bool {
        self.histories.is_empty()
            && self.wal.is_empty()
            && self.backups.is_empty()
            && self.others.is_empty()
            && self.markers.is_empty()
    }

    /// What to do next, where `parallel` may be done at once; `None` while the rest must
    /// wait for what is under way, or when there is nothing left.
    pub(super) fn next(&mut self, parallel: usize) -> Option<Work> {
        let work = self.choose(parallel)?;
        self.flying += 1;
        match &work {
            Work::Object(_, Lane::History) => self.flying_histories += 1,
            Work::Object(_, Lane::Wal(name)) => {
                *self.flying_wal.entry(position(*name)).or_default() += 1;
            }
            _ => {}
        }
        Some(work)
    }

    fn choose(&mut self, parallel: usize) -> Option<Work> {
        if let Some(at) = self.markers.iter().position(|marker| self.is_ready(marker)) {
            return Some(Work::Marker(self.markers.remove(at)));
        }
        if let Some(item) = self.histories.pop_front() {
            return Some(Work::Object(item, Lane::History));
        }
        let wal_may = self.flying_histories == 0;
        // Half of the workers are WAL's as long as there is data too.
        let quota = if self.backups.is_empty() {
            parallel
        } else {
            (parallel / 2).max(1)
        };
        let flying_wal: usize = self.flying_wal.values().sum();
        if wal_may
            && (flying_wal < quota || self.backups.is_empty())
            && let Some((name, item)) = self.wal.pop_front()
        {
            return Some(Work::Object(item, Lane::Wal(name)));
        }
        if let Some((backup, item)) = self.backups.pop_front() {
            return Some(Work::Object(item, Lane::Backup(backup)));
        }
        if wal_may && self.wal.is_empty() {
            let item = self.others.pop_front()?;
            return Some(Work::Object(item, Lane::Other));
        }
        None
    }

    /// Whether all that a marker needs has been done.
    fn is_ready(&self, marker: &MarkerItem) -> bool {
        if self.open.get(&marker.backup).is_some_and(|open| *open > 0) {
            return false;
        }
        if !self.histories.is_empty() || self.flying_histories > 0 {
            return false;
        }
        let Some(needs) = marker.needs else {
            return true;
        };
        let last = SegmentName::new(needs.timeline, needs.last, needs.segment_size);
        let oldest_left = self.wal.front().map(|(name, _)| position(*name));
        let oldest_flying = self.flying_wal.keys().next().copied();
        [oldest_left, oldest_flying]
            .into_iter()
            .flatten()
            .all(|left| left > of_segment(last))
    }

    /// An object is done with, well or badly.
    pub(super) fn done(&mut self, lane: &Lane) {
        self.flying = self.flying.saturating_sub(1);
        match lane {
            Lane::History => self.flying_histories = self.flying_histories.saturating_sub(1),
            Lane::Wal(name) => {
                let position = position(*name);
                if let Some(count) = self.flying_wal.get_mut(&position) {
                    *count -= 1;
                    if *count == 0 {
                        self.flying_wal.remove(&position);
                    }
                }
            }
            Lane::Backup(backup) => {
                if let Some(open) = self.open.get_mut(backup) {
                    *open = open.saturating_sub(1);
                }
            }
            Lane::Other => {}
        }
    }

    /// A marker is done with, well or badly.
    pub(super) fn marker_done(&mut self) {
        self.flying = self.flying.saturating_sub(1);
    }
}

/// What is to be copied or was, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
pub struct Tallies {
    /// Histories of timelines.
    pub histories: Tally,
    /// Other files of the WAL archive.
    pub wal: Tally,
    /// Data of base backups, their labels and annotations.
    pub data: Tally,
    /// Commit markers of base backups.
    pub markers: Tally,
    /// Objects that belong to no known place.
    pub other: Tally,
}

impl Tallies {
    /// All together.
    pub const fn total(&self) -> Tally {
        let mut total = self.histories;
        total.absorb(self.wal);
        total.absorb(self.data);
        total.absorb(self.markers);
        total.absorb(self.other);
        total
    }

    /// Counts one object.
    pub(super) const fn add(&mut self, lane: &Lane, bytes: u64) {
        match lane {
            Lane::History => self.histories.add(bytes),
            Lane::Wal(_) => self.wal.add(bytes),
            Lane::Backup(_) => self.data.add(bytes),
            Lane::Other => self.other.add(bytes),
        }
    }

    /// Adds others.
    pub(super) const fn absorb(&mut self, other: Self) {
        self.histories.absorb(other.histories);
        self.wal.absorb(other.wal);
        self.data.absorb(other.data);
        self.markers.absorb(other.markers);
        self.other.absorb(other.other);
    }
}

/// A marker that may be copied, as far as it says itself.
pub(super) fn marker_item(
    backup: String,
    entry: &ObjectEntry,
    marker: &Marker,
    replaces: Option<String>,
) -> MarkerItem {
    MarkerItem {
        backup,
        key: entry.key.clone(),
        size: entry.size,
        needs: marker.needs,
        replaces,
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};
    use proptest::prelude::*;

    use super::*;
    use crate::postgres::{SegmentNumber, SegmentSize, TimelineId};
    use crate::storage::{Location, StorageOptions, Store};

    fn entry(key: &str) -> ObjectEntry {
        ObjectEntry {
            key: key.to_owned(),
            size: 1,
            last_modified: DateTime::<Utc>::UNIX_EPOCH,
            etag: None,
            version: None,
        }
    }

    fn class(key: &str) -> CopyClass {
        let location: Location = "file:///".parse().unwrap();
        let store = Store::open(&location, &StorageOptions::default()).unwrap();
        crate::repository::open(store).copy_class(key)
    }

    fn segment(number: u64) -> String {
        let name = SegmentName::new(TimelineId(1), SegmentNumber(number), SegmentSize::DEFAULT);
        format!("wals/{}/{name}", &name.to_string()[..16])
    }

    fn marker(backup: &str, first: u64, last: u64) -> MarkerItem {
        MarkerItem {
            backup: backup.to_owned(),
            key: format!("base/{backup}/backup.info"),
            size: 1,
            needs: Some(NeededWal {
                timeline: TimelineId(1),
                first: SegmentNumber(first),
                last: SegmentNumber(last),
                segment_size: SegmentSize::DEFAULT,
            }),
            replaces: None,
        }
    }

    fn queue() -> Queue {
        let mut queue = Queue::default();
        for number in (0..40).rev() {
            queue.add(class(&segment(number)), entry(&segment(number)));
        }
        for key in [
            "wals/00000002.history",
            "wals/00000003.history",
            "base/A/data.tar",
            "base/A/16384.tar",
            "base/A/annotations/keep",
            "base/B/data.tar",
            "notes.txt",
        ] {
            queue.add(class(key), entry(key));
        }
        queue.add_marker(marker("B", 20, 22));
        queue.add_marker(marker("A", 5, 6));
        queue.sort();
        queue
    }

    fn key(work: &Work) -> &str {
        match work {
            Work::Object(item, _) => &item.key,
            Work::Marker(marker) => &marker.key,
        }
    }

    proptest! {
        /// However many are under way and in whatever order they end.
        #[test]
        fn nothing_is_begun_before_what_it_needs_is_done(
            parallel in 1_usize..12,
            ends in proptest::collection::vec(any::<prop::sample::Index>(), 200),
        ) {
            let mut queue = queue();
            let mut flying: Vec<Work> = Vec::new();
            let mut done: Vec<String> = Vec::new();
            for end in ends {
                while flying.len() < parallel {
                    let Some(work) = queue.next(parallel) else { break };
                    let needed: Vec<String> = match key(&work) {
                        "base/A/backup.info" => (0..=6).map(segment)
                            .chain(["base/A/data.tar", "base/A/16384.tar", "base/A/annotations/keep"].map(str::to_owned))
                            .collect(),
                        "base/B/backup.info" => (0..=22).map(segment)
                            .chain(["base/B/data.tar".to_owned()])
                            .collect(),
                        wal if wal.starts_with("wals/0000000100") => vec![
                            "wals/00000002.history".to_owned(), "wals/00000003.history".to_owned()],
                        _ => Vec::new(),
                    };
                    for needed in needed {
                        prop_assert!(done.contains(&needed), "{} before {needed}", key(&work));
                    }
                    flying.push(work);
                }
                if flying.is_empty() { break }
                let work = flying.swap_remove(end.index(flying.len()));
                done.push(key(&work).to_owned());
                match &work {
                    Work::Object(_, lane) => queue.done(lane),
                    Work::Marker(_) => queue.marker_done(),
                }
            }
            prop_assert!(queue.is_empty());
            prop_assert_eq!(done.len(), 49);
        }
    }

    #[test]
    fn wal_goes_oldest_first_beside_the_data() {
        let mut queue = queue();
        let mut order = Vec::new();
        while let Some(work) = queue.next(1) {
            order.push(key(&work).to_owned());
            match &work {
                Work::Object(_, lane) => queue.done(lane),
                Work::Marker(_) => queue.marker_done(),
            }
        }
        let wal: Vec<&String> = order
            .iter()
            .filter(|key| key.starts_with("wals/0000000100"))
            .collect();
        assert!(wal.is_sorted());
        assert_eq!(order.last().unwrap(), "notes.txt");
        assert_eq!(queue.tallies().total(), Tally::default());
    }
}
