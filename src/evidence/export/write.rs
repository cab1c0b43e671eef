//! An export as a directory: written whole or not at all, never over another.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use sha2::{Digest as _, Sha256};

use super::{
    EXPORT_SCHEMA, EntriesManifest, LedgerManifest, MANIFEST_FILE, Manifest, Scope, Summary, page,
    tables,
};
use crate::evidence::digest::hex;
use crate::evidence::ledger::{Break, FIRST_PREVIOUS, Head, LedgerEntry, Walk};
use crate::evidence::{Digest, Tool};

/// The file of entries.
pub const ENTRIES_FILE: &str = "entries.jsonl";

/// An export that could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The period has no length.
    #[error("export from {from} to {to}: the period ends before it begins")]
    Period {
        /// Its begin.
        from: DateTime<Utc>,
        /// Its end.
        to: DateTime<Utc>,
    },
    /// There is something already.
    #[error("write {}: it exists already (an export is never written over another; name another directory)", .0.display())]
    Exists(PathBuf),
    /// Another process is writing it.
    #[error("write {}: another export is being written there", .0.display())]
    Busy(PathBuf),
    /// The file system refused.
    #[error("write {}: {cause} (check free space and permissions)", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        cause: io::Error,
    },
}

/// What was written.
#[derive(Clone, Debug)]
pub struct Exported {
    /// The directory.
    pub directory: PathBuf,
    /// What it consists of.
    pub manifest: Manifest,
    /// SHA-256 of `manifest.json`, which stands for all of it.
    pub manifest_sha256: String,
    /// The size of `manifest.json`.
    pub manifest_bytes: u64,
    /// The numbers.
    pub summary: Summary,
}

/// A good name for the directory of an export: `walproof-evidence-2026-11-01-2026-12-01`,
/// with the cluster's name when it is about one alone.
pub fn directory_name(scope: &Scope) -> String {
    let day = |at: DateTime<Utc>| at.format("%Y-%m-%d").to_string();
    let mut name = format!("walproof-evidence-{}-{}", day(scope.from), day(scope.to));
    if let Some(cluster) = &scope.cluster {
        name.push('-');
        // A name that came from a bucket may hold anything.
        name.extend(cluster.chars().take(63).map(|letter| match letter {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' => letter,
            _ => '_',
        }));
    }
    name
}

/// A file that is hashed as it is written.
struct HashedFile {
    path: PathBuf,
    out: BufWriter<File>,
    hasher: Sha256,
    bytes: u64,
}

impl io::Write for HashedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write_all(bytes)?;
        self.hasher.update(bytes);
        self.bytes = self
            .bytes
            .saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl HashedFile {
    fn create(directory: &Path, name: &str) -> Result<Self, ExportError> {
        let path = directory.join(name);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path);
        Ok(Self {
            out: BufWriter::new(file.map_err(io_at(&path))?),
            path,
            hasher: Sha256::new(),
            bytes: 0,
        })
    }

    fn finish(mut self, name: &str) -> Result<Digest, ExportError> {
        let end = |file: &mut Self| {
            file.out.flush()?;
            file.out.get_ref().sync_all()
        };
        end(&mut self).map_err(io_at(&self.path))?;
        Ok(Digest {
            name: name.to_owned(),
            bytes: self.bytes,
            sha256: hex(&self.hasher.finalize()),
        })
    }
}

/// Where the entries end that belong to the period, as far as is known.
struct Kept {
    bytes: u64,
    hasher: Sha256,
    count: u64,
    head: Head,
}

/// Writes an export from the ledger's entries, all of them in order from the first on: they
/// are followed as `walproof evidence verify` does. Memory: that of [`Summary`] and one page
/// of HTML.
pub struct Exporter {
    directory: PathBuf,
    partial: PathBuf,
    /// Held until the end, so that what a crash left is told from what is being written.
    lock: File,
    done: bool,
    made_at: DateTime<Utc>,
    summary: Summary,
    walk: Walk,
    walked: u64,
    last: Option<Head>,
    first_break: Option<Break>,
    entries: HashedFile,
    findings: HashedFile,
    written: u64,
    first: Option<(u64, String)>,
    kept: Option<Kept>,
}

impl std::fmt::Debug for Exporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exporter")
            .field("directory", &self.directory)
            .field("walked", &self.walked)
            .finish_non_exhaustive()
    }
}

fn io_at(path: &Path) -> impl FnOnce(io::Error) -> ExportError {
    let path = path.to_owned();
    move |cause| ExportError::Io { path, cause }
}

