//! A directory as a store. Blocking; the store calls it on blocking threads.
//!
//! Not the client library's local store: that one hides names that end in `#` and digits,
//! follows symbolic links (every file behind a link appears twice, and a link may lead
//! anywhere), and reads 8 KiB at a time.

use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use nix::fcntl::OFlag;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::PutOutcome;

/// Begins the names of unfinished writes; a UUID follows.
const STAGING: &str = ".walproof-staging-";
/// How much is read at once.
pub(super) const CHUNK: usize = 1 << 20;

/// A directory whose files are objects. Keys are paths below it.
pub(super) struct Directory {
    root: PathBuf,
}

/// A file of the directory.
pub(super) struct Found {
    /// Its path below the directory.
    pub(super) key: String,
    pub(super) size: u64,
    pub(super) modified: DateTime<Utc>,
    /// Changes when the file does: inode, time in nanoseconds, size.
    pub(super) etag: String,
}

impl Found {
    fn new(key: String, meta: &Metadata) -> Self {
        Self {
            key,
            size: meta.len(),
            modified: meta.modified().map(DateTime::from).unwrap_or_default(),
            etag: etag(meta),
        }
    }
}

/// The tag of a file's present content.
pub(super) fn etag(meta: &Metadata) -> String {
    format!(
        "{:x}-{:x}.{:09}-{:x}",
        meta.ino(),
        meta.mtime(),
        meta.mtime_nsec(),
        meta.len()
    )
}

fn refused(words: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, words)
}

/// Whether a name is one of an unfinished write.
fn is_staging(name: &str) -> bool {
    name.strip_prefix(STAGING)
        .is_some_and(|rest| uuid::Uuid::try_parse(rest).is_ok())
}

fn absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

