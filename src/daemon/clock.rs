//! Where the daemon takes time from: the system, or a simulation that makes a month pass in
//! minutes.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

/// A sleep that gives an [`Awake`] when it ends.
pub type Sleep = Pin<Box<dyn Future<Output = Awake> + Send>>;

/// Where the daemon takes time from.
///
/// Safety never rests on it: what may be written is decided by fencing tokens.
pub trait Clock: Send + Sync {
    /// The moment.
    fn now(&self) -> DateTime<Utc>;

    /// Ends at this moment, at once if it has passed.
    fn sleep_until(&self, moment: DateTime<Utc>) -> Sleep;

    /// Says that something is being done. Simulated time stands still meanwhile; to the
    /// system's clock it means nothing.
    fn awake(&self) -> Awake {
        Awake(None)
    }

    /// Adds this to the system's time from now on: how far the clock of the state database,
    /// which all daemons share, is ahead of this one.
    fn put_right(&self, _offset: TimeDelta) {}

    /// Ends after this long.
    fn sleep(&self, duration: Duration) -> Sleep {
        let moment = TimeDelta::from_std(duration)
            .ok()
            .and_then(|duration| self.now().checked_add_signed(duration))
            .unwrap_or(DateTime::<Utc>::MAX_UTC);
        self.sleep_until(moment)
    }
}

/// Somebody is doing something: as long as one of these is held, simulated time stands
/// still. Hand it on with what is handed on.
#[derive(Debug)]
#[must_use = "simulated time goes on when it is dropped"]
pub struct Awake(Option<Weak<Mutex<Simulated>>>);

impl Drop for Awake {
    fn drop(&mut self) {
        if let Some(simulated) = self.0.take().and_then(|weak| weak.upgrade()) {
            let mut inner = lock(&simulated);
            inner.awake = inner.awake.saturating_sub(1);
            let wakers = inner.advance();
            drop(inner);
            wakers.into_iter().for_each(Waker::wake);
        }
    }
}

/// The system's clock, put right by what the state database's clock says. Cheap to clone;
/// clones are the same clock.
#[derive(Clone, Debug, Default)]
pub struct SystemClock {
    /// Milliseconds that are added to the system's time.
    offset: Arc<AtomicI64>,
}

impl Clock for SystemClock {
    fn now(&self) -> DateTime<Utc> {
        let now = Utc::now();
        let offset = TimeDelta::milliseconds(self.offset.load(Ordering::Relaxed));
        now.checked_add_signed(offset).unwrap_or(now)
    }

    fn put_right(&self, offset: TimeDelta) {
        self.offset
            .store(offset.num_milliseconds(), Ordering::Relaxed);
    }

    fn sleep_until(&self, moment: DateTime<Utc>) -> Sleep {
        let left = (moment - self.now()).to_std().unwrap_or(Duration::ZERO);
        Box::pin(async move {
            tokio::time::sleep(left).await;
            Awake(None)
        })
    }
}

/// A clock that jumps to the next moment somebody sleeps for as soon as nobody is awake.
/// Cheap to clone; clones are the same clock.
#[derive(Clone, Debug)]
pub struct SimulatedClock(Arc<Mutex<Simulated>>);

#[derive(Debug)]
struct Simulated {
    now: DateTime<Utc>,
    awake: usize,
    /// Sleepers by moment and number; those behind `now` have been woken.
    sleepers: BTreeMap<(DateTime<Utc>, u64), Sleeper>,
    number: u64,
}

#[derive(Debug, Default)]
struct Sleeper {
    waker: Option<Waker>,
    woken: bool,
}

fn lock(simulated: &Mutex<Simulated>) -> MutexGuard<'_, Simulated> {
    // Nothing panics while it is held.
    simulated.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Simulated {
    /// Wakes everybody of the next moment, if nobody is awake. Each counts as awake from now
    /// on, so that time stands still until it has done its work.
    fn advance(&mut self) -> Vec<Waker> {
        let mut wakers = Vec::new();
        if self.awake > 0 {
            return wakers;
        }
        let Some(next) = self
            .sleepers
            .iter()
            .find(|(_, sleeper)| !sleeper.woken)
            .map(|((moment, _), _)| *moment)
        else {
            return wakers;
        };
        self.now = self.now.max(next);
        let now = self.now;
        for ((moment, _), sleeper) in &mut self.sleepers {
            if *moment > now {
                break;
            }
            if !sleeper.woken {
                sleeper.woken = true;
                self.awake += 1;
                wakers.extend(sleeper.waker.take());
            }
        }
        wakers
    }
}

impl SimulatedClock {
    /// A clock that stands at this moment.
    pub fn at(now: DateTime<Utc>) -> Self {
        Self(Arc::new(Mutex::new(Simulated {
            now,
            awake: 0,
            sleepers: BTreeMap::new(),
            number: 0,
        })))
    }
}

