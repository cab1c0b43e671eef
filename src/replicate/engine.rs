//! Working off a queue, so many objects at once.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use chrono::Utc;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::copy::{Done, Work};
use super::follow::{FollowEvent, Forget, OnFollowEvent, delay};
use super::queue::{self, Lane, MarkerItem, Queue, Tallies};
use super::{CopiedReport, Ended, Failure, ReplicateError, Waiting};
use crate::finding::Finding;
use crate::storage::{ErrorKind, StorageError};

/// After so many failures one after the other it is not the objects.
const FAILURES: usize = 8;

/// How many failures are told.
const TOLD: usize = 100;

/// How long what is under way may take once the run is asked to stop.
const GRACE: Duration = Duration::from_secs(4);

/// How often a backup may turn out to have more objects before its marker waits for the
/// next run.
const ROUNDS: usize = 3;

/// What came of working off a queue.
#[derive(Debug, Default)]
pub(super) struct Worked {
    pub(super) copied: CopiedReport,
    pub(super) waiting: Vec<Waiting>,
    pub(super) failures: Vec<Failure>,
    pub(super) findings: Vec<Finding>,
    /// Backups whose marker still waits.
    pub(super) open: BTreeSet<String>,
}

enum Task {
    Object(Lane, String),
    Marker(MarkerItem),
}

/// What feeds an engine that does not end by itself.
pub(super) struct Feed {
    receiver: mpsc::Receiver<Queue>,
    forget: Forget,
    on_event: OnFollowEvent,
    /// Until when nothing is begun, because a store failed.
    pause: Option<(Instant, Duration)>,
    /// What was copied since the last time that nothing was left.
    since: Tallies,
    newest: Option<(String, Option<Duration>)>,
}

/// How long to wait after a failure of a store, at least and at most.
const PAUSE: Duration = Duration::from_secs(2);
const LONG_PAUSE: Duration = Duration::from_mins(1);

/// How long to wait before a time of day is looked at again.
const WINDOW: Duration = Duration::from_secs(10);

impl Feed {
    pub(super) fn new(
        receiver: mpsc::Receiver<Queue>,
        forget: Forget,
        on_event: OnFollowEvent,
    ) -> Self {
        Self {
            receiver,
            forget,
            on_event,
            pause: None,
            since: Tallies::default(),
            newest: None,
        }
    }

    /// Tells that nothing is left to copy.
    fn up_to_date(&mut self) {
        if let Some((newest, delay)) = self.newest.take() {
            (self.on_event)(FollowEvent::UpToDate {
                copied: std::mem::take(&mut self.since),
                newest,
                delay,
            });
        }
    }

    fn is_paused(&mut self) -> bool {
        match self.pause {
            Some((until, _)) => Instant::now() < until,
            None => false,
        }
    }

    fn fail(&mut self, error: &StorageError) {
        let length = match self.pause {
            Some((_, length)) => (length * 2).min(LONG_PAUSE),
            None => PAUSE,
        };
        self.pause = Some((Instant::now() + length, length));
        (self.on_event)(FollowEvent::Trouble {
            error: error.to_string(),
            pause: length,
        });
    }

    fn forget(&self, key: &str) {
        let mut forget = self.forget.lock().unwrap_or_else(PoisonError::into_inner);
        forget.insert(key.to_owned());
    }
}

type Tasks = JoinSet<(Task, Result<Done, ReplicateError>)>;

