//! A drill on this machine, from the first look to the last check.

use std::sync::Arc;

use chrono::{TimeDelta, Utc};

use super::admit::admit;
use super::prepare::{
    decide_preload, fetch_base, own_program, server_settings, write_configuration,
};
use super::recovery::recover;
use super::wal_wanted::why_wal;
use super::{LocalOptions, Scratch, Server, ServerPlan, sweep};
use crate::drill::admit::stopped_by;
use crate::drill::checks::{CheckDefinition, CheckKind, run_all};
use crate::drill::course::{Course, Stop};
use crate::drill::observer::DrillObserver;
use crate::drill::options::DrillOptions;
use crate::drill::phases::Phase;
use crate::drill::run::{Workshop, blocking, read_catalog};
use crate::drill::watching::Forward;
use crate::finding::{Code, Finding};
use crate::repository::Repository;
use crate::restore::wal::wal_fetch_command;
use crate::restore::{
    Cancel, WalServer, WalServerOptions, Watch, review_set_aside, set_aside_finding,
    settings_raised_finding,
};

/// What the drill has made on this machine. It is given back in the tear-down, wherever the
/// drill stopped.
#[derive(Default)]
pub(in crate::drill) struct Place {
    pub(super) scratch: Option<Scratch>,
    pub(super) wal_server: Option<WalServer>,
    pub(super) server: Option<Server>,
}

/// Runs the drill up to its last check.
pub(in crate::drill) async fn drill(
    local: &LocalOptions,
    options: &DrillOptions,
    repository: &Repository,
    observer: &Arc<dyn DrillObserver>,
    course: &mut Course<'_>,
    place: &mut Place,
    work: &mut Workshop,
) -> Result<(), Stop> {
    // What dead drills left would count against the room.
    let root = local.scratch_root.clone();
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
    let admitting = admit(local, options, repository, &catalog, begun, &watch);
    let admitted = course
        .wait(admitting)
        .await
        .inspect_err(|_| cancel.cancel())??;
    work.findings.extend(admitted.plan.findings.iter().cloned());
    let admitted = &admitted;
    work.plan = Some(admitted.plan.clone());

    course.enter(Phase::Provision);
    let (root, id, run_as) = (
        local.scratch_root.clone(),
        options.id,
        admitted.run_as.clone(),
    );
    let deadline = Utc::now()
        + TimeDelta::from_std(options.limit).unwrap_or(TimeDelta::hours(24))
        + TimeDelta::minutes(10);
    let scratch = blocking(move || Scratch::create(&root, id, deadline, &run_as))
        .await?
        .map_err(Stop::unproven)?;
    let scratch = place.scratch.insert(scratch);

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
    let preload = decide_preload(&work.review, local, admitted);
    work.findings.extend(preload.findings.iter().cloned());

    let program = own_program(local, admitted, scratch).await?;
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
    place.wal_server = Some(wal_server);

    let settings = server_settings(
        local,
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
    let (run_as, superuser) = (admitted.run_as.clone(), local.superuser.clone());
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
        network: local.network,
        confine_program: program,
        superuser: local.superuser.clone(),
    })
    .map_err(Stop::unproven)?;
    let server = place.server.insert(server);
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
            why_wal(place.wal_server.as_ref(), stop)
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
