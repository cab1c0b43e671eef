//! A drill in Kubernetes, from the first look to the last check.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;
use sqlx::postgres::PgConnection;

use super::admit::{Admitted, admit};
use super::cost::{image_of, reserved};
use super::logs::KeptLog;
use super::options::{CnpgOptions, Definition};
use super::probes::probe;
use super::report::KubernetesReport;
use super::server::PodServer;
use super::trouble::{ended_by, found_after_all, not_created, reported, stopped_by};
use crate::drill::checks::sql::{ask_value, session_settings};
use crate::drill::checks::{CheckDefinition, CheckKind, run_all};
use crate::drill::course::{Course, Stop};
use crate::drill::facts::RecoveryFacts;
use crate::drill::log::{LogEvent, LogLine};
use crate::drill::neutral::{ask_back, settings_of_cluster};
use crate::drill::observer::{DrillObserver, Progress, Unit};
use crate::drill::options::DrillOptions;
use crate::drill::phases::Phase;
use crate::drill::proof::{Histories, after_promotion, instead_of_target};
use crate::drill::restored::{ConnectError, connect_anywhere};
use crate::drill::run::{Workshop, read_catalog};
use crate::drill::watching::Forward;
use crate::finding::{Code, Finding};
use crate::kubernetes::names::SCRATCH_CLUSTER;
use crate::kubernetes::watch::{PostgresLine, Recovery, Trouble, What};
use crate::kubernetes::{Kube, holder, scratch};
use crate::repository::Repository;
use crate::restore::{Cancel, Watch};

/// How long a ready server may take to answer through the API server.
const CONNECT_PATIENCE: Duration = Duration::from_mins(1);

/// How long it may take to begin to remove what dead drills left.
const SWEEP_LIMIT: Duration = Duration::from_mins(2);

/// What the drill has made in Kubernetes.
#[derive(Debug)]
pub(in crate::drill) struct Made {
    pub(super) kube: Kube,
    pub(super) namespace: String,
    pub(super) begun: Instant,
}

/// What is given back in the tear-down, wherever the drill stopped, and what is reported.
#[derive(Debug, Default)]
pub(in crate::drill) struct Place {
    pub(super) made: Option<Made>,
    pub(super) server: Option<PodServer>,
    pub(super) log: KeptLog,
    pub(super) report: Option<KubernetesReport>,
}

impl Place {
    /// Whether what the drill made was left to a person.
    pub(super) fn is_kept(&self) -> bool {
        let report = self.report.as_ref();
        report.is_some_and(|report| report.kept_until.is_some())
    }

    fn tell(&mut self, change: impl FnOnce(&mut KubernetesReport)) {
        change(self.report.get_or_insert_default());
    }
}