/// Works off a queue, and whatever it is fed until nobody feeds it any more. What could not
/// be begun stays in the queue.
pub(super) async fn work_off(
    work: &Arc<Work>,
    queue: &mut Queue,
    feed: Option<Feed>,
) -> Result<(Worked, Ended), ReplicateError> {
    let mut engine = Engine {
        work,
        worked: Worked::default(),
        in_a_row: 0,
        failed: None,
        begun: 0,
        rounds: HashMap::new(),
        under_way: HashMap::new(),
        feed,
    };
    let mut tasks: Tasks = JoinSet::new();
    let mut stop = work.stop.clone();
    let ended = loop {
        let reason = engine.begin(queue, &mut tasks);
        let idle = tasks.is_empty();
        let asked = work.is_asked_to_stop();
        if asked || engine.failed.is_some() {
            engine.finish(queue, &mut tasks).await?;
            break Ended::Interrupted;
        }
        let Some(feed) = &mut engine.feed else {
            if idle {
                break reason.unwrap_or(Ended::Complete);
            }
            tokio::select! {
                Some(joined) = tasks.join_next() => {
                    let (task, result) = joined?;
                    engine.take(task, result, queue)?;
                }
                Ok(()) = async { stop.wait_for(|asked| *asked).await.map(|_| ()) } => {}
            }
            continue;
        };
        if idle && queue.is_empty() {
            feed.up_to_date();
        }
        // What waits for a pause or a time of day is looked at again after a while.
        let wait = match feed.pause {
            Some((until, _)) if !queue.is_empty() => {
                until.saturating_duration_since(Instant::now())
            }
            _ => WINDOW,
        };
        tokio::select! {
            Some(joined) = tasks.join_next(), if !idle => {
                let (task, result) = joined?;
                engine.take(task, result, queue)?;
            }
            fed = feed.receiver.recv() => {
                let Some(more) = fed else {
                    engine.finish(queue, &mut tasks).await?;
                    break Ended::Interrupted;
                };
                queue.merge(more);
            }
            Ok(()) = async { stop.wait_for(|asked| *asked).await.map(|_| ()) } => {}
            () = tokio::time::sleep(wait) => {}
        }
    };
    let mut ended = ended;
    if queue.is_empty() && !matches!(ended, Ended::Failed { .. }) {
        ended = Ended::Complete;
    }
    if let Some(error) = engine.failed {
        ended = Ended::Failed {
            error: error.to_string(),
        };
    }
    Ok((engine.worked, ended))
}

struct Engine<'a> {
    work: &'a Arc<Work>,
    worked: Worked,
    in_a_row: usize,
    failed: Option<StorageError>,
    begun: u64,
    /// How often each backup had more objects than were listed.
    rounds: HashMap<String, usize>,
    /// What was begun and is not done.
    under_way: HashMap<String, queue::Work>,
    feed: Option<Feed>,
}

