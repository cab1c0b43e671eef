//! Following an archive: new objects are copied within seconds, by short listings of where
//! they appear, and both sides are compared as a whole every now and then.
//!
//! One task looks for what is new and feeds it to the engine, which never ends, so that the
//! copying of a large base backup does not hold up the WAL.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::copy::Work;
use super::diff::{self, Missing};
use super::engine::{Feed, work_off};
use super::judge;
use super::meter::OnCopyProgress;
use super::prepare::{Prepared, prepare};
use super::queue::Queue;
use super::run::{Session, Stop, compared, take_worked};
use super::sweep::sweep;
use super::system::check_system;
use super::{
    Compared, CopiedReport, Ended, Pair, ReplicateError, ReplicateOptions, ReplicateReport,
    Tallies, Waiting, findings,
};
use crate::finding::Finding;
use crate::repository::{CopyClass, LiveFolders};
use crate::state::State;
use crate::storage::{ErrorKind, StorageError};

/// How long to wait after a failure of a store, at least and at most.
const PAUSE: Duration = Duration::from_secs(2);
const LONG_PAUSE: Duration = Duration::from_mins(1);

/// How an archive is followed.
#[derive(Clone, Copy, Debug)]
pub struct FollowOptions {
    /// How often to look for new objects.
    pub interval: Duration,
    /// How often to compare both sides as a whole.
    pub compare_every: Duration,
}

impl Default for FollowOptions {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(5),
            compare_every: Duration::from_hours(1),
        }
    }
}

/// Something that happens while an archive is followed.
#[derive(Clone, Debug)]
pub enum FollowEvent {
    /// Both sides were compared as a whole.
    Compared {
        /// How they compare.
        compared: Box<Compared>,
        /// What is wrong with the copy.
        findings: Vec<Finding>,
    },
    /// Nothing is left to copy.
    UpToDate {
        /// What was copied since the last time.
        copied: Tallies,
        /// The key that was copied last.
        newest: String,
        /// How long after it was stored at the source.
        delay: Option<Duration>,
    },
    /// A store failed; it is tried again.
    Trouble {
        /// How.
        error: String,
        /// After this time.
        pause: Duration,
    },
}

/// Who is told.
pub type OnFollowEvent = Arc<dyn Fn(FollowEvent) + Send + Sync>;

/// Copies what a repository lacks and then whatever appears at the source, until asked to
/// stop.
///
/// # Errors
/// Only what cannot be mended by waiting: places that overlap or hold different databases,
/// wrong credentials or settings at the first comparison, a state that cannot be read.
pub async fn follow(
    pair: &Pair,
    options: &ReplicateOptions,
    follow_options: FollowOptions,
    state: Option<&State>,
    on_progress: OnCopyProgress,
    on_event: OnFollowEvent,
    stop: Stop,
) -> Result<ReplicateReport, ReplicateError> {
    let session = Session::open(pair, options, state, on_progress, stop).await?;
    let result = followed(&session.work, follow_options, on_event).await;
    let trouble = session.close().await;
    let mut report = result?;
    report.trouble = trouble;
    Ok(report)
}

async fn followed(
    work: &Arc<Work>,
    options: FollowOptions,
    on_event: OnFollowEvent,
) -> Result<ReplicateReport, ReplicateError> {
    let started_at = Utc::now();
    let (sender, receiver) = mpsc::channel(4);
    let forget: Forget = Arc::default();
    let mut watch = Watch {
        work,
        options,
        on_event: Arc::clone(&on_event),
        sender,
        forget: Arc::clone(&forget),
        sent: HashSet::new(),
        live: None,
        open: BTreeSet::new(),
        more: false,
        compared: None,
        findings: Vec::new(),
        waiting: Vec::new(),
    };
    let mut queue = Queue::default();
    let feed = Feed::new(receiver, forget, on_event);
    let watching = async {
        let result = watch.run().await;
        // The engine ends when nobody feeds it any more.
        let Watch {
            compared,
            findings,
            waiting,
            ..
        } = watch;
        (result, compared, findings, waiting)
    };
    let (watched, worked) = futures::join!(watching, work_off(work, &mut queue, Some(feed)));
    let (result, compared, findings, waiting) = watched;
    result?;
    let (worked, _) = worked?;
    let mut report = ReplicateReport {
        schema: ReplicateReport::SCHEMA,
        cluster: work.options.cluster.clone(),
        copy: work.options.copy.clone(),
        source: work.pair.source_url(),
        target: work.pair.target_url(),
        started_at,
        finished_at: Utc::now(),
        ended: Ended::Stopped,
        incremental: None,
        compared: compared.unwrap_or_default(),
        copied: CopiedReport::default(),
        left: queue.tallies(),
        waiting,
        failures: Vec::new(),
        findings,
        trouble: None,
    };
    // What failed and was copied later is no failure; what is left is told as left.
    let _ = take_worked(&mut report, worked);
    report
        .waiting
        .dedup_by(|one, other| one.object == other.object);
    report.findings = findings::bounded(std::mem::take(&mut report.findings));
    Ok(report)
}

