//! A limit on bytes per second.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::config::Bandwidth;

/// How much may go at once after a pause.
const BURST: Duration = Duration::from_millis(250);

/// Lets so many bytes per second through, over all who ask.
#[derive(Debug)]
struct Bucket {
    bytes_per_second: f64,
    /// When what was let through so far is paid for.
    paid: Mutex<Instant>,
}

impl Bucket {
    fn new(bandwidth: Bandwidth) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a rate need not be exact")]
        let bytes_per_second = bandwidth.bytes_per_second() as f64;
        Self {
            bytes_per_second,
            paid: Mutex::new(Instant::now()),
        }
    }

    /// How long to wait until so many bytes may go.
    fn wait(&self, bytes: usize, now: Instant) -> Duration {
        #[expect(clippy::cast_precision_loss, reason = "a rate need not be exact")]
        let cost = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second);
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        let begin = (*paid).max(earliest);
        *paid = begin + cost;
        begin.saturating_duration_since(now)
    }
}

/// A budget of bytes per second that several runs share. Cheap to clone; clones share it.
#[derive(Clone, Debug)]
pub struct SharedBandwidth(Arc<Bucket>);

impl SharedBandwidth {
    /// A budget of this rate.
    pub fn new(bandwidth: Bandwidth) -> Self {
        Self(Arc::new(Bucket::new(bandwidth)))
    }
}

/// Lets a run's bytes through as its own limit and the shared budget allow; or everything.
#[derive(Debug)]
pub(super) struct Limit {
    own: Option<Bucket>,
    shared: Option<SharedBandwidth>,
}

impl Limit {
    pub(super) fn new(bandwidth: Option<Bandwidth>, shared: Option<SharedBandwidth>) -> Self {
        Self {
            own: bandwidth.map(Bucket::new),
            shared,
        }
    }

    /// Waits until so many bytes may go.
    pub(super) async fn take(&self, bytes: usize) {
        let wait = self.wait(bytes, Instant::now());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }

    fn wait(&self, bytes: usize, now: Instant) -> Duration {
        let buckets = self
            .own
            .iter()
            .chain(self.shared.iter().map(|shared| &*shared.0));
        buckets
            .map(|bucket| bucket.wait(bytes, now))
            .max()
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_holds_over_all_who_ask() {
        let limit = Limit::new(Some("1MB/s".parse().unwrap()), None);
        let begin = Instant::now();
        let mut last = Duration::ZERO;
        for _ in 0..100 {
            last = limit.wait(100_000, begin);
        }
        // Ten megabytes, of which a burst goes at once.
        assert!(last > Duration::from_millis(9_500), "{last:?}");
        assert!(last < Duration::from_secs(10), "{last:?}");
        // What was not used long ago is no credit.
        let later = begin + Duration::from_mins(10);
        assert_eq!(limit.wait(250_000, later), Duration::ZERO);
        assert_eq!(limit.wait(1, later), Duration::ZERO);
        assert!(limit.wait(1_000_000, later) < Duration::from_millis(2));
        assert!(limit.wait(1, later) > Duration::from_millis(990));
    }

    #[test]
    fn without_a_limit_nobody_waits() {
        let limit = Limit::new(None, None);
        assert_eq!(limit.wait(usize::MAX, Instant::now()), Duration::ZERO);
    }

    #[test]
    fn a_shared_budget_holds_over_all_runs() {
        let shared = SharedBandwidth::new("1MB/s".parse().unwrap());
        let own = "100MB/s".parse().unwrap();
        let runs = [
            Limit::new(Some(own), Some(shared.clone())),
            Limit::new(None, Some(shared)),
        ];
        let begin = Instant::now();
        let mut last = Duration::ZERO;
        for _ in 0..50 {
            for run in &runs {
                last = run.wait(100_000, begin);
            }
        }
        assert!(last > Duration::from_millis(9_500), "{last:?}");
        assert!(last < Duration::from_secs(10), "{last:?}");
        // Alone it would have gone at its own rate.
        let alone = Limit::new(Some(own), None);
        for _ in 0..50 {
            last = alone.wait(100_000, begin);
        }
        assert!(last < Duration::from_millis(100), "{last:?}");
    }
}
