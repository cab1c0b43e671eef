//! `walproof restore`: options, plan, report.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::lchown;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use nix::unistd::{Uid, User};
use serde::Serialize;

use super::choose::{Choice, PassedOver, Wish, choose};
use super::configuration::{
    ClientAccess, RecoveryAction, RecoverySettings, ServerSettings, SettingsReview, pg_hba_conf,
    postgresql_conf, review_preload,
};
use super::destination::{Claim, check_free};
use super::durable::sync_one;
use super::error::RestoreError;
use super::extract::{ExtractOptions, ExtractReport, blocking, extract_claimed};
use super::progress::Watch;
use super::resolve::ResolvedTarget;
use super::resolve_error::ResolveError;
use super::review::{review_set_aside, set_aside_finding, settings_raised_finding};
use super::room::check_room;
use super::tablespaces::{PlacedTablespace, TablespaceMap};
use super::wal::{WalPlan, wal_get_command};
use crate::finding::Finding;
use crate::postgres::{Lsn, RequiredSettings, TimelineId};
use crate::repository::{Catalog, Repository};
use crate::verify::CommitPoint;

/// The file with the WAL that recovery needs, in the data directory.
pub const WAL_PLAN_FILE: &str = "walproof_wal_plan.json";

/// What to restore, and where to.
#[derive(Clone, Debug)]
pub struct RestoreOptions {
    /// Target, backup and timeline.
    pub wish: Wish,
    /// The directory to fill: absent or empty.
    pub into: PathBuf,
    /// Where tablespaces go.
    pub tablespaces: TablespaceMap,
    /// How archives are fetched.
    pub extract: ExtractOptions,
    /// What the server does at the target.
    pub action: RecoveryAction,
    /// The walproof program, for `restore_command`.
    pub program: PathBuf,
    /// The words of `walproof wal get` that name the repository (and never a secret).
    pub wal_get_arguments: Vec<String>,
    /// The system's user that will run the server. Needed when run as root; without it
    /// the owner of an existing destination, else `postgres`.
    pub owner: Option<String>,
    /// Libraries that a person allows to be loaded at start.
    pub preload: Vec<String>,
    /// The directory of the server's socket.
    pub socket_directory: PathBuf,
    /// The server's port.
    pub port: u16,
    /// Whether to begin although the free space seems too little: file systems that
    /// compress hold more than they say.
    pub ignore_free_space: bool,
}

/// What a restore would do.
#[derive(Clone, Debug, Serialize)]
pub struct RestorePlan {
    /// The repository's URL.
    pub repository: String,
    /// The backup.
    pub backup_id: String,
    /// Its stored bytes.
    pub stored_bytes: u64,
    /// Its databases' size when it began, in bytes.
    pub cluster_size: Option<u64>,
    /// When it ended.
    pub backup_end_time: Option<DateTime<Utc>>,
    /// Backups that were passed over, and why.
    pub passed_over: Vec<PassedOver>,
    /// The directory to fill.
    pub into: PathBuf,
    /// Where tablespaces go.
    pub tablespaces: Vec<PlacedTablespace>,
    /// The stop.
    pub target: ResolvedTarget,
    /// The PostgreSQL major version that must run it.
    pub major: Option<u32>,
    /// What the server does at the target.
    pub action: RecoveryAction,
    /// `restore_command`.
    pub restore_command: String,
    /// The user that the files will belong to, where they are given away.
    pub owner: Option<String>,
}

/// What was restored.
#[derive(Clone, Debug, Serialize)]
pub struct RestoreReport {
    /// The plan that was followed.
    pub plan: RestorePlan,
    /// What was extracted.
    pub extracted: ExtractReport,
    /// Settings that recovery needs, from the control file and the WAL.
    pub required: RequiredSettings,
    /// What of the backup's configuration was set aside.
    pub settings: SettingsReview,
    /// Libraries of the source that the server runs without.
    pub preload_set_aside: Vec<String>,
    /// Everything that was found.
    pub findings: Vec<Finding>,
    /// What `pg_last_wal_replay_lsn()` must show at the end.
    pub expected_end: Lsn,
    /// The last commit that must be there.
    pub expected_recovery_point: Option<CommitPoint>,
    /// The timeline that recovery ends on.
    pub timeline: TimelineId,
    /// The command that starts the server.
    pub next_step: String,
}

/// Why there is no restore.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The target was not resolved.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// The directory was not filled.
    #[error(transparent)]
    Restore(#[from] RestoreError),
}

impl RunError {
    /// Whether walproof refused for safety (exit code 4).
    pub const fn is_refusal(&self) -> bool {
        match self {
            Self::Resolve(error) => error.is_refusal(),
            Self::Restore(error) => error.is_refusal(),
        }
    }

    /// Whether storage or this machine prevented it (exit code 3).
    pub const fn is_unreachable(&self) -> bool {
        match self {
            Self::Resolve(error) => error.is_unreachable(),
            Self::Restore(error) => error.is_unreachable(),
        }
    }

