//! The moments at which a cron expression is due in a zone.
//!
//! The `cron` crate is asked about wall-clock times only, in a calendar without a zone; how
//! they become moments where clocks are changed is decided here. (Asked in a zone, version
//! 0.17 leaves out the day whose time falls into the gap of spring, and forgets the second
//! 02:00 of autumn when it is asked again from the last moment.)

use chrono::{DateTime, NaiveDateTime, Offset as _, TimeDelta, TimeZone as _, Timelike as _, Utc};
use chrono_tz::Tz;

use crate::config::{CronExpression, Zone};

/// The moments at which a cron expression is due in a zone.
///
/// - An expression that selects every hour goes by real time: a stretch of the wall clock
///   that comes twice counts twice, one that is left out is left out.
/// - All others go by the wall clock: what lies in a stretch that is left out is due once,
///   at its end; of a stretch that comes twice only the first counts.
#[derive(Clone, Debug)]
pub struct Moments {
    schedules: Vec<cron::Schedule>,
    every_hour: bool,
    zone: Tz,
}

/// What was due in a stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    /// The first.
    pub first: DateTime<Utc>,
    /// The last.
    pub last: DateTime<Utc>,
    /// How many; counted up to [`Passed::MOST`].
    pub moments: u64,
}

impl Passed {
    /// So many are counted: years of a schedule that comes every minute.
    pub const MOST: u64 = 1_000_000;
}

/// No zone changes its clocks twice within this.
const STRIDE: TimeDelta = TimeDelta::hours(6);

impl Moments {
    /// The moments of an expression in a zone.
    pub fn new(expression: &CronExpression, zone: Zone) -> Self {
        Self {
            schedules: expression.schedules(),
            every_hour: expression.every_hour(),
            zone: zone.tz(),
        }
    }

    /// The first due moment after `moment`; `None` when there is none before the year 2100.
    pub fn after(&self, moment: DateTime<Utc>) -> Option<DateTime<Utc>> {
        // Whole seconds, the first that counts.
        let mut from = moment
            .with_nanosecond(0)?
            .checked_add_signed(TimeDelta::seconds(1))?;
        // Each turn passes a change of clocks, or one candidate in an hour that came before.
        for _ in 0..100_000 {
            let offset = self.offset(from);
            let wall = self.wall_at_or_after(wall_of(from, offset)?)?;
            let candidate = moment_of(wall, offset)?;
            match self.change(from, candidate) {
                Some(change) => {
                    let offset_then = self.offset(change);
                    let gap_end = wall_of(change, offset_then)?;
                    if !self.every_hour && offset_then > offset && wall < gap_end {
                        return Some(change);
                    }
                    from = change;
                }
                None if self.every_hour || !self.came_before(candidate, wall) => {
                    return Some(candidate);
                }
                None => from = candidate.checked_add_signed(TimeDelta::seconds(1))?,
            }
        }
        None
    }

    /// What was due after `since`, up to and including `until`; `None` for nothing.
    pub fn passed(&self, since: DateTime<Utc>, until: DateTime<Utc>) -> Option<Passed> {
        let first = self.after(since).filter(|first| *first <= until)?;
        let (mut last, mut moments) = (first, 1);
        while let Some(next) = self.after(last).filter(|next| *next <= until) {
            last = next;
            moments += 1;
            if moments == Passed::MOST {
                last = self.newest(last, until);
                break;
            }
        }
        Some(Passed {
            first,
            last,
            moments,
        })
    }

    /// The newest due moment up to `until`, which is not before `known`.
    fn newest(&self, known: DateTime<Utc>, until: DateTime<Utc>) -> DateTime<Utc> {
        for days in [1, 32, 366, 3_000, 20_000] {
            let since = until
                .checked_sub_signed(TimeDelta::days(days))
                .unwrap_or(known)
                .max(known);
            let mut newest = None;
            let mut from = since;
            while let Some(next) = self.after(from).filter(|next| *next <= until) {
                newest = Some(next);
                from = next;
            }
            if let Some(newest) = newest {
                return newest;
            }
        }
        known
    }

    fn offset(&self, moment: DateTime<Utc>) -> TimeDelta {
        let offset = self
            .zone
            .offset_from_utc_datetime(&moment.naive_utc())
            .fix();
        TimeDelta::seconds(offset.local_minus_utc().into())
    }

    /// The first time of the wall clock that is selected, at or after one.
    fn wall_at_or_after(&self, wall: NaiveDateTime) -> Option<NaiveDateTime> {
        let before = wall.checked_sub_signed(TimeDelta::seconds(1))?.and_utc();
        self.schedules
            .iter()
            .filter_map(|schedule| schedule.after(&before).next())
            .min()
            .map(|wall| wall.naive_utc())
    }

    /// When clocks are first changed after `from`, at or before `until`: the first moment of
    /// the new offset.
    fn change(&self, from: DateTime<Utc>, until: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let offset = self.offset(from);
        let mut before = from;
        while before < until {
            let mut behind = before.checked_add_signed(STRIDE)?.min(until);
            if self.offset(behind) != offset {
                while behind - before > TimeDelta::seconds(1) {
                    let half = TimeDelta::seconds((behind - before).num_seconds() / 2);
                    let middle = before.checked_add_signed(half)?;
                    if self.offset(middle) == offset {
                        before = middle;
                    } else {
                        behind = middle;
                    }
                }
                return Some(behind);
            }
            before = behind;
        }
        None
    }

    /// Whether the wall clock showed this before.
    fn came_before(&self, moment: DateTime<Utc>, wall: NaiveDateTime) -> bool {
        self.zone
            .from_local_datetime(&wall)
            .earliest()
            .is_some_and(|earliest| earliest.with_timezone(&Utc) < moment)
    }
}

fn wall_of(moment: DateTime<Utc>, offset: TimeDelta) -> Option<NaiveDateTime> {
    moment.naive_utc().checked_add_signed(offset)
}

fn moment_of(wall: NaiveDateTime, offset: TimeDelta) -> Option<DateTime<Utc>> {
    wall.checked_sub_signed(offset).map(|naive| naive.and_utc())
}

#[cfg(test)]
mod tests;
