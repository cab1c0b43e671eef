//! A limit on bytes per second.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::config::Bandwidth;

/// How much may go at once after a pause.
const BURST: Duration = Duration::from_millis(250);

/// Lets so many bytes per second through, over all who ask; or everything.
#[derive(Debug)]
pub(super) struct Limit {
    bytes_per_second: Option<f64>,
    /// When what was let through so far is paid for.
    paid: Mutex<Instant>,
}

impl Limit {
    pub(super) fn new(bandwidth: Option<Bandwidth>) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a rate need not be exact")]
        let bytes_per_second = bandwidth.map(|bandwidth| bandwidth.bytes_per_second() as f64);
        Self {
            bytes_per_second,
            paid: Mutex::new(Instant::now()),
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
        let Some(rate) = self.bytes_per_second else {
            return Duration::ZERO;
        };
        #[expect(clippy::cast_precision_loss, reason = "a rate need not be exact")]
        let cost = Duration::from_secs_f64(bytes as f64 / rate);
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        let begin = (*paid).max(earliest);
        *paid = begin + cost;
        begin.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_holds_over_all_who_ask() {
        let limit = Limit::new(Some("1MB/s".parse().unwrap()));
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
        let limit = Limit::new(None);
        assert_eq!(limit.wait(usize::MAX, Instant::now()), Duration::ZERO);
    }
}
