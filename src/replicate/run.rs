//! One run: compare, look at what looks different, copy what is missing.

use std::sync::Arc;

use chrono::Utc;
use tokio::sync::watch;
use tracing::Instrument as _;

use super::copy::Work;
use super::diff::{self, Differences};
use super::engine::{Worked, work_off};
use super::incremental::{incremental, remember};
use super::ledger::Ledger;
use super::limit::Limit;
use super::meter::{Meter, OnCopyProgress};
use super::prepare::{Prepared, prepare};
use super::sweep::sweep;
use super::system::check_system;
use super::{
    Compared, Ended, Pair, PlannedBackup, ReplicateError, ReplicateOptions, ReplicatePlan,
    ReplicateReport, findings, judge,
};
use crate::state::{HeldPair, State};
use crate::telemetry;

/// A wish to stop: becomes true once.
pub type Stop = watch::Receiver<bool>;

/// What a run works with.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) work: Arc<Work>,
    /// No other run copies to the same target meanwhile.
    held: Option<HeldPair>,
}

impl Session {
    pub(super) async fn open(
        pair: &Pair,
        options: &ReplicateOptions,
        state: Option<&State>,
        on_progress: OnCopyProgress,
        stop: Stop,
    ) -> Result<Self, ReplicateError> {
        let (ledger, held) = match state {
            None => (Ledger::none(), None),
            Some(state) => {
                let known = state
                    .copy_pair(&pair.source.name(), &pair.target.name())
                    .await?;
                let held = state.hold_pair(&known).await?;
                if held.is_none() {
                    return Err(ReplicateError::Busy {
                        target_url: pair.target_url(),
                    });
                }
                (Ledger::open(state.clone(), known), held)
            }
        };
        Ok(Self {
            work: Arc::new(Work {
                pair: pair.clone(),
                limit: Limit::new(options.bandwidth, options.shared_bandwidth.clone()),
                options: options.clone(),
                ledger,
                meter: Meter::new(on_progress),
                stop,
            }),
            held,
        })
    }

    /// Writes down what is still to be remembered. Gives why not everything could be.
    pub(super) async fn close(self) -> Option<String> {
        let trouble = match Arc::try_unwrap(self.work) {
            Ok(work) => work.ledger.close().await.err(),
            // Somebody is still at it, which cannot be; nothing is lost but the last second.
            Err(_) => None,
        };
        drop(self.held);
        trouble.map(|error| error.to_string())
    }
}

/// Copies what the target lacks. Never overwrites, never deletes.
///
/// A store that fails on the way ends the run; what was done until then is in the report
/// ([`Ended::Failed`]).
///
/// Memory: 96 MiB for objects on their way, some 300 bytes per object that is to be copied.
pub async fn replicate(
    pair: &Pair,
    options: &ReplicateOptions,
    state: Option<&State>,
    on_progress: OnCopyProgress,
    stop: Stop,
) -> Result<ReplicateReport, ReplicateError> {
    let session = Session::open(pair, options, state, on_progress, stop).await?;
    let result = rounds(&session.work).await;
    let trouble = session.close().await;
    let mut report = result?;
    report.trouble = trouble;
    Ok(report)
}

/// As many rounds as it takes to copy more than fits into one.
async fn rounds(work: &Arc<Work>) -> Result<ReplicateReport, ReplicateError> {
    if let Some(every) = work.options.incremental
        && let Some(report) = incremental(work, every).await?
    {
        return Ok(report);
    }
    let (mut report, mut more) = once(work).await?;
    while more && report.ended == Ended::Complete && report.failures.is_empty() {
        let (next, again) = once(work).await?;
        more = again && !next.copied.by_kind.total().is_empty();
        let copied = &mut report.copied;
        copied.by_kind.absorb(next.copied.by_kind);
        copied.acknowledged += next.copied.acknowledged;
        copied.read_back.absorb(next.copied.read_back);
        copied.there_already += next.copied.there_already;
        copied.gone += next.copied.gone;
        report = ReplicateReport {
            started_at: report.started_at,
            compared: report.compared,
            copied: report.copied,
            findings: findings::bounded(
                report
                    .findings
                    .into_iter()
                    .filter(|finding| !next.findings.contains(finding))
                    .chain(next.findings.iter().cloned())
                    .collect(),
            ),
            ..next
        };
    }
    Ok(report)
}