impl Engine<'_> {
    /// Lets what is under way come to its end, for a short while; the rest is given up and
    /// goes back. Nothing of it is visible at the target.
    async fn finish(&mut self, queue: &mut Queue, tasks: &mut Tasks) -> Result<(), ReplicateError> {
        let deadline = Instant::now() + GRACE;
        while let Ok(Some(joined)) = tokio::time::timeout_at(deadline, tasks.join_next()).await {
            let (task, result) = joined?;
            self.take(task, result, queue)?;
        }
        tasks.shutdown().await;
        for (_, begun) in self.under_way.drain() {
            queue.give_back(begun);
        }
        queue.sort();
        Ok(())
    }

    /// Begins as much as may be; gives why nothing more may.
    fn begin(&mut self, queue: &mut Queue, tasks: &mut Tasks) -> Option<Ended> {
        let parallel = self.work.options.parallel.max(1);
        while tasks.len() < parallel {
            if let Some(reason) = self.must_end() {
                return Some(reason);
            }
            if self.feed.as_mut().is_some_and(Feed::is_paused) {
                return None;
            }
            let next = queue.next(parallel)?;
            self.begun += 1;
            let work = Arc::clone(self.work);
            self.under_way.insert(next.key().to_owned(), next.clone());
            match next {
                queue::Work::Object(item, lane) => tasks.spawn(async move {
                    let result = work.copy(&item.key, item.size).await;
                    let result = result.map_err(ReplicateError::from);
                    (Task::Object(lane, item.key), result)
                }),
                queue::Work::Marker(item) => tasks.spawn(async move {
                    let result = work.copy_marker(&item).await;
                    (Task::Marker(item), result)
                }),
            };
        }
        None
    }

    /// Why nothing more may be begun.
    fn must_end(&self) -> Option<Ended> {
        if self.failed.is_some() {
            // Told at the end, with its words.
            return Some(Ended::Interrupted);
        }
        if self.work.is_asked_to_stop() {
            return Some(Ended::Interrupted);
        }
        let options = &self.work.options;
        if options.max_objects.is_some_and(|most| self.begun >= most) {
            return Some(Ended::Limited);
        }
        let closed = options
            .window
            .is_some_and(|window| !window.contains(Utc::now()));
        closed.then_some(Ended::WindowClosed)
    }

    fn take(
        &mut self,
        task: Task,
        result: Result<Done, ReplicateError>,
        queue: &mut Queue,
    ) -> Result<(), ReplicateError> {
        let key = match &task {
            Task::Object(lane, key) => {
                queue.done(lane);
                key.clone()
            }
            Task::Marker(item) => {
                queue.marker_done();
                item.key.clone()
            }
        };
        let begun = self.under_way.remove(&key);
        let done = match result {
            Ok(done) => done,
            Err(ReplicateError::Storage(error)) => {
                self.failure(&task, &key, error);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        self.in_a_row = 0;
        match done {
            Done::Copied(copied) => {
                self.count(&task, &copied);
                if let Some(feed) = &mut self.feed {
                    feed.pause = None;
                    feed.newest = Some((key, delay(copied.stored)));
                }
                self.work.meter.done();
            }
            Done::There => {
                self.worked.copied.there_already += 1;
                self.work.meter.done();
            }
            Done::Gone => self.worked.copied.gone += 1,
            Done::Wrong(finding) => {
                if self.worked.findings.len() < TOLD * 10 {
                    self.worked.findings.push(finding);
                }
            }
            Done::Waits(reason) => self.wait(&task, key, reason),
            Done::More(more) => self.more(task, more, queue),
            Done::Stopped => {
                if let Some(begun) = begun {
                    queue.give_back(begun);
                }
            }
        }
        Ok(())
    }

    fn count(&mut self, task: &Task, copied: &super::copy::Copied) {
        let report = &mut self.worked.copied;
        match task {
            Task::Object(lane, ..) => report.by_kind.add(lane, copied.bytes),
            Task::Marker(_) => report.by_kind.markers.add(copied.bytes),
        }
        if let Some(feed) = &mut self.feed {
            match task {
                Task::Object(lane, ..) => feed.since.add(lane, copied.bytes),
                Task::Marker(_) => feed.since.markers.add(copied.bytes),
            }
        }
        report.acknowledged += u64::from(copied.acknowledged.is_some());
        if copied.read_back {
            report.read_back.add(copied.bytes);
        }
    }

    fn wait(&mut self, task: &Task, object: String, reason: String) {
        if let Some(feed) = &self.feed {
            // It is looked at again soon.
            feed.forget(&object);
            return;
        }
        if let Task::Marker(item) = task {
            self.worked.open.insert(item.backup.clone());
        }
        self.worked.waiting.push(Waiting { object, reason });
    }

    /// A backup has more objects than were listed: they go first.
    fn more(&mut self, task: Task, more: Vec<crate::storage::ObjectEntry>, queue: &mut Queue) {
        let Task::Marker(item) = task else { return };
        let rounds = self.rounds.entry(item.backup.clone()).or_default();
        *rounds += 1;
        if *rounds > ROUNDS {
            let reason = "objects of it could not be copied".to_owned();
            let key = item.key.clone();
            self.wait(&Task::Marker(item), key, reason);
            return;
        }
        let bytes = more.iter().map(|entry| entry.size).sum();
        self.work.meter.expect(more.len() as u64, bytes);
        for entry in more {
            queue.add(self.work.pair.source.copy_class(&entry.key), entry);
        }
        queue.add_marker(item);
    }

    fn failure(&mut self, task: &Task, key: &str, error: StorageError) {
        self.in_a_row += 1;
        if let Some(feed) = &mut self.feed {
            feed.forget(key);
            if !concerns_object(&error) || self.in_a_row >= FAILURES {
                feed.fail(&error);
            }
            return;
        }
        if let Task::Marker(item) = task {
            self.worked.open.insert(item.backup.clone());
        }
        if self.worked.failures.len() < TOLD {
            self.worked.failures.push(Failure::new(key, &error));
        }
        if !concerns_object(&error) || self.in_a_row >= FAILURES {
            self.failed.get_or_insert(error);
        }
    }
}

/// Whether a failure is one of a single object: others may go on.
pub(super) const fn concerns_object(error: &StorageError) -> bool {
    matches!(
        error.kind,
        ErrorKind::NotFound
            | ErrorKind::Changed
            | ErrorKind::TooLarge
            | ErrorKind::Exists
            | ErrorKind::Damaged
            | ErrorKind::Denied
            | ErrorKind::Other
    )
}
