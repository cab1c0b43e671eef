//! `walproof backup take`: one base backup of a running server, from its own machine.

use std::future::Future;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use chrono::Utc;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::archived;
use super::copy::{Copied, CopyPlan, CopyState, OpenBackup, copy};
use super::error::{TakeError, asked, copy_error};
use super::id;
use super::options::{LARGEST_ARCHIVE, TakeOptions, TakeProgress};
use super::report::{StoredArchive, TakeReport};
use super::server::{Begin, End, Server, ServerFacts};
use crate::codec::Codec;
use crate::postgres::{SegmentName, SystemId};
use crate::repository::barman_cloud::BackupInfo;
use crate::repository::barman_cloud::keys::info_key;
use crate::storage::PutOutcome;

/// How often the session is asked whether it is alive, and progress is told.
const BEAT: Duration = Duration::from_secs(1);

/// Takes a backup. When `interrupted` completes, the backup is ended on the server, marked
/// FAILED, and what was uploaded half is given up.
///
/// Memory: one archive is made at a time, in some 90 MiB.
pub async fn take(
    options: TakeOptions,
    progress: &(dyn Fn(TakeProgress) + Send + Sync),
    interrupted: impl Future<Output = ()> + Send,
) -> Result<TakeReport, TakeError> {
    if matches!(options.codec, Codec::Xz | Codec::Zstd) {
        return Err(TakeError::Codec(options.codec));
    }
    let (mut server, facts) = Server::connect(&options.address)
        .await
        .map_err(asked("connect to the server"))?;
    if facts.version < 130_000 {
        return Err(TakeError::TooOld(facts.version / 10_000));
    }
    if facts.archive_mode == "off" && !facts.in_recovery {
        return Err(TakeError::NotArchiving);
    }
    check_data_directory(&facts)?;

    tokio::pin!(interrupted);
    progress(TakeProgress::Checkpoint);
    let started = Instant::now();
    let mut id = id::of(Utc::now());
    let label = format!("walproof backup {id}");
    let begin = tokio::select! {
        begin = server.begin(&label, options.fast_checkpoint) => {
            begin.map_err(asked("begin a backup"))?
        }
        // Nothing is stored yet; the session's end ends the backup on the server.
        () = &mut interrupted => return Err(TakeError::Interrupted { id }),
    };
    let mut info = started_info(&facts, &begin, options.name.clone());
    // Two backups that begin within one second must not share an id.
    while options
        .store
        .put_new(&info_key(&id), info.format().into())
        .await?
        == PutOutcome::Exists
    {
        tokio::time::sleep(BEAT).await;
        id = id::of(Utc::now());
    }

    let state = Arc::new(CopyState::default());
    let outcome = copy_and_end(
        &options,
        &facts,
        &id,
        &mut server,
        &state,
        progress,
        &mut interrupted,
    )
    .await;
    let (end, copied) = match outcome {
        Ok(done) => done,
        Err(error) => {
            info.status = Some("FAILED".to_owned());
            info.error = Some(format!("failure uploading data ({error})"));
            let marked = options
                .store
                .put_replace(&info_key(&id), info.format().into())
                .await;
            if let Err(second) = marked {
                tracing::warn!(%id, error = %second, "the failed backup could not be marked FAILED");
            }
            return Err(error);
        }
    };

    let size = facts.segment_size;
    let name = |lsn| SegmentName::new(begin.timeline, size.segment_of(lsn), size);
    let end_wal = SegmentName::new(begin.timeline, size.segment_before(end.lsn), size);
    info.status = Some("DONE".to_owned());
    info.end_time = Some(end.time);
    info.end_lsn = Some(end.lsn);
    info.end_wal = Some(end_wal);
    info.backup_label = Some(end.label);
    let offset = size.offset_of(end.lsn);
    info.other
        .insert("end_offset".to_owned(), offset.to_string());
    let seconds = started.elapsed().as_secs_f64();
    info.other.insert(
        "copy_stats".to_owned(),
        format!(
            "{{'total_time': {seconds:.3}, 'copy_time': {seconds:.3}, 'number_of_workers': 1}}"
        ),
    );
    options
        .store
        .put_replace(&info_key(&id), info.format().into())
        .await?;

    let mut notes = copied.skipped;
    if facts.in_recovery {
        notes.push(format!(
            "taken from a standby: {end_wal} is archived only when the primary switches to another segment"
        ));
    }
    let mut archived = None;
    if let Some(patience) = options.wait_for_archive {
        let waiting = archived::wait(
            &options.store,
            &id,
            end_wal,
            patience,
            &mut server,
            progress,
        );
        archived = tokio::select! {
            waited = waiting => {
                waited?;
                Some(true)
            }
            () = &mut interrupted => {
                notes.push(format!("interrupted before {end_wal} was seen in the archive"));
                Some(false)
            }
        };
    }
    if let Err(error) = server.close().await {
        tracing::debug!(%error, "the session did not end cleanly");
    }
    Ok(TakeReport {
        id,
        location: options.store.location().to_string(),
        system_id: facts.system_id,
        server_version: facts.version,
        timeline: begin.timeline,
        begin_lsn: begin.lsn,
        end_lsn: end.lsn,
        begin_time: begin.time,
        end_time: end.time,
        begin_wal: name(begin.lsn).to_string(),
        end_wal: end_wal.to_string(),
        files: state.files.load(Ordering::Relaxed),
        read_bytes: state.read_bytes.load(Ordering::Relaxed),
        archives: copied
            .parts
            .into_iter()
            .map(|part| StoredArchive {
                key: part.key,
                bytes: part.size,
            })
            .collect(),
        archived,
        notes,
    })
}

