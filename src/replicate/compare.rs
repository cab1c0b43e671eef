//! Comparing a copy with its source: by listing and memory, or every byte of both.

use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::mpsc;

use super::copy::Work;
use super::diff::{self, Alike, Missing};
use super::digest::digest;
use super::gate::{not_final, read_marker};
use super::judge::{self, by_bytes};
use super::run::{Session, Stop, compared};
use super::system::check_system;
use super::{
    Compared, Failure, OnCopyProgress, Pair, ReplicateError, ReplicateOptions, Tally, Waiting,
    findings,
};
use crate::finding::{Finding, Severity};
use crate::repository::CopyClass;
use crate::state::State;

/// Objects that look alike and wait to be read.
const WAITING: usize = 64;

/// What lies at the source for less than this need not be at the target yet, where no
/// objective says otherwise.
const GRACE: TimeDelta = TimeDelta::hours(1);

/// How a copy is compared.
#[derive(Clone, Debug, Default)]
pub struct CompareOptions {
    /// How the objects are read, and the names for the report.
    pub replicate: ReplicateOptions,
    /// Whether every object is read on both sides.
    pub read: bool,
    /// What lies at the source for longer must be at the target.
    pub lag: Option<TimeDelta>,
}

/// What reading both sides came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ReadReport {
    /// What was read on both sides and is the same.
    pub equal: Tally,
    /// What is not the same, or not what was copied.
    pub different: Tally,
}

/// How a copy compares with its source.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct CompareReport {
    /// `walproof.replicate-compare/v1`
    pub schema: &'static str,
    /// The cluster's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// The copy's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copy: Option<String>,
    /// The source's URL.
    pub source: String,
    /// The target's URL.
    pub target: String,
    /// When the two were listed.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: DateTime<Utc>,
    /// What the listings and the memory say.
    pub compared: Compared,
    /// What reading came to; only if everything was to be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read: Option<ReadReport>,
    /// Since when the oldest object that the target lacks lies at the source.
    pub behind_since: Option<DateTime<Utc>>,
    /// Backups that wait.
    pub waiting: Vec<Waiting>,
    /// What could not be compared.
    pub failures: Vec<Failure>,
    /// What is wrong with the copy.
    pub findings: Vec<Finding>,
    /// Whether it was asked to stop before its end.
    pub interrupted: bool,
    /// Why not everything could be remembered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

impl CompareReport {
    /// The schema of this version.
    pub const SCHEMA: &'static str = "walproof.replicate-compare/v1";

    /// The gravest finding.
    pub fn worst_severity(&self) -> Option<Severity> {
        self.findings.iter().map(|finding| finding.severity).max()
    }
}

/// Compares a copy with its source. Writes nothing to either; what is read is remembered.
///
/// Memory: some 200 bytes per object in which the two differ, and a chunk per object that is
/// being read.
pub async fn compare(
    pair: &Pair,
    options: &CompareOptions,
    state: Option<&State>,
    on_progress: OnCopyProgress,
    stop: Stop,
) -> Result<CompareReport, ReplicateError> {
    let session = Session::open(pair, &options.replicate, state, on_progress, stop).await?;
    let result = looked(&session.work, options).await;
    let trouble = session.close().await;
    let mut report = result?;
    report.trouble = trouble;
    Ok(report)
}

async fn looked(work: &Work, options: &CompareOptions) -> Result<CompareReport, ReplicateError> {
    let started_at = Utc::now();
    let pair = &work.pair;
    let (sender, receiver) = mpsc::channel(WAITING);
    let listing = async {
        let alike = options.read.then_some(&sender);
        let comparing = diff::compare(pair, &work.ledger, &work.meter, alike);
        let mut differences = work.unless_stopped(comparing).await?;
        let suspects = std::mem::take(&mut differences.suspects);
        let mut left = Vec::new();
        for suspect in suspects {
            match alike {
                Some(alike) => {
                    // Who does not listen any more has said why.
                    let _ = alike.send((suspect.source, suspect.target)).await;
                }
                None => left.push(suspect),
            }
        }
        drop(sender);
        Ok::<_, ReplicateError>((differences, left))
    };
    let (listed, read) = futures::join!(listing, reading(work, receiver));
    let ((differences, suspects), mut read) = (listed?, read?);
    check_system(pair, &differences).await?;
    let mut compared = compared(&differences);
    let parallel = options.replicate.parallel;
    let judging = judge::judge(pair, &work.ledger, &work.limit, suspects, parallel);
    let judged = work.unless_stopped(judging).await?;
    compared.looked_at = judged.read;
    let mut found = judged.findings;
    found.append(&mut read.findings);
    let mut failures = judged.failures;
    failures.append(&mut read.failures);
    let waits = Waits::of(pair, &differences.missing, options.lag, started_at).await?;
    let mut waiting = waits.waiting;
    waiting.extend(judged.unfinished.iter().map(|unfinished| Waiting {
        object: unfinished.source.key.clone(),
        reason: "the target holds it unfinished; `walproof replicate run` renews it".to_owned(),
    }));
    found.extend(waits.findings);
    found.extend(findings::only(
        &differences.only_keys,
        differences.only,
        differences.source.is_empty(),
    ));
    Ok(CompareReport {
        schema: CompareReport::SCHEMA,
        cluster: options.replicate.cluster.clone(),
        copy: options.replicate.copy.clone(),
        source: pair.source_url(),
        target: pair.target_url(),
        started_at,
        finished_at: Utc::now(),
        compared,
        read: options.read.then_some(read.report),
        behind_since: waits.since,
        waiting,
        failures,
        findings: findings::bounded(found),
        interrupted: work.is_asked_to_stop() && options.read,
        trouble: None,
    })
}