    /// Whether what was asked for was wrong (exit code 2).
    pub const fn is_usage(&self) -> bool {
        match self {
            Self::Resolve(error) => error.is_usage(),
            Self::Restore(error) => error.is_usage(),
        }
    }

    /// Whether somebody asked to stop (exit code 130).
    pub const fn is_cancelled(&self) -> bool {
        match self {
            Self::Resolve(error) => error.is_cancelled(),
            Self::Restore(error) => error.is_cancelled(),
        }
    }

    /// What it says about the repository (exit code 1 when it says anything and is no
    /// refusal).
    pub fn findings(&self) -> Vec<Finding> {
        match self {
            Self::Resolve(error) => error.findings(),
            Self::Restore(error) => error.finding().into_iter().collect(),
        }
    }
}

/// Finds out what a restore would do. Reads the WAL up to the target; writes nothing.
pub async fn plan(
    repository: &Repository,
    catalog: &Catalog,
    options: &RestoreOptions,
    watch: &Watch,
) -> Result<(RestorePlan, Choice), RunError> {
    let into = std::path::absolute(&options.into)
        .map_err(|error| RestoreError::local("find the path of", &options.into, error))?;
    check_free(&into)?;
    if !into.parent().is_none_or(Path::is_dir) {
        let missing = io::Error::new(
            io::ErrorKind::NotFound,
            "there is no directory to create it in",
        );
        return Err(RestoreError::local("create", &into, missing).into());
    }
    let owner = owner(options, &into)?;
    // Reads only, so that it may be left at any point, also while the store is silent.
    let choice = tokio::select! {
        biased;
        choice = choose(repository, catalog, &options.wish, watch) => choice?,
        () = watch.cancel.cancelled() => return Err(ResolveError::Cancelled.into()),
    };
    let tablespaces = options
        .tablespaces
        .place(&into, &choice.backup.tablespaces)?;
    for tablespace in &tablespaces {
        check_free(&tablespace.path)?;
    }
    if !options.ignore_free_space {
        check_room(&choice.backup, &into, &tablespaces)?;
    }
    let restore_command = wal_get_command(
        &options.program,
        &options.wal_get_arguments,
        &into.join(WAL_PLAN_FILE),
    );
    let plan = RestorePlan {
        repository: repository.store().location().to_string(),
        backup_id: choice.backup.id.clone(),
        stored_bytes: choice.backup.stored_bytes(),
        cluster_size: choice.backup.cluster_size,
        backup_end_time: choice.backup.end_time,
        passed_over: choice.passed_over.clone(),
        tablespaces,
        target: choice.resolved.clone(),
        major: choice.backup.major(),
        action: options.action,
        restore_command,
        owner: owner.map(|user| user.name),
        into,
    };
    Ok((plan, choice))
}

/// Restores: fills the directory and sets it up to recover to the target. The server is
/// started by whoever asked for it, with the report's next step.
pub async fn run(
    repository: &Repository,
    catalog: &Catalog,
    options: &RestoreOptions,
    watch: &Watch,
) -> Result<RestoreReport, RunError> {
    let (plan, choice) = plan(repository, catalog, options, watch).await?;
    let (extracted, claim) = extract_claimed(
        repository,
        &choice.backup,
        &plan.into,
        &options.tablespaces,
        &options.extract,
        watch,
    )
    .await?;
    let (options, sync) = (options.clone(), options.extract.sync);
    let report = blocking(move || {
        finish(&options, plan, extracted, &claim, sync).inspect_err(|_| claim.give_back_or_warn())
    })
    .await?;
    Ok(report)
}

