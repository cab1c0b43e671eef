//! The small files that recovery and connections start from.

use std::collections::BTreeMap;

/// The most bytes that such a file may have.
const SMALL: u64 = 1 << 20;

/// The most small files that are kept: a few per database.
const MAX_FILES: usize = 100_000;

/// One small file while its bytes come.
#[derive(Debug)]
pub(super) struct SmallFile {
    path: String,
    bytes: Vec<u8>,
    too_large: bool,
}

/// The small files of an archive or a whole backup, by path relative to the data
/// directory, each with the place of its archive in the catalog. `None` for one that is
/// far too large.
#[derive(Debug, Default)]
pub(super) struct SmallFiles {
    files: BTreeMap<String, (u16, Option<Vec<u8>>)>,
}

impl SmallFile {
    /// The file at `path`, of `size` bytes, if it is one that is looked at.
    pub(super) fn wanted(path: String, size: u64) -> Option<Self> {
        let wanted = matches!(
            path.as_str(),
            "global/pg_control" | "backup_label" | "tablespace_map" | "PG_VERSION"
        ) || matches!(
            path.rsplit_once('/'),
            Some((_, "pg_filenode.map" | "PG_VERSION"))
        );
        wanted.then_some(Self {
            path,
            bytes: Vec::new(),
            too_large: size > SMALL,
        })
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        if !self.too_large {
            self.bytes.extend_from_slice(bytes);
        }
    }
}

impl SmallFiles {
    pub(super) fn add(&mut self, file: SmallFile, archive: u16) {
        if self.files.len() < MAX_FILES {
            let bytes = (!file.too_large).then_some(file.bytes);
            self.files.insert(file.path, (archive, bytes));
        }
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.files.extend(other.files);
    }

    /// The archive and contents of the file at `path`.
    pub(super) fn get(&self, path: &str) -> Option<(u16, Option<&[u8]>)> {
        self.files
            .get(path)
            .map(|(archive, bytes)| (*archive, bytes.as_deref()))
    }

    /// Files of this name in any directory: the directory, the archive, the contents.
    pub(super) fn named<'a>(
        &'a self,
        name: &'a str,
    ) -> impl Iterator<Item = (&'a str, u16, Option<&'a [u8]>)> {
        self.files
            .iter()
            .filter_map(move |(path, (archive, bytes))| {
                let (directory, file) = path.rsplit_once('/')?;
                (file == name).then_some((directory, *archive, bytes.as_deref()))
            })
    }
}