impl Exporter {
    /// Begins. `directory` must not exist, or be empty; its parent is made if need be.
    pub fn begin(
        directory: &Path,
        scope: Scope,
        made_at: DateTime<Utc>,
    ) -> Result<Self, ExportError> {
        if scope.to <= scope.from {
            return Err(ExportError::Period {
                from: scope.from,
                to: scope.to,
            });
        }
        let exists = || ExportError::Exists(directory.to_owned());
        let name = directory.file_name().ok_or_else(exists)?;
        if let Ok(mut inside) = fs::read_dir(directory) {
            if inside.next().is_some() {
                return Err(exists());
            }
        } else if fs::symlink_metadata(directory).is_ok() {
            return Err(exists());
        }
        let parent = match directory.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(parent)
            .map_err(io_at(parent))?;
        let partial = parent.join(format!(".{}.partial", name.to_string_lossy()));
        let lock = take(&partial, directory)?;
        let mut findings = HashedFile::create(&partial, "findings.csv")?;
        tables::findings_begin(&mut findings).map_err(io_at(&partial))?;
        Ok(Self {
            entries: HashedFile::create(&partial, ENTRIES_FILE)?,
            findings,
            directory: directory.to_owned(),
            partial,
            lock,
            done: false,
            made_at,
            summary: Summary::new(scope),
            walk: Walk::new(),
            walked: 0,
            last: None,
            first_break: None,
            written: 0,
            first: None,
            kept: None,
        })
    }

    /// The next entry of the ledger.
    pub fn entry(&mut self, entry: &LedgerEntry) -> Result<(), ExportError> {
        if let Err(broken) = self.walk.step(entry) {
            // The first break is told; what follows is exported as it is.
            self.first_break.get_or_insert(broken);
            self.walk = Walk::from(entry.sequence.saturating_add(1), &entry.sha256);
        }
        self.walked = self.walked.saturating_add(1);
        let head = Head {
            sequence: entry.sequence,
            sha256: entry.sha256.clone(),
        };
        self.last = Some(head.clone());
        let Ok(content) = entry.content() else {
            // No entry of ours any more; the break says so.
            return if self.first.is_some() {
                self.line(entry)
            } else {
                Ok(())
            };
        };
        let end = self.summary.scope().to;
        for closed in self.summary.feed(&content) {
            let path = self.findings.path.clone();
            tables::finding(&closed, end, &mut self.findings).map_err(io_at(&path))?;
        }
        let scope = self.summary.scope();
        let covered = scope.covers(content.at);
        // All entries from the first of the period to its last: a clock that went back must
        // not tear the chain. Of one cluster alone only its own.
        let wanted = match scope.cluster {
            Some(_) => covered && scope.is_about(content.cluster.as_deref()),
            None => covered || self.first.is_some(),
        };
        if wanted {
            self.line(entry)?;
        }
        if wanted && covered {
            self.kept = Some(Kept {
                bytes: self.entries.bytes,
                hasher: self.entries.hasher.clone(),
                count: self.written,
                head,
            });
        }
        Ok(())
    }

    fn line(&mut self, entry: &LedgerEntry) -> Result<(), ExportError> {
        if self.first.is_none() {
            self.first = Some((entry.sequence, entry.previous.clone()));
        }
        self.written = self.written.saturating_add(1);
        // Canonical text holds no line break; changed text may.
        let text = entry.text.replace(['\n', '\r'], " ");
        writeln!(self.entries, "{text}").map_err(io_at(&self.entries.path))
    }

    /// How many entries were followed.
    pub const fn walked(&self) -> u64 {
        self.walked
    }

    /// Writes the rest and gives the directory its name. When the ledger was broken, the
    /// manifest and the page say so.
    pub fn finish(mut self) -> Result<Exported, ExportError> {
        let scope = self.summary.scope().clone();
        let mut files = vec![self.finish_entries()?];
        let open = self.summary.open_findings();
        let mut findings = self.replace_findings()?;
        for finding in &open {
            let path = findings.path.clone();
            tables::finding(finding, scope.to, &mut findings).map_err(io_at(&path))?;
        }
        files.push(findings.finish("findings.csv")?);
        let manifest = Manifest {
            schema: EXPORT_SCHEMA.to_owned(),
            made_at: self.made_at,
            tool: Tool::this(),
            from: scope.from,
            to: scope.to,
            cluster: scope.cluster.clone(),
            entries: EntriesManifest {
                complete: scope.cluster.is_none(),
                count: self.kept.as_ref().map_or(0, |kept| kept.count),
                first: self
                    .kept
                    .as_ref()
                    .and(self.first.as_ref())
                    .map(|(first, _)| *first),
                previous: self
                    .kept
                    .as_ref()
                    .and(self.first.as_ref())
                    .map(|(_, previous)| previous.clone()),
                head: self.kept.as_ref().map(|kept| kept.head.clone()),
            },
            ledger: LedgerManifest {
                entries: self.walked,
                head: self.last.clone(),
                first_break: self.first_break.clone(),
            },
            files: Vec::new(),
        };
        let mut population = HashedFile::create(&self.partial, "population.csv")?;
        tables::population(&self.summary, &mut population).map_err(io_at(&population.path))?;
        files.push(population.finish("population.csv")?);
        let mut objectives = HashedFile::create(&self.partial, "objectives.csv")?;
        tables::objectives(&mut self.summary, &mut objectives).map_err(io_at(&objectives.path))?;
        files.push(objectives.finish("objectives.csv")?);
        let mut report = HashedFile::create(&self.partial, "report.html")?;
        let text = page::page(&mut self.summary, &manifest, &files);
        report
            .write_all(text.as_bytes())
            .map_err(io_at(&report.path))?;
        files.push(report.finish("report.html")?);
        let manifest = Manifest { files, ..manifest };
        let written = self.write_manifest(&manifest)?;
        self.name()?;
        Ok(Exported {
            directory: self.directory.clone(),
            manifest,
            manifest_sha256: written.sha256,
            manifest_bytes: written.bytes,
            summary: self.summary.clone(),
        })
    }

