//! Objectives against what was measured: how many, how many within, and the ranks.

use std::fmt;

use crate::evidence::ObjectiveOutcome;
use crate::evidence::Verdict;
use crate::evidence::ledger::{DrillBody, VerifyBody};
use crate::finding::Severity;

use super::days::Days;

/// How something was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MeasuredBy {
    /// By restoring.
    Drill,
    /// By reading the archive: exposure at the moment of the verification.
    Verification,
}

impl MeasuredBy {
    /// The word used in output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Drill => "drill",
            Self::Verification => "verification",
        }
    }
}

/// What was measured, of whom, and how.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MeasuredKey {
    /// The cluster.
    pub cluster: String,
    /// `rpo` or `rto`.
    pub objective: &'static str,
    /// How.
    pub by: MeasuredBy,
    /// The copy.
    pub copy: String,
}

/// A place in the order of all values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// This many milliseconds.
    Milliseconds(u64),
    /// A failed run: beyond any objective.
    Beyond,
}

impl fmt::Display for Rank {
    /// Milliseconds, or `beyond`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Milliseconds(value) => write!(f, "{value}"),
            Self::Beyond => f.write_str("beyond"),
        }
    }
}

/// What one run contributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Measurement {
    /// `None`: not measured. Never counted as zero, nor as met.
    pub(super) rank: Option<Rank>,
    /// Whether the objective was met, where there is one.
    pub(super) met: Option<bool>,
    /// The objective.
    pub(super) limit_ms: Option<u64>,
    /// By hand, not by a schedule.
    pub(super) by_hand: bool,
}

/// Whether a failed drill failed only because an objective was missed: then what it measured
/// was measured on a database that came back whole.
fn only_an_objective(body: &DrillBody) -> bool {
    let objective = |code: &str| matches!(code, "objective-missed-rpo" | "objective-missed-rto");
    let findings = &body.run.findings;
    findings.keys().any(|code| objective(code))
        && findings
            .iter()
            .all(|(code, found)| objective(code) || found.severity < Severity::Critical)
}

/// What a drill says of an objective; `None` when it does not speak of it.
pub(super) fn of_drill(body: &DrillBody, name: &'static str) -> Option<Measurement> {
    let objective = body.objectives.iter().find(|o| o.name == name);
    let value = match (objective, name) {
        (Some(objective), _) => objective.actual_ms,
        (None, "rto") => body.time_to_verified_ms,
        // Of a target in the past it is something else: how near a commit was.
        (None, _) if body.target == "tip" => body.recovery_point_ms,
        (None, _) => return None,
    };
    let rank = match body.run.verdict {
        Some(Verdict::Failed) if !only_an_objective(body) => Some(Rank::Beyond),
        Some(Verdict::Proven | Verdict::Failed) => value.map(Rank::Milliseconds),
        Some(Verdict::Unproven) | None => None,
    };
    let met = objective.and_then(|objective| match rank? {
        Rank::Beyond => Some(false),
        Rank::Milliseconds(_) => match objective.outcome {
            ObjectiveOutcome::Met => Some(true),
            ObjectiveOutcome::Missed => Some(false),
            ObjectiveOutcome::NotMeasured => None,
        },
    });
    Some(Measurement {
        rank,
        met,
        limit_ms: objective.map(|objective| objective.limit_ms),
        by_hand: body.run.asked.trigger == crate::evidence::Trigger::Manual,
    })
}

/// What a verification says of the recovery point.
pub(super) fn of_verification(body: &VerifyBody) -> Option<Measurement> {
    if body.exposure_ms.is_none() && body.rpo_ms.is_none() {
        return None;
    }
    let checked = body.run.exit_code <= 1;
    let rank = body.exposure_ms.filter(|_| checked).map(Rank::Milliseconds);
    Some(Measurement {
        rank,
        met: rank
            .zip(body.rpo_ms)
            .map(|(rank, limit)| rank <= Rank::Milliseconds(limit)),
        limit_ms: body.rpo_ms,
        by_hand: body.run.asked.trigger == crate::evidence::Trigger::Manual,
    })
}

/// Values as they come. Eight bytes each.
#[derive(Clone, Debug, Default)]
pub(super) struct Gathered {
    values: Vec<u64>,
    beyond: u64,
    met: u64,
    missed: u64,
    not_measured: u64,
    by_hand: u64,
    limit_ms: Option<u64>,
    limit_changed: bool,
    days: Vec<Option<Rank>>,
}