/// Runs the drill up to its last check.
pub(in crate::drill) async fn drill(
    cnpg: &CnpgOptions,
    options: &DrillOptions,
    repository: &Repository,
    observer: &Arc<dyn DrillObserver>,
    course: &mut Course<'_>,
    place: &mut Place,
    work: &mut Workshop,
) -> Result<(), Stop> {
    let catalog = read_catalog(repository, course).await?;
    let begun = course.clock().started_at();
    let cancel = Cancel::new();
    let watch = Watch {
        sink: Arc::new(Forward(Arc::clone(observer))),
        cancel: cancel.clone(),
    };
    let admitting = Box::pin(admit(cnpg, options, repository, &catalog, begun, &watch));
    let admitted = course
        .wait(admitting)
        .await
        .inspect_err(|_| cancel.cancel())??;
    work.findings.extend(admitted.plan.findings.iter().cloned());
    work.plan = Some(admitted.plan.clone());
    place.report = Some(admitted.report.clone());
    if let Some(hopeless) = &admitted.hopeless {
        place.tell(|report| report.trouble = Some(hopeless.clone()));
    }
    if options.only_whole && !admitted.plan.holes.is_empty() {
        // They are in the plan, and the reason.
        return Err(Stop::Failed(Vec::new()));
    }
    admitted.has_hope()?;
    let kube = &admitted.kube;

    // What dead drills left would count against the room. It is no matter of this drill: it
    // costs none of its time, and what comes of it is in the log only.
    tokio::spawn(begin_sweep(kube.clone()));

    course.enter(Phase::Provision);
    let namespace = admitted.scratch.namespace.as_str();
    place.made = Some(Made {
        kube: kube.clone(),
        namespace: namespace.to_owned(),
        begun: Instant::now(),
    });
    let creating = scratch::create(kube, &admitted.manifests, |object| {
        tracing::debug!(kind = %object["kind"], "made for a drill");
    });
    course
        .wait(creating)
        .await?
        .map_err(|error| not_created(&error))?;
    let primary = match until_ready(&admitted, course, place, work).await {
        Ok(primary) => primary,
        Err(Ended::Stopped(stop)) => {
            // What it held is part of what it cost, also when it came to nothing.
            if let Ok(cost) = course.wait(reserved(kube, namespace)).await {
                place.tell(|report| report.cost.reserve(&cost));
            }
            return Err(stop);
        }
        Err(Ended::Trouble(trouble)) => {
            place.tell(|report| report.trouble = Some(reported(&trouble)));
            let cost = course.wait(reserved(kube, namespace)).await?;
            place.tell(|report| report.cost.reserve(&cost));
            let backup = admitted.plan.backup.id.as_str();
            let looking = found_after_all(&trouble, repository, &catalog, backup);
            return Err(match course.wait(looking).await? {
                Some(found) => Stop::Unproven(format!(
                    "{}: {}; but {found}",
                    trouble.object, trouble.words
                )),
                None => ended_by(&trouble, &work.facts.log.fatal),
            });
        }
    };

    course.enter(Phase::FirstQuery);
    let opening = PodServer::open(kube, namespace, &primary, admitted.major, options.id);
    let server = course
        .wait(opening)
        .await?
        .map_err(|error| stopped_by(&error))?;
    let server = place.server.insert(server);
    let mut connection = connect(server, course).await?;
    let first = course
        .wait(ask_value(
            &mut connection,
            "SELECT pg_catalog.current_setting('server_version')",
        ))
        .await?;
    match first {
        Ok(version) => work.facts.server_version = version,
        Err(error) => {
            return Err(Stop::failed(Finding::new(
                Code::RecoveryFailed,
                "restored server",
                format!("the first query failed: {error}"),
            )));
        }
    }

    course.enter(Phase::Checks);
    work.time_to_service = course
        .clock()
        .timings()
        .iter()
        .map(|timing| timing.milliseconds)
        .reduce(u64::saturating_add);
    let asking = prove(&mut connection, &admitted, &mut work.facts);
    let asked = course.wait(asking).await?;
    work.facts.proof.conclude();
    let fsync = match asked {
        Ok(fsync) => fsync,
        Err(error) => {
            work.facts.safety.conclude();
            return Err(Stop::Unproven(format!(
                "the promoted server gave no answer: {error}"
            )));
        }
    };
    work.fsync = fsync;
    drop(connection);
    let live = matches!(cnpg.definition, Definition::Live { .. });
    let probing = probe(kube, server, namespace, &admitted.scratch.source, live);
    let probes = course.wait(probing).await?;
    let wrong = probes.items.iter().filter(|item| item.holds == Some(false));
    work.facts.safety.network_isolated = probes.network_isolated;
    work.facts.safety.items.extend(wrong.cloned());
    work.facts.safety.conclude();
    if probes.network_isolated.is_none() {
        work.findings.push(Finding::new(
            Code::ConfinementNotTried,
            format!("namespace {namespace}"),
            "not every connection could be tried from the restored server's pod",
        ));
    }
    let cost = course.wait(reserved(kube, namespace)).await?;
    let image = course.wait(image_of(kube, namespace, &primary)).await?;
    place.tell(|report| {
        report.probes = probes.items;
        report.cost.reserve(&cost);
        report.cost.fetched_bytes = admitted.fetched_bytes;
        if image.is_some() {
            report.image = image;
        }
    });
    if work.facts.safety.holds == Some(false) {
        return Err(Stop::Failed(Vec::new()));
    }

    let mut definitions = vec![CheckDefinition::new(
        "every database opens",
        CheckKind::Connect,
    )];
    definitions.extend(options.checks.iter().cloned());
    let recovery_point = admitted.plan.expected_end.recovery_point;
    let server = place
        .server
        .as_mut()
        .ok_or_else(|| Stop::unproven("the restored server is gone"))?;
    let checking = run_all(
        server,
        &definitions,
        recovery_point.map(|commit| commit.time),
        work.facts.data_checksums,
        course.observer(),
        &mut work.checks,
    );
    course.wait(checking).await?;
    work.time_to_verified = Some(course.clock().elapsed());
    Ok(())
}

