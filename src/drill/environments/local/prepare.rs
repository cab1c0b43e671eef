//! Between the base backup and the server: fetching, the programs, the configuration.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::admit::Admitted;
use super::ownership::{hand_over, may_read};
use super::{LocalOptions, RunAs, Scratch};
use crate::drill::admit::stopped_by;
use crate::drill::course::{Course, Stop};
use crate::drill::observer::DrillObserver;
use crate::drill::preload::{self, Preload};
use crate::drill::run::blocking;
use crate::drill::settings::{client_authentication, extra, identity_map};
use crate::drill::watching::Forward;
use crate::repository::Repository;
use crate::restore::configuration::{
    RecoveryAction, RecoverySettings, ServerSettings, SettingsReview, postgresql_conf,
};
use crate::restore::{Cancel, ExtractOptions, ExtractReport, TablespaceMap, Watch, extract};

pub(super) async fn fetch_base(
    repository: &Repository,
    admitted: &Admitted,
    scratch: &Scratch,
    observer: &Arc<dyn DrillObserver>,
    course: &Course<'_>,
) -> Result<ExtractReport, Stop> {
    let cancel = Cancel::new();
    let watch = Watch {
        sink: Arc::new(Forward(Arc::clone(observer))),
        cancel: cancel.clone(),
    };
    let data = scratch.data();
    // The restored files are thrown away in the end: what the server itself flushes is
    // enough.
    let extract_options = ExtractOptions {
        sync: false,
        ..ExtractOptions::default()
    };
    let tablespaces = TablespaceMap::default();
    let work = extract(
        repository,
        &admitted.backup,
        &data,
        &tablespaces,
        &extract_options,
        &watch,
    );
    tokio::pin!(work);
    match course.wait(&mut work).await {
        Ok(result) => result.map_err(|error| stopped_by(&error)),
        Err(stop) => {
            // Its threads stop writing before the directory is removed.
            cancel.cancel();
            let _ = tokio::time::timeout(Duration::from_secs(30), work).await;
            Err(stop)
        }
    }
}

pub(super) fn decide_preload(
    review: &SettingsReview,
    options: &LocalOptions,
    admitted: &Admitted,
) -> Preload {
    let source: Vec<String> = review
        .shared_preload_libraries
        .as_deref()
        .unwrap_or_default()
        .split(',')
        .map(|library| library.trim().trim_matches('"').to_owned())
        .collect();
    preload::decide(&source, &options.preload, |library| {
        admitted.binaries.has_library(library)
    })
}

/// walproof's own program, where the server's user may run it: recovery runs it for every
/// file. A copy is made where it may not.
pub(super) async fn own_program(
    options: &LocalOptions,
    admitted: &Admitted,
    scratch: &Scratch,
) -> Result<PathBuf, Stop> {
    let program = match &options.program {
        Some(program) => program.clone(),
        None => std::env::current_exe().map_err(|error| {
            Stop::Unproven(format!("cannot find walproof's own program: {error}"))
        })?,
    };
    let postgres = admitted.binaries.directory.join("postgres");
    if !may_read(&postgres, &admitted.run_as) {
        return Err(Stop::Unproven(format!(
            "user {} may not run {}; install PostgreSQL where every user can read it, or name \
             another user with --run-as",
            admitted.run_as.name,
            postgres.display()
        )));
    }
    if may_read(&program, &admitted.run_as) {
        return Ok(program);
    }
    let copy = scratch.path().join("walproof");
    blocking(move || {
        std::fs::copy(&program, &copy)
            .and_then(|_| std::fs::set_permissions(&copy, Permissions::from_mode(0o755)))
            .map_err(|error| {
                Stop::Unproven(format!(
                    "cannot copy {} to where the server's user may run it: {error}",
                    program.display()
                ))
            })?;
        Ok(copy)
    })
    .await?
}

pub(super) fn server_settings(
    options: &LocalOptions,
    admitted: &Admitted,
    extracted: &ExtractReport,
    review: &SettingsReview,
    preload: &Preload,
    scratch: &Scratch,
    restore_command: String,
) -> ServerSettings {
    let mut required = admitted.plan.wal.required_settings;
    required.raise_to_control_file(&extracted.facts.control_file);
    let end = &admitted.plan.expected_end;
    ServerSettings {
        major: admitted.binaries.major,
        required,
        kept: review.kept.clone(),
        recovery: RecoverySettings {
            restore_command,
            target_lsn: end.stop_record,
            timeline: end.timeline,
            action: RecoveryAction::Pause,
        },
        socket_directory: Some(scratch.sockets().to_owned()),
        port: super::server::PORT,
        preload: preload.load.clone(),
        extra: extra(admitted.binaries.major, preload, &options.settings),
    }
}

/// Writes the server's configuration, asks for recovery, and hands the files over.
pub(super) fn write_configuration(
    configuration: &Path,
    data: &Path,
    settings: &ServerSettings,
    run_as: &RunAs,
    superuser: &str,
) -> Result<(), Stop> {
    let own = nix::unistd::Uid::effective();
    let system_user = nix::unistd::User::from_uid(own)
        .ok()
        .flatten()
        .map_or_else(|| own.to_string(), |user| user.name);
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error: std::io::Error| {
            Stop::Unproven(format!("cannot write {}: {error}", path.display()))
        }
    };
    for (name, text) in [
        ("postgresql.conf", postgresql_conf(settings)),
        (
            "pg_hba.conf",
            client_authentication(run_as.change).to_owned(),
        ),
        ("pg_ident.conf", identity_map(&system_user, superuser)),
    ] {
        let path = configuration.join(name);
        std::fs::write(&path, text).map_err(failed(&path))?;
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).map_err(failed(&path))?;
    }
    let signal = data.join("recovery.signal");
    std::fs::write(&signal, "").map_err(failed(&signal))?;
    hand_over(data, run_as).map_err(Stop::unproven)?;
    let tablespaces = crate::restore::default_parent(data);
    if tablespaces.is_dir() {
        hand_over(&tablespaces, run_as).map_err(Stop::unproven)?;
    }
    Ok(())
}
