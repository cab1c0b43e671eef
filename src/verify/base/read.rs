//! Reading all archives of a base backup.

use std::io::{BufRead, Read};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures::StreamExt;
use tokio::task::JoinError;

use super::check::{ArchiveCheck, ArchiveFound};
use super::context::BaseContext;
use super::finish;
use super::pipeline::{Flow, pipeline};
use super::stored::{self, Stored};
use super::{
    ArchiveReading, BaseProgress, BaseReadOptions, BaseReading, OnBaseProgress, TouchedBlocks,
};
use crate::codec::archive::{ArchiveWalk, WalkError};
use crate::codec::{Codec, decoder};
use crate::finding::{Code, Finding};
use crate::repository::{Archive, BaseBackup, Repository};
use crate::storage::StorageError;
use crate::verify::VerifyError;

/// How often progress is told.
const EVERY: Duration = Duration::from_millis(100);

/// Reads a base backup to the last byte: every archive as it is stored, its codec to the
/// clean end, its tar structure, names, small files and pages. What is wrong with the
/// backup is in the reading; `Err` means that the store failed.
///
/// Each archive has a thread that digests, one that decodes and one that checks. Memory:
/// 25 MiB per archive in work and what its codec takes; 64 bytes per file; some 300 bytes
/// per relation; the suspects.
pub async fn read(
    repository: &Repository,
    backup: &BaseBackup,
    options: &BaseReadOptions<'_>,
    progress: OnBaseProgress<'_>,
) -> Result<BaseReading, VerifyError> {
    let begun = Instant::now();
    let touched = options.touched.map(TouchedBlocks::freeze);
    let context = Arc::new(BaseContext::new(backup, touched));
    let flow = Arc::new(Flow::default());
    // Threads cannot be dropped with the future: they are told to stop.
    let _stop = StopOnDrop(Arc::clone(&flow));
    let mut running = futures::stream::iter(backup.archives.iter().zip(0_u16..))
        .map(|(archive, index)| {
            let (context, flow) = (Arc::clone(&context), Arc::clone(&flow));
            read_one(repository, archive, index, context, (flow, options.digest))
        })
        .buffered(options.parallel.max(1));
    let mut archives = Vec::new();
    let mut tick = tokio::time::interval(EVERY);
    let of_stored_bytes = backup.stored_bytes();
    let tell = || {
        progress(BaseProgress {
            stored_bytes: flow.stored.load(Ordering::Relaxed),
            of_stored_bytes,
            decoded_bytes: flow.decoded.load(Ordering::Relaxed),
            pages: flow.pages.load(Ordering::Relaxed),
        });
    };
    loop {
        tokio::select! {
            done = running.next() => match done {
                Some(archive) => archives.push(archive?),
                None => break,
            },
            _ = tick.tick() => tell(),
        }
    }
    drop(running);
    tell();
    let backup = backup.clone();
    let system_id = options.system_id;
    let fraction = options.touched.map(TouchedBlocks::fraction);
    let mut reading = tokio::task::spawn_blocking(move || {
        finish::finish(&backup, &context, system_id, fraction, archives)
    })
    .await?;
    reading.report.time(begun.elapsed());
    Ok(reading)
}

struct StopOnDrop(Arc<Flow>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}

/// What came of one archive.
#[derive(Debug)]
pub(super) struct ReadArchive {
    /// `None` when the object is gone.
    pub(super) reading: Option<ArchiveReading>,
    pub(super) found: ArchiveFound,
    /// Whether it was read to its end.
    pub(super) whole: bool,
}

