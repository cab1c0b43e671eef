//! Copying a running server's files into archives. Runs on a blocking thread.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::runtime::Handle;

use super::archive::{ArchiveWriter, StoredPart};
use super::walk::{self, Found, Kind, at};
use crate::codec::Codec;
use crate::repository::{ArchiveContents, Tablespace};
use crate::storage::Store;

/// How many skipped files are named one by one.
const SKIPPED: usize = 20;

/// What is copied where.
#[derive(Clone, Debug)]
pub(super) struct CopyPlan {
    pub(super) store: Store,
    pub(super) id: String,
    pub(super) data_directory: PathBuf,
    pub(super) major: u32,
    pub(super) tablespaces: Vec<Tablespace>,
    /// Configuration files outside the data directory.
    pub(super) configuration: Vec<PathBuf>,
    pub(super) codec: Codec,
    pub(super) max_archive_size: u64,
}

/// Counters that others read while the copy goes on, and the word to stop.
#[derive(Debug, Default)]
pub(super) struct CopyState {
    pub(super) read_bytes: AtomicU64,
    pub(super) files: AtomicU64,
    pub(super) stop: AtomicBool,
}

/// What was copied.
#[derive(Debug, Default)]
pub(super) struct Copied {
    pub(super) parts: Vec<StoredPart>,
    pub(super) skipped: Vec<String>,
}

/// The archive of the data directory, open until the backup label is known.
pub(super) struct OpenBackup {
    copier: Copier,
    data: ArchiveWriter,
}

struct Copier {
    state: Arc<CopyState>,
    copied: Copied,
}

/// Copies tablespaces, then the data directory, then `global/pg_control`, then
/// configuration files from outside: the order of Barman (`_backup_data_files`).
pub(super) fn copy(
    plan: &CopyPlan,
    runtime: &Handle,
    state: Arc<CopyState>,
) -> io::Result<OpenBackup> {
    let mut copier = Copier {
        state,
        copied: Copied::default(),
    };
    let writer = |contents| {
        ArchiveWriter::new(
            &plan.store,
            runtime,
            &plan.id,
            contents,
            plan.codec,
            plan.max_archive_size,
        )
    };
    let mut locations = Vec::with_capacity(plan.tablespaces.len());
    for tablespace in &plan.tablespaces {
        // Relative for tablespaces "in place", which lie below pg_tblspc.
        let location = plan.data_directory.join(&tablespace.location);
        let mut archive = writer(ArchiveContents::Tablespace(tablespace.oid));
        match copier.directory(&location, Kind::Tablespace(plan.major), &mut archive) {
            Ok(()) => copier.copied.parts.extend(archive.finish()?),
            Err(error) => return Err(archive.abandon(error)),
        }
        locations.push(location);
    }
    let mut data = writer(ArchiveContents::Data);
    match copier.data_directory(plan, &locations, &mut data) {
        Ok(()) => Ok(OpenBackup { copier, data }),
        Err(error) => Err(data.abandon(error)),
    }
}

impl OpenBackup {
    /// Adds the backup label as the very last member and ends the archive.
    pub(super) fn finish(mut self, label: &str, data_directory: &Path) -> io::Result<Copied> {
        let metadata = std::fs::metadata(data_directory).map_err(|e| at(data_directory, &e))?;
        let mut header = header(&metadata, tar::EntryType::Regular);
        header.set_mode(0o600);
        header.set_size(label.len() as u64);
        let appended = self
            .data
            .append(&mut header, "backup_label", label.as_bytes());
        if let Err(error) = appended {
            return Err(self.data.abandon(error));
        }
        self.copier.copied.parts.extend(self.data.finish()?);
        Ok(self.copier.copied)
    }

    /// Gives the archive up and waits until nothing of it is left.
    pub(super) fn abandon(self) {
        self.data
            .abandon(io::Error::other("the backup was given up"));
    }
}

impl Copier {
    fn data_directory(
        &mut self,
        plan: &CopyPlan,
        tablespaces: &[PathBuf],
        archive: &mut ArchiveWriter,
    ) -> io::Result<()> {
        let root = std::fs::canonicalize(&plan.data_directory)
            .map_err(|error| at(&plan.data_directory, &error))?;
        self.directory(&root, Kind::Data(tablespaces), archive)?;
        Self::control_file(&root, archive)?;
        for path in &plan.configuration {
            let name = path.file_name().and_then(|name| name.to_str());
            if let Some(name) = name
                && !root.join(name).exists()
            {
                self.file(name, path, archive)?;
            }
        }
        Ok(())
    }