/// Keys that were fed to the engine and did not come to the target: to be looked at again.
pub(super) type Forget = Arc<Mutex<HashSet<String>>>;

/// Looks for what is new.
struct Watch<'a> {
    work: &'a Arc<Work>,
    options: FollowOptions,
    on_event: OnFollowEvent,
    sender: mpsc::Sender<Queue>,
    forget: Forget,
    /// Keys that were fed to the engine, or lie at the target, where new ones appear. Those
    /// that are at the target go at every comparison.
    sent: HashSet<String>,
    live: Option<LiveFolders>,
    /// Backups of which something is at the source and no final marker.
    open: BTreeSet<String>,
    /// Whether the last comparison found more than it could keep.
    more: bool,
    compared: Option<Compared>,
    findings: Vec<Finding>,
    waiting: Vec<Waiting>,
}

impl Watch<'_> {
    async fn run(&mut self) -> Result<(), ReplicateError> {
        let mut pause = PAUSE;
        let mut next_comparison = Instant::now();
        while !self.work.is_asked_to_stop() {
            let whole = Instant::now() >= next_comparison || self.live.is_none();
            let result = if whole {
                self.compare().await
            } else {
                self.tick().await
            };
            let wait = match result {
                Ok(()) => {
                    pause = PAUSE;
                    if whole {
                        let after = if self.more {
                            self.options.interval
                        } else {
                            self.options.compare_every
                        };
                        next_comparison = Instant::now() + after;
                    }
                    self.options.interval
                }
                Err(ReplicateError::Interrupted) => break,
                Err(ReplicateError::Storage(error)) if self.live.is_some() || passes(&error) => {
                    (self.on_event)(FollowEvent::Trouble {
                        error: error.to_string(),
                        pause,
                    });
                    let now = pause;
                    pause = (pause * 2).min(LONG_PAUSE);
                    now
                }
                Err(error) => return Err(error),
            };
            let sleeping = async {
                tokio::time::sleep(wait).await;
                Ok(())
            };
            if self.work.unless_stopped(sleeping).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Forgets what did not come to the target.
    fn forget_failed(&mut self) {
        let failed =
            std::mem::take(&mut *self.forget.lock().unwrap_or_else(PoisonError::into_inner));
        for key in failed {
            self.sent.remove(&key);
        }
    }

    /// Compares both sides as a whole.
    async fn compare(&mut self) -> Result<(), ReplicateError> {
        self.forget_failed();
        let work = self.work;
        let pair = &work.pair;
        let comparing = diff::compare(pair, &work.ledger, &work.meter, None);
        let mut differences = work.unless_stopped(comparing).await?;
        check_system(pair, &differences).await?;
        let mut compared = compared(&differences);
        let suspects = std::mem::take(&mut differences.suspects);
        let parallel = work.options.parallel;
        let judging = judge::judge(pair, &work.ledger, &work.limit, suspects, parallel);
        let judged = work.unless_stopped(judging).await?;
        compared.looked_at = judged.read;
        let missing = std::mem::take(&mut differences.missing);
        let missing_keys: HashSet<&str> = missing
            .iter()
            .map(|missing| missing.entry.key.as_str())
            .collect();
        // What is at the target by now need not be remembered any more.
        self.sent.retain(|key| missing_keys.contains(key.as_str()));
        let new: Vec<Missing> = missing
            .into_iter()
            .filter(|missing| !self.sent.contains(&missing.entry.key))
            .collect();
        let preparing = prepare(pair, new, judged.unfinished);
        let prepared = work.unless_stopped(preparing).await?;
        if self.live.is_none() {
            sweep(work, &prepared.queue).await;
        }
        self.more = differences.cut.is_some();
        let mut found = judged.findings;
        found.extend(findings::vanished(&prepared.vanished));
        found.extend(findings::only(
            &differences.only_keys,
            differences.only,
            differences.source.is_empty(),
        ));
        self.findings = findings::bounded(found);
        (self.on_event)(FollowEvent::Compared {
            compared: Box::new(compared.clone()),
            findings: self.findings.clone(),
        });
        self.compared = Some(compared);
        self.open = prepared.open.iter().cloned().collect();
        self.send(prepared).await;
        self.live = Some(differences.live);
        self.remember_target().await
    }

    /// What lies at the target where new objects appear need not be fed again.
    async fn remember_target(&mut self) -> Result<(), ReplicateError> {
        let Some(live) = &self.live else {
            return Ok(());
        };
        for follow in live.follow(self.open.iter().map(String::as_str)) {
            let store = self.work.pair.target.store();
            let mut entries = store.list_after(&follow.prefix, &follow.after);
            while let Some(entry) = entries.try_next().await? {
                if follow
                    .until
                    .as_ref()
                    .is_some_and(|until| entry.key > *until)
                {
                    break;
                }
                self.sent.insert(entry.key);
            }
        }
        Ok(())
    }

    /// Looks where new objects appear.
    async fn tick(&mut self) -> Result<(), ReplicateError> {
        self.forget_failed();
        let Some(live) = &self.live else {
            return Ok(());
        };
        let pair = &self.work.pair;
        let mut new = Vec::new();
        for follow in live.follow(self.open.iter().map(String::as_str)) {
            let store = pair.source.store();
            let mut entries = store.list_after(&follow.prefix, &follow.after);
            while let Some(entry) = entries.try_next().await? {
                if follow
                    .until
                    .as_ref()
                    .is_some_and(|until| entry.key > *until)
                {
                    break;
                }
                let folder = pair.source.copy_class(&entry.key) == CopyClass::Folder;
                if !folder && !self.sent.contains(&entry.key) {
                    new.push(Missing {
                        entry,
                        vanished: false,
                    });
                }
            }
        }
        if let Some(live) = &mut self.live {
            for missing in &new {
                live.note(&missing.entry.key);
            }
        }
        for missing in &new {
            match pair.source.copy_class(&missing.entry.key) {
                CopyClass::Data { backup }
                | CopyClass::Annotation { backup }
                | CopyClass::Marker { backup } => {
                    self.open.insert(backup);
                }
                _ => {}
            }
        }
        let prepared = prepare(pair, new, Vec::new()).await?;
        self.open
            .retain(|backup| !prepared.queue.marked().contains(backup.as_str()));
        self.send(prepared).await;
        Ok(())
    }

    async fn send(&mut self, prepared: Prepared) {
        self.waiting = prepared.waiting;
        let total = prepared.queue.tallies().total();
        if prepared.queue.is_empty() {
            return;
        }
        self.sent.extend(prepared.queue.keys().map(str::to_owned));
        self.work.meter.expect(total.objects, total.bytes);
        // An engine that is gone has said why.
        let _ = self.sender.send(prepared.queue).await;
    }
}

/// Whether waiting may mend it, before anything was ever seen of the stores.
const fn passes(error: &StorageError) -> bool {
    matches!(error.kind, ErrorKind::Network | ErrorKind::Throttled)
}

/// How long after it was stored at the source an object came to the target.
pub(super) fn delay(stored: DateTime<Utc>) -> Option<Duration> {
    (Utc::now() - stored).to_std().ok()
}
