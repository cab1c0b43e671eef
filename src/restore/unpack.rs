//! One decoded archive into a claimed directory. Blocking.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Serialize;

use super::destination::create_private;
use super::error::RestoreError;
use super::progress::Cancel;
use crate::codec::archive::{ArchiveWalk, Member, WalkError};
use crate::storage::StorageError;
use crate::verify::base::gate::{Admitted, Gate, shown};
use crate::verify::base::placement::SET_ASIDE;

/// Bytes copied at once; one buffer per archive that is being extracted.
const BUFFER: usize = 256 * 1024;

/// What an archive's members belong to.
#[derive(Clone, Debug)]
pub(crate) enum Room {
    /// The data directory; `separate` tablespaces come from archives of their own.
    Data { root: PathBuf, separate: Vec<u32> },
    /// A tablespace.
    Tablespace { root: PathBuf },
}

impl Room {
    fn root(&self) -> &Path {
        match self {
            Self::Data { root, .. } | Self::Tablespace { root } => root,
        }
    }

    fn gate(&self) -> Gate {
        match self {
            Self::Data { separate, .. } => Gate::data(separate.clone()),
            Self::Tablespace { .. } => Gate::tablespace(),
        }
    }
}

/// What was extracted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Extracted {
    /// Regular files written in place.
    pub files: u64,
    /// Directories named by the archive.
    pub directories: u64,
    /// Bytes of file contents written.
    pub bytes: u64,
    /// Configuration set aside: names below `walproof_set_aside`.
    pub set_aside: Vec<PathBuf>,
    /// Members that a restore never writes (WAL, slots, transient state, known links).
    pub left_out: u64,
}

impl Extracted {
    /// Adds what another archive gave.
    pub(crate) fn merge(&mut self, other: Self) {
        self.files += other.files;
        self.directories += other.directories;
        self.bytes += other.bytes;
        self.set_aside.extend(other.set_aside);
        self.left_out += other.left_out;
    }
}

/// Extracts a whole archive. `object` names it in errors. Files are created anew and never
/// replaced, whichever archive wrote them, and with mode 0600; no link is ever created, so
/// no member can lie behind one.
pub(crate) fn unpack(
    reader: impl Read,
    object: &str,
    room: &Room,
    cancel: &Cancel,
) -> Result<Extracted, RestoreError> {
    let mut walk = ArchiveWalk::new(Stoppable {
        inner: reader,
        cancel,
    });
    let mut unpacking = Unpacking {
        object,
        room,
        cancel,
        buffer: vec![0; BUFFER],
        known_parent: PathBuf::new(),
        gate: room.gate(),
        done: Extracted::default(),
    };
    while let Some(member) = walk
        .next_member()
        .map_err(|error| walk_error(object, error, cancel))?
    {
        unpacking.member(&mut walk, &member)?;
    }
    Ok(unpacking.done)
}

/// Ends once somebody wishes to stop, also within what is skipped: a few kilobytes may
/// decode to years of zeros.
struct Stoppable<'a, R> {
    inner: R,
    cancel: &'a Cancel,
}

impl<R: Read> Read for Stoppable<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.cancel.is_cancelled() {
            return Err(io::Error::other("interrupted"));
        }
        self.inner.read(into)
    }
}

struct Unpacking<'a> {
    object: &'a str,
    room: &'a Room,
    cancel: &'a Cancel,
    buffer: Vec<u8>,
    /// The parent that was made or found last: members come folder by folder.
    known_parent: PathBuf,
    gate: Gate,
    done: Extracted,
}