/// What was measured over the period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeasuredRow {
    /// The objective, as of the last run that had one.
    pub limit_ms: Option<u64>,
    /// Whether it was another one earlier in the period.
    pub limit_changed: bool,
    /// Runs with a value, failed ones included.
    pub n: u64,
    /// Of them, runs within the objective.
    pub met: u64,
    /// Of them, runs beyond it.
    pub missed: u64,
    /// Of `n`, failed runs: they rank behind every value.
    pub beyond: u64,
    /// Runs without a value: not part of `n`.
    pub not_measured: u64,
    /// Of `n`, runs by hand.
    pub by_hand: u64,
    /// The median, nearest rank.
    pub p50: Option<Rank>,
    /// The 95th percentile, nearest rank. With fewer than 20 values it is the worst one.
    pub p95: Option<Rank>,
    /// The worst.
    pub max: Option<Rank>,
    /// The worst by stretch of the period.
    pub days: Vec<Option<Rank>>,
}

impl Gathered {
    pub(super) fn add(&mut self, measured: Measurement, day: Option<usize>) {
        if let Some(limit) = measured.limit_ms {
            self.limit_changed |= self.limit_ms.is_some_and(|before| before != limit);
            self.limit_ms = Some(limit);
        }
        match measured.rank {
            None => {
                self.not_measured = self.not_measured.saturating_add(1);
                return;
            }
            Some(Rank::Beyond) => self.beyond = self.beyond.saturating_add(1),
            Some(Rank::Milliseconds(value)) => self.values.push(value),
        }
        match measured.met {
            Some(true) => self.met = self.met.saturating_add(1),
            Some(false) => self.missed = self.missed.saturating_add(1),
            None => {}
        }
        if measured.by_hand {
            self.by_hand = self.by_hand.saturating_add(1);
        }
        if let Some(day) = day {
            if self.days.is_empty() {
                self.days = vec![None; Days::MAX];
            }
            if let Some(worst) = self.days.get_mut(day) {
                *worst = (*worst).max(measured.rank);
            }
        }
    }

    pub(super) fn row(&mut self) -> MeasuredRow {
        self.values.sort_unstable();
        let n = u64::try_from(self.values.len())
            .unwrap_or(u64::MAX)
            .saturating_add(self.beyond);
        MeasuredRow {
            limit_ms: self.limit_ms,
            limit_changed: self.limit_changed,
            n,
            met: self.met,
            missed: self.missed,
            beyond: self.beyond,
            not_measured: self.not_measured,
            by_hand: self.by_hand,
            p50: self.nearest(n, 50),
            p95: self.nearest(n, 95),
            max: self.nearest(n, 100),
            days: self.days.clone(),
        }
    }

    /// The nearest rank: the value at position ⌈percent·n/100⌉, counted from 1.
    fn nearest(&self, n: u64, percent: u64) -> Option<Rank> {
        let position = u128::from(n)
            .saturating_mul(u128::from(percent))
            .div_ceil(100);
        let index = usize::try_from(position.checked_sub(1)?).ok()?;
        let value = self.values.get(index).copied();
        Some(value.map_or(Rank::Beyond, Rank::Milliseconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gathered(values: &[u64], beyond: u64) -> MeasuredRow {
        let mut gathered = Gathered::default();
        let ranks = values.iter().copied().map(Rank::Milliseconds);
        for rank in ranks.chain((0..beyond).map(|_| Rank::Beyond)) {
            let met = Some(rank <= Rank::Milliseconds(100));
            gathered.add(
                Measurement {
                    rank: Some(rank),
                    met,
                    limit_ms: Some(100),
                    by_hand: false,
                },
                None,
            );
        }
        gathered.row()
    }

    #[test]
    fn percentiles_are_nearest_rank() {
        // Nearest rank of 15, 20, 35, 40, 50: the 30th percentile is 20, the 50th 35.
        let row = gathered(&[50, 15, 40, 20, 35], 0);
        assert_eq!(row.p50, Some(Rank::Milliseconds(35)));
        assert_eq!(row.p95, Some(Rank::Milliseconds(50)));
        assert_eq!(row.max, Some(Rank::Milliseconds(50)));
        let hundred: Vec<u64> = (1..=100).collect();
        let row = gathered(&hundred, 0);
        assert_eq!(row.p50, Some(Rank::Milliseconds(50)));
        assert_eq!(row.p95, Some(Rank::Milliseconds(95)));
        assert_eq!((row.met, row.missed), (100, 0));
    }

    #[test]
    fn failed_runs_stay_in_the_population_behind_all_values() {
        let row = gathered(&[10, 20, 30], 1);
        assert_eq!(row.n, 4);
        assert_eq!((row.met, row.missed, row.beyond), (3, 1, 1));
        assert_eq!(row.p50, Some(Rank::Milliseconds(20)));
        assert_eq!(row.p95, Some(Rank::Beyond));
        let none = gathered(&[], 0);
        assert_eq!((none.n, none.p50), (0, None));
        assert_eq!(gathered(&[], 2).p50, Some(Rank::Beyond));
    }
}