    /// The file of entries, cut behind the last one of the period.
    fn finish_entries(&mut self) -> Result<Digest, ExportError> {
        let path = self.entries.path.clone();
        let (bytes, hasher) = self
            .kept
            .as_ref()
            .map_or((0, Sha256::new()), |kept| (kept.bytes, kept.hasher.clone()));
        let cut = |file: &mut HashedFile| {
            file.out.flush()?;
            file.out.get_ref().set_len(bytes)?;
            file.out.get_ref().sync_all()
        };
        cut(&mut self.entries).map_err(io_at(&path))?;
        Ok(Digest {
            name: ENTRIES_FILE.to_owned(),
            bytes,
            sha256: hex(&hasher.finalize()),
        })
    }

    /// The file of findings, taken out so that it can be finished.
    fn replace_findings(&mut self) -> Result<HashedFile, ExportError> {
        let path = self.findings.path.clone();
        let nowhere = HashedFile {
            out: BufWriter::new(self.lock.try_clone().map_err(io_at(&path))?),
            path,
            hasher: Sha256::new(),
            bytes: 0,
        };
        Ok(std::mem::replace(&mut self.findings, nowhere))
    }

    fn write_manifest(&self, manifest: &Manifest) -> Result<Digest, ExportError> {
        let path = self.partial.join(MANIFEST_FILE);
        let mut text = serde_json::to_string_pretty(manifest).map_err(|cause| ExportError::Io {
            path: path.clone(),
            cause: cause.into(),
        })?;
        text.push('\n');
        let mut file = HashedFile::create(&self.partial, MANIFEST_FILE)?;
        file.write_all(text.as_bytes()).map_err(io_at(&path))?;
        file.finish(MANIFEST_FILE)
    }

    /// From here on it is there. A rename takes the place of an empty directory only.
    fn name(&mut self) -> Result<(), ExportError> {
        self.lock.sync_all().map_err(io_at(&self.partial))?;
        fs::rename(&self.partial, &self.directory).map_err(|cause| {
            if matches!(
                cause.kind(),
                io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotADirectory
            ) {
                ExportError::Exists(self.directory.clone())
            } else {
                io_at(&self.directory)(cause)
            }
        })?;
        self.done = true;
        let parent = self.partial.parent().unwrap_or(Path::new("."));
        File::open(parent)
            .and_then(|parent| parent.sync_all())
            .map_err(io_at(parent))
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        if !self.done {
            // What stays is hidden, and the next export of this name begins by removing it.
            let _ = fs::remove_dir_all(&self.partial);
        }
    }
}

/// Makes the directory that is written to, or takes over what a crash left.
fn take(partial: &Path, directory: &Path) -> Result<File, ExportError> {
    match DirBuilder::new().mode(0o700).create(partial) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => other.map_err(io_at(partial))?,
    }
    let lock = File::open(partial).map_err(io_at(partial))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(ExportError::Busy(directory.to_owned())),
        Err(TryLockError::Error(error)) => return Err(io_at(partial)(error)),
    }
    for left in fs::read_dir(partial).map_err(io_at(partial))? {
        let path = left.map_err(io_at(partial))?.path();
        fs::remove_file(&path).map_err(io_at(&path))?;
    }
    Ok(lock)
}

/// An export without entries starts nowhere; one with entries where its first one says.
pub(super) fn anchor(entries: &EntriesManifest) -> Option<(u64, &str)> {
    entries
        .first
        .map(|first| (first, entries.previous.as_deref().unwrap_or(FIRST_PREVIOUS)))
}