impl Unpacking<'_> {
    fn member<R: Read>(
        &mut self,
        walk: &mut ArchiveWalk<R>,
        member: &Member,
    ) -> Result<(), RestoreError> {
        if self.cancel.is_cancelled() {
            return Err(RestoreError::Cancelled);
        }
        let admitted = self
            .gate
            .admit(member)
            .map_err(|reason| self.refuse(member, &reason))?;
        match admitted {
            Admitted::Itself => Ok(()),
            Admitted::LeftOut => {
                self.done.left_out += 1;
                Ok(())
            }
            Admitted::SetAside(name) => self.set_aside(walk, member, &name),
            Admitted::Directory(path) => {
                self.make_directories(member, path.as_path())?;
                self.done.directories += 1;
                Ok(())
            }
            Admitted::File(path) => {
                if let Some(parent) = path.as_path().parent() {
                    self.make_directories(member, parent)?;
                }
                let target = self.room.root().join(path.as_path());
                let mut file = match create_file(&target) {
                    Ok(file) => file,
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                        return Err(self.refuse(member, "the name occurs twice in this backup"));
                    }
                    Err(error) => return Err(RestoreError::local("create", &target, error)),
                };
                self.done.bytes += self.copy(walk, &mut file, &target)?;
                self.done.files += 1;
                Ok(())
            }
        }
    }

    /// Configuration from inside and outside the data directory may come under one name
    /// (Barman adds files of `/etc` by their last part): the second becomes `name.2`.
    fn set_aside<R: Read>(
        &mut self,
        walk: &mut ArchiveWalk<R>,
        member: &Member,
        name: &Path,
    ) -> Result<(), RestoreError> {
        let directory = self.room.root().join(SET_ASIDE);
        for copy in 1..=9_u8 {
            let mut own_name: OsString = name.as_os_str().to_owned();
            if copy > 1 {
                own_name.push(format!(".{copy}"));
            }
            let target = directory.join(&own_name);
            match create_file(&target) {
                Ok(mut file) => {
                    self.copy(walk, &mut file, &target)?;
                    self.done.set_aside.push(PathBuf::from(own_name));
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(RestoreError::local("create", &target, error)),
            }
        }
        Err(self.refuse(member, "the name occurs too often in this backup"))
    }

    fn copy<R: Read>(
        &mut self,
        walk: &mut ArchiveWalk<R>,
        file: &mut File,
        target: &Path,
    ) -> Result<u64, RestoreError> {
        let mut written = 0;
        loop {
            let got = walk
                .read_body(&mut self.buffer)
                .map_err(|error| walk_error(self.object, error, self.cancel))?;
            let bytes = self.buffer.get(..got).unwrap_or_default();
            if bytes.is_empty() {
                return Ok(written);
            }
            if self.cancel.is_cancelled() {
                return Err(RestoreError::Cancelled);
            }
            file.write_all(bytes)
                .map_err(|error| RestoreError::local("write", target, error))?;
            written += got as u64;
        }
    }

    /// Makes each folder of a relative path that is not there yet.
    fn make_directories(&mut self, member: &Member, relative: &Path) -> Result<(), RestoreError> {
        if relative == self.known_parent {
            return Ok(());
        }
        let mut path = self.room.root().to_owned();
        for part in relative {
            path.push(part);
            match create_private(&path) {
                Ok(()) => {}
                Err(RestoreError::Local { source, .. })
                    if source.kind() == io::ErrorKind::AlreadyExists =>
                {
                    let found = fs::symlink_metadata(&path)
                        .map_err(|error| RestoreError::local("look at", &path, error))?;
                    if !found.is_dir() {
                        return Err(
                            self.refuse(member, "a folder of its path is a file of this backup")
                        );
                    }
                }
                Err(error) => return Err(error),
            }
        }
        relative.clone_into(&mut self.known_parent);
        Ok(())
    }

    fn refuse(&self, member: &Member, reason: &str) -> RestoreError {
        RestoreError::UnsafeMember {
            object: self.object.to_owned(),
            member: shown(member),
            reason: reason.to_owned(),
        }
    }
}

fn create_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

fn walk_error(object: &str, error: WalkError, cancel: &Cancel) -> RestoreError {
    match error {
        WalkError::Read(_) if cancel.is_cancelled() => RestoreError::Cancelled,
        WalkError::Damaged { .. } => RestoreError::Damaged {
            object: object.to_owned(),
            what: error.to_string(),
        },
        WalkError::Read(error) => read_error(object, &error),
    }
}

/// Tells a store that failed from bytes that cannot be decoded.
fn read_error(object: &str, error: &io::Error) -> RestoreError {
    match StorageError::of(error) {
        Some(storage) => RestoreError::Storage(storage.clone()),
        None => RestoreError::Damaged {
            object: object.to_owned(),
            what: error.to_string(),
        },
    }
}