impl Directory {
    /// Opens a directory. It may itself be reached through a symbolic link.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let root = path.canonicalize()?;
        if !root.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Self { root })
    }

    /// The path of a key. No component may lead out: not by `..`, not by a link.
    fn resolve(&self, key: &str) -> io::Result<PathBuf> {
        let mut path = self.root.clone();
        if key.is_empty() {
            return Ok(path);
        }
        let mut there = true;
        for part in key.split('/') {
            if matches!(part, "" | "." | "..") || part.contains('\0') {
                return Err(refused(format!("{part:?} is no name of a file")));
            }
            path.push(part);
            if there {
                match path.symlink_metadata() {
                    Ok(meta) if meta.is_symlink() => {
                        let words = "is a symbolic link, which is not followed";
                        return Err(refused(format!("{} {words}", path.display())));
                    }
                    Ok(_) => {}
                    Err(error) if absent(&error) => there = false,
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(path)
    }

    /// What is known of a file; `None` if there is none.
    pub(super) fn head(&self, key: &str) -> io::Result<Option<Found>> {
        match self.resolve(key)?.symlink_metadata() {
            Ok(meta) if meta.is_file() => Ok(Some(Found::new(key.to_owned(), &meta))),
            Ok(_) => Ok(None),
            Err(error) if absent(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens a file for reading.
    pub(super) fn open_file(&self, key: &str) -> io::Result<(File, Found)> {
        let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(flags.bits())
            .open(self.resolve(key)?)
            .map_err(|error| match error.kind() {
                io::ErrorKind::NotADirectory => io::ErrorKind::NotFound.into(),
                _ => error,
            })?;
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let found = Found::new(key.to_owned(), &meta);
        Ok((file, found))
    }

    /// The names of the folders directly below a folder, sorted.
    pub(super) fn folders(&self, prefix: &str) -> io::Result<Vec<String>> {
        let names = self.names(prefix)?;
        Ok(names
            .into_iter()
            .filter_map(|name| name.strip_suffix('/').map(str::to_owned))
            .collect())
    }

    /// Shows every file below a folder in the order of their keys, as S3 does, beginning
    /// behind `after`. Ends early when `show` says false. Holds the names of the folders on
    /// the way, not more.
    pub(super) fn walk(
        &self,
        prefix: &str,
        after: Option<&str>,
        show: &mut dyn FnMut(Found) -> bool,
    ) -> io::Result<()> {
        let enter = |folder: String| -> io::Result<_> {
            let names = self.names(&folder)?;
            Ok((folder, names.into_iter()))
        };
        let mut stack = vec![enter(prefix.to_owned())?];
        while let Some((folder, names)) = stack.last_mut() {
            let Some(name) = names.next() else {
                stack.pop();
                continue;
            };
            let key = if folder.is_empty() {
                name
            } else {
                format!("{folder}/{name}")
            };
            let behind = |after: &str| key.as_str() > after;
            if let Some(below) = key.strip_suffix('/') {
                if after.is_none_or(|after| behind(after) || after.starts_with(&key)) {
                    stack.push(enter(below.to_owned())?);
                }
            } else if after.is_none_or(behind) {
                match self.root.join(&key).symlink_metadata() {
                    Ok(meta) if meta.is_file() => {
                        if !show(Found::new(key, &meta)) {
                            return Ok(());
                        }
                    }
                    // It went away meanwhile, as files do.
                    Ok(_) => {}
                    Err(error) if absent(&error) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// The files and folders (these with a slash at the end) in a folder, in the order of
    /// the keys they lead to.
    fn names(&self, folder: &str) -> io::Result<Vec<String>> {
        let path = self.resolve(folder)?;
        let entries = match path.read_dir() {
            Ok(entries) => entries,
            Err(error) if absent(&error) => return Ok(Vec::new()),
            Err(error) => {
                return Err(io::Error::new(
                    error.kind(),
                    format!("{}: {error}", path.display()),
                ));
            }
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry?;
            let kind = match entry.file_type() {
                Ok(kind) => kind,
                Err(error) if absent(&error) => continue,
                Err(error) => return Err(error),
            };
            let Ok(name) = entry.file_name().into_string() else {
                let path = entry.path();
                tracing::warn!(path = %path.display(), "left out: the name is not UTF-8");
                continue;
            };
            if kind.is_dir() {
                names.push(name + "/");
            } else if kind.is_file() {
                if !is_staging(&name) {
                    names.push(name);
                }
            } else {
                let path = entry.path();
                tracing::warn!(path = %path.display(), "left out: a link or special file");
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Begins to write a file; its folders are made. Others than owner and group may not
    /// look into either: what is stored is a whole database. Nothing is visible before it is
    /// published, and dropping it leaves nothing.
    pub(super) fn stage(&self, key: &str) -> io::Result<Staged> {
        let target = self.resolve(key)?;
        let folder = target
            .parent()
            .filter(|_| !key.is_empty())
            .ok_or_else(|| refused("an object needs a name".to_owned()))?
            .to_owned();
        make_folders(&folder)?;
        let path = folder.join(format!("{STAGING}{}", uuid::Uuid::now_v7()));
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o640)
            .open(&path)?;
        Ok(Staged {
            file,
            path,
            target,
            folder,
        })
    }

    /// Makes a file that is there durable, with the names that lead to it.
    pub(super) fn settle(&self, key: &str) -> io::Result<()> {
        let target = self.resolve(key)?;
        File::open(&target)?.sync_all()?;
        target
            .ancestors()
            .skip(1)
            .take(key.split('/').count())
            .try_for_each(sync_folder)
    }

    /// The unfinished writes below a folder. Holds all of their names.
    pub(super) fn unfinished(&self, prefix: &str) -> io::Result<Vec<Found>> {
        let mut found = Vec::new();
        let mut folders = vec![prefix.to_owned()];
        while let Some(folder) = folders.pop() {
            let entries = match self.resolve(&folder)?.read_dir() {
                Ok(entries) => entries,
                Err(error) if absent(&error) => continue,
                Err(error) => return Err(error),
            };
            for entry in entries {
                let entry = entry?;
                let Ok(name) = entry.file_name().into_string() else {
                    continue;
                };
                let key = if folder.is_empty() {
                    name.clone()
                } else {
                    format!("{folder}/{name}")
                };
                match entry.metadata() {
                    Ok(meta) if meta.is_dir() => folders.push(key),
                    Ok(meta) if meta.is_file() && is_staging(&name) => {
                        found.push(Found::new(key, &meta));
                    }
                    Ok(_) => {}
                    Err(error) if absent(&error) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(found)
    }

    /// Removes a file.
    pub(super) fn remove(&self, key: &str) -> io::Result<()> {
        std::fs::remove_file(self.resolve(key)?)
    }
}

/// Makes a folder and those above it, durably.
fn make_folders(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let above = folder.parent().ok_or(io::ErrorKind::NotFound)?;
    make_folders(above)?;
    match DirBuilder::new().mode(0o750).create(folder) {
        // Somebody else was quicker.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let words = format!("{} is no directory", folder.display());
            Err(io::Error::new(io::ErrorKind::NotADirectory, words))
        }
        Err(error) => Err(error),
        Ok(()) => sync_folder(above),
    }
}

/// Makes the names in a folder durable.
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// A file being written under a name of its own.
pub(super) struct Staged {
    file: File,
    path: PathBuf,
    target: PathBuf,
    folder: PathBuf,
}

impl Staged {
    /// Adds bytes.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Gives the file its name, durably, if there is none of that name.
    pub(super) fn publish_new(self) -> io::Result<PutOutcome> {
        self.file.sync_all()?;
        let result = match std::fs::hard_link(&self.path, &self.target) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                // File systems without hard links.
                renameat_with(CWD, &self.path, CWD, &self.target, RenameFlags::NOREPLACE)
                    .map_err(io::Error::from)
            }
            done => done,
        };
        match result {
            Ok(()) => {
                sync_folder(&self.folder)?;
                Ok(PutOutcome::Created)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(PutOutcome::Exists),
            Err(error) => Err(error),
        }
    }

    /// Gives the file its name, durably, in place of what has it.
    pub(super) fn replace(self) -> io::Result<()> {
        self.file.sync_all()?;
        std::fs::rename(&self.path, &self.target)?;
        sync_folder(&self.folder)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // Already gone if it was renamed.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A file's bytes from its beginning to the end that it had when it was opened.
///
/// # Errors
/// `UnexpectedEof` if the file is not what it was then.
pub(super) struct FileRead {
    file: File,
    left: u64,
    etag: String,
}

impl FileRead {
    pub(super) fn new(file: File, found: &Found) -> Self {
        Self {
            file,
            left: found.size,
            etag: found.etag.clone(),
        }
    }

    /// The next bytes, at most [`CHUNK`]; none at the end.
    pub(super) fn chunk(&mut self) -> io::Result<Vec<u8>> {
        let length = usize::try_from(self.left).unwrap_or(CHUNK).min(CHUNK);
        self.bytes(length)
    }

    /// All bytes that are left. The caller has looked at how many those are.
    pub(super) fn whole(&mut self) -> io::Result<Vec<u8>> {
        let length = usize::try_from(self.left).map_err(|_| io::ErrorKind::FileTooLarge)?;
        self.bytes(length)
    }

    fn bytes(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(length);
        self.take(length as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

impl Read for FileRead {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(into.len());
        let Some(into) = into.get_mut(..wanted).filter(|into| !into.is_empty()) else {
            return Ok(0);
        };
        let count = self.file.read(into)?;
        if count == 0 {
            return Err(changed("the file became shorter while it was read"));
        }
        self.left -= count as u64;
        if self.left == 0 && etag(&self.file.metadata()?) != self.etag {
            return Err(changed("the file was written to while it was read"));
        }
        Ok(count)
    }
}

fn changed(words: &str) -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_not_for_everybodys_eyes() {
        let root = tempfile::tempdir().unwrap();
        let directory = Directory::open(root.path()).unwrap();
        let mut staged = directory.stage("wals/0001/segment").unwrap();
        staged.write(b"rows").unwrap();
        staged.publish_new().unwrap();
        for key in ["wals", "wals/0001", "wals/0001/segment"] {
            let mode = std::fs::metadata(root.path().join(key)).unwrap().mode();
            assert_eq!(mode & 0o027, 0, "{key}: {mode:o}");
        }
    }
}