/// Copies everything and ends the backup on the server, whatever happens.
async fn copy_and_end(
    options: &TakeOptions,
    facts: &ServerFacts,
    id: &str,
    server: &mut Server,
    state: &Arc<CopyState>,
    progress: &(dyn Fn(TakeProgress) + Send + Sync),
    interrupted: &mut (impl Future<Output = ()> + Send + Unpin),
) -> Result<(End, Copied), TakeError> {
    let plan = copy_plan(options, facts, id);
    let copying = {
        let (runtime, state) = (Handle::current(), Arc::clone(state));
        tokio::task::spawn_blocking(move || copy(&plan, &runtime, state))
    };
    let open = watch(copying, id, facts, server, state, progress, interrupted).await;
    let open = match open {
        Ok(open) => open,
        Err(error) => {
            // Otherwise the server would keep WAL for a backup that nobody takes.
            if let Err(second) = server.end().await {
                tracing::debug!(error = %second, "the backup had ended on the server already");
            }
            return Err(error);
        }
    };
    let end = match server.end().await {
        Ok(end) => end,
        Err(source) => {
            tokio::task::spawn_blocking(move || open.abandon()).await?;
            return Err(asked("end the backup")(source));
        }
    };
    let (label, directory) = (end.label.clone(), facts.data_directory.clone());
    let copied = tokio::task::spawn_blocking(move || open.finish(&label, &directory)).await?;
    Ok((end, copied.map_err(copy_error)?))
}

/// Waits for the copy, with an eye on the session and on the wish to stop.
async fn watch(
    mut copying: JoinHandle<std::io::Result<OpenBackup>>,
    id: &str,
    facts: &ServerFacts,
    server: &mut Server,
    state: &Arc<CopyState>,
    progress: &(dyn Fn(TakeProgress) + Send + Sync),
    interrupted: &mut (impl Future<Output = ()> + Send + Unpin),
) -> Result<OpenBackup, TakeError> {
    let mut beat = tokio::time::interval(BEAT);
    let reason = loop {
        tokio::select! {
            done = &mut copying => return done?.map_err(copy_error),
            () = &mut *interrupted => break TakeError::Interrupted { id: id.to_owned() },
            _ = beat.tick() => {
                progress(TakeProgress::Copying {
                    read_bytes: state.read_bytes.load(Ordering::Relaxed),
                    expected_bytes: facts.cluster_size,
                });
                if let Err(source) = server.ping().await {
                    break asked("keep the session of the backup")(source);
                }
            }
        }
    };
    state.stop.store(true, Ordering::Relaxed);
    // The copy sees it at its next read and gives its upload up.
    if let Ok(Ok(open)) = copying.await {
        tokio::task::spawn_blocking(move || open.abandon()).await?;
    }
    Err(reason)
}

fn copy_plan(options: &TakeOptions, facts: &ServerFacts, id: &str) -> CopyPlan {
    let outside = [&facts.config_file, &facts.hba_file, &facts.ident_file]
        .into_iter()
        .flatten()
        .map(PathBuf::from)
        .filter(|path| !path.starts_with(&facts.data_directory))
        .collect();
    CopyPlan {
        store: options.store.clone(),
        id: id.to_owned(),
        data_directory: facts.data_directory.clone(),
        major: facts.version / 10_000,
        tablespaces: facts.tablespaces.clone(),
        configuration: outside,
        codec: options.codec,
        max_archive_size: options.max_archive_size.min(LARGEST_ARCHIVE),
    }
}

fn started_info(facts: &ServerFacts, begin: &Begin, name: Option<String>) -> BackupInfo {
    let size = facts.segment_size;
    let mut info = BackupInfo {
        status: Some("STARTED".to_owned()),
        backup_name: name,
        begin_time: Some(begin.time),
        begin_lsn: Some(begin.lsn),
        begin_wal: Some(SegmentName::new(
            begin.timeline,
            size.segment_of(begin.lsn),
            size,
        )),
        timeline: Some(begin.timeline),
        system_id: Some(facts.system_id),
        version: Some(facts.version),
        segment_size: Some(size),
        data_checksums: Some(facts.data_checksums),
        cluster_size: facts.cluster_size,
        tablespaces: facts.tablespaces.clone(),
        ..BackupInfo::default()
    };
    for (key, value) in [
        // Barman's own literal, whatever the server is called.
        ("server_name", Some("cloud".to_owned())),
        ("begin_offset", Some(size.offset_of(begin.lsn).to_string())),
        ("pgdata", facts.data_directory.to_str().map(str::to_owned)),
        ("config_file", facts.config_file.clone()),
        ("hba_file", facts.hba_file.clone()),
        ("ident_file", facts.ident_file.clone()),
    ] {
        if let Some(value) = value {
            info.other.insert(key.to_owned(), value);
        }
    }
    info
}

/// The data directory must be here and belong to this very server.
fn check_data_directory(facts: &ServerFacts) -> Result<(), TakeError> {
    let path = facts.data_directory.join("global/pg_control");
    let wrong = |reason: String| TakeError::DataDirectory {
        path: path.clone(),
        reason,
    };
    let mut identifier = [0; 8];
    std::fs::File::open(&path)
        .and_then(|mut file| file.read_exact(&mut identifier))
        .map_err(|error| wrong(error.to_string()))?;
    // `ControlFileData` begins with the system identifier, in the machine's byte order.
    let found = SystemId(u64::from_ne_bytes(identifier));
    if found == facts.system_id {
        Ok(())
    } else {
        Err(wrong(format!(
            "it belongs to system {found}, and the server is {}",
            facts.system_id
        )))
    }
}
