//! How long the phases of drills took that ended since the process started, read from the
//! records of the ledger: every daemon of a state counts the drills of all of them, so
//! dashboards take the largest of several daemons, not their sum.
//!
//! Bounded: a histogram per tier and phase.

use std::collections::BTreeMap;

use crate::drill::Phase;

/// Upper limits of the buckets, in seconds: from what a small database takes to half a day.
const LIMITS: [f64; 14] = [
    0.1, 0.5, 1.0, 5.0, 15.0, 30.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0, 43200.0,
];

/// Durations in buckets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Durations {
    milliseconds: u64,
    count: u64,
    /// Per limit, and beyond them.
    buckets: [u64; LIMITS.len() + 1],
}

impl Durations {
    /// Adds one, in milliseconds.
    pub fn observe(&mut self, milliseconds: u64) {
        self.milliseconds = self.milliseconds.saturating_add(milliseconds);
        self.count += 1;
        let seconds = std::time::Duration::from_millis(milliseconds).as_secs_f64();
        let index = LIMITS.partition_point(|limit| *limit < seconds);
        if let Some(bucket) = self.buckets.get_mut(index) {
            *bucket += 1;
        }
    }

    /// All together, in seconds.
    pub const fn sum(&self) -> f64 {
        std::time::Duration::from_millis(self.milliseconds).as_secs_f64()
    }

    /// How many.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// How many are in each bucket alone, with its upper limit in seconds.
    pub fn buckets(&self) -> Vec<(f64, u64)> {
        LIMITS
            .into_iter()
            .chain([f64::INFINITY])
            .zip(self.buckets)
            .collect()
    }
}

/// Drills that ended since the process started.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    phases: BTreeMap<(String, Phase), Durations>,
}

impl Tally {
    /// A phase of a drill of a cluster of this tier ended.
    pub fn phase(&mut self, tier: &str, phase: Phase, milliseconds: u64) {
        self.phases
            .entry((tier.to_owned(), phase))
            .or_default()
            .observe(milliseconds);
    }

    pub(super) fn durations(&self, tier: &str, phase: Phase) -> Option<&Durations> {
        self.phases.get(&(tier.to_owned(), phase))
    }

    pub(super) fn tiers(&self) -> impl Iterator<Item = &str> {
        self.phases.keys().map(|(tier, _)| tier.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_into_the_bucket_whose_limit_it_does_not_pass() {
        let mut durations = Durations::default();
        for milliseconds in [100, 101, 60_000, 43_200_001] {
            durations.observe(milliseconds);
        }
        let filled: Vec<(f64, u64)> = durations
            .buckets()
            .into_iter()
            .filter(|(_, number)| *number > 0)
            .collect();
        assert_eq!(filled, [(0.1, 1), (0.5, 1), (60.0, 1), (f64::INFINITY, 1)]);
        assert_eq!(durations.count(), 4);
        assert!((durations.sum() - 43_260.202).abs() < 1e-6);
    }
}
