//! A base backup into an empty directory.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::StreamExt;
use schemars::JsonSchema;
use serde::Serialize;

use super::destination::{Claim, create_private};
use super::durable::sync_tree;
use super::error::RestoreError;
use super::inspect::{RestoredFacts, inspect};
use super::progress::{Cancel, Meter, Step, Watch};
use super::tablespaces::{PlacedTablespace, TablespaceMap};
use super::unpack::{Extracted, Room, unpack};
use crate::codec::{DigestReader, decoder};
use crate::repository::{
    Archive, ArchiveContents, BackupMethod, BackupStatus, BaseBackup, Repository,
};
use crate::verify::base::placement::{SET_ASIDE, STANDARD_DIRECTORIES, UNFINISHED};

/// How a base backup is extracted.
#[derive(Clone, Copy, Debug)]
pub struct ExtractOptions {
    /// How many archives are extracted at once. Each takes some 18 MiB of memory, with
    /// xz up to 256 MiB more.
    pub parallel: usize,
    /// Whether everything is flushed to disk at the end. Only a scratch directory may do
    /// without.
    pub sync: bool,
}

impl Default for ExtractOptions {
    fn default() -> Self {
        Self {
            parallel: 4,
            sync: true,
        }
    }
}

/// An archive that was read to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FetchedArchive {
    /// Its key, relative to the repository.
    pub key: String,
    /// Its stored bytes.
    pub bytes: u64,
    /// SHA-256 of the stored bytes, lower-case hexadecimal.
    pub sha256: String,
}

/// What was extracted, and what it says of itself.
#[derive(Clone, Debug, Serialize)]
pub struct ExtractReport {
    /// The data directory.
    pub destination: PathBuf,
    /// Where the tablespaces lie.
    pub tablespaces: Vec<PlacedTablespace>,
    /// The archives, in the catalog's order.
    pub archives: Vec<FetchedArchive>,
    /// Files, bytes and what was set aside.
    pub extracted: Extracted,
    /// What recovery will start from.
    pub facts: RestoredFacts,
}

impl ExtractReport {
    /// The sum of the stored bytes that were fetched.
    pub fn stored_bytes(&self) -> u64 {
        self.archives.iter().map(|archive| archive.bytes).sum()
    }
}

/// Extracts `backup` into `into`, which must be absent or empty and is made private. When
/// it fails or is cancelled, everything that it created is removed.
pub async fn extract(
    repository: &Repository,
    backup: &BaseBackup,
    into: &Path,
    tablespaces: &TablespaceMap,
    options: &ExtractOptions,
    watch: &Watch,
) -> Result<ExtractReport, RestoreError> {
    extract_claimed(repository, backup, into, tablespaces, options, watch)
        .await
        .map(|(report, _)| report)
}

/// Like [`extract`], for a caller with further steps that may fail: the claim gives the
/// directories back.
pub(crate) async fn extract_claimed(
    repository: &Repository,
    backup: &BaseBackup,
    into: &Path,
    tablespaces: &TablespaceMap,
    options: &ExtractOptions,
    watch: &Watch,
) -> Result<(ExtractReport, Claim), RestoreError> {
    check_restorable(backup)?;
    if backup.method != BackupMethod::Archives {
        return Err(RestoreError::Backup {
            id: backup.id.clone(),
            reason: IN_SNAPSHOTS.to_owned(),
        });
    }
    let into = std::path::absolute(into)
        .map_err(|error| RestoreError::local("find the path of", into, error))?;
    let placed = tablespaces.place(&into, &backup.tablespaces)?;
    let claim = claim(&into, &placed)?;
    let extraction = Extraction {
        repository,
        backup,
        into: &into,
        placed: &placed,
        options,
        watch,
    };
    match Box::pin(extraction.run(&claim)).await {
        Ok(report) => Ok((report, claim)),
        Err(error) => {
            claim.give_back_or_warn();
            Err(error)
        }
    }
}

/// Why a backup cannot be extracted that has no archives.
const IN_SNAPSHOTS: &str = "its data lies in volume snapshots, which cannot be read from here";