impl Clock for SimulatedClock {
    fn now(&self) -> DateTime<Utc> {
        lock(&self.0).now
    }

    fn sleep_until(&self, moment: DateTime<Utc>) -> Sleep {
        // It counts from here on, so that whoever is awake can drop that afterwards.
        let mut inner = lock(&self.0);
        inner.number += 1;
        let key = (moment, inner.number);
        inner.sleepers.insert(key, Sleeper::default());
        Box::pin(SimulatedSleep {
            clock: Arc::clone(&self.0),
            key,
            over: false,
        })
    }

    fn awake(&self) -> Awake {
        lock(&self.0).awake += 1;
        Awake(Some(Arc::downgrade(&self.0)))
    }
}

struct SimulatedSleep {
    clock: Arc<Mutex<Simulated>>,
    key: (DateTime<Utc>, u64),
    over: bool,
}

impl Future for SimulatedSleep {
    type Output = Awake;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Awake> {
        let clock = Arc::clone(&self.clock);
        let mut inner = lock(&clock);
        let key = self.key;
        let mut wakers = Vec::new();
        // Waiting may be what lets time go on, up to this very sleep.
        for _ in 0..2 {
            let sleeper = inner.sleepers.entry(key).or_default();
            if sleeper.woken {
                inner.sleepers.remove(&key);
                self.over = true;
                drop(inner);
                wakers.into_iter().for_each(Waker::wake);
                // It has been counted as awake since it was woken.
                return Poll::Ready(Awake(Some(Arc::downgrade(&clock))));
            }
            sleeper.waker = Some(context.waker().clone());
            wakers.extend(inner.advance());
        }
        drop(inner);
        wakers.into_iter().for_each(Waker::wake);
        Poll::Pending
    }
}

impl Drop for SimulatedSleep {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let mut inner = lock(&self.clock);
        let mut wakers = Vec::new();
        if let Some(sleeper) = inner.sleepers.remove(&self.key)
            && sleeper.woken
        {
            // Woken, and dropped before it could say so.
            inner.awake = inner.awake.saturating_sub(1);
            wakers = inner.advance();
        }
        drop(inner);
        wakers.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> DateTime<Utc> {
        "2026-11-22T04:00:00Z".parse().unwrap()
    }

    #[tokio::test]
    async fn simulated_time_jumps_from_sleeper_to_sleeper() {
        let clock = SimulatedClock::at(start());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let tasks: Vec<_> = [3_u64, 1, 2]
            .into_iter()
            .map(|hours| {
                let (clock, seen) = (clock.clone(), Arc::clone(&seen));
                let mut awake = clock.awake();
                tokio::spawn(async move {
                    for _ in 0..3 {
                        let sleep = clock.sleep(Duration::from_hours(hours));
                        drop(awake);
                        awake = sleep.await;
                        let now = clock.now();
                        // Time stands still although others sleep.
                        tokio::task::yield_now().await;
                        tokio::time::sleep(Duration::from_millis(1)).await;
                        assert_eq!(clock.now(), now);
                        seen.lock()
                            .unwrap()
                            .push(((now - start()).num_hours(), hours));
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let mut seen = seen.lock().unwrap().clone();
        let order: Vec<i64> = seen.iter().map(|(hour, _)| *hour).collect();
        assert!(order.is_sorted(), "{order:?}");
        seen.sort_unstable();
        assert_eq!(
            seen,
            [
                (1, 1),
                (2, 1),
                (2, 2),
                (3, 1),
                (3, 3),
                (4, 2),
                (6, 2),
                (6, 3),
                (9, 3)
            ]
        );
        assert_eq!((clock.now() - start()).num_hours(), 9);
    }

    #[tokio::test]
    async fn a_sleep_that_is_given_up_holds_nobody() {
        let clock = SimulatedClock::at(start());
        for _ in 0..3 {
            tokio::select! {
                biased;
                _awake = clock.sleep(Duration::from_hours(1)) => {}
                _awake = clock.sleep(Duration::from_hours(2)) => unreachable!("the first is earlier"),
            }
        }
        assert_eq!((clock.now() - start()).num_hours(), 3);
        assert!(lock(&clock.0).sleepers.is_empty());
        assert_eq!(lock(&clock.0).awake, 0);
    }

    #[tokio::test]
    async fn the_systems_clock_can_be_put_right() {
        let ahead = SystemClock::default();
        ahead.put_right(TimeDelta::hours(1));
        assert!(ahead.now() > Utc::now() + TimeDelta::minutes(59));
        let _awake = ahead.sleep_until(Utc::now()).await;
    }
}
