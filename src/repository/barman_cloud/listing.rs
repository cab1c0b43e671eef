//! One listing, sorted into backups, WAL and the unknown as it streams by.

use std::collections::BTreeMap;

use super::inventory::WalCollector;
use super::keys::Key;
use crate::repository::{Archive, UnknownObjects};
use crate::storage::ObjectEntry;

/// How many unknown keys are kept.
const SAMPLE: usize = 10;

/// What lies below `base/<id>/`.
#[derive(Debug, Default)]
pub(super) struct BackupFolder {
    /// Whether there is a `backup.info`.
    pub(super) info: bool,
    /// Whether there is a keep annotation.
    pub(super) keep: bool,
    /// Whether there is a `backup_label`.
    pub(super) label: bool,
    /// The archives, in the listing's order.
    pub(super) archives: Vec<Archive>,
}

impl BackupFolder {
    /// `barman-cloud-backup-delete` leaves the annotation behind: that alone is no backup.
    pub(super) fn is_remains(&self) -> bool {
        !self.info && !self.label && self.archives.is_empty()
    }
}

/// A listing, sorted. Memory: 16 bytes per segment object, more per archive.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) objects: u64,
    pub(super) bytes: u64,
    pub(super) folders: BTreeMap<String, BackupFolder>,
    pub(super) wal: WalCollector,
    pub(super) unknown: UnknownObjects,
}

impl Listing {
    /// Adds one object.
    pub(super) fn add(&mut self, entry: ObjectEntry) {
        let key = Key::parse(&entry.key);
        if key == Key::Own || (key == Key::Folder && entry.size == 0) {
            return;
        }
        self.objects += 1;
        self.bytes += entry.size;
        match key {
            Key::Info { id } => self.folder(id).info = true,
            Key::Label { id } => self.folder(id).label = true,
            Key::Keep { id } => self.folder(id).keep = true,
            Key::Archive {
                id,
                contents,
                part,
                codec,
            } => self.folder(id).archives.push(Archive {
                contents,
                part,
                key: entry.key.clone(),
                codec,
                size: entry.size,
                last_modified: entry.last_modified,
            }),
            Key::Wal { name, codec } => {
                self.wal.add(name, codec, entry.size, entry.last_modified);
            }
            Key::Folder | Key::Own | Key::Unknown => {
                self.unknown.count += 1;
                if self.unknown.sample.len() < SAMPLE {
                    self.unknown.sample.push(entry.key);
                }
            }
        }
    }

    fn folder(&mut self, id: &str) -> &mut BackupFolder {
        self.folders.entry(id.to_owned()).or_default()
    }
}