/// Begins to remove what dead drills left, beside the drill.
async fn begin_sweep(kube: Kube) {
    let begun = scratch::begin_sweep(&kube, Utc::now(), holder::lives);
    match tokio::time::timeout(SWEEP_LIMIT, begun).await {
        Ok(Ok(begun)) => {
            for one in begun {
                tracing::info!(
                    namespace = %one.name, reason = %one.reason,
                    "a dead drill's namespace is being removed"
                );
            }
        }
        // It may not be allowed to look at all namespaces; this drill has its own.
        Ok(Err(error)) => tracing::warn!(%error, "look for what dead drills left"),
        Err(_) => tracing::warn!("the look for what dead drills left took too long"),
    }
}

/// The proof of the end, and the confinement, of the promoted server. Returns whether it
/// flushes to disk.
async fn prove(
    connection: &mut PgConnection,
    admitted: &Admitted,
    facts: &mut RecoveryFacts,
) -> Result<bool, sqlx::Error> {
    let settings = settings_of_cluster(admitted.major, &admitted.preload, SCRATCH_CLUSTER);
    let expected = &admitted.plan.expected_end;
    ask_back(connection, &settings, &mut facts.safety, "promoted").await?;
    instead_of_target(connection, expected, &mut facts.proof).await?;
    after_promotion(connection, Histories::Server, expected, &mut facts.proof).await?;
    let setting =
        |name: &str| format!("SELECT setting FROM pg_catalog.pg_settings WHERE name = '{name}'");
    let checksums = ask_value(connection, &setting("data_checksums")).await?;
    facts.data_checksums = checksums.as_deref() == Some("on");
    let fsync = ask_value(connection, &setting("fsync")).await?;
    Ok(fsync.as_deref() == Some("on"))
}

/// Connects to the server, waiting while it says "not yet".
async fn connect(server: &PodServer, course: &Course<'_>) -> Result<PgConnection, Stop> {
    let until = Instant::now() + CONNECT_PATIENCE;
    loop {
        let settings = session_settings(Duration::from_mins(1));
        match course.wait(connect_anywhere(server, &settings)).await? {
            Ok(connection) => return Ok(connection),
            Err(ConnectError::NotYet(_)) if Instant::now() < until => {
                course
                    .wait(tokio::time::sleep(Duration::from_millis(200)))
                    .await?;
            }
            Err(error @ ConnectError::Refused { code: Some(_), .. }) => {
                // The server answered, and cannot open a maintenance database of its own.
                return Err(Stop::failed(Finding::new(
                    Code::RecoveryFailed,
                    "restored server",
                    error.to_string(),
                )));
            }
            Err(error) => return Err(Stop::unproven(error)),
        }
    }
}

