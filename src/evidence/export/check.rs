//! An export checked by a stranger: without a database, without a network.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::write::anchor;
use super::{EXPORT_SCHEMA, MANIFEST_FILE, Manifest};
use crate::evidence::ledger::{
    Break, BreakKind, FIRST_PREVIOUS, Head, LedgerEntry, MAX_ENTRY_BYTES, Walk,
};
use crate::evidence::sha256_of_file;

/// A file of entries that could not be read.
#[derive(Debug, thiserror::Error)]
#[error("read {}: {cause}", path.display())]
pub struct FileCheckError {
    /// The file.
    pub path: PathBuf,
    /// The cause.
    pub cause: io::Error,
}

/// What a check of a file came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileCheck {
    /// How many entries hold.
    pub entries: u64,
    /// The first one's number.
    pub first: Option<u64>,
    /// The last one that holds.
    pub head: Option<Head>,
    /// Whether they are all entries from the first to the last.
    pub complete: bool,
    /// Whether a manifest lay beside the file.
    pub manifest: bool,
    /// Files beside it that do not have the digest which the manifest states.
    pub differing_files: Vec<String>,
    /// How many files have it.
    pub files: u64,
    /// Whether the head that was given was met.
    pub met_head: bool,
    /// The first break.
    pub first_break: Option<Break>,
}

impl FileCheck {
    /// Whether everything that could be checked holds.
    pub const fn holds(&self) -> bool {
        self.first_break.is_none() && self.differing_files.is_empty()
    }
}

/// Checks a file of entries, one JSON text per line, and what lies beside it when there is a
/// manifest. `head` is one that was kept elsewhere; `step` is called with the number of
/// entries that were followed. Memory: one line, at most 256 KiB.
pub fn check_file(
    path: &Path,
    head: Option<&Head>,
    mut step: impl FnMut(u64),
) -> Result<FileCheck, FileCheckError> {
    let read = |cause| FileCheckError {
        path: path.to_owned(),
        cause,
    };
    let manifest = manifest_beside(path)?;
    let complete = manifest
        .as_ref()
        .is_none_or(|manifest| manifest.entries.complete);
    // What the manifest says is the last entry must be there. A head that was noted later
    // than the export was made lies behind its end and says nothing about it.
    let stated = manifest
        .as_ref()
        .and_then(|manifest| manifest.entries.head.clone());
    let given = head
        .filter(|head| {
            stated
                .as_ref()
                .is_none_or(|stated| head.sequence <= stated.sequence)
        })
        .cloned();
    let noted = || stated.iter().chain(&given).cloned();
    let mut lines = Lines {
        reader: BufReader::new(File::open(path).map_err(read)?),
    };
    let mut walk: Option<Walk> = None;
    let mut first = None;
    let mut first_break = None;
    while let Some(line) = lines.next().map_err(read)? {
        let expected = walk.as_ref().map_or(1, Walk::next_sequence);
        let entry = match line.and_then(|text| {
            LedgerEntry::of_text(text).map_err(|error| format!("it is no entry: {error}"))
        }) {
            Ok(entry) => entry,
            Err(message) => {
                first_break = Some(Break {
                    kind: BreakKind::NotCanonical,
                    sequence: expected,
                    message,
                });
                break;
            }
        };
        let walk = walk.get_or_insert_with(|| {
            let start = manifest
                .as_ref()
                .and_then(|manifest| anchor(&manifest.entries));
            let (sequence, previous) = match start {
                Some(start) => start,
                None if entry.sequence == 1 => (1, FIRST_PREVIOUS),
                None => (entry.sequence, entry.previous.as_str()),
            };
            first = Some(sequence);
            let walk = Walk::from(sequence, previous).against(noted());
            if complete { walk } else { walk.with_gaps() }
        });
        if let Err(broken) = walk.step(&entry) {
            first_break = Some(broken);
            break;
        }
        step(walk.count());
    }
    let walk = walk.unwrap_or_else(|| Walk::new().against(noted()));
    if first_break.is_none() {
        first_break = walk.finish().err();
    }
    let (files, differing_files) = match &manifest {
        Some(manifest) => check_files(path, manifest)?,
        None => (0, Vec::new()),
    };
    Ok(FileCheck {
        entries: walk.count(),
        first,
        head: walk.head(),
        complete,
        manifest: manifest.is_some(),
        differing_files,
        files,
        met_head: head.is_some_and(|head| walk.met(head)),
        first_break,
    })
}

struct Lines {
    reader: BufReader<File>,
}

impl Lines {
    /// The next line without its end; `None` at the end of the file.
    fn next(&mut self) -> io::Result<Option<Result<String, String>>> {
        let most = u64::try_from(MAX_ENTRY_BYTES).unwrap_or(u64::MAX);
        let mut line = Vec::new();
        let read = (&mut self.reader)
            .take(most.saturating_add(2))
            .read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(None);
        }
        if line.pop() != Some(b'\n') {
            let message = if read > MAX_ENTRY_BYTES {
                format!("the line is longer than {MAX_ENTRY_BYTES} bytes")
            } else {
                "the last line has no end: the file is cut off".to_owned()
            };
            return Ok(Some(Err(message)));
        }
        Ok(Some(
            String::from_utf8(line).map_err(|_| "the line is no UTF-8 text".to_owned()),
        ))
    }
}

fn manifest_beside(path: &Path) -> Result<Option<Manifest>, FileCheckError> {
    let beside = path.with_file_name(MANIFEST_FILE);
    let read = |cause| FileCheckError {
        path: beside.clone(),
        cause,
    };
    let mut text = String::new();
    match File::open(&beside) {
        Ok(file) => file.take(1 << 20).read_to_string(&mut text).map_err(read)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(read(error)),
    };
    let manifest: Manifest = serde_json::from_str(&text).map_err(|error| read(error.into()))?;
    if manifest.schema == EXPORT_SCHEMA {
        Ok(Some(manifest))
    } else {
        let cause = io::Error::other(format!("its schema is not {EXPORT_SCHEMA}"));
        Err(read(cause))
    }
}

/// How many files have the digest that the manifest states, and which do not.
fn check_files(path: &Path, manifest: &Manifest) -> Result<(u64, Vec<String>), FileCheckError> {
    let mut same: u64 = 0;
    let mut differing = Vec::new();
    for file in &manifest.files {
        // A name out of a file is never a path.
        let plain = Path::new(&file.name)
            .file_name()
            .is_some_and(|name| name == file.name.as_str());
        let beside = path.with_file_name(&file.name);
        let digest = if plain {
            sha256_of_file(&beside)
        } else {
            Ok(None)
        };
        let digest = digest.map_err(|cause| FileCheckError {
            path: beside,
            cause,
        })?;
        if digest.as_ref() == Some(&file.sha256) {
            same = same.saturating_add(1);
        } else {
            differing.push(file.name.clone());
        }
    }
    Ok((same, differing))
}
