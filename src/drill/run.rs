//! The drill as a whole.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::admit::{Admitted, admit, stopped_by};
use super::cancel::Cancellation;
use super::checks::run::ChecksReport;
use super::checks::{CheckDefinition, CheckKind, run_all};
use super::course::{Course, Stop};
use super::environments::local::ownership::{hand_over, may_read};
use super::environments::local::{RunAs, Scratch, Server, ServerPlan, SweepReport, sweep};
use super::log::tail;
use super::observer::{DrillObserver, Progress, Unit};
use super::options::DrillOptions;
use super::phases::Phase;
use super::plan::DrillPlan;
use super::preload::{self, Preload};
use super::recovery::{RecoveryFacts, recover};
use super::report::{DrillReport, Ending, EnvironmentReport, Measurements, SCHEMA};
use super::settings::{client_authentication, extra, identity_map};
use super::verdict::{Facts, Objective, ObjectiveState, judge};
use super::wal_wanted::why_wal;
use crate::finding::{Code, Finding};
use crate::repository::{Catalog, Repository};
use crate::restore::configuration::{
    RecoveryAction, RecoverySettings, ServerSettings, SettingsReview, postgresql_conf,
};
use crate::restore::wal::wal_fetch_command;
use crate::restore::{
    Cancel, ExtractOptions, ExtractReport, ProgressSink, Step, TablespaceMap, Target, WalServer,
    WalServerLog, WalServerOptions, Watch, extract, review_set_aside, set_aside_finding,
    settings_raised_finding,
};

/// At most this much of the server's log is kept in a file.
const LOG_KEPT: u64 = 4 << 20;
/// At most this much of it is kept in the report.
const LOG_TAIL: u64 = 16 << 10;

/// Everything that a drill has made and learned so far. What it owns is given back in the
/// tear-down, wherever the drill stopped.
#[derive(Default)]
struct Workshop {
    admitted: Option<Admitted>,
    scratch: Option<Scratch>,
    wal_server: Option<WalServer>,
    server: Option<Server>,
    extracted: Option<ExtractReport>,
    review: SettingsReview,
    facts: RecoveryFacts,
    checks: ChecksReport,
    findings: Vec<Finding>,
    swept: SweepReport,
    time_to_service: Option<u64>,
    time_to_verified: Option<u64>,
    fsync: bool,
}

/// Runs a drill to its end, whatever that is: everything that goes wrong is in the report,
/// and everything that was made is removed.
pub async fn run(
    options: &DrillOptions,
    repository: &Repository,
    observer: Arc<dyn DrillObserver>,
    cancellation: Cancellation,
) -> DrillReport {
    let mut course = Course::begin(observer.as_ref(), cancellation, options.limit);
    let mut work = Workshop::default();
    let result = drill(options, repository, &observer, &mut course, &mut work).await;
    course.tear_down(result.is_ok());
    let torn = tear_down(options, &mut work).await;
    course.finish(torn.removed);
    let stop = result.err();
    conclude(options, repository, &course, work, stop.as_ref(), torn)
}

/// Shows what a drill would do. Reads the repository; writes nothing.
pub async fn plan(
    options: &DrillOptions,
    repository: &Repository,
    cancellation: Cancellation,
) -> Result<DrillPlan, Stop> {
    let course = Course::begin(&super::observer::Unobserved, cancellation, options.limit);
    let catalog = read_catalog(repository, &course).await?;
    let watch = Watch::default();
    let admitting = admit(
        options,
        repository,
        &catalog,
        course.clock().started_at(),
        &watch,
    );
    course.wait(admitting).await?.map(|admitted| admitted.plan)
}

async fn read_catalog(repository: &Repository, course: &Course<'_>) -> Result<Catalog, Stop> {
    course
        .wait(repository.catalog())
        .await?
        .map_err(Stop::unproven)
}

