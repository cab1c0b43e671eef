//! Records as files: written whole or not at all, never over another.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use sha2::{Digest as _, Sha256};

use super::{DrillRecord, sha256_hex};

/// A record's exact bytes, with where they belong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordFile {
    /// The file's name: `2026-11-21-orders-<id>.json`.
    pub name: String,
    /// The JSON text.
    pub text: String,
    /// SHA-256 of the text.
    pub sha256: String,
}

/// A record that could not be written.
#[derive(Debug, thiserror::Error)]
pub enum RecordFileError {
    /// It has no JSON form.
    #[error("write record {id}: {cause}")]
    Json {
        /// The record.
        id: String,
        /// The cause.
        cause: serde_json::Error,
    },
    /// The file system refused.
    #[error("write record {}: {cause} (check free space and permissions)", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        cause: io::Error,
    },
}

impl RecordFile {
    /// The bytes of a record.
    pub fn new(record: &DrillRecord) -> Result<Self, RecordFileError> {
        let mut text =
            serde_json::to_string_pretty(record).map_err(|cause| RecordFileError::Json {
                id: record.id.to_string(),
                cause,
            })?;
        text.push('\n');
        // A name that came from a bucket may hold anything.
        let cluster: String = record
            .source
            .cluster
            .chars()
            .take(63)
            .map(|letter| match letter {
                'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' => letter,
                _ => '_',
            })
            .collect();
        let date = record.started_at.format("%Y-%m-%d");
        Ok(Self {
            name: format!("{date}-{cluster}-{}.json", record.id),
            sha256: sha256_hex(text.as_bytes()),
            text,
        })
    }

    /// Writes the file into `directory`, durably. The same bytes again are fine; another
    /// file of this name is an error.
    pub fn write(&self, directory: &Path) -> Result<PathBuf, RecordFileError> {
        let path = directory.join(&self.name);
        self.write_to(directory, &path)
            .map(|()| path.clone())
            .map_err(|cause| RecordFileError::Io { path, cause })
    }

    fn write_to(&self, directory: &Path, path: &Path) -> io::Result<()> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
        let temporary = directory.join(format!(".{}.tmp", self.name));
        // What a crash left under this name is nobody's record yet.
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(self.text.as_bytes())?;
        file.sync_all()?;
        // A link fails where a rename would replace.
        let linked = match fs::hard_link(&temporary, path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if fs::read(path)? == self.text.as_bytes() {
                    Ok(())
                } else {
                    Err(error)
                }
            }
            other => other,
        };
        fs::remove_file(&temporary)?;
        linked?;
        File::open(directory)?.sync_all()
    }
}

/// SHA-256 of the program that runs, taken once.
pub(super) fn own_digest() -> Option<String> {
    static DIGEST: OnceLock<Option<String>> = OnceLock::new();
    DIGEST
        .get_or_init(|| {
            let mut file = File::open("/proc/self/exe").ok()?;
            let mut hasher = HashWriter(Sha256::new());
            io::copy(&mut file, &mut hasher).ok()?;
            Some(super::digest::hex(&hasher.0.finalize()))
        })
        .clone()
}

struct HashWriter(Sha256);

impl io::Write for HashWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