/// What the target lacks.
#[derive(Default)]
struct Waits {
    waiting: Vec<Waiting>,
    findings: Vec<Finding>,
    since: Option<DateTime<Utc>>,
}

impl Waits {
    async fn of(
        pair: &Pair,
        missing: &[Missing],
        lag: Option<TimeDelta>,
        now: DateTime<Utc>,
    ) -> Result<Self, ReplicateError> {
        let grace = lag.unwrap_or(GRACE);
        let mut all = Self::default();
        for Missing { entry, .. } in missing {
            if let CopyClass::Marker { .. } = pair.source.copy_class(&entry.key) {
                let Some((_, _, marker)) = read_marker(&pair.source, &entry.key).await? else {
                    continue;
                };
                if let Some(reason) = not_final(&marker) {
                    all.waiting.push(Waiting {
                        object: entry.key.clone(),
                        reason,
                    });
                    continue;
                }
            }
            let since = entry.last_modified;
            all.since = Some(all.since.map_or(since, |oldest| oldest.min(since)));
            if now - since > grace {
                all.findings
                    .push(findings::missing(&entry.key, since, entry.size));
            }
        }
        Ok(all)
    }
}

#[derive(Default)]
struct Readings {
    report: ReadReport,
    findings: Vec<Finding>,
    failures: Vec<Failure>,
}

/// Reads both sides of what comes, so many objects at once.
async fn reading(work: &Work, receiver: mpsc::Receiver<Alike>) -> Result<Readings, ReplicateError> {
    let pairs = futures::stream::unfold(receiver, |mut receiver| async {
        Some((receiver.recv().await?, receiver))
    });
    let results = pairs
        .map(|alike| async {
            let key = alike.0.key.clone();
            let size = alike.0.size;
            if work.is_asked_to_stop() {
                return (key, size, Ok(None));
            }
            work.meter.expect(1, size);
            let result = both(work, alike).await;
            work.meter.done();
            (key, size, result)
        })
        .buffer_unordered(work.options.parallel.max(1));
    tokio::pin!(results);
    let mut readings = Readings::default();
    while let Some((key, size, result)) = results.next().await {
        match result {
            Ok(None) => {}
            Ok(Some(None)) => readings.report.equal.add(size),
            Ok(Some(Some(finding))) => {
                readings.report.different.add(size);
                readings.findings.push(finding);
            }
            Err(ReplicateError::Storage(error)) if error.is_not_found() => {}
            Err(ReplicateError::Storage(error)) if super::concerns_object(&error) => {
                readings.failures.push(Failure::new(&key, &error));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(readings)
}

/// Reads one object on both sides and remembers its digest; gives what is wrong with it.
async fn both(
    work: &Work,
    (source, target): Alike,
) -> Result<Option<Option<Finding>>, ReplicateError> {
    let key = source.key.clone();
    let pair = &work.pair;
    let (here, there) = futures::try_join!(
        digest(pair.source.store(), &key, Some(&work.limit)),
        digest(pair.target.store(), &target.key, None),
    )?;
    work.meter.passed(source.size);
    let known = work.ledger.one(&key).await?;
    let now = Utc::now();
    let noticed = known
        .as_ref()
        .and_then(|copy| copy.alarm.as_ref())
        .map_or(now, |alarm| alarm.noticed);
    let copy = by_bytes(known, &key, here, there, noticed, now);
    let annotation = matches!(pair.source.copy_class(&key), CopyClass::Annotation { .. });
    let finding = copy
        .alarm
        .as_ref()
        .map(|alarm| findings::alarm(&copy, alarm, annotation));
    work.ledger.note(copy).await;
    Ok(Some(finding))
}