/// One comparison and the copying of what is missing.
async fn once(work: &Arc<Work>) -> Result<(ReplicateReport, bool), ReplicateError> {
    let started_at = Utc::now();
    let pair = &work.pair;
    let comparison = telemetry::phase("compare");
    let comparing =
        diff::compare(pair, &work.ledger, &work.meter, None).instrument(comparison.clone());
    let mut differences = work.unless_stopped(comparing).await?;
    check_system(pair, &differences).await?;
    let mut compared = compared(&differences);
    let suspects = std::mem::take(&mut differences.suspects);
    let parallel = work.options.parallel;
    let judging = judge::judge(pair, &work.ledger, &work.limit, suspects, parallel)
        .instrument(comparison.clone());
    let judged = work.unless_stopped(judging).await?;
    compared.looked_at = judged.read;
    let missing = std::mem::take(&mut differences.missing);
    let preparing = prepare(pair, missing, judged.unfinished).instrument(comparison);
    let mut prepared = work.unless_stopped(preparing).await?;
    sweep(work, &prepared.queue).await;
    let to_copy = prepared.queue.tallies().total();
    work.meter.expect(to_copy.objects, to_copy.bytes);
    let (worked, ended) = work_off(work, &mut prepared.queue, None)
        .instrument(telemetry::phase("copy"))
        .await?;

    let mut found = judged.findings;
    found.extend(findings::vanished(&prepared.vanished));
    found.extend(findings::only(
        &differences.only_keys,
        differences.only,
        differences.source.is_empty(),
    ));
    let mut failures = judged.failures;
    let open: Vec<String> = prepared
        .open
        .into_iter()
        .chain(worked.open.iter().cloned())
        .collect();
    let mut report = ReplicateReport {
        schema: ReplicateReport::SCHEMA,
        cluster: work.options.cluster.clone(),
        copy: work.options.copy.clone(),
        source: pair.source_url(),
        target: pair.target_url(),
        started_at,
        finished_at: Utc::now(),
        ended,
        incremental: None,
        compared,
        copied: super::CopiedReport::default(),
        left: prepared.queue.tallies(),
        waiting: prepared.waiting,
        failures: Vec::new(),
        findings: found,
        trouble: None,
    };
    failures.extend(take_worked(&mut report, worked));
    report.failures = failures;
    report.findings = findings::bounded(std::mem::take(&mut report.findings));
    if differences.cut.is_none() {
        remember(work, &report, &differences.live, open).await?;
    } else {
        // What an earlier comparison left off at says nothing of what this one found.
        work.ledger.keep_front(started_at, None).await?;
    }
    Ok((report, differences.cut.is_some()))
}

/// Puts what was worked off into a report; gives the failures.
pub(super) fn take_worked(report: &mut ReplicateReport, worked: Worked) -> Vec<super::Failure> {
    let copied = &mut report.copied;
    copied.by_kind.absorb(worked.copied.by_kind);
    copied.acknowledged += worked.copied.acknowledged;
    copied.read_back.absorb(worked.copied.read_back);
    copied.there_already += worked.copied.there_already;
    copied.gone += worked.copied.gone;
    report.waiting.extend(worked.waiting);
    report
        .waiting
        .sort_by(|one, other| one.object.cmp(&other.object));
    report.findings.extend(worked.findings);
    worked.failures
}

pub(super) fn compared(differences: &Differences) -> Compared {
    Compared {
        source: differences.source,
        target: differences.target,
        same: differences.same,
        not_compared: differences.adopted,
        missing: differences.missing_tally,
        only_at_target: differences.only,
        only_at_target_sample: differences.only_keys.clone(),
        expired: differences.expired,
        looked_at: 0,
    }
}

/// Says what a run would copy. Writes nothing to either place.
pub async fn plan(
    pair: &Pair,
    options: &ReplicateOptions,
    state: Option<&State>,
    on_progress: OnCopyProgress,
) -> Result<ReplicatePlan, ReplicateError> {
    let listed_at = Utc::now();
    let ledger = match state {
        None => Ledger::none(),
        Some(state) => {
            let known = state
                .copy_pair(&pair.source.name(), &pair.target.name())
                .await?;
            Ledger::reading(state.clone(), known)
        }
    };
    let meter = Meter::new(on_progress);
    let mut differences = diff::compare(pair, &ledger, &meter, None).await?;
    check_system(pair, &differences).await?;
    let compared = compared(&differences);
    let missing = std::mem::take(&mut differences.missing);
    let Prepared { queue, waiting, .. } = prepare(pair, missing, Vec::new()).await?;
    let markers = queue.marked();
    let backups = queue
        .backups()
        .into_iter()
        .map(|id| PlannedBackup {
            id: id.to_owned(),
            data: queue.of_backup(id),
            marker: markers.contains(id),
        })
        .collect();
    Ok(ReplicatePlan {
        schema: ReplicatePlan::SCHEMA,
        cluster: options.cluster.clone(),
        copy: options.copy.clone(),
        source: pair.source_url(),
        target: pair.target_url(),
        listed_at,
        compared,
        to_copy: queue.tallies(),
        wal: queue
            .wal_ends()
            .map(|(first, last)| (first.to_owned(), last.to_owned())),
        backups,
        waiting,
        to_look_at: differences
            .suspects
            .iter()
            .map(|suspect| suspect.source.key.clone())
            .collect(),
    })
}

/// Whether a run ended because it was asked to.
pub const fn was_interrupted(report: &ReplicateReport) -> bool {
    matches!(report.ended, Ended::Interrupted)
}