/// Enters `phase`, unless the drill has come that far already: the signs of a phase come
/// from several pods and may be missed or come again when the operator begins anew.
fn reach(course: &mut Course<'_>, phase: Phase) {
    if course.clock().current().is_some_and(|now| now < phase) {
        course.enter(phase);
    }
}

/// Why a recovery did not become ready.
enum Ended {
    /// It was stopped.
    Stopped(Stop),
    /// It is past saving.
    Trouble(Trouble),
}

impl From<Stop> for Ended {
    fn from(stop: Stop) -> Self {
        Self::Stopped(stop)
    }
}

/// Follows the recovery until the Cluster is ready. Returns the primary's pod.
async fn until_ready(
    admitted: &Admitted,
    course: &mut Course<'_>,
    place: &mut Place,
    work: &mut Workshop,
) -> Result<String, Ended> {
    let namespace = &admitted.scratch.namespace;
    let last_segment = admitted.plan.wal.files.last_segment();
    let mut recovery = Recovery::start(&admitted.kube, namespace, SCRATCH_CLUSTER)
        .newest_wal(last_segment.as_deref());
    loop {
        let seen = course.wait(recovery.next()).await?;
        match seen.what {
            What::JobRunning { .. } | What::BackupFound { .. } | What::RestoreStarted => {
                reach(course, Phase::FetchBase);
            }
            What::BaseRestored => {
                work.base_bytes_fetched = Some(admitted.plan.backup.stored_bytes);
                reach(course, Phase::ReachConsistency);
            }
            What::Postgres(line) if line.in_job => {
                if let Some(phase) = heard(&line, &mut work.facts) {
                    reach(course, phase);
                }
                let progress = Progress {
                    unit: Unit::Segments,
                    done: work.facts.log.files_restored,
                    total: Some(admitted.plan.wal.segments),
                };
                let phase = course.clock().current().unwrap_or(Phase::Replay);
                course.observer().progress(phase, progress);
            }
            What::JobSucceeded | What::InstanceStarted { .. } => reach(course, Phase::Promote),
            What::Retried { attempt, pod } => {
                place.tell(|report| report.retries = attempt);
                course
                    .observer()
                    .note(&format!("pod {pod} failed; the operator begins anew"));
            }
            What::Log(line) => place.log.add(&line),
            What::Ready { primary, .. } => {
                reach(course, Phase::Promote);
                let image = admitted.scratch.overrides.image.clone();
                let image = image.or_else(|| admitted.scratch.source.image.clone());
                place.tell(|report| report.image = image);
                return Ok(primary);
            }
            What::Trouble(trouble) if trouble.fatal => return Err(Ended::Trouble(trouble)),
            What::Trouble(trouble) => course
                .observer()
                .note(&format!("{trouble}. {}", trouble.hint)),
            _ => {}
        }
    }
}

/// What a line of PostgreSQL's log tells, and the phase that begins with it.
fn heard(line: &PostgresLine, facts: &mut RecoveryFacts) -> Option<Phase> {
    let time = line.time.unwrap_or_else(Utc::now);
    let log = &mut facts.log;
    let line = LogLine {
        time,
        pid: 0,
        severity: line.severity.clone(),
        message: line.message.clone(),
    };
    match line.event()? {
        LogEvent::Consistent(lsn) => {
            log.consistent_at = Some(lsn);
            log.consistent_time = Some(time);
            Some(Phase::Replay)
        }
        LogEvent::Restored(name) => {
            log.files_restored += 1;
            log.last_restored = Some(name);
            None
        }
        LogEvent::RedoDone(lsn) => {
            log.redo_done = Some(lsn);
            Some(Phase::Promote)
        }
        LogEvent::Timeline(timeline) => {
            log.new_timeline = Some(timeline);
            None
        }
        LogEvent::Fatal(words) => {
            if log.fatal.len() < 16 {
                log.fatal.push(words);
            }
            None
        }
        _ => None,
    }
}
