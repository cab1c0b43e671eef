//! The period cut into stretches of whole days, few enough to draw.

use chrono::{DateTime, TimeDelta, Utc};

/// The period cut into at most [`Days::MAX`] stretches of the same length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Days {
    from: DateTime<Utc>,
    each: i64,
    count: usize,
}

impl Days {
    /// The most stretches.
    pub(super) const MAX: usize = 62;

    pub(super) fn new(from: DateTime<Utc>, to: DateTime<Utc>) -> Self {
        let day = TimeDelta::days(1).num_milliseconds();
        let length = (to - from).num_milliseconds().max(1);
        let days = length.saturating_add(day - 1) / day;
        let most = i64::try_from(Self::MAX).unwrap_or(i64::MAX);
        let days_each = days.saturating_add(most - 1) / most;
        let count = days.saturating_add(days_each - 1) / days_each;
        Self {
            from,
            each: days_each,
            count: usize::try_from(count).unwrap_or(Self::MAX),
        }
    }

    /// How many stretches.
    pub(super) const fn count(self) -> usize {
        self.count
    }

    /// How many days each has.
    pub(super) const fn days_each(self) -> i64 {
        self.each
    }

    /// In which one a moment lies.
    pub(super) fn of(self, at: DateTime<Utc>) -> Option<usize> {
        let days = (at - self.from).num_milliseconds() / TimeDelta::days(1).num_milliseconds();
        usize::try_from(days / self.each)
            .ok()
            .filter(|day| at >= self.from && *day < self.count)
    }

    /// When one begins.
    pub(super) fn begin(self, day: usize) -> DateTime<Utc> {
        i64::try_from(day)
            .ok()
            .and_then(|day| TimeDelta::try_days(day.saturating_mul(self.each)))
            .and_then(|after| self.from.checked_add_signed(after))
            .unwrap_or(self.from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_has_days_and_a_year_has_stretches() {
        let from: DateTime<Utc> = "2026-11-01T00:00:00Z".parse().unwrap();
        let month = Days::new(from, from + TimeDelta::days(30));
        assert_eq!((month.count(), month.days_each()), (30, 1));
        assert_eq!(month.of(from), Some(0));
        assert_eq!(month.of(from + TimeDelta::hours(49)), Some(2));
        assert_eq!(month.of(from + TimeDelta::days(30)), None);
        assert_eq!(month.of(from - TimeDelta::hours(1)), None);
        assert_eq!(month.begin(2), from + TimeDelta::days(2));
        let year = Days::new(from, from + TimeDelta::days(365));
        assert_eq!((year.count(), year.days_each()), (61, 6));
        assert_eq!(year.of(from + TimeDelta::days(364)), Some(60));
        let hour = Days::new(from, from + TimeDelta::hours(1));
        assert_eq!(hour.count(), 1);
    }
}