async fn drill(
    options: &DrillOptions,
    repository: &Repository,
    observer: &Arc<dyn DrillObserver>,
    course: &mut Course<'_>,
    work: &mut Workshop,
) -> Result<(), Stop> {
    // What dead drills left would count against the room.
    let root = options.local.scratch_root.clone();
    work.swept = blocking(move || sweep(&root, Utc::now())).await?;
    for left in &work.swept.failed {
        work.findings.push(Finding::new(
            Code::CleanupFailed,
            left.path.display().to_string(),
            left.reason.clone(),
        ));
    }
    let catalog = read_catalog(repository, course).await?;
    let begun = course.clock().started_at();
    let cancel = Cancel::new();
    let watch = Watch {
        sink: Arc::new(Forward(Arc::clone(observer))),
        cancel: cancel.clone(),
    };
    let admitting = admit(options, repository, &catalog, begun, &watch);
    let admitted = course
        .wait(admitting)
        .await
        .inspect_err(|_| cancel.cancel())??;
    work.findings.extend(admitted.plan.findings.iter().cloned());
    let admitted = &*work.admitted.insert(admitted);

    course.enter(Phase::Provision);
    let (root, id, run_as) = (
        options.local.scratch_root.clone(),
        options.id,
        admitted.run_as.clone(),
    );
    let deadline = Utc::now()
        + TimeDelta::from_std(options.limit).unwrap_or(TimeDelta::hours(24))
        + TimeDelta::minutes(10);
    let scratch = blocking(move || Scratch::create(&root, id, deadline, &run_as))
        .await?
        .map_err(Stop::unproven)?;
    let scratch = work.scratch.insert(scratch);

    course.enter(Phase::FetchBase);
    let extracted = fetch_base(repository, admitted, scratch, observer, course).await?;
    let extracted = &*work.extracted.insert(extracted);
    let data = scratch.data();
    let review = blocking({
        let data = data.clone();
        move || review_set_aside(&data)
    })
    .await?
    .map_err(|error| stopped_by(&error))?;
    let files = &extracted.extracted.set_aside;
    work.findings
        .extend(set_aside_finding(&admitted.backup.id, &review, files));
    work.findings.extend(settings_raised_finding(
        &admitted.backup.id,
        &admitted.plan.wal.required_settings,
        &extracted.facts.control_file,
    ));
    work.review = review;
    let preload = decide_preload(&work.review, options, admitted);
    work.findings.extend(preload.findings.iter().cloned());

    let program = own_program(options, admitted, scratch).await?;
    let socket = scratch.sockets().join("wal");
    let command = wal_fetch_command(&program, &socket);
    let wal_options = WalServerOptions {
        owner: admitted
            .run_as
            .change
            .then_some((admitted.run_as.uid, admitted.run_as.gid)),
        ..WalServerOptions::new(socket)
    };
    let wal_server = WalServer::start(
        repository.clone(),
        Arc::new(catalog),
        admitted.plan.wal.files.clone(),
        wal_options,
    )
    .map_err(|error| stopped_by(&error))?;
    work.wal_server = Some(wal_server);

    let settings = server_settings(
        options,
        admitted,
        extracted,
        &work.review,
        &preload,
        scratch,
        command,
    );
    work.fsync = !settings
        .extra
        .iter()
        .any(|(name, value)| name == "fsync" && value == "off");
    let configuration = scratch.configuration();
    let (run_as, superuser) = (admitted.run_as.clone(), options.local.superuser.clone());
    blocking({
        let data = data.clone();
        let configuration = configuration.clone();
        move || write_configuration(&configuration, &data, &settings, &run_as, &superuser)
    })
    .await??;

    course.enter(Phase::ReachConsistency);
    let server = Server::start(ServerPlan {
        binaries: admitted.binaries.clone(),
        data,
        configuration,
        sockets: scratch.sockets().to_owned(),
        log: scratch.log(),
        run_as: admitted.run_as.clone(),
        network: options.local.network,
        confine_program: program,
        superuser: options.local.superuser.clone(),
    })
    .map_err(Stop::unproven)?;
    let server = work.server.insert(server);
    if let Some(process) = server.process() {
        scratch.note_server(process).map_err(Stop::unproven)?;
    }
    let expected = admitted.plan.expected_end;
    let segments = Some(admitted.plan.wal.segments);
    let recovered = recover(
        server,
        &expected,
        &preload.load,
        segments,
        course,
        &mut work.facts,
    )
    .await;
    if let Err(stop) = recovered {
        // Where the server gave up by itself, its reason may be a file it was not given.
        return Err(if server.exited().is_some() {
            why_wal(work.wal_server.as_ref(), stop)
        } else {
            stop
        });
    }
    work.time_to_service = course
        .clock()
        .timings()
        .iter()
        .map(|timing| timing.milliseconds)
        .reduce(u64::saturating_add);

    let mut definitions = vec![CheckDefinition::new(
        "every database opens",
        CheckKind::Connect,
    )];
    definitions.extend(options.checks.iter().cloned());
    let recovery_point = expected.recovery_point.map(|commit| commit.time);
    let checking = run_all(
        server,
        &definitions,
        recovery_point,
        work.facts.data_checksums,
        course.observer(),
        &mut work.checks,
    );
    course.wait(checking).await?;
    work.time_to_verified = Some(course.clock().elapsed());
    Ok(())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Stop> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(Stop::unproven)
}