async fn read_one(
    repository: &Repository,
    archive: &Archive,
    index: u16,
    context: Arc<BaseContext>,
    (flow, digest): (Arc<Flow>, bool),
) -> Result<ReadArchive, VerifyError> {
    let mut check = ArchiveCheck::new(context, index, archive);
    let (entry, reader) = match repository.store().blocking_reader(&archive.key).await {
        Ok(opened) => opened,
        Err(error) if error.is_not_found() => {
            check.done.findings.push(Finding::new(
                Code::BackupDamaged,
                &archive.key,
                "it was there when the repository was listed and is gone",
            ));
            return Ok(ReadArchive {
                reading: None,
                found: check.done,
                whole: false,
            });
        }
        Err(error) => return Err(VerifyError::Base(error)),
    };
    let codec = archive.codec;
    // A thread that waits for a silent store hears of nothing else.
    let _transfer = reader.transfer().map(AbortOnDrop);
    let (stored, digesting) = if digest {
        let (stored, digesting) = stored::digested(reader, &flow);
        (stored, Some(digesting))
    } else {
        (stored::plain(reader, &flow), None)
    };
    let digested = async {
        match digesting {
            Some(digesting) => tokio::task::spawn_blocking(|| digesting.run())
                .await
                .map(Some),
            None => Ok(None),
        }
    };
    let (checked, sha256) = tokio::join!(walked(stored, codec, check, (flow, digest)), digested);
    let (
        Walked {
            mut check,
            position,
            stored_bytes,
            result,
        },
        sha256,
    ) = (checked?, sha256?);
    let whole = match result {
        Ok(()) => true,
        Err(error) => {
            if let WalkError::Read(error) = &error
                && let Some(storage) = StorageError::of(error)
            {
                return Err(VerifyError::Base(storage.clone()));
            }
            check.done.findings.push(Finding::new(
                Code::BackupDamaged,
                &archive.key,
                error.to_string(),
            ));
            false
        }
    };
    Ok(ReadArchive {
        reading: Some(ArchiveReading {
            key: archive.key.clone(),
            stored_bytes,
            decoded_bytes: position,
            sha256: sha256.filter(|_| whole),
            etag: entry.etag,
            members: check.done.members,
        }),
        found: check.done,
        whole,
    })
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// How the walk over an archive ended.
struct Walked {
    check: ArchiveCheck,
    /// Decoded bytes.
    position: u64,
    stored_bytes: u64,
    result: Result<(), WalkError>,
}

/// Walks over a whole archive: where it lies in the buffers if it is stored as it is, else
/// behind a thread that decodes.
async fn walked<R: Read + Send + 'static>(
    stored: Stored<R>,
    codec: Codec,
    check: ArchiveCheck,
    (flow, digested): (Arc<Flow>, bool),
) -> Result<Walked, JoinError> {
    // Reading and judging share a thread where digesting takes longer than both.
    if codec == Codec::None && digested {
        return tokio::task::spawn_blocking(move || {
            let (check, walk, result) = walk(stored, check, &flow);
            flow.decoded.fetch_add(walk.position(), Ordering::Relaxed);
            Walked {
                check,
                position: walk.position(),
                stored_bytes: walk.get_ref().passed(),
                result,
            }
        })
        .await;
    }
    let (filler, piped) = pipeline(&flow);
    let decoding = tokio::task::spawn_blocking(move || {
        let mut stored = stored;
        filler.fill(&mut decoder(codec, Box::new(&mut stored)));
        stored.passed()
    });
    let checking = tokio::task::spawn_blocking(move || {
        let (check, walk, result) = walk(piped, check, &flow);
        (check, walk.position(), result)
    });
    let (checked, decoded) = tokio::join!(checking, decoding);
    let ((check, position, result), stored_bytes) = (checked?, decoded?);
    Ok(Walked {
        check,
        position,
        stored_bytes,
        result,
    })
}

fn walk<R: BufRead>(
    archive: R,
    mut check: ArchiveCheck,
    flow: &Flow,
) -> (ArchiveCheck, ArchiveWalk<R>, Result<(), WalkError>) {
    let mut walk = ArchiveWalk::new(archive);
    let result = members(&mut walk, &mut check, flow);
    (check, walk, result)
}

fn members<R: BufRead>(
    walk: &mut ArchiveWalk<R>,
    check: &mut ArchiveCheck,
    flow: &Flow,
) -> Result<(), WalkError> {
    let mut told = 0;
    while let Some(member) = walk.next_member()? {
        check.begin(&member);
        loop {
            let bytes = walk.body()?;
            let count = bytes.len();
            if count == 0 {
                break;
            }
            check.push(bytes);
            walk.consume(count);
        }
        check.end();
        let pages = check.done.counts.read;
        flow.pages.fetch_add(pages - told, Ordering::Relaxed);
        told = pages;
    }
    Ok(())
}
