//! What is damaged: a copy of the small world, in whichever codecs, and where in it things lie.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use crate::common::damage::Tree;
use crate::common::pages::{self, BLOCK};
use crate::common::tape::{self, Member};
use crate::common::{codec, waldump};
use crate::worlds::{Facts, World};

/// A repository of a cell's own.
pub(crate) struct Ground {
    pub(crate) tree: Tree,
    pub(crate) facts: &'static Facts,
    /// Extension of the base backups' archives behind `.tar`.
    pub(crate) base: &'static str,
    /// Extension of WAL.
    pub(crate) wal: &'static str,
}

/// What one cell fails to build must not take the others with it.
fn locked<T: Default>(place: &'static OnceLock<Mutex<T>>) -> MutexGuard<'static, T> {
    let mutex = place.get_or_init(Mutex::default);
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The small world of a major: its server's programs, none for this machine's own.
fn small(programs: &'static str) -> &'static World {
    static SMALL: OnceLock<Mutex<HashMap<&str, &'static World>>> = OnceLock::new();
    let mut worlds = locked(&SMALL);
    worlds.entry(programs).or_insert_with(|| {
        let path = (!programs.is_empty()).then(|| Path::new(programs));
        Box::leak(Box::new(World::of_major("small", path)))
    })
}

impl Ground {
    /// A copy in these codecs, of the server whose `programs` are there (empty: this
    /// machine's own). The tools wrote lz4 and gzip; other codecs are put in their
    /// place once per run.
    pub(crate) fn new(programs: &'static str, base: &'static str, wal: &'static str) -> Self {
        static TREES: OnceLock<Mutex<HashMap<[&str; 3], Tree>>> = OnceLock::new();
        let world = small(programs);
        let mut trees = locked(&TREES);
        let tree = trees
            .entry([programs, base, wal])
            .or_insert_with(|| transcoded(world, base, wal));
        Self {
            tree: Tree::copy_of(tree.root(), "orders"),
            facts: &world.facts,
            base,
            wal,
        }
    }

    pub(crate) fn older(&self) -> &str {
        &self.facts.backups[0]
    }

    pub(crate) fn newest(&self) -> &str {
        &self.facts.backups[1]
    }

    /// The archive of the newest backup's data directory.
    pub(crate) fn data(&self) -> String {
        format!("base/{}/data.tar{}", self.newest(), self.base)
    }

    /// That of its tablespace.
    pub(crate) fn tablespace(&self) -> String {
        let archives = self.tree.archives(self.newest());
        let mut other = archives.into_iter().filter(|key| !key.contains("/data"));
        other.next().unwrap()
    }

    pub(crate) fn info(&self) -> String {
        format!("base/{}/backup.info", self.newest())
    }

    /// A field of a backup's description.
    pub(crate) fn field(&self, backup: &str, name: &str) -> String {
        let info = self.tree.info(backup);
        let prefix = format!("{name}=");
        let line = info.lines().find_map(|line| line.strip_prefix(&*prefix));
        line.unwrap().to_owned()
    }

    /// An LSN of a backup's description.
    pub(crate) fn lsn(&self, backup: &str, name: &str) -> u64 {
        waldump::lsn(&self.field(backup, name))
    }

    /// The decoded archive of a backup's data directory.
    pub(crate) fn tar(&self, backup: &str) -> Vec<u8> {
        let key = format!("base/{backup}/data.tar{}", self.base);
        codec::decode(self.base, &self.tree.read(&key))
    }

    /// Changes the decoded archive of the newest backup's data directory.
    pub(crate) fn change_data(&self, change: impl FnOnce(&mut Vec<u8>)) -> String {
        let key = self.data();
        self.tree.change_inside(&key, change);
        key
    }

    /// The file of a table (or index).
    pub(crate) fn file(&self, relation: &str) -> &str {
        &self.facts.files[relation]
    }

    /// A file of the database: its oid depends on the major.
    pub(crate) fn in_database(&self, name: &str) -> String {
        let (directory, _) = self.file("ledger").rsplit_once('/').unwrap();
        format!("{directory}/{name}")
    }

    pub(crate) fn member(&self, tar: &[u8], relation: &str) -> Member {
        tape::member(tar, self.file(relation))
    }

    /// A block of `ledger` that was last changed between the backups, with rows: nothing in
    /// the newest backup's own WAL makes it good again.
    pub(crate) fn quiet_block(&self, tar: &[u8]) -> (u32, Range<usize>) {
        let after = self.lsn(self.older(), "end_xlog");
        let before = self.lsn(self.newest(), "begin_xlog");
        let file = self.member(tar, "ledger").contents;
        let found = blocks(&file).find(|(number, at)| {
            let lsn = pages::lsn(&tar[at.clone()]);
            *number > 3 && lsn > after && lsn < before
        });
        found.expect("no block of the ledger was changed between the backups only")
    }

    /// A block of `hot` that was changed while the newest backup ran: its WAL has the image.
    pub(crate) fn busy_block(&self, tar: &[u8]) -> (u32, Range<usize>) {
        let begin = self.lsn(self.newest(), "begin_xlog");
        let file = self.member(tar, "hot").contents;
        let found = blocks(&file).find(|(_, at)| pages::lsn(&tar[at.clone()]) > begin);
        found.expect("no block of `hot` was changed while the backup ran")
    }

    /// Full segments of timeline 1 that only recovery after the newest backup needs.
    pub(crate) fn later(&self) -> Vec<String> {
        let end = self.field(self.newest(), "end_wal");
        let segments = self.tree.segments_of(1);
        segments.into_iter().filter(|name| *name > end).collect()
    }

    /// The one in their middle.
    pub(crate) fn middle(&self) -> String {
        let later = self.later();
        assert!(later.len() >= 4, "{later:?}");
        later[later.len() / 2].clone()
    }

    pub(crate) fn middle_key(&self) -> String {
        self.tree.wal_key(&self.middle())
    }

    pub(crate) fn last_key(&self) -> String {
        self.tree.wal_key(self.tree.segments_of(2).last().unwrap())
    }

    /// Changes the decoded bytes of the segment in the middle.
    pub(crate) fn change_middle(&self, change: impl FnOnce(&mut Vec<u8>)) -> String {
        let key = self.middle_key();
        self.tree.change_inside(&key, change);
        key
    }

    /// Stores other bytes under the segment in the middle.
    pub(crate) fn store_middle(&self, bytes: &[u8]) -> String {
        let key = self.middle_key();
        self.tree.write(&key, bytes);
        key
    }

    /// The decoded segment of that key.
    pub(crate) fn decoded(&self, key: &str) -> Vec<u8> {
        codec::decode(codec::extension(Path::new(key)), &self.tree.read(key))
    }

    /// Changes a history file's text.
    pub(crate) fn change_history(&self, change: impl FnOnce(String) -> String) -> String {
        let key = self.tree.wal_key("00000002.history");
        self.tree.change_inside(&key, |bytes| {
            *bytes = change(String::from_utf8(bytes.clone()).unwrap()).into_bytes();
        });
        key
    }
}

/// The whole blocks of a file, with their numbers.
pub(crate) fn blocks(file: &Range<usize>) -> impl Iterator<Item = (u32, Range<usize>)> + use<> {
    let start = file.start;
    let count = u32::try_from(file.len() / BLOCK).unwrap();
    (0..count).map(move |number| {
        let at = start + number as usize * BLOCK;
        (number, at..at + BLOCK)
    })
}

fn transcoded(world: &World, base: &'static str, wal: &'static str) -> Tree {
    let tree = world.tree();
    for key in tree.keys() {
        let old = codec::extension(Path::new(&key));
        let new = if key.starts_with("wals/") {
            wal
        } else if key.contains(".tar") {
            base
        } else {
            continue;
        };
        // What the tools store plain stays plain.
        if old == new || old.is_empty() {
            continue;
        }
        let bytes = codec::decode(old, &tree.read(&key));
        tree.delete(&key);
        let stem = key.strip_suffix(old).unwrap();
        tree.write(&format!("{stem}{new}"), &codec::encode(new, &bytes));
    }
    tree
}