/// Hands the restore room's progress on to the drill's watcher.
struct Forward(Arc<dyn DrillObserver>);

impl ProgressSink for Forward {
    fn progress(&self, progress: &crate::restore::Progress) {
        let (phase, unit) = match progress.step {
            Step::ReadWal => (Phase::Admit, Unit::Segments),
            Step::FetchBase => (Phase::FetchBase, Unit::Bytes),
            Step::Sync => return,
        };
        self.0.progress(
            phase,
            Progress {
                unit,
                done: progress.done,
                total: progress.total,
            },
        );
    }
}

async fn fetch_base(
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

fn decide_preload(review: &SettingsReview, options: &DrillOptions, admitted: &Admitted) -> Preload {
    let source: Vec<String> = review
        .shared_preload_libraries
        .as_deref()
        .unwrap_or_default()
        .split(',')
        .map(|library| library.trim().trim_matches('"').to_owned())
        .collect();
    preload::decide(&source, &options.local.preload, |library| {
        admitted.binaries.has_library(library)
    })
}

/// walproof's own program, where the server's user may run it: recovery runs it for every
/// file. A copy is made where it may not.
async fn own_program(
    options: &DrillOptions,
    admitted: &Admitted,
    scratch: &Scratch,
) -> Result<PathBuf, Stop> {
    let program = match &options.local.program {
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

fn server_settings(
    options: &DrillOptions,
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
        port: super::environments::local::server::PORT,
        preload: preload.load.clone(),
        extra: extra(admitted.binaries.major, preload, &options.local.settings),
    }
}

/// Writes the server's configuration, asks for recovery, and hands the files over.
fn write_configuration(
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

/// What the tear-down saw.
struct Torn {
    removed: bool,
    log_tail: String,
    kept: Vec<PathBuf>,
    wal: WalServerLog,
}

/// Ends the server, keeps log and plan, removes everything else. Never interrupted.
async fn tear_down(options: &DrillOptions, work: &mut Workshop) -> Torn {
    if let Some(server) = work.server.as_mut()
        && !server.discard().await
    {
        work.findings.push(Finding::new(
            Code::CleanupFailed,
            "restored server",
            "the server does not end",
        ));
    }
    let wal = work
        .wal_server
        .take()
        .map(WalServer::stop)
        .unwrap_or_default();
    let Some(scratch) = work.scratch.take() else {
        return Torn {
            removed: true,
            log_tail: String::new(),
            kept: Vec::new(),
            wal,
        };
    };
    let path = scratch.path().to_owned();
    let keep = options.keep.clone();
    let plan = work.admitted.as_ref().map(|admitted| admitted.plan.clone());
    let id = options.id;
    let done = blocking(move || {
        let log = scratch.log();
        let log_tail = tail(&log, LOG_TAIL).unwrap_or_default();
        let kept = keep.map_or_else(Vec::new, |keep| {
            keep_files(&keep, &id.to_string(), &log, plan.as_ref())
        });
        (log_tail, kept, scratch.remove())
    })
    .await;
    let (log_tail, kept, removed) = match done {
        Ok((log_tail, kept, removed)) => (log_tail, kept, removed.map_err(|e| e.to_string())),
        Err(_) => (
            String::new(),
            Vec::new(),
            Err("the tear-down broke off".to_owned()),
        ),
    };
    if let Err(reason) = &removed {
        work.findings.push(Finding::new(
            Code::CleanupFailed,
            path.display().to_string(),
            reason.clone(),
        ));
    }
    Torn {
        removed: removed.is_ok(),
        log_tail,
        kept,
        wal,
    }
}

/// Keeps the end of the server's log and the plan. What cannot be kept is only logged: a
/// drill's verdict does not depend on it.
fn keep_files(keep: &Path, id: &str, log: &Path, plan: Option<&DrillPlan>) -> Vec<PathBuf> {
    let mut files: Vec<(PathBuf, Vec<u8>)> = Vec::new();
    if let Ok(text) = tail(log, LOG_KEPT) {
        files.push((keep.join(format!("{id}.server.log")), text.into_bytes()));
    }
    if let Some(Ok(text)) = plan.map(serde_json::to_vec_pretty) {
        files.push((keep.join(format!("{id}.plan.json")), text));
    }
    let mut kept = Vec::new();
    for (path, bytes) in files {
        let written = std::fs::create_dir_all(keep).and_then(|()| std::fs::write(&path, bytes));
        match written {
            Ok(()) => kept.push(path),
            Err(error) => tracing::warn!(path = %path.display(), %error, "keep a drill's file"),
        }
    }
    kept
}

/// Recovery point: how much would be lost, and what it is compared with.
fn measure_point(
    options: &DrillOptions,
    work: &Workshop,
    begun: DateTime<Utc>,
) -> (Option<DateTime<Utc>>, Option<u64>, Objective) {
    let limit = options
        .objectives
        .rpo
        .map(|limit| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX));
    let declared = match &options.target {
        Target::Tip => Some(options.lost_at.unwrap_or(begun)),
        Target::Time(time) => Some(*time),
        _ => None,
    };
    let plan = work.admitted.as_ref().map(|admitted| &admitted.plan);
    let since = |moment: DateTime<Utc>| {
        declared.map(|declared| {
            let lost = declared.signed_duration_since(moment).num_milliseconds();
            u64::try_from(lost).unwrap_or(0)
        })
    };
    let point = plan.and_then(|plan| plan.expected_end.recovery_point);
    let proven = work.facts.proof.state == super::proof::ProofState::Held;
    let (actual, method) = match (point, plan.and_then(|plan| plan.backup.end_time)) {
        _ if !proven => (None, "the end of recovery is not proven"),
        (Some(commit), _) => (
            since(commit.time),
            "declared loss minus commit time of the newest recovered transaction",
        ),
        (None, Some(end)) => (
            since(end),
            "declared loss minus the backup's end, an upper bound: the replayed WAL holds no commit",
        ),
        (None, None) => (None, "the replayed WAL holds no commit; write a heartbeat"),
    };
    let objective = Objective::judge(limit, actual, options.target == Target::Tip, method);
    (declared, actual, objective)
}

fn conclude(
    options: &DrillOptions,
    repository: &Repository,
    course: &Course<'_>,
    work: Workshop,
    stop: Option<&Stop>,
    torn: Torn,
) -> DrillReport {
    let begun = course.clock().started_at();
    let (declared_loss, recovery_point_achieved, rpo) = measure_point(options, &work, begun);
    let rto_limit = options
        .objectives
        .rto
        .map(|limit| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX));
    let rto = Objective::judge(
        rto_limit,
        work.time_to_verified,
        true,
        "from the drill's begin until all checks had been made",
    );
    let plan = work.admitted.map(|admitted| admitted.plan);
    let holes = plan.as_ref().map_or(&[][..], |plan| &plan.holes);
    let judgement = judge(&Facts {
        stop,
        holes,
        proof: &work.facts.proof,
        safety: &work.facts.safety,
        checks: &work.checks.results,
        rpo: &rpo,
        rto: &rto,
    });
    let mut findings = holes.to_vec();
    findings.extend(work.findings);
    if let Some(
        Stop::Failed(found)
        | Stop::Refused {
            findings: found, ..
        },
    ) = stop
    {
        findings.extend(found.iter().cloned());
    }
    findings.extend(work.facts.safety.findings());
    if work.facts.proof.state == super::proof::ProofState::Differs {
        let words = work.facts.proof.differences().join("; ");
        findings.push(Finding::new(
            Code::RecoveryEndedEarly,
            "restored server",
            words,
        ));
    }
    findings.extend(work.checks.findings);
    for (name, objective, code) in [
        ("RPO", &rpo, Code::ObjectiveMissedRpo),
        ("RTO", &rto, Code::ObjectiveMissedRto),
    ] {
        if objective.state == ObjectiveState::Missed {
            findings.push(Finding::new(code, name, objective.method.clone()));
        }
    }
    let ending = match stop {
        None => Ending::Complete,
        Some(Stop::Failed(_)) => Ending::Failed,
        Some(Stop::Unproven(_)) => Ending::Unproven,
        Some(Stop::Refused { .. }) => Ending::Refused,
        Some(Stop::Interrupted) => Ending::Interrupted,
    };
    let expected = plan.as_ref().map(|plan| plan.expected_end);
    let extracted = work.extracted;
    let total = course
        .clock()
        .timings()
        .iter()
        .map(|t| t.milliseconds)
        .sum();
    DrillReport {
        schema: SCHEMA.to_owned(),
        id: options.id,
        name: options.name.clone(),
        cluster: options.cluster.clone(),
        copy: options.copy.clone(),
        repository: repository.store().location().to_string(),
        target: options.target.to_string(),
        initiator: options.initiator.clone(),
        walproof: env!("CARGO_PKG_VERSION").to_owned(),
        started_at: begun,
        finished_at: Utc::now(),
        verdict: judgement.verdict,
        reasons: judgement.reasons,
        ending,
        measurements: Measurements {
            recovery_point: expected.and_then(|end| end.recovery_point),
            declared_loss,
            recovery_point_achieved,
            newest_heartbeat: work.checks.heartbeat,
            time_to_service: work.time_to_service,
            time_to_verified: work.time_to_verified,
            total,
            base_bytes_fetched: extracted.as_ref().map_or(0, ExtractReport::stored_bytes),
            base_bytes_written: extracted
                .as_ref()
                .map_or(0, |report| report.extracted.bytes),
            wal_files_served: u64::try_from(torn.wal.served.len()).unwrap_or(u64::MAX),
            wal_bytes_served: torn.wal.bytes(),
            wal_bytes_replayed: work
                .facts
                .proof
                .observed_end
                .zip(plan.as_ref())
                .map_or(0, |(end, plan)| end.saturating_since(plan.backup.begin_lsn)),
            commits_replayed: plan.as_ref().map(|plan| plan.wal.commits),
        },
        plan,
        phases: course.clock().timings().to_vec(),
        environment: EnvironmentReport {
            server_version: work.facts.server_version,
            network_isolated: work.facts.safety.network_isolated,
            fsync: work.fsync,
            removed: torn.removed,
            swept: work.swept,
            kept: torn.kept,
        },
        proof: work.facts.proof,
        safety: work.facts.safety,
        checks: work.checks.results,
        findings,
        rpo,
        rto,
        log: work.facts.log,
        log_tail: torn.log_tail,
        archives: extracted.map(|report| report.archives).unwrap_or_default(),
        wal: torn.wal,
        limits: LIMITS.iter().map(|words| (*words).to_owned()).collect(),
    }
}

/// What a drill's report never proves.
const LIMITS: [&str; 3] = [
    "detection, decision and the switch of clients are not part of any time",
    "a drill that replayed little WAL gives the least time a recovery takes, not an estimate",
    "what no check asked about is proven only as far as PostgreSQL replayed it without an error",
];