/// Whether a backup can be restored from here, or by the operator that holds its volumes;
/// what is wrong is said.
pub fn check_restorable(backup: &BaseBackup) -> Result<(), RestoreError> {
    let unusable = |reason: String| {
        Err(RestoreError::Backup {
            id: backup.id.clone(),
            reason,
        })
    };
    match &backup.status {
        BackupStatus::Done => {}
        BackupStatus::Started => return unusable("it was begun and never finished".to_owned()),
        BackupStatus::Failed => {
            return unusable(format!(
                "it failed: {}",
                backup.error.as_deref().unwrap_or("no reason is recorded")
            ));
        }
        BackupStatus::Other(word) => return unusable(format!("its status is {word}, not DONE")),
        BackupStatus::Unknown => {
            return unusable("its description is missing or unreadable".to_owned());
        }
    }
    match backup.method {
        BackupMethod::Archives => {}
        BackupMethod::Snapshot => return unusable(IN_SNAPSHOTS.to_owned()),
        // Not from here, but by the operator that makes volumes of them.
        BackupMethod::VolumeSnapshot => return Ok(()),
    }
    let damaged = |what: String| {
        Err(RestoreError::Damaged {
            object: format!("backup {}", backup.id),
            what,
        })
    };
    let wanted = std::iter::once(ArchiveContents::Data).chain(
        backup
            .tablespaces
            .iter()
            .map(|tablespace| ArchiveContents::Tablespace(tablespace.oid)),
    );
    for contents in wanted {
        let mut parts: Vec<u32> = backup
            .archives
            .iter()
            .filter(|archive| archive.contents == contents)
            .map(|archive| archive.part)
            .collect();
        parts.sort_unstable();
        let what = match contents {
            ArchiveContents::Data => "the data directory".to_owned(),
            ArchiveContents::Tablespace(oid) => format!("tablespace {oid}"),
        };
        if parts.is_empty() {
            return damaged(format!("it has no archive of {what}"));
        }
        if let Some(hole) = parts
            .iter()
            .zip(0_u32..)
            .find_map(|(part, expected)| (*part != expected).then_some(expected))
        {
            return damaged(format!("part {hole} of {what} is missing or doubled"));
        }
    }
    if let Some(stray) = backup
        .archives
        .iter()
        .find(|archive| match archive.contents {
            ArchiveContents::Data => false,
            ArchiveContents::Tablespace(oid) => {
                !backup.tablespaces.iter().any(|known| known.oid == oid)
            }
        })
    {
        return Err(RestoreError::Contradictory {
            backup: backup.id.clone(),
            what: format!(
                "{} is the archive of a tablespace that the description does not know",
                stray.key
            ),
        });
    }
    Ok(())
}

fn claim(into: &Path, placed: &[PlacedTablespace]) -> Result<Claim, RestoreError> {
    let mut claim = Claim::default();
    let taken = (|| {
        claim.take(into, false)?;
        for tablespace in placed {
            claim.take(&tablespace.path, true)?;
        }
        fs::write(
            into.join(UNFINISHED),
            "A restore by walproof is under way or was killed.\n",
        )
        .map_err(|error| RestoreError::local("write to", into, error))?;
        create_private(&into.join(SET_ASIDE))
    })();
    match taken {
        Ok(()) => Ok(claim),
        Err(error) => {
            claim.give_back_or_warn();
            Err(error)
        }
    }
}

struct Extraction<'a> {
    repository: &'a Repository,
    backup: &'a BaseBackup,
    into: &'a Path,
    placed: &'a [PlacedTablespace],
    options: &'a ExtractOptions,
    watch: &'a Watch,
}

