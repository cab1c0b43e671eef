//! How far a long operation is, and how it is stopped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

/// Which stretch of a restore is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Reading the WAL that will be replayed.
    ReadWal,
    /// Fetching the base backup.
    FetchBase,
    /// Flushing it to disk.
    Sync,
}

/// How far a step is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Progress {
    /// The step.
    pub step: Step,
    /// What is done: segments in [`Step::ReadWal`], stored bytes in [`Step::FetchBase`],
    /// files in [`Step::Sync`].
    pub done: u64,
    /// How many there are, where that is known.
    pub total: Option<u64>,
    /// Done per second since the step began.
    pub rate: f64,
    /// The time left at this rate, where the total is known.
    pub left: Option<Duration>,
}

impl Progress {
    /// Rate and time left from what was done in `elapsed`.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a rate for people; 2^53 bytes are exact enough"
    )]
    pub(crate) fn of(step: Step, done: u64, total: Option<u64>, elapsed: Duration) -> Self {
        let rate = done as f64 / elapsed.as_secs_f64().max(0.001);
        let left = total.filter(|_| rate > 0.0).and_then(|total| {
            Duration::try_from_secs_f64(total.saturating_sub(done) as f64 / rate).ok()
        });
        Self {
            step,
            done,
            total,
            rate,
            left,
        }
    }
}

/// Receives progress. Called from several threads, at most about ten times a second.
pub trait ProgressSink: Send + Sync {
    /// A newer state of the step.
    fn progress(&self, progress: &Progress);
}

/// Progress that nobody watches.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unwatched;

impl ProgressSink for Unwatched {
    fn progress(&self, _: &Progress) {}
}

/// A wish to stop, shared by everything that takes part. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Cancel {
    wished: Arc<AtomicBool>,
    /// The wider operation, whose end is this one's too.
    parent: Option<Arc<Cancel>>,
}

impl Cancel {
    /// A wish not yet uttered.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks everything to stop soon.
    pub fn cancel(&self) {
        self.wished.store(true, Ordering::SeqCst);
    }

    /// Whether to stop.
    pub fn is_cancelled(&self) -> bool {
        self.wished.load(Ordering::SeqCst) || self.parent.as_deref().is_some_and(Self::is_cancelled)
    }

    /// Waits for the wish, to within a tenth of a second.
    pub(crate) async fn cancelled(&self) {
        while !self.is_cancelled() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// A wish of its own that also follows this one.
    pub(crate) fn child(&self) -> Self {
        Self {
            wished: Arc::default(),
            parent: Some(Arc::new(self.clone())),
        }
    }
}

/// Who watches a long operation and who may stop it.
#[derive(Clone)]
pub struct Watch {
    /// Receives progress.
    pub sink: Arc<dyn ProgressSink>,
    /// Stops the operation.
    pub cancel: Cancel,
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            sink: Arc::new(Unwatched),
            cancel: Cancel::new(),
        }
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch")
            .field("cancel", &self.cancel)
            .finish_non_exhaustive()
    }
}

/// Counts one step from several threads and tells the sink now and then.
pub(crate) struct Meter {
    watch: Watch,
    step: Step,
    total: Option<u64>,
    begun: Instant,
    done: AtomicU64,
    told_millis: AtomicU64,
}

impl Meter {
    const EVERY_MILLIS: u64 = 100;

    /// A step that begins now.
    pub(crate) fn new(watch: &Watch, step: Step, total: Option<u64>) -> Self {
        Self {
            watch: watch.clone(),
            step,
            total,
            begun: Instant::now(),
            done: AtomicU64::new(0),
            told_millis: AtomicU64::new(0),
        }
    }

    /// Counts more.
    pub(crate) fn add(&self, amount: u64) {
        let done = self.done.fetch_add(amount, Ordering::Relaxed) + amount;
        let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let told = self.told_millis.load(Ordering::Relaxed);
        if now.saturating_sub(told) >= Self::EVERY_MILLIS
            && self
                .told_millis
                .compare_exchange(told, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        {
            self.tell(done);
        }
    }

    /// What was counted so far.
    #[cfg(test)]
    pub(crate) fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Tells the sink the final state.
    pub(crate) fn finish(&self) {
        self.tell(self.done.load(Ordering::Relaxed));
    }

    fn tell(&self, done: u64) {
        let progress = Progress::of(self.step, done, self.total, self.begun.elapsed());
        self.watch.sink.progress(&progress);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn rate_and_time_left_follow_from_what_is_done() {
        let progress = Progress::of(Step::FetchBase, 50, Some(200), Duration::from_secs(5));
        assert!((progress.rate - 10.0).abs() < 1e-9);
        assert_eq!(progress.left, Some(Duration::from_secs(15)));
        let nothing = Progress::of(Step::FetchBase, 0, Some(200), Duration::from_secs(5));
        assert_eq!(nothing.left, None);
        let unknown = Progress::of(Step::ReadWal, 50, None, Duration::from_secs(5));
        assert_eq!(unknown.left, None);
    }

    struct Last(Mutex<Option<Progress>>);

    impl ProgressSink for Last {
        fn progress(&self, progress: &Progress) {
            *self.0.lock().unwrap() = Some(*progress);
        }
    }

    #[test]
    fn the_final_state_is_always_told() {
        let last = Arc::new(Last(Mutex::new(None)));
        let watch = Watch {
            sink: last.clone(),
            cancel: Cancel::new(),
        };
        let meter = Meter::new(&watch, Step::Sync, Some(3));
        for _ in 0..3 {
            meter.add(1);
        }
        meter.finish();
        let told = last.0.lock().unwrap().unwrap();
        assert_eq!((told.done, told.total), (3, Some(3)));
    }

    #[test]
    fn a_wish_to_stop_reaches_every_clone_and_child_and_no_parent() {
        let cancel = Cancel::new();
        let (other, child) = (cancel.clone(), cancel.child());
        child.cancel();
        assert!(child.is_cancelled() && !cancel.is_cancelled());
        let second = cancel.child();
        assert!(!other.is_cancelled() && !second.is_cancelled());
        cancel.cancel();
        assert!(other.is_cancelled() && second.is_cancelled());
    }
}
