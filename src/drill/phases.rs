//! The phases of a drill and the clock that times them.

use std::fmt;
use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A stretch of a drill. Every moment of a drill belongs to exactly one phase, so their
/// times add up to the total.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Catalog, choice of backup, look through the WAL, target, limits, binaries.
    Admit,
    /// The scratch directory.
    Provision,
    /// The base backup into the scratch directory, and the server's own configuration.
    FetchBase,
    /// From the server's start to its consistent state.
    ReachConsistency,
    /// From there to the recovery target.
    Replay,
    /// From the target to a server that has left recovery.
    Promote,
    /// Until the first query of a client is answered.
    FirstQuery,
    /// The questions put to the restored database.
    Checks,
    /// Stopping the server and removing the scratch directory.
    TearDown,
}

impl Phase {
    /// Every phase, in the order in which a whole drill passes them.
    pub const ALL: [Self; 9] = [
        Self::Admit,
        Self::Provision,
        Self::FetchBase,
        Self::ReachConsistency,
        Self::Replay,
        Self::Promote,
        Self::FirstQuery,
        Self::Checks,
        Self::TearDown,
    ];

    /// The name in words, for people.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Admit => "admit",
            Self::Provision => "provision",
            Self::FetchBase => "fetch base",
            Self::ReachConsistency => "reach consistency",
            Self::Replay => "replay",
            Self::Promote => "promote",
            Self::FirstQuery => "first query",
            Self::Checks => "checks",
            Self::TearDown => "tear down",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

/// How long a phase took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PhaseTiming {
    /// The phase.
    pub phase: Phase,
    /// When it began (wall clock at the drill's begin plus monotonic time since).
    pub started_at: DateTime<Utc>,
    /// How long it took, in milliseconds of a monotonic clock.
    pub milliseconds: u64,
    /// Whether it came to its own end; `false` where the drill stopped in it.
    pub completed: bool,
}

/// Times phases without gaps: where one ends the next begins. All marks are whole
/// milliseconds since the begin, so durations add up exactly.
#[derive(Debug)]
pub struct PhaseClock {
    started_at: DateTime<Utc>,
    started: Instant,
    current: Option<(Phase, u64)>,
    done: Vec<PhaseTiming>,
}

impl PhaseClock {
    /// Starts the clock in `phase`.
    pub fn start(phase: Phase) -> Self {
        Self {
            started_at: Utc::now(),
            started: Instant::now(),
            current: Some((phase, 0)),
            done: Vec::new(),
        }
    }

    /// When the clock was started.
    pub const fn started_at(&self) -> DateTime<Utc> {
        self.started_at
    }

    /// Milliseconds since the start.
    pub fn elapsed(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The phase under way.
    pub fn current(&self) -> Option<Phase> {
        self.current.map(|(phase, _)| phase)
    }

    fn close(&mut self, now: u64, completed: bool) -> Option<PhaseTiming> {
        let (phase, begin) = self.current.take()?;
        let since = TimeDelta::milliseconds(i64::try_from(begin).unwrap_or(i64::MAX));
        let timing = PhaseTiming {
            phase,
            started_at: self
                .started_at
                .checked_add_signed(since)
                .unwrap_or(self.started_at),
            milliseconds: now.saturating_sub(begin),
            completed,
        };
        self.done.push(timing.clone());
        Some(timing)
    }

    /// Ends the phase under way and begins `next` at the same moment. Returns the ended
    /// one's timing.
    pub fn enter(&mut self, next: Phase, completed: bool) -> Option<PhaseTiming> {
        let now = self.elapsed();
        let closed = self.close(now, completed);
        self.current = Some((next, now));
        closed
    }

    /// Ends the last phase. The sum of all timings is then the total.
    pub fn finish(&mut self, completed: bool) -> Option<PhaseTiming> {
        let now = self.elapsed();
        self.close(now, completed)
    }

    /// The timings so far, in order.
    pub fn timings(&self) -> &[PhaseTiming] {
        &self.done
    }
}

#[cfg(test)]
mod tests {
    use std::thread::sleep;
    use std::time::Duration;

    use super::*;

    #[test]
    fn phases_add_up_and_leave_no_gap() {
        let mut clock = PhaseClock::start(Phase::Admit);
        for phase in Phase::ALL.into_iter().skip(1) {
            sleep(Duration::from_millis(3));
            clock.enter(phase, true);
        }
        clock.finish(true);
        let timings = clock.timings();
        assert_eq!(timings.len(), 9);
        let mut moment = clock.started_at();
        for timing in timings {
            assert_eq!(timing.started_at, moment, "{}", timing.phase);
            moment += TimeDelta::milliseconds(i64::try_from(timing.milliseconds).unwrap());
        }
        assert!(timings[0].milliseconds >= 3);
    }

    #[test]
    fn the_phase_a_drill_stops_in_is_marked() {
        let mut clock = PhaseClock::start(Phase::FetchBase);
        clock.enter(Phase::TearDown, false);
        clock.finish(true);
        let completed: Vec<bool> = clock.timings().iter().map(|t| t.completed).collect();
        assert_eq!(completed, [false, true]);
        assert_eq!(clock.current(), None);
    }
}