    fn directory(
        &mut self,
        root: &Path,
        kind: Kind<'_>,
        archive: &mut ArchiveWriter,
    ) -> io::Result<()> {
        walk::walk(root, kind, &mut |found| match found {
            Found::Folder { name, metadata } => {
                let mut header = header(&metadata, tar::EntryType::Directory);
                header.set_size(0);
                archive.append(&mut header, &name, io::empty())
            }
            Found::File { name, .. }
                if name == "global/pg_control" && matches!(kind, Kind::Data(_)) =>
            {
                Ok(())
            }
            Found::File { name, path } => self.file(&name, &path, archive),
            Found::Skipped { path, reason } => {
                if self.copied.skipped.len() < SKIPPED {
                    let text = format!("{} was left out: {reason}", path.display());
                    self.copied.skipped.push(text);
                }
                Ok(())
            }
        })
    }

    /// A file as long as it is now: what it grows meanwhile is left out, and when it
    /// shrinks zeros take the place, as in `pg_basebackup` and Barman. Replay mends both.
    fn file(&mut self, name: &str, path: &Path, archive: &mut ArchiveWriter) -> io::Result<()> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(at(path, &error)),
        };
        let metadata = file.metadata().map_err(|error| at(path, &error))?;
        let mut header = header(&metadata, tar::EntryType::Regular);
        header.set_size(metadata.len());
        let padded = Padded {
            file,
            path,
            rest: metadata.len(),
            state: &self.state,
        };
        archive.append(&mut header, name, padded)?;
        self.state.files.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// The control file is rewritten in place, so it is read until two readings agree.
    fn control_file(root: &Path, archive: &mut ArchiveWriter) -> io::Result<()> {
        let path = root.join("global/pg_control");
        let metadata = std::fs::metadata(&path).map_err(|error| at(&path, &error))?;
        let read = || std::fs::read(&path).map_err(|error| at(&path, &error));
        let mut bytes = read()?;
        for _ in 0..100 {
            let again = read()?;
            if again == bytes {
                let mut header = header(&metadata, tar::EntryType::Regular);
                header.set_size(bytes.len() as u64);
                return archive.append(&mut header, "global/pg_control", bytes.as_slice());
            }
            bytes = again;
        }
        Err(io::Error::other(format!(
            "{} changes faster than it can be read",
            path.display()
        )))
    }
}

fn header(metadata: &Metadata, kind: tar::EntryType) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(metadata.mode() & 0o7777);
    header.set_uid(u64::from(metadata.uid()));
    header.set_gid(u64::from(metadata.gid()));
    header.set_mtime(u64::try_from(metadata.mtime()).unwrap_or(0));
    header
}

/// Exactly `rest` bytes of a file, zeros where it has become shorter.
struct Padded<'a> {
    file: File,
    path: &'a Path,
    rest: u64,
    state: &'a CopyState,
}

impl Read for Padded<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.state.stop.load(Ordering::Relaxed) {
            // Not `Interrupted`, which copying loops take for "try again".
            return Err(io::Error::other("the backup was stopped"));
        }
        let most = usize::try_from(self.rest)
            .unwrap_or(usize::MAX)
            .min(into.len());
        let Some(into) = into.get_mut(..most).filter(|into| !into.is_empty()) else {
            return Ok(0);
        };
        let mut count = self
            .file
            .read(into)
            .map_err(|error| at(self.path, &error))?;
        if count == 0 {
            into.fill(0);
            count = most;
        }
        self.rest -= count as u64;
        self.state
            .read_bytes
            .fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_shrinks_is_padded_and_one_that_grows_is_cut() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        let state = CopyState::default();
        for (now, wanted) in [
            ("abc", "abc\0\0"),
            ("abcdefgh", "abcde"),
            ("abcde", "abcde"),
        ] {
            std::fs::write(&path, now).unwrap();
            let mut padded = Padded {
                file: File::open(&path).unwrap(),
                path: &path,
                rest: 5,
                state: &state,
            };
            let mut read = Vec::new();
            padded.read_to_end(&mut read).unwrap();
            assert_eq!(read, wanted.as_bytes());
        }
        assert_eq!(state.read_bytes.load(Ordering::Relaxed), 15);
    }
}