impl Extraction<'_> {
    async fn run(&self, claim: &Claim) -> Result<ExtractReport, RestoreError> {
        let (archives, mut extracted) = self.fetch_all().await?;
        extracted.set_aside.sort();
        let roots: Vec<PathBuf> = claim.roots().map(Path::to_owned).collect();
        let (into, placed, backup) = (
            self.into.to_owned(),
            self.placed.to_vec(),
            self.backup.clone(),
        );
        let (watch, sync, files) = (self.watch.clone(), self.options.sync, extracted.files);
        let facts = blocking(move || {
            complete(&into, &placed)?;
            let facts = inspect(&into, &backup)?;
            let unfinished = into.join(UNFINISHED);
            fs::remove_file(&unfinished)
                .map_err(|error| RestoreError::local("remove", &unfinished, error))?;
            if sync {
                let meter = Meter::new(&watch, Step::Sync, Some(files));
                for root in &roots {
                    sync_tree(root, &meter, &watch.cancel)?;
                }
                meter.finish();
            }
            Ok(facts)
        })
        .await?;
        Ok(ExtractReport {
            destination: self.into.to_owned(),
            tablespaces: self.placed.to_vec(),
            archives,
            extracted,
            facts,
        })
    }

    /// Every archive, some at once. After the first failure the others are stopped and
    /// waited for, so that nobody writes any more when this returns.
    async fn fetch_all(&self) -> Result<(Vec<FetchedArchive>, Extracted), RestoreError> {
        let meter = Arc::new(Meter::new(
            self.watch,
            Step::FetchBase,
            Some(self.backup.stored_bytes()),
        ));
        let stop = self.watch.cancel.child();
        let mut running = futures::stream::iter(self.backup.archives.iter().enumerate())
            .map(|(index, archive)| {
                let (stop, meter) = (stop.clone(), Arc::clone(&meter));
                async move { (index, self.fetch_one(archive, stop, meter).await) }
            })
            .buffer_unordered(self.options.parallel.max(1));
        let mut fetched = Vec::new();
        let mut extracted = Extracted::default();
        let mut failure: Option<RestoreError> = None;
        while let Some((index, result)) = running.next().await {
            match result {
                Ok((archive, members)) => {
                    fetched.push((index, archive));
                    extracted.merge(members);
                }
                Err(error) => {
                    stop.cancel();
                    // The first one is the cause; the others were told to stop.
                    failure.get_or_insert(error);
                }
            }
        }
        if let Some(error) = failure {
            return Err(error);
        }
        meter.finish();
        fetched.sort_by_key(|(index, _)| *index);
        let archives = fetched.into_iter().map(|(_, archive)| archive).collect();
        Ok((archives, extracted))
    }

    async fn fetch_one(
        &self,
        archive: &Archive,
        stop: Cancel,
        meter: Arc<Meter>,
    ) -> Result<(FetchedArchive, Extracted), RestoreError> {
        if stop.is_cancelled() {
            return Err(RestoreError::Cancelled);
        }
        let room = self.room(archive.contents)?;
        let store = self.repository.store();
        let opened = tokio::select! {
            opened = store.blocking_reader(&archive.key) => opened,
            () = stop.cancelled() => return Err(RestoreError::Cancelled),
        };
        let (_, reader) = match opened {
            Err(error) if error.is_not_found() => {
                return Err(RestoreError::Damaged {
                    object: archive.key.clone(),
                    what: "it was there when the repository was listed and is gone".to_owned(),
                });
            }
            other => other?,
        };
        let (key, codec) = (archive.key.clone(), archive.codec);
        // A thread that waits for a silent store hears of nothing else: the transfer is
        // ended for it.
        let transfer = reader.transfer();
        let stopper = tokio::spawn({
            let stop = stop.clone();
            async move {
                stop.cancelled().await;
                if let Some(transfer) = transfer {
                    transfer.abort();
                }
            }
        });
        let stopping = stop.clone();
        let result = blocking(move || {
            let mut digest = DigestReader::new(Metered {
                inner: reader,
                meter,
            });
            let extracted = unpack(decoder(codec, Box::new(&mut digest)), &key, &room, &stop)?;
            let (sha256, bytes) = digest.finish();
            let archive = FetchedArchive {
                key,
                bytes,
                sha256: sha256.to_string(),
            };
            Ok((archive, extracted))
        })
        .await;
        stopper.abort();
        match result {
            Err(_) if stopping.is_cancelled() => Err(RestoreError::Cancelled),
            other => other,
        }
    }

    fn room(&self, contents: ArchiveContents) -> Result<Room, RestoreError> {
        match contents {
            ArchiveContents::Data => Ok(Room::Data {
                root: self.into.to_owned(),
                separate: self.placed.iter().map(|placed| placed.oid).collect(),
            }),
            ArchiveContents::Tablespace(oid) => self
                .placed
                .iter()
                .find(|placed| placed.oid == oid)
                .map(|placed| Room::Tablespace {
                    root: placed.path.clone(),
                })
                .ok_or_else(|| RestoreError::Tablespace {
                    name: oid.to_string(),
                    reason: "it has no place".to_owned(),
                }),
        }
    }
}

/// Adds what a server needs and no archive may bring: empty directories and the links to
/// the tablespaces, to our own places.
fn complete(into: &Path, placed: &[PlacedTablespace]) -> Result<(), RestoreError> {
    for name in STANDARD_DIRECTORIES {
        let path = into.join(name);
        if !path.is_dir() {
            create_private(&path)?;
        }
    }
    for tablespace in placed {
        let link = into.join("pg_tblspc").join(tablespace.oid.to_string());
        symlink(&tablespace.path, &link)
            .map_err(|error| RestoreError::local("link", &link, error))?;
    }
    Ok(())
}

/// Runs blocking work; a panic in it is an error, not a crash.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RestoreError> + Send + 'static,
) -> Result<T, RestoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(RestoreError::Worker(error.to_string())),
    }
}

/// Tells the meter what passes.
struct Metered<R> {
    inner: R,
    meter: Arc<Meter>,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(into)?;
        self.meter.add(count as u64);
        Ok(count)
    }
}
