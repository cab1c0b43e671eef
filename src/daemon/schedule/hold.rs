//! What holds work back: blackouts, and windows outside of which nothing is started.

use chrono::{DateTime, NaiveDateTime, Offset as _, TimeDelta, TimeZone as _, Utc};
use chrono_tz::Tz;

use crate::config::{CalendarSpan, Zone};

/// Blackouts and windows in a zone.
#[derive(Clone, Debug)]
pub struct Hold {
    zone: Tz,
    windows: Vec<CalendarSpan>,
    blackout: Vec<CalendarSpan>,
}

impl Hold {
    /// Starts are held back within `blackout`, and outside of `windows` if there are any.
    pub fn new(zone: Zone, windows: &[CalendarSpan], blackout: &[CalendarSpan]) -> Self {
        Self {
            zone: zone.tz(),
            windows: windows.to_vec(),
            blackout: blackout.to_vec(),
        }
    }

    /// The first moment at or after `moment` at which work may start. `None` when there is
    /// none within some months: every window is blacked out.
    pub fn release(&self, moment: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let mut wall = moment.with_timezone(&self.zone).naive_local();
        let held = wall;
        // Each turn passes the end of a blackout or the begin of a window; a year of
        // hourly ones would be more.
        for _ in 0..10_000 {
            let end = self
                .blackout
                .iter()
                .filter_map(|span| span.end_of(wall))
                .max();
            if let Some(end) = end {
                wall = end;
                continue;
            }
            if self.windows.is_empty() || self.windows.iter().any(|w| w.end_of(wall).is_some()) {
                return if wall == held {
                    Some(moment)
                } else {
                    Some(self.moment(wall)?.max(moment))
                };
            }
            wall = self
                .windows
                .iter()
                .filter_map(|window| window.begins_after(wall))
                .min()?;
        }
        None
    }

    /// The moment of a time of the wall clock: the later of two, and the end of a gap.
    fn moment(&self, wall: NaiveDateTime) -> Option<DateTime<Utc>> {
        if let Some(moment) = self.zone.from_local_datetime(&wall).latest() {
            return Some(moment.with_timezone(&Utc));
        }
        // In a gap: with the offset from before it, this is a moment behind the gap.
        let before = wall.checked_sub_signed(TimeDelta::days(2))?;
        let offset = self.zone.offset_from_utc_datetime(&before).fix();
        let offset = TimeDelta::seconds(offset.local_minus_utc().into());
        wall.checked_sub_signed(offset).map(|naive| naive.and_utc())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(zone: &str, windows: &[&str], blackout: &[&str]) -> Hold {
        let spans = |texts: &[&str]| -> Vec<CalendarSpan> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        Hold::new(zone.parse().unwrap(), &spans(windows), &spans(blackout))
    }

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn work_waits_for_the_end_of_a_blackout() {
        let office = hold("Europe/Berlin", &[], &["Mon-Fri 08:00-18:00", "2026-11-20"]);
        // Nothing holds a Saturday.
        let free = at("2026-11-21T12:00:00.5Z");
        assert_eq!(office.release(free), Some(free));
        // Thursday until 18:00 in Berlin.
        assert_eq!(
            office.release(at("2026-11-19T09:00:00Z")),
            Some(at("2026-11-19T17:00:00Z"))
        );
        // Friday is black as a whole.
        assert_eq!(
            office.release(at("2026-11-20T00:00:00Z")),
            Some(at("2026-11-20T23:00:00Z"))
        );
        assert_eq!(hold("UTC", &[], &[]).release(free), Some(free));
    }

    #[test]
    fn work_waits_for_a_window_that_is_not_black() {
        let nights = hold("UTC", &["22:00-06:00"], &["Sat,Sun"]);
        assert_eq!(
            nights.release(at("2026-11-19T12:00:00Z")),
            Some(at("2026-11-19T22:00:00Z"))
        );
        assert_eq!(
            nights.release(at("2026-11-20T23:00:00Z")),
            Some(at("2026-11-20T23:00:00Z"))
        );
        // Saturday and Sunday are black: Monday at midnight is within a night again.
        assert_eq!(
            nights.release(at("2026-11-21T12:00:00Z")),
            Some(at("2026-11-23T00:00:00Z"))
        );
        let never = hold("UTC", &["01:00-02:00"], &["00:00-12:00"]);
        assert_eq!(never.release(at("2026-11-21T12:00:00Z")), None);
    }

    #[test]
    fn ends_that_clocks_leave_out_or_repeat_are_later() {
        let spring = hold("Europe/Berlin", &[], &["00:00-02:30"]);
        assert_eq!(
            spring.release(at("2026-03-29T00:30:00Z")),
            Some(at("2026-03-29T01:30:00Z")),
            "02:30 does not come; it is half past the gap's begin"
        );
        assert_eq!(
            spring.release(at("2026-10-25T00:10:00Z")),
            Some(at("2026-10-25T01:30:00Z")),
            "the second 02:30"
        );
    }
}
