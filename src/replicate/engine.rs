//! Working off a queue, so many objects at once.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::Utc;
use tokio::task::JoinSet;

use super::copy::{Done, Work};
use super::queue::{self, Lane, MarkerItem, Queue};
use super::{CopiedReport, Ended, Failure, ReplicateError, Waiting};
use crate::finding::Finding;
use crate::storage::{ErrorKind, StorageError};

/// After so many failures one after the other it is not the objects.
const FAILURES: usize = 8;

/// How many failures are told.
const TOLD: usize = 100;

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
    /// Keys that are at the target now, if asked for.
    pub(super) keys: Vec<String>,
    /// Backups whose marker still waits.
    pub(super) open: BTreeSet<String>,
}

enum Task {
    Object(Lane, String, u64),
    Marker(MarkerItem),
}

/// Works off a queue. What could not be begun stays in it.
pub(super) async fn work_off(
    work: &Arc<Work>,
    queue: &mut Queue,
) -> Result<(Worked, Ended), ReplicateError> {
    let parallel = work.options.parallel.max(1);
    let mut engine = Engine {
        work,
        worked: Worked::default(),
        in_a_row: 0,
        failed: None,
        begun: 0,
        rounds: std::collections::HashMap::new(),
    };
    let mut tasks: JoinSet<(Task, Result<Done, ReplicateError>)> = JoinSet::new();
    let mut stop = work.stop.clone();
    let mut ended = Ended::Complete;
    loop {
        while tasks.len() < parallel {
            if let Some(reason) = engine.must_end() {
                ended = reason;
                break;
            }
            let Some(next) = queue.next(parallel) else {
                break;
            };
            engine.begun += 1;
            let work = Arc::clone(work);
            match next {
                queue::Work::Object(item, lane) => tasks.spawn(async move {
                    let result = work.copy(&item.key).await.map_err(ReplicateError::from);
                    (Task::Object(lane, item.key, item.size), result)
                }),
                queue::Work::Marker(item) => tasks.spawn(async move {
                    let result = work.copy_marker(&item).await;
                    (Task::Marker(item), result)
                }),
            };
        }
        let Some(joined) = tasks.join_next().await else {
            break;
        };
        let (task, result) = joined?;
        engine.take(task, result, queue)?;
    }
    if queue.is_empty() && matches!(ended, Ended::Limited) {
        ended = Ended::Complete;
    }
    // A stop that came when nothing was left to begin is still one.
    if *stop.borrow_and_update() && !queue.is_empty() {
        ended = Ended::Interrupted;
    }
    if let Some(error) = engine.failed {
        ended = Ended::Failed {
            error: error.to_string(),
        };
    }
    Ok((engine.worked, ended))
}

struct Engine<'a> {
    work: &'a Work,
    worked: Worked,
    in_a_row: usize,
    failed: Option<StorageError>,
    begun: u64,
    /// How often each backup had more objects than were listed.
    rounds: std::collections::HashMap<String, usize>,
}

impl Engine<'_> {
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
        let (key, size) = match &task {
            Task::Object(lane, key, size) => {
                queue.done(lane);
                (key.clone(), *size)
            }
            Task::Marker(item) => {
                queue.marker_done();
                (item.key.clone(), item.size)
            }
        };
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
                self.worked.keys.push(key);
                self.work.meter.done();
            }
            Done::There => {
                self.worked.copied.there_already += 1;
                self.worked.keys.push(key);
                self.work.meter.done();
            }
            Done::Gone => self.worked.copied.gone += 1,
            Done::Wrong(finding) => self.worked.findings.push(finding),
            Done::Waits(reason) => self.wait(&task, key, reason),
            Done::More(more) => self.more(task, more, queue),
            Done::Stopped => match task {
                Task::Object(lane, key, _) => queue.give_back(lane, key, size),
                Task::Marker(item) => queue.add_marker(item),
            },
        }
        Ok(())
    }

    fn count(&mut self, task: &Task, copied: &super::copy::Copied) {
        let report = &mut self.worked.copied;
        match task {
            Task::Object(lane, ..) => report.by_kind.add(lane, copied.bytes),
            Task::Marker(_) => report.by_kind.markers.add(copied.bytes),
        }
        report.acknowledged += u64::from(copied.acknowledged.is_some());
        if copied.read_back {
            report.read_back.add(copied.bytes);
        }
    }

    fn wait(&mut self, task: &Task, object: String, reason: String) {
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
