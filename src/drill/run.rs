//! The drill as a whole.

use std::sync::Arc;

use chrono::{TimeDelta, Utc};

use super::admit::{Admitted, admit, stopped_by};
use super::cancel::Cancellation;
use super::checks::run::ChecksReport;
use super::checks::{CheckDefinition, CheckKind, run_all};
use super::conclude::{Aftermath, conclude};
use super::course::{Course, Stop};
use super::environments::local::{Scratch, Server, ServerPlan, SweepReport, sweep};
use super::observer::DrillObserver;
use super::options::DrillOptions;
use super::phases::Phase;
use super::plan::DrillPlan;
use super::prepare::{
    Forward, decide_preload, fetch_base, own_program, server_settings, write_configuration,
};
use super::recovery::{RecoveryFacts, recover};
use super::report::DrillReport;
use super::tear_down::tear_down;
use super::wal_wanted::why_wal;
use crate::finding::{Code, Finding};
use crate::repository::{Alone, Catalog, Repository, RepositoryError};
use crate::restore::configuration::SettingsReview;
use crate::restore::wal::wal_fetch_command;
use crate::restore::{
    Cancel, ExtractReport, WalServer, WalServerOptions, Watch, review_set_aside, set_aside_finding,
    settings_raised_finding,
};

/// Everything that a drill has made and learned so far. What it owns is given back in the
/// tear-down, wherever the drill stopped.
#[derive(Default)]
pub(super) struct Workshop {
    pub(super) admitted: Option<Admitted>,
    pub(super) scratch: Option<Scratch>,
    pub(super) wal_server: Option<WalServer>,
    pub(super) server: Option<Server>,
    pub(super) extracted: Option<ExtractReport>,
    pub(super) review: SettingsReview,
    pub(super) facts: RecoveryFacts,
    pub(super) checks: ChecksReport,
    pub(super) findings: Vec<Finding>,
    pub(super) swept: SweepReport,
    pub(super) time_to_service: Option<u64>,
    pub(super) time_to_verified: Option<u64>,
    pub(super) fsync: bool,
}

/// Runs a drill to its end, whatever that is: everything that goes wrong is in the report,
/// and everything that was made is removed.
pub async fn run(
    options: &DrillOptions,
    repository: &Repository,
    observer: Arc<dyn DrillObserver>,
    cancellation: Cancellation,
) -> DrillReport {
    let mut alone = first_look(options, &observer, &cancellation).await;
    let mut course = Course::begin(observer.as_ref(), cancellation, options.limit);
    let mut work = Workshop::default();
    let result = drill(options, repository, &observer, &mut course, &mut work).await;
    course.tear_down(result.is_ok());
    let torn = tear_down(options, &mut work).await;
    course.finish(torn.removed);
    let stop = result.err();
    if course.cancellation().is_cancelled() {
        alone.read_from(repository.store());
    } else {
        alone.end(&options.alone, repository.store()).await;
    }
    let after = Aftermath { alone, torn };
    conclude(options, repository, &course, work, stop.as_ref(), after)
}

/// Asks the other copies before the clock runs: it is no part of any recovery.
async fn first_look(
    options: &DrillOptions,
    observer: &Arc<dyn DrillObserver>,
    cancellation: &Cancellation,
) -> Alone {
    let alone = tokio::select! {
        alone = Alone::begin(&options.alone) => alone,
        () = cancellation.cancelled() => Alone {
            asked: options.alone.asked,
            ..Alone::default()
        },
    };
    if alone.holds == Some(false) {
        for reason in alone.reasons() {
            observer.note(&format!(
                "{reason}. It goes on all the same: what is wrong with this copy will show"
            ));
        }
    }
    alone
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
        .map_err(|error| match error {
            RepositoryError::Storage(error) => Stop::Store(error),
            error @ RepositoryError::Task(_) => Stop::unproven(error),
        })
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

/// Runs blocking work on a thread of its own.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Stop> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(Stop::unproven)
}