fn finish(
    options: &RestoreOptions,
    plan: RestorePlan,
    extracted: ExtractReport,
    claim: &Claim,
    sync: bool,
) -> Result<RestoreReport, RestoreError> {
    let root = &plan.into;
    let mut required = plan.target.required;
    required.raise_to_control_file(&extracted.facts.control_file);
    let settings = review_set_aside(root)?;
    let preload = review_preload(
        settings.shared_preload_libraries.as_deref().unwrap_or(""),
        &options.preload,
    );
    // Whether a library is installed where the server will run is not known here, and a
    // missing one keeps it from starting: only what a person named is loaded.
    let (loaded, unloaded): (Vec<String>, Vec<String>) = preload
        .allowed
        .into_iter()
        .partition(|library| options.preload.contains(library));
    let conf = postgresql_conf(&ServerSettings {
        major: extracted.facts.major,
        required,
        kept: settings.kept.clone(),
        recovery: RecoverySettings {
            restore_command: plan.restore_command.clone(),
            target_lsn: plan.target.stop_record,
            timeline: plan.target.timeline,
            action: plan.action,
        },
        socket_directory: Some(options.socket_directory.clone()),
        port: options.port,
        preload: loaded,
        extra: Vec::new(),
    });
    write_plan(root, &plan.target.plan, sync)?;
    write_file(
        root,
        "pg_hba.conf",
        &pg_hba_conf(ClientAccess::SocketPeer),
        sync,
    )?;
    write_file(
        root,
        "pg_ident.conf",
        "# Written by walproof. The maps of the source are in walproof_set_aside/.\n",
        sync,
    )?;
    write_file(root, "recovery.signal", "", sync)?;
    // Last: without it no server starts here.
    write_file(root, "postgresql.conf", &conf, sync)?;
    if let Some(name) = &plan.owner {
        let user = find_user(name)?;
        for place in claim.roots() {
            give_to(place, &user)?;
        }
        for parent in claim.parents() {
            lchown(parent, Some(user.uid.as_raw()), Some(user.gid.as_raw()))
                .map_err(|error| RestoreError::local("give away", parent, error))?;
        }
    }
    if sync {
        sync_one(root)?;
    }
    let mut findings = plan.target.findings.clone();
    findings.extend(set_aside_finding(
        &plan.backup_id,
        &settings,
        &extracted.extracted.set_aside,
    ));
    findings.extend(settings_raised_finding(
        &plan.backup_id,
        &plan.target.required,
        &extracted.facts.control_file,
    ));
    Ok(RestoreReport {
        required,
        preload_set_aside: preload.set_aside.into_iter().chain(unloaded).collect(),
        settings,
        findings,
        expected_end: plan.target.end,
        expected_recovery_point: plan.target.recovery_point,
        timeline: plan.target.timeline,
        next_step: next_step(&plan, extracted.facts.major),
        plan,
        extracted,
    })
}

/// The WAL that recovery needs, for `walproof wal get --plan`.
pub fn read_plan(path: &Path) -> Result<WalPlan, RestoreError> {
    let failed = |error| RestoreError::local("read the WAL plan", path, error);
    let bytes = fs::read(path).map_err(failed)?;
    serde_json::from_slice(&bytes).map_err(|error| failed(io::Error::other(error)))
}

fn write_plan(root: &Path, plan: &WalPlan, sync: bool) -> Result<(), RestoreError> {
    let text = serde_json::to_string_pretty(plan).map_err(|error| {
        RestoreError::local("write", &root.join(WAL_PLAN_FILE), io::Error::other(error))
    })?;
    write_file(root, WAL_PLAN_FILE, &text, sync)
}

fn write_file(root: &Path, name: &str, text: &str, sync: bool) -> Result<(), RestoreError> {
    use std::os::unix::fs::OpenOptionsExt;
    let path = root.join(name);
    let write = || {
        let mut file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        file.write_all(text.as_bytes())?;
        if sync { file.sync_all() } else { Ok(()) }
    };
    write().map_err(|error| RestoreError::local("write", &path, error))
}

/// Who the files are given to: nobody else unless this is root, for whom PostgreSQL does
/// not run.
fn owner(options: &RestoreOptions, into: &Path) -> Result<Option<User>, RestoreError> {
    use std::os::unix::fs::MetadataExt;
    if let Some(name) = &options.owner {
        return find_user(name).map(Some);
    }
    if !Uid::effective().is_root() {
        return Ok(None);
    }
    let existing = fs::metadata(into)
        .ok()
        .map(|meta| Uid::from_raw(meta.uid()))
        .filter(|uid| !uid.is_root())
        .and_then(|uid| User::from_uid(uid).ok().flatten());
    match existing {
        Some(user) => Ok(Some(user)),
        None => find_user("postgres").map(Some),
    }
}

fn find_user(name: &str) -> Result<User, RestoreError> {
    User::from_name(name)
        .ok()
        .flatten()
        .ok_or_else(|| RestoreError::Owner {
            name: name.to_owned(),
        })
}

/// Gives a tree away, links themselves and not what they lead to.
fn give_to(root: &Path, user: &User) -> Result<(), RestoreError> {
    let (uid, gid) = (Some(user.uid.as_raw()), Some(user.gid.as_raw()));
    let mut waiting = vec![root.to_owned()];
    while let Some(path) = waiting.pop() {
        lchown(&path, uid, gid).map_err(|error| RestoreError::local("give away", &path, error))?;
        let meta = fs::symlink_metadata(&path)
            .map_err(|error| RestoreError::local("look at", &path, error))?;
        if meta.is_dir() {
            let failed = |error| RestoreError::local("look into", &path, error);
            for entry in fs::read_dir(&path).map_err(failed)? {
                waiting.push(entry.map_err(failed)?.path());
            }
        }
    }
    Ok(())
}

fn next_step(plan: &RestorePlan, major: u32) -> String {
    let start = format!(
        "pg_ctl -D {} -w -t 86400 start",
        super::wal::shell_quote(&plan.into.display().to_string())
    );
    match &plan.owner {
        Some(owner) => format!("as {owner}, with PostgreSQL {major}: {start}"),
        None => format!("with PostgreSQL {major}: {start}"),
    }
}
